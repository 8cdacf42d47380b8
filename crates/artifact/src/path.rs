//! The path of an entry: bytes relative to the packed root.
//!
//! Responsible for what may be a path at all. Whether a path exists or may be written is not known here.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest path in bytes: Linux's PATH_MAX without its NUL.
const LONGEST: usize = 4095;

/// A relative path of bytes, separated by `/`, without empty, `.` or `..` components and without NUL. Not necessarily
/// UTF-8. Ordered by its bytes. Serialised as a string, with `\xNN` for what is not printable UTF-8 and `\\` for a
/// backslash.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryPath(Vec<u8>);

/// Why some bytes are no [`EntryPath`]. The path stands in the message, escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// Nothing at all.
    #[error("the path is empty")]
    Empty,
    /// Starts with `/`.
    #[error("the path {0} is absolute; it must be relative to the packed root")]
    Absolute(String),
    /// An empty or `.` component, or a slash at the end.
    #[error("the path {0} has an empty or `.` component")]
    NotNormal(String),
    /// A `..` component.
    #[error("the path {0} has a `..` component")]
    Parent(String),
    /// A NUL byte.
    #[error("the path {0} has a NUL byte in it")]
    Nul(String),
    /// Longer than any Linux path.
    #[error("a path of {length} bytes is too long (at most 4095): {start}…")]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// How it begins.
        start: String,
    },
    /// An escape in the serialised form that is none.
    #[error("the path {0} has a backslash that is not part of an escape")]
    Escape(String),
}

impl EntryPath {
    /// Takes `bytes` as a path when they are one.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, PathError> {
        let bytes = bytes.into();
        check(&bytes)?;
        Ok(Self(bytes))
    }

    /// The path's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path as the operating system takes it.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The path as the operating system takes it, owned.
    pub fn to_path_buf(&self) -> PathBuf {
        self.as_path().to_path_buf()
    }

    /// Whether this path is `base` or lies beneath it.
    pub fn starts_with(&self, base: &EntryPath) -> bool {
        self.0
            .strip_prefix(base.0.as_slice())
            .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }

    /// What is left of this path beneath `base`; `None` when it is `base` itself or lies elsewhere.
    pub fn strip_prefix(&self, base: &EntryPath) -> Option<EntryPath> {
        let rest = self.0.strip_prefix(base.0.as_slice())?.strip_prefix(b"/")?;
        Some(Self(rest.to_vec()))
    }

    /// `other` beneath this path.
    pub fn join(&self, other: &EntryPath) -> Result<EntryPath, PathError> {
        self.join_bytes(&other.0)
    }

    /// The bytes `name` beneath this path, checked.
    pub fn join_bytes(&self, name: &[u8]) -> Result<EntryPath, PathError> {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        bytes.push(b'/');
        bytes.extend_from_slice(name);
        Self::new(bytes)
    }

    /// A name that a directory's listing gave, beneath that directory; `None` is the packed root. Only the name is checked.
    pub(crate) fn child(directory: Option<&EntryPath>, name: &[u8]) -> Result<EntryPath, PathError> {
        let plain = !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/') && !name.contains(&0);
        let above = directory.map_or(0, |directory| directory.0.len() + 1);
        if !plain || above + name.len() > LONGEST {
            return match directory {
                Some(directory) => directory.join_bytes(name),
                None => Self::new(name),
            };
        }
        let mut bytes = Vec::with_capacity(above + name.len());
        if let Some(directory) = directory {
            bytes.extend_from_slice(&directory.0);
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Ok(Self(bytes))
    }

    /// The directory that holds this path; `None` at the top.
    pub fn parent(&self) -> Option<EntryPath> {
        self.0
            .iter()
            .rposition(|b| *b == b'/')
            .map(|at| Self(self.0[..at].to_vec()))
    }

    /// The last component.
    pub fn file_name(&self) -> &[u8] {
        self.0.rsplit(|b| *b == b'/').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.0))
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryPath({self})")
    }
}

impl std::str::FromStr for EntryPath {
    type Err = PathError;

    /// Takes the text as it stands: no escapes.
    fn from_str(text: &str) -> Result<Self, PathError> {
        Self::new(text)
    }
}

impl Serialize for EntryPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&escape(&self.0))
    }
}

impl<'de> Deserialize<'de> for EntryPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        unescape(&text)
            .and_then(Self::new)
            .map_err(serde::de::Error::custom)
    }
}

/// Whether `bytes` are a path.
pub(crate) fn check(bytes: &[u8]) -> Result<(), PathError> {
    check_from(bytes, 0)
}

/// The same for a path of which the first `from` bytes are known to be those of a path and its slash.
pub(crate) fn check_from(bytes: &[u8], from: usize) -> Result<(), PathError> {
    if bytes.is_empty() {
        return Err(PathError::Empty);
    }
    if bytes.len() > LONGEST {
        return Err(PathError::TooLong {
            length: bytes.len(),
            start: escape(&bytes[..80]),
        });
    }
    let rest = &bytes[from..];
    if rest.contains(&0) {
        return Err(PathError::Nul(escape(bytes)));
    }
    if bytes[0] == b'/' {
        return Err(PathError::Absolute(escape(bytes)));
    }
    for component in rest.split(|b| *b == b'/') {
        match component {
            b"" | b"." => return Err(PathError::NotNormal(escape(bytes))),
            b".." => return Err(PathError::Parent(escape(bytes))),
            _ => {}
        }
    }
    Ok(())
}

/// Bytes as printable text: UTF-8 as it is, control and invalid bytes as `\xNN`, a backslash doubled.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\\' {
                text.push_str("\\\\");
            } else if c.is_control() {
                let mut buffer = [0; 4];
                push_hex(&mut text, c.encode_utf8(&mut buffer).as_bytes());
            } else {
                text.push(c);
            }
        }
        push_hex(&mut text, chunk.invalid());
    }
    text
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push_str("\\x");
        text.push_str(&crate::hash::hex(&[*byte]));
    }
}

fn unescape(text: &str) -> Result<Vec<u8>, PathError> {
    let wrong = || PathError::Escape(text.to_owned());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = match (first, tail) {
            (b'\\', [b'\\', tail @ ..]) => {
                bytes.push(b'\\');
                tail
            }
            (b'\\', [b'x', high, low, tail @ ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).map_err(|_| wrong())?;
                bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
                tail
            }
            (b'\\', _) => return Err(wrong()),
            (byte, tail) => {
                bytes.push(*byte);
                tail
            }
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(bytes: &[u8]) -> EntryPath {
        EntryPath::new(bytes).unwrap()
    }

    #[test]
    fn only_normal_relative_paths() {
        assert_eq!(EntryPath::new(""), Err(PathError::Empty));
        assert!(matches!(EntryPath::new("/etc"), Err(PathError::Absolute(_))));
        for bad in ["a//b", "a/", "./a", "a/./b", "."] {
            assert!(
                matches!(EntryPath::new(bad), Err(PathError::NotNormal(_))),
                "{bad}"
            );
        }
        for bad in ["..", "../a", "a/..", "a/../b"] {
            assert!(matches!(EntryPath::new(bad), Err(PathError::Parent(_))), "{bad}");
        }
        assert!(matches!(EntryPath::new("a\0b"), Err(PathError::Nul(_))));
        assert!(matches!(
            EntryPath::new(vec![b'a'; 4096]),
            Err(PathError::TooLong { length: 4096, .. })
        ));
        assert!(EntryPath::new("...").is_ok());
        assert!(EntryPath::new(b"a/\xff".to_vec()).is_ok());
    }

    #[test]
    fn relations_are_by_component() {
        assert!(path(b"a/b").starts_with(&path(b"a")));
        assert!(path(b"a").starts_with(&path(b"a")));
        assert!(!path(b"ab").starts_with(&path(b"a")));
        assert_eq!(path(b"a/b/c").strip_prefix(&path(b"a")), Some(path(b"b/c")));
        assert_eq!(path(b"ab/c").strip_prefix(&path(b"a")), None);
        assert_eq!(path(b"a/b").parent(), Some(path(b"a")));
        assert_eq!(path(b"a").parent(), None);
        assert_eq!(path(b"a/b").file_name(), b"b");
        assert_eq!(path(b"a").join(&path(b"b/c")).unwrap(), path(b"a/b/c"));
    }

    #[test]
    fn serialised_and_back_byte_for_byte() {
        for bytes in [
            &b"plain"[..],
            "é/日本".as_bytes(),
            b"a\xff\\x41\nb",
            b"\\",
            b"tab\there",
        ] {
            let text = serde_json::to_string(&path(bytes)).unwrap();
            assert_eq!(
                serde_json::from_str::<EntryPath>(&text).unwrap().as_bytes(),
                bytes,
                "{text}"
            );
        }
        assert_eq!(path(b"a\xff\n").to_string(), "a\\xff\\x0a");
        assert!(serde_json::from_str::<EntryPath>(r#""a\\q""#).is_err());
        assert!(serde_json::from_str::<EntryPath>(r#""../a""#).is_err());
    }
}
