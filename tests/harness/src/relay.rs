//! One connection through the fault proxy: requests to the server, answers to the client, and what the faults ask
//! for in between.

use std::io::{self, BufRead, BufReader, Write, sink};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::chunks::{self, Framing};
use crate::fault::Kind;
use crate::http::{self, Head};
use crate::proxy::{Seen, State};
use crate::wait::{LEAST, until};

/// How long a request's body may still be on its way when the answer has gone out.
const TRAILING: Duration = Duration::from_secs(1);
/// Artifacts of gigabytes pass through: in pieces that are worth a system call.
const BUFFER: usize = 128 * 1024;

/// Serves a client's connection until either side is done with it.
pub(crate) fn connection(client: &TcpStream, state: &State) {
    // An error is either side's closing, or a cut that was asked for: both end the connection, which is all there
    // is to do.
    let _ = serve(client, state);
    let _ = client.shutdown(Shutdown::Both);
}

fn serve(client: &TcpStream, state: &State) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut from_client = BufReader::with_capacity(BUFFER, client);
    let mut upstream: Option<TcpStream> = None;
    while let Some(head) = Head::read(&mut from_client)? {
        let (method, target) = head.request_line();
        let number = state.note(seen(method, target, &head));
        let fault = state.take_fault(method, target);
        match &fault {
            Some(Kind::Drop) => return Ok(()),
            Some(Kind::Status {
                status,
                body,
                headers,
            }) => {
                return refuse(&mut from_client, &head, (state, number), (*status, headers, body));
            }
            Some(Kind::Delay(time)) => sleep(*time),
            Some(Kind::Until(open)) => until("the test to let the request go on", LEAST, || {
                open.load(Ordering::SeqCst)
            }),
            Some(Kind::Hold) => return until_closed(from_client.get_ref()),
            _ => {}
        }
        let server = match upstream.take() {
            Some(server) => server,
            None => state.connect()?,
        };
        server.set_nodelay(true)?;
        let exchange = Exchange {
            client,
            server: &server,
            head: &head,
            state,
            number,
            fault: fault.as_ref(),
        };
        if !exchange.run(&mut from_client)? {
            let _ = server.shutdown(Shutdown::Both);
            return Ok(());
        }
        upstream = Some(server);
    }
    Ok(())
}

/// Reads until the client is gone.
fn until_closed(mut client: &TcpStream) -> io::Result<()> {
    io::copy(&mut client, &mut sink()).map(drop)
}

fn seen(method: &str, target: &str, head: &Head) -> Seen {
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
    Seen {
        method: method.to_owned(),
        target: target.to_owned(),
        headers: headers.collect(),
        body_bytes: 0,
        status: None,
        response_bytes: 0,
    }
}

/// Answers in the server's place, after the whole request: closing with bytes unread would reset the connection
/// and could take the answer with it.
fn refuse(
    from_client: &mut BufReader<&TcpStream>,
    head: &Head,
    (state, number): (&State, usize),
    (status, headers, body): (u16, &[(String, String)], &[u8]),
) -> io::Result<()> {
    let mut to_client = *from_client.get_ref();
    // A client that asks first sends no body when the answer is a refusal.
    if head.header("expect").is_none() {
        let framing = Framing::of_request(head)?;
        let bytes = chunks::relay(from_client, &mut sink(), framing, None)?;
        state.update(number, |seen| seen.body_bytes = bytes);
    }
    state.update(number, |seen| seen.status = Some(status));
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    http::answer(&mut to_client, status, &headers, body)
}

struct Exchange<'a> {
    client: &'a TcpStream,
    server: &'a TcpStream,
    head: &'a Head,
    state: &'a State,
    number: usize,
    fault: Option<&'a Kind>,
}

impl Exchange<'_> {
    /// Relays the request and its answer at once; returns whether the connections can serve another.
    fn run(&self, from_client: &mut BufReader<&TcpStream>) -> io::Result<bool> {
        self.head.write(&mut &*self.server)?;
        let uploaded = AtomicBool::new(false);
        thread::scope(|scope| {
            let upload = scope.spawn(|| {
                let result = self.upload(from_client);
                if result.is_err() {
                    // Ends the wait for an answer that will not come.
                    let _ = self.server.shutdown(Shutdown::Both);
                }
                uploaded.store(true, Ordering::SeqCst);
                result
            });
            let answered = self.answer();
            if answered.is_err() {
                let _ = self.client.shutdown(Shutdown::Both);
                let _ = self.server.shutdown(Shutdown::Both);
            }
            let deadline = Instant::now() + TRAILING;
            while !uploaded.load(Ordering::SeqCst) && Instant::now() < deadline {
                sleep(Duration::from_millis(1));
            }
            if !uploaded.load(Ordering::SeqCst) {
                // The server refused early, and the client does not go on: nothing more can be read in step.
                let _ = self.client.shutdown(Shutdown::Both);
            }
            let uploaded = upload.join().expect("the upload's thread does not panic");
            uploaded.and(answered)
        })
    }

    fn upload(&self, from_client: &mut BufReader<&TcpStream>) -> io::Result<()> {
        let framing = Framing::of_request(self.head)?;
        let limit = match self.fault {
            Some(Kind::CutRequest(bytes)) => Some(*bytes),
            _ => None,
        };
        let mut meter = Meter {
            to: self.server,
            note: |bytes| self.add_body(bytes),
        };
        let sent = chunks::relay(from_client, &mut meter, framing, limit);
        if limit.is_some() {
            // Also when the body was shorter than the cut: the request must not succeed.
            let _ = self.client.shutdown(Shutdown::Both);
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        sent.map(drop)
    }

    fn add_body(&self, bytes: usize) {
        self.state
            .update(self.number, |seen| seen.body_bytes += bytes as u64);
    }

    fn add_response(&self, bytes: usize) {
        self.state
            .update(self.number, |seen| seen.response_bytes += bytes as u64);
    }

    fn answer(&self) -> io::Result<bool> {
        let mut from_server = BufReader::with_capacity(BUFFER, self.server);
        let mut to_client = self.client;
        let (method, _) = self.head.request_line();
        loop {
            let head = Head::read(&mut from_server)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let status = head.status()?;
            if status < 200 {
                head.write(&mut to_client)?;
                continue;
            }
            let framing = Framing::of_response(&head, method)?;
            if let Some(Kind::Restate { from, to }) = self.fault
                && *from == status
            {
                self.state.update(self.number, |seen| seen.status = Some(*to));
                chunks::relay(&mut from_server, &mut sink(), framing, None)?;
                return http::answer(&mut to_client, *to, &[("ETag", "\"restated\"")], b"").map(|()| false);
            }
            if matches!(self.fault, Some(Kind::HoldAnswer)) {
                chunks::relay(&mut from_server, &mut sink(), framing, None)?;
                self.state.update(self.number, |seen| seen.status = Some(status));
                until_closed(self.client)?;
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            self.state.update(self.number, |seen| seen.status = Some(status));
            head.write(&mut to_client)?;
            self.body(&mut from_server, framing)?;
            let closing = |head: &Head| {
                head.header("connection")
                    .is_some_and(|v| v.eq_ignore_ascii_case("close"))
            };
            return Ok(framing != Framing::Close && !closing(&head) && !closing(self.head));
        }
    }

    fn body(&self, from_server: &mut impl BufRead, framing: Framing) -> io::Result<()> {
        let limit = match self.fault {
            Some(Kind::CutResponse(bytes)) => Some(*bytes),
            _ => None,
        };
        let note = |bytes: usize| self.add_response(bytes);
        chunks::relay(
            from_server,
            &mut Meter {
                to: self.client,
                note,
            },
            framing,
            limit,
        )
        .map(drop)
    }
}

/// Notes what is written, so that a body that is cut counts as far as it went.
struct Meter<'a, N> {
    to: &'a TcpStream,
    note: N,
}

impl<N: Fn(usize)> Write for Meter<'_, N> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // First noted, then sent: who has received it all must find it counted.
        (self.note)(bytes.len());
        (&mut &*self.to).write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        (&mut &*self.to).flush()
    }
}
