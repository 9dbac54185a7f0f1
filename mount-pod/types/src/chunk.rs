//! Where in a file's chunks a byte range lies.

/// The size of a chunk in bytes (JuiceFS `ChunkSize`).
pub const CHUNK_SIZE: u64 = 64 << 20;

/// The part of a byte range that lies in one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkSpan {
    /// The chunk's index in the file.
    pub index: u32,
    /// The first byte, counted from the chunk's start.
    pub pos: u32,
    /// The number of bytes; never 0.
    pub len: u32,
}

impl ChunkSpan {
    /// The first byte, counted from the file's start.
    pub fn file_offset(&self) -> u64 {
        u64::from(self.index) * CHUNK_SIZE + u64::from(self.pos)
    }
}

/// Cuts `[offset, offset + len)` at the chunks' borders, in order.
pub fn chunk_spans(offset: u64, len: u64) -> impl Iterator<Item = ChunkSpan> {
    let end = offset.saturating_add(len);
    let mut at = offset;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let pos = at % CHUNK_SIZE;
        let take = (CHUNK_SIZE - pos).min(end - at);
        let span = ChunkSpan {
            index: (at / CHUNK_SIZE) as u32,
            pos: pos as u32,
            len: take as u32,
        };
        at += take;
        Some(span)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_range_over_a_border_is_cut_there() {
        let spans: Vec<_> = chunk_spans(CHUNK_SIZE - 10, 30).collect();
        assert_eq!(
            spans,
            [
                ChunkSpan {
                    index: 0,
                    pos: (CHUNK_SIZE - 10) as u32,
                    len: 10
                },
                ChunkSpan {
                    index: 1,
                    pos: 0,
                    len: 20
                },
            ],
        );
    }

    #[test]
    fn an_empty_range_has_no_spans() {
        assert_eq!(chunk_spans(5, 0).count(), 0, "no bytes, no spans");
    }

    proptest! {
        #[test]
        fn spans_tile_the_range(offset in 0u64..1 << 40, len in 0u64..1 << 30) {
            let mut at = offset;
            for span in chunk_spans(offset, len) {
                prop_assert_eq!(span.file_offset(), at);
                prop_assert!(u64::from(span.pos) + u64::from(span.len) <= CHUNK_SIZE);
                at += u64::from(span.len);
            }
            prop_assert_eq!(at, offset + len);
        }
    }
}
