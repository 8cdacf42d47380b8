//! The frames that the host lacks: by ranges of the artifact's URL into a file without a name, or straight from the artifact
//! where its URL names a local file. What they hold is checked by who decodes them.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use shipit_artifact::{Frame, Frames};
use shipit_store::{FetchRetry, Fetcher, RangesOptions, StoreUrl};

use super::lack::Lack;
use crate::bandwidth::Pace;
use crate::error::Error;
use crate::event::Event;
use crate::log::Recorder;

/// Bytes that are asked for at once where the bandwidth is limited.
const PACED: u64 = 256 << 10;
/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(100);

/// One frame that is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The layer's number in the record.
    pub(crate) layer: usize,
    /// The frame's number in the layer.
    pub(crate) frame: usize,
    /// Where it begins in the artifact.
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

/// What is fetched, and how.
pub(crate) struct FetchRequest<'a> {
    /// The artifact's URL.
    pub(crate) src: &'a str,
    /// The same as it may be shown.
    pub(crate) url: String,
    /// By their offsets.
    pub(crate) parts: &'a [Part],
    /// Where the fetched bytes lie meanwhile, without a name.
    pub(crate) dir: &'a Path,
    pub(crate) jobs: NonZeroUsize,
    pub(crate) retry: FetchRetry,
    pub(crate) max_bandwidth: Option<u64>,
}

/// Frames, ready to be decoded.
#[derive(Debug)]
pub(crate) struct Fetched {
    file: File,
    /// Where a frame of a layer begins in the file.
    at: HashMap<(usize, usize), u64>,
    /// Bytes that were received.
    pub(crate) bytes: u64,
}

impl Fetched {
    /// The frames of one layer.
    pub(crate) fn layer(&self, layer: usize) -> LayerFrames<'_> {
        LayerFrames { all: self, layer }
    }
}

/// The fetched frames of one layer.
pub(crate) struct LayerFrames<'a> {
    all: &'a Fetched,
    layer: usize,
}

impl Frames for LayerFrames<'_> {
    fn stored(&self, number: usize, frame: &Frame) -> io::Result<Vec<u8>> {
        let at = self.all.at.get(&(self.layer, number)).copied();
        let at = at.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it was not fetched"))?;
        let mut stored = vec![0; frame.size as usize];
        self.all.file.read_exact_at(&mut stored, at)?;
        Ok(stored)
    }
}

/// Fetches the parts.
pub(crate) async fn fetch(
    request: &FetchRequest<'_>,
    fetcher: &Fetcher,
    recorder: &Recorder,
) -> Result<Fetched, Lack> {
    let start = Instant::now();
    let total: u64 = request.parts.iter().map(|part| part.size).sum();
    if total > 0 {
        recorder.say(Event::Fetching {
            url: request.url.clone(),
            total: Some(total),
        });
    }
    let fetched = match local(request) {
        Some(fetched) => fetched?,
        None => ranged(request, fetcher, recorder, total).await?,
    };
    if total > 0 {
        recorder.say(Event::FetchedFrames {
            frames: request.parts.len() as u64,
            bytes: fetched.bytes,
            seconds: start.elapsed().as_secs_f64(),
        });
    }
    Ok(fetched)
}

/// The artifact itself, where its URL is that of a local file and nothing paces the reading.
fn local(request: &FetchRequest<'_>) -> Option<Result<Fetched, Lack>> {
    let Ok(StoreUrl::Directory { root }) = StoreUrl::parse(request.src) else {
        return None;
    };
    if request.max_bandwidth.is_some() {
        return None;
    }
    let at = request
        .parts
        .iter()
        .map(|part| ((part.layer, part.frame), part.offset))
        .collect();
    let opened = File::open(&root).map_err(|error| Lack::from(Error::disk("reading", &root, error)));
    Some(opened.map(|file| Fetched {
        file,
        at,
        bytes: request.parts.iter().map(|part| part.size).sum(),
    }))
}

async fn ranged(
    request: &FetchRequest<'_>,
    fetcher: &Fetcher,
    recorder: &Recorder,
    total: u64,
) -> Result<Fetched, Lack> {
    let file = tempfile::tempfile_in(request.dir)
        .map_err(|error| Error::disk("making a temporary file in", request.dir, error))?;
    let mut at = HashMap::new();
    let mut places = Vec::with_capacity(request.parts.len());
    let mut end = 0;
    for part in request.parts {
        at.insert((part.layer, part.frame), end);
        places.push(end);
        end += part.size;
    }
    let mut pace = Pace::new(request.max_bandwidth);
    let (mut bytes, mut done, mut told) = (0, 0, Instant::now());
    let options = RangesOptions::new(request.jobs, request.retry);
    let mut first = 0;
    for batch in batches(request) {
        let ranges: Vec<_> = batch
            .iter()
            .map(|part| part.offset..part.offset + part.size)
            .collect();
        let ranged = fetcher.ranges(
            request.src,
            &ranges,
            &options,
            |number, piece| -> Result<(), Lack> {
                file.write_all_at(&piece, places[first + number])
                    .map_err(|error| {
                        Error::disk("writing the download to a temporary file in", request.dir, error)
                    })?;
                done += piece.len() as u64;
                if told.elapsed() >= PROGRESS {
                    told = Instant::now();
                    recorder.say(Event::FetchProgress {
                        done,
                        total: Some(total),
                    });
                }
                Ok(())
            },
        );
        let ranged = ranged.await?;
        first += batch.len();
        bytes += ranged.received;
        let wait = pace.after(usize::try_from(ranged.received).unwrap_or(usize::MAX));
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
    Ok(Fetched { file, at, bytes })
}

/// All at once, or, where the bandwidth is limited, by pieces between which can be waited.
fn batches<'a>(request: &FetchRequest<'a>) -> Vec<&'a [Part]> {
    if request.max_bandwidth.is_none() {
        return vec![request.parts];
    }
    let (mut batches, mut begin, mut size) = (Vec::new(), 0, 0);
    for (number, part) in request.parts.iter().enumerate() {
        size += part.size;
        if size >= PACED {
            batches.push(&request.parts[begin..=number]);
            (begin, size) = (number + 1, 0);
        }
    }
    if begin < request.parts.len() {
        batches.push(&request.parts[begin..]);
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limited_bandwidth_is_asked_for_in_pieces() {
        let part = |frame: usize, size| Part {
            layer: 0,
            frame,
            offset: 0,
            size,
        };
        let parts = [
            part(0, 200 << 10),
            part(1, 100 << 10),
            part(2, 300 << 10),
            part(3, 1),
        ];
        let request = |max_bandwidth| FetchRequest {
            src: "https://h/a",
            url: String::new(),
            parts: &parts,
            dir: Path::new("/"),
            jobs: NonZeroUsize::MIN,
            retry: FetchRetry {
                count: 0,
                wait: Duration::ZERO,
            },
            max_bandwidth,
        };
        assert_eq!(batches(&request(None)), [&parts[..]]);
        assert_eq!(
            batches(&request(Some(1))),
            [&parts[..2], &parts[2..3], &parts[3..]]
        );
    }
}
