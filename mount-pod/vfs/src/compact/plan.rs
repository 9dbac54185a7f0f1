//! What of a chunk's list is to be replaced, and by what.

use carafe_types::{CHUNK_SIZE, Segment, Slice, overlay};

/// A list gets a record more for so many bytes that would have to be moved, before it
/// is worth it: what compaction writes stays in proportion to what made it needed.
const BYTES_A_RECORD: u32 = 256 << 10;
/// The most records that are looked at at a time.
const MOST: usize = 1000;
/// A slice that stands first is kept if it is this long …
const LARGE: u32 = 1 << 20;
/// … and at least such a part of what would be moved.
const PART: u32 = 5;
/// A hole of this length is not filled with zeros: it parts two runs.
const WIDE: u32 = 1 << 20;

/// Bytes that stand together and become one slice.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) pos: u32,
    pub(super) len: u32,
    segments: Vec<Segment>,
}

impl Run {
    fn new(first: Segment) -> Self {
        Self {
            pos: first.pos,
            len: first.len,
            segments: vec![first],
        }
    }

    /// What `[off, off + len)` of it reads as.
    pub(super) fn part(&self, off: u32, len: u32) -> impl Iterator<Item = Segment> + '_ {
        let (start, end) = (self.pos + off, self.pos + off + len);
        let meets =
            move |segment: &&Segment| segment.pos < end && segment.pos + segment.len > start;
        self.segments.iter().filter(meets).map(move |segment| {
            let pos = segment.pos.max(start);
            let off = if segment.id.is_hole() {
                0
            } else {
                segment.off + (pos - segment.pos)
            };
            Segment {
                pos,
                len: (segment.pos + segment.len).min(end) - pos,
                off,
                ..*segment
            }
        })
    }
}

/// A compaction to be made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan<'a> {
    pub(super) front: &'a [Slice],
    pub(super) keep: usize,
    pub(super) runs: Vec<Run>,
}

/// Whether a list has `long` records, and enough for the bytes that it may be about.
pub(super) fn is_worth(list: &[Slice], long: usize) -> bool {
    if long == 0 || list.len() < long {
        return false;
    }
    let data = || list.iter().filter(|slice| !slice.id.is_hole());
    let end = data().map(|slice| slice.pos + slice.len).max().unwrap_or(0);
    let start = data().map(|slice| slice.pos).min().unwrap_or(0);
    list.len() as u32 >= (end - start) / BYTES_A_RECORD
}

/// How to shorten a list; `None` if it would not get much shorter.
pub(super) fn plan(list: &[Slice]) -> Option<Plan<'_>> {
    let front = &list[..list.len().min(MOST)];
    let mut keep = 0;
    let mut runs = runs(front);
    while keep < front.len() && is_kept(&front[keep..], &runs) {
        keep += 1;
        runs = self::runs(&front[keep..]);
    }
    let replaced = front.len() - keep;
    (runs.len() * 2 < replaced).then_some(Plan { front, keep, runs })
}

/// Whether the first of `list`, which reads as `runs`, is better left where it is.
fn is_kept(list: &[Slice], runs: &[Run]) -> bool {
    let Some((first, later)) = list.split_first() else {
        return false;
    };
    let moved: u32 = runs.iter().map(|run| run.len).sum();
    let overlaid = later
        .iter()
        .any(|slice| slice.pos < first.pos + first.len && slice.pos + slice.len > first.pos);
    !first.id.is_hole() && !overlaid && first.len >= LARGE && first.len >= moved / PART
}

/// What a list reads as, without its wide holes.
fn runs(list: &[Slice]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut hole = None;
    for segment in overlay(list, 0, CHUNK_SIZE as u32) {
        if segment.id.is_hole() {
            hole = Some(segment);
            continue;
        }
        match (runs.last_mut(), hole.take()) {
            (Some(run), None) if run.pos + run.len == segment.pos => run.push(segment),
            (Some(run), Some(hole)) if hole.len < WIDE => {
                run.push(hole);
                run.push(segment);
            }
            _ => runs.push(Run::new(segment)),
        }
    }
    runs
}

impl Run {
    fn push(&mut self, segment: Segment) {
        self.len += segment.len;
        self.segments.push(segment);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use carafe_types::SliceId;
    use proptest::prelude::*;

    use super::*;

    fn slice(number: u64, pos: u32, len: u32) -> Slice {
        Slice::whole(pos, SliceId(number + 1), len)
    }

    #[test]
    fn a_short_list_is_left_alone_and_so_is_one_with_few_records_for_its_bytes() {
        let small: Vec<_> = (0..100)
            .map(|at| slice(at, at as u32 * 4096, 4096))
            .collect();
        assert!(!is_worth(&small[..99], 100));
        assert!(is_worth(&small, 100));
        let large: Vec<_> = (0..100)
            .map(|at| slice(at, at as u32 * 600_000, 600_000))
            .collect();
        assert!(!is_worth(&large, 100));
        let cut: Vec<_> = (0..100).map(|_| Slice::hole(0, 1 << 26)).collect();
        assert!(is_worth(&cut, 100), "holes cost nothing");
    }

    #[test]
    fn a_large_slice_that_stands_first_is_kept() {
        let mut list = vec![slice(0, 0, 8 << 20)];
        list.extend((1..150).map(|at| slice(at, (8 << 20) + at as u32 * 1000, 1000)));
        let plan = plan(&list).unwrap();
        assert_eq!((plan.keep, plan.runs.len()), (1, 1));
        assert_eq!(
            (plan.runs[0].pos, plan.runs[0].len),
            ((8 << 20) + 1000, 149_000)
        );
        list.push(slice(200, 100, 1));
        assert_eq!(super::plan(&list).unwrap().keep, 0, "something overlays it");
    }

    #[test]
    fn wide_holes_are_not_filled_and_narrow_ones_are() {
        let mut list: Vec<_> = (0..100)
            .map(|at| slice(at, at as u32 * 2000, 1000))
            .collect();
        list.push(slice(100, 4 << 20, 1000));
        let runs = plan(&list).unwrap().runs;
        let places: Vec<_> = runs.iter().map(|run| (run.pos, run.len)).collect();
        assert_eq!(places, [(0, 199_000), (4 << 20, 1000)]);
    }

    #[test]
    fn nothing_takes_the_place_of_holes() {
        let list: Vec<_> = (0..100).map(|at| Slice::hole(at * 10, 20)).collect();
        assert_eq!(plan(&list).unwrap().runs, []);
    }

    fn lists() -> impl Strategy<Value = Vec<Slice>> {
        let one = (0u32..(6 << 20), 1u32..(3 << 20), 0u32..20, 0..5);
        prop::collection::vec(one, 1..40).prop_map(|list| {
            let of = |(number, (pos, len, off, kind)): (usize, (u32, u32, u32, i32))| match kind {
                0 => Slice::hole(pos, len),
                _ => Slice {
                    size: off + len,
                    off,
                    ..slice(number as u64, pos, len)
                },
            };
            list.into_iter().enumerate().map(of).collect()
        })
    }

    proptest! {
        /// Each byte comes from where it came from before.
        #[test]
        fn a_compacted_list_reads_the_same(list in lists()) {
            let Some(plan) = plan(&list) else { return Ok(()) };
            let mut after = list[..plan.keep].to_vec();
            for (number, run) in plan.runs.iter().enumerate() {
                after.push(slice(1000 + number as u64, run.pos, run.len));
            }
            let source = |pos: u32| {
                let [segment] = overlay(&after, pos, 1)[..] else { return None };
                let run = segment.id.0.checked_sub(1001).map(|number| &plan.runs[number as usize]);
                Some(match run {
                    None => (segment.id, segment.off),
                    Some(run) => run.part(segment.off, 1).map(|part| (part.id, part.off)).next()?,
                })
            };
            for segment in overlay(&list, 0, CHUNK_SIZE as u32) {
                for at in [0, segment.len / 2, segment.len - 1] {
                    let off = if segment.id.is_hole() { 0 } else { segment.off + at };
                    prop_assert_eq!(source(segment.pos + at), Some((segment.id, off)));
                }
            }
        }
    }
}
