//! What goes wrong on a host: servers that cut, disks that fill, two at once, a cancel.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use shipit_host::{ErrorKind, Event, OnEvent};
use shipit_testbed::{Cmd, Tmp, Tmpfs, random_hex, until};

use crate::support::{Sandbox, holds, pack, shown, sum};

pub fn manifest(sandbox: &Sandbox, src: &str, archive: &Path, commands: &str) -> String {
    format!(
        "src: '{src}'\nchecksum: '{}'\ndest: '{}'\n{commands}",
        sum("sha256sum", archive),
        sandbox.join("dest").display()
    )
}

/// An archive of `count` files of `size` bytes that no compression makes smaller, in directories.
pub fn archive(sandbox: &Sandbox, name: &str, count: usize, size: usize) -> PathBuf {
    let mark = random_hex(4);
    for at in 0..count {
        let mut text = format!("{mark} {at} ").into_bytes();
        text.resize(size, b'x');
        sandbox.write(&format!("{name}/d{}/f{at}", at % 7), text);
    }
    pack(sandbox, &format!("{name}.tar"), &sandbox.join(name))
}

/// Answers every request with so many bytes of the body and closes; the head announces them all.
struct Cutting {
    addr: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Cutting {
    fn serve(body: Vec<u8>, send: impl Fn(usize) -> usize + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let count = requests.clone();
        // Ends with the process: it blocks in accept.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                    head.push(byte[0]);
                }
                let number = count.fetch_add(1, Ordering::SeqCst);
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(head.as_bytes());
                let _ = stream.write_all(&body[..send(number).min(body.len())]);
            }
        });
        Self { addr, requests }
    }

    fn url(&self) -> String {
        format!("http://{}/a.tar", self.addr)
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_body_that_ends_early_is_an_error_and_is_tried_again_when_asked() {
    let sandbox = Sandbox::new("short");
    let archive = archive(&sandbox, "a", 5, 2000);
    let body = fs::read(&archive).unwrap();
    let half = body.len() / 2;
    let server = Cutting::serve(body.clone(), move |_| half);
    let text = manifest(
        &sandbox,
        &server.url(),
        &archive,
        "commands: {pre: ['touch never'], failure: ['touch failure']}",
    );
    let outcome = sandbox.apply(&text);
    assert_eq!(
        outcome.error().kind(),
        ErrorKind::Store,
        "{}",
        shown(outcome.error())
    );
    assert!(!sandbox.join("dest").exists() && !sandbox.join("cwd/never").exists());
    assert!(sandbox.join("cwd/failure").exists());
    assert_eq!(server.requests.load(Ordering::SeqCst), 1);
    sandbox.assert_clean();

    let server = Cutting::serve(body, move |number| if number == 0 { half } else { usize::MAX });
    let mut request = sandbox.request(&manifest(&sandbox, &server.url(), &archive, ""));
    request.retry = 2;
    let _ = sandbox.apply_request(request).ok();
    // The server knows no ranges: the rest is asked for in vain, then the whole again.
    assert_eq!(server.requests.load(Ordering::SeqCst), 3);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn other_bytes_than_the_manifest_names_touch_nothing() {
    let sandbox = Sandbox::new("mismatch");
    let archive = archive(&sandbox, "a", 5, 2000);
    let text = manifest(
        &sandbox,
        &format!("file://{}", archive.display()),
        &archive,
        "commands: {pre: ['touch never']}",
    );
    sandbox.write("dest/mine", "untouched");
    let mut bytes = fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&archive, bytes).unwrap();
    let outcome = sandbox.apply(&text);
    assert_eq!(
        outcome.error().kind(),
        ErrorKind::Checksum,
        "{}",
        shown(outcome.error())
    );
    assert_eq!(holds(&sandbox.join("dest")).len(), 2);
    assert!(!sandbox.join("cwd/never").exists());
    sandbox.assert_clean();
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_full_disk_is_said_and_leaves_nothing_behind() {
    let small = Tmpfs::mount(4 << 20);
    for place in ["download", "unpacked tree", "dest"] {
        let mut sandbox = Sandbox::new("full");
        let archive = archive(&sandbox, "a", 60, 100_000);
        let dest = small.path().join("dest");
        fs::create_dir_all(&dest).unwrap();
        fs::write(dest.join("mine"), "untouched").unwrap();
        let mut text = manifest(
            &sandbox,
            &format!("file://{}", archive.display()),
            &archive,
            "commands: {failure: ['cat >log']}",
        );
        if place == "dest" {
            text = text.replace(
                &sandbox.join("dest").display().to_string(),
                &dest.display().to_string(),
            );
        } else {
            sandbox.temp_dir = small.path().join("tmp");
            fs::create_dir_all(&sandbox.temp_dir).unwrap();
        }
        if place == "unpacked tree" {
            let packed = sandbox.join("a.tar.gz");
            Cmd::new("gzip").arg("-k").arg(&archive).run().ok();
            fs::rename(sandbox.join("a.tar.gz"), &packed).unwrap();
            text = text
                .replace("a.tar'", "a.tar.gz'")
                .replace(&sum("sha256sum", &archive), &sum("sha256sum", &packed));
        }
        let outcome = sandbox.apply(&text);
        assert_eq!(
            outcome.error().kind(),
            ErrorKind::Disk,
            "{place}: {}",
            shown(outcome.error())
        );
        assert!(
            outcome.error().hint().unwrap().contains("make room"),
            "{place}: {:?}",
            outcome.error().hint()
        );
        assert!(
            fs::read_to_string(sandbox.join("cwd/log"))
                .unwrap()
                .contains("No space left"),
            "{place}"
        );
        let parts = holds(&dest)
            .into_keys()
            .filter(|path| path.to_string_lossy().contains(".part"))
            .count();
        assert_eq!(parts, 0, "{place}");
        sandbox.assert_clean();
        fs::remove_dir_all(&dest).unwrap();
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_full_disk_keeps_nothing_of_a_release_that_came_in_by_half() {
    let small = Tmpfs::mount(4 << 20);
    let sandbox = Sandbox::new("half");
    let archive = archive(&sandbox, "a", 60, 100_000);
    let role_dest = small.path().join("app");
    let dest = role_dest.join(".incoming/1");
    let src = format!("file://{}", archive.display());
    let shipit = format!(
        "shipit: {{app: a, stage: s, role: web, release: '1', dest: '{}', layout: releases}}\n",
        role_dest.display()
    );
    let text = manifest(&sandbox, &src, &archive, &shipit).replace(
        &sandbox.join("dest").display().to_string(),
        &dest.display().to_string(),
    );
    fs::create_dir_all(role_dest.join(".incoming")).unwrap();
    fs::write(role_dest.join("mine"), "untouched").unwrap();
    for killed_before in [false, true] {
        if killed_before {
            fs::create_dir(&dest).unwrap();
            fs::write(dest.join("part"), "of a handler that was killed").unwrap();
        }
        let outcome = sandbox.apply(&text);
        let error = outcome.error();
        assert_eq!(error.kind(), ErrorKind::Disk, "{}", shown(error));
        assert!(shown(error).contains("No space left"), "{}", shown(error));
        assert!(!dest.exists() && role_dest.join("mine").exists());
        sandbox.assert_clean();
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn dest_on_another_file_system_is_filled_by_copies() {
    let other = Tmpfs::mount(16 << 20);
    let sandbox = Sandbox::new("cross");
    let archive = archive(&sandbox, "a", 20, 3000);
    let dest = other.path().join("dest");
    let text = manifest(&sandbox, &format!("file://{}", archive.display()), &archive, "").replace(
        &sandbox.join("dest").display().to_string(),
        &dest.display().to_string(),
    );
    for _ in 0..2 {
        let _ = sandbox.apply(&text).ok();
        let (tree, mut there) = (holds(&sandbox.join("a")), holds(&dest));
        there.values_mut().for_each(|seen| seen.mtime = 0);
        let lines = crate::support::difference(&tree, &there);
        assert!(lines.is_empty(), "{}", lines.join("\n"));
    }
    let mv = text + "sync_strategy: mv\n";
    fs::remove_dir_all(&dest).unwrap();
    let outcome = sandbox.apply(&mv);
    assert!(
        outcome.error().hint().unwrap().contains("TMPDIR"),
        "{}",
        shown(outcome.error())
    );
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn two_handlers_on_one_dest_take_turns() {
    let sandbox = Sandbox::new("turns");
    let archive = archive(&sandbox, "a", 30, 2000);
    let steps = "commands: {pre: ['echo begin $$ >>order; until test -e go; do sleep 0.05; done'], \
                 post: ['echo end >>order']}";
    let text = manifest(
        &sandbox,
        &format!("file://{}", archive.display()),
        &archive,
        steps,
    );
    let request = sandbox.request(&text);
    let waits = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let run = || {
            let waits = waits.clone();
            let on_event: OnEvent = Arc::new(move |event| {
                let more = matches!(event, Event::LockWaiting { .. });
                waits.fetch_add(usize::from(more), Ordering::Relaxed);
            });
            let cancel = Arc::new(AtomicBool::new(false));
            sandbox.run(request.clone(), cancel, on_event).unwrap();
        };
        let handlers: Vec<_> = (0..3).map(|_| scope.spawn(run)).collect();
        // The first one goes on when both others wait for it.
        until("two to wait", Duration::from_secs(60), || {
            waits.load(Ordering::Relaxed) == 2
        });
        sandbox.write("cwd/go", "");
        for handler in handlers {
            handler.join().unwrap();
        }
    });
    assert_eq!(waits.load(Ordering::Relaxed), 2);
    let order = fs::read_to_string(sandbox.join("cwd/order")).unwrap();
    let words: Vec<_> = order
        .lines()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(words, ["begin", "end", "begin", "end", "begin", "end"]);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_command_does_not_inherit_the_lock() {
    let sandbox = Sandbox::new("inherit");
    let archive = archive(&sandbox, "a", 3, 100);
    let daemon = "commands: {post: ['sleep 60 >/dev/null 2>&1 & echo $! >pid; ls -l /proc/self/fd >fds']}";
    let text = manifest(
        &sandbox,
        &format!("file://{}", archive.display()),
        &archive,
        daemon,
    );
    let _ = sandbox.apply(&text).ok();
    let fds = fs::read_to_string(sandbox.join("cwd/fds")).unwrap();
    assert!(!fds.contains("locks/"), "{fds}");
    let mut request = sandbox.request(&text);
    request.lock_wait = Some(Duration::from_millis(100));
    let first = fs::read_to_string(sandbox.join("cwd/pid")).unwrap();
    let _ = sandbox.apply_request(request).ok();
    let second = fs::read_to_string(sandbox.join("cwd/pid")).unwrap();
    Cmd::new("kill").args([first.trim(), second.trim()]).run().ok();
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_cancel_ends_the_command_and_runs_no_failure_command() {
    let sandbox = Sandbox::new("cancel");
    let archive = archive(&sandbox, "a", 30, 2000);
    let steps = "commands: {post: ['touch reached; sleep 60'], failure: ['touch never']}";
    let request = sandbox.request(&manifest(
        &sandbox,
        &format!("file://{}", archive.display()),
        &archive,
        steps,
    ));
    let cancel = Arc::new(AtomicBool::new(false));
    let (outcome, took) = std::thread::scope(|scope| {
        let handler = scope.spawn(|| sandbox.apply_until(request, cancel.clone()));
        until("post", Duration::from_secs(30), || {
            sandbox.join("cwd/reached").exists()
        });
        cancel.store(true, Ordering::Relaxed);
        let start = Instant::now();
        (handler.join().unwrap(), start.elapsed())
    });
    assert_eq!(outcome.error().kind(), ErrorKind::Cancelled);
    assert!(took < Duration::from_secs(50), "{took:?}");
    assert!(!sandbox.join("cwd/never").exists());
    sandbox.assert_clean();
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_slow_download_is_cancelled_soon_and_leaves_nothing() {
    let sandbox = Sandbox::new("slow");
    let archive = archive(&sandbox, "a", 30, 20_000);
    let mut request = sandbox.request(&manifest(
        &sandbox,
        &format!("file://{}", archive.display()),
        &archive,
        "",
    ));
    request.max_bandwidth = Some(1000);
    let cancel = Arc::new(AtomicBool::new(false));
    let start = Instant::now();
    let outcome = std::thread::scope(|scope| {
        let handler = scope.spawn(|| sandbox.apply_until(request, cancel.clone()));
        std::thread::sleep(Duration::from_millis(400));
        cancel.store(true, Ordering::Relaxed);
        handler.join().unwrap()
    });
    assert_eq!(outcome.error().kind(), ErrorKind::Cancelled);
    // At 1,000 bytes a second the whole file takes ten minutes.
    assert!(
        start.elapsed() < Duration::from_secs(120),
        "{:?}",
        start.elapsed()
    );
    assert!(!sandbox.join("dest").exists());
    sandbox.assert_clean();
    let _ = Tmp::new("slow");
}
