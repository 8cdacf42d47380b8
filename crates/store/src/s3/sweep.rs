//! Uploads that killed runs left: S3 keeps, and bills, their parts until somebody aborts them.

use aws_sdk_s3::primitives::DateTime;

use super::S3;
use super::failure::Failure;
use crate::{Event, layout};

impl S3 {
    /// Aborts the store's own uploads that were begun before `before` (unix seconds).
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
                if begun <= before && is_own(&self.inner.prefix, full) {
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

/// Whether an upload's key is one of the store's. A store without a prefix shares its bucket with whatever else is in it, and
/// what others upload may take longer than a day.
fn is_own(prefix: &str, full: &str) -> bool {
    let key = full.strip_prefix(prefix);
    key.is_some_and(|key| layout::AREAS.iter().any(|area| key.starts_with(area)))
}

#[cfg(test)]
mod tests {
    use super::is_own;

    #[test]
    fn what_others_upload_into_the_bucket_is_left_alone() {
        assert!(is_own("", "artifacts/shop/00.tar.zst"));
        assert!(is_own("shipit/", "shipit/layers/shop/key/frames"));
        for (prefix, full) in [
            ("", "backups/2026.tar"),
            ("", "shipit/artifacts/shop/00.tar.zst"),
            ("", "artifacts-of-ci/1"),
            ("shipit/", "artifacts/shop/00.tar.zst"),
            ("shipit/", "shipit/video.mp4"),
        ] {
            assert!(!is_own(prefix, full), "{prefix} {full}");
        }
    }
}
