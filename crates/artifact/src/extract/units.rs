//! What is worked on at once: a run of frames with the wanted entries whose content they hold, or some entries that have
//! no content.

use std::ops::Range;

use crate::index::{Index, IndexKind};

/// Entries without content that one piece of work takes.
const PLAIN: usize = 256;

/// One piece of work. No two of them need the same frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// The frames, in order: one, or all of a large file.
    pub(super) frames: Range<usize>,
    /// The entries' numbers, in order. Directories are in none.
    pub(super) entries: Vec<usize>,
}

/// The frames that hold the content of the entries `wanted`, in order. Numbers that the index does not have are passed over.
pub fn frames_of(index: &Index, wanted: &[usize]) -> Vec<usize> {
    units(index, &sorted(index, wanted))
        .into_iter()
        .flat_map(|unit| unit.frames)
        .collect()
}

/// The numbers that the index has, each once, in order.
pub(super) fn sorted(index: &Index, wanted: &[usize]) -> Vec<usize> {
    let mut sorted: Vec<_> = wanted
        .iter()
        .copied()
        .filter(|number| *number < index.entries().len())
        .collect();
    sorted.sort_unstable();
    sorted.dedup();
    sorted
}

/// The work for `wanted`, which is sorted: what needs no frame first, then by the frames' order.
pub(super) fn units(index: &Index, wanted: &[usize]) -> Vec<Unit> {
    let mut plain: Vec<usize> = Vec::new();
    let mut units: Vec<Unit> = Vec::new();
    for number in wanted {
        let entry = &index.entries()[*number];
        let frames = index.location(entry).frames;
        if entry.kind == IndexKind::Directory {
            continue;
        }
        if frames.is_empty() {
            plain.push(*number);
            continue;
        }
        match units.last_mut() {
            // Entries stand in the order of the frames, so only the last unit can need the same frame.
            Some(last) if frames.start < last.frames.end => {
                last.frames.end = last.frames.end.max(frames.end);
                last.entries.push(*number);
            }
            _ => units.push(Unit {
                frames,
                entries: vec![*number],
            }),
        }
    }
    let plain = plain.chunks(PLAIN).map(|chunk| Unit {
        frames: 0..0,
        entries: chunk.to_vec(),
    });
    plain.chain(units).collect()
}
