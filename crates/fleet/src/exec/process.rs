//! One host's process: started in a group of its own, fed, read, and ended with all it started.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::filter::{Filter, Filters};
use super::output::{Lines, Tail};
use super::{Event, ExecRequest, HostResult};

/// Between TERM and KILL. `shipit apply` gives the manifest's command five seconds itself, and then removes what it unpacked.
const GRACE: Duration = Duration::from_secs(10);
/// How often is looked whether the group is gone.
const LOOK: Duration = Duration::from_millis(20);
/// How long output is still read after the command's end: a daemon that it left may hold the pipe for ever.
const DRAIN: Duration = Duration::from_secs(1);

/// Ends the group with KILL when the future is dropped before the command is over.
struct Group {
    pid: Option<Pid>,
}

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid {
            // The group may be gone already: that is what is wanted.
            let _ = kill_process_group(pid, signal);
        }
    }

    /// Waits until no process of it is left: its first may end before those that it waits for.
    async fn gone(&self) {
        while self.pid.is_some_and(|pid| test_kill_process_group(pid).is_ok()) {
            sleep(LOOK).await;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Runs one host's command; gives its result and the end of its output.
pub(super) async fn run(
    host: &str,
    command: &str,
    request: &ExecRequest,
    stop: impl Future<Output = ()>,
    on_event: &(dyn Fn(Event) + Send + Sync),
) -> (HostResult, String) {
    let mut tail = Tail::default();
    let mut child = match spawn(command, request) {
        Ok(child) => child,
        Err(error) => {
            return (
                HostResult::NotStarted {
                    reason: error.to_string(),
                },
                String::new(),
            );
        }
    };
    let mut group = Group {
        pid: child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw),
    };
    let deadline = Instant::now() + request.timeout;
    let over = async {
        tokio::select! {
            biased;
            () = stop => HostResult::Interrupted,
            () = sleep_until(deadline) => HostResult::TimedOut,
        }
    };
    let mut line = |line: String| {
        tail.push(&line);
        on_event(Event::Output {
            host: host.to_owned(),
            line,
        });
    };
    let result = follow(&mut child, &group, request, over, &mut line).await;
    // What a command that ended by itself left behind, it left on purpose.
    group.pid = None;
    (result, tail.into_text())
}

fn spawn(command: &str, request: &ExecRequest) -> std::io::Result<Child> {
    Command::new("/bin/sh")
        .arg("-c")
        .arg(command)
        .env_clear()
        .envs(request.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Until the command ends by itself, or `over` gives the reason to end it.
async fn follow(
    child: &mut Child,
    group: &Group,
    request: &ExecRequest,
    over: impl Future<Output = HostResult>,
    line: &mut (dyn FnMut(String) + Send),
) -> HostResult {
    let stdin = child.stdin.take();
    let url = format!("{}\n", request.url);
    let feed = async move {
        if let Some(mut stdin) = stdin {
            // A command that does not read its input is free not to.
            let _ = stdin.write_all(url.as_bytes()).await;
        }
    };
    let mut streams = Streams::new(child.stdout.take(), child.stderr.take(), &request.filters);
    let ended = {
        let wait = child.wait();
        let work = async {
            tokio::pin!(wait, feed);
            let mut fed = false;
            loop {
                tokio::select! {
                    status = &mut wait => break status,
                    () = &mut feed, if !fed => fed = true,
                    read = streams.next(), if streams.open() => read.into_iter().for_each(&mut *line),
                }
            }
        };
        tokio::select! {
            biased;
            status = work => Ok(status),
            reason = over => Err(reason),
        }
    };
    let result = match ended {
        Ok(status) => of_status(status),
        Err(reason) => {
            group.signal(Signal::TERM);
            let _ = timeout(GRACE, drain_until_end(child, group, &mut streams, line)).await;
            group.signal(Signal::KILL);
            let _ = child.wait().await;
            reason
        }
    };
    let _ = timeout(DRAIN, drain(&mut streams, line)).await;
    streams.rest().into_iter().for_each(line);
    result
}

async fn drain_until_end(
    child: &mut Child,
    group: &Group,
    streams: &mut Streams,
    line: &mut (dyn FnMut(String) + Send),
) {
    let wait = async {
        let _ = child.wait().await;
        group.gone().await;
    };
    tokio::pin!(wait);
    loop {
        tokio::select! {
            () = &mut wait => return,
            read = streams.next(), if streams.open() => read.into_iter().for_each(&mut *line),
        }
    }
}

async fn drain(streams: &mut Streams, line: &mut (dyn FnMut(String) + Send)) {
    while streams.open() {
        streams.next().await.into_iter().for_each(&mut *line);
    }
}

fn of_status(status: std::io::Result<ExitStatus>) -> HostResult {
    match status {
        Ok(status) if status.success() => HostResult::Succeeded,
        Ok(status) => HostResult::Failed {
            code: status.code(),
            signal: status.signal(),
        },
        Err(error) => HostResult::NotStarted {
            reason: error.to_string(),
        },
    }
}

type Source = Box<dyn AsyncRead + Send + Unpin>;

/// Both of a command's output streams.
struct Streams {
    out: Option<Source>,
    err: Option<Source>,
    out_lines: Filtered,
    err_lines: Filtered,
}

/// A stream's filter, and the lines of what comes out of it.
struct Filtered {
    filter: Filter,
    lines: Lines,
}

impl Filtered {
    fn new(filters: &Filters) -> Self {
        Filtered {
            filter: filters.make(),
            lines: Lines::default(),
        }
    }

    fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        self.lines.push(&(self.filter)(Some(bytes)))
    }

    fn end(&mut self) -> Vec<String> {
        let mut lines = self.lines.push(&(self.filter)(None));
        lines.extend(self.lines.end());
        lines
    }
}

impl Streams {
    fn new(
        out: Option<impl AsyncRead + Send + Unpin + 'static>,
        err: Option<impl AsyncRead + Send + Unpin + 'static>,
        filters: &Filters,
    ) -> Self {
        Streams {
            out: out.map(|stream| Box::new(stream) as Source),
            err: err.map(|stream| Box::new(stream) as Source),
            out_lines: Filtered::new(filters),
            err_lines: Filtered::new(filters),
        }
    }

    fn open(&self) -> bool {
        self.out.is_some() || self.err.is_some()
    }

    /// The lines that the next read completes. Nothing is lost when the future is dropped while it waits.
    async fn next(&mut self) -> Vec<String> {
        tokio::select! {
            read = read(&mut self.out), if self.out.is_some() => take(read, &mut self.out, &mut self.out_lines),
            read = read(&mut self.err), if self.err.is_some() => take(read, &mut self.err, &mut self.err_lines),
            else => Vec::new(),
        }
    }

    /// What was begun and not ended by a line end.
    fn rest(&mut self) -> Vec<String> {
        let mut lines = self.out_lines.end();
        lines.extend(self.err_lines.end());
        lines
    }
}

/// `None` at the stream's end.
async fn read(stream: &mut Option<Source>) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 8 * 1024];
    match stream.as_mut()?.read(&mut buffer).await {
        Ok(0) | Err(_) => None,
        Ok(length) => {
            buffer.truncate(length);
            Some(buffer)
        }
    }
}

fn take(read: Option<Vec<u8>>, stream: &mut Option<Source>, lines: &mut Filtered) -> Vec<String> {
    match read {
        Some(bytes) => lines.push(&bytes),
        None => {
            *stream = None;
            lines.end()
        }
    }
}
