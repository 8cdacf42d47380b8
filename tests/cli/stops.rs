//! ctrl-C, kill -9 and a full disk at every stage: nothing that could be taken for whole is left, and the next run works.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use shipit_testbed::{Cmd, Process, Signal, Tmpfs, procs, until};

use crate::project::{self, Project};
use crate::small::{self, artifacts, dest, store};

/// A step that says when it runs, and then stays until it is ended.
const STAYS: &str = "echo made >made; if [ -e \"$STAY\" ]; then touch \"$STAY.runs\"; sleep 984; fi";

fn staying() -> (Project, String) {
    let mut project = Project::new();
    let stay = project.tmp.write("stay", "").display().to_string();
    let build = format!(
        "[[build.step]]\nname = \"make\"\nrun = {}\nenv = {{ STAY = \"{stay}\" }}\n",
        small::quoted(STAYS)
    );
    project.config(&small::config(&project, &build, ""));
    project.repo.write("app.txt", "one\n").commit("one");
    project.env([("STAY".to_owned(), stay.clone())]);
    (project, stay)
}

fn start(project: &Project, args: &[&str]) -> Process {
    project.shipit(args).start("shipit", project.tmp.join("out.log"))
}

#[track_caller]
fn wait_for_file(path: &str) {
    until(path, Duration::from_secs(30), || Path::new(path).exists());
}

#[test]
fn a_build_that_is_interrupted_in_a_step_ends_its_children_and_leaves_nothing() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let (project, stay) = staying();
        let mut build = start(&project, &["build"]);
        wait_for_file(&format!("{stay}.runs"));
        build.signal(signal);
        let status = build
            .wait(Duration::from_secs(100))
            .unwrap_or_else(|| panic!("{}", build.log()));
        assert_eq!(status.code(), Some(code), "{}", build.log());
        until("its children to be gone", Duration::from_secs(30), || {
            procs::marked("STAY", &stay).is_empty()
        });
        assert_eq!(artifacts(&project), [""; 0]);
        fs::remove_file(&stay).unwrap();
        let _ = project.build("main");
    }
}

#[test]
fn builds_that_fail_do_not_pile_up_their_trees() {
    let mut project = Project::new();
    let build = "[[build.step]]\nname = \"fails\"\nrun = \"mkdir -p made/closed; chmod 555 made/closed made; exit 3\"\n";
    project.config(&small::config(&project, build, ""));
    project.repo.write("app.txt", "one\n").commit("one");
    let cache = project.tmp.join("failing");
    project.env([("SHIPIT_CACHE_DIR".to_owned(), cache.display().to_string())]);
    let trees = || {
        let work = fs::read_dir(cache.join("work")).unwrap().next().unwrap().unwrap();
        fs::read_dir(work.path()).unwrap().count()
    };
    let counts: Vec<usize> = (0..4)
        .map(|_| {
            let _ = project.shipit(&["build"]).run().exits(4);
            trees()
        })
        .collect();
    assert_eq!(counts[1], counts[3], "{counts:?}");
}

#[test]
fn a_second_signal_right_after_the_first_cuts_no_cleaning_short() {
    let (project, stay) = staying();
    // Not so on a busy machine: what comes half a second later is a second wish.
    let right_after = || {
        let _ = fs::remove_file(format!("{stay}.runs"));
        let build = start(&project, &["build"]);
        wait_for_file(&format!("{stay}.runs"));
        build.signal(Signal::TERM);
        let first = Instant::now();
        std::thread::sleep(Duration::from_millis(20));
        build.signal(Signal::TERM);
        (build, first.elapsed() < Duration::from_millis(250))
    };
    let mut tries = (0..10).map(|_| right_after());
    let (mut build, _) = tries.find(|(_, soon)| *soon).expect("no machine is so busy");
    let status = build.wait(Duration::from_secs(100)).unwrap();
    assert_eq!(status.code(), Some(143), "{}", build.log());
    assert!(
        build.log().contains("error: stopped by SIGTERM"),
        "{}",
        build.log()
    );
    assert_eq!(artifacts(&project), [""; 0]);
}

#[test]
fn an_apply_that_waits_for_its_input_ends_when_it_is_told_to() {
    let project = Project::new();
    // Open for reading and writing: its end never comes.
    let script = "mkfifo events && exec 3<>events && touch ready && exec \"$0\" apply <&3";
    let mut apply = Cmd::new("sh")
        .args(["-c".as_ref(), script.as_ref(), project::binary().as_os_str()])
        .cwd(project.tmp.path())
        .start("apply", project.tmp.join("out.log"));
    until("the fifo", Duration::from_secs(30), || {
        project.tmp.join("ready").exists()
    });
    until("apply to mind signals", Duration::from_secs(30), || {
        apply.minds(Signal::TERM)
    });
    std::thread::sleep(Duration::from_millis(300));
    apply.signal(Signal::TERM);
    let status = apply.wait(Duration::from_secs(60)).expect("it ends");
    assert_eq!(status.code(), Some(143), "{}", apply.log());
}

#[test]
fn a_tree_of_many_directories_in_each_other_overflows_nothing() {
    let project = Project::new();
    let tmp = &project.tmp;
    tmp.write("f", "deep");
    let transform = format!("s,^,{},", "d/".repeat(900));
    let _ = Cmd::new("tar")
        .args(["-czf", "deep.tgz", "--transform", &transform, "f"])
        .cwd(tmp.path())
        .run()
        .ok();
    let sum = Cmd::new("sha256sum").arg("deep.tgz").cwd(tmp.path()).run().ok();
    let (dest, archive) = (tmp.mkdir("dest"), tmp.join("deep.tgz"));
    let manifest = format!(
        "src: 'file://{}'\nchecksum: {}\ndest: '{}'\n",
        archive.display(),
        &sum.out()[..64],
        dest.display()
    );
    let url = format!("file://{}", tmp.write("deep.yml", manifest).display());
    let locks = tmp.join("locks").display().to_string();
    let ran = project.shipit(&["apply", &url, "--lock-dir", &locks]).run();
    // Where a process may open no more than a thousand files it cannot be done, and is said.
    assert!(matches!(ran.code(), Some(0 | 10)), "{ran}");
    let _ = Cmd::new("rm").args(["-rf", "dest"]).cwd(tmp.path()).run().ok();
}

#[test]
fn a_build_under_nohup_outlives_its_terminal() {
    let (project, stay) = staying();
    let shipit = project.shipit_under("nohup", &["build"]);
    let mut build = shipit.start("shipit", project.tmp.join("out.log"));
    wait_for_file(&format!("{stay}.runs"));
    build.signal(Signal::HUP);
    assert_eq!(build.wait(Duration::from_millis(700)), None, "{}", build.log());
    build.signal(Signal::TERM);
    let status = build.wait(Duration::from_secs(100)).unwrap();
    assert_eq!(status.code(), Some(143), "{}", build.log());
}

#[test]
fn a_build_that_is_killed_in_a_step_takes_its_children_with_it() {
    let (project, stay) = staying();
    let mut build = start(&project, &["build"]);
    wait_for_file(&format!("{stay}.runs"));
    build.signal(Signal::KILL);
    let _ = build.wait(Duration::from_secs(100));
    until("the step's processes to be gone", Duration::from_secs(20), || {
        procs::marked("STAY", &stay).is_empty()
    });
    assert_eq!(artifacts(&project), [""; 0]);
    fs::remove_file(&stay).unwrap();
    let _ = project.build("main");
}

/// A project whose build, publish and apply take long enough to be killed in their middle.
fn bulky() -> Project {
    let step = "[[build.step]]\nname = \"make\"\nrun = \"mkdir made; for i in 1 2 3 4 5 6 7 8 9; do head -c 3000000 /dev/urandom >made/$i; done\"\ninputs = [\"app.txt\"]\noutputs = [\"made\"]\n";
    let project = small::with(step, "shared = [\"log\"]\n");
    let _ = project.build("main");
    project
}

/// Kills a command after each of these times, and demands that one run to the end then does its work.
#[track_caller]
fn killed_then_whole(project: &Project, args: &[&str], times: &[u64], check: &dyn Fn()) {
    let mut killed = 0;
    for millis in times {
        let mut process = start(project, args);
        std::thread::sleep(Duration::from_millis(*millis));
        process.signal(Signal::KILL);
        let status = process.wait(Duration::from_secs(100)).unwrap();
        killed += u32::from(status.code().is_none());
        check();
    }
    assert!(killed > 0, "every run of {args:?} was over before it was killed");
    let _ = project.shipit(args).run().ok();
    check();
}

const TIMES: [u64; 10] = [5, 15, 30, 45, 60, 90, 130, 180, 250, 350];

#[test]
fn a_build_killed_anywhere_leaves_no_half_artifact() {
    builds_killed(&TIMES);
}

fn builds_killed(times: &[u64]) {
    let project = bulky();
    fs::remove_dir_all(project.repo.join(".shipit")).unwrap();
    killed_then_whole(&project, &["build"], times, &|| {
        for name in artifacts(&project).iter().filter(|name| name.ends_with(".json")) {
            let sha256 = name.trim_end_matches(".json");
            let _ = project
                .shipit(&["render", "web", "--stage", "staging", "--artifact", sha256])
                .run()
                .ok();
        }
    });
    let pending = artifacts(&project)
        .into_iter()
        .filter(|name| name.starts_with('.'))
        .count();
    assert_eq!(pending, 0, "{:?}", artifacts(&project));
}

#[test]
fn a_publish_killed_anywhere_leaves_no_half_release() {
    publishes_killed(&TIMES);
}

fn publishes_killed(times: &[u64]) {
    let project = bulky();
    killed_then_whole(&project, &["publish", "--stage", "staging"], times, &|| {
        let releases = store(&project).join("releases/shop/staging");
        for release in fs::read_dir(releases)
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path())
        {
            if release.join("release.json").exists() {
                let id = release.file_name().unwrap().to_str().unwrap().to_owned();
                assert!(release.join("web.yml").exists());
                let _ = project
                    .shipit(&["kick", "web", "--stage", "staging", "--release", &id])
                    .run()
                    .ok();
            }
        }
    });
}

#[test]
fn an_apply_killed_anywhere_leaves_the_old_release_or_the_new_one() {
    applies_killed(&TIMES);
}

fn applies_killed(times: &[u64]) {
    let project = bulky();
    let one = project::release_of(&project.publish("staging", "web"));
    let _ = project.shipit(&["kick", "web", "--stage", "staging"]).run().ok();
    project.repo.write("app.txt", "two\n").commit("two");
    let _ = project.build("main");
    let url = project.publish("staging", "web");
    let two = project::release_of(&url);
    let locks = project.tmp.join("locks");
    let args = ["apply", &url, "--lock-dir", locks.to_str().unwrap()];
    killed_then_whole(&project, &args, times, &|| {
        let current = fs::read_link(dest(&project).join("current")).unwrap();
        let text = fs::read_to_string(dest(&project).join("current/app.txt")).unwrap();
        let right = [
            (format!("releases/{one}"), "one\n"),
            (format!("releases/{two}"), "two\n"),
        ];
        assert!(
            right.contains(&(current.display().to_string(), text.as_str())),
            "{} {text}",
            current.display()
        );
    });
    let current = fs::read_link(dest(&project).join("current")).unwrap();
    assert_eq!(current.display().to_string(), format!("releases/{two}"));
}

/// A hundred times, each at another point of the command.
fn hundred() -> Vec<u64> {
    (0..100).map(|n| 2 + n * 37 % 401).collect()
}

#[test]
#[ignore = "takes minutes; run make soak"]
fn soak_builds_killed() {
    builds_killed(&hundred());
}

#[test]
#[ignore = "takes minutes; run make soak"]
fn soak_publishes_killed() {
    publishes_killed(&hundred());
}

#[test]
#[ignore = "takes minutes; run make soak"]
fn soak_applies_killed() {
    applies_killed(&hundred());
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_full_disk_at_each_stage() {
    let small_disk = Tmpfs::mount(16 << 20);
    let place = |name: &str| small_disk.path().join(name).display().to_string();

    // The cache: the export and the steps' files.
    let project = bulky();
    let _ = project
        .shipit(&["build", "--cache-dir", &place("cache")])
        .run()
        .exits(4);
    fs::remove_dir_all(place("cache")).unwrap();

    // The store.
    let text = fs::read_to_string(project.repo.join("shipit.toml")).unwrap();
    let elsewhere = text.replace(
        &format!("file://{}", store(&project).display()),
        &format!("file://{}", place("store")),
    );
    project.config(&elsewhere);
    let _ = project
        .shipit(&["publish", "--stage", "staging"])
        .run()
        .exits(10)
        .says("room");
    let left = fs::read_dir(place("store")).into_iter().flatten().count();
    assert!(
        !Path::new(&place("store")).join("releases").exists(),
        "{left} entries left"
    );
    let _ = fs::remove_dir_all(place("store"));

    // The host: its directory, where layers and releases lie.
    let here = dest(&project).display().to_string();
    project.config(&text.replace(&here, &place("dest")));
    let url = project.publish("staging", "web");
    let locks = project.tmp.join("locks").display().to_string();
    let _ = project
        .shipit(&["apply", &url, "--lock-dir", &locks])
        .run()
        .exits(10)
        .says("room");
    assert!(!Path::new(&place("dest")).join("current").exists());
    let used = Cmd::new("du").args(["-sk", &place("dest")]).run().ok().out();
    let kib: u64 = used.split_whitespace().next().unwrap().parse().unwrap();
    assert!(kib < 1024, "{used}");
    project.config(&text);
    let url = project.publish("staging", "web");
    let _ = project.shipit(&["apply", &url, "--lock-dir", &locks]).run().ok();
}
