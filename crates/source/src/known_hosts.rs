//! Host keys against known_hosts files, by OpenSSH's rules: plain and hashed names, patterns, ports, `@revoked`.
//! `@cert-authority` lines are skipped: libssh2 knows no certificates.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use shipit_artifact::sha256;

/// What the files say about a host's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trust {
    /// It is the one.
    Known,
    /// The host is not there.
    Unknown,
    /// The host is there, with keys of other types alone.
    OtherTypes(Vec<String>),
    /// The host is there with another key of this type.
    Changed { file: PathBuf, line: usize },
    /// The key is revoked.
    Revoked { file: PathBuf, line: usize },
}

/// A server's key as it presents it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Presented<'a> {
    pub host: &'a str,
    pub port: u16,
    /// The key in ssh's wire form.
    pub key: &'a [u8],
}

impl Presented<'_> {
    /// `SHA256:…` as ssh-keygen -l shows it.
    pub(crate) fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(sha256(self.key).as_bytes()))
    }

    /// The type's name, which stands in the key's own first field.
    pub(crate) fn key_type(&self) -> String {
        let length = self
            .key
            .first_chunk::<4>()
            .map_or(0, |bytes| u32::from_be_bytes(*bytes) as usize);
        let name = self
            .key
            .get(4..4_usize.saturating_add(length))
            .unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    }

    /// The name under which known_hosts has it.
    pub(crate) fn name(&self) -> String {
        if self.port == 22 {
            self.host.to_owned()
        } else {
            format!("[{}]:{}", self.host, self.port)
        }
    }
}

/// What the files (their paths and texts) say.
pub(crate) fn check(files: &[(PathBuf, String)], presented: &Presented<'_>) -> Trust {
    let trust = check_name(files, presented, &presented.name());
    // A host that is known without its port is trusted at any, as ssh does.
    if trust == Trust::Unknown
        && presented.port != 22
        && check_name(files, presented, presented.host) == Trust::Known
    {
        return Trust::Known;
    }
    trust
}

fn check_name(files: &[(PathBuf, String)], presented: &Presented<'_>, name: &str) -> Trust {
    let wanted_type = presented.key_type();
    let (mut known, mut changed, mut others) = (false, None, Vec::new());
    for (path, text) in files {
        for (at, line) in text.lines().enumerate() {
            let Some(entry) = Entry::parse(line).filter(|entry| entry.matches(name)) else {
                continue;
            };
            let same = entry.key.as_deref() == Some(presented.key);
            match entry.marker {
                Some("@revoked") if same => {
                    return Trust::Revoked {
                        file: path.clone(),
                        line: at + 1,
                    };
                }
                Some(_) => {}
                None if same => known = true,
                None if entry.key_type == wanted_type => {
                    changed.get_or_insert_with(|| Trust::Changed {
                        file: path.clone(),
                        line: at + 1,
                    });
                }
                None => others.push(entry.key_type.to_owned()),
            }
        }
    }
    match (known, changed) {
        (true, _) => Trust::Known,
        (false, Some(changed)) => changed,
        (false, None) if others.is_empty() => Trust::Unknown,
        (false, None) => Trust::OtherTypes(others),
    }
}

struct Entry<'a> {
    marker: Option<&'a str>,
    names: &'a str,
    key_type: &'a str,
    key: Option<Vec<u8>>,
}

impl<'a> Entry<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let mut first = words.next().filter(|word| !word.starts_with('#'))?;
        let marker = first.starts_with('@').then_some(first);
        if marker.is_some() {
            first = words.next()?;
        }
        let key_type = words.next()?;
        let key = STANDARD.decode(words.next()?).ok();
        Some(Self {
            marker,
            names: first,
            key_type,
            key,
        })
    }

    fn matches(&self, name: &str) -> bool {
        if let Some(hashed) = self.names.strip_prefix("|1|") {
            return hash_matches(hashed, name).unwrap_or(false);
        }
        let name = name.to_ascii_lowercase();
        let mut matched = false;
        for pattern in self.names.split(',') {
            let pattern = pattern.to_ascii_lowercase();
            match pattern.strip_prefix('!') {
                Some(negated) if wildcard(negated.as_bytes(), name.as_bytes()) => return false,
                Some(_) => {}
                None => matched |= wildcard(pattern.as_bytes(), name.as_bytes()),
            }
        }
        matched
    }
}

/// `salt|hash`: the hash is HMAC-SHA1 of the name under the salt.
fn hash_matches(hashed: &str, name: &str) -> Option<bool> {
    let (salt, hash) = hashed.split_once('|')?;
    let mut mac = Hmac::<Sha1>::new_from_slice(&STANDARD.decode(salt).ok()?).ok()?;
    mac.update(name.as_bytes());
    Some(mac.verify_slice(&STANDARD.decode(hash).ok()?).is_ok())
}

/// `*` and `?`.
pub(crate) fn wildcard(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            wildcard(rest, name)
                || name
                    .split_first()
                    .is_some_and(|(_, tail)| wildcard(pattern, tail))
        }
        (Some((b'?', rest)), Some((_, tail))) => wildcard(rest, tail),
        (Some((one, rest)), Some((other, tail))) => one == other && wildcard(rest, tail),
        _ => false,
    }
}

/// Whether OpenSSH config files say anything about a host: then libssh2, which reads none, would act differently.
pub(crate) fn config_mentions(files: &[PathBuf], host: &str) -> bool {
    files
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .any(|text| text_mentions(&text, host))
}

fn text_mentions(text: &str, host: &str) -> bool {
    // Settings before the first Host count for every host; Debian's own file has a few harmless ones under `Host *`.
    const HARMLESS: [&str; 4] = [
        "sendenv",
        "hashknownhosts",
        "gssapiauthentication",
        "forwardx11trusted",
    ];
    let mut applies = true;
    for line in text.lines() {
        let line = line.trim();
        let (keyword, rest) = line.split_once([' ', '\t', '=']).unwrap_or((line, ""));
        match keyword.to_ascii_lowercase().as_str() {
            "" => {}
            comment if comment.starts_with('#') => {}
            "match" => applies = true,
            "include" if Path::new(rest.trim()) == Path::new("/etc/ssh/ssh_config.d/*.conf") => {}
            "host" => {
                let mut patterns = rest.split_ascii_whitespace();
                applies = patterns.any(|pattern| wildcard(pattern.as_bytes(), host.as_bytes()));
            }
            keyword if applies && !HARMLESS.contains(&keyword) => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    // The wire form of a (worthless) ed25519 key begins with its type.
    fn key(last: u8) -> Vec<u8> {
        let mut key = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
        key.extend([last; 32]);
        key
    }

    fn trust(text: &str, host: &str, port: u16) -> Trust {
        check(
            &[("kh".into(), text.to_owned())],
            &Presented {
                host,
                port,
                key: &key(1),
            },
        )
    }

    fn line(names: &str, last: u8) -> String {
        format!("{names} ssh-ed25519 {} comment\n", STANDARD.encode(key(last)))
    }

    fn hashed(name: &str) -> String {
        let mut mac = Hmac::<Sha1>::new_from_slice(b"0123456789abcdefghij").unwrap();
        mac.update(name.as_bytes());
        format!(
            "|1|{}|{}",
            STANDARD.encode(b"0123456789abcdefghij"),
            STANDARD.encode(mac.finalize().into_bytes())
        )
    }

    #[test]
    fn names_ports_patterns_hashes() {
        assert_eq!(
            trust(&line("host.example,10.0.0.1", 1), "host.example", 22),
            Trust::Known
        );
        assert_eq!(
            trust(&line("[host.example]:2222", 1), "host.example", 2222),
            Trust::Known
        );
        assert_eq!(
            trust(&line("host.example", 1), "host.example", 2222),
            Trust::Known
        );
        assert_eq!(
            trust(&line("[host.example]:2222", 1), "host.example", 22),
            Trust::Unknown
        );
        assert_eq!(
            trust(&line("*.example,!bad.example", 1), "host.example", 22),
            Trust::Known
        );
        assert_eq!(
            trust(&line("*.example,!bad.example", 1), "bad.example", 22),
            Trust::Unknown
        );
        assert_eq!(trust(&line(&hashed("[h]:2222"), 1), "h", 2222), Trust::Known);
        assert_eq!(trust(&line(&hashed("other"), 1), "h", 22), Trust::Unknown);
    }

    #[test]
    fn changed_revoked_and_other_types() {
        let changed = format!("# comment\n{}", line("h", 2));
        assert_eq!(
            trust(&changed, "h", 22),
            Trust::Changed {
                file: "kh".into(),
                line: 2
            }
        );
        assert_eq!(
            trust(&format!("{}{}", line("h", 2), line("h", 1)), "h", 22),
            Trust::Known
        );
        let revoked = format!("{}@revoked {}", line("h", 1), line("h", 1));
        assert_eq!(
            trust(&revoked, "h", 22),
            Trust::Revoked {
                file: "kh".into(),
                line: 2
            }
        );
        let other = "h ecdsa-sha2-nistp256 AAAA\n";
        assert_eq!(
            trust(other, "h", 22),
            Trust::OtherTypes(vec!["ecdsa-sha2-nistp256".into()])
        );
        assert_eq!(
            trust(&format!("@cert-authority {}", line("h", 1)), "h", 22),
            Trust::Unknown
        );
    }

    #[test]
    fn ssh_configs() {
        assert!(text_mentions("Host git\n  HostName git.example\n", "git"));
        assert!(!text_mentions("Host git\n  HostName git.example\n", "other"));
        assert!(text_mentions("User deploy\n", "any"));
        assert!(!text_mentions(
            "Host *\n    SendEnv LANG LC_*\n    HashKnownHosts yes\n#x\n",
            "any"
        ));
        assert!(text_mentions(
            "Host *.example\n ProxyJump bastion\n",
            "git.example"
        ));
    }
}
