//! The URL of a store.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::{Error, key};

/// Where a store is: `s3://bucket/prefix` or `file:///directory`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreUrl {
    /// A bucket, and a prefix in it.
    S3 {
        /// The bucket.
        bucket: String,
        /// Without slashes at its ends; empty for the whole bucket.
        prefix: String,
    },
    /// A directory.
    Directory {
        /// Absolute.
        root: PathBuf,
    },
}

impl StoreUrl {
    /// Reads a store's URL. Credentials, queries and fragments in it are refused.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bad = |why: &str| Error::BadStoreUrl {
            url: redacted(text),
            why: why.to_owned(),
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| bad("it has no scheme"))?;
        if rest.contains(['?', '#']) {
            return Err(bad(
                "a query or fragment means nothing there; write ? as %3F and # as %23",
            ));
        }
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if host.contains('@') {
            return Err(bad(
                "credentials do not belong into a URL; use AWS's environment variables or profiles",
            ));
        }
        let path = key::unescape(path).ok_or_else(|| bad("its path is not UTF-8"))?;
        match scheme {
            "s3" => Self::s3(host, path.trim_matches('/'), bad),
            "file" => Self::directory(host, &path, bad),
            other => Err(bad(&format!("the scheme {other:?} is not known"))),
        }
    }

    fn s3(bucket: &str, prefix: &str, bad: impl Fn(&str) -> Error) -> Result<Self, Error> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if bucket.is_empty() || !bucket.chars().all(allowed) {
            return Err(bad(
                "the bucket's name is missing, or has characters that no bucket's name has",
            ));
        }
        if !prefix.is_empty() {
            key::check(prefix).map_err(|error| bad(&error.to_string()))?;
        }
        Ok(Self::S3 {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }

    fn directory(host: &str, path: &str, bad: impl Fn(&str) -> Error) -> Result<Self, Error> {
        if !matches!(host, "" | "localhost") {
            return Err(bad("a directory is written file:///with/three/slashes"));
        }
        let path = path.trim_matches('/');
        if path.is_empty() {
            return Err(bad("the directory is missing"));
        }
        if path.split('/').any(|part| matches!(part, "." | "..")) || path.contains('\0') {
            return Err(bad("`.` and `..` are not allowed in it"));
        }
        Ok(Self::Directory {
            root: Path::new("/").join(path),
        })
    }

    /// The URL of `key` in the store; of the store itself when it is empty.
    pub fn url_of(&self, key: &str) -> String {
        let slash = if key.is_empty() { "" } else { "/" };
        let key = key::escape(key);
        match self {
            Self::S3 { bucket, prefix } if prefix.is_empty() => format!("s3://{bucket}{slash}{key}"),
            Self::S3 { bucket, prefix } => format!("s3://{bucket}/{}{slash}{key}", key::escape(prefix)),
            Self::Directory { root } => {
                // A directory's own bytes may be no UTF-8 only when it was not parsed; nothing is lost then but looks.
                format!("file://{}{slash}{key}", key::escape(&root.to_string_lossy()))
            }
        }
    }
}

impl FromStr for StoreUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url_of(""))
    }
}

/// A URL without what may be secret in it: user, password, query and fragment. A presigned URL's query is a credential.
pub fn redacted(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let (shown, cut) = url.split_at(end);
    let mark = if cut.is_empty() { "" } else { "?…" };
    let Some((scheme, rest)) = shown.split_once("://") else {
        return format!("{shown}{mark}");
    };
    let host_end = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at(host_end);
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}{path}{mark}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_read_and_written() {
        for (text, out) in [
            ("s3://shop-deploy/shipit", "s3://shop-deploy/shipit"),
            ("s3://shop-deploy", "s3://shop-deploy"),
            ("s3://shop-deploy/a/b/", "s3://shop-deploy/a/b"),
            ("s3://b.c_d/a%20b", "s3://b.c_d/a%20b"),
            ("file:///var/lib/shipit", "file:///var/lib/shipit"),
            ("file://localhost/srv/", "file:///srv"),
        ] {
            assert_eq!(StoreUrl::parse(text).unwrap().to_string(), out, "{text}");
        }
        let url = StoreUrl::parse("s3://shop-deploy/p").unwrap();
        assert_eq!(url.url_of("a/b c"), "s3://shop-deploy/p/a/b%20c");
    }

    #[test]
    fn what_is_no_store_says_why() {
        for (text, why) in [
            ("shop-deploy", "no scheme"),
            ("gs://b/p", "\"gs\" is not known"),
            ("s3:///p", "bucket's name"),
            ("s3://b/../c", "`..`"),
            ("s3://key:secret@b/p", "credentials"),
            ("s3://b/p?x=1", "query"),
            ("file://var/lib", "three"),
            ("file:///", "missing"),
            ("file:///a/../b", "`..`"),
        ] {
            let error = StoreUrl::parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_shown_url_has_no_secrets() {
        assert_eq!(redacted("https://u:p@h/x?X-Amz-Signature=1#f"), "https://h/x?…");
        assert_eq!(redacted("https://h/a@b"), "https://h/a@b");
        assert_eq!(redacted("nonsense"), "nonsense");
    }
}
