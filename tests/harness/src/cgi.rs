//! A CGI program for one request: what it answers goes to the client while it comes, so that a client waits for the program
//! alone and not for this testbed.

use std::io::{self, BufRead, BufReader, Read, Write};

use crate::Cmd;
use crate::chunks::bad;
use crate::http::Head;

/// How much is read from the program at once.
const PIECE: usize = 64 * 1024;

/// Runs the program with the request's body as its input and relays its answer. `answered` is told the status before the
/// client is.
///
/// # Errors
/// `InvalidData` when the program's answer has no head: nothing was sent to the client then. Else what writing gave: the
/// client went away.
pub(crate) fn relay(
    program: Cmd,
    body: Vec<u8>,
    to: &mut impl Write,
    answered: impl FnOnce(u16),
) -> io::Result<()> {
    let mut piped = program.stdin(body).pipe();
    let mut from = BufReader::with_capacity(PIECE, &mut piped.output);
    let Some((status, head)) = read_head(&mut from)? else {
        drop(from);
        return Err(io::Error::new(io::ErrorKind::InvalidData, piped.errors()));
    };
    answered(status);
    head.write(to)?;
    let mut piece = Vec::with_capacity(PIECE + 16);
    loop {
        // A chunk is one write: its length alone on the wire would wait for the client's acknowledgement.
        piece.clear();
        let read = from.fill_buf()?.len();
        write!(piece, "{read:x}\r\n")?;
        from.by_ref().take(read as u64).read_to_end(&mut piece)?;
        piece.extend_from_slice(b"\r\n");
        to.write_all(&piece)?;
        if read == 0 {
            return to.flush();
        }
    }
}

/// The head of the program's answer as that of a response, with its status; none when it ended without one.
fn read_head(from: &mut impl BufRead) -> io::Result<Option<(u16, Head)>> {
    let (mut status, mut reason) = (200, "OK".to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| bad("a header without a colon"))?;
        if name.eq_ignore_ascii_case("status") {
            let (number, text) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
            status = number.parse().map_err(|_| bad("a status that is no number"))?;
            reason = text.to_owned();
        } else {
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }
    for (name, value) in [("Transfer-Encoding", "chunked"), ("Connection", "close")] {
        headers.push((name.to_owned(), value.to_owned()));
    }
    let start = format!("HTTP/1.1 {status} {reason}");
    Ok(Some((status, Head { start, headers })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relayed(script: &str) -> (io::Result<()>, Option<u16>, String) {
        let (mut to, mut status) = (Vec::new(), None);
        let program = Cmd::new("sh").args(["-c", script]);
        let result = relay(program, b"body".to_vec(), &mut to, |seen| status = Some(seen));
        (result, status, String::from_utf8(to).unwrap())
    }

    #[test]
    fn an_answer_goes_through_with_its_status_and_its_body_in_chunks() {
        let (result, status, text) =
            relayed("printf 'Status: 404 Not Found\\r\\nX-Mark: yes\\r\\n\\r\\n'; cat");
        result.unwrap();
        assert_eq!(status, Some(404));
        assert_eq!(
            text,
            "HTTP/1.1 404 Not Found\r\nX-Mark: yes\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
             4\r\nbody\r\n0\r\n\r\n"
        );
    }

    #[test]
    fn a_program_without_an_answer_is_an_error_that_says_what_it_said() {
        let (result, status, text) = relayed("echo broken >&2; exit 3");
        assert!(result.unwrap_err().to_string().contains("broken"));
        assert_eq!((status, text.as_str()), (None, ""));
    }
}
