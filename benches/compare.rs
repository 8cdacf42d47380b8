//! Two sides of a case, measured in turn.

use std::time::Instant;

use serde::Serialize;

use crate::run::{children_cpu, settle};

/// How often each side runs. The first round warms the page cache and is not counted.
pub const ROUNDS: usize = 5;

/// What a case measured.
#[derive(Debug)]
pub enum Measured {
    /// Each round, ours and the peer's.
    Seconds(Vec<Took>, Vec<Took>),
    /// Bytes, ours and the peer's; they are the same each time.
    Bytes(u64, u64),
    /// Bytes of which the most depends on the input: ours, the peer's, what has to hold and what is aimed at.
    BytesWithin {
        ours: u64,
        peer: u64,
        safe: u64,
        aim: u64,
    },
    /// Against a limit, where there is no peer.
    Limited(Limited),
}

/// What amounts count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    S,
    Bytes,
    /// Milliseconds of the processors, user and system, in each second.
    #[serde(rename = "cpu-ms/s")]
    CpuMs,
}

/// What has a limit, in its unit.
#[derive(Debug)]
pub struct Limited {
    pub ours: f64,
    /// The least and the greatest of what was measured.
    pub range: [f64; 2],
    pub limit: f64,
    pub unit: Unit,
}

impl Limited {
    /// The limit is for the mean of all.
    #[allow(clippy::cast_precision_loss, reason = "some thousand at most")]
    pub fn all(values: &[f64], limit: f64, unit: Unit) -> Self {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        Self {
            ours: mean,
            ..Self::greatest(values, limit, unit)
        }
    }

    /// The limit is for each of them.
    pub fn greatest(values: &[f64], limit: f64, unit: Unit) -> Self {
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = values.iter().copied().fold(0.0, f64::max);
        Self {
            ours: greatest,
            range: [least, greatest],
            limit,
            unit,
        }
    }
}

/// What one round of one side took, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    /// From its start to its end.
    pub wall: f64,
    /// The processors' time of its programs, user and system. Other work on the machine moves it little, so it tells a
    /// slower program from a busy machine.
    pub cpu: f64,
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
            eprintln!(
                "  round {round}: ours {:.3} s ({:.2} s of cpu), the peer's {:.3} s ({:.2} s of cpu)",
                our_time.wall, our_time.cpu, peer_time.wall, peer_time.cpu
            );
            our_times.push(our_time);
            peer_times.push(peer_time);
        }
    }
    Measured::Seconds(our_times, peer_times)
}

fn timed(work: impl FnOnce()) -> Took {
    settle();
    let (started, before) = (Instant::now(), children_cpu());
    work();
    Took {
        wall: started.elapsed().as_secs_f64(),
        cpu: children_cpu() - before,
    }
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
