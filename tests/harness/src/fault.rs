//! What the fault proxy can let go wrong, and which requests it hits.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Something to go wrong, with the requests that it hits. Made by one of the constructors, narrowed by the rest.
#[derive(Debug, Clone)]
#[must_use]
pub struct Fault {
    pub(crate) kind: Kind,
    method: Option<String>,
    part: Option<String>,
    pub(crate) skip: usize,
    pub(crate) times: usize,
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
    Until(Arc<AtomicBool>),
    Hold,
    HoldAnswer,
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

    /// The request waits until this is true before it goes on.
    pub fn until(open: &Arc<AtomicBool>) -> Self {
        Self::of(Kind::Until(Arc::clone(open)))
    }

    /// The request goes no further, and the client waits until it is killed: the server never sees it.
    pub fn hold() -> Self {
        Self::of(Kind::Hold)
    }

    /// The server does what is asked, and the client waits for the answer until it is killed.
    pub fn hold_answer() -> Self {
        Self::of(Kind::HoldAnswer)
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

    /// Hits all matching requests until [`crate::FaultProxy::heal`].
    pub fn always(self) -> Self {
        self.times(usize::MAX)
    }

    pub(crate) fn matches(&self, method: &str, target: &str) -> bool {
        self.method.as_deref().is_none_or(|wanted| wanted == method)
            && self.part.as_deref().is_none_or(|part| target.contains(part))
    }
}
