//! Two sides of a case, measured in turn.

use std::time::Instant;

use crate::run::settle;

/// How often each side runs. The first round warms the page cache and is not counted.
pub const ROUNDS: usize = 5;

/// What a case measured.
#[derive(Debug)]
pub enum Measured {
    /// Seconds of each round, ours and the peer's.
    Seconds(Vec<f64>, Vec<f64>),
    /// Bytes, ours and the peer's; they are the same each time.
    Bytes(u64, u64),
}

/// Runs both sides in turn, `rounds` counted times after one that warms up. What a side prepares is outside of its time:
/// it hands back what is timed. The first side changes with each round, and what was written before is on disk by then.
pub fn in_turn<A, B>(
    rounds: usize,
    mut ours: impl FnMut(usize) -> A,
    mut peer: impl FnMut(usize) -> B,
) -> Measured
where
    A: FnOnce(),
    B: FnOnce(),
{
    let (mut our_times, mut peer_times) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let (our_time, peer_time) = if round.is_multiple_of(2) {
            let first = timed(ours(round));
            (first, timed(peer(round)))
        } else {
            let first = timed(peer(round));
            (timed(ours(round)), first)
        };
        if round > 0 {
            eprintln!("  round {round}: ours {our_time:.3} s, the peer's {peer_time:.3} s");
            our_times.push(our_time);
            peer_times.push(peer_time);
        }
    }
    Measured::Seconds(our_times, peer_times)
}

fn timed(work: impl FnOnce()) -> f64 {
    settle();
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64()
}

/// The middle one; the mean of the two in the middle of an even number.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    }
}
