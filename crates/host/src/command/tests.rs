use super::*;
use std::sync::{Arc, Mutex};

use rustix::process::Pid;

struct Bench {
    dir: tempfile::TempDir,
    environment: Vec<(OsString, OsString)>,
    cancel: AtomicBool,
    recorder: Recorder,
    stdout: Arc<Mutex<Vec<u8>>>,
    mask: Mask,
}

impl Bench {
    fn new() -> Self {
        let stdout = Arc::new(Mutex::new(Vec::new()));
        let sink = stdout.clone();
        let recorder = Recorder::new(Arc::new(move |event| {
            if let Event::Output {
                stream: Stream::Stdout,
                data,
                ..
            } = event
            {
                sink.lock().unwrap().extend(data);
            }
        }));
        let path = OsString::from("/usr/local/bin:/usr/bin:/bin");
        Self {
            dir: tempfile::tempdir().unwrap(),
            environment: vec![("PATH".into(), path), ("GREETING".into(), "hello".into())],
            cancel: AtomicBool::new(false),
            recorder,
            stdout,
            mask: Mask::default(),
        }
    }

    fn runner(&self) -> Runner<'_> {
        Runner {
            environment: &self.environment,
            working_dir: self.dir.path(),
            cancel: &self.cancel,
            recorder: &self.recorder,
            mask: &self.mask,
        }
    }

    fn logged(&self, command: &str) -> Result<(), Error> {
        self.runner().run_logged(Phase::Pre, &[command.to_owned()])
    }

    fn log(&self) -> String {
        String::from_utf8(self.recorder.snapshot()).unwrap()
    }
}

#[test]
fn a_command_has_the_environment_the_directory_and_no_input() {
    let bench = Bench::new();
    bench
        .logged("echo $GREETING; pwd; cat; env | wc -l; echo err >&2")
        .unwrap();
    let log = bench.log();
    assert!(log.contains("invoking command: echo $GREETING"));
    let dir = bench.dir.path().canonicalize().unwrap();
    assert!(log.contains(&format!("\nhello\n{}\n", dir.display())), "{log}");
    assert!(log.ends_with("err\n"), "{log}");
}

#[test]
fn a_failure_says_which_command_and_how_it_ended() {
    let bench = Bench::new();
    let commands = [
        "true".to_owned(),
        "echo why\nexit 3".to_owned(),
        "touch never".to_owned(),
    ];
    let error = bench.runner().run_logged(Phase::Post, &commands).unwrap_err();
    assert_eq!(
        error.to_string(),
        "post command 2 of 3 failed: echo why …: exit status 3"
    );
    assert!(matches!(error, Error::Command { output_tail, .. } if output_tail == "why\n"));
    assert!(!bench.dir.path().join("never").exists());
}

#[test]
fn the_log_comes_on_standard_input_and_need_not_be_read() {
    let bench = Bench::new();
    bench.logged("head -c 3000000 /dev/zero | tr '\\0' x").unwrap();
    let commands = ["true".to_owned(), "wc -c".to_owned(), "cat >copy".to_owned()];
    bench.runner().run_with_log(Phase::Success, &commands).unwrap();
    let counted: usize = String::from_utf8_lossy(&bench.stdout.lock().unwrap())
        .trim()
        .parse()
        .unwrap();
    assert!(counted > 3_000_000);
    let copy = std::fs::read_to_string(bench.dir.path().join("copy")).unwrap();
    assert!(copy.contains("invoking command: wc -c"));
}

#[test]
fn a_daemon_that_holds_the_output_open_is_not_waited_for_and_lives_on() {
    let bench = Bench::new();
    let start = Instant::now();
    bench.logged("sleep 30 & echo $! >pid").unwrap();
    assert!(start.elapsed() < Duration::from_secs(25));
    assert!(bench.log().contains("left a process that holds its output open"));
    let pid = std::fs::read_to_string(bench.dir.path().join("pid")).unwrap();
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

/// Cancels the command once it wrote the number of a process to `pid`, and tells whether that ended with it.
fn ended_by_cancel(command: &str) -> bool {
    let bench = Bench::new();
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !bench.dir.path().join("pid").exists() {
                std::thread::sleep(Duration::from_millis(10));
            }
            bench.cancel.store(true, Ordering::Relaxed);
        });
        bench.logged(command)
    });
    assert!(matches!(result, Err(Error::Cancelled)));
    let pid = std::fs::read_to_string(bench.dir.path().join("pid")).unwrap();
    let process = Path::new("/proc").join(pid.trim());
    let gone = Instant::now() + Duration::from_secs(50);
    while process.exists() && Instant::now() < gone {
        std::thread::sleep(Duration::from_millis(20));
    }
    let ended = !process.exists();
    let _ = Pid::from_raw(pid.trim().parse().unwrap())
        .map(|pid| rustix::process::kill_process(pid, Signal::KILL));
    ended
}

#[test]
fn cancelling_ends_the_whole_group() {
    assert!(ended_by_cancel(
        "(trap '' TERM; sleep 60) & echo $! >new; mv new pid; wait"
    ));
}

#[test]
fn cancelling_ends_a_hook_in_a_group_of_its_own() {
    assert!(ended_by_cancel(
        "(exec timeout -k 10 60 sh -c 'echo $$ >new; mv new pid; sleep 60; true')"
    ));
}
