//! Consul's ACL rules. The keys are those of shipit-fleet; a test has each rule tried against an agent that denies by default.

use std::fmt::Write as _;

use shipit_fleet::event;
use shipit_fleet::report::{RoleKeys, lock_key};

use super::{ANY_NODE, Subject, Who};
use crate::config::ReportWith;
use crate::errors::{CliError, Kind, Result};

/// The rules as HCL; none for who asks nothing of Consul.
pub fn rules(subject: &Subject<'_>) -> Result<Option<String>> {
    let mut rules = Rules(String::new());
    match subject.who {
        Who::Host => host(subject, &mut rules)?,
        Who::Kicker => kicker(subject, &mut rules)?,
        Who::Pruner => pruner(subject, &mut rules),
        Who::Publisher => return Ok(None),
    }
    Ok(Some(rules.0))
}

/// One rule a line, with the reason above it.
struct Rules(String);

impl Rules {
    fn about(&mut self, text: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{gap}# {text}");
    }

    fn rule(&mut self, kind: &str, name: &str, policy: &str) {
        let name = name.replace('\\', "\\\\").replace('"', "\\\"");
        let _ = writeln!(self.0, "{kind} \"{name}\" {{ policy = \"{policy}\" }}");
    }
}

fn host(subject: &Subject<'_>, rules: &mut Rules) -> Result<()> {
    let node = subject.node.unwrap_or(ANY_NODE);
    rules.about("Its own name is asked of the agent.");
    rules.rule("agent", node, "read");
    if subject.config.report.with == ReportWith::Consul {
        rules.about("Without curl the name is asked for by `consul rtt`, which wants another node's, and both nodes' coordinates.");
        rules.rule("node_prefix", "", "read");
    }
    rules.about("The events that its watch waits for.");
    for name in events(subject)? {
        rules.rule("event", &name, "read");
    }
    rules.about("What a kick asks of it, and what it says of that: no other node's.");
    for role in role_names(subject) {
        let keys = keys(subject, &role);
        rules.rule("key", &keys.ask(node), "read");
        rules.rule("key_prefix", &keys.report(node, ""), "write");
        rules.rule("key_prefix", &keys.log(node, ""), "write");
    }
    let report = &subject.config.report;
    if let Some(category) = report
        .dashboard
        .as_ref()
        .filter(|_| report.with != ReportWith::Off)
    {
        rules.about("Its key of consul-kv-dashboard.");
        rules.rule("key", &format!("dashboard/{category}/{node}"), "write");
    }
    Ok(())
}

fn kicker(subject: &Subject<'_>, rules: &mut Rules) -> Result<()> {
    rules.about("It fires these events.");
    for name in events(subject)? {
        rules.rule("event", &name, "write");
    }
    rules.about("It asks hosts, reads what they say, and says it for hosts that it runs commands for.");
    for area in areas(subject) {
        rules.rule("key_prefix", &area, "write");
    }
    rules.about("The stage's lock, and the session that holds it.");
    rules.rule(
        "key",
        &lock_key(&subject.config.app, subject.config.stage()),
        "write",
    );
    match subject.node {
        Some(node) => rules.rule("session", node, "write"),
        None => rules.rule("session_prefix", "", "write"),
    }
    rules.about("The hosts of a role, which of them are alive, and the checks of its service.");
    rules.rule("node_prefix", "", "read");
    rules.rule("service_prefix", "", "read");
    Ok(())
}

/// Stages that share a store are pruned together, so these are for all of them.
fn pruner(subject: &Subject<'_>, rules: &mut Rules) {
    let app = &subject.config.app;
    rules.about(
        "Asks, reports and logs of releases that are no more, of all stages: they are pruned together.",
    );
    for area in ["asks", "reports", "logs"] {
        rules.rule("key_prefix", &format!("shipit/{area}/{app}/"), "write");
    }
    rules.about("What a deploy that is under way needs is left alone.");
    rules.rule("key_prefix", &lock_key(app, ""), "read");
}

/// The events' names of the roles.
fn events(subject: &Subject<'_>) -> Result<Vec<String>> {
    let config = subject.config;
    let template = &config.consul.event_name;
    let name = |role: &str| {
        event::name(template, &config.app, role, config.stage())
            .map_err(|error| CliError::from_source(Kind::Usage, error).hint("see consul.event_name"))
    };
    subject.roles.iter().map(|role| name(&role.name)).collect()
}

/// The roles under which hosts report: a role's `once` manifest does so under a name of its own.
fn role_names(subject: &Subject<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for role in &subject.roles {
        names.push(role.name.clone());
        if !role.once.is_empty() {
            names.push(format!("{}.once", role.name));
        }
    }
    names
}

/// The prefixes of asks, reports and logs: of the roles that were named, else of the whole stage.
fn areas(subject: &Subject<'_>) -> Vec<String> {
    if subject.some_roles {
        let names = role_names(subject);
        let areas = names.iter().flat_map(|role| {
            let keys = keys(subject, role);
            [keys.asks(), keys.reports(), keys.logs()]
        });
        return areas.collect();
    }
    let (app, stage) = (&subject.config.app, subject.config.stage());
    ["asks", "reports", "logs"]
        .map(|area| format!("shipit/{area}/{app}/{stage}/"))
        .to_vec()
}

fn keys<'a>(subject: &'a Subject<'_>, role: &'a str) -> RoleKeys<'a> {
    RoleKeys {
        app: &subject.config.app,
        stage: subject.config.stage(),
        role,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::subject_of;
    use super::*;

    #[test]
    fn a_host_has_its_own_node_alone() {
        let text = "[report]\ndashboard = true\n";
        let rules = subject_of(Who::Host, text, |subject| rules(subject).unwrap().unwrap());
        insta::assert_snapshot!(rules, @r#"
        # Its own name is asked of the agent.
        agent "web-\"1" { policy = "read" }

        # The events that its watch waits for.
        event "deploy_shop_web_production" { policy = "read" }

        # What a kick asks of it, and what it says of that: no other node's.
        key "shipit/asks/shop/production/web/web-\"1" { policy = "read" }
        key_prefix "shipit/reports/shop/production/web/web-\"1/" { policy = "write" }
        key_prefix "shipit/logs/shop/production/web/web-\"1/" { policy = "write" }
        key "shipit/asks/shop/production/web.once/web-\"1" { policy = "read" }
        key_prefix "shipit/reports/shop/production/web.once/web-\"1/" { policy = "write" }
        key_prefix "shipit/logs/shop/production/web.once/web-\"1/" { policy = "write" }

        # Its key of consul-kv-dashboard.
        key "dashboard/shop/web-\"1" { policy = "write" }
        "#);
    }

    #[test]
    fn consuls_own_program_needs_to_see_the_members() {
        let with = |with: &str| {
            let text = format!("[report]\nwith = \"{with}\"\n");
            subject_of(Who::Host, &text, |subject| rules(subject).unwrap().unwrap())
        };
        let rule = "node_prefix \"\" { policy = \"read\" }";
        assert_eq!(with("consul").matches(rule).count(), 1);
        assert!(!with("curl").contains("node_prefix"));
    }

    #[test]
    fn a_publisher_asks_nothing() {
        assert_eq!(
            subject_of(Who::Publisher, "", |subject| rules(subject).unwrap()),
            None
        );
    }
}
