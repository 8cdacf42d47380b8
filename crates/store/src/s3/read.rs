//! Reading a bucket: objects, ranges, what is known of an object, listings.

use std::ops::Range;

use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{ChecksumMode, ChecksumType};

use super::S3;
use super::failure::Failure;
use crate::download::{Head, Source};
use crate::{Download, Error, Meta};

/// What a HEAD tells.
#[derive(Debug)]
pub(super) struct Stat {
    pub(super) size: u64,
    pub(super) etag: String,
    pub(super) modified: i64,
    /// CRC64NVME of the whole object as S3 writes it.
    pub(super) crc: Option<String>,
}

impl S3 {
    pub(super) async fn open_object(&self, key: &str, range: Option<Range<u64>>) -> Result<Download, Error> {
        let full = self.full_key(key)?;
        let doing = self.doing("s3:GetObject", "reading", key);
        let out_of_range = |range: &Range<u64>| Error::OutOfRange {
            url: doing.url.clone(),
            start: range.start,
            end: range.end,
            size: "fewer".into(),
        };
        if let Some(range) = range.as_ref().filter(|range| range.start >= range.end) {
            return Err(out_of_range(range));
        }
        let header = range.as_ref().map(range_header);
        let client = &self.inner.client;
        let got = self
            .call(&doing, || {
                client
                    .get_object()
                    .bucket(&self.inner.bucket)
                    .key(&full)
                    .set_range(header.clone())
                    .checksum_mode(ChecksumMode::Enabled)
                    .send()
            })
            .await;
        let got = match (got, &range) {
            (Ok(got), _) => got,
            (Err(failure), Some(range)) if failure.is(416) => return Err(out_of_range(range)),
            (Err(failure), _) => return Err(failure.into()),
        };
        let len = got.content_length().and_then(|len| u64::try_from(len).ok());
        let total = match (&range, got.content_range()) {
            (None, _) => len,
            (Some(range), Some(sent)) => Some(check_content_range(sent, range, &doing.url)?),
            (Some(_), None) => {
                return Err(Error::Corrupt {
                    url: doing.url,
                    why: "the server does not heed ranges".into(),
                });
            }
        };
        let head = Head {
            url: doing.url,
            len,
            total,
            etag: got.e_tag().map(str::to_owned),
            stall: self.inner.options.stall_timeout,
        };
        Ok(Download::new(head, Source::S3(Box::new(got.body))))
    }

    /// What is known of an object; nothing when it is not there.
    pub(super) async fn stat(&self, key: &str) -> Result<Option<Stat>, Error> {
        let full = self.full_key(key)?;
        let doing = self.doing("s3:GetObject", "looking at", key);
        let client = &self.inner.client;
        let head = self
            .call(&doing, || {
                let request = client.head_object().bucket(&self.inner.bucket).key(&full);
                request.checksum_mode(ChecksumMode::Enabled).send()
            })
            .await;
        let head = match head {
            Ok(head) => head,
            Err(failure) if failure.is(404) => return Ok(None),
            Err(failure) => return Err(self.explained(key, failure).await),
        };
        let whole = head.checksum_type() != Some(&ChecksumType::Composite);
        let size = head.content_length().and_then(|len| u64::try_from(len).ok());
        Ok(Some(Stat {
            size: size.ok_or_else(|| Error::Corrupt {
                url: doing.url,
                why: "the server tells no size".into(),
            })?,
            etag: head.e_tag().unwrap_or_default().to_owned(),
            modified: head.last_modified().map_or(0, DateTime::secs),
            crc: head.checksum_crc64_nvme().filter(|_| whole).map(str::to_owned),
        }))
    }

    /// The answer to a HEAD has no body that says why: the same is asked for with a GET.
    async fn explained(&self, key: &str, failure: Failure) -> Error {
        if !(300..500).contains(&failure.status) {
            return failure.into();
        }
        match self.open_object(key, None).await {
            Err(error) => error,
            Ok(_) => failure.into(),
        }
    }

    pub(super) async fn list_all(&self, prefix: &str) -> Result<Vec<Meta>, Error> {
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let page = self.page(prefix, None, token).await?;
            for object in page.contents() {
                let Some(key) = object.key().and_then(|key| key.strip_prefix(&self.inner.prefix)) else {
                    continue;
                };
                // Consoles make empty objects that stand for folders; they are no keys here.
                if key.ends_with('/') || key.is_empty() {
                    continue;
                }
                found.push(Meta {
                    key: key.to_owned(),
                    size: object
                        .size()
                        .and_then(|size| u64::try_from(size).ok())
                        .unwrap_or_default(),
                    etag: object.e_tag().unwrap_or_default().to_owned(),
                    modified: object.last_modified().map_or(0, DateTime::secs),
                });
            }
            token = page.next_continuation_token().map(str::to_owned);
            if token.is_none() {
                break;
            }
        }
        // S3 sorts by the bytes of the name; compatible servers need not.
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    pub(super) async fn list_names(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let full = format!("{}{prefix}", self.inner.prefix);
        let mut names = Vec::new();
        let mut token = None;
        loop {
            let page = self.page(prefix, Some("/"), token).await?;
            let found = page.common_prefixes().iter().filter_map(|common| common.prefix());
            names.extend(
                found
                    .filter_map(|common| common.strip_prefix(&full)?.strip_suffix('/'))
                    .filter(|name| !name.is_empty())
                    .map(str::to_owned),
            );
            token = page.next_continuation_token().map(str::to_owned);
            if token.is_none() {
                break;
            }
        }
        names.sort();
        Ok(names)
    }

    async fn page(
        &self,
        prefix: &str,
        delimiter: Option<&str>,
        token: Option<String>,
    ) -> Result<aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output, Error> {
        let doing = self.doing("s3:ListBucket", "listing", prefix.trim_end_matches('/'));
        let full = format!("{}{prefix}", self.inner.prefix);
        let client = &self.inner.client;
        let page = self.call(&doing, || {
            client
                .list_objects_v2()
                .bucket(&self.inner.bucket)
                .prefix(&full)
                .set_delimiter(delimiter.map(str::to_owned))
                .set_continuation_token(token.clone())
                .send()
        });
        Ok(page.await?)
    }
}

/// The header of a half-open range; an end beyond every object asks for the rest.
pub(crate) fn range_header(range: &Range<u64>) -> String {
    if range.end == u64::MAX {
        format!("bytes={}-", range.start)
    } else {
        format!("bytes={}-{}", range.start, range.end - 1)
    }
}

/// The whole object's size from `bytes 0-99/1234`, when it is the range that was asked for.
pub(crate) fn check_content_range(header: &str, asked: &Range<u64>, url: &str) -> Result<u64, Error> {
    let wrong = || Error::Corrupt {
        url: url.to_owned(),
        why: format!(
            "bytes {} to {} were asked for, and the server sent {header:?}",
            asked.start, asked.end
        ),
    };
    let (range, total) = header
        .strip_prefix("bytes ")
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(wrong)?;
    let (start, end) = range.split_once('-').ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
    let (start, end, total) = (number(start)?, number(end)?, number(total)?);
    if start != asked.start || end.checked_add(1) != Some(asked.end.min(total)) {
        return Err(wrong());
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_half_open_here_and_closed_there() {
        assert_eq!(range_header(&(0..100)), "bytes=0-99");
        assert_eq!(range_header(&(5..u64::MAX)), "bytes=5-");
        assert_eq!(
            check_content_range("bytes 0-99/1234", &(0..100), "u").unwrap(),
            1234
        );
        assert_eq!(
            check_content_range("bytes 5-9/10", &(5..u64::MAX), "u").unwrap(),
            10
        );
        for wrong in [
            "bytes 1-99/1234",
            "bytes 0-98/1234",
            "bytes 0-99/*",
            "0-99/1234",
            "",
        ] {
            assert!(check_content_range(wrong, &(0..100), "u").is_err(), "{wrong}");
        }
    }
}
