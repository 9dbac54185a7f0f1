//! The files `index` and `sums`: what outlives the process.
//!
//! `index` has a header of 64 bytes and records of 32 bytes, all little endian:
//!
//! | bytes | header | record |
//! |---|---|---|
//! | 0..8 | `CARAFEBC` | the block ([`super::index::pack`]); 0 is a free slot |
//! | 8..12 | version | the block's size |
//! | 12..16 | block size | 0 |
//! | 16..28 | 0 | 0 |
//! | 28..32 | CRC32C of what is before | CRC32C of what is before |

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
    os::{fd::OwnedFd, unix::fs::FileExt},
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, openat},
    io::{Errno, IoSliceMut, ReadWriteFlags, preadv2},
};

use crate::UNIT;

const MAGIC: u64 = u64::from_le_bytes(*b"CARAFEBC");
const VERSION: u32 = 1;
const HEADER: u64 = 64;
const RECORD: usize = 32;

/// One slot's record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// The packed block; 0 is none.
    pub(super) block: u64,
    /// Its size.
    pub(super) size: u32,
}

impl Record {
    fn encode(self) -> [u8; RECORD] {
        encode(self.block, self.size, 0)
    }

    /// A torn or foreign record is a free slot.
    fn decode(bytes: &[u8; RECORD]) -> Self {
        decode(bytes).map_or(Self::default(), |(block, size, _)| Self { block, size })
    }
}

fn encode(first: u64, second: u32, third: u32) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    bytes[..8].copy_from_slice(&first.to_le_bytes());
    bytes[8..12].copy_from_slice(&second.to_le_bytes());
    bytes[12..16].copy_from_slice(&third.to_le_bytes());
    let sum = crc(&bytes[..28]);
    bytes[28..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; RECORD]) -> Option<(u64, u32, u32)> {
    let u32_at = |at: usize| Some(u32::from_le_bytes(*bytes[at..].first_chunk()?));
    if u32_at(28)? != crc(&bytes[..28]) {
        return None;
    }
    Some((
        u64::from_le_bytes(*bytes.first_chunk()?),
        u32_at(8)?,
        u32_at(12)?,
    ))
}

fn crc(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// The two files, locked.
#[derive(Debug)]
pub(super) struct Records {
    index: File,
    sums: File,
    sums_per_slot: u64,
}

/// What opening the files found.
pub(super) enum Opened {
    /// Another process uses them.
    Busy,
    /// They are ours; and whether what they say can be used.
    Ours(Records, bool),
}

impl Records {
    /// Opens or makes the files below `directory`.
    pub(super) fn open(directory: &OwnedFd, block_size: u32) -> io::Result<Opened> {
        let index = file(directory, "index")?;
        match flock(&index, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Ok(Opened::Busy),
            other => other?,
        }
        let sums = file(directory, "sums")?;
        let records = Self {
            index,
            sums,
            sums_per_slot: u64::from(block_size.div_ceil(UNIT)),
        };
        let usable = records.check_header(block_size)?;
        Ok(Opened::Ours(records, usable))
    }

    fn check_header(&self, block_size: u32) -> io::Result<bool> {
        let mut header = [0; RECORD];
        let is_whole = self.index.read_exact_at(&mut header, 0).is_ok();
        if is_whole && decode(&header) == Some((MAGIC, VERSION, block_size)) {
            return Ok(true);
        }
        self.index.set_len(0)?;
        self.sums.set_len(0)?;
        self.index
            .write_all_at(&encode(MAGIC, VERSION, block_size), 0)?;
        Ok(false)
    }

    /// How many slots the file has.
    pub(super) fn count(&self) -> io::Result<usize> {
        Ok((self.index.metadata()?.len().saturating_sub(HEADER) / RECORD as u64) as usize)
    }

    /// Gives each slot's record to `take`, in order.
    pub(super) fn read_all(&self, mut take: impl FnMut(Record)) -> io::Result<()> {
        let mut from = &self.index;
        from.seek(SeekFrom::Start(HEADER))?;
        let mut buffer = vec![0; 32 << 10];
        loop {
            let mut filled = 0;
            while filled < buffer.len() {
                match from.read(&mut buffer[filled..])? {
                    0 => break,
                    read => filled += read,
                }
            }
            buffer[..filled]
                .as_chunks()
                .0
                .iter()
                .for_each(|record| take(Record::decode(record)));
            if filled < buffer.len() {
                return Ok(());
            }
        }
    }

    pub(super) fn write(&self, slot: u32, record: Record) -> io::Result<()> {
        self.index
            .write_all_at(&record.encode(), HEADER + u64::from(slot) * RECORD as u64)
    }

    pub(super) fn write_sums(&self, slot: u32, sums: &[u32]) -> io::Result<()> {
        let bytes: Vec<u8> = sums.iter().flat_map(|sum| sum.to_le_bytes()).collect();
        self.sums.write_all_at(&bytes, self.sums_at(slot, 0))
    }

    /// The sums of units `units` of a slot's block; `None` if it would have to wait for
    /// the disk.
    pub(super) fn sums_if_cached(
        &self,
        slot: u32,
        units: Range<u32>,
    ) -> io::Result<Option<Box<[u32]>>> {
        let mut bytes = vec![0; units.len() * 4];
        let into = &mut [IoSliceMut::new(&mut bytes)];
        match preadv2(
            &self.sums,
            into,
            self.sums_at(slot, units.start),
            ReadWriteFlags::NOWAIT,
        ) {
            Ok(read) if read == bytes.len() => Ok(Some(numbers(&bytes))),
            Ok(_) | Err(Errno::AGAIN | Errno::OPNOTSUPP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The same, however long it takes.
    pub(super) fn sums(&self, slot: u32, units: Range<u32>) -> io::Result<Box<[u32]>> {
        let mut bytes = vec![0; units.len() * 4];
        self.sums
            .read_exact_at(&mut bytes, self.sums_at(slot, units.start))?;
        Ok(numbers(&bytes))
    }

    fn sums_at(&self, slot: u32, unit: u32) -> u64 {
        (u64::from(slot) * self.sums_per_slot + u64::from(unit)) * 4
    }
}

fn numbers(bytes: &[u8]) -> Box<[u32]> {
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|four| u32::from_le_bytes(*four))
        .collect()
}

fn file(directory: &OwnedFd, name: &str) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(openat(directory, name, flags, Mode::from_bits_truncate(0o600))?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_record_is_a_free_slot() {
        let record = Record { block: 77, size: 5 };
        let mut bytes = record.encode();
        assert_eq!(Record::decode(&bytes), record);
        bytes[9] ^= 1;
        assert_eq!(Record::decode(&bytes), Record::default());
        assert_eq!(Record::decode(&[0; RECORD]), Record::default());
    }
}
