//! A proxy in front of an HTTP server that lets things go wrong on purpose, and counts what passes. It changes no
//! request, so that signatures stay valid; without a fault it is invisible but for the address.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::relay;
use crate::serve::Server;

/// Something to go wrong, with the requests that it hits. Made by one of the constructors, narrowed by the rest.
#[derive(Debug, Clone)]
#[must_use]
pub struct Fault {
    pub(crate) kind: Kind,
    method: Option<String>,
    part: Option<String>,
    skip: usize,
    times: usize,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Status {
        status: u16,
        body: Vec<u8>,
        headers: Vec<(String, String)>,
    },
    Drop,
    CutRequest(u64),
    CutResponse(u64),
    Delay(Duration),
    Restate {
        from: u16,
        to: u16,
    },
}

impl Fault {
    fn of(kind: Kind) -> Self {
        Self {
            kind,
            method: None,
            part: None,
            skip: 0,
            times: 1,
        }
    }

    /// The proxy reads the request and answers with this status; the server never sees it.
    pub fn status(status: u16) -> Self {
        Self::of(Kind::Status {
            status,
            body: Vec::new(),
            headers: Vec::new(),
        })
    }

    /// The connection is closed when the request's head has come.
    pub fn drop_connection() -> Self {
        Self::of(Kind::Drop)
    }

    /// The server gets this many bytes of the request's body, then both connections are closed.
    pub fn cut_request(bytes: u64) -> Self {
        Self::of(Kind::CutRequest(bytes))
    }

    /// The client gets this many bytes of the response's body, then both connections are closed.
    pub fn cut_response(bytes: u64) -> Self {
        Self::of(Kind::CutResponse(bytes))
    }

    /// The request waits this long before it goes on.
    pub fn delay(time: Duration) -> Self {
        Self::of(Kind::Delay(time))
    }

    /// A response of status `from` reaches the client as an empty one of status `to`: with 412 and 200, the
    /// server seems to ignore If-None-Match.
    pub fn restate(from: u16, to: u16) -> Self {
        Self::of(Kind::Restate { from, to })
    }

    /// Gives an answered status a body.
    pub fn body(mut self, text: impl Into<Vec<u8>>) -> Self {
        if let Kind::Status { body, .. } = &mut self.kind {
            *body = text.into();
        }
        self
    }

    /// Gives an answered status a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Kind::Status { headers, .. } = &mut self.kind {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Hits requests of this method only.
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Hits requests whose path and query contain this only.
    pub fn path(mut self, part: &str) -> Self {
        self.part = Some(part.to_owned());
        self
    }

    /// Lets this many matching requests through first.
    pub fn after(mut self, requests: usize) -> Self {
        self.skip = requests;
        self
    }

    /// Hits this many requests; one when not said.
    pub fn times(mut self, requests: usize) -> Self {
        self.times = requests;
        self
    }

    /// Hits all matching requests until [`FaultProxy::heal`].
    pub fn always(self) -> Self {
        self.times(usize::MAX)
    }

    fn matches(&self, method: &str, target: &str) -> bool {
        self.method.as_deref().is_none_or(|wanted| wanted == method)
            && self.part.as_deref().is_none_or(|part| target.contains(part))
    }
}

/// A request that came by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub target: String,
    /// The names of its headers, in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// How many bytes of content its body had, as far as it came.
    pub body_bytes: u64,
    /// The status that the client got; `None` when it got none.
    pub status: Option<u16>,
    /// How many bytes of content the response's body had, as far as it went.
    pub response_bytes: u64,
}

/// Requests added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// How many there were.
    pub requests: usize,
    /// The bytes of their bodies.
    pub body_bytes: u64,
    /// The bytes of the responses' bodies.
    pub response_bytes: u64,
}

/// A proxy in front of a server. Gone on drop, with all its connections.
#[derive(Debug)]
pub struct FaultProxy {
    server: Server,
    state: Arc<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    upstream: SocketAddr,
    faults: Mutex<Vec<Fault>>,
    seen: Mutex<Vec<Seen>>,
}

impl FaultProxy {
    /// Starts one in front of `upstream`, which need not listen yet.
    #[track_caller]
    #[must_use]
    pub fn start(upstream: SocketAddr) -> Self {
        let state = Arc::new(State {
            upstream,
            faults: Mutex::default(),
            seen: Mutex::default(),
        });
        let for_connections = Arc::clone(&state);
        let server = Server::start(move |stream| relay::connection(&stream, &for_connections));
        Self { server, state }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// Its address as a URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// Adds a fault. Of several that match, the one added first is taken.
    pub fn inject(&self, fault: Fault) {
        self.state.faults.lock().unwrap().push(fault);
    }

    /// The next `requests` requests are answered with this status.
    pub fn fail_next(&self, requests: usize, status: u16) {
        self.inject(Fault::status(status).times(requests));
    }

    /// Takes all faults away.
    pub fn heal(&self) {
        self.state.faults.lock().unwrap().clear();
    }

    /// All requests that came by, in the order of their coming.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// Forgets the requests that came by.
    pub fn forget(&self) {
        self.state.seen.lock().unwrap().clear();
    }

    /// The requests of a method, added up.
    #[must_use]
    pub fn count(&self, method: &str) -> Count {
        self.counts().remove(method).unwrap_or_default()
    }

    /// The requests added up per method.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, Count> {
        let mut counts = BTreeMap::<String, Count>::new();
        for seen in self.seen() {
            let count = counts.entry(seen.method).or_default();
            count.requests += 1;
            count.body_bytes += seen.body_bytes;
            count.response_bytes += seen.response_bytes;
        }
        counts
    }
}

impl State {
    pub(crate) fn connect(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(self.upstream)
    }

    /// The fault that hits this request, used up by one.
    pub(crate) fn take_fault(&self, method: &str, target: &str) -> Option<Kind> {
        for fault in self.faults.lock().unwrap().iter_mut() {
            if fault.times == 0 || !fault.matches(method, target) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            if fault.times < usize::MAX {
                fault.times -= 1;
            }
            return Some(fault.kind.clone());
        }
        None
    }

    /// Notes a request and returns its number, for [`State::update`].
    pub(crate) fn note(&self, seen: Seen) -> usize {
        let mut all = self.seen.lock().unwrap();
        all.push(seen);
        all.len() - 1
    }

    pub(crate) fn update(&self, number: usize, change: impl FnOnce(&mut Seen)) {
        // It is not there any more when the test has forgotten it meanwhile.
        if let Some(seen) = self.seen.lock().unwrap().get_mut(number) {
            change(seen);
        }
    }
}
