//! What a cache answers.

use std::{io, os::fd::OwnedFd, sync::Arc};

use bytes::Bytes;
use rustix::{
    buffer::spare_capacity,
    io::{Errno, IoSliceMut, ReadWriteFlags, pread, preadv2},
};
use tokio::task::spawn_blocking;

/// How many bytes one checksum covers.
pub const UNIT: u32 = 32 << 10;

/// Reads of at most this many bytes are tried on the calling thread first: if the
/// page cache has them, that is faster than going to another thread.
const INLINE: usize = 128 << 10;

/// The CRC32C of each unit of a block.
pub fn checksums(parts: &[Bytes]) -> Vec<u32> {
    let mut sums = Vec::new();
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    let mut room = UNIT as usize;
    for part in parts {
        let mut rest = &part[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(room.min(rest.len()));
            digest.update(now);
            room -= now.len();
            if room == 0 {
                sums.push(digest.finalize_reset() as u32);
                room = UNIT as usize;
            }
            rest = later;
        }
    }
    if room < UNIT as usize {
        sums.push(digest.finalize() as u32);
    }
    sums
}

/// The bytes that a lookup asked for.
#[derive(Clone, Debug)]
pub enum Cached {
    /// In memory, checked, in order.
    Bytes(Vec<Bytes>),
    /// In a file, not yet checked.
    File(FileBlock),
}

impl Cached {
    /// The bytes, checked. An error means that the block is damaged or cannot be
    /// read: the caller forgets it and asks elsewhere.
    pub async fn load(self) -> io::Result<Vec<Bytes>> {
        match self {
            Self::Bytes(parts) => Ok(parts),
            Self::File(block) => block.load().await.map(|bytes| vec![bytes]),
        }
    }
}

/// Where in a cache file a piece of a block lies, with the units around it.
#[derive(Clone, Debug)]
pub struct FileBlock {
    /// The cache file, open for reading.
    pub file: Arc<OwnedFd>,
    /// Where in the file the first unit that the piece touches starts.
    pub units_offset: u64,
    /// How long these units are together; the last of a block may be short.
    pub units_len: u32,
    /// Where the piece starts, counted from the first unit's start.
    pub skip: u32,
    /// How long the piece is.
    pub len: u32,
    /// The units' CRC32Cs, in order.
    pub checksums: Box<[u32]>,
}

impl FileBlock {
    /// Where the piece starts in the file.
    pub fn offset(&self) -> u64 {
        self.units_offset + u64::from(self.skip)
    }

    /// The piece's bytes, checked.
    pub async fn load(self) -> io::Result<Bytes> {
        if self.units_len as usize <= INLINE
            && let Some(units) = self.read_if_cached()?
        {
            return self.checked(units);
        }
        spawn_blocking(move || self.checked(self.read()?))
            .await
            .map_err(io::Error::other)?
    }

    /// The units, if the page cache has them all.
    fn read_if_cached(&self) -> io::Result<Option<Vec<u8>>> {
        let mut units = vec![0; self.units_len as usize];
        let into = &mut [IoSliceMut::new(&mut units)];
        match preadv2(&self.file, into, self.units_offset, ReadWriteFlags::NOWAIT) {
            Ok(read) if read == units.len() => Ok(Some(units)),
            Ok(_) | Err(Errno::AGAIN | Errno::OPNOTSUPP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let len = self.units_len as usize;
        let mut units = Vec::with_capacity(len);
        while units.len() < len {
            let at = self.units_offset + units.len() as u64;
            if pread(&self.file, spare_capacity(&mut units), at)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        units.truncate(len);
        Ok(units)
    }

    fn checked(&self, units: Vec<u8>) -> io::Result<Bytes> {
        let units = Bytes::from(units);
        if checksums(std::slice::from_ref(&units)) != *self.checksums {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(units.slice(self.skip as usize..(self.skip + self.len) as usize))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn checksums_do_not_depend_on_the_cuts(len in 0usize..200_000, cut in 0usize..200_000) {
            let whole: Bytes = (0..len).map(|at| (at % 251) as u8).collect::<Vec<_>>().into();
            let cut = cut.min(len);
            let parts = [whole.slice(..cut), whole.slice(cut..)];
            let expected: Vec<_> = whole
                .chunks(UNIT as usize)
                .map(|unit| crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, unit) as u32)
                .collect();
            prop_assert_eq!(checksums(&parts), expected);
        }
    }
}
