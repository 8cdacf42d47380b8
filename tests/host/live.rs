//! `shipit apply --live`: a host that boots follows the pointer, and looks again when it is done.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use shipit_manifest::{Layout, RenderInput, render};
use shipit_testbed::Cmd;

use crate::binary::shipit;
use crate::releases::{RELEASES, input};
use crate::support::Sandbox;

fn current(sandbox: &Sandbox) -> String {
    let target = fs::read_link(sandbox.join("dest/current")).unwrap();
    target.file_name().unwrap().to_str().unwrap().to_owned()
}

/// A release whose hook moves the pointer, as a kick on another machine would meanwhile.
fn moving(sandbox: &Sandbox, release: &str, script: &str) -> RenderInput {
    let mut input = input(sandbox, release, Layout::Releases);
    input.hooks.after_switch.push(script.to_owned());
    input
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn what_becomes_live_meanwhile_is_followed_too() {
    let sandbox = Sandbox::new("live");
    let two = render(&input(&sandbox, RELEASES[1], Layout::Releases), None).unwrap();
    let next = sandbox.write("next.yml", two);
    let live = sandbox.join("live.yml");
    let script = format!("cp '{}' '{}'", next.display(), live.display());
    fs::write(
        &live,
        render(&moving(&sandbox, RELEASES[0], &script), None).unwrap(),
    )
    .unwrap();
    let url = format!("file://{}", live.display());
    shipit(&sandbox)
        .args(["--live", &url])
        .run()
        .ok()
        .says("once more");
    assert_eq!(current(&sandbox), RELEASES[1]);
    // A further boot changes nothing.
    let ran = shipit(&sandbox).args(["--live", &url]).run().ok();
    assert!(!ran.err().contains("once more"), "{ran}");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_pointer_that_never_rests_is_not_followed_for_ever() {
    let sandbox = Sandbox::new("live");
    let live = sandbox.join("live.yml");
    // Each apply leaves another text there, of the same release.
    let script = format!("echo '#' >>'{}'", live.display());
    let mut input = moving(&sandbox, RELEASES[0], &script);
    input.hooks.after_switch.push("exit 3".to_owned());
    fs::write(&live, render(&input, None).unwrap()).unwrap();
    let url = format!("file://{}", live.display());
    let _ = shipit(&sandbox).args(["--live", &url]).run().exits(9);
    let plain = RenderInput {
        layout: Layout::Commands,
        src: None,
        checksum: None,
        record_sha256: None,
        dest: None,
        shared: Vec::new(),
        ..input
    };
    let mut plain = plain;
    plain.hooks.before_switch = Vec::new();
    plain.hooks.check = None;
    plain.hooks.after_switch = vec![script, format!("echo run >>'{}'", sandbox.join("runs").display())];
    fs::write(&live, render(&plain, None).unwrap()).unwrap();
    shipit(&sandbox)
        .args(["--live", &url])
        .run()
        .ok()
        .says("has changed 5 times");
    assert_eq!(
        fs::read_to_string(sandbox.join("runs")).unwrap().lines().count(),
        5
    );
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn where_nothing_is_live_nothing_is_done_and_it_is_said() {
    let sandbox = Sandbox::new("live");
    let url = format!("file://{}", sandbox.join("none.yml").display());
    shipit(&sandbox)
        .args(["--live", &url])
        .run()
        .ok()
        .says("nothing stands at");
    let _ = shipit(&sandbox).args(["--live", &url, "--verify"]).run().exits(2);
}

/// The watches are started after the unit, so nothing in it may take for ever.
#[test]
fn the_units_script_is_one_and_has_an_end() {
    let unit = include_str!("../../templates/shipit-live.service");
    let value = |key: &str| {
        let line = unit
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{key}=")));
        line.unwrap_or_else(|| panic!("no {key}")).to_owned()
    };
    assert_eq!(value("TimeoutStartSec"), "2h");
    let start = value("ExecStart");
    let script = start
        .strip_prefix("/bin/sh -c '")
        .and_then(|rest| rest.strip_suffix('\''))
        .unwrap();
    // As systemd hands it over. The second URL is followed though the first one hangs to its end.
    let script = script.replace("$$", "$").replace("%%", "%");
    let sandbox = Sandbox::new("unit");
    let said = sandbox.join("said");
    let shipit = format!(
        "#!/bin/sh\necho \"$*\" >>'{}'\ncase $* in *first*) exit 1; esac\n",
        said.display()
    );
    let program = sandbox.write("bin/shipit", shipit);
    let date = format!(
        "#!/bin/sh\ncat '{0}'; echo 9999 >'{0}'\n",
        sandbox.write("now", "1000\n").display()
    );
    let clock = sandbox.write("bin/date", date);
    for path in [&program, &clock] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:/usr/bin:/bin", program.parent().unwrap().display());
    let ran = Cmd::new("/bin/sh")
        .args(["-c", &script])
        .env("PATH", path)
        .env("SHIPIT_LIVE", "file:///first file:///second")
        .env("SHIPIT_LIVE_WAIT", "30m")
        .run();
    assert_eq!(ran.code(), Some(1), "{ran}");
    let calls = fs::read_to_string(said).unwrap();
    let bounds = "apply --timeout 30m --lock-wait 30m --live";
    assert_eq!(
        calls,
        format!("{bounds} file:///first\n{bounds} file:///second\n")
    );
}
