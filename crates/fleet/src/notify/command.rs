//! One command that reads a notice.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::error::{Error, one_line};

/// How much of the end of the command's output is kept.
const KEPT: usize = 16 * 1024;

/// How long output is still read after the command's end: what it left running may hold the pipe.
const DRAIN: Duration = Duration::from_millis(200);

/// What to run.
#[derive(Debug, Clone)]
pub struct NoticeCommand {
    /// A command for `sh -c`.
    pub command: String,
    /// Where it starts.
    pub directory: PathBuf,
    /// Its whole environment.
    pub env: Vec<(OsString, OsString)>,
}

/// Ends all of the command's processes when it is dropped: it has its time, and what it started has no more.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // The group may be gone already: that is what is wanted.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Runs the command with the text on its standard input, and ends all that it started.
///
/// # Errors
/// [`Error::Start`], [`Error::Failed`], [`Error::TooLong`].
pub async fn run(what: &NoticeCommand, input: &str, limit: Duration) -> Result<(), Error> {
    let mut child = Command::new("/bin/sh")
        .arg("-c")
        .arg(&what.command)
        .current_dir(&what.directory)
        .env_clear()
        .envs(what.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(Error::Start)?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let _group = Group(pid.and_then(Pid::from_raw));
    match tokio::time::timeout(limit, follow(&mut child, input)).await {
        Err(_) => Err(Error::TooLong {
            seconds: limit.as_secs(),
        }),
        Ok((status, output)) => {
            let status = status.map_err(Error::Start)?;
            if status.success() {
                return Ok(());
            }
            let output = String::from_utf8_lossy(&output);
            let last = output.lines().rfind(|line| !line.trim().is_empty());
            Err(Error::Failed {
                ended: ended(status),
                said: one_line(last.unwrap_or_default()),
            })
        }
    }
}

/// Until the command ends by itself; gives the end of its output.
async fn follow(child: &mut Child, input: &str) -> (std::io::Result<ExitStatus>, Vec<u8>) {
    let stdin = child.stdin.take();
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (mut printed, mut complained) = (Vec::new(), Vec::new());
    let status = {
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A command that does not read its input is free not to.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
        };
        let read = async {
            tokio::join!(feed, read(out, &mut printed), read(err, &mut complained));
        };
        tokio::pin!(read);
        let wait = child.wait();
        tokio::pin!(wait);
        tokio::select! {
            () = &mut read => wait.await,
            status = &mut wait => {
                let _ = tokio::time::timeout(DRAIN, &mut read).await;
                status
            }
        }
    };
    printed.extend(complained);
    (status, printed)
}

async fn read(from: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        into.extend_from_slice(&buffer[..length]);
        if into.len() > 2 * KEPT {
            into.drain(..into.len() - KEPT);
        }
    }
}

fn ended(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::Error;
    use super::{NoticeCommand, run};

    async fn ran(command: &str, limit: Duration) -> Result<(), Error> {
        let what = NoticeCommand {
            command: command.to_owned(),
            directory: std::path::PathBuf::from("/"),
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        };
        run(&what, "{\"role\": \"web\"}\n", limit).await
    }

    #[tokio::test]
    async fn a_command_reads_the_notice_and_says_how_it_went() {
        let long = Duration::from_secs(30);
        ran("grep -q '\"role\": \"web\"'", long).await.unwrap();
        // One that reads nothing, and one that leaves something behind which holds its output.
        ran("true", long).await.unwrap();
        let start = Instant::now();
        ran("sleep 60 & true", long).await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(50));
        let failed = ran("echo first; echo 'no such channel' >&2; exit 3", long)
            .await
            .unwrap_err();
        assert_eq!(
            failed.to_string(),
            "the command ended with code 3: no such channel"
        );
    }

    #[tokio::test]
    async fn one_that_hangs_is_ended_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("mark");
        let command = format!("(sleep 2; touch '{}') & wait", mark.display());
        let error = ran(&command, Duration::from_millis(300)).await.unwrap_err();
        assert!(matches!(error, Error::TooLong { .. }), "{error:?}");
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(!mark.exists(), "what it started went on");
    }
}
