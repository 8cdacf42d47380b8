//! Where a layer's frames are cut. Follows from the sorted listing alone, before any content is read.
//!
//! An entry ends its frame when the hash of its path falls below its size, so a cut depends on no other entry: when a
//! file changes, is added or goes, the frames before and after stay as they are. A least and a most bound the frames.

use crate::format::{CUT_MODULUS, LEAST_FRAME, MOST_FRAME};
use crate::hash::sha256;
use crate::header::{header_size, tar_size};
use crate::path::EntryPath;
use crate::tree::TreeEntry;

use std::ops::Range;

/// What goes into one frame or, for a large entry, into several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FramePlan {
    /// A frame of whole entries.
    Run(Range<usize>),
    /// An entry above the most: frames of its own, all but the last of them full.
    Large(usize),
}

/// Where an entry's headers will stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) frame: u32,
    pub(crate) frame_offset: u32,
    pub(crate) header_size: u32,
}

/// A layer's frames, planned.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) frames: Vec<FramePlan>,
    pub(crate) places: Vec<Place>,
    pub(crate) unpacked_size: u64,
}

/// Plans the frames of a sorted listing.
pub(crate) fn plan(entries: &[TreeEntry]) -> Plan {
    let mut planner = Planner::default();
    for (number, entry) in entries.iter().enumerate() {
        planner.add(number, entry);
    }
    planner.end_run(entries.len());
    planner.plan
}

#[derive(Default)]
struct Planner {
    plan: Plan,
    /// The first entry of the run that is open.
    start: usize,
    /// Bytes in the run that is open.
    filled: u64,
    /// The number of the frame that is open.
    frame: u32,
}

impl Planner {
    fn add(&mut self, number: usize, entry: &TreeEntry) {
        let size = tar_size(entry);
        if self.filled + size > MOST_FRAME {
            self.end_run(number);
        }
        let place = Place {
            frame: self.frame,
            frame_offset: self.filled as u32,
            header_size: header_size(entry),
        };
        self.plan.places.push(place);
        self.plan.unpacked_size += size;
        if size > MOST_FRAME {
            self.plan.frames.push(FramePlan::Large(number));
            self.frame += size.div_ceil(MOST_FRAME) as u32;
            self.start = number + 1;
            return;
        }
        self.filled += size;
        if self.filled >= LEAST_FRAME && path_hash(&entry.path) < size {
            self.end_run(number + 1);
        }
    }

    fn end_run(&mut self, end: usize) {
        if end > self.start {
            self.plan.frames.push(FramePlan::Run(self.start..end));
            self.frame += 1;
        }
        self.start = end;
        self.filled = 0;
    }
}

/// The first eight bytes of the path's SHA-256, big-endian, modulo 1 MiB.
fn path_hash(path: &EntryPath) -> u64 {
    let digest = sha256(path.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&digest.0[..8]);
    u64::from_be_bytes(first) % CUT_MODULUS
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::tree::Kind;

    fn files(sizes: impl IntoIterator<Item = u64>) -> Vec<TreeEntry> {
        let file = |(number, size): (usize, u64)| TreeEntry {
            path: EntryPath::new(format!("d/{number:06}")).unwrap(),
            kind: Kind::File { executable: false },
            size,
        };
        sizes.into_iter().enumerate().map(file).collect()
    }

    fn runs(entries: &[TreeEntry]) -> Vec<(u64, Vec<Vec<u8>>)> {
        let mut runs = Vec::new();
        for frame in plan(entries).frames {
            let range = match frame {
                FramePlan::Run(range) => range,
                FramePlan::Large(at) => at..at + 1,
            };
            let run = &entries[range];
            let size = run.iter().map(tar_size).sum();
            runs.push((size, run.iter().map(|e| e.path.as_bytes().to_vec()).collect()));
        }
        runs
    }

    #[test]
    fn frames_keep_between_least_and_most() {
        let entries = files((0..20_000).map(|n| n * 7919 % 30_000));
        let runs = runs(&entries);
        assert_eq!(
            runs.iter().map(|(_, run)| run.len()).sum::<usize>(),
            entries.len()
        );
        let (last, rest) = runs.split_last().unwrap();
        assert!(
            rest.iter()
                .all(|(size, _)| (LEAST_FRAME..=MOST_FRAME).contains(size))
        );
        assert!(last.0 <= MOST_FRAME);
        let average = rest.iter().map(|(size, _)| size).sum::<u64>() / rest.len() as u64;
        assert!((700_000..1_700_000).contains(&average), "{average}");
    }

    #[test]
    fn large_entries_have_frames_of_their_own() {
        let entries = files([10, MOST_FRAME, 10, 3 * MOST_FRAME - 512, 0]);
        let plan = plan(&entries);
        let expected = [
            FramePlan::Run(0..1),
            FramePlan::Large(1),
            FramePlan::Run(2..3),
            FramePlan::Large(3),
            FramePlan::Run(4..5),
        ];
        assert_eq!(plan.frames, expected);
        let frames: Vec<_> = plan
            .places
            .iter()
            .map(|place| (place.frame, place.frame_offset))
            .collect();
        assert_eq!(frames, [(0, 0), (1, 0), (3, 0), (4, 0), (7, 0)]);
        // One that fits to the byte is no large one.
        assert_eq!(
            super::plan(&files([MOST_FRAME - 512])).frames,
            [FramePlan::Run(0..1)]
        );
        assert!(super::plan(&[]).frames.is_empty());
    }

    #[test]
    fn cuts_come_together_again_after_a_change() {
        let before = files((0..30_000).map(|n| n * 7919 % 30_000));
        let mut after = before.clone();
        after.remove(7_000);
        after[20_000].size += 40_000;
        let frames = |entries: &[TreeEntry]| runs(entries).into_iter().collect::<HashSet<_>>();
        let (before, after) = (frames(&before), frames(&after));
        let new = after.difference(&before).count();
        assert!((2..=8).contains(&new), "{new} of {} frames are new", after.len());
    }
}
