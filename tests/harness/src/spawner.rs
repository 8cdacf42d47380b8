//! The one place that starts child processes.
//!
//! A child asks the kernel to be killed when its parent dies (`PR_SET_PDEATHSIG`), so that a test binary that is
//! killed, or that ends with servers in its statics, leaves nothing behind. The kernel takes "parent" to be the
//! *thread* that forked: a test's own thread ends with the test, often before what it shares does. So that all
//! children are started by one thread, which lives as long as the process.

use std::ffi::OsStr;
use std::io;
use std::process::{Child, Command};
use std::sync::{Mutex, OnceLock, mpsc};
use std::thread;

struct Job {
    command: Command,
    reply: mpsc::Sender<io::Result<Child>>,
}

/// A command that runs `program` and is killed with this process. The wrapper becomes the program by exec: the
/// child's id, process group and exit are the program's own.
pub(crate) fn dying_with_us(program: &OsStr) -> Command {
    // util-linux's setpriv makes the prctl call; doing it here would take unsafe code after the fork.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Starts the command on the spawner's thread.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    static JOBS: OnceLock<Mutex<mpsc::Sender<Job>>> = OnceLock::new();
    let jobs = JOBS.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || serve(&receiver))
            .expect("cannot start the spawner's thread");
        Mutex::new(sender)
    });
    let (reply, answer) = mpsc::channel();
    let sender = jobs.lock().unwrap().clone();
    sender
        .send(Job { command, reply })
        .expect("the spawner's thread has ended");
    answer.recv().expect("the spawner's thread has ended")
}

fn serve(jobs: &mpsc::Receiver<Job>) {
    for mut job in jobs {
        // Nobody waits for the answer when the asking test has panicked.
        let _ = job.reply.send(job.command.spawn());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::{Cmd, Tmp, procs, random_hex, until};

    const HOLD: &str = "SHIPIT_TESTBED_HOLD";

    /// The process that the other test kills: it holds a child until then. Run by itself it has nothing to hold.
    #[test]
    fn holder() {
        if std::env::var_os(HOLD).is_some() {
            let tmp = Tmp::new("holder");
            let mut held = Cmd::new("sleep")
                .arg("600")
                .env("HELD", std::env::var("MARK").unwrap());
            held = held.env_remove("MARK");
            assert!(
                held.start("a sleep", tmp.join("log"))
                    .wait(Duration::from_secs(600))
                    .is_none()
            );
        }
    }

    #[test]
    fn children_end_when_the_process_is_killed() {
        let (mark, tmp) = (random_hex(8), Tmp::new("spawner"));
        let me = std::env::current_exe().unwrap();
        let holder = Cmd::new(me).args(["--exact", "spawner::tests::holder"]);
        let holder = holder.env(HOLD, "1").env("MARK", &mark).env("TMPDIR", tmp.path());
        let mut process = holder.start("the holder", tmp.join("log"));
        process.wait_ready(Duration::from_secs(20), || {
            !procs::marked("HELD", &mark).is_empty()
        });
        process.kill9();
        until("the held child to end", Duration::from_secs(5), || {
            procs::marked("HELD", &mark).is_empty()
        });
    }
}
