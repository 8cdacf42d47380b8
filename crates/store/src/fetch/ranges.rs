//! Many ranges of one URL: neighbours are asked for together, several requests run at once, and each range is handed over
//! whole, in whatever order they come.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{FetchRetry, Fetcher};
use crate::{Error, redacted};

/// More requests at once gain nothing from one server.
const MOST_REQUESTS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(15);

/// How ranges are asked for.
#[derive(Clone, Copy, Debug)]
pub struct RangesOptions {
    /// Requests at once. Memory is this times the largest wanted range.
    pub jobs: NonZeroUsize,
    /// Bytes between two ranges that are fetched and dropped rather than asked around.
    pub gap: u64,
    /// No request that joins ranges asks for more bytes.
    pub largest: u64,
    /// How often each request is tried.
    pub retry: FetchRetry,
}

impl RangesOptions {
    /// The defaults: no more than 16 requests at once, gaps of 32 KiB, requests of 16 MiB.
    pub fn new(jobs: NonZeroUsize, retry: FetchRetry) -> Self {
        Self {
            jobs: jobs.min(MOST_REQUESTS),
            gap: 32 << 10,
            largest: 16 << 20,
            retry,
        }
    }
}

/// What the ranges cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ranged {
    /// Requests that were made, retries aside.
    pub requests: usize,
    /// Bytes that were received, gaps included.
    pub received: u64,
    /// Bytes of the whole object, when the server told.
    pub total: Option<u64>,
}

impl Fetcher {
    /// Reads the ranges of a URL and calls `take` with the number and the bytes of each, as they come; its error ends the
    /// whole. The ranges need not be sorted. A server that does not heed ranges, an object that ends before a range
    /// does, and one that changes meanwhile are errors.
    pub async fn ranges<E: From<Error>>(
        &self,
        url: &str,
        wanted: &[Range<u64>],
        options: &RangesOptions,
        mut take: impl FnMut(usize, Bytes) -> Result<(), E> + Send,
    ) -> Result<Ranged, E> {
        for (number, range) in wanted.iter().enumerate() {
            if range.is_empty() {
                take(number, Bytes::new())?;
            }
        }
        let groups = joined(wanted, options.gap, options.largest);
        let requests = groups.len();
        let queue = Arc::new(Mutex::new(VecDeque::from(groups)));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (send, mut pieces) = mpsc::channel(options.jobs.get());
        let mut workers = JoinSet::new();
        for _ in 0..options.jobs.get().min(requests) {
            let worker = Worker {
                fetcher: self.clone(),
                url: url.to_owned(),
                retry: options.retry,
                queue: Arc::clone(&queue),
                seen: Arc::clone(&seen),
                send: send.clone(),
            };
            workers.spawn(worker.run());
        }
        drop(send);
        while let Some(piece) = pieces.recv().await {
            let (number, bytes) = piece?;
            take(number, bytes)?;
        }
        while let Some(done) = workers.join_next().await {
            done.map_err(|source| Error::Task { source })?;
        }
        let seen = lock(&seen);
        Ok(Ranged {
            requests,
            received: seen.received,
            total: seen.total,
        })
    }
}

/// One request: what it asks for, and the wanted ranges in it, sorted by their start.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    range: Range<u64>,
    wanted: Vec<(usize, Range<u64>)>,
}

/// Sorted, and neighbours joined.
fn joined(wanted: &[Range<u64>], gap: u64, largest: u64) -> Vec<Group> {
    let mut sorted: Vec<_> = wanted.iter().cloned().enumerate().collect();
    sorted.retain(|(_, range)| !range.is_empty());
    sorted.sort_by_key(|(_, range)| (range.start, range.end));
    let mut groups: Vec<Group> = Vec::new();
    for (number, range) in sorted {
        if let Some(last) = groups.last_mut() {
            let end = last.range.end.max(range.end);
            let near = range.start <= last.range.end.saturating_add(gap);
            if near && (end - last.range.start <= largest || end == last.range.end) {
                last.range.end = end;
                last.wanted.push((number, range));
                continue;
            }
        }
        groups.push(Group {
            range: range.clone(),
            wanted: vec![(number, range)],
        });
    }
    groups
}

/// What the answers told of the object.
#[derive(Default)]
struct Seen {
    etag: Option<String>,
    total: Option<u64>,
    received: u64,
}

impl Seen {
    fn check(&mut self, etag: Option<&str>, total: Option<u64>) -> Result<(), &'static str> {
        let other_etag = matches!((&self.etag, etag), (Some(a), Some(b)) if a != b);
        let other_total = matches!((self.total, total), (Some(a), Some(b)) if a != b);
        if other_etag || other_total {
            return Err("it changed while it was read");
        }
        self.etag = self.etag.take().or_else(|| etag.map(str::to_owned));
        self.total = self.total.or(total);
        Ok(())
    }
}

struct Worker {
    fetcher: Fetcher,
    url: String,
    retry: FetchRetry,
    queue: Arc<Mutex<VecDeque<Group>>>,
    seen: Arc<Mutex<Seen>>,
    send: mpsc::Sender<Result<(usize, Bytes), Error>>,
}

impl Worker {
    async fn run(self) {
        loop {
            let next = lock(&self.queue).pop_front();
            let Some(group) = next else { return };
            if let Err(error) = self.read(group).await {
                // Where nobody takes it any more, the whole has ended already.
                drop(self.send.send(Err(error)).await);
                return;
            }
        }
    }

    async fn read(&self, group: Group) -> Result<(), Error> {
        let open = self
            .fetcher
            .open_with_retry(&self.url, Some(group.range.clone()), self.retry);
        let mut download = open.await?;
        let checked = lock(&self.seen).check(download.etag(), download.total());
        checked.map_err(|why| Error::Corrupt {
            url: redacted(&self.url),
            why: why.to_owned(),
        })?;
        let mut begin = group.range.start;
        let mut buffer = BytesMut::new();
        let mut wanted = group.wanted.into_iter().peekable();
        while let Some(bytes) = download.chunk().await? {
            lock(&self.seen).received += bytes.len() as u64;
            buffer.extend_from_slice(&bytes);
            while let Some((number, range)) =
                wanted.next_if(|(_, range)| range.end <= begin + buffer.len() as u64)
            {
                let (start, end) = ((range.start - begin) as usize, (range.end - begin) as usize);
                let piece = Bytes::copy_from_slice(&buffer[start..end]);
                if self.send.send(Ok((number, piece))).await.is_err() {
                    return Ok(());
                }
            }
            // What lies before the next wanted range is needed no more.
            let next = wanted.peek().map_or(u64::MAX, |(_, range)| range.start);
            let done = buffer
                .len()
                .min(usize::try_from(next.saturating_sub(begin)).unwrap_or(usize::MAX));
            drop(buffer.split_to(done));
            begin += done as u64;
        }
        match wanted.next() {
            None => Ok(()),
            Some((_, range)) => Err(Error::OutOfRange {
                url: redacted(&self.url),
                start: range.start,
                end: range.end,
                size: "fewer".to_owned(),
            }),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FetcherOptions;
    use std::time::Duration;

    fn groups(wanted: &[Range<u64>]) -> Vec<(Range<u64>, Vec<usize>)> {
        joined(wanted, 10, 100)
            .into_iter()
            .map(|group| {
                (
                    group.range,
                    group.wanted.iter().map(|(number, _)| *number).collect(),
                )
            })
            .collect()
    }

    #[test]
    fn neighbours_are_joined_up_to_the_largest_request() {
        assert_eq!(groups(&[]), []);
        assert_eq!(groups(&[5..5, 9..9]), []);
        assert_eq!(
            groups(&[40..50, 0..10, 10..20, 30..35]),
            [(0..50, vec![1, 2, 3, 0])]
        );
        assert_eq!(groups(&[0..10, 21..30]), [(0..10, vec![0]), (21..30, vec![1])]);
        assert_eq!(groups(&[0..60, 60..101]), [(0..60, vec![0]), (60..101, vec![1])]);
        assert_eq!(groups(&[0..500, 20..30]), [(0..500, vec![0, 1])]);
    }

    fn options(jobs: usize) -> RangesOptions {
        RangesOptions {
            jobs: NonZeroUsize::new(jobs).unwrap(),
            gap: 100,
            largest: 300_000,
            retry: FetchRetry {
                count: 0,
                wait: Duration::ZERO,
            },
        }
    }

    #[tokio::test]
    async fn every_range_comes_whole_and_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("object");
        let mut seed = fastrand::Rng::with_seed(7);
        let content: Vec<u8> = std::iter::repeat_with(|| seed.u8(..)).take(2_000_000).collect();
        std::fs::write(&path, &content).unwrap();
        let url = format!("file://{}", path.display());
        let fetcher = Fetcher::new(FetcherOptions::default());
        let mut wanted = Vec::new();
        for _ in 0..60 {
            let start = seed.u64(0..1_990_000);
            wanted.push(start..start + seed.u64(0..10_000));
        }
        wanted.push(100..900_000);
        wanted.push(1_999_999..2_000_000);
        let mut got = vec![None; wanted.len()];
        let ranged = fetcher
            .ranges::<Error>(&url, &wanted, &options(3), |number, bytes| {
                assert!(got[number].replace(bytes).is_none());
                Ok(())
            })
            .await
            .unwrap();
        for (range, got) in wanted.iter().zip(got) {
            assert!(
                got.unwrap() == content[range.start as usize..range.end as usize],
                "{range:?}"
            );
        }
        assert_eq!(ranged.total, Some(2_000_000));
        assert!((2..50).contains(&ranged.requests), "{ranged:?}");
        assert!(ranged.received <= 2_500_000, "{ranged:?}");
    }

    #[tokio::test]
    async fn a_range_beyond_the_end_and_a_taker_that_fails_end_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("object");
        std::fs::write(&path, [7; 1000]).unwrap();
        let url = format!("file://{}", path.display());
        let fetcher = Fetcher::new(FetcherOptions::default());
        let error = fetcher
            .ranges::<Error>(&url, &[0..10, 990..1001], &options(2), |_, _| Ok(()))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::OutOfRange { .. }), "{error:?}");
        let full = || Error::Changed { url: "full".into() };
        let error = fetcher
            .ranges(&url, &[0..10, 500..600], &options(1), |_, _| Err(full()))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Changed { .. }), "{error:?}");
    }

    #[test]
    fn another_object_is_noticed() {
        let mut seen = Seen::default();
        for (etag, total, ok) in [("a", 1, true), ("a", 1, true), ("b", 1, false), ("a", 2, false)] {
            assert_eq!(seen.check(Some(etag), Some(total)).is_ok(), ok, "{etag} {total}");
        }
        assert!(seen.check(None, None).is_ok());
    }
}
