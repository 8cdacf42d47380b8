//! Where a repository lies: parsing, showing without credentials, resolving relative submodule URLs. No I/O but the
//! search for the repository around a directory.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use url::Url;

use crate::error::Error;

mod parse;

use parse::{parse, without_password};

/// Where a repository lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Remote {
    /// `https://` or `http://`; at most a user name in it, never a password.
    Http(Url),
    /// `ssh://[user@]host[:port]/path`, also made of `[user@]host:path`.
    Ssh {
        /// The user; the ssh program's default when none is given.
        user: Option<String>,
        /// The host.
        host: String,
        /// The port, when it is not ssh's default.
        port: Option<u16>,
        /// The path as the server takes it.
        path: String,
    },
    /// `file://`: fetched into the mirror as from a server.
    File(PathBuf),
    /// A directory on this machine: read directly, without a mirror.
    Path(PathBuf),
}

/// Why a text is no usable remote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// Nothing was given.
    #[error("it is empty")]
    Empty,
    /// A password or token stands in the URL.
    #[error("its URL holds a password, which would end up in logs and process lists")]
    Password,
    /// It begins with `-`, or has control characters.
    #[error("it begins with a dash or holds control characters")]
    Suspicious,
    /// A protocol that is not offered.
    #[error("the protocol {0:?} is not supported; use https, ssh, file or a path")]
    Protocol(String),
    /// The URL has no host or no path.
    #[error("the URL has no {0}")]
    Incomplete(&'static str),
    /// The URL cannot be parsed.
    #[error("the URL cannot be parsed: {0}")]
    Syntax(String),
}

impl RemoteError {
    /// What to do instead.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Password => Some(
                "take it out of the URL; give the token by an environment variable, or use ssh or a git credential helper",
            ),
            _ => Some(
                "for example https://host/team/app.git, git@host:team/app.git, file:///srv/git/app.git or ../app",
            ),
        }
    }
}

impl Remote {
    /// Parses a URL (https, http, ssh, file), a scp-like address (`git@host:path`) or a path.
    ///
    /// A relative path stays relative: the caller joins it to the directory it is meant from ([`Remote::based_on`]).
    ///
    /// # Errors
    /// [`Error::Remote`] for a URL with a password, an unknown protocol or bad syntax; its text never holds the password.
    pub fn parse(given: &str) -> Result<Self, Error> {
        parse(given).map_err(|source| Error::Remote {
            given: without_password(given),
            source,
        })
    }

    /// The repository that `dir` lies in: its work tree's top, or the bare repository itself. `None` when there is none.
    #[must_use]
    pub fn containing(dir: &Path) -> Option<Self> {
        let found = dir
            .ancestors()
            .find(|dir| dir.join(".git").exists() || is_bare(dir))?;
        Some(Self::Path(found.to_path_buf()))
    }

    /// The same remote with a relative path taken from `dir`.
    #[must_use]
    pub fn based_on(self, dir: &Path) -> Self {
        match self {
            Self::Path(path) => Self::Path(normal(&dir.join(path))),
            other => other,
        }
    }

    /// The URL or path as git takes it.
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            Self::Http(url) => url.as_str().to_owned(),
            Self::Ssh {
                user,
                host,
                port,
                path,
            } => {
                let user = user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
                let port = port.map(|port| format!(":{port}")).unwrap_or_default();
                let host = if host.contains(':') {
                    format!("[{host}]")
                } else {
                    host.clone()
                };
                let slash = if path.starts_with('/') { "" } else { "/" };
                format!("ssh://{user}{host}{port}{slash}{path}")
            }
            Self::File(path) => format!("file://{}", path.display()),
            Self::Path(path) => path.display().to_string(),
        }
    }

    /// The host, lower-case; `None` for files and paths.
    #[must_use]
    pub fn host(&self) -> Option<String> {
        match self {
            Self::Http(url) => url.host_str().map(str::to_ascii_lowercase),
            Self::Ssh { host, .. } => Some(host.to_ascii_lowercase()),
            Self::File(_) | Self::Path(_) => None,
        }
    }

    /// Whether what is sent to it is encrypted, or stays on this machine.
    pub(crate) fn is_protected(&self) -> bool {
        let Self::Http(url) = self else { return true };
        url.scheme() == "https"
            || match url.host() {
                Some(url::Host::Ipv4(address)) => address.is_loopback(),
                Some(url::Host::Ipv6(address)) => address.is_loopback(),
                Some(url::Host::Domain(name)) => name == "localhost",
                None => false,
            }
    }

    /// A relative submodule URL (`./x`, `../x`) seen from this remote, as git resolves it; other URLs are parsed as they are.
    ///
    /// # Errors
    /// As [`Remote::parse`]; also when `..` leaves the server's root.
    pub(crate) fn submodule(&self, given: &str) -> Result<Self, Error> {
        if !(given.starts_with("./") || given.starts_with("../")) {
            return Self::parse(given);
        }
        self.relative(given).map_err(|source| Error::Remote {
            given: without_password(given),
            source,
        })
    }

    fn relative(&self, given: &str) -> Result<Self, RemoteError> {
        let join =
            |base: &str| join_relative(base, given).ok_or(RemoteError::Incomplete("path within the server"));
        Ok(match self {
            Self::Http(url) => {
                let mut url = url.clone();
                url.set_path(&join(url.path())?);
                Self::Http(url)
            }
            Self::Ssh {
                user,
                host,
                port,
                path,
            } => Self::Ssh {
                user: user.clone(),
                host: host.clone(),
                port: *port,
                path: join(path)?,
            },
            Self::File(path) => Self::File(normal(&path.join(given))),
            Self::Path(path) => Self::Path(normal(&path.join(given))),
        })
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url())
    }
}

fn is_bare(dir: &Path) -> bool {
    dir.join("HEAD").is_file() && dir.join("objects").is_dir() && dir.join("refs").is_dir()
}

/// Without `.` and `..`, by text alone.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if out.file_name().is_some() => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// git's rule: `../` takes one component from the base, `./` none; the rest is appended.
fn join_relative(base: &str, given: &str) -> Option<String> {
    let mut base = base.trim_end_matches('/').to_owned();
    let mut rest = given;
    loop {
        if let Some(tail) = rest.strip_prefix("../") {
            let (parent, _) = base.rsplit_once('/').or((!base.is_empty()).then_some(("", "")))?;
            base = parent.to_owned();
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix("./") {
            rest = tail;
        } else {
            break;
        }
    }
    if base.is_empty() {
        Some(format!("/{rest}"))
    } else {
        Some(format!("{base}/{rest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_that_git_knows() {
        let shown = |given: &str| Remote::parse(given).map(|remote| remote.to_string()).unwrap();
        assert_eq!(
            shown("https://host.example/a/b.git"),
            "https://host.example/a/b.git"
        );
        assert_eq!(
            shown("git@host.example:a/b.git"),
            "ssh://git@host.example/a/b.git"
        );
        assert_eq!(
            shown("ssh://git@host.example:2222/a/b.git"),
            "ssh://git@host.example:2222/a/b.git"
        );
        assert_eq!(shown("file:///srv/git/a.git"), "file:///srv/git/a.git");
        assert_eq!(Remote::parse("../a").unwrap(), Remote::Path("../a".into()));
        assert_eq!(Remote::parse("./a:b").unwrap(), Remote::Path("./a:b".into()));
    }

    #[test]
    fn passwords_are_refused_and_not_repeated() {
        for given in [
            "https://user:s3cr3t@host.example/a.git",
            "https://:s3cr3t@host.example/a.git",
            "ssh://user:s3cr3t@host.example/a.git",
            "https://ghp_s3cr3t@host.example/a.git",
            "user:s3cr3t@host.example",
        ] {
            let error = Remote::parse(given).unwrap_err();
            let text = format!("{error} {error:?} {:?}", error.hint());
            assert!(!text.contains("s3cr3t"), "{text}");
        }
    }

    #[test]
    fn what_could_be_an_option_is_refused() {
        for given in [
            "-oProxyCommand=x",
            "ssh://-oProxyCommand=x/a",
            "ext::sh -c x",
            "",
            "a\nb",
            "http://host.example",
            "ftp://h/a",
        ] {
            assert!(Remote::parse(given).is_err(), "{given}");
        }
    }

    #[test]
    fn relative_submodules() {
        let of = |base: &str, given: &str| {
            Remote::parse(base)
                .and_then(|base| base.submodule(given))
                .map(|remote| remote.to_string())
        };
        assert_eq!(
            of("https://h.example/team/app.git", "../lib.git").unwrap(),
            "https://h.example/team/lib.git"
        );
        assert_eq!(
            of("git@h.example:team/app.git", "../lib.git").unwrap(),
            "ssh://git@h.example/team/lib.git"
        );
        assert_eq!(of("/srv/git/app", "../lib").unwrap(), "/srv/git/lib");
        assert_eq!(
            of("https://h.example/app.git", "https://o.example/x.git").unwrap(),
            "https://o.example/x.git"
        );
        assert!(of("https://h.example/app.git", "../../../x.git").is_err());
    }

    #[test]
    fn the_repository_around_a_directory() {
        let top = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(top.path().join("a/b")).unwrap();
        assert_eq!(Remote::containing(&top.path().join("a/b")), None);
        std::fs::create_dir(top.path().join("a/.git")).unwrap();
        assert_eq!(
            Remote::containing(&top.path().join("a/b")),
            Some(Remote::Path(top.path().join("a")))
        );
    }
}
