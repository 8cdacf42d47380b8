//! What a kick asks of Consul before it fires, and after the last report: hosts wait for the one, people for the other.

use std::time::Duration;

use shipit_testbed::{ConsulAgent, FaultProxy, until};

use crate::project::{Project, release_of};

const SOON: Duration = Duration::from_secs(60);

/// What a request is about: `PUT event/fire`, of one to `/v1/event/fire/NAME`; of a transaction `PUT txn`.
fn kind(method: &str, target: &str) -> String {
    let path = target.split('?').next().unwrap();
    let parts: Vec<&str> = path.split('/').skip(2).take(2).collect();
    format!("{method} {}", parts.join("/"))
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_kick_that_finds_its_stage_free_asks_little_before_it_fires_and_after_the_last_report() {
    let agent = ConsulAgent::dev();
    let proxy = FaultProxy::start(agent.addr());
    let project = Project::new();
    project.config(&format!(
        "app = \"shop\"\n[store]\nurl = \"file://{}\"\n[consul]\naddress = \"{}\"\n[role.web]\ndest = \"/srv/shop\"\n\
         hosts = [{:?}]\n[stage.staging]\n",
        project.tmp.join("store").display(),
        proxy.url(),
        agent.node(),
    ));
    project.repo.write("app.txt", "one").commit("one");
    let _ = project.build("main");
    let release = release_of(&project.publish("staging", "web"));
    proxy.forget();
    let log = project.tmp.join("kick.log");
    let kick = project.shipit(&["kick", "web", "--stage", "staging"]);
    let mut kick = kick.start("kick", log);
    // What is done beside the kick is over, too, when its reports are waited for.
    until("the kick to wait for reports", SOON, || {
        let seen = proxy.seen();
        let asked = |part: &str| seen.iter().filter(|seen| seen.target.contains(part)).count();
        asked("/v1/kv/shipit/asks/") > 0 && asked("/v1/kv/shipit/reports/") > 2
    });
    let report = format!("shipit/reports/shop/staging/web/{}/{release}", agent.node());
    agent.kv_put(&report, br#"{"state":"succeeded","time":1}"#);
    assert_eq!(kick.wait(SOON).unwrap().code(), Some(0), "{}", kick.log());

    let kinds: Vec<String> = proxy
        .seen()
        .iter()
        .map(|seen| kind(&seen.method, &seen.target))
        .collect();
    let fired = kinds.iter().position(|kind| kind == "PUT event/fire").unwrap();
    let (before, after) = (&kinds[..fired], &kinds[kinds.len() - 3..]);
    // The first two side by side; a free lock is not looked at first, and all asks are one transaction.
    let mut asked = before.to_vec();
    asked[..2].sort();
    let expected = [
        "GET catalog/nodes",
        "GET health/state",
        "PUT session/create",
        "PUT txn",
        "PUT txn",
    ];
    assert_eq!(asked, expected, "{kinds:?}");
    // Who joined is looked for once, and then the lock is given back.
    let mut asked = after.to_vec();
    asked[..2].sort();
    let expected = ["GET catalog/nodes", "GET health/state", "PUT session/destroy"];
    assert_eq!(asked, expected, "{kinds:?}");
}
