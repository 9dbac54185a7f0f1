//! The words that every crate of the client shares, and nothing that does I/O.
//!
//! A file is cut into 64 MiB **chunks**; a chunk is a list of **slices** (one
//! continuous write each), of which later ones overlay earlier ones; a slice is
//! stored as **blocks**, one immutable object each. The format is that of
//! JuiceFS Community Edition 1.3 (MetaVersion 1).

mod acl;
mod attr;
mod block;
mod chunk;
mod clock;
mod error;
mod format;
mod id;
mod secret;
mod slice;

pub use acl::{Acl, AclKind};
pub use attr::{Attr, FileType, Timestamp, flags};
pub use block::{BlockKey, block_count, block_len};
pub use chunk::{CHUNK_SIZE, ChunkSpan, chunk_spans};
pub use clock::{Clock, ManualClock, SystemClock};
pub use error::{Error, Result};
pub use format::{Compression, Format, FormatError, META_VERSION};
pub use id::{Ino, SessionId, SliceId};
pub use secret::{Secret, open_secret, seal_secret};
pub use slice::{SLICE_RECORD_LEN, Segment, Slice, SliceDecodeError, overlay};
