//! The requests themselves.
//!
//! What is repeated: a read, on a failed connection and on a 5xx; an event, only while no connection came about, for
//! nothing was sent then. An event that may have been fired is not fired again by itself: hosts would bear it (a replay of
//! the same manifest does nothing), but a 200 that was lost is for a person to see.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Certificate, Identity, Method, StatusCode};
use serde::Deserialize;
use url::Url;

use super::config::{Address, ConsulConfig, Tls};
use super::error::Error;
use super::request::{EventId, EventRequest, preflight};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The wait before the second attempt; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// An answer's error text is cut here, in characters.
const REASON_LIMIT: usize = 500;

/// A connection to one Consul agent. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    address: String,
    namespace: Option<String>,
    datacenter: Option<String>,
    attempts: u32,
    has_token: bool,
}

/// A request, and the words for its failure.
struct Call {
    method: Method,
    url: Url,
    body: Vec<u8>,
    doing: String,
    rule: String,
    repeatable: bool,
}

impl Client {
    /// Prepares a client; nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Setup`] when a certificate, a key or the token cannot be used.
    pub fn new(config: &ConsulConfig) -> Result<Self, Error> {
        let address = config.address.to_string();
        let setup = |what: &str, source| Error::Setup {
            address: address.clone(),
            what: what.to_owned(),
            source,
        };
        let mut headers = HeaderMap::new();
        if let Some(token) = &config.token {
            let mut value = HeaderValue::from_str(token.expose())
                .map_err(|_| setup("the token (it has characters that no token has)", None))?;
            value.set_sensitive(true);
            headers.insert("X-Consul-Token", value);
        }
        // An agent is near: no proxy is asked, and no redirect carries the token elsewhere.
        let mut builder = reqwest::Client::builder()
            .default_headers(headers)
            .connect_timeout(CONNECT_TIMEOUT.min(config.timeout))
            .timeout(config.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        let base = match &config.address {
            Address::Unix(path) => {
                builder = builder.unix_socket(path.clone());
                Url::parse("http://localhost/").map_err(|_| setup("the address", None))?
            }
            Address::Url(url) if url.scheme() == "https" => {
                let (ready, base) = secured(builder, url, &config.tls, &setup)?;
                builder = ready;
                base
            }
            Address::Url(url) => url.clone(),
        };
        let http = builder
            .build()
            .map_err(|source| setup("its TLS material", Some(source)))?;
        Ok(Client {
            http,
            base,
            address: address.clone(),
            namespace: config.namespace.clone(),
            datacenter: config.datacenter.clone(),
            attempts: config.attempts.max(1),
            has_token: config.token.is_some(),
        })
    }

    /// Fires an event. That the agent accepted it does not mean that a host got it.
    ///
    /// # Errors
    /// [`Error::TooLong`] and [`Error::Event`] before anything is sent; [`Error::Unreachable`], [`Error::NoAnswer`],
    /// [`Error::Denied`], [`Error::Refused`], [`Error::NotConsul`].
    pub async fn fire(&self, event: &EventRequest) -> Result<EventId, Error> {
        preflight(event)?;
        let refuse = |reason: &str| Error::Event {
            name: event.name.clone(),
            reason: reason.to_owned(),
        };
        if event.name.is_empty() {
            return Err(refuse("it has no name"));
        }
        if event.tag.is_some() && event.service.is_none() {
            return Err(refuse(
                "a tag filter needs a service filter: tags belong to services",
            ));
        }
        let mut url = self.url(&["v1", "event", "fire", &event.name])?;
        let filters = [
            ("node", &event.node),
            ("service", &event.service),
            ("tag", &event.tag),
        ];
        for (key, filter) in filters {
            if let Some(filter) = filter {
                url.query_pairs_mut().append_pair(key, filter);
            }
        }
        self.scope(&mut url, event.datacenter.as_deref());
        let doing = format!("firing the event {}", event.name);
        let call = Call {
            method: Method::PUT,
            url,
            // Bytes at hand have a Content-Length: Consul answers 400 to a chunked body, or drops it silently.
            body: event.payload.clone().into_bytes(),
            doing: doing.clone(),
            rule: format!("event \"{}\" {{ policy = \"write\" }}", event.name),
            repeatable: false,
        };
        let answer = self.send(&call).await?;
        let fired: Fired =
            serde_json::from_slice(&answer).map_err(|error| self.not_consul(&doing, &error))?;
        Ok(EventId(fired.id))
    }

    /// The address of the cluster's leader: says that the agent answers and has a cluster.
    ///
    /// # Errors
    /// As [`Client::fire`], and [`Error::Refused`] when there is no leader.
    pub async fn leader(&self) -> Result<String, Error> {
        let mut url = self.url(&["v1", "status", "leader"])?;
        self.scope(&mut url, None);
        let doing = "asking for the cluster's leader".to_owned();
        let rule = "none: every token may ask this".to_owned();
        let call = Call {
            method: Method::GET,
            url,
            body: Vec::new(),
            doing: doing.clone(),
            rule,
            repeatable: true,
        };
        let answer = self.send(&call).await?;
        let leader: String =
            serde_json::from_slice(&answer).map_err(|error| self.not_consul(&doing, &error))?;
        if leader.is_empty() {
            let reason = "the cluster has no leader".to_owned();
            return Err(Error::Refused {
                doing,
                address: self.address.clone(),
                status: 200,
                reason,
            });
        }
        Ok(leader)
    }

    fn url(&self, path: &[&str]) -> Result<Url, Error> {
        let mut url = self.base.clone();
        let wrong = |()| Error::Address {
            address: self.address.clone(),
            reason: "no path fits to it".to_owned(),
        };
        url.path_segments_mut()
            .map_err(wrong)?
            .pop_if_empty()
            .extend(path);
        Ok(url)
    }

    fn scope(&self, url: &mut Url, datacenter: Option<&str>) {
        if let Some(datacenter) = datacenter.or(self.datacenter.as_deref()) {
            url.query_pairs_mut().append_pair("dc", datacenter);
        }
        if let Some(namespace) = &self.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
    }

    fn not_consul(&self, doing: &str, error: &serde_json::Error) -> Error {
        let reason = format!("its answer is not the JSON that is due ({error})");
        Error::NotConsul {
            doing: doing.to_owned(),
            address: self.address.clone(),
            reason,
        }
    }

    /// Sends a call, again where that is allowed, and gives the body of a 200.
    async fn send(&self, call: &Call) -> Result<Vec<u8>, Error> {
        let mut wait = FIRST_WAIT;
        let mut attempt = 1;
        loop {
            let (error, again) = match self.try_once(call, attempt).await {
                Ok(body) => return Ok(body),
                Err(failure) => failure,
            };
            if !again || attempt >= self.attempts {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            wait = wait.saturating_mul(2);
            attempt += 1;
        }
    }

    /// One attempt; the flag of a failure says whether another one is allowed.
    async fn try_once(&self, call: &Call, attempt: u32) -> Result<Vec<u8>, (Error, bool)> {
        let mut request = self.http.request(call.method.clone(), call.url.clone());
        if call.method != Method::GET {
            request = request.body(call.body.clone());
        }
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(source) => return Err(self.no_answer(call, attempt, source)),
        };
        let status = answer.status();
        let body = match answer.bytes().await {
            Ok(body) => body.to_vec(),
            Err(source) => return Err(self.no_answer(call, attempt, source)),
        };
        if status == StatusCode::OK {
            return Ok(body);
        }
        let error = self.refused(call, status, &body);
        Err((error, call.repeatable && status.is_server_error()))
    }

    fn no_answer(&self, call: &Call, attempts: u32, source: reqwest::Error) -> (Error, bool) {
        let source = source.without_url();
        let (doing, address) = (call.doing.clone(), self.address.clone());
        if source.is_connect() || call.repeatable {
            return (
                Error::Unreachable {
                    doing,
                    address,
                    attempts,
                    source,
                },
                true,
            );
        }
        (
            Error::NoAnswer {
                doing,
                address,
                source,
            },
            false,
        )
    }

    fn refused(&self, call: &Call, status: StatusCode, body: &[u8]) -> Error {
        let text = String::from_utf8_lossy(body);
        let reason: String = text.trim().chars().take(REASON_LIMIT).collect();
        let (doing, address) = (call.doing.clone(), self.address.clone());
        // An unknown token, and a denial that came over from a server, are 500 to some versions.
        let denied = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
            || ["ACL not found", "Permission denied"]
                .iter()
                .any(|words| reason.contains(words));
        match status {
            _ if denied => Error::Denied {
                doing,
                address,
                reason,
                rule: call.rule.clone(),
                token: self.has_token,
            },
            StatusCode::NOT_FOUND => Error::NotConsul {
                doing,
                address,
                reason: format!("it has no {} (404)", call.url.path()),
            },
            status if status.is_redirection() => Error::NotConsul {
                doing,
                address,
                reason: format!("it redirects elsewhere ({status})"),
            },
            status => Error::Refused {
                doing,
                address,
                status: status.as_u16(),
                reason,
            },
        }
    }
}

#[derive(Deserialize)]
struct Fired {
    #[serde(rename = "ID")]
    id: String,
}

/// Puts the certificates in. A server name of its own becomes the URL's host, which TLS then asks for; the resolver
/// leads it to the real one.
fn secured(
    mut builder: reqwest::ClientBuilder,
    url: &Url,
    tls: &Tls,
    setup: &dyn Fn(&str, Option<reqwest::Error>) -> Error,
) -> Result<(reqwest::ClientBuilder, Url), Error> {
    if let Some(path) = &tls.ca_file {
        let pem = read("CA file", path)?;
        let trusted = Certificate::from_pem_bundle(&pem)
            .map_err(|source| setup(&format!("the CA file {}", path.display()), Some(source)))?;
        if trusted.is_empty() {
            return Err(setup(
                &format!("the CA file {} (it holds no certificate)", path.display()),
                None,
            ));
        }
        builder = builder.tls_certs_only(trusted);
    }
    match (&tls.client_cert, &tls.client_key) {
        (Some(cert), Some(key)) => {
            let mut pem = read("client certificate", cert)?;
            pem.push(b'\n');
            pem.extend(read("client key", key)?);
            let what = format!(
                "the client certificate {} with the key {}",
                cert.display(),
                key.display()
            );
            builder =
                builder.identity(Identity::from_pem(&pem).map_err(|source| setup(&what, Some(source)))?);
        }
        (None, None) => {}
        _ => {
            return Err(setup(
                "a client certificate without its key, or a key without its certificate,",
                None,
            ));
        }
    }
    if !tls.verify {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    let mut base = url.clone();
    if let (Some(name), Some(host)) = (&tls.server_name, url.host_str()) {
        let host = host.trim_matches(['[', ']']).to_owned();
        base.set_host(Some(name))
            .map_err(|_| setup("the TLS server name", None))?;
        builder = builder.dns_resolver(Arc::new(Instead { host }));
    }
    Ok((builder, base))
}

fn read(what: &'static str, path: &std::path::Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::File {
        what,
        path: path.to_owned(),
        source,
    })
}

/// Resolves every name to one host.
struct Instead {
    host: String,
}

impl Resolve for Instead {
    fn resolve(&self, _: Name) -> Resolving {
        let host = self.host.clone();
        Box::pin(async move {
            // The port of the URL takes the place of 0.
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
