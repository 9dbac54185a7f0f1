//! The header: what identifies the region, and the words that change.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::StateError;
use crate::cell::{Cell, Content, crc32c};
use crate::layout::{Config, Layout, MAGIC, VERSION};
use crate::mapping::Mapping;

pub(crate) const SESSION: usize = 64;
pub(crate) const BEATS: usize = 72;
pub(crate) const BEAT_AT: usize = 80;
pub(crate) const MARK_HANDLES: usize = 88;
pub(crate) const MARK_LOCKS: usize = 92;
pub(crate) const MARK_EXTENTS: usize = 96;
pub(crate) const MARK_PAGES: usize = 100;
pub(crate) const MARK_BIG: usize = 104;
pub(crate) const MARK_SMALL: usize = 108;
const INIT: usize = 1024;
const INIT_HALF: usize = 1024;
const INIT_KIND: u32 = 16;
pub(crate) const ID_CELLS: usize = 4096;

/// The longest INIT result.
const INIT_ROOM: usize = INIT_HALF - 16 - 4;

/// What a holder of the region sees without mapping it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The metadata session, 0 before there is one.
    pub session: u64,
    /// How often the worker beat.
    pub beats: u64,
    /// When it last did, in milliseconds of the boot-time clock.
    pub beat_at: u64,
}

/// Reads the header through the descriptor. The keeper uses it: it never maps what a
/// worker writes.
pub fn peek(fd: BorrowedFd<'_>) -> Result<Header, StateError> {
    let mut bytes = [0; 128];
    let read = rustix::io::pread(fd, &mut bytes, 0).map_err(StateError::os("pread"))?;
    if read < bytes.len() {
        return Err(StateError::Unusable("it is too short".into()));
    }
    parse(&bytes)?;
    Ok(Header {
        session: u64_at(&bytes, SESSION),
        beats: u64_at(&bytes, BEATS),
        beat_at: u64_at(&bytes, BEAT_AT),
    })
}

/// Writes the part that never changes.
pub(crate) fn format(mapping: &Mapping, layout: &Layout) {
    let mut bytes = [0; 64];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    for (index, word) in layout.config.words().iter().enumerate() {
        bytes[16 + index * 4..20 + index * 4].copy_from_slice(&word.to_le_bytes());
    }
    bytes[48..56].copy_from_slice(&(layout.total as u64).to_le_bytes());
    let sum = crc32c(&bytes[16..]);
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    // SAFETY: the region has just been made and nobody else has it.
    unsafe { mapping.write(0, &bytes) }
}

/// Reads the part that never changes, and the layout that follows from it.
pub(crate) fn read_layout(mapping: &Mapping) -> Result<Layout, StateError> {
    if mapping.len() < crate::layout::HEADER_LEN {
        return Err(StateError::Unusable("it is too short".into()));
    }
    // SAFETY: these bytes are written once, before the region is shared.
    let layout = Layout::new(parse(unsafe { mapping.bytes(0, 64) })?)?;
    if layout.total != mapping.len() {
        return Err(StateError::Unusable(format!(
            "it has {} bytes where {} were expected",
            mapping.len(),
            layout.total
        )));
    }
    Ok(layout)
}

fn parse(bytes: &[u8]) -> Result<Config, StateError> {
    let refuse = |why: String| Err(StateError::Unusable(why));
    if bytes[..8] != MAGIC {
        return refuse("it has another magic".into());
    }
    let version = u32_at(bytes, 8);
    if version != VERSION {
        return refuse(format!("its layout is version {version}, not {VERSION}"));
    }
    if u32_at(bytes, 12) != crc32c(&bytes[16..64]) {
        return refuse("its header is damaged".into());
    }
    let words = std::array::from_fn(|index| u32_at(bytes, 16 + index * 4));
    Ok(Config::from_words(words))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}

/// The live words.
#[derive(Debug)]
pub(crate) struct Live {
    mapping: Arc<Mapping>,
    init: Mutex<(Cell, Option<Vec<u8>>)>,
}

impl Live {
    pub(crate) fn open(mapping: &Arc<Mapping>) -> Self {
        let (cell, content) = Cell::open(mapping, INIT, INIT_HALF);
        Self {
            mapping: Arc::clone(mapping),
            init: Mutex::new((cell, unwrap_init(content))),
        }
    }

    pub(crate) fn session(&self) -> &AtomicU64 {
        self.mapping.word64(SESSION)
    }

    /// Counts a heartbeat and stamps it.
    pub(crate) fn beat(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let millis = now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000;
        self.mapping
            .word64(BEAT_AT)
            .store(millis, Ordering::Relaxed);
        self.mapping.word64(BEATS).fetch_add(1, Ordering::Release);
    }

    pub(crate) fn init(&self) -> Option<Vec<u8>> {
        self.init.lock().1.clone()
    }

    pub(crate) fn set_init(&self, blob: &[u8]) -> Result<(), StateError> {
        if blob.len() > INIT_ROOM {
            return Err(StateError::TooLong {
                what: "INIT result",
                len: blob.len(),
                room: INIT_ROOM,
            });
        }
        let framed = [&(blob.len() as u32).to_le_bytes(), blob].concat();
        let mut init = self.init.lock();
        init.0.write(INIT_KIND, &framed);
        init.1 = Some(blob.to_vec());
        Ok(())
    }
}

fn unwrap_init(content: Content) -> Option<Vec<u8>> {
    let Content::Value { kind, payload } = content else {
        return None;
    };
    let (len, body) = payload.split_first_chunk::<4>()?;
    let len = u32::from_le_bytes(*len) as usize;
    (kind == INIT_KIND).then(|| body.get(..len).map(<[u8]>::to_vec))?
}
