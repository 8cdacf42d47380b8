//! Of which parts a new object is made when the store holds some of its bytes already: copied ones and own ones. Pure.
//!
//! S3 wants each part of an upload but the last to have at least 5 MiB, copied ones too. A copied run next to a smaller gap
//! gives up some of its bytes, which are then sent; a run that is too small is sent whole.

use std::ops::Range;

/// S3's least size of a part, but for the last.
pub(crate) const LEAST_PART: u64 = 5 << 20;

/// S3 takes no more parts.
pub(crate) const MOST_PARTS: usize = 10_000;

/// A copied part is not made larger than this where nothing else asks for it: several are copied at once.
const COPIED_PART: u64 = 256 << 20;

/// Below this, copying costs more requests than sending.
const WORTH_COPYING: u64 = 256 << 10;

/// How many runs back a run's best predecessor is looked for.
const LOOK_BACK: usize = 16;

/// A run of a new object's bytes that an object in the store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The key of the object that holds it.
    pub key: String,
    /// Where it begins in that object.
    pub from: u64,
    /// Which bytes of the new object it is.
    pub at: Range<u64>,
}

impl Held {
    fn len(&self) -> u64 {
        self.at.end.saturating_sub(self.at.start)
    }

    /// These bytes of the new object, of those that it is.
    fn cut(&self, at: Range<u64>) -> Self {
        Self {
            key: self.key.clone(),
            from: self.from + (at.start - self.at.start),
            at,
        }
    }

    fn goes_on(&self, next: &Self) -> bool {
        self.key == next.key && self.at.end == next.at.start && self.from + self.len() == next.from
    }
}

/// One part of the upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Copied within the store.
    Copied(Held),
    /// Sent: these bytes of the new object.
    Own(Range<u64>),
}

impl Part {
    /// Which bytes of the new object it is.
    pub(crate) fn at(&self) -> &Range<u64> {
        match self {
            Self::Copied(held) => &held.at,
            Self::Own(at) => at,
        }
    }
}

/// What the parts have to keep to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Own parts have this size, or a little more where there would be a small one; more when there would be too many.
    pub(crate) own_part: u64,
    /// No copied part is larger; taken for 10 MiB when it is less.
    pub(crate) largest_copy: u64,
}

/// The parts in order, without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) parts: Vec<Part>,
}

impl Plan {
    /// Bytes that are copied.
    pub(crate) fn copied(&self) -> u64 {
        let copied = |part: &Part| match part {
            Part::Copied(held) => held.len(),
            Part::Own(_) => 0,
        };
        self.parts.iter().map(copied).sum()
    }

    /// Bytes that are sent.
    pub(crate) fn sent(&self) -> u64 {
        let sent = |part: &Part| match part {
            Part::Copied(_) => 0,
            Part::Own(at) => at.end - at.start,
        };
        self.parts.iter().map(sent).sum()
    }

    /// Cuts each copied part of which `whole` says that it is all of an object in two, where both are large enough.
    pub(crate) fn halve(&mut self, whole: impl Fn(&Held) -> bool) {
        let parts = std::mem::take(&mut self.parts);
        let mut spare = MOST_PARTS.saturating_sub(parts.len());
        for part in parts {
            match part {
                Part::Copied(held) if spare > 0 && held.len() >= 2 * LEAST_PART && whole(&held) => {
                    spare -= 1;
                    let middle = held.at.start + held.len() / 2;
                    self.parts.push(Part::Copied(held.cut(held.at.start..middle)));
                    self.parts.push(Part::Copied(held.cut(middle..held.at.end)));
                }
                part => self.parts.push(part),
            }
        }
    }
}

/// The runs sorted and without overlaps; where several hold the same byte the one that begins first has it, and of those the
/// longest. Runs that go on in one object are joined.
pub(crate) fn disjoint(held: &[Held], size: u64) -> Vec<Held> {
    let mut sorted: Vec<&Held> = held.iter().filter(|run| run.at.end <= size).collect();
    sorted.sort_by_key(|run| (run.at.start, u64::MAX - run.at.end));
    let mut runs: Vec<Held> = Vec::new();
    for run in sorted {
        let start = runs.last().map_or(0, |last| last.at.end).max(run.at.start);
        if start >= run.at.end {
            continue;
        }
        let run = run.cut(start..run.at.end);
        match runs.last_mut() {
            Some(last) if last.goes_on(&run) => last.at.end = run.at.end,
            _ => runs.push(run),
        }
    }
    runs
}

/// The parts of an object of `size` bytes of which `held` are in the store; nothing when copying is not worth it.
pub(crate) fn plan(size: u64, held: &[Held], limits: Limits) -> Option<Plan> {
    let runs = disjoint(held, size);
    let largest = limits.largest_copy.max(2 * LEAST_PART);
    let (mut least_run, mut own_part, mut copied_part) =
        (LEAST_PART, limits.own_part.max(LEAST_PART), COPIED_PART);
    loop {
        let chosen = choose(&runs, size, least_run);
        let parts = parts(&chosen, size, own_part, copied_part.min(largest));
        if parts.len() <= MOST_PARTS {
            let plan = Plan { parts };
            return (plan.copied() >= WORTH_COPYING).then_some(plan);
        }
        least_run *= 2;
        own_part *= 2;
        copied_part *= 2;
    }
}

/// The best way to copy up to and with a run.
#[derive(Clone, Copy)]
struct Best {
    /// Bytes that are copied in all.
    copied: u64,
    /// What the run gives up at its beginning.
    head: u64,
    /// The run before it, and what that gives up at its end.
    before: Option<(usize, u64)>,
}

/// The runs that are copied, cut so that what lies between two of them is nothing or a whole part.
fn choose(runs: &[Held], size: u64, least_run: u64) -> Vec<Held> {
    let runs: Vec<&Held> = runs
        .iter()
        .filter(|run| run.len() >= least_run || run.at.end == size)
        .collect();
    let mut best: Vec<Option<Best>> = Vec::with_capacity(runs.len());
    for (number, run) in runs.iter().enumerate() {
        let least = if run.at.end == size { 1 } else { LEAST_PART };
        let mut found = first(run, least);
        for before in (number.saturating_sub(LOOK_BACK)..number).rev() {
            let next = best[before].and_then(|state| follow(runs[before], before, state, run, least));
            found = better(found, next);
        }
        best.push(found);
    }
    let last = (0..runs.len())
        .filter(|number| best[*number].is_some())
        .max_by_key(|number| best[*number].map_or(0, |state| state.copied));
    let mut chosen = Vec::new();
    let (mut next, mut tail) = (last, 0);
    while let Some((number, state)) = next.and_then(|number| Some((number, best[number]?))) {
        let run = runs[number];
        chosen.push(run.cut(run.at.start + state.head..run.at.end - tail));
        next = state.before.map(|(before, _)| before);
        tail = state.before.map_or(0, |(_, tail)| tail);
    }
    chosen.reverse();
    chosen
}

/// A run as the first that is copied.
fn first(run: &Held, least: u64) -> Option<Best> {
    let head = lacking(run.at.start);
    (run.len() >= head + least).then(|| Best {
        copied: run.len() - head,
        head,
        before: None,
    })
}

/// A run after another one: the one before gives up what it can, for that helps no gap any more.
fn follow(before: &Held, number: usize, state: Best, run: &Held, least: u64) -> Option<Best> {
    let needed = lacking(run.at.start - before.at.end);
    let spare = (before.len() - state.head).saturating_sub(LEAST_PART);
    let tail = needed.min(spare);
    let head = needed - tail;
    (run.len() >= head + least).then(|| Best {
        copied: state.copied - tail + run.len() - head,
        head,
        before: Some((number, tail)),
    })
}

/// How many bytes a gap lacks to be a part.
fn lacking(gap: u64) -> u64 {
    if gap == 0 {
        0
    } else {
        LEAST_PART.saturating_sub(gap)
    }
}

fn better(a: Option<Best>, b: Option<Best>) -> Option<Best> {
    match (a, b) {
        (Some(a), Some(b)) => {
            let worse = (a.copied, u64::MAX - a.head) < (b.copied, u64::MAX - b.head);
            Some(if worse { b } else { a })
        }
        (a, b) => a.or(b),
    }
}

fn parts(chosen: &[Held], size: u64, own_part: u64, copied_part: u64) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut at = 0;
    for run in chosen {
        parts.extend(split(at..run.at.start, own_part).map(Part::Own));
        let pieces = split(run.at.clone(), copied_part);
        parts.extend(pieces.map(|piece| Part::Copied(run.cut(piece))));
        at = run.at.end;
    }
    parts.extend(split(at..size, own_part).map(Part::Own));
    parts
}

/// Even pieces of about `most` bytes, none below the least size of a part where the whole is not.
fn split(whole: Range<u64>, most: u64) -> impl Iterator<Item = Range<u64>> {
    let len = whole.end - whole.start;
    let mut count = len.div_ceil(most);
    if count > 1 && len / count < LEAST_PART {
        count -= 1;
    }
    let edge = move |number: u64| {
        // In 128 bits: a product of two sizes.
        let offset = u128::from(len) * u128::from(number) / u128::from(count.max(1));
        whole.start + u64::try_from(offset).unwrap_or(len)
    };
    (0..count).map(move |number| edge(number)..edge(number + 1))
}

#[cfg(test)]
mod tests;
