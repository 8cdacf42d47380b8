//! How an agent is reached: its address, the token, TLS.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::{Error, OnWait};
use crate::Secret;

/// What a client needs to know of its agent, settled.
#[derive(Debug, Clone)]
pub struct ConsulConfig {
    /// Where the agent listens.
    pub address: Address,
    /// The ACL token.
    pub token: Option<Secret>,
    /// For `https`.
    pub tls: Tls,
    /// Consul Enterprise's namespace.
    pub namespace: Option<String>,
    /// The datacenter to address; the agent's own when absent.
    pub datacenter: Option<String>,
    /// How long one request may take, its answer included.
    pub timeout: Duration,
    /// How often a request that may be repeated is tried; at least once.
    pub attempts: u32,
    /// Who is told of an answer that is long in coming.
    pub on_wait: OnWait,
}

impl ConsulConfig {
    /// An agent at this address, with no token, 30 s a request and 4 attempts.
    pub fn new(address: Address) -> Self {
        ConsulConfig {
            address,
            token: None,
            tls: Tls::default(),
            namespace: None,
            datacenter: None,
            timeout: Duration::from_secs(30),
            attempts: 4,
            on_wait: OnWait::default(),
        }
    }
}

/// The certificates of `https`, as files in PEM.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate, with its chain.
    pub client_cert: Option<PathBuf>,
    /// Its key.
    pub client_key: Option<PathBuf>,
    /// The name that the server's certificate must have, when it is not the address's host.
    pub server_name: Option<String>,
    /// Whether the server's certificate is verified at all.
    pub verify: bool,
}

impl Default for Tls {
    fn default() -> Self {
        Tls {
            ca_file: None,
            client_cert: None,
            client_key: None,
            server_name: None,
            verify: true,
        }
    }
}

/// Where an agent listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `http` or `https`, perhaps with a path that a proxy wants before `/v1`.
    Url(Url),
    /// A unix socket's path.
    Unix(PathBuf),
}

impl Address {
    /// Reads an address as Consul's own tools do: `http://…`, `https://…`, `unix:///path`, or `host:port`, which is
    /// `https` when `ssl` says so.
    ///
    /// # Errors
    /// [`Error::Address`] when it is none of these, or holds a password.
    pub fn parse(text: &str, ssl: bool) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::Address {
            address: hide_password(text),
            reason: reason.to_owned(),
        };
        if let Some(path) = text.strip_prefix("unix://") {
            if !path.starts_with('/') {
                return Err(wrong("a socket's path is absolute: unix:///run/consul.sock"));
            }
            return Ok(Address::Unix(PathBuf::from(path)));
        }
        let full = match text.split_once("://") {
            Some(("http", rest)) if ssl => format!("https://{rest}"),
            Some(("http" | "https", _)) => text.to_owned(),
            Some(_) => return Err(wrong("the scheme must be http, https or unix")),
            None => format!("{}://{text}", if ssl { "https" } else { "http" }),
        };
        let url = Url::parse(&full).map_err(|error| wrong(&error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(
                "it holds credentials; give the token by CONSUL_HTTP_TOKEN or consul.token instead",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("it has a query or a fragment"));
        }
        Ok(Address::Url(url))
    }
}

/// What stands before an `@` may be a password.
fn hide_password(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((before, host)) => {
            let scheme = before
                .split_once("://")
                .map(|(scheme, _)| format!("{scheme}://"))
                .unwrap_or_default();
            format!("{scheme}***@{host}")
        }
        None => text.to_owned(),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Url(url) => to.write_str(url.as_str().trim_end_matches('/')),
            Address::Unix(path) => write!(to, "unix://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, ssl: bool) -> String {
        Address::parse(text, ssl).unwrap().to_string()
    }

    #[test]
    fn addresses_are_read_as_consul_reads_them() {
        assert_eq!(shown("127.0.0.1:8500", false), "http://127.0.0.1:8500");
        assert_eq!(shown("consul.example:8501", true), "https://consul.example:8501");
        assert_eq!(shown("http://h:8500", true), "https://h:8500");
        assert_eq!(shown("https://h/consul/", false), "https://h/consul");
        assert_eq!(shown("unix:///run/consul.sock", false), "unix:///run/consul.sock");
    }

    #[test]
    fn wrong_addresses_are_refused_and_no_password_is_shown() {
        for text in ["ftp://h", "unix://run", "http://", "http://h?x=1"] {
            assert!(
                matches!(Address::parse(text, false), Err(Error::Address { .. })),
                "{text}"
            );
        }
        let error = Address::parse("http://user:s3cr3t@h:8500", false).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cr3t"), "{error}");
        let mut config = ConsulConfig::new(Address::parse("h:1", false).unwrap());
        config.token = Some(Secret::new("s3cr3t"));
        assert!(!format!("{config:?}").contains("s3cr3t"));
    }
}
