//! The texts that name a remote: URLs, scp-like addresses, paths. Passwords are found here, and taken out of messages.

use std::path::PathBuf;

use url::Url;

use super::{Remote, RemoteError};

pub(super) fn parse(given: &str) -> Result<Remote, RemoteError> {
    if given.is_empty() {
        return Err(RemoteError::Empty);
    }
    if given.starts_with('-') || given.chars().any(char::is_control) {
        return Err(RemoteError::Suspicious);
    }
    if let Some((scheme, _)) = given.split_once("://") {
        return parse_url(given, &scheme.to_ascii_lowercase());
    }
    Ok(scp_like(given)?.unwrap_or_else(|| Remote::Path(PathBuf::from(given))))
}

fn parse_url(given: &str, scheme: &str) -> Result<Remote, RemoteError> {
    if scheme == "file" {
        let path = given.split_once("://").map(|(_, rest)| rest).unwrap_or_default();
        let path = path.strip_prefix("localhost").unwrap_or(path);
        if !path.starts_with('/') {
            return Err(RemoteError::Incomplete("absolute path"));
        }
        return Ok(Remote::File(PathBuf::from(path)));
    }
    if !matches!(scheme, "http" | "https" | "ssh" | "git+ssh" | "ssh+git") {
        return Err(RemoteError::Protocol(scheme.to_owned()));
    }
    let url = Url::parse(given).map_err(|error| RemoteError::Syntax(error.to_string()))?;
    if url.password().is_some() {
        return Err(RemoteError::Password);
    }
    let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
        return Err(RemoteError::Incomplete("host"));
    };
    if url.path().len() <= 1 {
        return Err(RemoteError::Incomplete("path"));
    }
    if scheme.starts_with("http") {
        // A lone user name that looks like a token is one: forges take `https://<token>@host/…`.
        if looks_like_token(url.username()) {
            return Err(RemoteError::Password);
        }
        return Ok(Remote::Http(url));
    }
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    ssh(
        Some(url.username()).filter(|user| !user.is_empty()),
        host,
        url.port(),
        url.path(),
    )
}

fn ssh(user: Option<&str>, host: String, port: Option<u16>, path: &str) -> Result<Remote, RemoteError> {
    if host.starts_with('-') || path.starts_with('-') || user.is_some_and(|user| user.starts_with('-')) {
        return Err(RemoteError::Suspicious);
    }
    Ok(Remote::Ssh {
        user: user.map(str::to_owned),
        host,
        port,
        path: path.to_owned(),
    })
}

/// `[user@]host:path`, when the colon comes before the first slash (git's rule).
fn scp_like(given: &str) -> Result<Option<Remote>, RemoteError> {
    let Some((address, path)) = given.split_once(':') else {
        return Ok(None);
    };
    if address.contains('/') || address.is_empty() {
        return Ok(None);
    }
    let (user, host) = match address.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, address),
    };
    // `user:password@host:path`
    if user.is_none() && path.split('/').next().is_some_and(|start| start.contains('@'))
        || user.is_some_and(|user| user.contains(':'))
    {
        return Err(RemoteError::Password);
    }
    if path.is_empty() {
        return Err(RemoteError::Incomplete("path"));
    }
    // `ext::command` and its like: git would run a program for it.
    if path.starts_with(':') {
        return Err(RemoteError::Protocol(address.to_owned()));
    }
    ssh(user, host.to_owned(), None, path).map(Some)
}

fn looks_like_token(user: &str) -> bool {
    let prefixes = [
        "ghp_",
        "gho_",
        "ghu_",
        "ghs_",
        "ghr_",
        "github_pat_",
        "glpat-",
        "ATBB",
    ];
    prefixes.iter().any(|prefix| user.starts_with(prefix)) || user.len() >= 40
}

/// The text with what could be a password, or a token in its place, taken out: for messages.
pub(crate) fn without_password(given: &str) -> String {
    let (scheme, rest) = match given.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), given),
    };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) if rest[..at].contains(':') => {
            let user = rest[..at].split(':').next().unwrap_or_default();
            format!("{scheme}{user}:***{}", &rest[at..])
        }
        Some(at) if looks_like_token(&rest[..at]) => format!("{scheme}***{}", &rest[at..]),
        _ => given.to_owned(),
    }
}
