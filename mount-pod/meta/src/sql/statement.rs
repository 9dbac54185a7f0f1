//! What goes to a server and what comes back: statements with parameters, and rows.
//!
//! Texts are the same for every server wherever the servers agree, with `?` for a
//! parameter; what they disagree on is a [`Dialect`]. A **check** is a statement
//! that fails unless something holds: it stops a transaction on the server, so that
//! reading, deciding and writing need not wait for each other over the network.

use std::borrow::Cow;

/// A parameter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// A number of 64 bits.
    Int(i64),
    /// A number of 32 bits, where a function wants no other.
    Short(i32),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A text, which servers refuse if it is not UTF-8.
    Text(Vec<u8>),
}

/// A statement to run.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    /// Its text.
    pub(crate) text: Cow<'static, str>,
    /// One for each `?`.
    pub(crate) values: Vec<Value>,
    /// Whether the text is likely never to come again: it is not worth preparing.
    pub(crate) once: bool,
    /// What it means if it is a check and fails.
    pub(crate) unmet: Option<Unmet>,
}

/// What it means that a check failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unmet {
    /// What was read does not hold any more.
    Changed,
    /// The volume is full.
    NoSpace,
    /// A directory's quota is used up.
    QuotaExceeded,
}

/// A column's value in a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    /// Nothing.
    Null,
    /// A number.
    Int(i64),
    /// Bytes or a text.
    Bytes(Vec<u8>),
}

/// One row.
pub(crate) type Row = Vec<Cell>;
/// What one statement found.
pub(crate) type Rows = Vec<Row>;

/// What servers spell differently.
#[derive(Debug)]
pub(crate) struct Dialect {
    /// Between what a check selects: fails unless that is a row.
    pub(crate) holds: [&'static str; 2],
    /// The same: fails if that is a row.
    pub(crate) lacks: [&'static str; 2],
    /// Locks a directory in what its entries depend on.
    pub(crate) share: &'static str,
    /// Appends the second to the first, both bytes.
    pub(crate) concat: fn(&str, &str) -> String,
    /// What an insert does instead if its key is taken.
    pub(crate) or_update: fn(key: &str) -> String,
    /// The value that such an insert would have written to a column.
    pub(crate) excluded: fn(column: &str) -> String,
    /// The column `group`, which is a word of the language, too.
    pub(crate) group: &'static str,
}

impl Statement {
    /// A statement.
    pub(crate) fn new(text: impl Into<Cow<'static, str>>, values: Vec<Value>) -> Self {
        Self {
            text: text.into(),
            values,
            once: false,
            unmet: None,
        }
    }

    /// A check that `select` finds a row.
    pub(crate) fn holds(dialect: &Dialect, select: &str, values: Vec<Value>) -> Self {
        let [before, behind] = dialect.holds;
        Self::new(format!("{before}{select}{behind}"), values).or(Unmet::Changed)
    }

    /// A check that `select` finds nothing.
    pub(crate) fn lacks(dialect: &Dialect, select: &str, values: Vec<Value>) -> Self {
        let [before, behind] = dialect.lacks;
        Self::new(format!("{before}{select}{behind}"), values).or(Unmet::Changed)
    }

    /// The same, with a text that will not come again.
    pub(crate) fn once(self) -> Self {
        Self { once: true, ..self }
    }

    /// The same, with a meaning of its own if it fails.
    pub(crate) fn or(self, unmet: Unmet) -> Self {
        Self {
            unmet: Some(unmet),
            ..self
        }
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

/// Unsigned numbers are stored as signed ones.
impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Int(value as i64)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<carafe_types::Ino> for Value {
    fn from(ino: carafe_types::Ino) -> Self {
        ino.0.into()
    }
}

impl From<carafe_types::SessionId> for Value {
    fn from(session: carafe_types::SessionId) -> Self {
        session.0.into()
    }
}

impl From<carafe_types::SliceId> for Value {
    fn from(slice: carafe_types::SliceId) -> Self {
        slice.0.into()
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.as_bytes().to_vec())
    }
}

/// Parameters of several types in a row.
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::sql::statement::Value::from($value)),*] };
}
pub(crate) use values;
