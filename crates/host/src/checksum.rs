//! A manifest's checksum: which algorithm it is by its length, and taking it of a stream.

use sha2::Digest;

/// The running checksum of a stream.
#[derive(Debug, Clone)]
pub(crate) enum Checksum {
    Md5(md5::Md5),
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Checksum {
    /// The algorithm whose hex digest is as long as `expected`; none for any other length, the empty one included.
    pub(crate) fn for_expected(expected: &str) -> Option<Self> {
        match expected.len() {
            32 => Some(Self::Md5(md5::Md5::new())),
            40 => Some(Self::Sha1(sha1::Sha1::new())),
            64 => Some(Self::Sha256(sha2::Sha256::new())),
            128 => Some(Self::Sha512(sha2::Sha512::new())),
            _ => None,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Md5(_) => "md5",
            Self::Sha1(_) => "sha1",
            Self::Sha256(_) => "sha256",
            Self::Sha512(_) => "sha512",
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(hash) => hash.update(bytes),
            Self::Sha1(hash) => hash.update(bytes),
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    /// The digest in lower-case hex.
    pub(crate) fn finish(self) -> String {
        match self {
            Self::Md5(hash) => hex(&hash.finalize()),
            Self::Sha1(hash) => hex(&hash.finalize()),
            Self::Sha256(hash) => hex(&hash.finalize()),
            Self::Sha512(hash) => hex(&hash.finalize()),
        }
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_names_the_algorithm() {
        for (expected, name) in [
            ("900150983cd24fb0d6963f7d28e17f72", "md5"),
            ("a9993e364706816aba3e25717850c26c9cd0d89d", "sha1"),
            (
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                "sha256",
            ),
            (
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                 2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
                "sha512",
            ),
        ] {
            let mut checksum = Checksum::for_expected(expected).unwrap();
            assert_eq!(checksum.name(), name);
            checksum.update(b"a");
            checksum.update(b"bc");
            assert_eq!(checksum.finish(), expected);
        }
    }

    #[test]
    fn no_other_length_is_a_checksum() {
        for length in [0, 1, 31, 33, 56, 96, 127, 129] {
            assert!(Checksum::for_expected(&"a".repeat(length)).is_none(), "{length}");
        }
    }
}
