//! SHA-256 on the fly, and digests as values.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest. Displayed and serialised as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// A text that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a SHA-256 digest: 64 lower-case hexadecimal digits are expected")]
pub struct DigestParseError(String);

impl Digest {
    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = DigestParseError;

    fn from_str(text: &str) -> Result<Self, DigestParseError> {
        let wrong = || DigestParseError(text.chars().take(80).collect());
        if text.len() != 64 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// The SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// Hashes what passes through to the writer beneath.
#[derive(Debug)]
pub struct Sha256Writer<W> {
    inner: W,
    state: Sha256,
    written: u64,
}

impl<W: Write> Sha256Writer<W> {
    /// Around `inner`, from nothing.
    pub fn new(inner: W) -> Self {
        Self {
            inner,
            state: Sha256::new(),
            written: 0,
        }
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The digest of all that was written so far.
    pub(crate) fn digest_so_far(&self) -> Digest {
        Digest(self.state.clone().finalize().into())
    }

    /// The writer beneath, for what does not go through this one: see [`Sha256Writer::note`].
    pub(crate) fn beneath(&mut self) -> &mut W {
        &mut self.inner
    }

    /// Counts and hashes bytes that came into the writer beneath in another way.
    pub(crate) fn note(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
        self.written += bytes.len() as u64;
    }

    /// The writer beneath, the digest and the count of all that was written. Does not flush.
    pub fn finish(self) -> (W, Digest, u64) {
        (self.inner, Digest(self.state.finalize().into()), self.written)
    }
}

impl<W: Write> Write for Sha256Writer<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let taken = self.inner.write(buf)?;
        self.state.update(&buf[..taken]);
        self.written += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Hashes what is read from the reader beneath.
#[derive(Debug)]
pub struct Sha256Reader<R> {
    inner: R,
    state: Sha256,
    read: u64,
}

impl<R: Read> Sha256Reader<R> {
    /// Around `inner`, from nothing.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            state: Sha256::new(),
            read: 0,
        }
    }

    /// Bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.read
    }

    /// The reader beneath, the digest and the count of all that was read.
    pub fn finish(self) -> (R, Digest, u64) {
        (self.inner, Digest(self.state.finalize().into()), self.read)
    }
}

impl<R: Read> Read for Sha256Reader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buf)?;
        self.state.update(&buf[..got]);
        self.read += got as u64;
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn writer_and_reader_hash_what_passes() {
        let mut writer = Sha256Writer::new(Vec::new());
        writer.write_all(b"a").unwrap();
        writer.write_all(b"bc").unwrap();
        let (bytes, digest, written) = writer.finish();
        assert_eq!(
            (bytes.as_slice(), digest.to_string().as_str(), written),
            (&b"abc"[..], ABC, 3)
        );
        let mut reader = Sha256Reader::new(&b"abc"[..]);
        io::copy(&mut reader, &mut io::sink()).unwrap();
        assert_eq!(reader.finish().1, sha256(b"abc"));
    }

    #[test]
    fn digests_parse_strictly() {
        assert_eq!(ABC.parse::<Digest>().unwrap(), sha256(b"abc"));
        assert!(ABC.to_uppercase().parse::<Digest>().is_err());
        assert!(ABC[1..].parse::<Digest>().is_err());
        assert!("".parse::<Digest>().is_err());
    }
}
