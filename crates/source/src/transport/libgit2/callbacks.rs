//! What libgit2 asks back: which credential to try next, and whether a host key is trusted.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use git2::{CertificateCheckStatus, Cred, CredentialType};

use super::Broken;
use crate::git_program::Git;
use crate::known_hosts::{self, Presented, Trust};
use crate::options::SourceOptions;
use crate::remote::Remote;
use crate::transport::helper::{self, Filled};

/// Why a connection was refused on this side.
#[derive(Debug, Clone)]
pub(super) enum Refusal {
    HostKey {
        reason: String,
        advice: String,
    },
    OtherKeyTypes {
        reason: String,
        advice: String,
    },
    /// What was tried.
    NoCredential(String),
}

/// Credentials and trust for one connection: each credential is tried once.
pub(super) struct Access {
    source: SourceOptions,
    remote: Remote,
    attempt: Cell<usize>,
    filled: RefCell<Option<Filled>>,
    tried: RefCell<Vec<String>>,
    refusal: RefCell<Option<Refusal>>,
}

impl Access {
    pub(super) fn new(source: &SourceOptions, remote: &Remote) -> Self {
        Self {
            source: source.clone(),
            remote: remote.clone(),
            attempt: Cell::new(0),
            filled: RefCell::new(None),
            tried: RefCell::new(Vec::new()),
            refusal: RefCell::new(None),
        }
    }

    /// The error to report: this side's reason when it has one.
    pub(super) fn refused(&self, error: git2::Error) -> Broken {
        match self.refusal.borrow().clone() {
            Some(refusal) => Broken::Refused(refusal),
            None => Broken::Git(error),
        }
    }

    pub(super) fn credential(
        &self,
        user: Option<&str>,
        allowed: CredentialType,
    ) -> Result<Cred, git2::Error> {
        let user = user.or(self.user());
        if allowed.contains(CredentialType::USERNAME) {
            return Cred::username(user.unwrap_or("git"));
        }
        let next = if allowed.contains(CredentialType::SSH_KEY) {
            self.next_key(user.unwrap_or("git"))
        } else if allowed.contains(CredentialType::USER_PASS_PLAINTEXT) {
            self.next_password()
        } else {
            None
        };
        next.unwrap_or_else(|| {
            let tried = self.tried.borrow().join(", ");
            let tried = if tried.is_empty() {
                "it wants a credential, and none is given".to_owned()
            } else {
                format!("tried {tried}")
            };
            self.refuse(Refusal::NoCredential(tried))
        })
    }

    fn user(&self) -> Option<&str> {
        match &self.remote {
            Remote::Ssh { user, .. } => user.as_deref(),
            _ => None,
        }
    }

    /// The agent, then each key file.
    fn next_key(&self, user: &str) -> Option<Result<Cred, git2::Error>> {
        let credentials = &self.source.credentials;
        let mut at = self.attempt.replace(self.attempt.get() + 1);
        if credentials.ssh_agent {
            if at == 0 {
                self.tried.borrow_mut().push("the ssh-agent".to_owned());
                return Some(Cred::ssh_key_from_agent(user));
            }
            at -= 1;
        }
        // libssh2 gives up at a key that it cannot read, without asking for the next one.
        let usable = credentials
            .ssh_keys
            .iter()
            .filter(|key| match key_needs_passphrase(key) {
                Ok(false) => true,
                Ok(true) => self.note_once(format!("{} (it has a passphrase: left out)", key.display())),
                Err(error) => self.note_once(format!("{} ({error})", key.display())),
            });
        let key = usable.collect::<Vec<_>>().get(at).copied()?;
        self.note_once(key.display().to_string());
        Some(Cred::ssh_key(user, None, key, None))
    }

    /// Notes what was tried; false, for filters.
    fn note_once(&self, tried: String) -> bool {
        let mut all = self.tried.borrow_mut();
        if !all.contains(&tried) {
            all.push(tried);
        }
        false
    }

    /// The token, then the helpers.
    fn next_password(&self) -> Option<Result<Cred, git2::Error>> {
        let credentials = &self.source.credentials;
        let git = || Git::new(&self.source, &self.remote);
        if let Some(filled) = self.filled.borrow_mut().take() {
            helper::reject(&git(), &self.remote, &filled, self.source.timeouts);
        }
        let token = credentials
            .token
            .as_ref()
            .filter(|token| token.is_for(&self.remote));
        let mut at = self.attempt.replace(self.attempt.get() + 1);
        if let Some(token) = token {
            if at == 0 {
                self.tried
                    .borrow_mut()
                    .push(format!("the token (as user {})", token.username));
                return Some(Cred::userpass_plaintext(&token.username, token.secret.reveal()));
            }
            at -= 1;
        }
        if at > 0 || !credentials.helper {
            return None;
        }
        self.tried
            .borrow_mut()
            .push("git's credential helpers".to_owned());
        let filled = helper::fill(&git(), &self.remote, self.source.timeouts)?;
        let credential = Cred::userpass_plaintext(&filled.username, &filled.password);
        self.filled.replace(Some(filled));
        Some(credential)
    }

    pub(super) fn no_host_key(&self) -> Result<CertificateCheckStatus, git2::Error> {
        let reason = "the server showed none that libssh2 hands on".to_owned();
        self.refuse(Refusal::HostKey {
            reason,
            advice: "set fetch = \"cli\"".to_owned(),
        })
    }

    pub(super) fn check_host_key(&self, key: &[u8]) -> Result<(), git2::Error> {
        let Remote::Ssh { host, port, .. } = &self.remote else {
            return Ok(());
        };
        let presented = Presented {
            host,
            port: port.unwrap_or(22),
            key,
        };
        let files = &self.source.credentials.known_hosts;
        let texts: Vec<_> = files
            .iter()
            .filter_map(|file| Some((file.clone(), fs::read_to_string(file).ok()?)))
            .collect();
        let shown = format!("{} {}", presented.key_type(), presented.fingerprint());
        let name = presented.name();
        let target = files
            .first()
            .map_or("~/.ssh/known_hosts".to_owned(), |file| file.display().to_string());
        let scan = format!("ssh-keyscan -p {} {host} >> {target}", presented.port);
        let refusal = match known_hosts::check(&texts, &presented) {
            Trust::Known => return Ok(()),
            Trust::Unknown => Refusal::HostKey {
                reason: format!("{name} is in no known_hosts file; it shows {shown}"),
                advice: format!("compare the fingerprint with the server's, then add it: {scan}"),
            },
            Trust::OtherTypes(types) => Refusal::OtherKeyTypes {
                reason: format!(
                    "known_hosts has {name} with {} alone; it shows {shown}",
                    types.join(", ")
                ),
                advice: format!("compare the fingerprint with the server's, then add it: {scan}"),
            },
            Trust::Changed { file, line } => Refusal::HostKey {
                reason: format!(
                    "{name} shows {shown}, but {} line {line} has another key",
                    file.display()
                ),
                advice: format!(
                    "somebody may be listening in; if the server's key was really changed: ssh-keygen -R '{name}' -f {}",
                    file.display()
                ),
            },
            Trust::Revoked { file, line } => Refusal::HostKey {
                reason: format!(
                    "{name} shows {shown}, which {} line {line} revokes",
                    file.display()
                ),
                advice: "ask whoever runs the server".to_owned(),
            },
        };
        self.refuse(refusal)
    }

    fn refuse<T>(&self, refusal: Refusal) -> Result<T, git2::Error> {
        self.refusal.replace(Some(refusal));
        Err(git2::Error::from_str("refused on this side"))
    }
}

/// Whether a private key file is encrypted: PEM says so in words, OpenSSH's own form names the cipher first.
fn key_needs_passphrase(path: &Path) -> io::Result<bool> {
    let text = fs::read_to_string(path)?;
    if !text.contains("BEGIN OPENSSH PRIVATE KEY") {
        return Ok(text.contains("ENCRYPTED"));
    }
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    let start = STANDARD
        .decode(body.get(..44).unwrap_or_default())
        .unwrap_or_default();
    Ok(!start.starts_with(b"openssh-key-v1\0\0\0\0\x04none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_a_passphrase() {
        let dir = tempfile::tempdir().unwrap();
        let needs = |start: &[u8]| {
            let path = dir.path().join("key");
            let mut bytes = start.to_vec();
            bytes.resize(60, 0);
            let body = STANDARD.encode(bytes);
            fs::write(
                &path,
                format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n-----END"),
            )
            .unwrap();
            key_needs_passphrase(&path).unwrap()
        };
        assert!(!needs(b"openssh-key-v1\0\0\0\0\x04none\0\0\0\x04none"));
        assert!(needs(b"openssh-key-v1\0\0\0\0\x0aaes256-ctr\0\0\0\x06bcrypt"));
        assert!(key_needs_passphrase(&dir.path().join("none")).is_err());
    }
}
