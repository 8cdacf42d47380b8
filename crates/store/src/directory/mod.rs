//! The store in a directory: one file an object, put in place by rename, readable for hosts whatever the umask.
//!
//! What is the store's own lies under names that start with [`RESERVED`], which no key can have.

mod difference;
mod read;
mod tree;
mod write;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Body, Download, Error, Event, Held, Meta, Objects, OnEvent, Put, PutOptions, PutOutcome, key};

pub(crate) use read::open_file;
pub(crate) use write::check_sha256;

/// How the names of the store's own files begin.
pub(crate) const RESERVED: &str = ".shipit-store";

/// How long another process may hold the lock of a conditional write.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// A day: what is older, and temporary, was left by a run that was killed.
pub(crate) const STALE_SECONDS: i64 = 24 * 60 * 60;

/// A directory as a store.
pub(crate) struct Directory {
    root: PathBuf,
    on_event: OnEvent,
}

impl Directory {
    pub(crate) fn new(root: PathBuf, on_event: OnEvent) -> Self {
        Self { root, on_event }
    }

    fn path(&self, key: &str) -> Result<PathBuf, Error> {
        key::check(key)?;
        Ok(self.root.join(key))
    }

    /// Runs work that writes the object of this key.
    async fn writing<T: Send + 'static>(
        &self,
        key: &str,
        work: impl FnOnce(&write::Put<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let path = self.path(key)?;
        let key = key.to_owned();
        self.blocking(move |place, stop| {
            work(&write::Put {
                place: &place,
                key: &key,
                path: &path,
                stop,
            })
        })
        .await
    }

    /// Runs `work` where it may block; it sees the flag set when the caller's future is dropped.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(Place, &AtomicBool) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let place = Place {
            root: self.root.clone(),
            on_event: self.on_event.clone(),
        };
        let stop = SetOnDrop(Arc::new(AtomicBool::new(false)));
        let flag = stop.0.clone();
        let done = tokio::task::spawn_blocking(move || work(place, &flag)).await;
        drop(stop);
        done.map_err(|source| Error::Task { source })?
    }
}

/// What a piece of blocking work needs to know.
struct Place {
    root: PathBuf,
    on_event: OnEvent,
}

impl Place {
    fn url_of(&self, key: &str) -> String {
        directory_url(&self.root, key)
    }
}

struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn directory_url(root: &Path, key: &str) -> String {
    crate::StoreUrl::Directory {
        root: root.to_owned(),
    }
    .url_of(key)
}

#[async_trait]
impl Objects for Directory {
    async fn put_if_absent(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutcome, Error> {
        let options = options.clone();
        self.writing(key, move |put| put.if_absent(&body, &options)).await
    }

    async fn put_by_difference(
        &self,
        key: &str,
        body: Body,
        held: &[Held],
        options: &PutOptions,
    ) -> Result<Put, Error> {
        for run in held {
            key::check(&run.key)?;
        }
        let (held, options) = (held.to_vec(), options.clone());
        self.writing(key, move |put| put.by_difference(&body, &held, &options))
            .await
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Download, Error> {
        open_file(&self.path(key)?, &self.url_of(key), range).await
    }

    async fn head(&self, key: &str) -> Result<Option<Meta>, Error> {
        let path = self.path(key)?;
        let key = key.to_owned();
        self.blocking(move |_, _| read::meta(&path, &key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Meta>, Error> {
        key::check_prefix(prefix)?;
        let prefix = prefix.to_owned();
        self.blocking(move |place, stop| read::list(&place.root, &prefix, stop))
            .await
    }

    async fn list_children(&self, prefix: &str) -> Result<Vec<String>, Error> {
        key::check_prefix(prefix)?;
        let prefix = prefix.to_owned();
        self.blocking(move |place, _| read::children(&place.root, &prefix))
            .await
    }

    async fn copy(&self, from: &str, to: &str) -> Result<PutOutcome, Error> {
        let source = self.path(from)?;
        if self.head(from).await?.is_none() {
            return Err(Error::NotFound {
                url: self.url_of(from),
            });
        }
        self.put_if_absent(to, Body::File(source), &PutOptions::default())
            .await
    }

    async fn put_if_match(&self, key: &str, bytes: Bytes, etag: Option<&str>) -> Result<String, Error> {
        let etag = etag.map(str::to_owned);
        self.writing(key, move |put| put.if_match(&bytes, etag.as_deref()))
            .await
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        let delete = |put: &write::Put<'_>| put.delete();
        self.writing(key, delete).await
    }

    async fn delete_if_match(&self, key: &str, etag: &str) -> Result<(), Error> {
        let etag = etag.to_owned();
        self.writing(key, move |put| put.delete_if_match(&etag)).await
    }

    async fn sweep(&self, now: i64) -> Result<(), Error> {
        let swept = self.blocking(move |place, _| tree::sweep(&place.root, now)).await;
        match swept {
            Ok(removed) => {
                for path in removed {
                    self.on_event.emit(Event::Swept {
                        what: path.display().to_string(),
                    });
                }
            }
            Err(error) => self.on_event.emit(Event::SweepFailed {
                reason: crate::retry::reason(&error),
            }),
        }
        Ok(())
    }

    fn url_of(&self, key: &str) -> String {
        directory_url(&self.root, key)
    }
}
