//! What lies at a key, as bytes: what plans read is compared with it later.

use redis::{Cmd, Value};

use super::keys::Key;

/// One thing to read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Item {
    /// A string.
    Text(Key),
    /// A field of a hash.
    Field(Key, Key),
    /// A whole hash.
    Hash(Key),
    /// The fields of a hash.
    Fields(Key),
    /// Whether a hash has fields.
    Filled(Key),
    /// A list.
    List(Key),
    /// The first elements of a list, at most so many.
    Front(Key, usize),
    /// A set.
    Set(Key),
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Raw {
    /// Nothing is there.
    Nothing,
    /// A string or a field.
    Bytes(Vec<u8>),
    /// A list, a set, or a hash's fields and values in turn.
    Many(Vec<Vec<u8>>),
    /// How many.
    Count(i64),
}

/// How a thing that was read is guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Guard {
    /// Not at all.
    None,
    /// A directory in what its entries depend on.
    Shape,
    /// Whole.
    Whole,
}

impl Item {
    /// The key that it lies at.
    pub(super) fn key(&self) -> &Key {
        match self {
            Self::Text(key)
            | Self::Field(key, _)
            | Self::Hash(key)
            | Self::Fields(key)
            | Self::Filled(key)
            | Self::List(key)
            | Self::Front(key, _)
            | Self::Set(key) => key,
        }
    }

    /// The command that reads it.
    pub(super) fn command(&self) -> Cmd {
        let mut command = redis::cmd(match self {
            Self::Text(_) => "GET",
            Self::Field(..) => "HGET",
            Self::Hash(_) => "HGETALL",
            Self::Fields(_) => "HKEYS",
            Self::Filled(_) => "HLEN",
            Self::List(_) | Self::Front(..) => "LRANGE",
            Self::Set(_) => "SMEMBERS",
        });
        command.arg(self.key());
        match self {
            Self::Field(_, field) => {
                command.arg(field);
            }
            Self::List(_) => {
                command.arg(0).arg(-1);
            }
            Self::Front(_, count) => {
                command.arg(0).arg(*count as i64 - 1);
            }
            _ => {}
        }
        command
    }

    /// The letter that names it in the script.
    pub(super) fn letter(&self, guard: Guard) -> &'static str {
        match self {
            Self::Text(_) if guard == Guard::Shape => "d",
            Self::Text(_) => "t",
            Self::Field(..) => "f",
            Self::Hash(_) => "h",
            Self::Fields(_) => "k",
            Self::Filled(_) => "n",
            Self::List(_) => "l",
            Self::Front(..) => "p",
            Self::Set(_) => "s",
        }
    }
}

impl Raw {
    /// From the server's answer.
    pub(super) fn from_value(value: Value) -> Self {
        match value {
            Value::Int(count) => Self::Count(count),
            Value::BulkString(bytes) => Self::Bytes(bytes),
            Value::SimpleString(text) => Self::Bytes(text.into_bytes()),
            Value::Array(values) | Value::Set(values) => {
                Self::Many(values.into_iter().map(bytes_of).collect())
            }
            Value::Map(pairs) => Self::Many(
                pairs
                    .into_iter()
                    .flat_map(|(field, value)| [bytes_of(field), bytes_of(value)])
                    .collect(),
            ),
            _ => Self::Nothing,
        }
    }

    /// The text that the script compares: it makes the same of what it finds.
    pub(super) fn comparable(&self, guard: Guard) -> Vec<u8> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Bytes(bytes) if guard == Guard::Shape => [&b"+"[..], &shape(bytes)].concat(),
            Self::Bytes(bytes) => [&b"+"[..], bytes].concat(),
            Self::Many(parts) => {
                let with_len =
                    |part: &Vec<u8>| [&(part.len() as u32).to_be_bytes()[..], part].concat();
                parts.iter().flat_map(with_len).collect()
            }
            Self::Count(count) => vec![if *count == 0 { b'0' } else { b'1' }],
        }
    }

    /// The bytes, if it is some.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        if let Self::Bytes(bytes) = self {
            Some(bytes)
        } else {
            None
        }
    }

    /// The parts, if it is several.
    pub(super) fn parts(&self) -> &[Vec<u8>] {
        if let Self::Many(parts) = self {
            parts
        } else {
            &[]
        }
    }

    /// A hash's fields and values.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.parts()
            .as_chunks::<2>()
            .0
            .iter()
            .map(|[field, value]| (field.as_slice(), value.as_slice()))
    }
}

fn bytes_of(value: Value) -> Vec<u8> {
    match value {
        Value::BulkString(bytes) => bytes,
        Value::SimpleString(text) => text.into_bytes(),
        Value::Int(number) => number.to_string().into_bytes(),
        _ => Vec::new(),
    }
}

/// Of an attribute's bytes: flags, type and mode, owners, and from the parent on.
fn shape(attr: &[u8]) -> Vec<u8> {
    [
        attr.get(..11).unwrap_or(attr),
        attr.get(63..).unwrap_or_default(),
    ]
    .concat()
}
