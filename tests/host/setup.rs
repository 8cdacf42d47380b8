//! What is installed on a host: the systemd unit, and the page that lists the differences from stretcher.

use std::collections::HashSet;
use std::fs;

use shipit_testbed::{Cmd, Tmp};

const UNIT: &str = include_str!("../../templates/consul-watch@.service");
const ENVIRONMENT: &str = include_str!("../../templates/consul-watch.env.example");
const LISTED: &str = include_str!("../../docs/stretcher-compatibility.md");

#[test]
fn each_difference_has_an_id_of_its_own_and_a_reason() {
    let mut ids = HashSet::new();
    for row in LISTED.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 4, "{row}");
        assert!(ids.insert(cells[0]), "{row}");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "{row}");
    }
    assert!(ids.len() > 20);
}

#[test]
fn systemd_accepts_the_unit() {
    if !std::path::Path::new("/usr/bin/systemd-analyze").exists() {
        // Not every machine that runs the tests has systemd; those that have it judge the unit.
        return;
    }
    let tmp = Tmp::new("unit");
    // It also looks for the program, which the machine need not have where the unit says.
    let unit = UNIT.replace("/usr/bin/consul", "/bin/true");
    let path = tmp.write("consul-watch@.service", unit);
    let ran = Cmd::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&path)
        .run()
        .ok();
    assert_eq!(ran.err(), "", "{ran}");
    // The judge itself is not asleep.
    let path = tmp.write(
        "broken@.service",
        UNIT.replace("Restart=always", "Restart=sometimes"),
    );
    let ran = Cmd::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&path)
        .run();
    assert!(ran.err().contains("restart specifier"), "{ran}");
}

/// The command of a line of the unit as systemd hands it over: `$$` is a dollar sign.
fn start_pre() -> String {
    let line = UNIT
        .lines()
        .find_map(|line| line.strip_prefix("ExecStartPre=/bin/sh -c '"))
        .unwrap();
    line.strip_suffix('\'').unwrap().replace("$$", "$")
}

#[test]
fn the_units_start_removes_what_killed_handlers_left_and_nothing_else() {
    let tmp = Tmp::new("tmpdir");
    let dir = tmp.join("made/by it");
    let run = || {
        let ran = Cmd::new("sh")
            .args(["-c", &start_pre()])
            .env("TMPDIR", &dir)
            .run()
            .ok();
        assert_eq!(ran.err(), "");
    };
    run();
    for name in [
        "stretcher123",
        "stretcher_src1/a/b",
        "shipit-apply-00ff-1/tree/x",
        "mine",
        "sub/stretcher1",
    ] {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    run();
    let mut left: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["mine", "sub"]);
    let unset = Cmd::new("sh").args(["-c", &start_pre()]).run();
    assert_ne!(unset.code(), Some(0), "without TMPDIR nothing may be removed");
}

#[test]
fn the_wrapper_for_stretcher_locks_empties_and_hands_over() {
    let line = ENVIRONMENT
        .lines()
        .find_map(|line| line.strip_prefix("#SHIPIT_HANDLER='exec 9>>"))
        .unwrap();
    let tmp = Tmp::new("wrapper");
    let handler = format!("exec 9>>{}", line.strip_suffix('\'').unwrap())
        .replace("/run/lock/shipit-shop", &tmp.join("lock").display().to_string());
    tmp.write("tmp/stretcher99/x", "left");
    let fake = tmp.write(
        "bin/stretcher",
        "#!/bin/sh\ncat; echo \" $(ls \"$TMPDIR\" | wc -l)\"; flock -n \"$LOCK\" true || echo held\n",
    );
    fs::set_permissions(&fake, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let ran = Cmd::new("sh")
        .args(["-c", &handler])
        .path_first(tmp.join("bin"))
        .env("TMPDIR", tmp.join("tmp"))
        .env("LOCK", tmp.join("lock"))
        .stdin("event")
        .run()
        .ok();
    assert_eq!(ran.out(), "event 0\nheld\n");
}
