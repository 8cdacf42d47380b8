//! The bytes of an HTTP/1.1 body on their way: how long a body is, and reading or relaying it. Knows no meaning.

use std::io::{self, BufRead, Read, Write};

use crate::http::Head;

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After this many bytes.
    Length(u64),
    /// After a chunk of length 0 and the trailers.
    Chunked,
    /// With the connection.
    Close,
}

impl Framing {
    /// Of a request: without a length there is no body.
    pub(crate) fn of_request(head: &Head) -> io::Result<Self> {
        Ok(declared(head)?.unwrap_or(Self::Length(0)))
    }

    /// Of the response to a request of `method`.
    pub(crate) fn of_response(head: &Head, method: &str) -> io::Result<Self> {
        let status = head.status()?;
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Ok(Self::Length(0));
        }
        Ok(declared(head)?.unwrap_or(Self::Close))
    }
}

fn declared(head: &Head) -> io::Result<Option<Framing>> {
    if head
        .header("transfer-encoding")
        .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    {
        return Ok(Some(Framing::Chunked));
    }
    let Some(length) = head.header("content-length") else {
        return Ok(None);
    };
    let length = length
        .trim()
        .parse()
        .map_err(|_| bad("a Content-Length that is no number"))?;
    Ok(Some(Framing::Length(length)))
}

/// Relays a body as it is, `limit` bytes of it at most, and returns how many bytes were content.
///
/// # Errors
/// `ConnectionAborted` when the limit is reached; else what reading or writing gave.
pub(crate) fn relay(
    from: &mut impl BufRead,
    to: &mut impl Write,
    framing: Framing,
    limit: Option<u64>,
) -> io::Result<u64> {
    let mut relay = Relay {
        from,
        to,
        left: limit.unwrap_or(u64::MAX),
    };
    let content = match framing {
        Framing::Length(length) => relay.bytes(length)?,
        Framing::Close => relay.bytes(u64::MAX)?,
        Framing::Chunked => relay.chunks()?,
    };
    to.flush()?;
    Ok(content)
}

/// Reads a whole body.
pub(crate) fn read(from: &mut impl BufRead, framing: Framing) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    match framing {
        Framing::Length(length) => {
            from.take(length).read_to_end(&mut body)?;
            if (body.len() as u64) < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Framing::Close => {
            from.read_to_end(&mut body)?;
        }
        Framing::Chunked => loop {
            let (_, size) = chunk_size(from)?;
            if size == 0 {
                while !line(from)?.trim_ascii().is_empty() {}
                break;
            }
            body.extend(read(from, Framing::Length(size))?);
            line(from)?;
        },
    }
    Ok(body)
}

struct Relay<'a, R, W> {
    from: &'a mut R,
    to: &'a mut W,
    left: u64,
}

impl<R: BufRead, W: Write> Relay<'_, R, W> {
    fn bytes(&mut self, length: u64) -> io::Result<u64> {
        let mut done = 0;
        while done < length {
            let available = self.from.fill_buf()?;
            if available.is_empty() {
                let to_end = length == u64::MAX;
                return if to_end {
                    Ok(done)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
            let want = (available.len() as u64).min(length - done).min(self.left);
            if want == 0 {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            let piece = usize::try_from(want).expect("at most a buffer");
            self.to.write_all(&available[..piece])?;
            self.from.consume(piece);
            self.left -= want;
            done += want;
        }
        Ok(done)
    }

    fn chunks(&mut self) -> io::Result<u64> {
        let mut content = 0;
        loop {
            let (raw, size) = chunk_size(self.from)?;
            self.to.write_all(&raw)?;
            if size == 0 {
                loop {
                    let trailer = line(self.from)?;
                    self.to.write_all(&trailer)?;
                    if trailer.trim_ascii().is_empty() {
                        return Ok(content);
                    }
                }
            }
            content += self.bytes(size)?;
            let end = line(self.from)?;
            self.to.write_all(&end)?;
        }
    }
}

fn chunk_size(from: &mut impl BufRead) -> io::Result<(Vec<u8>, u64)> {
    let raw = line(from)?;
    let text = String::from_utf8_lossy(&raw);
    let digits = text.trim().split(';').next().unwrap_or_default();
    let size = u64::from_str_radix(digits, 16).map_err(|_| bad("a chunk without a length"))?;
    Ok((raw, size))
}

fn line(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut raw = Vec::new();
    from.read_until(b'\n', &mut raw)?;
    if raw.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(raw)
}

pub(crate) fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: &[u8] = b"4\r\nwiki\r\n5;x=y\r\npedia\r\n0\r\nTrailer: 1\r\n\r\nrest";

    #[test]
    fn chunked_bodies_are_read_and_relayed_to_their_end_alone() {
        let mut from = CHUNKED;
        assert_eq!(read(&mut from, Framing::Chunked).unwrap(), b"wikipedia");
        assert_eq!(from, b"rest");
        let (mut from, mut to) = (CHUNKED, Vec::new());
        assert_eq!(relay(&mut from, &mut to, Framing::Chunked, None).unwrap(), 9);
        assert_eq!(to, CHUNKED.strip_suffix(b"rest").unwrap());
    }

    #[test]
    fn a_limit_cuts_after_exactly_its_bytes() {
        let (mut from, mut to) = (&b"0123456789"[..], Vec::new());
        let err = relay(&mut from, &mut to, Framing::Length(10), Some(4)).unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(to, b"0123");
    }

    #[test]
    fn a_short_body_is_an_error() {
        let err = read(&mut &b"012"[..], Framing::Length(10)).unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::UnexpectedEof);
    }
}
