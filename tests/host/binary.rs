//! `shipit apply` as it is installed: what it reads from standard input, its exit codes, and how it ends when told to.

use std::time::{Duration, Instant};

use base64::Engine;
use shipit_testbed::{Cmd, Process, Ran, Signal, procs, random_hex, until};

use crate::support::{Sandbox, holds, pack, sum};

pub fn shipit(sandbox: &Sandbox) -> Cmd {
    Cmd::new(env!("CARGO_BIN_EXE_shipit"))
        .arg("apply")
        .args(["--lock-dir".as_ref(), sandbox.join("locks").as_os_str()])
        .args(["--retry-wait", "1s"])
        .envs(sandbox.environment.iter().map(|(name, value)| (name, value)))
        .cwd(sandbox.cwd())
}

fn apply(sandbox: &Sandbox, manifest: &str) -> Ran {
    let path = sandbox.write("manifest.yml", manifest);
    shipit(sandbox).arg(format!("file://{}", path.display())).run()
}

/// A manifest for a small tree, and its archive's checksum replaced by `checksum` when given.
fn manifest(sandbox: &Sandbox, checksum: Option<&str>, commands: &str) -> String {
    sandbox.write("tree/file", "content");
    let archive = pack(sandbox, "tree.tar.zst", &sandbox.join("tree"));
    let right = sum("sha256sum", &archive);
    format!(
        "src: 'file://{}'\nchecksum: '{}'\ndest: '{}'\n{commands}\n",
        archive.display(),
        checksum.unwrap_or(&right),
        sandbox.join("dest").display()
    )
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn the_url_comes_as_argument_as_line_or_as_consuls_event() {
    let sandbox = Sandbox::new("input");
    let text = manifest(&sandbox, None, "commands: {post: ['echo done >>count']}");
    let url = format!("file://{}", sandbox.write("manifest.yml", text).display());
    let payload = base64::engine::general_purpose::STANDARD.encode(&url);
    let older = base64::engine::general_purpose::STANDARD.encode("file:///not/this/one");
    let events = format!(
        r#"[{{"ID":"a","Name":"deploy","Payload":"{older}","LTime":2}},{{"ID":"b","Name":"deploy","Payload":"{payload}","LTime":3}}]"#
    );
    shipit(&sandbox).arg(&url).run().ok();
    shipit(&sandbox).stdin(url.clone()).run().ok();
    shipit(&sandbox).stdin(format!("{url}\n")).run().ok();
    shipit(&sandbox).env("CONSUL_INDEX", "7").stdin(events).run().ok();
    shipit(&sandbox).env("CONSUL_INDEX", "1").stdin("[]\n").run().ok();
    let count = std::fs::read_to_string(sandbox.join("cwd/count")).unwrap();
    assert_eq!(count.lines().count(), 4);
    assert!(holds(&sandbox.join("dest")).len() == 2);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn each_failure_has_its_exit_code_and_under_a_watch_none() {
    let wrong = "0".repeat(64);
    let cases: &[(&str, Option<&str>, &str, i32)] = &[
        ("a command", None, "commands: {post: ['exit 7']}", 9),
        ("a checksum", Some(&wrong), "", 11),
        ("a strategy", None, "sync_strategy: dummy", 5),
        (
            "an environment variable",
            None,
            "commands: {post: ['{{ must_env \"NOT_THERE\" }}']}",
            5,
        ),
    ];
    for (what, checksum, more, code) in cases {
        let sandbox = Sandbox::new("codes");
        let text = manifest(&sandbox, *checksum, more);
        let ran = apply(&sandbox, &text);
        assert_eq!(ran.code(), Some(*code), "{what}: {ran}");
        assert!(ran.out().is_empty(), "{what}: {ran}");
        let url = format!("file://{}\n", sandbox.join("manifest.yml").display());
        shipit(&sandbox).env("CONSUL_INDEX", "7").stdin(url).run().ok();
    }
    let sandbox = Sandbox::new("codes");
    let missing = manifest(&sandbox, None, "").replace("tree.tar.zst", "none");
    let _ = apply(&sandbox, &missing).exits(5);
    let parentless = manifest(&sandbox, None, "").replace("/dest'", "/no/dest'");
    let _ = apply(&sandbox, &parentless).exits(10).says("parent");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn told_to_end_it_ends_its_command_and_leaves_nothing() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let sandbox = Sandbox::new("signal");
        let mark = random_hex(8);
        let text = manifest(
            &sandbox,
            None,
            "commands: {post: ['touch reached; sleep 60'], failure: ['touch never']}",
        );
        let url = format!("file://{}", sandbox.write("manifest.yml", text).display());
        let mut running: Process = shipit(&sandbox)
            .env("MARK", &mark)
            .arg(url)
            .start("apply", sandbox.join("log"));
        until("post", Duration::from_secs(30), || {
            sandbox.join("cwd/reached").exists()
        });
        running.signal(signal);
        let status = running.wait(Duration::from_secs(50)).expect("it ends");
        assert_eq!(status.code(), Some(code), "{}", running.tail());
        until("its command to be gone", Duration::from_secs(30), || {
            procs::marked("MARK", &mark).is_empty()
        });
        assert!(!sandbox.join("cwd/never").exists());
        sandbox.assert_clean();
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn hints_name_the_option_that_helps() {
    let sandbox = Sandbox::new("hints");
    let text = manifest(&sandbox, None, "");
    let url = format!("file://{}", sandbox.write("manifest.yml", text).display());
    let _ = shipit(&sandbox)
        .args(["--temp-dir", "/proc/none", &url])
        .run()
        .exits(10)
        .says("--temp-dir");
    let _ = Cmd::new(env!("CARGO_BIN_EXE_shipit"))
        .args(["apply", "--lock-dir", "/proc/none", &url])
        .run()
        .exits(10)
        .says("--lock-dir");
    let _ = shipit(&sandbox)
        .args(["--max-unpacked", "1KB", &url])
        .run()
        .exits(5)
        .says("--max-unpacked 100GB");
    let ran = shipit(&sandbox)
        .args(["--retry", "0", "http://127.0.0.1:1/web.yml"])
        .run()
        .exits(5)
        .says("this host's network");
    assert!(!ran.err().contains("store."), "{ran}");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_server_that_says_nothing_is_waited_for_no_longer_than_asked() {
    let sandbox = Sandbox::new("silent");
    // Nobody accepts, so the kernel takes the connection and the request.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/web.yml", listener.local_addr().unwrap());
    let start = Instant::now();
    let _ = shipit(&sandbox)
        .args(["--timeout", "1s", "--retry", "0", &url])
        .run()
        .exits(5)
        .says("timeout 1s");
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_command_line_that_is_wrong_does_not_end_a_watch() {
    let run = |args: &[&str], index: &str| {
        Cmd::new(env!("CARGO_BIN_EXE_shipit"))
            .args(args)
            .env("CONSUL_INDEX", index)
            .run()
    };
    let wrong: [&[&str]; 2] = [
        &["apply", "--nope"],
        &["--color", "never", "apply", "--timeout", "soon"],
    ];
    for args in wrong {
        let ran = run(args, "7").ok();
        assert!(ran.out().is_empty() && ran.err().contains("error: "), "{ran}");
        let _ = run(args, "").exits(2);
    }
    let _ = run(&["kick", "--nope"], "7").exits(2);
    assert!(
        run(&["apply", "--help"], "7")
            .ok()
            .out()
            .contains("Usage: shipit apply")
    );
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn what_was_fetched_is_told_and_what_drifted_ends_with_11() {
    use crate::shop::{Shop, app, file};
    let (shop, sandbox) = (Shop::new(), Sandbox::new("verified"));
    let mut app = app();
    let dest = sandbox.join("dest");
    let first = shop.publish(&app, "20261121T101500Z-aaaaaaa", &dest);
    apply(&sandbox, &first.manifest())
        .ok()
        .says("; 3 of 3 layers new");
    apply(&sandbox, &first.manifest())
        .ok()
        .says("is complete: nothing is fetched");
    app.time += 60;
    app.code.insert("REVISION".into(), file("second\n"));
    let second = shop.publish(&app, "20261121T111500Z-bbbbbbb", &dest);
    let told = apply(&sandbox, &second.manifest()).ok();
    let size = format!(
        "of {:.1} MB; 1 of 3 layers new",
        second.artifact.record.size as f64 / 1e6
    );
    let _ = told.says(&size);

    let url = format!("file://{}", sandbox.join("manifest.yml").display());
    let by_url = || shipit(&sandbox).args(["--verify", &url]).run();
    let by_dest = || shipit(&sandbox).arg("--verify").arg("--dest").arg(&dest).run();
    by_url().ok().says("0 differ");
    by_dest().ok().says("0 differ");
    std::fs::write(dest.join("current/app/part-3/source-3.rb"), "edited").unwrap();
    for ran in [by_url(), by_dest()] {
        let _ = ran
            .exits(11)
            .says("app/part-3/source-3.rb: another content")
            .says("1 difference");
    }
    let json = shipit(&sandbox)
        .args(["--verify", &url, "--output", "json"])
        .run()
        .exits(11);
    assert!(json.out().contains("\"drift\""), "{json}");
    let _ = shipit(&sandbox).args(["--verify"]).stdin("[]").run().exits(2);
    let _ = shipit(&sandbox).args(["--dest", "/srv"]).run().exits(2);
    for (wrong, why) in [
        (dest.join("absent"), "it is no directory"),
        (dest.join("current/"), "it has no link `current`"),
    ] {
        let verify = shipit(&sandbox).arg("--verify").arg("--dest").arg(wrong);
        let _ = verify.run().exits(2).says("is not a role's dest").says(why);
    }
}
