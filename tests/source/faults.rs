//! What goes wrong on the way: several processes on one mirror, kills, damage, black holes, cancelling.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use shipit_source::{Error, Event, Fetch, Source, SourceOptions, Timeouts};
use shipit_testbed::{Cmd, Fault, FaultProxy, GitHttp, Process, Repo, Signal, Tmp, random_hex, until};

use crate::support::{both, in_mirror, options, resolve, served, told};

/// What the worker process is to do: fetch program, URL, mirror, revision.
const WORK: &str = "SHIPIT_SOURCE_WORK";

/// Not a test by itself: the others run it as a process of its own. Without its variable it checks that it has none.
#[test]
#[ignore = "needs the testbed; run make test"]
fn worker() {
    let Ok(work) = std::env::var(WORK) else {
        assert!(
            std::env::args().all(|arg| arg != "faults::worker"),
            "the worker needs {WORK}"
        );
        return;
    };
    let words: Vec<&str> = work.split('\t').collect();
    let [fetch, url, mirror, revision] = words.as_slice() else {
        panic!("{work}")
    };
    let tmp = Tmp::new("worker");
    let mut options = options(&tmp, &[url]);
    options.fetch = if *fetch == "git" {
        Fetch::Cli
    } else {
        Fetch::Libgit2
    };
    options.mirror = PathBuf::from(mirror);
    let told = resolve(&options, revision);
    let waited = told
        .events
        .iter()
        .any(|event| matches!(event, Event::WaitingForLock { .. }));
    println!("resolved {} waited {waited}", told.ok().id);
}

fn start(options: &SourceOptions, revision: &str, log: PathBuf) -> Process {
    let fetch = if options.fetch == Fetch::Cli {
        "git"
    } else {
        "libgit2"
    };
    let work = format!(
        "{fetch}\t{}\t{}\t{revision}",
        options.remotes[0],
        options.mirror.display()
    );
    let exe = std::env::current_exe().unwrap();
    let args = ["--exact", "--include-ignored", "--nocapture", "faults::worker"];
    // It is killed: what it makes for itself goes where the test's own directory goes.
    let tmp = log.parent().map_or_else(std::env::temp_dir, PathBuf::from);
    let worker = Cmd::new(exe).args(args).env(WORK, work).env("TMPDIR", tmp);
    worker.start("worker", log)
}

/// A repository whose packs take a while: random files of `kib` KiB each.
fn heavy(tmp: &Tmp, files: usize, kib: usize) -> (Repo, String) {
    let repo = Repo::new();
    for number in 0..files {
        repo.write(format!("d{}/f{number}", number % 7), random_hex(kib * 512));
    }
    let id = repo.commit("heavy");
    repo.bare_clone(&tmp.join("served/shop.git"));
    (repo, id)
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn processes_take_turns_on_one_mirror() {
    let tmp = Tmp::new("faults");
    let (_repo, ids) = served(&tmp);
    let http = GitHttp::start(&tmp.join("served"));
    for (at, mut options) in both(&options(&tmp, &[&http.url("shop.git")]))
        .into_iter()
        .enumerate()
    {
        options.mirror = tmp.join(format!("m{at}"));
        let names = [
            &ids[0],
            &ids[1],
            &ids[2],
            &ids[3],
            &ids[0][..9].to_owned(),
            &"main".to_owned(),
        ]
        .map(Clone::clone);
        let mut running: Vec<Process> = names
            .iter()
            .enumerate()
            .map(|(n, name)| start(&options, name, tmp.join(format!("log{at}.{n}"))))
            .collect();
        for process in &mut running {
            let status = process.wait(Duration::from_secs(120)).expect("an end");
            assert!(status.success(), "{}", process.log());
        }
        in_mirror(&options, &["fsck", "--connectivity-only"]);
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn waiting_for_the_lock_is_said_and_can_be_cancelled() {
    let tmp = Tmp::new("faults");
    let (_repo, ids) = served(&tmp);
    let http = GitHttp::start(&tmp.join("served"));
    let options = options(&tmp, &[&http.url("shop.git")]);
    let lock = std::fs::File::create(tmp.join("mirror.git.lock")).unwrap();
    lock.lock().unwrap();
    let cancel = AtomicBool::new(false);
    let told = told(|on_event| {
        let until_it_waits = |event: Event| {
            let waits = matches!(event, Event::WaitingForLock { .. });
            on_event(event);
            cancel.fetch_or(waits, Ordering::Relaxed);
        };
        Source::open(options.clone())?.resolve(&ids[0], &cancel, &until_it_waits)
    });
    assert!(
        matches!(&told.events[..], [Event::WaitingForLock { path }] if *path == tmp.join("mirror.git.lock"))
    );
    assert!(matches!(told.err(), Error::Cancelled));
    drop(lock);
    resolve(&options, &ids[0]).ok();
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_killed_fetch_does_not_trouble_the_next() {
    let tmp = Tmp::new("faults");
    let (repo, _) = heavy(&tmp, 60, 100);
    let http = GitHttp::start(&tmp.join("served"));
    for (at, base) in both(&options(&tmp, &[&http.url("shop.git")]))
        .into_iter()
        .enumerate()
    {
        for (round, wait) in [40, 90, 150, 250].into_iter().enumerate() {
            // Every other round goes on with the mirror that the one before left.
            let options = SourceOptions {
                mirror: tmp.join(format!("m{at}.{}", round / 2)),
                ..base.clone()
            };
            let name = if round % 3 == 2 {
                repo.head()[..9].to_owned()
            } else {
                repo.head()
            };
            let mut process = start(&options, &name, tmp.join(format!("log{at}.{round}")));
            thread::sleep(Duration::from_millis(wait));
            process.kill9();
            let told = resolve(&options, &name);
            assert_eq!(told.ok().id, repo.head());
            in_mirror(&options, &["fsck", "--connectivity-only"]);
            repo.write("next", format!("{at}{round}")).commit("next");
            repo.push_to(&tmp.join("served/shop.git"));
        }
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn what_an_interrupted_fetch_left_is_removed_and_said() {
    let tmp = Tmp::new("faults");
    let (_repo, ids) = served(&tmp);
    let http = GitHttp::start(&tmp.join("served"));
    let options = options(&tmp, &[&http.url("shop.git")]);
    resolve(&options, &ids[0]).ok();
    let planted = [
        "shallow.lock",
        "packed-refs.lock",
        "objects/pack/tmp_pack_abc123",
        "objects/pack/pack_git2_x1y2z3",
    ];
    for name in planted {
        std::fs::write(options.mirror.join(name), "x").unwrap();
    }
    let told = resolve(&options, &ids[1]);
    let repaired = told
        .events
        .iter()
        .any(|event| matches!(event, Event::MirrorRepaired { removed, .. } if removed.len() == 4));
    assert!(repaired, "{:?}", told.events);
    told.ok();
    assert!(planted.iter().all(|name| !options.mirror.join(name).exists()));
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_damaged_mirror_is_made_anew() {
    let tmp = Tmp::new("faults");
    let (_repo, ids) = served(&tmp);
    let http = GitHttp::start(&tmp.join("served"));
    for (at, mut options) in both(&options(&tmp, &[&http.url("shop.git")]))
        .into_iter()
        .enumerate()
    {
        options.mirror = tmp.join(format!("m{at}"));
        // No repository at all any more.
        resolve(&options, &ids[0]).ok();
        std::fs::remove_file(options.mirror.join("HEAD")).unwrap();
        let told = resolve(&options, &ids[0]);
        assert!(
            told.events
                .iter()
                .any(|event| matches!(event, Event::MirrorRemade { .. })),
            "{:?}",
            told.events
        );
        told.ok();
        // What a killed one had moved aside goes with the next run.
        let aside = tmp.mkdir(format!("m{at}.old/objects"));
        resolve(&options, &ids[1]).ok();
        assert!(!aside.exists());
        // Objects that are gone.
        let _ = std::fs::remove_dir_all(options.mirror.join("objects"));
        std::fs::create_dir_all(options.mirror.join("objects/pack")).unwrap();
        assert_eq!(resolve(&options, &ids[0]).ok().id, ids[0]);
        assert_eq!(resolve(&options, &ids[1][..9]).ok().id, ids[1]);
        // A pack that was cut.
        for item in std::fs::read_dir(options.mirror.join("objects/pack"))
            .unwrap()
            .flatten()
        {
            if item
                .path()
                .extension()
                .is_some_and(|extension| extension == "pack")
            {
                std::fs::set_permissions(item.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644))
                    .unwrap();
                std::fs::File::options()
                    .write(true)
                    .open(item.path())
                    .unwrap()
                    .set_len(40)
                    .unwrap();
            }
        }
        assert_eq!(resolve(&options, "main").ok().id, ids[2]);
        assert_eq!(resolve(&options, &ids[0]).ok().id, ids[0]);
    }
}

/// A server that takes connections and says nothing.
fn black_hole() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/shop.git", listener.local_addr().unwrap());
    (listener, url)
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_black_hole_does_not_hold_the_build_for_ever() {
    let tmp = Tmp::new("faults");
    let (_repo, ids) = served(&tmp);
    let (_listener, url) = black_hole();
    let http = GitHttp::start(&tmp.join("served"));
    let short = Timeouts {
        connect: Duration::from_secs(1),
        stall: Duration::from_secs(1),
    };
    for (at, mut options) in both(&options(&tmp, &[&url])).into_iter().enumerate() {
        options.mirror = tmp.join(format!("m{at}"));
        options.timeouts = short;
        let began = Instant::now();
        let error = resolve(&options, "main").err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
        // The next remote serves, and a busy machine has the time for it.
        options.timeouts.stall = Duration::from_secs(4);
        options
            .remotes
            .push(shipit_source::Remote::parse(&http.url("shop.git")).unwrap());
        assert_eq!(resolve(&options, "main").ok().id, ids[2]);
    }
    let mut options = options(&tmp, &["http://127.0.0.1:1/shop.git"]);
    options.mirror = tmp.join("refused");
    assert!(matches!(
        resolve(&options, "main").err(),
        Error::Unreachable { .. }
    ));
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_cancel_ends_a_fetch_that_hangs_soon() {
    let tmp = Tmp::new("faults");
    let (listener, url) = black_hole();
    for (at, mut options) in both(&options(&tmp, &[&url])).into_iter().enumerate() {
        options.mirror = tmp.join(format!("m{at}"));
        let cancel = AtomicBool::new(false);
        let (told, took) = thread::scope(|scope| {
            let fetching = scope
                .spawn(|| told(|on_event| Source::open(options.clone())?.resolve("main", &cancel, on_event)));
            let _held: (TcpStream, _) = listener.accept().unwrap();
            cancel.store(true, Ordering::Relaxed);
            let began = Instant::now();
            (fetching.join().unwrap(), began.elapsed())
        });
        assert!(matches!(told.err(), Error::Cancelled));
        assert!(took < Duration::from_secs(15), "{took:?}");
        // No git is left behind.
        let mine = options.mirror.display().to_string();
        until("git to end", Duration::from_secs(5), || {
            let ps = Cmd::new("sh")
                .args(["-c", "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"])
                .run();
            !ps.out().contains(&format!("GIT_DIR={mine}\n"))
        });
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn an_orphaned_git_keeps_the_lock_until_it_ends() {
    let tmp = Tmp::new("faults");
    let (listener, url) = black_hole();
    let mut options = options(&tmp, &[&url]);
    options.fetch = Fetch::Cli;
    let mut process = start(&options, "main", tmp.join("log"));
    let held: (TcpStream, _) = listener.accept().unwrap();
    process.signal(Signal::KILL);
    let _ = process.wait(Duration::from_secs(60));
    let lock = std::fs::File::open(tmp.join("mirror.git.lock")).unwrap();
    assert!(lock.try_lock().is_err(), "git still runs and has the lock");
    drop((held, listener));
    until("the lock", Duration::from_secs(10), || lock.try_lock().is_ok());
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_transfer_that_is_cut_or_hangs_in_the_middle() {
    let tmp = Tmp::new("faults");
    let (_repo, id) = heavy(&tmp, 20, 100);
    let http = GitHttp::start(&tmp.join("served"));
    let proxy = FaultProxy::start(http.addr());
    let url = format!("{}/shop.git", proxy.url());
    for (at, mut options) in both(&options(&tmp, &[&url])).into_iter().enumerate() {
        options.mirror = tmp.join(format!("m{at}"));
        options.timeouts = Timeouts {
            connect: Duration::from_secs(4),
            stall: Duration::from_secs(4),
        };
        for fault in [Fault::cut_response(200_000), Fault::status(500), Fault::hold()] {
            proxy.inject(fault.method("POST").always());
            let told = resolve(&options, &id);
            let error = told.err();
            assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
            proxy.heal();
        }
        assert_eq!(resolve(&options, &id).ok().id, id);
    }
}
