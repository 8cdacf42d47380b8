//! The bytes of an artifact: read once to be compared, and brought to another store, by its server where that can be.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use shipit_artifact::{Artifact, hex};
use tokio::io::AsyncWriteExt as _;

use crate::s3::S3;
use crate::{Download, Error, Event, PutOutcome, Release, RetryPolicy, Store, StoreUrl, retry};

/// Where an artifact's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brought {
    /// In the store that they are promoted to, where they were before.
    There,
    /// In the store that they are promoted to; the server copied them.
    Copied,
    /// In the artifact's local file.
    Here,
}

/// Compares an artifact's bytes with what the release says of them, and brings them to the other store, or else here: the
/// artifact then names their file. It is read in full, once.
///
/// # Errors
/// [`Error::Corrupt`] when they are not what the release says; else the stores', or the disk's.
pub async fn bring(
    from: &Store,
    to: &Store,
    release: &Release,
    artifact: &mut Artifact,
) -> Result<Brought, Error> {
    let key = &release.artifact.key;
    if from.is_same_place(to) {
        read(from, release, None).await?;
        return Ok(Brought::There);
    }
    if let StoreUrl::Directory { root } = from.url() {
        read(from, release, None).await?;
        artifact.path = root.join(key);
        return Ok(Brought::Here);
    }
    if let (Some(source), Some(target)) = (from.bucket(), to.bucket())
        && target.is_beside(source)
    {
        let etag = read(from, release, None).await?;
        match copied(source, target, key, etag.as_deref()).await {
            Ok(PutOutcome::Created) => return Ok(Brought::Copied),
            Ok(PutOutcome::AlreadyEqual) => return Ok(Brought::There),
            Err(error @ Error::Different { .. }) => return Err(error),
            Err(error) => to.on_event().emit(Event::NotCopied {
                key: key.clone(),
                why: retry::reason(&error),
            }),
        }
    }
    read(from, release, Some(&artifact.path)).await?;
    Ok(Brought::Here)
}

async fn copied(source: &S3, target: &S3, key: &str, etag: Option<&str>) -> Result<PutOutcome, Error> {
    target.copy_from(source, key, etag, key).await
}

/// Reads the artifact, into a file where one is named, and compares it. Gives the etag of what was read.
async fn read(store: &Store, release: &Release, into: Option<&Path>) -> Result<Option<String>, Error> {
    let claimed = &release.artifact;
    let url = store.url_of(&claimed.key);
    let differs = |why: String| Error::Corrupt {
        url: url.clone(),
        why,
    };
    let mut reading = Reading {
        store,
        key: &claimed.key,
        size: claimed.size,
        digest: Sha256::new(),
        at: 0,
        etag: None,
        file: match into {
            Some(path) => Some(File::create(path).await?),
            None => None,
        },
    };
    match store.head(&claimed.key).await? {
        None => return Err(Error::NotFound { url }),
        Some(found) if found.size != claimed.size => {
            let (size, id) = (found.size, &release.id);
            return Err(differs(format!(
                "it has {size} bytes, and the release {id} says {}",
                claimed.size
            )));
        }
        Some(_) => reading.through().await?,
    }
    if let Some(file) = &mut reading.file {
        file.finish().await?;
    }
    let found = hex(&reading.digest.finalize());
    if found != claimed.sha256 {
        let id = &release.id;
        return Err(differs(format!(
            "its SHA-256 is {found}, and the release {id} says {}",
            claimed.sha256
        )));
    }
    Ok(reading.etag)
}

/// An object that is read from one end to the other, on where it was cut.
struct Reading<'a> {
    store: &'a Store,
    key: &'a str,
    size: u64,
    digest: Sha256,
    at: u64,
    etag: Option<String>,
    file: Option<File>,
}

impl Reading<'_> {
    async fn through(&mut self) -> Result<(), Error> {
        let policy = RetryPolicy::default();
        let mut attempt = 1;
        loop {
            match self.some().await {
                Err(error) if error.is_passing() && attempt < policy.attempts => {
                    let wait = policy.wait(attempt);
                    self.store.on_event().emit(Event::Retry {
                        doing: format!("reading {}", self.store.url_of(self.key)),
                        attempt,
                        attempts: policy.attempts,
                        wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                        reason: retry::cause(&error),
                    });
                    tokio::time::sleep(wait).await;
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    /// As much as comes without a cut.
    async fn some(&mut self) -> Result<(), Error> {
        if self.at == self.size {
            return Ok(());
        }
        let mut download = self.store.get(self.key, Some(self.at..self.size)).await?;
        self.same(&download)?;
        while let Some(bytes) = download.chunk().await? {
            self.digest.update(&bytes);
            if let Some(file) = &mut self.file {
                file.write(&bytes).await?;
            }
            self.at += bytes.len() as u64;
            self.store.on_event().emit(Event::Fetching {
                key: self.key.to_owned(),
                received: self.at,
                total: self.size,
            });
        }
        Ok(())
    }

    /// What is read on has to be what was begun.
    fn same(&mut self, download: &Download) -> Result<(), Error> {
        let now = download.etag().map(str::to_owned);
        if self.at > 0 && now != self.etag {
            return Err(Error::Changed {
                url: self.store.url_of(self.key),
            });
        }
        self.etag = now;
        Ok(())
    }
}

/// A file that is written.
struct File {
    path: PathBuf,
    file: tokio::fs::File,
}

impl File {
    async fn create(path: &Path) -> Result<Self, Error> {
        let file = tokio::fs::File::create(path).await;
        Ok(Self {
            path: path.to_owned(),
            file: file.map_err(|source| Error::io("write", path, source))?,
        })
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.file.write_all(bytes).await;
        written.map_err(|source| Error::io("write", &self.path, source))
    }

    async fn finish(&mut self) -> Result<(), Error> {
        let flushed = self.file.flush().await;
        flushed.map_err(|source| Error::io("write", &self.path, source))
    }
}
