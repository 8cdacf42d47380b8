//! Keys: what a store accepts as one, and how one stands in a URL.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::Error;

/// S3's limit for a key with the store's prefix.
const LONGEST: usize = 1024;

/// Everything but unreserved characters and `/` is escaped in a URL's path: readers differ in what they decode,
/// and all of them agree on this.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// Refuses what is no key in both backends: a key is relative, `/`-separated, without empty, `.` and `..`
/// components and without control characters.
pub(crate) fn check(key: &str) -> Result<(), Error> {
    let bad = |why: &str| {
        Err(Error::BadKey {
            key: key.to_owned(),
            why: why.to_owned(),
        })
    };
    if key.is_empty() {
        return bad("it is empty");
    }
    if key.len() > LONGEST {
        return bad("it is longer than 1024 bytes");
    }
    if key.chars().any(char::is_control) {
        return bad("it has a control character");
    }
    for part in key.split('/') {
        match part {
            "" => return bad("it starts or ends with a slash, or has two in a row"),
            "." | ".." => return bad("`.` and `..` are not allowed in it"),
            _ if part.len() > 255 => return bad("a part of it is longer than 255 bytes"),
            _ if part.starts_with(crate::directory::RESERVED) => {
                return bad("names that start with .shipit-store are the store's own");
            }
            _ => {}
        }
    }
    Ok(())
}

/// Refuses what is no prefix of keys: empty (everything), or a key and a `/`.
pub(crate) fn check_prefix(prefix: &str) -> Result<(), Error> {
    if prefix.is_empty() {
        return Ok(());
    }
    match prefix.strip_suffix('/') {
        Some(key) => check(key),
        None => Err(Error::BadKey {
            key: prefix.to_owned(),
            why: "a prefix ends with a slash".into(),
        }),
    }
}

/// A key or path as it stands in a URL.
pub(crate) fn escape(path: &str) -> String {
    utf8_percent_encode(path, PATH).to_string()
}

/// The key or path that stands in a URL; nothing when it is not UTF-8.
pub(crate) fn unescape(path: &str) -> Option<String> {
    percent_decode_str(path)
        .decode_utf8()
        .ok()
        .map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_leave_the_store_or_hide_in_it_are_refused() {
        for key in [
            "",
            "/a",
            "a/",
            "a//b",
            "../a",
            "a/..",
            "./a",
            "a\nb",
            "a\0b",
            ".shipit-store/x",
            "a/.shipit-store.1",
        ] {
            assert!(check(key).is_err(), "{key:?}");
        }
        assert!(check(&"a/".repeat(600)).is_err());
        assert!(check(&"a".repeat(256)).is_err());
        for key in ["a", "a/b.c", "a b/+%&?#", "日本/é", "..a/b.."] {
            assert!(check(key).is_ok(), "{key:?}");
        }
    }

    #[test]
    fn prefixes_end_with_a_slash() {
        assert!(check_prefix("").is_ok());
        assert!(check_prefix("a/b/").is_ok());
        assert!(check_prefix("a/b").is_err());
        assert!(check_prefix("/").is_err());
        assert!(check_prefix("../").is_err());
    }

    #[test]
    fn escaping_is_undone_by_unescaping() {
        let key = "a b/+%&?#é~-_.";
        assert_eq!(escape(key), "a%20b/%2B%25%26%3F%23%C3%A9~-_.");
        assert_eq!(unescape(&escape(key)).as_deref(), Some(key));
        assert_eq!(unescape("%ff"), None);
    }
}
