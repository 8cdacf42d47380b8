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
