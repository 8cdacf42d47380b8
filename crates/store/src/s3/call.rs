//! One request with its attempts: retries with backoff, and a watch over requests that do not move.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::S3;
use super::body::Piece;
use super::failure::{Doing, Failure};
use crate::{Download, Error, Event, retry};

/// After how long an answer is long in coming.
const LONG: Duration = Duration::from_secs(5);

/// What came of the attempts.
pub(super) struct Called<T> {
    pub(super) result: Result<T, Failure>,
    /// Whether an attempt before the last may have been done by the server all the same.
    pub(super) unclear: bool,
}

impl S3 {
    pub(super) fn doing(&self, action: &'static str, verb: &'static str, key: &str) -> Doing {
        Doing {
            action,
            verb,
            url: self.inner.url.url_of(key),
        }
    }

    /// Makes the request until it succeeds, fails for good, or all attempts are used.
    pub(super) async fn call<T, E, F, R>(&self, doing: &Doing, request: F) -> Result<T, Failure>
    where
        F: Fn() -> R,
        R: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        self.send(doing, None, request).await.result
    }

    /// Like [`S3::call`], for a request with a body whose progress is watched.
    pub(super) async fn send<T, E, F, R>(&self, doing: &Doing, piece: Option<&Piece>, request: F) -> Called<T>
    where
        F: Fn() -> R,
        R: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let (policy, stall) = (self.inner.options.retry, self.inner.options.stall_timeout);
        let mut unclear = false;
        let mut attempt = 1;
        loop {
            // Boxed: the SDK's futures have kilobytes, and would be part of every future that waits for one.
            let answer = Box::pin(request());
            let answer = match piece {
                Some(_) => watched(stall, piece, answer).await,
                None => self.said(doing, watched(stall, piece, answer)).await,
            };
            let failure = match answer {
                Some(Ok(value)) => {
                    return Called {
                        result: Ok(value),
                        unclear,
                    };
                }
                Some(Err(error)) => self.failure(doing, error),
                None => Failure::passing(Error::Stalled {
                    doing: doing.text(),
                    after: stall,
                }),
            };
            if !failure.again || attempt >= policy.attempts {
                return Called {
                    result: Err(counted(failure, attempt)),
                    unclear,
                };
            }
            unclear |= failure.unclear;
            self.pause(doing.text(), attempt, &failure.error).await;
            attempt += 1;
        }
    }

    /// Waits for an answer, and says so when that takes long. One to a body is waited for while that is sent, which has a meter.
    async fn said<T>(&self, doing: &Doing, answer: impl Future<Output = Option<T>>) -> Option<T> {
        let (mut answer, said) = (pin!(answer), &self.inner.waiting_said);
        let answer = match tokio::time::timeout(LONG, &mut answer).await {
            Ok(answer) => answer,
            Err(_) => {
                if !said.swap(true, Ordering::Relaxed) {
                    let left = self.inner.options.stall_timeout.saturating_sub(LONG);
                    self.emit(Event::Waiting {
                        doing: doing.text(),
                        left_seconds: left.as_secs(),
                    });
                }
                answer.await
            }
        };
        if answer.is_some() {
            said.store(false, Ordering::Relaxed);
        }
        answer
    }

    /// Reads a whole object, from its beginning again when it is cut.
    pub(super) async fn read_whole<T, F, R>(&self, key: &str, read: F) -> Result<T, Error>
    where
        F: Fn(Download) -> R,
        R: Future<Output = Result<T, Error>>,
    {
        let mut attempt = 1;
        loop {
            match read(self.open_object(key, None).await?).await {
                Err(error) if error.is_passing() && attempt < self.inner.options.retry.attempts => {
                    self.pause(self.doing("s3:GetObject", "reading", key).text(), attempt, &error)
                        .await;
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    /// Says that an attempt failed, and waits until the next.
    async fn pause(&self, doing: String, attempt: u32, error: &Error) {
        let policy = self.inner.options.retry;
        let wait = policy.wait(attempt);
        self.emit(Event::Retry {
            doing,
            attempt,
            attempts: policy.attempts,
            wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            reason: retry::cause(error),
        });
        tokio::time::sleep(wait).await;
    }
}

/// Waits for the request; gives up when for `stall` neither an answer came nor the body moved.
async fn watched<T>(stall: Duration, piece: Option<&Piece>, request: impl Future<Output = T>) -> Option<T> {
    let mut request = pin!(request);
    let mut seen = None;
    loop {
        if let Ok(done) = tokio::time::timeout(stall, &mut request).await {
            return Some(done);
        }
        let now = piece.map(Piece::counted);
        if now == seen || now.is_none() {
            return None;
        }
        seen = now;
    }
}

fn counted(mut failure: Failure, tried: u32) -> Failure {
    if let Error::Unreachable { attempts, .. } = &mut failure.error {
        *attempts = tried;
    }
    failure
}
