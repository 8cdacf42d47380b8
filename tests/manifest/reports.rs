//! The report commands of the default manifests: the real stretcher tells a real Consul agent.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::Value;
use shipit_manifest::{Layout, RenderInput, ReportInput, ReportWith};
use shipit_testbed::{Cmd, ConsulAgent, ConsulCluster, Testbed};

use crate::host::Host;

pub const KICK: &str = "20261121T134515Z-5e1f00aa";

/// What a node's keys are below, of the role `web`.
pub fn key(area: &str, node: &str, release: &str) -> String {
    format!("shipit/{area}/shop/test/web/{node}/{release}")
}

pub fn report_of(agent: &ConsulAgent, key: &str) -> Value {
    let value = agent
        .kv_get(key)
        .unwrap_or_else(|| panic!("there is no {key}, but {:?}", agent.kv_keys("shipit")));
    assert!(value.len() <= 1024, "{} bytes", value.len());
    serde_json::from_slice(&value)
        .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&value)))
}

impl Host {
    /// A release whose manifest reports, and hosts that ask this agent.
    pub fn reporting(&self, id: &str, agent: &str) -> RenderInput {
        self.set("CONSUL_HTTP_ADDR", agent);
        RenderInput {
            report: Some(ReportInput {
                with: ReportWith::Curl,
                dashboard: Some("deploys".to_owned()),
            }),
            ..self.release(id)
        }
    }

    pub fn set(&self, name: &str, value: &str) {
        let mut env = self.env.borrow_mut();
        env.retain(|(known, _)| known != name);
        env.push((name.to_owned(), value.to_owned()));
    }

    /// A program on PATH that notes the words it is called with, and becomes the real one.
    fn spy(&self, program: &str) -> std::path::PathBuf {
        let real = Testbed::get().program(program);
        let said = self.tmp.join(format!("{program}.argv"));
        let script = format!(
            "#!/bin/sh\necho \"$*\" >>{}\nexec {} \"$@\"\n",
            said.display(),
            real.display()
        );
        let path = self.tmp.write(format!("bin/{program}"), script);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let usual = Testbed::get().path().to_string_lossy().into_owned();
        self.set("PATH", &format!("{}:{usual}", self.tmp.join("bin").display()));
        said
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_host_tells_its_agent_how_a_release_went() {
    let (host, agent) = (Host::new(), ConsulAgent::dev());
    let one = host.reporting("r1", &agent.http_addr());
    agent.kv_put(
        &format!("shipit/asks/shop/test/web/{}", agent.node()),
        format!("{KICK} r1\n").as_bytes(),
    );
    let ran = host.deploy(&one).ok();
    host.assert_deployed(&one);
    // The name is the agent's, which is not the machine's.
    assert_ne!(agent.node(), Cmd::new("hostname").run().ok().line());
    let said = report_of(&agent, &key("reports", agent.node(), "r1"));
    assert_eq!(
        (&said["state"], &said["kick"], &said["current"]),
        (&"succeeded".into(), &KICK.into(), &"r1".into())
    );
    assert_eq!(
        (&said["handler"], &said["message"]),
        (&"stretcher".into(), &"Deploy manifest succeeded.".into()),
        "{ran}"
    );
    let now = Cmd::new("date")
        .arg("+%s")
        .run()
        .ok()
        .line()
        .parse::<i64>()
        .unwrap();
    assert!(
        (now - 60..=now).contains(&said["time"].as_i64().unwrap()),
        "{said}"
    );
    let log = agent.kv_get(&key("logs", agent.node(), "r1")).unwrap();
    let log = String::from_utf8(log).unwrap();
    assert!(
        log.contains("Deploy manifest succeeded.") && log.len() <= 16 * 1024,
        "{log}"
    );
    // As consul-kv-dashboard reads it: seconds and status in one number.
    let shown = agent.api("GET", &format!("/v1/kv/dashboard/deploys/{}", agent.node()), b"");
    let shown: Value = serde_json::from_slice(&shown.body).unwrap();
    let flags = shown[0]["Flags"].as_i64().unwrap();
    assert_eq!((flags % 1000, flags / 1000 - now >= -60), (0, true), "{shown}");

    // An ask for another release is none for this one.
    let two = host.reporting("r2", &agent.http_addr());
    host.deploy(&two).ok();
    let said = report_of(&agent, &key("reports", agent.node(), "r2"));
    assert_eq!((said.get("kick"), &said["current"]), (None, &"r2".into()));
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn what_fails_is_told_with_why_and_the_logs_end() {
    let (host, agent) = (Host::new(), ConsulAgent::dev());
    host.deploy(&host.reporting("r1", &agent.http_addr())).ok();
    let mut bad = host.reporting("r2", &agent.http_addr());
    bad.hooks.before_switch = vec![r#"printf 'no "room"\\ \377 here {{ x }} \303\251\n'; exit 9"#.to_owned()];
    assert_ne!(host.deploy(&bad).code(), Some(0));
    let said = report_of(&agent, &key("reports", agent.node(), "r2"));
    assert_eq!(
        (&said["state"], &said["current"]),
        (&"failed".into(), &"r1".into())
    );
    assert_eq!(said["message"], "before_switch.1 of r2: exit code 9");
    let log = agent.kv_get(&key("logs", agent.node(), "r2")).unwrap();
    let log = String::from_utf8_lossy(&log).into_owned();
    assert!(
        log.contains("no \"room\"\\") && log.contains("here {{ x }} é"),
        "{log}"
    );
    // The source is gone: no command but those of failure ran.
    let gone = host.reporting("r3", &agent.http_addr());
    let url = host.publish(&gone);
    fs::remove_file(host.tmp.join("store/r3.tar.zst")).unwrap();
    assert_ne!(host.handler(&url).run().code(), Some(0));
    let said = report_of(&agent, &key("reports", agent.node(), "r3"));
    let message = said["message"].as_str().unwrap();
    assert!(message.contains("no such file"), "{message}");
    assert_eq!(said["state"], "failed");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_log_of_megabytes_of_any_bytes_leaves_its_end_and_a_message_in_json() {
    let block = "{% extends \"shipit/manifest.yml.j2\" %}\n{% block post %}\n    - \"head -c 4000000 /dev/urandom; printf \
                 '\\\\n\\\\033[1m\\\\001 \\\\\\\"quoted\\\\\\\" \\\\351\\\\351 猫 \\\\\\\\\\\\\\\\ \\\\n'; exit 3\"\n{% endblock %}\n";
    let (host, agent) = (Host::with_template(block.to_owned()), ConsulAgent::dev());
    let input = host.reporting("r1", &agent.http_addr());
    assert_ne!(host.deploy(&input).code(), Some(0));
    let said = report_of(&agent, &key("reports", agent.node(), "r1"));
    let message = said["message"].as_str().unwrap();
    assert!(message.contains("quoted") && message.contains('猫'), "{message}");
    assert!(message.chars().all(|each| !each.is_control()), "{message:?}");
    let log = agent.kv_get(&key("logs", agent.node(), "r1")).unwrap();
    // NULs are left out of the last 16 KiB.
    assert!((15 * 1024..=16 * 1024).contains(&log.len()), "{}", log.len());
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_token_comes_from_a_file_and_stands_in_no_argument() {
    let (host, agent) = (Host::new(), ConsulAgent::with_acl());
    let node = agent.node();
    let token = agent.create_token(&format!(
        "agent \"{node}\" {{ policy = \"read\" }}\n\
         key \"shipit/asks/shop/test/web/{node}\" {{ policy = \"read\" }}\n\
         key_prefix \"shipit/reports/shop/test/web/{node}/\" {{ policy = \"write\" }}\n\
         key_prefix \"shipit/logs/shop/test/web/{node}/\" {{ policy = \"write\" }}\n"
    ));
    agent.kv_put(
        &format!("shipit/asks/shop/test/web/{node}"),
        format!("{KICK} r1").as_bytes(),
    );
    let said = host.spy("curl");
    let file = host.tmp.write("token", format!("{token}\n"));
    let mut one = host.reporting("r1", &agent.http_addr());
    if let Some(report) = &mut one.report {
        report.dashboard = None;
    }
    // The file goes before the variable, as with Consul's own client.
    host.set("CONSUL_HTTP_TOKEN", "wrong");
    host.set("CONSUL_HTTP_TOKEN_FILE", &file.display().to_string());
    let ran = host.deploy(&one).ok();
    let report = report_of(&agent, &key("reports", node, "r1"));
    assert_eq!(
        (&report["state"], &report["kick"]),
        (&"succeeded".into(), &KICK.into())
    );
    let words = fs::read_to_string(said).unwrap();
    assert!(
        words.contains("/v1/kv/shipit/reports/") && !words.contains(&token),
        "{words}"
    );
    assert!(!ran.err().contains(&token));
    // A token that may not write fails no deploy, and the log says what is denied.
    host.set("CONSUL_HTTP_TOKEN_FILE", "");
    host.deploy(&host.reporting("r2", &agent.http_addr()))
        .ok()
        .says("403");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn no_agent_no_curl_and_an_agent_that_hangs_fail_no_deploy() {
    let host = Host::new();
    // Nobody listens there.
    let closed = "127.0.0.1:1";
    let ran = host.deploy(&host.reporting("r1", closed)).ok();
    assert!(ran.took < Duration::from_secs(60), "{ran}");
    ran.says("not reported");
    // It takes connections, and never answers.
    let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
    let ran = host
        .deploy(&host.reporting("r2", &hangs.local_addr().unwrap().to_string()))
        .ok();
    assert!(ran.took < Duration::from_secs(90), "{ran}");
    drop(hangs);
    // curl is not there.
    let bin = host.tmp.mkdir("few");
    for program in [
        "setpriv", "sh", "tar", "zstd", "rsync", "flock", "mkdir", "readlink", "rm", "mv", "ls", "ln", "cp",
        "dirname", "realpath", "chown", "find", "timeout", "tail", "tr", "sed", "awk", "head", "date", "cat",
        "sync", "test", "grep", "sleep",
    ] {
        std::os::unix::fs::symlink(Testbed::get().program(program), bin.join(program)).unwrap();
    }
    host.set("PATH", &bin.display().to_string());
    let three = host.reporting("r3", closed);
    host.deploy(&three).ok().says("curl");
    host.assert_deployed(&three);
}

/// The agent knows its name; the cluster behind it has no leader and answers nothing.
#[test]
#[ignore = "needs the testbed; run make test"]
fn a_cluster_that_hangs_costs_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let count = stream.read(&mut request).unwrap_or_default();
            let request = String::from_utf8_lossy(&request[..count]).into_owned();
            if request.contains("/v1/agent/self") {
                let body = r#"{"Config":{"NodeName":"web-7"}}"#;
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
            } else if request.starts_with("STOP") {
                return held.len();
            } else {
                held.push(stream);
            }
        }
        0
    });
    let host = Host::new();
    let one = host.reporting("r1", &address.to_string());
    let ran = host.deploy(&one).ok();
    host.assert_deployed(&one);
    TcpStream::connect(address).unwrap().write_all(b"STOP").unwrap();
    // Twice an ask and a report, then an ask, the log, and the last word as long as it is tried.
    assert!((7..=9).contains(&served.join().unwrap()), "{ran}");
    // Twenty, and what a loaded machine adds; it was more than a minute.
    assert!(ran.took < Duration::from_secs(55), "{ran}");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_node_may_have_any_name_but_one_with_a_slash() {
    let cluster = ConsulCluster::start(&["wéb+2"]);
    let agent = cluster.client("wéb+2");
    let host = Host::new();
    let node = "w%c3%a9b%2b2";
    agent.kv_put(
        &format!("shipit/asks/shop/test/web/{node}"),
        format!("{KICK} r1\n").as_bytes(),
    );
    host.deploy(&host.reporting("r1", &agent.http_addr())).ok();
    let keys = agent.kv_keys("shipit/reports");
    assert_eq!(keys, ["shipit/reports/shop/test/web/wéb+2/r1"]);
    let said = report_of(agent, &key("reports", node, "r1"));
    assert_eq!(
        (&said["state"], &said["kick"]),
        (&"succeeded".into(), &KICK.into())
    );
    assert_eq!(
        agent.kv_keys("shipit/logs"),
        ["shipit/logs/shop/test/web/wéb+2/r1"]
    );
    assert_eq!(agent.kv_keys("dashboard"), ["dashboard/deploys/wéb+2"]);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn consuls_own_client_reports_where_there_is_no_curl() {
    let cluster = ConsulCluster::start(&["web-7"]);
    let agent = cluster.client("web-7");
    let host = Host::new();
    let dir = host.tmp.mkdir("bin");
    std::os::unix::fs::symlink(Testbed::get().consul(), dir.join("consul")).unwrap();
    std::os::unix::fs::symlink("/bin/false", dir.join("curl")).unwrap();
    let usual = Testbed::get().path().to_string_lossy().into_owned();
    host.set("PATH", &format!("{}:{usual}", dir.display()));
    let mut one = host.reporting("r1", &agent.http_addr());
    if let Some(report) = &mut one.report {
        report.with = ReportWith::Consul;
    }
    agent.kv_put(
        "shipit/asks/shop/test/web/web-7",
        format!("{KICK} r1\n").as_bytes(),
    );
    // The name is known once the agents have measured their ways.
    shipit_testbed::until("the network's coordinates", Duration::from_secs(90), || {
        let known = agent.api("GET", "/v1/coordinate/nodes", b"");
        known.text().contains("\"server\"")
    });
    host.deploy(&one).ok();
    let said = report_of(agent, &key("reports", "web-7", "r1"));
    assert_eq!(
        (&said["state"], &said["kick"]),
        (&"succeeded".into(), &KICK.into())
    );
    assert!(agent.kv_get(&key("logs", "web-7", "r1")).is_some());
    assert!(agent.kv_get("dashboard/deploys/web-7").is_some());
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn other_layouts_report_too_and_what_reports_off_leaves_is_nothing() {
    let (host, agent) = (Host::new(), ConsulAgent::dev());
    let plain = RenderInput {
        layout: Layout::Plain,
        report: host.reporting("r1", &agent.http_addr()).report,
        ..host.plain("r1")
    };
    host.deploy(&plain).ok();
    let said = report_of(&agent, &key("reports", agent.node(), "r1"));
    assert_eq!((&said["state"], said.get("current")), (&"succeeded".into(), None));
    let mut commands = RenderInput {
        src: None,
        checksum: None,
        dest: None,
        owner: None,
        layout: Layout::Commands,
        shared: Vec::new(),
        ..host.reporting("r2", &agent.http_addr())
    };
    commands.hooks.before_switch = vec!["exit 4".to_owned()];
    assert_ne!(host.deploy(&commands).code(), Some(0));
    let said = report_of(&agent, &key("reports", agent.node(), "r2"));
    assert_eq!(said["message"], "before_switch.1 of r2: exit code 4");
    let off = host.release("r3");
    let text = fs::read_to_string(host.publish(&off).trim_start_matches("file://")).unwrap();
    assert!(!text.contains("report") && !text.contains("CONSUL"), "{text}");
}
