//! Gets the source: a stream into a file without a name, its checksum taken on the way, nothing else touched.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use shipit_store::{FetchRetry, Fetcher};
use tokio::sync::mpsc;

use crate::bandwidth::Pace;
use crate::checksum::Checksum;
use crate::error::Error;
use crate::event::Event;
use crate::log::Recorder;
use crate::plan::Whole;
use crate::stage;

/// Pieces that may wait for the disk.
const PIECES: usize = 8;
/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(100);

/// How the source is got.
pub(crate) struct DownloadRequest<'a> {
    pub(crate) whole: &'a Whole,
    /// Its URL as it may be shown.
    pub(crate) url: String,
    pub(crate) temp_dir: &'a Path,
    pub(crate) retry: FetchRetry,
    pub(crate) timeout: Option<Duration>,
    pub(crate) max_bandwidth: Option<u64>,
}

/// The source, checked.
#[derive(Debug)]
pub(crate) struct Downloaded {
    /// Stands at its beginning.
    pub(crate) file: File,
    pub(crate) bytes: u64,
}

/// Fetches and checks the source. Dropping the future leaves nothing behind.
pub(crate) async fn download(
    request: &DownloadRequest<'_>,
    fetcher: &Fetcher,
    recorder: &Recorder,
) -> Result<Downloaded, Error> {
    within(request.timeout, &request.url, fetch(request, fetcher, recorder)).await
}

/// Does the work, or gives it up when `timeout` is over; `url` is what is being fetched, as it may be shown.
pub(crate) async fn within<T>(
    timeout: Option<Duration>,
    url: &str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Some(after) = timeout else { return work.await };
    tokio::time::timeout(after, work).await.unwrap_or_else(|_| {
        Err(Error::Timeout {
            url: url.to_owned(),
            after,
        })
    })
}

/// Fetches from the beginning again where the server could not go on where it broke off.
async fn fetch(
    request: &DownloadRequest<'_>,
    fetcher: &Fetcher,
    recorder: &Recorder,
) -> Result<Downloaded, Error> {
    for _ in 0..request.retry.count {
        match fetch_once(request, fetcher, recorder).await {
            Err(Error::Fetch { cause, .. }) if cause.kind() == shipit_store::ErrorKind::Corrupt => {
                tokio::time::sleep(request.retry.wait).await;
            }
            other => return other,
        }
    }
    fetch_once(request, fetcher, recorder).await
}

async fn fetch_once(
    request: &DownloadRequest<'_>,
    fetcher: &Fetcher,
    recorder: &Recorder,
) -> Result<Downloaded, Error> {
    let whole = request.whole;
    let url = request.url.clone();
    let failed = |cause: shipit_store::Error| Error::Fetch {
        url: url.clone(),
        cause: Box::new(cause),
    };
    let start = Instant::now();
    let mut body = fetcher
        .open_with_retry(&whole.src, None, request.retry)
        .await
        .map_err(failed)?;
    let total = body.len();
    recorder.say(Event::Fetching {
        url: url.clone(),
        total,
    });
    let (pieces, writer) = writer(request)?;
    let mut pace = Pace::new(request.max_bandwidth);
    let (mut done, mut told) = (0u64, Instant::now());
    while let Some(piece) = body.chunk().await.map_err(failed)? {
        done += piece.len() as u64;
        let wait = pace.after(piece.len());
        if pieces.send(piece).await.is_err() {
            // The writer ended: its own error says why.
            break;
        }
        if told.elapsed() >= PROGRESS {
            recorder.say(Event::FetchProgress { done, total });
            told = Instant::now();
        }
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
    drop(pieces);
    let (file, checksum) = writer.await.map_err(|error| Error::Internal {
        what: error.to_string(),
    })??;
    let algorithm = checksum.name();
    let got = checksum.finish();
    if got != whole.expected {
        return Err(Error::Checksum {
            url,
            algorithm,
            expected: whole.expected.clone(),
            got,
        });
    }
    recorder.say(Event::FetchProgress { done, total });
    recorder.say(Event::Fetched {
        bytes: done,
        seconds: start.elapsed().as_secs_f64(),
        algorithm,
        checksum: got,
    });
    Ok(Downloaded { file, bytes: done })
}

type Writer = tokio::task::JoinHandle<Result<(File, Checksum), Error>>;

/// Writes and hashes beside the network. Ends with its channel, also when the download is given up.
fn writer<T: AsRef<[u8]> + Send + 'static>(
    request: &DownloadRequest<'_>,
) -> Result<(mpsc::Sender<T>, Writer), Error> {
    let mut file = stage::unnamed_file(request.temp_dir)?;
    let mut checksum = request.whole.checksum.clone();
    let temp_dir = request.temp_dir.to_owned();
    let (sender, mut pieces) = mpsc::channel::<T>(PIECES);
    let writer = tokio::task::spawn_blocking(move || {
        let failed = |error| Error::disk("writing the download to a temporary file in", &temp_dir, error);
        while let Some(piece) = pieces.blocking_recv() {
            checksum.update(piece.as_ref());
            file.write_all(piece.as_ref()).map_err(failed)?;
        }
        file.rewind().map_err(failed)?;
        Ok((file, checksum))
    });
    Ok((sender, writer))
}
