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
    append(&mut text, error.source());
    text
}

fn append(text: &mut String, mut cause: Option<&(dyn std::error::Error + 'static)>) {
    while let Some(error) = cause {
        let next = error.to_string();
        // Several libraries repeat their cause in their own message.
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
}

/// Why an attempt failed, where what was being done is said beside it, and how often too.
pub(crate) fn cause(error: &Error) -> String {
    match error {
        Error::Unreachable { source, .. } => {
            let mut text = "no answer".to_owned();
            append(&mut text, Some(source.as_ref()));
            text
        }
        Error::Stalled { after, .. } => format!("nothing was received or sent for {} s", after.as_secs()),
        Error::Server {
            status, code, detail, ..
        } => format!("the server answered {status} {code}{detail}"),
        Error::Corrupt { why, .. } => why.clone(),
        other => reason(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_being_done_is_not_said_twice() {
        let doing = || "reading s3://shop/x".to_owned();
        let refused: crate::BoxError = "connection refused".into();
        let errors = [
            Error::Unreachable {
                doing: doing(),
                attempts: 1,
                source: refused,
            },
            Error::Stalled {
                doing: doing(),
                after: Duration::from_secs(30),
            },
            Error::Server {
                doing: doing(),
                status: 503,
                code: "SlowDown".into(),
                detail: ": later".into(),
                passing: true,
            },
            Error::Corrupt {
                url: "s3://shop/x".into(),
                why: "other bytes".into(),
            },
        ];
        let causes: Vec<_> = errors.iter().map(cause).collect();
        assert_eq!(
            causes,
            [
                "no answer: connection refused",
                "nothing was received or sent for 30 s",
                "the server answered 503 SlowDown: later",
                "other bytes"
            ]
        );
    }

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
