//! Layout `releases`, deploys that nobody cuts.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use shipit_manifest::RenderInput;
use shipit_testbed::until;

use crate::host::{Host, SEEDED, seed};

#[test]
#[ignore = "needs the testbed; run make test"]
fn first_second_replay_and_rollback() {
    let host = Host::new();
    let [one, two] = ["r1", "r2"].map(|id| host.release(id));
    host.deploy(&one).ok();
    host.assert_deployed(&one);
    assert!(!host.at(".shipit/previous").exists());
    host.deploy(&two).ok();
    host.assert_deployed(&two);
    assert_eq!(host.read(".shipit/previous"), "r1\n");
    assert_eq!(host.events(), ["before r1", "after r1", "before r2", "after r2"]);
    // A restarted watch hands over its last event again: nothing on the host changes.
    let inode = |path: &str| fs::metadata(host.at(path)).unwrap().ino();
    let before = (
        inode("current/REVISION"),
        fs::symlink_metadata(host.at("current")).unwrap().ino(),
    );
    host.deploy(&two).ok();
    host.assert_deployed(&two);
    assert_eq!(
        before,
        (
            inode("current/REVISION"),
            fs::symlink_metadata(host.at("current")).unwrap().ino()
        )
    );
    assert_eq!(host.events().len(), 4);
    // An older release is to stretcher a deploy like any other: the files stand ready, only the switch is made.
    let kept = inode("releases/r1/REVISION");
    host.deploy(&one).ok();
    host.assert_deployed(&one);
    assert_eq!(inode("current/REVISION"), kept);
    assert_eq!(host.read(".shipit/previous"), "r2\n");
    assert_eq!(host.events()[4..], ["after r1"]);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_hung_hook_is_ended_and_the_old_release_stays() {
    let host = Host::new();
    let one = host.release("r1");
    host.deploy(&one).ok();
    let mut hung = host.release("r2");
    hung.hooks.timeout = Duration::from_secs(3);
    hung.hooks.before_switch = vec!["echo begun; sleep 777".to_owned()];
    let ran = host.deploy(&hung);
    assert!(
        ran.code() != Some(0) && ran.took < Duration::from_secs(90),
        "{ran}"
    );
    let ran = ran
        .says("begun")
        .says("before_switch.1 of r2: not done within 3 s");
    assert_eq!(host.current().as_deref(), Some("r1"), "{ran}");
    until("the hook to be gone", Duration::from_secs(30), || {
        host.running("777") == 0
    });
    host.assert_in_service();
    // The next deploy of the release, its hook mended, begins anew.
    let mended = host.release("r2");
    host.deploy(&mended).ok();
    host.assert_deployed(&mended);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn hooks_that_fail_fail_the_deploy_and_are_run_again() {
    let host = Host::new();
    host.deploy(&host.release("r1")).ok();
    let mut bad = host.release("r2");
    bad.hooks.after_switch.push("echo broken >&2; exit 3".to_owned());
    let ran = host
        .deploy(&bad)
        .says("after_switch.2 of r2: exit code 3")
        .says("broken");
    assert_ne!(ran.code(), Some(0));
    assert!(!host.at(".shipit/r2.done.web").exists());
    let mut ill = host.release("r2");
    ill.hooks.check = Some("echo ill; false".to_owned());
    ill.hooks.check_timeout = Duration::from_secs(2);
    let ran = host
        .deploy(&ill)
        .says("check of r2: no success within 2 s")
        .says("ill");
    assert_ne!(ran.code(), Some(0));
    let good = host.release("r2");
    host.deploy(&good).ok();
    host.assert_deployed(&good);
    // A release that never was good is not what one goes back to.
    host.deploy(&host.release("r3")).ok();
    assert_eq!(host.read(".shipit/previous"), "r2\n");
    let once = host.events().iter().filter(|event| *event == "before r2").count();
    assert_eq!(once, 1, "{:?}", host.events());
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_release_that_failed_is_not_remembered_as_previous() {
    let host = Host::new();
    host.deploy(&host.release("r1")).ok();
    let mut bad = host.release("r2");
    bad.hooks.after_switch.push("false".to_owned());
    assert_ne!(host.deploy(&bad).code(), Some(0));
    assert_eq!(host.current().as_deref(), Some("r2"));
    host.deploy(&host.release("r3")).ok();
    assert_eq!(host.read(".shipit/previous"), "r1\n");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_daemon_that_a_hook_leaves_holds_neither_pipe_nor_lock() {
    let host = Host::new();
    let mut one = host.release("r1");
    one.hooks.before_switch.push("sleep 778 & echo left".to_owned());
    one.hooks.after_switch.push("setsid sleep 778 &".to_owned());
    let ran = host.deploy(&one).ok();
    assert!(ran.took < Duration::from_secs(90), "{ran}");
    assert_eq!(host.running("sleep 778"), 2);
    let ran = host.deploy(&host.release("r2")).ok();
    assert!(ran.took < Duration::from_secs(90), "{ran}");
    host.assert_deployed(&host.release("r2"));
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn where_nothing_is_to_be_removed_another_roles_lock_is_not_waited_for() {
    let host = Host::new();
    let mut one = host.release("r1");
    // It gets the lock when the commands that put the release in place give it back.
    let holds = "setsid flock ../../.shipit/lock sleep 779 &";
    one.hooks.after_switch.push(holds.to_owned());
    let ran = host.deploy(&one).ok();
    assert!(ran.took < Duration::from_secs(90), "{ran}");
    assert!(host.running("sleep 779") > 0, "{ran}");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn two_roles_share_a_dest() {
    let host = Host::new();
    let web = host.release("r1");
    let mut batch = RenderInput {
        role: "batch".to_owned(),
        ..web.clone()
    };
    batch.hooks.after_switch = vec![format!("echo batch r1 >>{}", host.tmp.join("events").display())];
    host.deploy(&web).ok();
    let inode = fs::metadata(host.at("releases/r1/REVISION")).unwrap().ino();
    host.deploy(&batch).ok();
    host.assert_deployed(&web);
    host.assert_deployed(&batch);
    assert_eq!(
        fs::metadata(host.at("releases/r1/REVISION")).unwrap().ino(),
        inode
    );
    assert_eq!(host.events(), ["before r1", "after r1", "batch r1"]);
    // Neither does again what it has done.
    host.deploy(&web).ok();
    host.deploy(&batch).ok();
    assert_eq!(host.events().len(), 3);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn pruning_spares_current_previous_and_what_is_not_ours() {
    let host = Host::new();
    let foreign = host.at("releases/20190101000000");
    fs::create_dir_all(&foreign).unwrap();
    fs::create_dir_all(host.at("releases/r0")).unwrap();
    let deploy = |id: &str| {
        host.deploy(&host.release(id)).ok();
        assert_eq!(host.current().as_deref(), Some(id));
    };
    let releases = || {
        let names = host.names("releases");
        names
            .into_iter()
            .filter(|name| name.starts_with('r') && name != "r0")
            .collect::<Vec<_>>()
    };
    for id in ["r1", "r2", "r3", "r4"] {
        deploy(id);
    }
    assert_eq!(releases(), ["r3", "r4"]);
    // Back to the older one: both stay, however old the marks are.
    deploy("r3");
    deploy("r5");
    assert_eq!(
        (releases(), host.read(".shipit/previous")),
        (vec!["r3".into(), "r4".into(), "r5".into()], "r3\n".into())
    );
    deploy("r6");
    assert_eq!(
        (releases(), host.read(".shipit/previous")),
        (vec!["r5".into(), "r6".into()], "r5\n".into())
    );
    assert!(
        foreign.exists() && host.at("releases/r0").exists(),
        "a directory of another tool was pruned"
    );
    let marks: Vec<_> = host
        .names(".shipit")
        .into_iter()
        .filter(|name| name.starts_with("r3") || name.starts_with("r4."))
        .collect();
    assert_eq!(marks, Vec::<String>::new());
    assert_eq!(host.names(".shipit/aside"), ["r5", "r6"]);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn shared_paths_keep_their_files_and_are_not_put_through_links() {
    let host = Host::new();
    host.deploy(&host.release("r1")).ok();
    fs::write(host.at("current/log/app.log"), "kept").unwrap();
    host.deploy(&host.release("r2")).ok();
    assert_eq!(host.read("current/log/app.log"), "kept");
    assert_eq!(host.names("shared"), ["config", "log", "tmp"]);
    // A release that ships a link where a shared path's parent must be could lead out of itself.
    let outside = host.tmp.mkdir("outside");
    let tree = host.tmp.mkdir("tree/r3");
    std::os::unix::fs::symlink(&outside, tree.join("tmp")).unwrap();
    let ran = host.deploy(&host.release("r3")).says("releases/r3/tmp is a link");
    assert_ne!(ran.code(), Some(0));
    assert_eq!(crate::host::names(&outside), Vec::<String>::new());
    assert_eq!(host.current().as_deref(), Some("r2"));
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_shared_file_begins_as_the_one_that_the_release_has() {
    let host = Host::new();
    let shared = host.at("shared").join(SEEDED);
    let _ = host
        .deploy(&host.release("r1"))
        .ok()
        .says("shared/config/database.yml was not there");
    let file = fs::symlink_metadata(&shared).unwrap();
    assert!(file.is_file(), "{file:?}");
    assert_eq!(host.read(&format!("current/{SEEDED}")), seed("r1"));
    assert_eq!(host.read(&format!(".shipit/aside/r1/{SEEDED}")), seed("r1"));
    // From then on it is the host's.
    fs::write(&shared, "the host's own").unwrap();
    host.deploy(&host.release("r2")).ok();
    assert_eq!(host.read(&format!("current/{SEEDED}")), "the host's own");
    // A link to where nothing is (a file system that is not mounted) is the host's too: it is not replaced.
    fs::remove_file(&shared).unwrap();
    std::os::unix::fs::symlink("/nonexistent/database.yml", &shared).unwrap();
    assert_ne!(host.deploy(&host.release("r3")).code(), Some(0));
    assert_eq!(host.current().as_deref(), Some("r2"));
    assert!(fs::symlink_metadata(&shared).unwrap().is_symlink());
    assert_eq!(host.names("shared/config"), ["database.yml"]);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_current_that_is_a_directory_is_not_replaced() {
    let host = Host::new();
    fs::create_dir_all(host.at("current")).unwrap();
    let ran = host
        .deploy(&host.release("r1"))
        .says("is not a link; move it away");
    assert_ne!(ran.code(), Some(0));
    assert!(host.at("current").is_dir() && !host.at("releases/r1").exists());
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_wrong_checksum_touches_nothing() {
    let host = Host::new();
    host.deploy(&host.release("r1")).ok();
    let wrong = RenderInput {
        checksum: Some("a".repeat(64)),
        ..host.release("r2")
    };
    let ran = host.deploy(&wrong).says("checksum mismatch");
    assert_ne!(ran.code(), Some(0));
    assert_eq!(
        (host.current().as_deref(), host.names("releases")),
        (Some("r1"), vec!["r1".to_owned()])
    );
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_dest_of_capistrano_is_taken_over() {
    let host = Host::new();
    let old = host.at("releases/20190101000000");
    fs::create_dir_all(&old).unwrap();
    fs::write(old.join("REVISION"), "old").unwrap();
    std::os::unix::fs::symlink(&old, host.at("current")).unwrap();
    let one = host.release("r1");
    host.deploy(&one).ok();
    assert_eq!(host.current().as_deref(), Some("r1"));
    host.assert_whole("r1");
    // The way back leads to releases that shipit knows to be good.
    assert!(old.join("REVISION").exists() && !host.at(".shipit/previous").exists());
}
