//! Whom a handler answers: the kick that asked when it began, whatever kick of the same release asks while it works.

use std::fs;
use std::time::Duration;

use shipit_manifest::{Layout, RenderInput};
use shipit_testbed::{Cmd, ConsulAgent, Process, Signal, Testbed, until};

use crate::host::{Host, names};
use crate::reports::{KICK, key, report_of};

const NEXT: &str = "20261121T140000Z-5e1f00ab";
const SOON: Duration = Duration::from_secs(30);

fn ask(agent: &ConsulAgent, kick: &str, release: &str) {
    let key = format!("shipit/asks/shop/test/web/{}", agent.node());
    agent.kv_put(&key, format!("{kick} {release}\n").as_bytes());
}

/// A release whose hook says that it began, and ends when it may, in the way that this shell script says.
fn hanging(host: &Host, agent: &ConsulAgent, id: &str, end: &str) -> RenderInput {
    let mut input = host.reporting(id, &agent.http_addr());
    let (began, may) = (host.tmp.join("began"), host.tmp.join("may"));
    input.hooks.after_switch = vec![format!(
        "touch '{}'; until [ -e '{}' ]; do sleep 0.05; done; {end}",
        began.display(),
        may.display()
    )];
    input
}

/// What notes there are of kicks.
fn notes(host: &Host) -> Vec<String> {
    let mut names = names(&host.tmp.join("tmp"));
    names.retain(|name| name.starts_with("stretcher-kick."));
    names
}

/// A deploy that another kick asks for while its hook works; it has ended, and its report is this.
fn interrupted(host: &Host, agent: &ConsulAgent, input: &RenderInput) -> serde_json::Value {
    ask(agent, KICK, &input.release);
    let mut deploy = begun(host, input);
    assert_eq!(notes(host).len(), 1);
    ask(agent, NEXT, &input.release);
    host.tmp.write("may", "");
    assert!(deploy.wait(SOON).is_some(), "{}", deploy.log());
    assert_eq!(notes(host), Vec::<String>::new(), "{}", deploy.log());
    report_of(agent, &key("reports", agent.node(), &input.release))
}

/// A deploy whose hook works.
fn begun(host: &Host, input: &RenderInput) -> Process {
    let deploy = host.start(input);
    until("the hook to begin", SOON, || host.tmp.join("began").exists());
    deploy
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_handler_answers_the_kick_that_asked_when_it_began() {
    for (end, state) in [("true", "succeeded"), ("exit 3", "failed")] {
        let (host, agent) = (Host::new(), ConsulAgent::dev());
        let said = interrupted(&host, &agent, &hanging(&host, &agent, "r1", end));
        assert_eq!(
            (&said["state"], &said["kick"]),
            (&state.into(), &KICK.into()),
            "{said}"
        );
        // The next handler answers the kick that asks now.
        host.deploy(&host.reporting("r1", &agent.http_addr())).ok();
        let said = report_of(&agent, &key("reports", agent.node(), "r1"));
        assert_eq!(
            (&said["state"], &said["kick"]),
            (&"succeeded".into(), &NEXT.into())
        );
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn who_was_asked_for_another_release_does_not_answer_a_kick_that_comes_later() {
    let (host, agent) = (Host::new(), ConsulAgent::dev());
    let one = hanging(&host, &agent, "r1", "true");
    ask(&agent, KICK, "r0");
    let mut deploy = begun(&host, &one);
    ask(&agent, NEXT, "r1");
    host.tmp.write("may", "");
    assert!(deploy.wait(SOON).is_some_and(|status| status.success()));
    let said = report_of(&agent, &key("reports", agent.node(), "r1"));
    assert_eq!((&said["state"], said.get("kick")), (&"succeeded".into(), None));
    assert_eq!(notes(&host), Vec::<String>::new());
}

/// The watch's wrapper removes what is named like stretcher's own files; without it that is done days later.
#[test]
#[ignore = "needs the testbed; run make test"]
fn the_note_of_a_killed_handler_is_nobody_elses_and_does_not_stay() {
    let (host, agent) = (Host::new(), ConsulAgent::dev());
    let one = hanging(&host, &agent, "r1", "true");
    ask(&agent, KICK, "r1");
    let deploy = begun(&host, &one);
    host.kill_all();
    drop(deploy);
    let left = notes(&host);
    assert_eq!(left.len(), 1);
    let note = fs::read_link(host.tmp.join("tmp").join(&left[0])).unwrap();
    assert_eq!(note.to_str().unwrap(), format!("kick={KICK}"));
    // Elsewhere, where no wrapper removes anything.
    let bare = host.tmp.mkdir("bare");
    for (name, age) in [("old", "5 days ago"), ("new", "1 hour ago")] {
        let path = bare.join(format!("stretcher-kick.r1.1.{name}"));
        std::os::unix::fs::symlink(format!("kick={KICK}"), &path).unwrap();
        Cmd::new("touch").args(["-h", "-d", age]).arg(&path).run().ok();
    }
    host.tmp.write("may", "");
    ask(&agent, NEXT, "r1");
    Cmd::new(Testbed::get().stretcher())
        .env("TMPDIR", &bare)
        .env("CONSUL_HTTP_ADDR", agent.http_addr())
        .stdin(format!("{}\n", host.publish(&one)))
        .run()
        .ok();
    let said = report_of(&agent, &key("reports", agent.node(), "r1"));
    assert_eq!(said["kick"], NEXT);
    assert_eq!(names(&bare), ["stretcher-kick.r1.1.new"]);
}

/// A role with commands only has no dest, and needs no temporary directory until its commands run.
#[test]
#[ignore = "needs the testbed; run make test"]
fn without_a_place_for_the_note_it_is_asked_again_and_reported() {
    let (host, agent) = (Host::new(), ConsulAgent::dev());
    let mut one = RenderInput {
        src: None,
        checksum: None,
        dest: None,
        owner: None,
        layout: Layout::Commands,
        shared: Vec::new(),
        ..host.reporting("r1", &agent.http_addr())
    };
    one.hooks.before_switch = vec!["true".to_owned()];
    one.hooks.check = None;
    ask(&agent, KICK, "r1");
    for nowhere in ["relative", "/proc/nowhere"] {
        host.set("TMPDIR", nowhere);
        let ran = host.deploy(&one);
        let said = report_of(&agent, &key("reports", agent.node(), "r1"));
        assert_eq!(
            (&said["state"], &said["kick"]),
            (&"failed".into(), &KICK.into()),
            "{ran}"
        );
    }
}

/// What somebody else put in the note's place is not believed, and the deploy goes on.
#[test]
#[ignore = "needs the testbed; run make test"]
fn a_note_of_somebody_else_is_not_believed() {
    let uid = Cmd::new("id").arg("-u").run().ok().line();
    if uid != "0" {
        eprintln!("only root can make what belongs to somebody else");
        return;
    }
    let (host, agent) = (Host::new(), ConsulAgent::dev());
    let one = hanging(&host, &agent, "r1", "true");
    ask(&agent, KICK, "r1");
    let mut deploy = begun(&host, &one);
    let note = host.tmp.join("tmp").join(&notes(&host)[0]);
    fs::remove_file(&note).unwrap();
    std::os::unix::fs::symlink("kick=19700101T000000Z-00000000", &note).unwrap();
    Cmd::new("chown").args(["-h", "65534"]).arg(&note).run().ok();
    host.tmp.write("may", "");
    assert!(deploy.wait(SOON).is_some_and(|status| status.success()));
    let said = report_of(&agent, &key("reports", agent.node(), "r1"));
    assert_eq!(
        (&said["state"], &said["kick"]),
        (&"succeeded".into(), &KICK.into())
    );
}

/// One who is told to end says nothing more: its note goes with what is removed under the lock.
#[test]
#[ignore = "needs the testbed; run make test"]
fn a_handler_that_is_told_to_end_leaves_no_note() {
    let (host, agent) = (Host::new(), ConsulAgent::dev());
    let one = hanging(&host, &agent, "r1", "true");
    ask(&agent, KICK, "r1");
    let mut deploy = begun(&host, &one);
    deploy.signal(Signal::TERM);
    assert!(deploy.wait(SOON).is_some(), "{}", deploy.log());
    host.kill_all();
    host.tmp.write("may", "");
    host.deploy(&host.reporting("r1", &agent.http_addr())).ok();
    assert_eq!(notes(&host), Vec::<String>::new());
}
