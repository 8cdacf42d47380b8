//! Uploads that killed runs left: S3 keeps, and bills, their parts until somebody aborts them.

use aws_sdk_s3::primitives::DateTime;

use super::S3;
use super::failure::Failure;
use crate::Event;

impl S3 {
    /// Aborts uploads below the prefix that were begun before `before` (unix seconds).
    pub(super) async fn abort_stale(&self, before: i64) -> Result<(), Failure> {
        let client = &self.inner.client;
        let doing = self.doing(
            "s3:ListBucketMultipartUploads",
            "looking for unfinished uploads in",
            "",
        );
        let abort = self.doing("s3:AbortMultipartUpload", "aborting an unfinished upload in", "");
        let (mut key_marker, mut id_marker) = (None, None);
        loop {
            let page = self
                .call(&doing, || {
                    client
                        .list_multipart_uploads()
                        .bucket(&self.inner.bucket)
                        .prefix(&self.inner.prefix)
                        .set_key_marker(key_marker.clone())
                        .set_upload_id_marker(id_marker.clone())
                        .send()
                })
                .await?;
            for upload in page.uploads() {
                let begun = upload.initiated().map_or(i64::MAX, DateTime::secs);
                let (Some(full), Some(id)) = (upload.key(), upload.upload_id()) else {
                    continue;
                };
                if begun <= before {
                    self.abort_by_id(&abort, full, id).await?;
                    self.emit(Event::Swept {
                        what: format!("unfinished upload of {full} ({id})"),
                    });
                }
            }
            key_marker = page.next_key_marker().map(str::to_owned);
            id_marker = page.next_upload_id_marker().map(str::to_owned);
            if page.is_truncated() != Some(true) || key_marker.is_none() {
                return Ok(());
            }
        }
    }
}
