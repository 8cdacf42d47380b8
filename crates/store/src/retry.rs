//! How often something is tried again, how long it waits in between, and how that is said.

use std::error::Error as _;
use std::time::Duration;

use crate::Error;

/// How often a request is tried, and how long the waits are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, at least one.
    pub attempts: u32,
    /// Until the second attempt; doubled each time after.
    pub first_wait: Duration,
    /// No wait is longer.
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 6,
            first_wait: Duration::from_millis(250),
            longest_wait: Duration::from_secs(10),
        }
    }
}

impl RetryPolicy {
    /// The wait after a failed attempt, counted from 1: between half and all of the doubled time, so that many
    /// publishers that failed together do not come back together.
    pub(crate) fn wait(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(16);
        let full = self
            .first_wait
            .saturating_mul(1 << doublings)
            .min(self.longest_wait);
        full.mul_f64(0.5 + 0.5 * fastrand::f64())
    }
}

/// An error with its causes in one line.
pub(crate) fn reason(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Several libraries repeat their cause in their own message.
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let policy = RetryPolicy {
            attempts: 9,
            first_wait: Duration::from_millis(100),
            longest_wait: Duration::from_millis(500),
        };
        for (attempt, full) in [(1, 100), (2, 200), (3, 400), (4, 500), (40, 500)] {
            let wait = policy.wait(attempt).as_millis();
            assert!((full / 2..=full).contains(&wait), "{attempt}: {wait}");
        }
    }
}
