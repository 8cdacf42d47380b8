//! Layout `plain`, and roles with commands only.

use std::fs;
use std::time::Duration;

use shipit_manifest::{Layout, RenderInput};
use shipit_testbed::{random_hex, until};

use crate::host::Host;

impl Host {
    /// A release of a role whose dest is one directory.
    pub fn plain(&self, id: &str) -> RenderInput {
        let mut input = RenderInput {
            layout: Layout::Plain,
            shared: Vec::new(),
            ..self.release(id)
        };
        input.hooks.before_switch = vec![format!(
            "echo before {id} >>{}",
            self.tmp.join("events").display()
        )];
        input.hooks.check = Some(format!("test \"$(cat REVISION)\" = {id}"));
        input
    }

    /// What must hold after a deploy to a plain dest that was not cut.
    pub fn assert_plain(&self, input: &RenderInput) {
        let id = &input.release;
        self.assert_plain_files(id);
        let state =
            |name: &str| fs::read_to_string(self.tmp.join(format!("srv/.the app.shipit/{name}"))).unwrap();
        assert_eq!(
            (state("current").trim(), state("done.web").trim()),
            (id.as_str(), id.as_str())
        );
        assert_eq!(self.events().last(), Some(&format!("after {id}")));
    }
}

impl Host {
    /// The files of a plain dest are those of a release.
    pub fn assert_plain_files(&self, id: &str) {
        assert_eq!(self.names(""), ["REVISION", "config", "lib", "log"]);
        assert_eq!(
            (self.read("REVISION"), self.read("lib/7")),
            (id.to_owned(), format!("{id} 7"))
        );
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn plain_syncs_replays_and_goes_back() {
    let host = Host::new();
    let [one, two] = ["r1", "r2"].map(|id| host.plain(id));
    host.deploy(&one).ok();
    host.assert_plain(&one);
    fs::write(host.at("stray"), "").unwrap();
    host.deploy(&two).ok();
    host.assert_plain(&two);
    let previous = || fs::read_to_string(host.tmp.join("srv/.the app.shipit/previous")).unwrap();
    assert_eq!(previous(), "r1\n");
    host.deploy(&two).ok();
    assert_eq!(host.events(), ["before r1", "after r1", "before r2", "after r2"]);
    host.deploy(&one).ok();
    host.assert_plain(&one);
    assert_eq!(previous(), "r2\n");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn excludes_are_neither_synced_nor_deleted() {
    let host = Host::new();
    fs::create_dir_all(host.dest()).unwrap();
    fs::write(host.at("own {{ file"), "mine").unwrap();
    let one = RenderInput {
        excludes: vec!["own {{*".to_owned(), "/log".to_owned()],
        ..host.plain("r1")
    };
    host.deploy(&one).ok();
    assert_eq!(host.names(""), ["REVISION", "config", "lib", "own {{ file"]);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_plain_deploy_that_failed_is_tried_again() {
    let host = Host::new();
    host.deploy(&host.plain("r1")).ok();
    let mut bad = host.plain("r2");
    bad.hooks.after_switch = vec!["exit 9".to_owned()];
    let ran = host.deploy(&bad).says("after_switch.1 of r2: exit code 9");
    assert_ne!(ran.code(), Some(0));
    let good = host.plain("r2");
    host.deploy(&good).ok();
    host.assert_plain(&good);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_role_with_commands_only_runs_them_each_time() {
    let host = Host::new();
    let word = random_hex(6);
    let mut input = RenderInput {
        src: None,
        checksum: None,
        dest: None,
        owner: None,
        layout: Layout::Commands,
        shared: Vec::new(),
        ..host.release("r1")
    };
    let events = host.tmp.join("events").display().to_string();
    input.hooks.before_switch = vec![
        format!("pwd >>{events}"),
        format!("echo {word}; echo {word} >>{events}"),
    ];
    input.hooks.after_switch = vec![format!("echo after >>{events}")];
    input.hooks.check = Some("true".to_owned());
    host.deploy(&input).ok().says(&word);
    host.deploy(&input).ok();
    assert_eq!(host.events(), ["/", &word, "after", "/", &word, "after"]);
    assert_eq!(crate::host::names(&host.tmp.join("tmp")), Vec::<String>::new());
    input.hooks.before_switch = vec!["sleep 779".to_owned()];
    input.hooks.timeout = Duration::from_secs(1);
    let ran = host
        .deploy(&input)
        .says("before_switch.1 of r1: not done within 1 s");
    assert_ne!(ran.code(), Some(0));
    until("the hook to be gone", Duration::from_secs(30), || {
        host.running("sleep 779") == 0
    });
    assert_eq!(crate::host::names(&host.tmp.join("tmp")), Vec::<String>::new());
}
