//! The sums of a local body's parts and of all of it, in one reading.

use std::fs::File;
use std::io::Read as _;
use std::io::{Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use md5::{Digest as _, Md5};
use sha2::Sha256;
use shipit_artifact::hex;
use tokio::task::JoinHandle;

use super::checksum::{combine, crc};
use crate::Error;

/// The piece in which a file is read.
const PIECE: u64 = 1 << 20;

/// The sums of a part.
#[derive(Debug)]
pub(super) struct PartSum {
    pub(super) crc: u64,
    /// MD5 in hexadecimal digits, as etags have it, when it was asked for.
    pub(super) md5: Option<String>,
}

/// The sums of all parts, and of them together.
#[derive(Debug)]
pub(super) struct PartSums {
    pub(super) parts: Vec<PartSum>,
    pub(super) crc: u64,
    pub(super) sha256: String,
}

/// Sums that are being made, off the runtime. They stop when this is dropped.
pub(super) struct Summing {
    task: JoinHandle<Result<PartSums, Error>>,
    alive: Arc<AtomicBool>,
}

impl Summing {
    /// Of a file's bytes from `base` on, cut into `parts` (which begin at 0 and have no gaps).
    pub(super) fn start(path: PathBuf, base: u64, parts: Vec<Range<u64>>, md5: bool) -> Self {
        let alive = Arc::new(AtomicBool::new(true));
        let flag = Arc::clone(&alive);
        let task = tokio::task::spawn_blocking(move || sums(&path, base, &parts, md5, &flag));
        Self { task, alive }
    }

    pub(super) async fn finish(mut self) -> Result<PartSums, Error> {
        (&mut self.task).await.map_err(|source| Error::Task { source })?
    }
}

impl Drop for Summing {
    fn drop(&mut self) {
        self.alive.store(false, Ordering::Relaxed);
    }
}

fn sums(
    path: &Path,
    base: u64,
    parts: &[Range<u64>],
    md5: bool,
    alive: &AtomicBool,
) -> Result<PartSums, Error> {
    let failed = |source| Error::io("read", path, source);
    let mut file = File::open(path).map_err(failed)?;
    file.seek(SeekFrom::Start(base)).map_err(failed)?;
    let mut piece = vec![0; PIECE as usize];
    let mut sha256 = Sha256::new();
    let mut done = PartSums {
        parts: Vec::with_capacity(parts.len()),
        crc: 0,
        sha256: String::new(),
    };
    for part in parts {
        let (mut left, mut sum, mut digest) = (part.end - part.start, 0, Md5::new());
        while left > 0 {
            if !alive.load(Ordering::Relaxed) {
                let stopped = std::io::Error::new(std::io::ErrorKind::Interrupted, "it was cancelled");
                return Err(failed(stopped));
            }
            let bytes = &mut piece[..left.min(PIECE) as usize];
            file.read_exact(bytes).map_err(failed)?;
            sum = combine(sum, crc(bytes), bytes.len() as u64);
            sha256.update(&*bytes);
            if md5 {
                digest.update(&*bytes);
            }
            left -= bytes.len() as u64;
        }
        done.crc = combine(done.crc, sum, part.end - part.start);
        done.parts.push(PartSum {
            crc: sum,
            md5: md5.then(|| hex(&digest.finalize())),
        });
    }
    done.sha256 = hex(&sha256.finalize());
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn parts_and_whole_have_their_own_sums() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        std::fs::write(&path, b"before123456789").unwrap();
        let sums = Summing::start(path, 6, vec![0..4, 4..9], true)
            .finish()
            .await
            .unwrap();
        assert_eq!(sums.crc, crc(b"123456789"));
        assert_eq!(sums.sha256, shipit_artifact::sha256(b"123456789").to_string());
        assert_eq!(sums.parts[0].crc, crc(b"1234"));
        // MD5 of "1234", from RFC-conforming tools.
        assert_eq!(
            sums.parts[0].md5.as_deref(),
            Some("81dc9bdb52d04dc20036dbd8313ed055")
        );
    }

    #[tokio::test]
    async fn a_file_that_is_too_short_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        std::fs::write(&path, b"1234").unwrap();
        let error = Summing::start(path, 0, vec![0..2, 2..5], false)
            .finish()
            .await
            .unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Local, "{error:?}");
    }
}
