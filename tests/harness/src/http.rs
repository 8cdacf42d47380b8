//! As much HTTP/1.1 as the testbed needs: a request with its answer, and heads and bodies for its own servers.
//! No TLS, no redirects, no connection kept.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::chunks::{self, Framing, bad};

/// Longer than any answer of a server on this machine takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The first line and the headers of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The first line, without its end.
    pub start: String,
    /// The headers as they came, names and values.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// Reads one; `None` when the other side closed before a byte came.
    ///
    /// # Errors
    /// What reading gave, or `InvalidData` for a header without a colon.
    pub fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut start = String::new();
        if from.read_line(&mut start)? == 0 {
            return Ok(None);
        }
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            if from.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end();
            if line.is_empty() {
                return Ok(Some(Self {
                    start: start.trim_end().to_owned(),
                    headers,
                }));
            }
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| bad("a header without a colon"))?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// Writes it, with the empty line that ends it.
    ///
    /// # Errors
    /// What writing gave.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut text = format!("{}\r\n", self.start);
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        to.write_all((text + "\r\n").as_bytes())?;
        to.flush()
    }

    /// A header's value; its name's case does not matter.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// A request's method and target.
    #[must_use]
    pub fn request_line(&self) -> (&str, &str) {
        let mut words = self.start.split(' ');
        (words.next().unwrap_or_default(), words.next().unwrap_or_default())
    }

    /// A response's status.
    ///
    /// # Errors
    /// `InvalidData` when the first line is no status line.
    pub fn status(&self) -> io::Result<u16> {
        let word = self.start.split(' ').nth(1).and_then(|word| word.parse().ok());
        word.ok_or_else(|| bad("a response without a status"))
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The first line and the headers.
    pub head: Head,
    /// The whole body, chunks put together.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends a request and reads the answer. `target` is the path with its query.
///
/// # Errors
/// When the server cannot be reached or does not answer in HTTP.
pub fn request(
    server: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Response> {
    let stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut all = vec![
        ("Host".to_owned(), server.to_string()),
        ("Connection".to_owned(), "close".to_owned()),
    ];
    all.extend(
        headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    all.push(("Content-Length".to_owned(), body.len().to_string()));
    let head = Head {
        start: format!("{method} {target} HTTP/1.1"),
        headers: all,
    };
    head.write(&mut &stream)?;
    (&stream).write_all(body)?;
    let mut from = BufReader::new(&stream);
    let head = Head::read(&mut from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.status()?;
    let body = chunks::read(&mut from, Framing::of_response(&head, method)?)?;
    Ok(Response { status, head, body })
}

/// Answers a request with a whole body and closes the connection after it.
pub(crate) fn answer(
    to: &mut impl Write,
    status: u16,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<()> {
    let mut all: Vec<_> = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    all.push(("Content-Length".to_owned(), body.len().to_string()));
    all.push(("Connection".to_owned(), "close".to_owned()));
    Head {
        start: format!("HTTP/1.1 {status} {}", reason(status)),
        headers: all,
    }
    .write(to)?;
    to.write_all(body)?;
    to.flush()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        412 => "Precondition Failed",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Answered By The Testbed",
    }
}
