//! The parts of a key while they are gathered, and the key that they make.

use std::collections::BTreeMap;

use shipit_artifact::sha256;

use super::{Difference, KeyPart, LayerKey};
use crate::mask::Masker;
use crate::spec::EnvVar;

/// What every key's digest begins with: no other digest is taken for one.
const DOMAIN: &[u8] = b"shipit layer key 1\0";
/// The longest value that is shown as it is, in bytes; of others it is the digest.
const SHOWN: usize = 200;
/// How many digits of a digest are shown where keys are compared.
const SHORT: usize = 12;

/// Parts by name.
#[derive(Clone)]
pub(super) struct Parts {
    values: BTreeMap<String, String>,
}

impl Parts {
    pub(super) fn new() -> Self {
        Self {
            values: BTreeMap::new(),
        }
    }

    /// A part with a value that is short and printable by itself.
    pub(super) fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.values.insert(name.into(), value.into());
    }

    /// A part with a text of the config, whatever it holds.
    pub(super) fn text(&mut self, name: impl Into<String>, text: &str) {
        let digest_like = text.starts_with("sha256:");
        let plain = text.len() <= SHOWN && !digest_like && !text.contains(char::is_control);
        let value = if plain {
            text.to_owned()
        } else {
            of_content(text.as_bytes())
        };
        self.set(name, value);
    }

    /// A step's variables: names and values, of secrets the name alone. Their order does not matter; of two with one name
    /// the last counts, as it does when the step runs.
    pub(super) fn env(&mut self, env: &[EnvVar], masker: &Masker) {
        for var in env {
            let name = format!("env {}", masker.mask(&var.name));
            if var.secret {
                self.set(name, "(secret)");
            } else {
                self.text(name, &without_credentials(&masker.mask(&var.value)));
            }
        }
    }

    pub(super) fn finish(self) -> LayerKey {
        let mut bytes = DOMAIN.to_vec();
        for (name, value) in &self.values {
            for text in [name, value] {
                bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
        }
        let parts = self
            .values
            .into_iter()
            .map(|(name, value)| KeyPart { name, value });
        LayerKey {
            key: sha256(&bytes).to_string(),
            parts: parts.collect(),
        }
    }
}

/// The value of a part that stands for some bytes.
pub(super) fn of_content(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256(bytes))
}

/// What proxies and mirrors are told as `http://user:password@host`, without the user and the password: they decide
/// nothing, and belong into no key.
fn without_credentials(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        let end = after
            .find(|c: char| c == '/' || c.is_whitespace())
            .unwrap_or(after.len());
        let (authority, tail) = after.split_at(end);
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        kept.push_str(before);
        kept.push_str("://");
        kept.push_str(host);
        rest = tail;
    }
    kept + rest
}

/// Where two keys differ, sorted by part.
#[must_use]
pub fn differences(old: &LayerKey, new: &LayerKey) -> Vec<Difference> {
    let values = |key: &LayerKey| -> BTreeMap<String, String> {
        let parts = key.parts.iter();
        parts
            .map(|part| (part.name.clone(), part.value.clone()))
            .collect()
    };
    let (old, mut new) = (values(old), values(new));
    let mut found: Vec<Difference> = Vec::new();
    for (part, before) in old {
        let after = new.remove(&part);
        if after.as_ref() != Some(&before) {
            found.push(Difference {
                part,
                old: Some(shortened(&before)),
                new: after.as_deref().map(shortened),
            });
        }
    }
    found.extend(new.into_iter().map(|(part, value)| Difference {
        part,
        old: None,
        new: Some(shortened(&value)),
    }));
    found.sort_by(|one, other| one.part.cmp(&other.part));
    found
}

/// `value` with its digests cut to what a reader can compare.
fn shortened(value: &str) -> String {
    let words = value.split(' ').map(|word| {
        let digits = word.strip_prefix("sha256:").unwrap_or(word);
        match digits.get(..SHORT) {
            Some(short) if digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()) => short,
            _ => word,
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: &[(&str, &str)]) -> LayerKey {
        let mut made = Parts::new();
        for (name, value) in parts {
            made.text(*name, value);
        }
        made.finish()
    }

    #[test]
    fn a_key_follows_from_names_and_values_and_from_nothing_else() {
        let one = key(&[("a", "1"), ("b", "2")]);
        assert_eq!(one, key(&[("b", "2"), ("a", "1")]));
        assert_eq!(one.key.len(), 64);
        for other in [
            &[("a", "1")][..],
            &[("a", "1"), ("b", "3")],
            &[("a1", ""), ("b", "2")],
            &[("a", "1b2")],
        ] {
            assert_ne!(key(other).key, one.key, "{other:?}");
        }
        // Pinned: a change of the form orphans every layer that is kept anywhere.
        assert_eq!(
            one.key,
            "b9a617f96c88e519f766f837c84ec5b6cdfd0a2bf8a38b076613463728fc4540"
        );
    }

    #[test]
    fn long_and_odd_values_are_digests() {
        let long = "x".repeat(SHOWN + 1);
        for text in [long.as_str(), "two\nlines", "sha256:abc"] {
            let made = key(&[("a", text)]);
            assert_eq!(made.parts[0].value, of_content(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn credentials_in_urls_do_not_count() {
        for (text, kept) in [
            ("http://user:pass@proxy:8080/x", "http://proxy:8080/x"),
            ("http://a:b@c@proxy", "http://proxy"),
            (
                "--mirror https://t@one/a https://two/@b",
                "--mirror https://one/a https://two/@b",
            ),
            ("me@example.org", "me@example.org"),
        ] {
            assert_eq!(without_credentials(text), kept);
        }
    }

    #[test]
    fn differences_are_told_by_part_with_short_digests() {
        let digest = of_content(b"x");
        let mut old = Parts::new();
        old.set("lockfile a", digest.as_str());
        old.set("tool node", "20.1.0");
        old.set("gone", "1");
        let mut new = old.clone();
        new.set("lockfile a", format!("3 files, {}", of_content(b"y")));
        new.set("tool node", "20.2.0");
        new.set("added", "2");
        new.values.remove("gone");
        let said: Vec<_> = differences(&old.clone().finish(), &new.finish())
            .into_iter()
            .map(|d| format!("{} {:?} {:?}", d.part, d.old.as_deref(), d.new.as_deref()))
            .collect();
        assert_eq!(
            said,
            [
                "added None Some(\"2\")",
                "gone Some(\"1\") None",
                "lockfile a Some(\"2d711642b726\") Some(\"3 files, a1fce4363854\")",
                "tool node Some(\"20.1.0\") Some(\"20.2.0\")",
            ]
        );
        let same = old.finish();
        assert_eq!(differences(&same, &same), []);
    }
}
