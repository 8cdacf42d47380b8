//! CRC64NVME, as S3 writes it, and the digests of a local body.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use crc_fast::CrcAlgorithm::Crc64Nvme;
use sha2::{Digest, Sha256};
use shipit_artifact::hex;

use crate::{Body, Download, Error};

/// The piece in which a file is read.
const PIECE: usize = 1 << 20;

/// What two bodies are compared by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) size: u64,
    pub(super) crc: u64,
    pub(super) sha256: String,
}

/// Sums that grow with what is read.
pub(super) struct Summing {
    size: u64,
    crc: crc_fast::Digest,
    sha256: Sha256,
}

impl Summing {
    pub(super) fn new() -> Self {
        Self {
            size: 0,
            crc: crc_fast::Digest::new(Crc64Nvme),
            sha256: Sha256::new(),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.crc.update(bytes);
        self.sha256.update(bytes);
    }

    pub(super) fn finish(self) -> Sums {
        Sums {
            size: self.size,
            crc: self.crc.finalize(),
            sha256: hex(&self.sha256.finalize()),
        }
    }
}

impl Sums {
    pub(super) fn of_bytes(bytes: &[u8]) -> Self {
        let mut sums = Summing::new();
        sums.update(bytes);
        sums.finish()
    }

    /// Reads the whole file, off the runtime; it stops when nobody waits any more.
    pub(super) async fn of_body(body: &Body) -> Result<Self, Error> {
        let (path, range) = match body {
            Body::Bytes(bytes) => return Ok(Self::of_bytes(bytes)),
            Body::File(path) => (path.clone(), 0..u64::MAX),
            Body::Part { path, range } => (path.clone(), range.clone()),
        };
        let alive = Arc::new(AtomicBool::new(true));
        let guard = ClearOnDrop(alive.clone());
        let sums = tokio::task::spawn_blocking(move || of_file(&path, range, &alive)).await;
        drop(guard);
        sums.map_err(|source| Error::Task { source })?
    }

    /// Reads a whole object.
    pub(super) async fn of_download(mut download: Download) -> Result<Self, Error> {
        let mut sums = Summing::new();
        while let Some(bytes) = download.chunk().await? {
            sums.update(&bytes);
        }
        Ok(sums.finish())
    }
}

struct ClearOnDrop(Arc<AtomicBool>);

impl Drop for ClearOnDrop {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

fn of_file(path: &Path, range: Range<u64>, alive: &AtomicBool) -> Result<Sums, Error> {
    let failed = |source| Error::io("read", path, source);
    let mut file = File::open(path).map_err(failed)?;
    file.seek(SeekFrom::Start(range.start)).map_err(failed)?;
    let mut file = file.take(range.end - range.start);
    let mut piece = vec![0; PIECE];
    let mut sums = Summing::new();
    while alive.load(Ordering::Relaxed) {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => sums.update(&piece[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(source) => return Err(failed(source)),
        }
    }
    Ok(sums.finish())
}

/// A small body in memory.
pub(super) async fn in_memory(body: &Body) -> Result<Bytes, Error> {
    match body {
        Body::Bytes(bytes) => Ok(bytes.clone()),
        Body::File(path) => Ok(tokio::fs::read(path)
            .await
            .map_err(|source| Error::io("read", path, source))?
            .into()),
        Body::Part { path, range } => read_part(path, range.clone()).await,
    }
}

/// Some bytes of a file in memory.
pub(super) async fn read_part(path: &Path, range: Range<u64>) -> Result<Bytes, Error> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(usize::MAX)];
        let file = File::open(&path);
        file.and_then(|file| file.read_exact_at(&mut bytes, range.start))
            .map_err(|source| Error::io("read", path, source))?;
        Ok(Bytes::from(bytes))
    });
    read.await.map_err(|source| Error::Task { source })?
}

/// A body's size.
pub(super) async fn size_of(body: &Body) -> Result<u64, Error> {
    match body {
        Body::Bytes(bytes) => Ok(bytes.len() as u64),
        Body::File(path) => {
            let metadata = tokio::fs::metadata(path)
                .await
                .map_err(|source| Error::io("read", path, source))?;
            Ok(metadata.len())
        }
        Body::Part { range, .. } => Ok(range.end.saturating_sub(range.start)),
    }
}

/// As S3's headers have it: base64 of the eight bytes, the highest first.
pub(super) fn encode(crc: u64) -> String {
    STANDARD.encode(crc.to_be_bytes())
}

/// The CRC of two runs of bytes one after the other.
pub(super) fn combine(first: u64, second: u64, second_len: u64) -> u64 {
    crc_fast::checksum_combine(Crc64Nvme, first, second, second_len)
}

/// The CRC of some bytes.
pub(super) fn crc(bytes: &[u8]) -> u64 {
    crc_fast::checksum(Crc64Nvme, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_check_value() {
        // CRC-64/NVME of "123456789" is ae8b14860a799888.
        assert_eq!(crc(b"123456789"), 0xae8b_1486_0a79_9888);
        assert_eq!(encode(0xae8b_1486_0a79_9888), "rosUhgp5mIg=");
        assert_eq!(combine(crc(b"12345"), crc(b"6789"), 4), crc(b"123456789"));
    }

    #[tokio::test]
    async fn a_file_and_its_bytes_have_the_same_sums() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        std::fs::write(&path, b"123456789").unwrap();
        let sums = Sums::of_body(&Body::File(path)).await.unwrap();
        assert_eq!(sums, Sums::of_bytes(b"123456789"));
        assert_eq!(sums.size, 9);
    }
}
