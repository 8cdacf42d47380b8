//! The trait's methods for a bucket; what is short is done here.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::S3;
use crate::directory::STALE_SECONDS;
use crate::{
    Body, Content, Download, Error, ErrorKind, Event, Held, Meta, Objects, Put, PutOptions, PutOutcome, key,
    retry,
};

/// How long is waited at most for what goes on in the background.
const SETTLE: Duration = Duration::from_secs(5);

#[async_trait]
impl Objects for S3 {
    async fn put_if_absent(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutcome, Error> {
        key::check(key)?;
        self.put_new(key, &body, options).await
    }

    async fn put_by_difference(
        &self,
        key: &str,
        body: Body,
        held: &[Held],
        options: &PutOptions,
    ) -> Result<Put, Error> {
        key::check(key)?;
        self.put_difference(key, &body, held, options).await
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Download, Error> {
        key::check(key)?;
        self.open_object(key, range).await
    }

    async fn get_bytes(&self, key: &str, limit: u64) -> Result<Content, Error> {
        key::check(key)?;
        let read = async |download: Download| {
            let etag = download.etag().unwrap_or_default().to_owned();
            Ok(Content {
                bytes: download.into_bytes(limit).await?,
                etag,
            })
        };
        self.read_whole(key, read).await
    }

    async fn head(&self, key: &str) -> Result<Option<Meta>, Error> {
        key::check(key)?;
        let meta = |stat: super::read::Stat| Meta {
            key: key.to_owned(),
            size: stat.size,
            etag: stat.etag,
            modified: stat.modified,
        };
        Ok(self.stat(key).await?.map(meta))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Meta>, Error> {
        key::check_prefix(prefix)?;
        self.list_all(prefix).await
    }

    async fn list_children(&self, prefix: &str) -> Result<Vec<String>, Error> {
        key::check_prefix(prefix)?;
        self.list_names(prefix).await
    }

    async fn copy(&self, from: &str, to: &str) -> Result<PutOutcome, Error> {
        key::check(from)?;
        key::check(to)?;
        self.copy_new(from, to).await
    }

    async fn put_if_match(&self, key: &str, bytes: Bytes, etag: Option<&str>) -> Result<String, Error> {
        key::check(key)?;
        self.put_matching(key, bytes, etag).await
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        key::check(key)?;
        self.remove(key, None).await
    }

    async fn delete_if_match(&self, key: &str, etag: &str) -> Result<(), Error> {
        key::check(key)?;
        // S3 deletes conditionally; some compatible servers do not, and looking first leaves those a small gap only.
        if self.stat(key).await?.is_none_or(|stat| stat.etag != etag) {
            return Err(Error::Changed {
                url: self.url_of(key),
            });
        }
        self.remove(key, Some(etag)).await
    }

    async fn sweep(&self, now: i64) -> Result<(), Error> {
        let Err(failure) = self.abort_stale(now - STALE_SECONDS).await else {
            return Ok(());
        };
        // A publisher may do without these permissions, and some servers without these requests.
        if failure.error.kind() == ErrorKind::Denied || matches!(failure.status, 405 | 501) {
            self.emit(Event::SweepFailed {
                reason: retry::reason(&failure.error),
            });
            return Ok(());
        }
        Err(failure.error)
    }

    async fn settle(&self) {
        let uploads = self.inner.underway.settle(SETTLE).await;
        if uploads > 0 {
            self.emit(Event::UploadLeft { uploads });
        }
    }

    fn url_of(&self, key: &str) -> String {
        self.inner.url.url_of(key)
    }
}

impl S3 {
    async fn remove(&self, key: &str, etag: Option<&str>) -> Result<(), Error> {
        let full = self.full_key(key)?;
        let doing = self.doing("s3:DeleteObject", "deleting", key);
        let client = &self.inner.client;
        let delete = |etag: Option<&str>| {
            let request = client.delete_object().bucket(&self.inner.bucket).key(&full);
            request.set_if_match(etag.map(str::to_owned)).send()
        };
        let Err(failure) = self.call(&doing, || delete(etag)).await else {
            return Ok(());
        };
        let gone = failure.error.kind() == ErrorKind::NotFound;
        match (failure.status, etag) {
            // No condition on deletes there; we have just looked.
            (501, Some(_)) => Ok(self.call(&doing, || delete(None)).await.map(drop)?),
            (404, None) if gone => Ok(()),
            (404, Some(_)) if gone => Err(Error::Changed { url: doing.url }),
            _ => Err(failure.into()),
        }
    }
}
