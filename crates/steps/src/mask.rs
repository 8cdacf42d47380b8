//! Replaces secrets in a stream of bytes, however the stream is cut. It knows a secret as it is, its lines when it has
//! several, and its percent-encoded form, as in a URL; what a program derives otherwise (base64, a digest) it cannot
//! know.

use std::collections::BTreeSet;

/// What stands in a secret's place.
pub(crate) const MASK: &str = "***";

/// The least length, in bytes, at which a single line of a secret is masked by itself: the short ones (`}`, `-----`)
/// would mask half of the output.
const LEAST_LINE: usize = 8;

/// Masks secrets in a stream.
pub struct Masker {
    /// The longest first, so that of two that start alike the longer is taken.
    patterns: Vec<Vec<u8>>,
    held: Vec<u8>,
}

impl Masker {
    /// Masks these.
    pub fn new<'s>(secrets: impl IntoIterator<Item = &'s str>) -> Self {
        let mut patterns = BTreeSet::new();
        for secret in secrets {
            patterns.insert(secret.to_owned());
            patterns.insert(secret.trim().to_owned());
            patterns.insert(percent_encoded(secret.trim()));
            if secret.trim().contains('\n') {
                patterns.extend(
                    secret
                        .lines()
                        .map(str::trim)
                        .filter(|line| line.len() >= LEAST_LINE)
                        .map(str::to_owned),
                );
            }
        }
        patterns.remove("");
        let mut patterns: Vec<Vec<u8>> = patterns.into_iter().map(String::into_bytes).collect();
        patterns.sort_by_key(|pattern| std::cmp::Reverse(pattern.len()));
        Self {
            patterns,
            held: Vec::new(),
        }
    }

    /// Takes `bytes` and adds to `out` what is certain. The end that may be the start of a secret is held back.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.patterns.is_empty() {
            out.extend_from_slice(bytes);
            return;
        }
        let mut buffer = std::mem::take(&mut self.held);
        buffer.extend_from_slice(bytes);
        let certain = self.certain(&buffer, 0);
        let end = self.replace(&buffer, certain, out);
        let hold = if end > certain {
            self.certain(&buffer, end)
        } else {
            certain
        };
        out.extend_from_slice(&buffer[end.min(hold)..hold]);
        self.held = buffer.split_off(hold);
    }

    /// Adds what was held back: nothing follows.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let buffer = std::mem::take(&mut self.held);
        let end = self.replace(&buffer, buffer.len(), out);
        out.extend_from_slice(&buffer[end..]);
    }

    /// A whole text masked.
    pub(crate) fn mask(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.mask_bytes(text.as_bytes())).into_owned()
    }

    /// A whole file masked.
    pub(crate) fn mask_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        let end = self.replace(bytes, bytes.len(), &mut out);
        out.extend_from_slice(&bytes[end..]);
        out
    }

    /// Where the first suffix of `buffer` starts, at or after `from`, that may grow into a secret.
    fn certain(&self, buffer: &[u8], from: usize) -> usize {
        let longest = self.patterns.first().map_or(0, Vec::len);
        let least = buffer.len().saturating_sub(longest.saturating_sub(1)).max(from);
        (least..buffer.len())
            .find(|&at| {
                let rest = &buffer[at..];
                self.patterns
                    .iter()
                    .any(|pattern| pattern.len() > rest.len() && pattern.starts_with(rest))
            })
            .unwrap_or(buffer.len())
    }

    /// Adds `buffer` up to `limit` to `out`, with each secret that starts before `limit` replaced; returns where it
    /// stopped, which is after `limit` when the last secret reaches beyond it.
    fn replace(&self, buffer: &[u8], limit: usize, out: &mut Vec<u8>) -> usize {
        let mut at = 0;
        while at < limit {
            let rest = &buffer[at..];
            if let Some(pattern) = self.patterns.iter().find(|pattern| rest.starts_with(pattern)) {
                out.extend_from_slice(MASK.as_bytes());
                at += pattern.len();
            } else {
                out.push(buffer[at]);
                at += 1;
            }
        }
        at
    }
}

fn percent_encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streamed(secrets: &[&str], text: &str, size: usize) -> String {
        let mut masker = Masker::new(secrets.iter().copied());
        let mut out = Vec::new();
        for chunk in text.as_bytes().chunks(size) {
            masker.push(chunk, &mut out);
        }
        masker.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_secret_is_masked_however_the_stream_is_cut() {
        let text = "token=hunter2 and hunter22, hunte, hunterhunter2\nhunter";
        for size in 1..text.len() {
            assert_eq!(
                streamed(&["hunter2"], text, size),
                "token=*** and ***2, hunte, hunter***\nhunter",
                "{size}"
            );
        }
    }

    #[test]
    fn secrets_that_start_or_overlap_alike() {
        let text = "abcdef abc abab ababab xabcd";
        for size in 1..text.len() {
            assert_eq!(
                streamed(&["abc", "abcdef"], text, size),
                "*** *** abab ababab x***d",
                "{size}"
            );
            assert_eq!(
                streamed(&["abab"], text, size),
                "abcdef abc *** ***ab xabcd",
                "{size}"
            );
        }
    }

    #[test]
    fn the_lines_of_a_key_and_a_secret_in_a_url() {
        let key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\n}\n";
        assert_eq!(streamed(&[key], "got MIIEvQIBADANBg and }", 3), "got *** and }");
        assert_eq!(
            streamed(&["p@ss/word"], "https://u:p%40ss%2Fword@host", 5),
            "https://u:***@host"
        );
        assert_eq!(streamed(&["", "  "], "nothing  here", 4), "nothing***here");
    }

    #[test]
    fn no_more_is_held_back_than_may_be_a_secret() {
        let mut masker = Masker::new(["hunter2"]);
        let mut out = Vec::new();
        masker.push(b"ready\nhunt", &mut out);
        assert_eq!(out, b"ready\n");
        assert_eq!(masker.mask("x hunter2"), "x ***");
    }
}
