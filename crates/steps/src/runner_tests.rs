//! The runner with /bin/sh alone: commands that fail, hang, ignore TERM, print megabytes, are killed, leave daemons.

use std::fs;
use std::sync::Arc;

use super::*;
use crate::mask::Masker;

struct Ran {
    result: Result<(), Error>,
    events: Vec<Event>,
    log: String,
    seconds: f64,
}

#[derive(Default)]
struct Setup {
    timeout: Option<Duration>,
    idle: Option<Duration>,
    grace: Option<Duration>,
    secret: Option<&'static str>,
    cancel_after: Option<Duration>,
}

/// Runs `command` in an empty directory. The tests run one after the other, as all steps of a process do.
fn run(command: &str, setup: &Setup) -> Ran {
    crate::become_subreaper().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let events = Mutex::new(Vec::new());
    let on_event = |event| events.lock().unwrap().push(event);
    let cancel = Arc::new(AtomicBool::new(false));
    let output = Output::create(dir.path(), "step", Masker::new(setup.secret), &on_event).unwrap();
    let log = output.path().to_path_buf();
    let mut runner = Runner {
        step: "step",
        limits: Limits::new(None, None),
        output,
        cancel: &cancel,
        on_event: &on_event,
    };
    // Waits for the turn, so that the times below are the command's own.
    runner.run(&shell("true", dir.path())).unwrap();
    let began = Instant::now();
    runner.limits = Limits {
        timeout: setup.timeout,
        idle: setup.idle,
        grace: setup.grace.unwrap_or(Duration::from_secs(2)),
        began,
    };
    let result = thread::scope(|scope| {
        if let Some(after) = setup.cancel_after {
            let cancel = Arc::clone(&cancel);
            scope.spawn(move || {
                thread::sleep(after);
                cancel.store(true, Ordering::Relaxed);
            });
        }
        runner.run(&shell(command, dir.path()))
    });
    let seconds = began.elapsed().as_secs_f64();
    drop(runner);
    let log = String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned();
    Ran {
        result,
        events: events.into_inner().unwrap(),
        log,
        seconds,
    }
}

/// Runs `command` with more and more time until the run `is_told`: a busy machine starts processes late.
fn run_until(command: &str, setup: impl Fn(u32) -> Setup, is_told: impl Fn(&Ran) -> bool) -> (Ran, u32) {
    for factor in [1, 5, 25, 125] {
        let ran = run(command, &setup(factor));
        if is_told(&ran) {
            return (ran, factor);
        }
    }
    panic!("`{command}` does not do it in any time")
}

fn shell(command: &str, dir: &std::path::Path) -> ToolCommand {
    let env = [("PATH", "/usr/bin:/bin"), ("LANG", "C.UTF-8")];
    ToolCommand {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), command.into()],
        dir: dir.to_path_buf(),
        env: env.map(|(name, value)| (name.into(), value.into())).into(),
    }
}

impl Ran {
    fn lines(&self) -> Vec<&str> {
        self.events
            .iter()
            .flat_map(|event| match event {
                Event::Output { lines, .. } => lines.as_slice(),
                _ => &[],
            })
            .map(String::as_str)
            .collect()
    }

    /// The process number that a line is.
    fn pid(&self, line: usize) -> Option<i32> {
        self.lines().get(line)?.parse().ok()
    }

    fn left_behind(&self) -> Vec<(i32, &str, bool)> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::LeftBehind {
                    pid, command, daemon, ..
                } => Some((*pid, command.as_str(), *daemon)),
                _ => None,
            })
            .collect()
    }
}

fn is_gone(pid: i32) -> bool {
    !std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn output_of_both_streams_in_order() {
    let ran = run("echo one; echo two >&2; printf three", &Setup::default());
    ran.result.as_ref().unwrap();
    assert_eq!(ran.lines(), ["one", "two", "three"]);
    assert!(ran.log.ends_with("'\none\ntwo\nthree"), "{}", ran.log);
    assert!(ran.left_behind().is_empty());
}

#[test]
fn nothing_of_ours_reaches_the_command() {
    let ran = run(
        "env | grep -v '^PWD=\\|^_=\\|^SHLVL='; umask; read line || echo no input; \
         (: </dev/tty) 2>/dev/null || echo no terminal",
        &Setup::default(),
    );
    let mut lines = ran.lines();
    lines[..2].sort_unstable();
    assert_eq!(
        lines,
        [
            "LANG=C.UTF-8",
            "PATH=/usr/bin:/bin",
            "0022",
            "no input",
            "no terminal"
        ]
    );
}

#[test]
fn a_failure_has_its_code_and_its_last_lines() {
    let ran = run(
        "for i in $(seq 100); do echo line $i; done; exit 7",
        &Setup::default(),
    );
    let Error::Failed {
        end: End::Code(7),
        tail,
        log,
        ..
    } = ran.result.unwrap_err()
    else {
        panic!()
    };
    assert_eq!(
        (tail.len(), tail[0].as_str(), tail[39].as_str()),
        (40, "line 61", "line 100")
    );
    assert!(log.ends_with("step.log"));
}

#[test]
fn a_command_that_is_killed_is_told_with_the_signal() {
    let error = run("kill -9 $$", &Setup::default()).result.unwrap_err();
    assert_eq!(error.to_string(), "step `step` was killed by SIGKILL");
    let error = run("kill -SEGV $$", &Setup::default()).result.unwrap_err();
    assert_eq!(error.to_string(), "step `step` was killed by SIGSEGV");
}

#[test]
fn a_program_that_is_not_there() {
    let ran = run("exec /no/such/program", &Setup::default());
    assert!(matches!(
        ran.result,
        Err(Error::Failed {
            end: End::Code(127),
            ..
        })
    ));
    let dir = tempfile::tempdir().unwrap();
    let output = Output::create(dir.path(), "x", Masker::new(None), &|_| {}).unwrap();
    let cancel = AtomicBool::new(false);
    let mut runner = Runner {
        step: "x",
        limits: Limits::new(None, None),
        output,
        cancel: &cancel,
        on_event: &|_| {},
    };
    let command = ToolCommand {
        program: "no-such-tool".into(),
        ..shell("", dir.path())
    };
    let error = runner.run(&command).unwrap_err().to_string();
    assert!(
        error.starts_with("step `x`: cannot start `no-such-tool` in /"),
        "{error}"
    );
}

#[test]
fn a_hang_is_ended_with_its_children() {
    let setup = |factor| Setup {
        timeout: Some(factor * Duration::from_millis(300)),
        ..Setup::default()
    };
    let command = "echo started $$; sleep 600 & echo $!; sleep 601";
    let (ran, _) = run_until(command, setup, |ran| ran.pid(1).is_some());
    let Err(Error::TimedOut { tail, .. }) = &ran.result else {
        panic!("{:?}", ran.result)
    };
    assert!(tail[0].starts_with("started"));
    assert!(is_gone(ran.pid(1).unwrap()));
    assert!(ran.seconds < 300.0, "{}", ran.seconds);
}

#[test]
fn what_ignores_term_is_killed_after_the_grace() {
    let setup = |factor| Setup {
        timeout: Some(factor * Duration::from_millis(200)),
        grace: Some(factor * Duration::from_millis(500)),
        ..Setup::default()
    };
    let command = "trap 'echo not me' TERM; echo $$; while :; do sleep 0.1; done";
    // Asked to end while it was there, and with the time to answer.
    let (ran, factor) = run_until(command, setup, |ran| {
        ran.pid(0).is_some() && ran.lines().contains(&"not me")
    });
    assert!(matches!(ran.result, Err(Error::TimedOut { .. })));
    assert!(is_gone(ran.pid(0).unwrap()));
    assert!(ran.seconds >= 0.7 * f64::from(factor), "{}", ran.seconds);
}

#[test]
fn a_command_that_cleans_up_on_term_has_the_time_to() {
    let setup = |factor| Setup {
        timeout: Some(factor * Duration::from_millis(200)),
        grace: Some(Duration::from_secs(60)),
        ..Setup::default()
    };
    let command = "trap 'sleep 0.3; echo cleaned; exit 0' TERM; echo here; while :; do sleep 0.1; done";
    let (ran, _) = run_until(command, setup, |ran| ran.lines().contains(&"here"));
    assert!(matches!(ran.result, Err(Error::TimedOut { .. })));
    assert_eq!(ran.lines().last(), Some(&"cleaned"));
}

#[test]
fn silence_is_not_output() {
    let idle = Duration::from_millis(400);
    let setup = |factor| Setup {
        idle: Some(factor * idle),
        ..Setup::default()
    };
    let command = "for i in 1 2 3 4; do sleep 0.2; printf .; done; sleep 600";
    let (ran, factor) = run_until(command, setup, |ran| ran.lines() == ["...."]);
    let Err(Error::Idle { tail, .. }) = &ran.result else {
        panic!("{:?}", ran.result)
    };
    assert_eq!(tail, &["...."]);
    let least = 0.8 + (factor * idle).as_secs_f64();
    assert!((least..300.0).contains(&ran.seconds), "{}", ran.seconds);
}

#[test]
fn cancelled_soon() {
    let setup = |factor| Setup {
        cancel_after: Some(factor * Duration::from_millis(100)),
        grace: Some(Duration::from_secs(200)),
        ..Setup::default()
    };
    let (ran, _) = run_until("sleep 600 & echo $!; wait", setup, |ran| ran.pid(0).is_some());
    assert!(matches!(ran.result, Err(Error::Cancelled { .. })));
    assert!(is_gone(ran.pid(0).unwrap()));
    assert!(ran.seconds < 100.0, "{}", ran.seconds);
}

#[test]
fn a_background_process_is_ended_and_named() {
    let setup = |_| Setup {
        grace: Some(Duration::from_secs(200)),
        ..Setup::default()
    };
    let (ran, _) = run_until("sleep 600 & echo $!", setup, |ran| {
        ran.left_behind() == [(ran.pid(0).unwrap(), "sleep 600", false)]
    });
    ran.result.as_ref().unwrap();
    assert!(is_gone(ran.pid(0).unwrap()));
    assert!(ran.seconds < 100.0, "{}", ran.seconds);
}

#[test]
fn a_daemon_that_left_the_group_is_ended_and_named() {
    let ran = run(
        "setsid sh -c 'echo $$; trap \"\" TERM; sleep 600 & echo $!; : >on; wait; sleep 601' & \
         while ! test -e on; do sleep 0.05; done; echo done",
        &Setup {
            grace: Some(Duration::from_millis(300)),
            ..Setup::default()
        },
    );
    ran.result.as_ref().unwrap();
    let lines = ran.lines();
    assert_eq!(lines[2], "done");
    let left = ran.left_behind();
    for line in &lines[..2] {
        let pid: i32 = line.parse().unwrap();
        assert!(
            left.iter().any(|(other, _, daemon)| *other == pid && *daemon),
            "{pid} is not in {left:?}"
        );
        assert!(is_gone(pid), "{pid}");
    }
}

#[test]
fn a_daemon_is_ended_after_a_timeout_too() {
    let setup = |factor| Setup {
        timeout: Some(factor * Duration::from_millis(400)),
        ..Setup::default()
    };
    let (ran, _) = run_until("setsid sleep 600 & echo $!; sleep 601", setup, |ran| {
        let pid = ran.pid(0).unwrap_or_default();
        ran.left_behind().contains(&(pid, "sleep 600", true))
    });
    assert!(matches!(ran.result, Err(Error::TimedOut { .. })));
    assert!(is_gone(ran.pid(0).unwrap()));
}

#[test]
fn what_ends_by_itself_in_a_moment_is_not_left_behind() {
    let (ran, _) = run_until(
        "(sleep 0.05; echo late) & echo early",
        |_| Setup::default(),
        |ran| ran.left_behind().is_empty(),
    );
    ran.result.as_ref().unwrap();
    assert_eq!(ran.lines(), ["early", "late"]);
}

#[test]
fn fifty_megabytes_are_all_in_the_log_and_not_in_memory() {
    let ran = run(
        "yes 0123456789012345678901234567890123456789012345678 | head -n 1000000",
        &Setup::default(),
    );
    ran.result.as_ref().unwrap();
    assert_eq!(ran.lines().len(), 1_000_000);
    // Far fewer than lines: whoever shows them writes once for each.
    assert!(ran.events.len() < 50_000, "{}", ran.events.len());
    assert!(ran.log.len() > 50_000_000);
    let endless = run(
        "head -c 5000000 /dev/zero | tr '\\0' x; exit 1",
        &Setup::default(),
    );
    let Err(Error::Failed { tail, .. }) = &endless.result else {
        panic!()
    };
    assert!(tail.iter().map(String::len).sum::<usize>() < 1_000_000);
}

#[test]
fn secrets_are_masked_in_log_events_and_error() {
    let setup = Setup {
        secret: Some("hunter2-hunter2"),
        ..Setup::default()
    };
    let ran = run(
        "printf hunter2; sleep 0.2; printf -- '-hunter2\\n'; setsid sh -c 'sleep 600; : hunter2-hunter2' & \
         sleep 0.2; echo https://x:hunter2-hunter2@host >&2; exit 1",
        &setup,
    );
    assert_eq!(ran.lines(), ["***", "https://x:***@host"]);
    let all = format!("{:?} {:?} {}", ran.events, ran.result, ran.log);
    assert!(!all.contains("hunter2-hunter2"), "{all}");
    assert!(!ran.left_behind().is_empty());
}

#[test]
fn commands_as_they_would_be_typed() {
    let mut command = shell("it's $HOME", std::path::Path::new("/"));
    command.args.push("".into());
    assert_eq!(command.shown(), r"/bin/sh -c 'it'\''s $HOME' ''");
}
