//! A connection to one agent, and what is asked of any cluster: its leader, and to fire an event.
//!
//! An event is sent again only while no connection came about or the agent had no server to give it to: nothing was done then.
//! One that may have been fired is not fired again by itself: hosts would bear it (a replay of the same manifest does nothing),
//! but a 200 that was lost is for a person to see.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderValue};
use serde::Deserialize;
use url::Url;

use super::call::{Call, Repeat};
use super::config::{Address, ConsulConfig};
use super::error::Error;
use super::request::{EventId, EventRequest, preflight};
use super::tls::secured;
use super::wait::OnWait;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to one Consul agent. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    pub(super) http: reqwest::Client,
    pub(super) address: String,
    pub(super) attempts: u32,
    pub(super) has_token: bool,
    /// How long one request may take.
    pub(super) timeout: Duration,
    /// How long what passes by itself is waited for: an election of a leader, an agent that starts again.
    pub(super) patience: Duration,
    /// Whether the agent has answered before. One that never did is rather a wrong address than one that starts again.
    pub(super) answered: Arc<AtomicBool>,
    /// Who is told of an answer that is long in coming.
    pub(super) on_wait: OnWait,
    base: Url,
    namespace: Option<String>,
    datacenter: Option<String>,
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
        // An agent is near: no proxy is asked, and no redirect carries the token elsewhere. Each request has its own timeout.
        let mut builder = reqwest::Client::builder()
            .default_headers(headers)
            .connect_timeout(CONNECT_TIMEOUT.min(config.timeout))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        let base = match &config.address {
            Address::Unix(path) => {
                builder = builder.unix_socket(path.clone()).tls_certs_only([]);
                Url::parse("http://localhost/").map_err(|_| setup("the address", None))?
            }
            Address::Url(url) if url.scheme() == "https" => {
                let (ready, base) = secured(builder, url, &config.tls, &setup)?;
                builder = ready;
                base
            }
            Address::Url(url) => {
                // Nothing here is asked over TLS, and to read the machine's roots takes longer than all of a kick's requests.
                builder = builder.tls_certs_only([]);
                url.clone()
            }
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
            timeout: config.timeout,
            patience: config.timeout,
            answered: Arc::default(),
            on_wait: config.on_wait.clone(),
        })
    }

    /// The same connection for requests that have to be over within this time, repetitions included.
    #[must_use]
    pub fn within(&self, time: Duration) -> Self {
        Client {
            timeout: self.timeout.min(time),
            patience: self.patience.min(time),
            ..self.clone()
        }
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
        let filters = [
            ("node", &event.node),
            ("service", &event.service),
            ("tag", &event.tag),
        ];
        let mut url = self.url(&["v1", "event", "fire", &event.name])?;
        for (key, filter) in filters {
            if let Some(filter) = filter {
                url.query_pairs_mut().append_pair(key, filter);
            }
        }
        self.scope(&mut url, event.datacenter.as_deref());
        let mut call = Call::new(Method::PUT, url, format!("firing the event {}", event.name));
        call.body = event.payload.clone().into_bytes();
        call.rule = format!("event \"{}\" {{ policy = \"write\" }}", event.name);
        call.repeat = Repeat::WhileNothingWasDone;
        let fired: Fired = self.send(&call).await?.json(self, &call)?;
        Ok(EventId(fired.id))
    }

    /// The same agent, asked for what another datacenter has.
    #[must_use]
    pub fn in_datacenter(&self, datacenter: &str) -> Self {
        Client {
            datacenter: Some(datacenter.to_owned()),
            ..self.clone()
        }
    }

    /// The URL of an endpoint, in the client's datacenter and namespace.
    pub(super) fn endpoint(&self, path: &[&str]) -> Result<Url, Error> {
        let mut url = self.url(path)?;
        self.scope(&mut url, None);
        Ok(url)
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
}

#[derive(Deserialize)]
struct Fired {
    #[serde(rename = "ID")]
    id: String,
}
