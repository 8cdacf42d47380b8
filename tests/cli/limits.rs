//! Memory: a project of many files, one of them large, is built, published and applied within what docs/performance.md promises.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use shipit_testbed::{Cmd, S3Server};

use crate::project::Project;

/// The large file. Were it in memory as a whole, even once, the bound would not hold.
const LARGE: usize = 128 << 20;
/// What no command may exceed, in MiB.
const MOST: u64 = 180;
const FILES: u32 = 20_000;

/// Runs a command to its end, says what it said. The memory looked at is the program's own, not its children's.
#[track_caller]
fn within_bounds(project: &Project, args: &[&str]) -> String {
    let mut args = args.to_vec();
    args.extend(["--jobs", "4"]);
    let cmd: Cmd = project.shipit(&args);
    let mut process = cmd.start("shipit", project.tmp.join(format!("{}.log", args[0])));
    let status = format!("/proc/{}/status", process.pid());
    let until = Instant::now() + Duration::from_secs(300);
    let mut most = 0;
    while process.running() {
        assert!(Instant::now() < until, "{args:?} takes too long");
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        most = most.max(kib.unwrap_or(0) >> 10);
        thread::sleep(Duration::from_millis(2));
    }
    let said = process.log();
    let ended = process.wait(Duration::from_secs(1)).expect("it has ended");
    assert!(ended.success(), "{args:?}: {said}");
    assert!(
        most > 10,
        "{args:?}: only {most} MiB were seen: the wrong process was looked at"
    );
    assert!(most < MOST, "{args:?} took {most} MiB");
    said
}

/// Bytes that no compressor makes smaller.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

fn project(server: &S3Server) -> Project {
    let mut project = Project::new();
    project.env(server.env());
    let make = format!(
        "mkdir -p made/a && seq {FILES} | split -a 5 -d -l 1 - made/a/f && test -e made/a/f{:05}",
        FILES - 1
    );
    project.config(&format!(
        "app = \"shop\"\n[[build.step]]\nname = \"make\"\nrun = '''{make}'''\ninputs = [\"lock\"]\noutputs = [\"made\"]\n\
         [store]\nurl = \"file://{store}\"\n[consul]\naddress = \"http://127.0.0.1:1\"\n[role.web]\ndest = \"{dest}\"\n\
         [stage.near]\n[stage.far]\nstore.url = \"s3://shop/far\"\nstore.path_style = true\n",
        store = project.tmp.join("store").display(),
        dest = project.tmp.join("dest").display(),
    ));
    project.repo.write("lock", "1\n");
    project.repo.write("code.txt", "one\n");
    fs::write(project.repo.join("large.bin"), noise(LARGE)).unwrap();
    let _ = project.repo.git(&["config", "core.compression", "0"]);
    let _ = project.repo.commit("one");
    project
}

fn manifest(said: &str) -> String {
    // The log has the runs before too.
    let mut lines = said.lines().rev();
    let line = lines.find_map(|line| line.strip_prefix("web\t"));
    line.unwrap_or_else(|| panic!("no manifest in {said}")).to_owned()
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn memory_is_bounded_however_large_a_file_is() {
    let server = S3Server::start();
    server.create_bucket("shop");
    let project = project(&server);
    let locks = project.tmp.join("locks").display().to_string();
    let run = |args: &[&str]| within_bounds(&project, args);
    let _ = run(&["build", "--rev", "main"]);
    for stage in ["near", "far"] {
        let url = manifest(&run(&["publish", "--stage", stage]));
        fs::remove_dir_all(project.tmp.join("dest")).ok();
        let _ = run(&["apply", &url, "--lock-dir", &locks]);
    }
    project.repo.write("code.txt", "two\n");
    let _ = project.repo.commit("two");
    let _ = run(&["build", "--rev", "main"]);
    let url = manifest(&run(&["publish", "--stage", "far"]));
    let _ = run(&["apply", &url, "--lock-dir", &locks]);
    let _ = run(&["apply", &url, "--verify"]);
    let current = project.tmp.join("dest/current");
    assert_eq!(fs::read_to_string(current.join("code.txt")).unwrap(), "two\n");
    assert_eq!(
        fs::metadata(current.join("large.bin")).unwrap().len(),
        LARGE as u64
    );
}
