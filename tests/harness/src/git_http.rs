//! Smart HTTP for a directory of bare repositories: git's own `git http-backend` behind a small CGI server.
//! Reading only; pushes are git's to refuse.

use std::io::{BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::chunks::{self, Framing};
use crate::http::{self, Head};
use crate::serve::Server;
use crate::{Cmd, cgi, git_env};

/// How a server treats its clients.
#[derive(Debug, Clone)]
pub struct GitHttpOptions {
    /// Demands basic authentication with this user and password (a token, as forges call it).
    pub auth: Option<(String, String)>,
    /// Lets clients fetch any commit by its id, as the public forges do.
    pub any_sha: bool,
    /// Answers every request with this status.
    pub fail_with: Option<u16>,
}

impl Default for GitHttpOptions {
    fn default() -> Self {
        Self {
            auth: None,
            any_sha: true,
            fail_with: None,
        }
    }
}

/// A running server; gone on drop.
#[derive(Debug)]
pub struct GitHttp {
    server: Server,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    root: PathBuf,
    options: Mutex<GitHttpOptions>,
    requests: Mutex<Vec<(String, u16)>>,
}

impl GitHttp {
    /// Serves the repositories under `root`, for everybody.
    #[track_caller]
    #[must_use]
    pub fn start(root: &Path) -> Self {
        Self::start_with(root, GitHttpOptions::default())
    }

    /// Serves the repositories under `root`.
    #[track_caller]
    #[must_use]
    pub fn start_with(root: &Path, options: GitHttpOptions) -> Self {
        let state = State {
            root: root.to_owned(),
            options: Mutex::new(options),
            requests: Mutex::default(),
        };
        let state = Arc::new(state);
        let for_connections = Arc::clone(&state);
        let server = Server::start(move |stream| {
            // An error is the client's going away: there is nobody to tell.
            let _ = for_connections.serve(&stream);
        });
        Self { server, state }
    }

    /// Changes the treatment, for requests from now on.
    pub fn set_options(&self, options: GitHttpOptions) {
        *self.state.options.lock().unwrap() = options;
    }

    /// Where it listens, for a [`crate::FaultProxy`].
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// The URL to clone a repository from; `name` is its path under the root, `shop.git` for example.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.addr())
    }

    /// The requests so far: method, path and query in one text, and the status that was answered.
    #[must_use]
    pub fn requests(&self) -> Vec<(String, u16)> {
        self.state.requests.lock().unwrap().clone()
    }
}

/// What is answered without asking git.
struct Refusal {
    status: u16,
    headers: &'static [(&'static str, &'static str)],
}

impl State {
    fn serve(&self, stream: &TcpStream) -> std::io::Result<()> {
        let mut from = BufReader::new(stream);
        let mut to = stream;
        let Some(head) = Head::read(&mut from)? else {
            return Ok(());
        };
        if head
            .header("expect")
            .is_some_and(|value| value.eq_ignore_ascii_case("100-continue"))
        {
            to.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let body = chunks::read(&mut from, Framing::of_request(&head)?)?;
        let options = self.options.lock().unwrap().clone();
        let (method, target) = head.request_line();
        let request = format!("{method} {target}");
        let note = |status| self.requests.lock().unwrap().push((request, status));
        if let Some(refusal) = refusal(&head, &options) {
            note(refusal.status);
            return http::answer(&mut to, refusal.status, refusal.headers, b"");
        }
        let program = self.backend(&head, body.len(), &options);
        let answered = cgi::relay(program, body, &mut to, note);
        match answered {
            Err(err) if err.kind() == ErrorKind::InvalidData => {
                eprintln!("testbed: git http-backend gave no answer: {err}");
                http::answer(&mut to, 500, &[], b"")
            }
            other => other,
        }
    }

    /// `git http-backend` with the variables that the CGI standard asks for.
    fn backend(&self, head: &Head, length: usize, options: &GitHttpOptions) -> Cmd {
        let (method, target) = head.request_line();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut cmd = Cmd::new("git")
            .arg("http-backend")
            .envs(git_env())
            .env("GIT_PROJECT_ROOT", &self.root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("PATH_INFO", path)
            .env("QUERY_STRING", query)
            .env("REQUEST_METHOD", method)
            .env("CONTENT_LENGTH", length.to_string())
            .env("REMOTE_ADDR", "127.0.0.1")
            .env("SERVER_PROTOCOL", "HTTP/1.1");
        // The body is whole by now; that it may be compressed is for git to undo.
        for (header, variable) in [
            ("content-type", "CONTENT_TYPE"),
            ("content-encoding", "HTTP_CONTENT_ENCODING"),
            ("git-protocol", "GIT_PROTOCOL"),
        ] {
            if let Some(value) = head.header(header) {
                cmd = cmd.env(variable, value);
            }
        }
        if options.any_sha {
            cmd = cmd.envs([
                ("GIT_CONFIG_COUNT", "2"),
                ("GIT_CONFIG_KEY_0", "uploadpack.allowAnySHA1InWant"),
                ("GIT_CONFIG_VALUE_0", "true"),
                ("GIT_CONFIG_KEY_1", "uploadpack.allowFilter"),
                ("GIT_CONFIG_VALUE_1", "true"),
            ]);
        }
        cmd
    }
}

fn refusal(head: &Head, options: &GitHttpOptions) -> Option<Refusal> {
    if let Some(status) = options.fail_with {
        return Some(Refusal { status, headers: &[] });
    }
    let (user, token) = options.auth.as_ref()?;
    let wanted = format!("Basic {}", BASE64.encode(format!("{user}:{token}")));
    (head.header("authorization") != Some(&wanted)).then_some(Refusal {
        status: 401,
        headers: &[("WWW-Authenticate", "Basic realm=\"testbed\"")],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Repo, Tmp};

    fn clone(url: &str, to: &Path, extra: &[&str]) -> crate::Ran {
        Cmd::new("git")
            .envs(git_env())
            .arg("clone")
            .args(extra)
            .args([url])
            .arg(to)
            .run()
    }

    #[test]
    fn clones_go_through_and_are_counted() {
        let repo = Repo::new();
        repo.write("a", "1").commit("first");
        let (old, head) = (repo.head(), repo.write("a", vec![b'x'; 500_000]).commit("second"));
        let bare = Tmp::new("git-http");
        repo.bare_clone(&bare.join("shop.git"));
        let http = GitHttp::start(bare.path());
        let work = Tmp::new("git-http");
        let _ = clone(&http.url("shop.git"), &work.join("w"), &["--depth", "1"]).ok();
        assert_eq!(std::fs::read(work.join("w/a")).unwrap().len(), 500_000);
        assert!(
            http.requests()
                .iter()
                .any(|(request, status)| request.contains("git-upload-pack") && *status == 200)
        );
        // A commit by its id at depth 1, with the old protocol, as libgit2 speaks it.
        let git = Cmd::new("git").envs(git_env()).cwd(work.join("w"));
        let args = [
            "-c",
            "protocol.version=0",
            "fetch",
            "--depth",
            "1",
            &http.url("shop.git"),
            &old,
        ];
        let _ = git.args(args).run().ok();
        assert_ne!(old, head);
        let missing = clone(&http.url("none.git"), &work.join("x"), &[]);
        assert_eq!(missing.code(), Some(128));
    }

    #[test]
    fn authentication_and_failures_are_as_asked_for() {
        let repo = Repo::new();
        repo.write("a", "1").commit("first");
        let bare = Tmp::new("git-http");
        repo.bare_clone(&bare.join("shop.git"));
        let auth = Some(("robot".to_owned(), "s3cret".to_owned()));
        let http = GitHttp::start_with(
            bare.path(),
            GitHttpOptions {
                auth,
                ..GitHttpOptions::default()
            },
        );
        let work = Tmp::new("git-http");
        assert_ne!(clone(&http.url("shop.git"), &work.join("w"), &[]).code(), Some(0));
        let url = http.url("shop.git").replace("http://", "http://robot:s3cret@");
        let _ = clone(&url, &work.join("w"), &[]).ok();
        http.set_options(GitHttpOptions {
            fail_with: Some(503),
            ..GitHttpOptions::default()
        });
        let _ = clone(&http.url("shop.git"), &work.join("x"), &[]).says("503");
        let addr = http.addr();
        drop(http);
        assert!(http::request(addr, "GET", "/", &[], b"").is_err());
    }
}
