//! An upload in parts on the server: beginning it, and aborting it whatever becomes of who began it.

use std::time::Duration;

use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType};
use tokio::sync::oneshot;

use super::S3;
use super::failure::{Doing, Failure};
use crate::Error;

/// How long after an abort it is repeated: S3 may have kept a part that was on its way then.
const ABORTED_AGAIN: Duration = Duration::from_millis(300);

/// An upload that was begun. It is aborted when it is dropped unfinished (a cancelled publish); when even that fails, a
/// later sweep finds it.
pub(super) struct Upload {
    s3: S3,
    pub(super) key: String,
    pub(super) full: String,
    pub(super) id: String,
    pub(super) open: bool,
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        if tokio::runtime::Handle::try_current().is_ok() {
            let (s3, full, id) = (self.s3.clone(), self.full.clone(), self.id.clone());
            let doing = s3.aborting(&self.key);
            self.s3.inner.underway.spawn(async move {
                // What the first comes to does not matter when the second finds nothing left.
                drop(s3.abort_by_id(&doing, &full, &id).await);
                tokio::time::sleep(ABORTED_AGAIN).await;
                s3.abort_by_id(&doing, &full, &id).await.is_ok()
            });
        }
    }
}

impl S3 {
    /// With `summed`, the server expects a checksum of every part, and of the whole.
    ///
    /// It goes on when this is dropped: an upload whose id nobody learns could not be aborted.
    pub(super) async fn begin(
        &self,
        key: &str,
        content_type: Option<&str>,
        summed: bool,
    ) -> Result<Upload, Error> {
        let (s3, key, content_type) = (self.clone(), key.to_owned(), content_type.map(str::to_owned));
        let doing = self.doing("s3:PutObject", "beginning the upload of", &key).text();
        let (begun, answer) = oneshot::channel();
        self.inner.underway.spawn(async move {
            // Where nobody waits any more, the upload is dropped here, and so aborted.
            drop(begun.send(s3.begin_now(&key, content_type.as_deref(), summed).await));
            true
        });
        answer.await.map_err(|error| Error::Request {
            doing,
            source: Box::new(error),
        })?
    }

    async fn begin_now(&self, key: &str, content_type: Option<&str>, summed: bool) -> Result<Upload, Error> {
        let full = self.full_key(key)?;
        let doing = self.doing("s3:PutObject", "beginning the upload of", key);
        let (sse, kms_key) = self.encryption();
        let client = &self.inner.client;
        let begun = self
            .call(&doing, || {
                client
                    .create_multipart_upload()
                    .bucket(&self.inner.bucket)
                    .key(&full)
                    .set_checksum_algorithm(summed.then_some(ChecksumAlgorithm::Crc64Nvme))
                    .set_checksum_type(summed.then_some(ChecksumType::FullObject))
                    .set_content_type(content_type.map(str::to_owned))
                    .set_server_side_encryption(sse.clone())
                    .set_ssekms_key_id(kms_key.clone())
                    .send()
            })
            .await?;
        let id = begun.upload_id().ok_or_else(|| Error::Corrupt {
            url: doing.url,
            why: "the server began an upload and gave no id for it".into(),
        })?;
        Ok(Upload {
            s3: self.clone(),
            key: key.to_owned(),
            full,
            id: id.to_owned(),
            open: true,
        })
    }

    pub(super) async fn abort(&self, upload: &mut Upload) {
        let doing = self.aborting(&upload.key);
        // What it failed of is the error to show; what stays is found by a later sweep.
        drop(self.abort_by_id(&doing, &upload.full, &upload.id).await);
        upload.open = false;
    }

    fn aborting(&self, key: &str) -> Doing {
        self.doing("s3:AbortMultipartUpload", "aborting the upload of", key)
    }

    pub(super) async fn abort_by_id(&self, doing: &Doing, full: &str, id: &str) -> Result<(), Failure> {
        let client = &self.inner.client;
        let abort = self.call(doing, || {
            client
                .abort_multipart_upload()
                .bucket(&self.inner.bucket)
                .key(full)
                .upload_id(id)
                .send()
        });
        match abort.await {
            Err(failure) if failure.is(404) => Ok(()),
            other => other.map(drop),
        }
    }
}
