//! Following a kick: from the moment that hosts were told until each has said its last word, too many failed, the deadline is
//! over, or whoever waits wants to stop.
//!
//! [`Tracker`] knows what a report makes of a host; [`follow`] feeds it from a [`Board`] by blocking reads. A board that does not
//! answer is asked again until the deadline: hosts go on without it. Not here: telling hosts, waves, what is shown.

mod track;

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future;
use futures_util::stream::{self, StreamExt as _};
use serde::Serialize;
use tokio::time::{sleep, timeout};

pub use track::{Change, HostNow, Told, Tracker, Verdict, Wanted};

use crate::board::{Board, Cursor, Error};

/// The longest that one read blocks.
const LONGEST_READ: Duration = Duration::from_secs(10);
/// How much later than it should a read may end until that is said: the board's client tries again by itself for a while.
const LATE: Duration = Duration::from_secs(3);
/// How long the last look may take, when the deadline is over.
const LAST_LOOK: Duration = Duration::from_secs(2);
/// How often checks of a service are looked at, while a host waits for them.
const BETWEEN_CHECKS: Duration = Duration::from_secs(1);
/// The wait after a read that failed; it doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(4);
/// Each read brings the reports of all hosts: with many hosts, fewer reads. Those of a few cost next to nothing.
const FEW: usize = 32;
const GAP_PER_HOST: Duration = Duration::from_micros(500);
const LONGEST_GAP: Duration = Duration::from_millis(500);
/// How often a log is looked for that should be there: it is written beside the report, not with it.
const LOG_TRIES: u32 = 4;
const BETWEEN_LOG_TRIES: Duration = Duration::from_millis(250);
/// Of so many hosts logs are read, so many at once, and for so long: a board that is gone must not keep the kick's end.
const MOST_LOGS: usize = 50;
const LOGS_AT_ONCE: usize = 8;
const LOGS_LIMIT: Duration = Duration::from_secs(8);

/// The health checks of a role's service.
#[async_trait]
pub trait Checks: Send + Sync {
    /// The service's name.
    fn service(&self) -> &str;

    /// The checks that fail, by node; a node that is not among them does not have the service.
    async fn failing(&self, nodes: &[String]) -> Result<BTreeMap<String, Vec<String>>, Error>;
}

/// What is followed, and how long.
pub struct Following<'a> {
    /// Where reports are.
    pub board: &'a dyn Board,
    /// The role; `<role>.once` for its `once` manifest.
    pub role: &'a str,
    /// What [`Board::ask`] gave.
    pub since: Cursor,
    /// How long hosts have, from now on.
    pub limit: Duration,
    /// Looked at where [`Wanted::checked`] is set.
    pub checks: Option<&'a dyn Checks>,
}

/// What happens, as it happens.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A host's state changed.
    Host(Change),
    /// The board does not answer; it is asked again until the deadline.
    Lost {
        /// Why not.
        reason: String,
    },
    /// The board answers again.
    Back {
        /// After how many seconds.
        seconds: f64,
    },
}

/// Why following ended.
#[derive(Debug)]
pub enum End {
    /// Each host that is waited for said its last word.
    Done,
    /// More hosts failed than may; others may still be at work.
    TooMany,
    /// The deadline is over.
    Deadline,
    /// Whoever waits wants to stop; hosts go on.
    Stopped,
    /// The board cannot be read, and waiting would not help.
    Error(Error),
}

/// Follows the tracker's hosts; the tracker has their last states, whatever the end.
pub async fn follow(
    following: &Following<'_>,
    tracker: &mut Tracker,
    stop: impl Future<Output = ()>,
    on_event: &(dyn Fn(Event) + Send + Sync),
) -> End {
    let begin = Instant::now();
    let deadline = begin + following.limit;
    let mut reader = Reader::new(following);
    tokio::pin!(stop);
    loop {
        if let Some(verdict) = tracker.verdict() {
            tracker.settle();
            return match verdict {
                Verdict::Done => End::Done,
                Verdict::TooMany => End::TooMany,
            };
        }
        let left = deadline.saturating_duration_since(Instant::now());
        // The read that the deadline ended may have missed what came in time: it is looked for once more.
        let over = left.is_zero();
        let most = if over { LAST_LOOK } else { left };
        let step = reader.step(tracker, left, on_event);
        let mut changes = tokio::select! {
            biased;
            () = &mut stop => return End::Stopped,
            step = timeout(most, step) => match step {
                Ok(Ok(changes)) => changes,
                Ok(Err(error)) => return End::Error(error),
                // The loop sees that the deadline is over.
                Err(_) => Vec::new(),
            },
        };
        let silent = over && tracker.verdict().is_none();
        if silent {
            changes.extend(tracker.expire(following.limit, Instant::now()));
        }
        changes
            .into_iter()
            .for_each(|change| on_event(Event::Host(change)));
        if silent {
            return End::Deadline;
        }
    }
}

/// The board, read step by step.
struct Reader<'a> {
    following: &'a Following<'a>,
    seen: Cursor,
    lost: Option<(Instant, Duration)>,
    /// How long the next step waits before it reads. What was read is handed on first.
    pause: Duration,
}

impl<'a> Reader<'a> {
    fn new(following: &'a Following<'a>) -> Self {
        Reader {
            following,
            seen: following.since,
            lost: None,
            pause: Duration::ZERO,
        }
    }

    /// One read of reports, and of checks where hosts wait for them; with no time left it waits for nothing. What the board
    /// does not answer is waited out before the next one.
    async fn step(
        &mut self,
        tracker: &mut Tracker,
        left: Duration,
        on_event: &(dyn Fn(Event) + Send + Sync),
    ) -> Result<Vec<Change>, Error> {
        let pause = std::mem::take(&mut self.pause).min(left);
        sleep(pause).await;
        let left = left - pause;
        let unchecked = tracker.unchecked();
        let wait = if unchecked.is_empty() {
            LONGEST_READ.min(left)
        } else {
            BETWEEN_CHECKS.min(left)
        };
        let mut changes = match self.read(tracker, wait, on_event).await {
            Ok(changes) => changes,
            Err(error) if is_passing(&error) => {
                self.wait_out(&error, on_event);
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        if let Some((since, _)) = self.lost.take() {
            let seconds = since.elapsed().as_secs_f64();
            on_event(Event::Back { seconds });
        }
        let unchecked = tracker.unchecked();
        if let (false, Some(checks)) = (unchecked.is_empty(), self.following.checks) {
            match checks.failing(&unchecked).await {
                Ok(failing) => changes.extend(tracker.checks(&failing, checks.service())),
                Err(error) if is_passing(&error) => self.wait_out(&error, on_event),
                Err(error) => return Err(error),
            }
        }
        Ok(changes)
    }

    async fn read(
        &mut self,
        tracker: &mut Tracker,
        wait: Duration,
        on_event: &(dyn Fn(Event) + Send + Sync),
    ) -> Result<Vec<Change>, Error> {
        let Following { board, role, .. } = self.following;
        let mut reading = board.reports(role, Some(self.seen), wait);
        let (found, seen) = tokio::select! {
            done = &mut reading => done?,
            () = sleep(wait + LATE) => {
                self.lose("it does not answer", on_event);
                reading.await?
            }
        };
        let moved = seen != self.seen;
        let changes = match moved {
            true => tracker.reports(&found, Instant::now()),
            false => Vec::new(),
        };
        self.seen = seen;
        if tracker.verdict().is_none() && moved {
            let hosts = u32::try_from(found.len().saturating_sub(FEW)).unwrap_or(u32::MAX);
            self.pause = GAP_PER_HOST.saturating_mul(hosts).min(LONGEST_GAP);
        }
        Ok(changes)
    }

    fn wait_out(&mut self, error: &Error, on_event: &(dyn Fn(Event) + Send + Sync)) {
        let (since, wait) = self.lose(&error.in_one_line(), on_event);
        self.lost = Some((since, wait.saturating_mul(2).min(LONGEST_WAIT)));
        self.pause = wait;
    }

    /// Says it, the first time; gives since when it is so, and how long to wait.
    fn lose(&mut self, reason: &str, on_event: &(dyn Fn(Event) + Send + Sync)) -> (Instant, Duration) {
        *self.lost.get_or_insert_with(|| {
            let reason = reason.to_owned();
            on_event(Event::Lost { reason });
            (Instant::now(), FIRST_WAIT)
        })
    }
}

/// Whether the board may answer later: what a network, a server that restarts, or an election of a leader explains.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::Consul(error) => error.is_passing(),
        Error::Store(error) => error.is_passing(),
        _ => false,
    }
}

/// The ends of the logs of hosts that did not succeed, by host, as far as they can be had in some seconds; hosts that were never heard of have none of this kick.
pub async fn logs(
    board: &dyn Board,
    role: &str,
    release: &str,
    hosts: &BTreeMap<String, HostNow>,
) -> BTreeMap<String, String> {
    let spoke = |(_, now): &(&String, &HostNow)| now.is_bad() && now.time.is_some();
    let wanted = hosts.iter().filter(spoke).take(MOST_LOGS);
    let read =
        wanted.map(|(name, _)| async move { Some((name.clone(), log(board, role, release, name).await?)) });
    let read = stream::iter(read).buffer_unordered(LOGS_AT_ONCE);
    read.take_until(Box::pin(sleep(LOGS_LIMIT)))
        .filter_map(future::ready)
        .collect()
        .await
}

async fn log(board: &dyn Board, role: &str, release: &str, host: &str) -> Option<String> {
    for attempt in 0..LOG_TRIES {
        if attempt > 0 {
            sleep(BETWEEN_LOG_TRIES).await;
        }
        // A log that cannot be read is no reason to say less about the rest.
        if let Ok(Some(log)) = board.log(role, host, Some(release)).await {
            return Some(log.text);
        }
    }
    None
}

#[cfg(test)]
mod tests;
