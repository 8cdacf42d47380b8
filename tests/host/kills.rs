//! Handlers that are killed (kill -9) in every phase and at random: the next one brings dest in order.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use shipit_host::Event;
use shipit_testbed::{Cmd, until};

use crate::faults::{archive, manifest};
use crate::support::{Sandbox, holds};

/// Names the sandbox to the copy of this test binary that applies and is killed.
const CHILD: &str = "SHIPIT_HOST_TEST_CHILD";

/// The copy of this test binary that `killed` starts: applies the manifest of the sandbox that the environment names.
#[test]
#[ignore = "started by the tests that kill it"]
fn child_that_applies() {
    let Some(dir) = std::env::var_os(CHILD).map(PathBuf::from) else {
        return;
    };
    let sandbox = Sandbox::new("child");
    let mut request = sandbox.request("");
    request.manifest_url = format!("file://{}", dir.join("manifest.yml").display());
    request.working_dir = dir.join("cwd");
    request.temp_dir = dir.join("tmp");
    request.lock_dir = dir.join("locks");
    request.max_bandwidth = fs::read_to_string(dir.join("bandwidth"))
        .ok()
        .map(|text| text.trim().parse().unwrap());
    let _ = sandbox
        .run(request, Arc::new(AtomicBool::new(false)), Arc::new(|_| {}))
        .unwrap();
}

pub fn start_child(sandbox: &Sandbox, text: &str) -> shipit_testbed::Process {
    sandbox.write("manifest.yml", text);
    Cmd::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "kills::child_that_applies",
            "--include-ignored",
            "--nocapture",
        ])
        .env(CHILD, sandbox.path())
        // Its own sandbox lies in this one, for who is killed cleans up nothing.
        .env("TMPDIR", sandbox.path())
        .start("apply", sandbox.join("child.log"))
}

/// Moments to kill at, spread over the time that a command takes. It takes ten times as long on one machine as on another, so that time
/// is learnt: a command that had ended by its moment brings the later ones forward, and one that had not puts them off.
pub struct Moments {
    whole: Duration,
    killed: usize,
}

impl Default for Moments {
    fn default() -> Self {
        Self {
            whole: Duration::from_millis(300),
            killed: 0,
        }
    }
}

impl Moments {
    /// Waits for this round's moment, and kills what still runs.
    pub fn kill(&mut self, child: &mut shipit_testbed::Process, round: usize) {
        // Multiples of the golden ratio are spread evenly, however many they are.
        let part = (round as f64 * 0.618_034).fract();
        std::thread::sleep(self.whole.mul_f64(part.max(0.02)));
        let runs = child.running();
        self.killed += usize::from(runs);
        self.whole = self.whole.mul_f64(if runs { 1.15 } else { 0.6 });
        child.kill9();
    }

    #[track_caller]
    pub fn assert_killed(&self, rounds: usize) {
        let Self { whole, killed } = self;
        assert!(
            killed * 3 >= rounds,
            "{killed} of {rounds} were killed within {whole:?}"
        );
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_handler_that_is_killed_anywhere_leaves_what_the_next_one_brings_in_order() {
    let sandbox = Sandbox::new("killed");
    let first = archive(&sandbox, "first", 400, 2000);
    // Another size: by rsync's quick check a file of equal size and second is the same.
    let second = archive(&sandbox, "second", 500, 2001);
    let text = |archive: &Path, commands: &str| {
        manifest(
            &sandbox,
            &format!("file://{}", archive.display()),
            archive,
            commands,
        )
    };
    let _ = sandbox.apply(&text(&first, "")).ok();
    // Each phase: where it stops is told by what can be seen from outside.
    let stuck = |at: &str| format!("commands: {{{at}: ['touch reached; sleep 60']}}");
    for (phase, bandwidth, commands) in [
        ("fetch", Some("200000"), String::new()),
        ("pre", None, stuck("pre")),
        ("post", None, stuck("post")),
    ] {
        let _ = fs::remove_file(sandbox.join("bandwidth"));
        if let Some(bandwidth) = bandwidth {
            sandbox.write("bandwidth", bandwidth);
        }
        let mut child = start_child(&sandbox, &text(&second, &commands));
        match phase {
            "fetch" => std::thread::sleep(Duration::from_millis(700)),
            _ => until(phase, Duration::from_secs(30), || {
                sandbox.join("cwd/reached").exists()
            }),
        }
        assert!(child.running(), "{phase}: {}", child.tail());
        child.kill9();
        let _ = fs::remove_file(sandbox.join("cwd/reached"));
        let _ = fs::remove_file(sandbox.join("bandwidth"));
        let outcome = sandbox.apply(&text(&first, ""));
        let removed = outcome
            .events
            .iter()
            .filter(|event| matches!(event, Event::LeftoverRemoved { .. }))
            .count();
        assert_eq!(removed, usize::from(phase != "fetch"), "{phase}");
        let _ = outcome.ok();
        assert_same(&sandbox, "first");
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_handler_that_is_killed_at_random_leaves_what_the_next_one_brings_in_order() {
    killed_at_random(10);
}

#[test]
#[ignore = "takes minutes; run make soak"]
fn soak_a_handler_that_is_killed_at_random_leaves_what_the_next_one_brings_in_order() {
    killed_at_random(120);
}

/// Kills while it unpacks and syncs, forth and back between two trees, at moments spread over its time.
fn killed_at_random(rounds: usize) {
    let sandbox = Sandbox::new("killed");
    let first = archive(&sandbox, "first", 400, 2000);
    let second = archive(&sandbox, "second", 500, 2001);
    let mut moments = Moments::default();
    for round in 0..rounds {
        let (name, archive) = if round % 2 == 0 {
            ("second", &second)
        } else {
            ("first", &first)
        };
        let text = manifest(&sandbox, &format!("file://{}", archive.display()), archive, "");
        let mut child = start_child(&sandbox, &text);
        moments.kill(&mut child, round);
        let _ = sandbox.apply(&text).ok();
        assert_same(&sandbox, name);
        sandbox.assert_clean();
    }
    moments.assert_killed(rounds);
}

#[track_caller]
fn assert_same(sandbox: &Sandbox, name: &str) {
    let (mut tree, mut there) = (holds(&sandbox.join(name)), holds(&sandbox.join("dest")));
    for seen in tree.values_mut().chain(there.values_mut()) {
        seen.mtime = 0;
    }
    let lines = crate::support::difference(&tree, &there);
    assert!(lines.is_empty(), "{}", lines.join("\n"));
    assert!(there.len() > 300);
}
