//! One request and its repetitions.
//!
//! What is repeated: a read and a write that may be done twice, on a failed connection and on a 5xx. What passes by itself (a
//! cluster that elects a leader, an agent that starts again) is waited for as long as the client's patience lasts, and only then is
//! an error.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;

use super::client::Client;
use super::error::Error;

/// The wait before the second attempt; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// An attempt after the first one has this much time at least.
const LEAST_TIMEOUT: Duration = Duration::from_secs(1);
/// An answer's error text is cut here, in characters.
const REASON_LIMIT: usize = 500;
/// What agents say before they have passed a request on: nothing was done.
const NOTHING_DONE: [&str; 2] = ["No cluster leader", "No known Consul servers"];
/// What agents and servers say while a leader is elected, or a server goes or comes.
const PASSING: [&str; 9] = [
    "rpc error",
    "leadership lost",
    "not the leader",
    "not leader",
    "failed to get conn",
    "leadership transfer in progress",
    "connection refused",
    "raft is already shutdown",
    "EOF",
];

/// When a request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Whenever it failed for a reason that passes: doing it twice is doing it once.
    Always,
    /// Only when the one before surely did nothing.
    WhileNothingWasDone,
}

/// A request, and the words for its failure.
#[derive(Debug)]
pub(super) struct Call {
    pub method: Method,
    pub url: Url,
    pub body: Vec<u8>,
    /// What is being done, for errors.
    pub doing: String,
    /// The ACL rule that allows it.
    pub rule: String,
    pub repeat: Repeat,
    /// How long Consul holds the answer back by itself.
    pub held: Duration,
    /// Whether another status than 200 is an answer, too.
    pub also: Option<StatusCode>,
}

impl Call {
    /// A request without a body that may be repeated.
    pub fn new(method: Method, url: Url, doing: String) -> Self {
        Call {
            method,
            url,
            body: Vec::new(),
            doing,
            rule: String::new(),
            repeat: Repeat::Always,
            held: Duration::ZERO,
            also: None,
        }
    }

    pub fn rule(mut self, rule: String) -> Self {
        self.rule = rule;
        self
    }

    pub fn body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    pub fn also(mut self, status: StatusCode) -> Self {
        self.also = Some(status);
        self
    }
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body, as what is due.
    pub fn json<T: DeserializeOwned>(&self, client: &Client, call: &Call) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| Error::NotConsul {
            doing: call.doing.clone(),
            address: client.address.clone(),
            reason: format!("its answer is not the JSON that is due ({error})"),
        })
    }

    /// Consul's index of what was read; none when a proxy or another program answered.
    pub fn index(&self) -> Option<u64> {
        self.headers.get("X-Consul-Index")?.to_str().ok()?.parse().ok()
    }

    /// Whether entries were left out because the token may not read them (Consul 1.11 and newer say so).
    pub fn is_filtered(&self) -> bool {
        let header = self.headers.get("X-Consul-Results-Filtered-By-ACLs");
        header.is_some_and(|value| value == "true")
    }
}

/// Whether another attempt is allowed after a failed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    No,
    /// As often as the config says.
    Few,
    /// For as long as the client's patience lasts.
    Patiently,
}

impl Client {
    /// Sends a call, again where that is allowed, and gives the answer of a 200. Says so when that takes long.
    pub(super) async fn send(&self, call: &Call) -> Result<Answer, Error> {
        let work = self.send_again(call);
        self.on_wait
            .during(&call.doing, &self.address, self.patience, call.held, work)
            .await
    }

    async fn send_again(&self, call: &Call) -> Result<Answer, Error> {
        let mut begin = Instant::now();
        let mut wait = FIRST_WAIT;
        let mut attempt = 1;
        let mut timeout = self.timeout;
        let mut refusal = None;
        loop {
            let (error, again) = match self.try_once(call, attempt, timeout + call.held).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            // That Consul held the answer back for long is no reason to have less patience.
            if attempt == 1 && !call.held.is_zero() {
                begin = Instant::now();
            }
            let left = self.patience.saturating_sub(begin.elapsed());
            let goes_on = match again {
                Again::No => false,
                Again::Few => attempt < self.attempts && left > wait,
                Again::Patiently => left > wait,
            };
            if !goes_on {
                // What Consul said before tells more than that the rest of the time was too short.
                return Err(match (&error, refusal) {
                    (Error::Late { .. }, Some(refusal)) => refusal,
                    _ => error,
                });
            }
            if matches!(error, Error::Refused { .. }) {
                refusal = Some(error);
            }
            tokio::time::sleep(wait).await;
            timeout = (left - wait).max(LEAST_TIMEOUT).min(self.timeout);
            wait = wait.saturating_mul(2).min(LONGEST_WAIT);
            attempt += 1;
        }
    }

    async fn try_once(&self, call: &Call, attempt: u32, timeout: Duration) -> Result<Answer, (Error, Again)> {
        let mut request = self.http.request(call.method.clone(), call.url.clone());
        if call.method != Method::GET {
            // Bytes at hand have a Content-Length: Consul answers 400 to a chunked body, or drops it silently.
            request = request.body(call.body.clone());
        }
        let answer = match request.timeout(timeout).send().await {
            Ok(answer) => answer,
            Err(source) => return Err(self.no_answer(call, attempt, source)),
        };
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = match answer.bytes().await {
            Ok(body) => body.to_vec(),
            Err(source) => return Err(self.no_answer(call, attempt, source)),
        };
        if status == StatusCode::OK || call.also == Some(status) {
            self.answered.store(true, Ordering::Relaxed);
            return Ok(Answer {
                status,
                headers,
                body,
            });
        }
        Err(self.refused(call, status, &body))
    }

    fn no_answer(&self, call: &Call, attempts: u32, source: reqwest::Error) -> (Error, Again) {
        let source = source.without_url();
        let (doing, address) = (call.doing.clone(), self.address.clone());
        if !source.is_connect() && call.repeat == Repeat::WhileNothingWasDone {
            let error = Error::NoAnswer {
                doing,
                address,
                source,
            };
            return (error, Again::No);
        }
        // An agent that has answered before starts again; one that never did may not be there at all.
        let again = if self.answered.load(Ordering::Relaxed) {
            Again::Patiently
        } else {
            Again::Few
        };
        let error = if source.is_timeout() && !source.is_connect() {
            Error::Late {
                doing,
                address,
                attempts,
                source,
            }
        } else {
            Error::Unreachable {
                doing,
                address,
                attempts,
                source,
            }
        };
        (error, again)
    }

    fn refused(&self, call: &Call, status: StatusCode, body: &[u8]) -> (Error, Again) {
        let text = String::from_utf8_lossy(body);
        let reason: String = text.trim().chars().take(REASON_LIMIT).collect();
        let says = |words: &[&str]| words.iter().any(|words| reason.contains(words));
        let (doing, address) = (call.doing.clone(), self.address.clone());
        // An unknown token, and a denial that came over from a server, are 500 to some versions.
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
            || says(&["ACL not found", "Permission denied"])
        {
            return (self.denied(call, reason), Again::No);
        }
        let not_consul = |reason| Error::NotConsul {
            doing: doing.clone(),
            address: address.clone(),
            reason,
        };
        if status == StatusCode::NOT_FOUND {
            return (
                not_consul(format!("it has no {} (404)", call.url.path())),
                Again::No,
            );
        }
        if status.is_redirection() {
            return (
                not_consul(format!("it redirects elsewhere ({status})")),
                Again::No,
            );
        }
        let again = if says(&NOTHING_DONE) {
            Again::Patiently
        } else if call.repeat == Repeat::WhileNothingWasDone {
            Again::No
        } else if status == StatusCode::TOO_MANY_REQUESTS || (status.is_server_error() && says(&PASSING)) {
            Again::Patiently
        } else if status.is_server_error() {
            Again::Few
        } else {
            Again::No
        };
        let error = Error::Refused {
            doing,
            address,
            status: status.as_u16(),
            reason,
        };
        (error, again)
    }

    /// The token does not allow a call.
    pub(super) fn denied(&self, call: &Call, reason: String) -> Error {
        Error::Denied {
            doing: call.doing.clone(),
            address: self.address.clone(),
            reason,
            rule: call.rule.clone(),
            token: self.has_token,
        }
    }
}
