//! A proxy in front of an HTTP server that lets things go wrong on purpose, and counts what passes. It changes no
//! request, so that signatures stay valid; without a fault it is invisible but for the address.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use crate::fault::{Fault, Kind};
use crate::relay;
use crate::serve::Server;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FileServer, Tmp, http};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    struct Bed {
        proxy: FaultProxy,
        _server: FileServer,
        _tmp: Tmp,
    }

    fn bed() -> Bed {
        let tmp = Tmp::new("fault");
        tmp.write("a", "0123456789");
        let server = FileServer::start(tmp.path());
        Bed {
            proxy: FaultProxy::start(server.addr()),
            _server: server,
            _tmp: tmp,
        }
    }

    impl Bed {
        fn send(&self, method: &str, target: &str, body: &[u8]) -> std::io::Result<http::Response> {
            http::request(self.proxy.addr(), method, target, &[], body)
        }

        fn status(&self, method: &str, target: &str) -> u16 {
            self.send(method, target, b"body").unwrap().status
        }
    }

    #[test]
    fn without_a_fault_everything_passes_and_is_counted() {
        let bed = bed();
        assert_eq!(bed.send("GET", "/a", b"").unwrap().text(), "0123456789");
        assert_eq!(bed.status("PUT", "/a"), 405);
        assert_eq!(
            bed.proxy.count("GET"),
            Count {
                requests: 1,
                body_bytes: 0,
                response_bytes: 10
            }
        );
        assert_eq!(
            bed.proxy.count("PUT"),
            Count {
                requests: 1,
                body_bytes: 4,
                response_bytes: 0
            }
        );
        let seen = bed.proxy.seen();
        assert_eq!((seen[1].target.as_str(), seen[1].status), ("/a", Some(405)));
    }

    #[test]
    fn a_fault_hits_what_it_names_as_often_as_it_says() {
        let bed = bed();
        bed.proxy
            .inject(Fault::status(503).method("GET").path("/a").after(1).times(2));
        let got: Vec<_> = (0..4).map(|_| bed.status("GET", "/a")).collect();
        assert_eq!(got, [200, 503, 503, 200]);
        bed.proxy.inject(Fault::status(500).path("/b").always());
        assert_eq!(
            (
                bed.status("GET", "/a"),
                bed.status("GET", "/b"),
                bed.status("PUT", "/b")
            ),
            (200, 500, 500)
        );
        bed.proxy.heal();
        assert_eq!(bed.status("GET", "/b"), 404);
        bed.proxy
            .inject(Fault::status(429).body("slow down").header("Retry-After", "7"));
        let refused = bed.send("GET", "/a", b"").unwrap();
        assert_eq!(
            (refused.text().as_str(), refused.head.header("retry-after")),
            ("slow down", Some("7"))
        );
    }

    #[test]
    fn cuts_and_drops_end_the_connection() {
        let bed = bed();
        bed.proxy.inject(Fault::cut_response(4));
        assert!(bed.send("GET", "/a", b"").is_err());
        bed.proxy.inject(Fault::cut_request(100));
        assert!(bed.send("PUT", "/a", &[0; 1000]).is_err());
        bed.proxy.inject(Fault::drop_connection());
        assert!(bed.send("GET", "/a", b"").is_err());
        let seen = bed.proxy.seen();
        assert_eq!(
            (seen[0].response_bytes, seen[1].body_bytes, seen[2].status),
            (4, 100, None)
        );
        assert_eq!(bed.status("GET", "/a"), 200);
    }

    #[test]
    fn a_delay_delays_and_a_restated_answer_is_empty() {
        let bed = bed();
        let start = Instant::now();
        bed.proxy.inject(Fault::delay(Duration::from_millis(200)));
        assert_eq!(bed.status("GET", "/a"), 200);
        assert!(start.elapsed() >= Duration::from_millis(200));
        bed.proxy.inject(Fault::restate(404, 200));
        let restated = bed.send("GET", "/none", b"").unwrap();
        assert_eq!((restated.status, restated.body.len()), (200, 0));
    }

    #[test]
    fn a_request_waits_until_the_test_lets_it_go_on() {
        let (bed, open) = (bed(), Arc::new(AtomicBool::new(false)));
        bed.proxy.inject(Fault::until(&open));
        std::thread::scope(|scope| {
            let sent = scope.spawn(|| bed.status("GET", "/a"));
            crate::until("the request", Duration::from_secs(60), || {
                bed.proxy.seen().len() == 1
            });
            std::thread::sleep(Duration::from_millis(50));
            assert!(!sent.is_finished());
            open.store(true, Ordering::SeqCst);
            assert_eq!(sent.join().unwrap(), 200);
        });
    }

    #[test]
    fn who_is_held_is_held_until_it_goes() {
        let bed = bed();
        let behind = FaultProxy::start(bed.proxy.addr());
        for (fault, passed) in [(Fault::hold(), 0), (Fault::hold_answer(), 1)] {
            behind.forget();
            bed.proxy.forget();
            behind.inject(fault.path("/a"));
            let mut client = TcpStream::connect(behind.addr()).unwrap();
            std::io::Write::write_all(&mut client, b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            let seen = || (behind.seen().len(), bed.proxy.seen().len());
            crate::until("the request", Duration::from_secs(60), || seen() == (1, passed));
            client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            assert!(std::io::Read::read(&mut client, &mut [0; 10]).is_err());
            assert_eq!(seen(), (1, passed));
            drop(client);
            assert_eq!(bed.status("GET", "/a"), 200);
        }
    }

    #[test]
    fn a_server_that_is_down_is_a_closed_connection() {
        let bed = bed();
        let proxy = FaultProxy::start(bed.proxy.addr());
        drop(bed);
        assert!(http::request(proxy.addr(), "GET", "/a", &[], b"").is_err());
    }
}
