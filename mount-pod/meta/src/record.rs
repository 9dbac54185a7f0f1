//! Idempotency records: an answer as bytes, kept in the change's own transaction.

use bytes::{Buf, BufMut};
use carafe_types::{Attr, Error, Ino, Result};

/// An answer that can be recorded and given again.
pub(crate) trait Recorded: Sized + Send + 'static {
    /// Appends the answer's bytes.
    fn encode(&self, out: &mut Vec<u8>);
    /// Takes it from the front of `from`; `None` if that is something else.
    fn decode(from: &mut &[u8]) -> Option<Self>;
}

/// An answer of an operation that is never called with a key.
pub(crate) struct Unrecorded<T>(pub(crate) T);

impl<T: Send + 'static> Recorded for Unrecorded<T> {
    fn encode(&self, _out: &mut Vec<u8>) {}

    fn decode(_from: &mut &[u8]) -> Option<Self> {
        None
    }
}

impl Recorded for () {
    fn encode(&self, _out: &mut Vec<u8>) {}

    fn decode(_from: &mut &[u8]) -> Option<Self> {
        Some(())
    }
}

impl Recorded for u64 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(*self);
    }

    fn decode(from: &mut &[u8]) -> Option<Self> {
        from.try_get_u64().ok()
    }
}

impl Recorded for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(u8::from(*self));
    }

    fn decode(from: &mut &[u8]) -> Option<Self> {
        from.try_get_u8().ok().map(|byte| byte != 0)
    }
}

impl Recorded for Ino {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(from: &mut &[u8]) -> Option<Self> {
        u64::decode(from).map(Self)
    }
}

impl Recorded for Attr {
    fn encode(&self, out: &mut Vec<u8>) {
        let bytes = Self::encode(self);
        out.put_u8(bytes.len() as u8);
        out.extend(bytes);
    }

    fn decode(from: &mut &[u8]) -> Option<Self> {
        let len = usize::from(from.try_get_u8().ok()?);
        let (bytes, rest) = from.split_at_checked(len)?;
        *from = rest;
        Self::decode(bytes)
    }
}

/// Only success and the one error that a commit answers for a single file are
/// recorded; other errors change nothing and may be found again.
impl Recorded for Result<Attr> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(u8::from(self.is_ok()));
        if let Ok(attr) = self {
            Recorded::encode(attr, out);
        }
    }

    fn decode(from: &mut &[u8]) -> Option<Self> {
        if bool::decode(from)? {
            Recorded::decode(from).map(Ok)
        } else {
            Some(Err(Error::NotFound))
        }
    }
}

impl<A: Recorded, B: Recorded> Recorded for (A, B) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
    }

    fn decode(from: &mut &[u8]) -> Option<Self> {
        Some((A::decode(from)?, B::decode(from)?))
    }
}

impl<A: Recorded, B: Recorded, C: Recorded> Recorded for (A, B, C) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
        self.2.encode(out);
    }

    fn decode(from: &mut &[u8]) -> Option<Self> {
        Some((A::decode(from)?, B::decode(from)?, C::decode(from)?))
    }
}

impl<T: Recorded> Recorded for Vec<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.len() as u32);
        for item in self {
            item.encode(out);
        }
    }

    fn decode(from: &mut &[u8]) -> Option<Self> {
        let len = from.try_get_u32().ok()?;
        (0..len).map(|_| T::decode(from)).collect()
    }
}

/// An answer's bytes behind its sequence number: what a record holds.
pub(crate) fn seal<T: Recorded>(sequence: u64, answer: &T) -> Vec<u8> {
    let mut out = sequence.to_be_bytes().to_vec();
    answer.encode(&mut out);
    out
}

/// The answer, if the record is of this very operation.
pub(crate) fn unseal<T: Recorded>(sequence: u64, mut record: &[u8]) -> Option<T> {
    (record.try_get_u64().ok()? == sequence)
        .then(|| T::decode(&mut record))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_answers_only_its_own_operation() {
        let answer = vec![
            (
                Ino(7),
                Ok(Attr {
                    length: 9,
                    ..Attr::default()
                }),
            ),
            (Ino(8), Err(Error::NotFound)),
        ];
        let record = seal(3, &answer);
        assert_eq!(unseal(3, &record), Some(answer));
        assert_eq!(unseal::<Vec<(Ino, Result<Attr>)>>(4, &record), None);
    }
}
