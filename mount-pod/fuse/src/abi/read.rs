//! Reading requests.

use super::HEADER_LEN;

/// A request's header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) opcode: u32,
    pub(crate) unique: u64,
    pub(crate) node: u64,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) pid: u32,
}

impl Header {
    /// Reads the header; `None` if the message is too short to be one.
    pub(crate) fn read(message: &[u8]) -> Option<Self> {
        let mut args = Args::new(message.get(..HEADER_LEN)?);
        let (_len, opcode) = (args.u32()?, args.u32()?);
        Some(Self {
            opcode,
            unique: args.u64()?,
            node: args.u64()?,
            uid: args.u32()?,
            gid: args.u32()?,
            pid: args.u32()?,
        })
    }
}

/// What follows the header, read from front to back. `None` means that the
/// message ends too early.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Args<'a> {
    rest: &'a [u8],
}

impl<'a> Args<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The arguments of a whole message.
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self::new(message.get(HEADER_LEN..).unwrap_or_default())
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*head)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_ne_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_ne_bytes)
    }

    /// A text that a zero byte ends.
    pub(crate) fn name(&mut self) -> Option<&'a [u8]> {
        let end = self.rest.iter().position(|byte| *byte == 0)?;
        let name = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Some(name)
    }

    /// The next `count` bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_in_order_and_never_beyond_the_end() {
        let mut args = Args::new(b"\x01\0\0\0name\0to\0");
        assert_eq!(args.u32(), Some(1));
        assert_eq!(
            (args.name(), args.name(), args.name()),
            (Some(&b"name"[..]), Some(&b"to"[..]), None)
        );
        assert_eq!(args.u64(), None, "nothing is left");
        assert!(Header::read(&[0; 39]).is_none(), "a header is 40 bytes");
    }
}
