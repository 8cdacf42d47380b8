//! Two sides of a case, measured in turn.

use std::time::Instant;

use crate::run::settle;

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

/// The seconds that all ended children ran, theirs included.
fn children_cpu() -> f64 {
    /// Linux gives these times in hundredths, whatever the kernel's own clock.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux has /proc");
    // The program's name, in parentheses, may hold spaces; `cutime` and `cstime` are the 14th and 15th after it.
    let (_, fields) = stat.rsplit_once(')').expect("the name stands in parentheses");
    let times = fields.split_whitespace().skip(13).take(2);
    times
        .map(|ticks| ticks.parse::<f64>().expect("a number") / TICKS)
        .sum()
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
