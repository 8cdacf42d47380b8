//! The clocks that locks go by.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// A moment of this machine, by a clock that goes on while the machine sleeps and that nobody sets: a laptop that was
/// closed has to find out that its lock ran out meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// Now.
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
        Self(Duration::new(seconds, nanos))
    }

    /// How long ago it was; zero for one that is to come.
    pub fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }

    /// How long it still is until `after` has passed since then.
    pub(crate) fn left(self, after: Duration) -> Duration {
        after.saturating_sub(self.elapsed())
    }
}

/// The time of day, in unix seconds.
pub(super) fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on() {
        let then = Moment::now();
        std::thread::sleep(Duration::from_millis(5));
        assert!(then.elapsed() >= Duration::from_millis(5));
        assert!(then.left(Duration::from_secs(60)) < Duration::from_secs(60));
        assert_eq!(then.left(Duration::ZERO), Duration::ZERO);
        assert!(unix_now() > 1_700_000_000);
    }
}
