//! How kicks go, where locks and reports stand, who is told: defaults, what a role changes, and what the environment does not.

use super::super::setting::Origin;
use super::super::{Batch, NotifyTo, ReportWith, Settled, Span, StageChoice, as_toml};
use super::load;

fn settled(text: &str, variables: &[(&str, &str)]) -> Settled {
    let text = format!("app = \"shop\"\n{text}\n[stage.production]\n");
    load(&text, StageChoice::Of(Some("production")), variables).unwrap()
}

const EXEC: &str = "exec = { command = \"true\", hosts = [\"a\"] }";

#[test]
fn a_roles_waves_lie_over_those_of_all() {
    let text = "[kick]\nbatch = \"25%\"\npause = \"30s\"\n[role.web]\ndest = \"/srv/a\"\nfilter.service = \"x\"\n\
                kick = { pause = \"0s\", max_failures = 2 }\n[role.batch]\ndest = \"/srv/b\"\nhosts = 3\nkick.batch = 1";
    let config = settled(text, &[]);
    let (web, batch) = (config.role("web").unwrap(), config.role("batch").unwrap());
    assert_eq!(web.waves.batch, Some(Batch::Percent(25)));
    assert_eq!(web.waves.pause, Span::seconds(0));
    assert_eq!((web.waves.max_failures, batch.waves.max_failures), (2, 0));
    assert_eq!(batch.waves.batch, Some(Batch::Hosts(1)));
    assert_eq!(batch.waves.timeout, Span::seconds(600));
    let origin = |key| config.provenance.of(key);
    assert_eq!(origin("role.web.kick.batch"), Origin::File { line: 3 });
    assert_eq!(origin("role.web.kick.pause"), Origin::File { line: 8 });
    assert_eq!(origin("role.web.kick.timeout"), Origin::Default);
    assert!(config.lints.is_empty(), "{:?}", config.lints);
}

#[test]
fn the_config_alone_says_whether_there_is_consul() {
    let address = [("CONSUL_HTTP_ADDR", "10.0.0.1:8500")];
    for (text, uses) in [
        (String::new(), true),
        (format!("[role.a]\ndest = \"/srv/a\"\nhosts = 1\n{EXEC}"), true),
        (
            format!("[kick]\ntransport = \"exec\"\n[role.a]\ndest = \"/srv/a\"\n{EXEC}"),
            false,
        ),
        (
            format!("[role.a]\ndest = \"/srv/a\"\ntransport = \"exec\"\n{EXEC}"),
            false,
        ),
        (
            format!(
                "[kick]\ntransport = \"consul\"\n[role.a]\ndest = \"/srv/a\"\ntransport = \"exec\"\n{EXEC}"
            ),
            true,
        ),
        (
            format!(
                "[kick]\ntransport = \"exec\"\n[role.a]\ndest = \"/srv/a\"\ntransport = \"consul\"\nhosts = 1\n{EXEC}"
            ),
            true,
        ),
        (
            format!("[kick]\ntransport = \"exec\"\n[consul]\n[role.a]\ndest = \"/srv/a\"\n{EXEC}"),
            true,
        ),
    ] {
        for variables in [&[][..], &address[..]] {
            let config = settled(&text, variables);
            assert_eq!(config.uses_consul(), uses, "{text}");
            let with = if uses { ReportWith::Curl } else { ReportWith::Off };
            assert_eq!(config.report.with, with, "{text}");
        }
    }
    let of_the_stage =
        "app = \"shop\"\nkick.transport = \"exec\"\n[stage.production]\nconsul.verify = true\n";
    let config = load(of_the_stage, StageChoice::Of(Some("production")), &[]).unwrap();
    assert!(config.uses_consul());
}

#[test]
fn what_is_probably_not_meant_is_said() {
    let lint = |text: &str| {
        let config = settled(text, &[]);
        let messages: Vec<_> = config
            .lints
            .iter()
            .map(|lint| (lint.line, lint.message.clone()))
            .collect();
        let [(line, message)] = messages.as_slice() else {
            panic!("{messages:?}")
        };
        (*line, message.clone())
    };
    let (line, message) = lint("[role.web]\ndest = \"/srv/a\"");
    assert_eq!(line, 2);
    assert!(
        message.contains("nothing says which hosts the role `web` has"),
        "{message}"
    );
    let (line, message) = lint(&format!(
        "[role.web]\ndest = \"/srv/a\"\ntransport = \"exec\"\n{EXEC}\n[report]\ndashboard = true"
    ));
    assert_eq!(line, 6);
    assert!(message.contains("hosts report to Consul"), "{message}");
}

#[test]
fn webhooks_are_secret_and_never_shown() {
    let text = "[[notify]]\nslack = { env = \"CHAT\" }\non = [\"failure\"]\n[[notify]]\nwebhook = \"https://hook.example.com/x\"\n\
                headers = { X-Auth = { env = \"HEADER\" }, X-Team = { env = \"TEAM\", secret = false } }\n\
                [report]\ndashboard = true\n[role.a]\ndest = \"/srv/a\"\nhosts = [\"a\"]";
    let variables = [("CHAT", "pl4nted"), ("HEADER", "pl4nted"), ("TEAM", "web")];
    let config = settled(text, &variables);
    let env = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let NotifyTo::Slack(url) = &config.notify[0].to else {
        panic!("{:?}", config.notify)
    };
    assert!(url.resolve(&env).unwrap().is_secret());
    let NotifyTo::Webhook { headers, .. } = &config.notify[1].to else {
        panic!("{:?}", config.notify)
    };
    let secret = |at: usize| headers[at].1.resolve(&env).unwrap().is_secret();
    assert!(secret(0) && !secret(1));
    assert_eq!(config.report.dashboard.as_deref(), Some("shop"));
    let shown = as_toml(&config, &env).unwrap();
    assert!(!shown.contains("pl4nted"), "{shown}");
    // What is shown loads again, and settles to the same.
    let again = load(&shown, StageChoice::Of(None), &variables).unwrap();
    assert_eq!(again.notify.len(), 2, "{shown}");
    assert_eq!(again.role("a").unwrap().waves, config.role("a").unwrap().waves);
    assert_eq!(again.report, config.report);
}
