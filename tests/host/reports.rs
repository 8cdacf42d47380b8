//! What `shipit apply` tells a real Consul agent: what the manifest's own commands tell it under stretcher.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use serde_json::Value;
use shipit_manifest::{Layout, RenderInput, ReportInput, ReportWith, render, render_once};
use shipit_testbed::{ConsulAgent, Ran, Signal, until};

use crate::binary::shipit;
use crate::releases::{RELEASES, input};
use crate::support::Sandbox;

const KICK: &str = "20261121T134515Z-5e1f00aa";

fn reporting(sandbox: &Sandbox, release: &str) -> RenderInput {
    RenderInput {
        report: Some(ReportInput {
            with: ReportWith::Curl,
            dashboard: Some("deploys".to_owned()),
        }),
        ..input(sandbox, release, Layout::Releases)
    }
}

fn publish(sandbox: &Sandbox, input: &RenderInput) -> String {
    let text = render(input, None).unwrap();
    format!(
        "file://{}",
        sandbox.write(&format!("{}.yml", input.release), text).display()
    )
}

fn apply(sandbox: &Sandbox, input: &RenderInput, address: &str) -> Ran {
    shipit(sandbox)
        .env("CONSUL_HTTP_ADDR", address)
        .arg(publish(sandbox, input))
        .run()
}

fn key(area: &str, agent: &ConsulAgent, release: &str) -> String {
    format!("shipit/{area}/shop/test/web/{}/{release}", agent.node())
}

fn said(agent: &ConsulAgent, release: &str) -> Value {
    let key = key("reports", agent, release);
    let value = agent
        .kv_get(&key)
        .unwrap_or_else(|| panic!("there is no {key}, but {:?}", agent.kv_keys("shipit")));
    assert!(value.len() <= 1024);
    serde_json::from_slice(&value).unwrap()
}

/// The same keys of both, and the same words but for the time and who says it.
#[test]
#[ignore = "needs the testbed; run make test"]
fn apply_tells_what_stretcher_tells() {
    let told = |by_stretcher: bool| {
        let (mut sandbox, agent) = (Sandbox::new("told"), ConsulAgent::dev());
        sandbox.set("CONSUL_HTTP_ADDR", agent.http_addr());
        let [good, bad, _] = RELEASES.map(|release| reporting(&sandbox, release));
        let bad = RenderInput {
            hooks: shipit_manifest::Hooks {
                after_switch: vec!["echo 'no \"room\" here'; exit 3".to_owned()],
                ..bad.hooks
            },
            ..bad
        };
        let ask = format!("shipit/asks/shop/test/web/{}", agent.node());
        for (input, fine) in [(&good, true), (&bad, false)] {
            agent.kv_put(&ask, format!("{KICK} {}\n", input.release).as_bytes());
            let ran = if by_stretcher {
                sandbox.stretcher(&render(input, None).unwrap(), &[])
            } else {
                apply(&sandbox, input, &agent.http_addr())
            };
            assert_eq!(ran.code() == Some(0), fine, "{ran}");
        }
        let keys = agent
            .kv_keys("shipit")
            .into_iter()
            .chain(agent.kv_keys("dashboard"));
        let reports = [&good, &bad].map(|input| {
            let mut report = said(&agent, &input.release);
            let fields = report.as_object_mut().unwrap();
            assert!(fields.remove("time").unwrap().as_i64().unwrap() > 1_700_000_000);
            let handler = fields.remove("handler").unwrap();
            assert_eq!(handler.as_str().unwrap().starts_with("shipit "), !by_stretcher);
            let log = agent.kv_get(&key("logs", &agent, &input.release)).unwrap();
            assert!((100..=16 * 1024).contains(&log.len()));
            report
        });
        let shown = agent.api("GET", &format!("/v1/kv/dashboard/deploys/{}", agent.node()), b"");
        let shown: Value = serde_json::from_slice(&shown.body).unwrap();
        let status = shown[0]["Flags"].as_i64().unwrap() % 1000;
        (
            keys.collect::<Vec<_>>(),
            reports,
            status,
            shown[0]["Value"].clone(),
        )
    };
    let ours = told(false);
    assert_eq!(ours, told(true));
    assert_eq!(
        (&ours.1[0]["state"], &ours.1[0]["kick"]),
        (&"succeeded".into(), &KICK.into())
    );
    assert_eq!(
        (&ours.1[1]["state"], &ours.1[1]["current"]),
        (&"failed".into(), &RELEASES[1].into())
    );
    assert_eq!(
        ours.1[1]["message"],
        format!("after_switch.1 of {}: exit code 3", RELEASES[1])
    );
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_source_that_is_gone_and_a_signal_are_told_too() {
    let (sandbox, agent) = (Sandbox::new("told"), ConsulAgent::dev());
    let gone = reporting(&sandbox, RELEASES[0]);
    fs::remove_file(gone.src.as_deref().unwrap().trim_start_matches("file://")).unwrap();
    let _ = apply(&sandbox, &gone, &agent.http_addr()).exits(5);
    let report = said(&agent, RELEASES[0]);
    let message = report["message"].as_str().unwrap();
    assert!(
        report["state"] == "failed" && message.contains("get src failed"),
        "{report}"
    );

    let mut long = reporting(&sandbox, RELEASES[1]);
    long.hooks.before_switch = vec!["sleep 60".to_owned()];
    let mut running = shipit(&sandbox)
        .env("CONSUL_HTTP_ADDR", agent.http_addr())
        .arg(publish(&sandbox, &long))
        .start("apply", sandbox.join("log"));
    // How far it is is told on the way.
    until("the phase", Duration::from_secs(30), || {
        agent
            .kv_get(&key("reports", &agent, RELEASES[1]))
            .is_some_and(|value| String::from_utf8_lossy(&value).contains("switching"))
    });
    running.signal(Signal::TERM);
    let status = running.wait(Duration::from_secs(50)).expect("it ends");
    assert_eq!(status.code(), Some(143), "{}", running.tail());
    let report = said(&agent, RELEASES[1]);
    assert_eq!(
        (&report["state"], &report["message"]),
        (&"failed".into(), &"stopped by a signal".into())
    );
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn commands_learn_the_kick_and_no_agent_fails_no_apply() {
    let (sandbox, agent) = (Sandbox::new("told"), ConsulAgent::dev());
    let mut one = reporting(&sandbox, RELEASES[0]);
    let kick = sandbox.join("kick");
    one.hooks.after_switch = vec![format!("echo \"$SHIPIT_KICK\" >'{}'", kick.display())];
    let ask = format!("shipit/asks/shop/test/web/{}", agent.node());
    agent.kv_put(&ask, format!("{KICK} {}\n", RELEASES[0]).as_bytes());
    apply(&sandbox, &one, &agent.http_addr()).ok();
    assert_eq!(fs::read_to_string(kick).unwrap().trim(), KICK);
    // Nobody listens; somebody listens and never answers; the settings are none.
    let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
    let deaf = hangs.local_addr().unwrap();
    for address in [
        "127.0.0.1:1".to_owned(),
        deaf.to_string(),
        "ftp://nowhere".to_owned(),
    ] {
        let ran = apply(&sandbox, &reporting(&sandbox, RELEASES[1]), &address).ok();
        assert!(ran.took < Duration::from_secs(60), "{ran}");
        let warned = ran.err().matches("told how it goes").count();
        assert_eq!(warned, 1, "{ran}");
    }
}

/// As under stretcher: once for a kick, whatever came of it.
#[test]
#[ignore = "needs the testbed; run make test"]
fn once_runs_once_for_a_kick() {
    let (sandbox, agent) = (Sandbox::new("once"), ConsulAgent::dev());
    let gate = sandbox.join("gate");
    let runs = sandbox.join("runs");
    let one = RenderInput {
        once: vec![format!(
            "test -e REVISION && echo run >>'{}'; test -e '{}'",
            runs.display(),
            gate.display()
        )],
        ..reporting(&sandbox, RELEASES[0])
    };
    let text = render_once(&one).unwrap();
    let url = format!("file://{}", sandbox.write("once.yml", text).display());
    let once = || {
        let address = agent.http_addr();
        shipit(&sandbox).env("CONSUL_HTTP_ADDR", address).arg(&url).run()
    };
    let ask = |kick: &str| {
        let key = format!("shipit/asks/shop/test/web.once/{}", agent.node());
        agent.kv_put(&key, format!("{kick} {}\n", RELEASES[0]).as_bytes());
    };
    let count = || fs::read_to_string(&runs).unwrap_or_default().lines().count();
    ask(KICK);
    let _ = once().exits(9);
    fs::write(&gate, "").unwrap();
    let _ = once().exits(9).says("kick again");
    assert_eq!(count(), 1);
    ask("20261121T140000Z-5e1f00ab");
    once().ok();
    once().ok();
    assert_eq!(count(), 2);
    let key = format!(
        "shipit/reports/shop/test/web.once/{}/{}",
        agent.node(),
        RELEASES[0]
    );
    let report: Value = serde_json::from_slice(&agent.kv_get(&key).unwrap()).unwrap();
    assert_eq!(
        (&report["state"], &report["kick"]),
        (&"succeeded".into(), &"20261121T140000Z-5e1f00ab".into())
    );
    assert!(!sandbox.join("dest/current").exists());
    assert_eq!(fs::read_dir(sandbox.join("dest/.once")).unwrap().count(), 0);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_token_from_a_file_is_used_and_never_shown() {
    let (sandbox, agent) = (Sandbox::new("told"), ConsulAgent::with_acl());
    let node = agent.node();
    let token = agent.create_token(&format!(
        "agent \"{node}\" {{ policy = \"read\" }}\n\
         key_prefix \"shipit/reports/shop/test/web/{node}/\" {{ policy = \"write\" }}\n\
         key_prefix \"shipit/logs/shop/test/web/{node}/\" {{ policy = \"write\" }}\n"
    ));
    let file = sandbox.write("token", format!("{token}\n"));
    let mut one = reporting(&sandbox, RELEASES[0]);
    if let Some(report) = &mut one.report {
        report.dashboard = None;
    }
    let url = publish(&sandbox, &one);
    let ran = shipit(&sandbox)
        .env("CONSUL_HTTP_ADDR", agent.http_addr())
        .env("CONSUL_HTTP_TOKEN_FILE", &file)
        .arg(&url)
        .run()
        .ok();
    assert_eq!(said(&agent, RELEASES[0])["state"], "succeeded");
    assert!(!ran.err().contains(&token));
    let ran = shipit(&sandbox)
        .env("CONSUL_HTTP_ADDR", agent.http_addr())
        .arg(&url)
        .run()
        .ok()
        .says("told how it goes");
    assert!(ran.err().contains("denied") || ran.err().contains("403"), "{ran}");
}

/// A handler that gives up its wait for the lock has its kick's answer, unless the one that holds the lock answers that kick.
#[test]
#[ignore = "needs the testbed; run make test"]
fn who_gives_up_waiting_answers_its_kick() {
    let (sandbox, agent) = (Sandbox::new("told"), ConsulAgent::dev());
    let gate = sandbox.join("gate");
    let mut long = reporting(&sandbox, RELEASES[1]);
    long.hooks.before_switch = vec![format!("until test -e '{}'; do sleep 0.1; done", gate.display())];
    let url = publish(&sandbox, &long);
    let ask = |kick: &str, release: &str| {
        let key = format!("shipit/asks/shop/test/web/{}", agent.node());
        agent.kv_put(&key, format!("{kick} {release}\n").as_bytes());
    };
    ask(KICK, RELEASES[1]);
    let mut running = shipit(&sandbox)
        .env("CONSUL_HTTP_ADDR", agent.http_addr())
        .arg(&url)
        .start("apply", sandbox.join("log"));
    until("the lock's holder", Duration::from_secs(30), || {
        agent
            .kv_get(&key("reports", &agent, RELEASES[1]))
            .is_some_and(|value| String::from_utf8_lossy(&value).contains("switching"))
    });
    let gives_up = |url: &str| {
        shipit(&sandbox)
            .env("CONSUL_HTTP_ADDR", agent.http_addr())
            .args(["--lock-wait", "1s", url])
            .run()
            .exits(8)
    };
    // The holder works on the release of the same kick: its word counts.
    let _ = gives_up(&url);
    assert_eq!(said(&agent, RELEASES[1])["state"], "started");
    // It works on another one, and what an earlier deploy left is no answer.
    let earlier = r#"{"kick":"20261120T100000Z-00000001","state":"succeeded","time":1795168800}"#;
    agent.kv_put(&key("reports", &agent, RELEASES[0]), earlier.as_bytes());
    ask("20261121T140000Z-5e1f00ab", RELEASES[0]);
    let _ = gives_up(&publish(&sandbox, &reporting(&sandbox, RELEASES[0])));
    let report = said(&agent, RELEASES[0]);
    assert_eq!(
        (&report["state"], &report["kick"]),
        (&"failed".into(), &"20261121T140000Z-5e1f00ab".into()),
        "{report}"
    );
    fs::write(gate, "").unwrap();
    let ended = running.wait(Duration::from_secs(60)).expect("it ends");
    assert!(ended.success(), "{}", running.tail());
}
