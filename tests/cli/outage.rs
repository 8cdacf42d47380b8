//! A role that is kicked while Consul is down: what the usual config says of it, and the config that gets through.

use serde_json::Value;

use crate::small::{self, dest};

/// An agent that nobody has started: no such port is listened on.
const CONSUL: &str = "[consul]\naddress = \"http://127.0.0.1:1\"\n";

#[test]
fn a_config_without_consul_kicks_by_exec_while_consul_is_down() {
    let project = small::with("", "");
    let without = small::config(&project, "", "");
    let _ = project.build("main");
    let _ = project.publish("staging", "web");
    project.config(&without.replace("[kick]", &format!("{CONSUL}[kick]")));
    let usual = ["kick", "web", "--stage", "staging", "--transport", "exec"];
    let refused = project.shipit(&usual).run().exits(6);
    // Not that exec needs no Consul: the lock of this config stands there.
    assert!(
        refused.err().contains("from a config without [consul]"),
        "{refused}"
    );
    assert!(!dest(&project).join("current").exists(), "{refused}");

    project.repo.write("outage.toml", &without);
    let outage = ["--config", "outage.toml"];
    project.shipit(&[&usual[..], &outage].concat()).run().ok();
    assert!(dest(&project).join("current").exists());
    let history = ["history", "--stage", "staging", "--output", "json"];
    let history = project.shipit(&[&history[..], &outage].concat()).run().ok();
    let history: Value = serde_json::from_str(&history.out()).unwrap();
    assert_eq!(history["kicks"][0]["state"], "succeeded", "{history}");
}
