//! The manifest of `once` commands under the real stretcher.

use std::fs;
use std::path::PathBuf;

use shipit_manifest::{Layout, RenderInput, ReportInput, ReportWith, render_once};
use shipit_testbed::{ConsulAgent, FaultProxy, Ran};

use crate::host::Host;

const FIRST: &str = "20261121T134515Z-5e1f00aa";
const SECOND: &str = "20261121T140000Z-5e1f00ab";

impl Host {
    /// A release with a `once` command that notes where it ran, and what it saw.
    fn with_once(&self, id: &str, command: &str) -> RenderInput {
        let events = self.tmp.join("events");
        RenderInput {
            once: vec![
                command.to_owned(),
                format!("echo once $(cat REVISION) >>'{}'", events.display()),
            ],
            ..self.release(id)
        }
    }

    fn once(&self, input: &RenderInput) -> Ran {
        let text = render_once(input)
            .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)));
        let path = self
            .tmp
            .write(format!("store/{}/{}.once.yml", input.release, input.role), text);
        self.handler(&format!("file://{}", path.display())).run()
    }

    /// What `once` leaves behind beside its mark.
    fn unpacked(&self, dir: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.tmp.join(dir));
        entries.map_or_else(
            |_| Vec::new(),
            |entries| entries.map(|entry| entry.unwrap().path()).collect(),
        )
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn once_runs_in_the_release_and_switches_nothing() {
    let host = Host::new();
    host.deploy(&host.release("r1")).ok();
    let two = host.with_once(
        "r2",
        "grep -q r1 config/database.yml && test -L config/database.yml && test -d lib",
    );
    host.once(&two).ok();
    assert_eq!(host.current().as_deref(), Some("r1"));
    assert_eq!(host.events().last().unwrap(), "once r2");
    assert_eq!(host.unpacked("srv/the app/.once"), Vec::<PathBuf>::new());
    assert!(host.at("shared/config/database.yml").exists());
    assert_eq!(host.names("releases"), ["r1"]);
    // What was done is not done again.
    host.once(&two).ok().says("done before");
    assert_eq!(host.events().iter().filter(|line| *line == "once r2").count(), 1);
    host.deploy(&two).ok();
    host.assert_deployed(&two);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_replay_runs_nothing_again_whether_it_was_done_or_not_and_a_new_kick_does() {
    let (host, agent) = (Host::new(), ConsulAgent::dev());
    host.env
        .borrow_mut()
        .push(("CONSUL_HTTP_ADDR".to_owned(), agent.http_addr()));
    let broken = host.tmp.write("broken", "");
    let one = RenderInput {
        report: Some(ReportInput {
            with: ReportWith::Curl,
            dashboard: None,
        }),
        ..host.with_once(
            "r1",
            &format!(
                "echo tried >>'{}'; test ! -e '{}'",
                host.tmp.join("events").display(),
                broken.display()
            ),
        )
    };
    let ask = |kick: &str| {
        let key = format!("shipit/asks/shop/test/web.once/{}", agent.node());
        agent.kv_put(&key, format!("{kick} r1\n").as_bytes());
    };
    let said = || {
        let key = format!("shipit/reports/shop/test/web.once/{}/r1", agent.node());
        String::from_utf8(agent.kv_get(&key).unwrap()).unwrap()
    };
    ask(FIRST);
    assert_ne!(host.once(&one).code(), Some(0));
    assert!(said().contains("failed") && said().contains(FIRST), "{}", said());
    assert!(said().contains("once.1 of r1: exit code 1"), "{}", said());
    assert_eq!(host.events(), ["tried"]);
    // Mended meanwhile; but nobody asked for it anew.
    fs::remove_file(broken).unwrap();
    let ran = host.once(&one);
    assert_ne!(ran.code(), Some(0));
    assert_eq!(host.events(), ["tried"], "{ran}");
    assert!(said().contains("kick again"), "{}", said());
    ask(SECOND);
    host.once(&one).ok();
    assert_eq!(host.events(), ["tried", "tried", "once r1"]);
    assert!(
        said().contains("succeeded") && said().contains(SECOND),
        "{}",
        said()
    );
    host.once(&one).ok().says("done before");
    // The agent is gone, and with it what the kick was: what was done is done.
    host.env
        .borrow_mut()
        .retain(|(name, _)| name != "CONSUL_HTTP_ADDR");
    host.once(&one).ok().says("done before");
    assert_eq!(host.events().len(), 3);
}

/// The agent answers too late for the first report, so that nothing was noted: which kick it is the commands ask themselves.
#[test]
#[ignore = "needs the testbed; run make test"]
fn without_a_note_the_commands_ask_for_their_kick() {
    let (host, agent) = (Host::new(), ConsulAgent::dev());
    let proxy = FaultProxy::start(agent.addr());
    proxy.fail_next(1, 500);
    host.env
        .borrow_mut()
        .push(("CONSUL_HTTP_ADDR".to_owned(), proxy.url()));
    let one = RenderInput {
        report: Some(ReportInput {
            with: ReportWith::Curl,
            dashboard: None,
        }),
        ..host.with_once("r1", "true")
    };
    let key = format!("shipit/asks/shop/test/web.once/{}", agent.node());
    agent.kv_put(&key, format!("{FIRST} r1\n").as_bytes());
    let ran = host.once(&one).ok();
    let mark = fs::read_to_string(host.tmp.join("srv/the app/.shipit/web.once")).unwrap_or_default();
    assert_eq!(mark, format!("r1 done {FIRST}\n"), "{ran}");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn once_of_a_plain_role_leaves_dest_alone() {
    let host = Host::new();
    host.deploy(&host.plain("r1")).ok();
    let two = RenderInput {
        once: host.with_once("r2", "true").once,
        layout: Layout::Plain,
        ..host.plain("r2")
    };
    host.once(&two).ok();
    assert_eq!(host.events().last().unwrap(), "once r2");
    host.assert_plain_files("r1");
    assert_eq!(host.unpacked("srv/.the app.shipit/once"), Vec::<PathBuf>::new());
}
