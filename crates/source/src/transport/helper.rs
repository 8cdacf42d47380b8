//! git's credential helpers, asked through `git credential`, which never prompts here.

use std::io::Write;
use std::process::Stdio;
use std::sync::atomic::AtomicBool;

use crate::git_program::{Ended, Git, supervise};
use crate::options::Timeouts;
use crate::remote::Remote;

/// A user name and password that a helper gave.
pub(super) struct Filled {
    pub username: String,
    pub password: String,
}

/// What the helpers know for a remote; `None` when they know nothing or the program is missing.
pub(super) fn fill(git: &Git, remote: &Remote, timeouts: Timeouts) -> Option<Filled> {
    let output = run(git, "fill", &description(remote)?, timeouts)?;
    let field = |name: &str| {
        output
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
    };
    Some(Filled {
        username: field("username")?,
        password: field("password")?,
    })
}

/// Tells the helpers that the server refused what they gave, so that they forget it.
pub(super) fn reject(git: &Git, remote: &Remote, filled: &Filled, timeouts: Timeouts) {
    if let Some(description) = description(remote) {
        let described = format!(
            "{description}username={}\npassword={}\n",
            filled.username, filled.password
        );
        let _ = run(git, "reject", &described, timeouts);
    }
}

fn description(remote: &Remote) -> Option<String> {
    let Remote::Http(url) = remote else { return None };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let user = Some(url.username()).filter(|user| !user.is_empty());
    let user = user.map(|user| format!("username={user}\n")).unwrap_or_default();
    let path = url.path().trim_start_matches('/');
    Some(format!(
        "protocol={}\nhost={}{port}\npath={path}\n{user}",
        url.scheme(),
        url.host_str()?
    ))
}

fn run(git: &Git, action: &str, input: &str, timeouts: Timeouts) -> Option<String> {
    let mut command = git.command(["credential", action]);
    command.stdin(Stdio::piped());
    let mut child = git.spawn(&mut command).ok()?;
    child
        .stdin
        .take()?
        .write_all(format!("{input}\n").as_bytes())
        .ok()?;
    match supervise(child, &AtomicBool::new(false), timeouts, &mut |_| {}).ok()? {
        Ended::Exited { status, stdout, .. } if status.success() => String::from_utf8(stdout).ok(),
        _ => None,
    }
}
