//! A directory served over plain HTTP, with ranges: where a host may fetch manifests and artifacts from.

use std::fs;
use std::io::BufReader;
use std::net::{SocketAddr, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::chunks::{self, Framing};
use crate::http::{self, Head};
use crate::serve::Server;

/// A running server; gone on drop. Put a [`crate::FaultProxy`] in front to count requests or to let them fail.
#[derive(Debug)]
pub struct FileServer {
    server: Server,
}

impl FileServer {
    /// Serves the files under `root` as they are at each request.
    #[track_caller]
    #[must_use]
    pub fn start(root: &Path) -> Self {
        let root: Arc<Path> = root.into();
        let server = Server::start(move |stream| {
            // An error is the client's going away: there is nobody to tell.
            let _ = serve(&stream, &root);
        });
        Self { server }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// A file's URL; `name` is its path under the root.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.addr())
    }
}

fn serve(stream: &TcpStream, root: &Path) -> std::io::Result<()> {
    let mut from = BufReader::new(stream);
    let mut to = stream;
    let Some(head) = Head::read(&mut from)? else {
        return Ok(());
    };
    chunks::read(&mut from, Framing::of_request(&head)?)?;
    let (method, target) = head.request_line();
    if !matches!(method, "GET" | "HEAD") {
        return http::answer(&mut to, 405, &[("Allow", "GET, HEAD")], b"");
    }
    let Some(body) = file_of(root, target).and_then(|path| fs::read(path).ok()) else {
        return http::answer(&mut to, 404, &[], b"not found\n");
    };
    if method == "HEAD" {
        let length = ("Content-Length".to_owned(), body.len().to_string());
        let close = ("Connection".to_owned(), "close".to_owned());
        return Head {
            start: "HTTP/1.1 200 OK".to_owned(),
            headers: vec![length, close],
        }
        .write(&mut to);
    }
    let Some(range) = head.header("range") else {
        return http::answer(&mut to, 200, &[("Accept-Ranges", "bytes")], &body);
    };
    let total = body.len();
    match parse_range(range, total) {
        Some((first, end)) => {
            let which = format!("bytes {first}-{}/{total}", end - 1);
            http::answer(&mut to, 206, &[("Content-Range", &which)], &body[first..end])
        }
        None => http::answer(
            &mut to,
            416,
            &[("Content-Range", &format!("bytes */{total}"))],
            b"",
        ),
    }
}

/// The file that a target names, when it stays under the root.
fn file_of(root: &Path, target: &str) -> Option<PathBuf> {
    let path = Path::new(target.split('?').next()?.trim_start_matches('/'));
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    inside.then(|| root.join(path))
}

/// `bytes=first-last`, `bytes=first-` or `bytes=-count` as first and end, for a body of `total` bytes.
fn parse_range(range: &str, total: usize) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (first, end) = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => (first, last.saturating_add(1).min(total)),
        (Ok(first), Err(_)) if last.is_empty() => (first, total),
        (Err(_), Ok(count)) if first.is_empty() => (total.saturating_sub(count), total),
        _ => return None,
    };
    (first < end).then_some((first, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tmp;
    use crate::http::Response;

    fn get(server: &FileServer, target: &str, headers: &[(&str, &str)]) -> Response {
        http::request(server.addr(), "GET", target, headers, b"").unwrap()
    }

    #[test]
    fn files_ranges_and_what_is_not_there() {
        let tmp = Tmp::new("files");
        tmp.write("root/a/b", "0123456789");
        tmp.write("secret", "no");
        let server = FileServer::start(&tmp.join("root"));
        assert_eq!(get(&server, "/a/b", &[]).text(), "0123456789");
        for (range, wanted) in [
            ("bytes=2-4", "234"),
            ("bytes=7-", "789"),
            ("bytes=-2", "89"),
            ("bytes=8-99", "89"),
        ] {
            let part = get(&server, "/a/b", &[("Range", range)]);
            assert_eq!((part.status, part.text().as_str()), (206, wanted));
        }
        assert_eq!(get(&server, "/a/b", &[("Range", "bytes=10-")]).status, 416);
        assert_eq!(get(&server, "/../secret", &[]).status, 404);
        assert_eq!(get(&server, "/none", &[]).status, 404);
        let head = http::request(server.addr(), "HEAD", "/a/b", &[], b"").unwrap();
        assert_eq!(
            (head.status, head.head.header("content-length"), head.body),
            (200, Some("10"), Vec::new())
        );
    }
}
