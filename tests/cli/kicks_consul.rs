//! Kicks that are followed through Consul: a cluster of agents, watches with the real stretcher and with `shipit apply`.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use shipit_testbed::{Cmd, ConsulCluster, Process, Ran, Signal, Testbed, until};

use crate::project::{Project, binary, release_of};

/// A cluster, and a role whose hosts run one hook.
pub struct Shop {
    pub project: Project,
    cluster: ConsulCluster,
    watches: Vec<Process>,
    // Where a release goes, if it goes anywhere: a directory of its own for each node is mounted over it.
    dest: Option<PathBuf>,
}

impl Shop {
    pub fn new(nodes: &[&str], kick: &str, role: &str) -> Self {
        let cluster = ConsulCluster::start(nodes);
        let project = Project::new();
        let dir = project.tmp.mkdir("hosts");
        let dest = role.contains("@DEST@").then(|| project.tmp.mkdir("srv"));
        let role = role.replace("@HOSTS@", dir.to_str().unwrap());
        let role = match &dest {
            Some(dest) => role.replace("@DEST@", dest.to_str().unwrap()),
            None => role,
        };
        let hook = format!(
            "echo \"$NODE\" >>{dir}/told; echo \"$NODE works\"; while [ -e {dir}/$NODE.hang ]; do sleep 0.05; done; \
             [ ! -e {dir}/$NODE.fail ]",
            dir = dir.display()
        );
        project.config(&format!(
            "app = \"shop\"\n[store]\nurl = \"file://{store}\"\n[consul]\naddress = \"{consul}\"\n[kick]\ntimeout = \"60s\"\n{kick}\n\
             [role.web]\nafter_switch = ['''{hook}''']\n{role}\n[stage.staging]\n",
            store = project.tmp.join("store").display(),
            consul = cluster.server().url(),
        ));
        Shop {
            project,
            cluster,
            watches: Vec::new(),
            dest,
        }
    }

    /// A handler on a node: its hook knows the node's name.
    fn watch(&mut self, node: &str, program: &[&str]) {
        let locks = self.project.tmp.mkdir(format!("locks-{node}"));
        let tmp = self.project.tmp.mkdir(format!("tmp-{node}"));
        let agent = self.cluster.client(node);
        let mut command: Vec<String> = program.iter().map(ToString::to_string).collect();
        if program.len() > 1 {
            command.extend(["--lock-dir".to_owned(), locks.display().to_string()]);
        }
        if let Some(dest) = &self.dest {
            let disk = self.project.tmp.mkdir(format!("disk-{node}"));
            let mount = format!(
                "mount --bind {} {} && exec \"$@\"",
                disk.display(),
                dest.display()
            );
            let apart = [
                "unshare",
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                &mount,
                "handler",
            ];
            command.splice(0..0, apart.map(str::to_owned));
        }
        let handler = Cmd::new(&command[0])
            .args(&command[1..])
            .env("NODE", node)
            .env("CONSUL_HTTP_ADDR", agent.url())
            .env("TMPDIR", &tmp)
            .home(self.project.tmp.join("home"))
            .cwd(self.project.tmp.path());
        self.watches
            .push(agent.watch("deploy_shop_web_staging", &handler));
    }

    fn by_stretcher(&mut self, node: &str) {
        let stretcher = Testbed::get().stretcher();
        self.watch(node, &[stretcher.to_str().unwrap()]);
    }

    pub fn by_apply(&mut self, node: &str) {
        self.watch(node, &[binary().to_str().unwrap(), "apply"]);
    }

    pub fn release(&self, text: &str) -> String {
        self.project.repo.write("app.txt", text).commit(text);
        let _ = self.project.build("main");
        release_of(&self.project.publish("staging", "web"))
    }

    pub fn shipit(&self, command: &str, more: &[&str]) -> Ran {
        let args = [&[command, "web", "--stage", "staging"][..], more].concat();
        self.project.shipit(&args).timeout(Duration::from_secs(150)).run()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.project.tmp.join("hosts").join(name)
    }

    fn told(&self) -> Vec<String> {
        let text = fs::read_to_string(self.file("told")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub fn key(&self, key: &str) -> Option<Value> {
        let bytes = self.cluster.server().kv_get(key)?;
        Some(serde_json::from_slice(&bytes).unwrap())
    }

    /// Removes a key.
    pub fn forget(&self, key: &str) {
        let server = self.cluster.server();
        let removed = server.api("DELETE", &format!("/v1/kv/{key}"), b"");
        assert_eq!(removed.status, 200);
    }

    /// Ends a node's agent, and waits until the others have noticed.
    pub fn die(&self, node: &str) {
        self.cluster.client(node).kill9();
        until("the agent to be missed", Duration::from_secs(60), || {
            let target = format!("/v1/health/node/{node}");
            let checks = self.cluster.server().api("GET", &target, b"");
            checks.text().contains("critical")
        });
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn hosts_of_both_handlers_are_followed_to_their_end() {
    let role = "[role.web.filter]\nnode = \"web*\"";
    let mut shop = Shop::new(&["web1", "web2", "db1"], "", role);
    shop.by_stretcher("web1");
    shop.by_apply("web2");
    let one = shop.release("one");
    let ran = shop.shipit("kick", &[]).ok();
    assert_eq!(ran.out(), "web\tweb1\tsucceeded\nweb\tweb2\tsucceeded\n", "{ran}");
    let report = |node: &str| {
        shop.key(&format!("shipit/reports/shop/staging/web/{node}/{one}"))
            .unwrap()
    };
    assert_eq!(
        (&report("web1")["state"], &report("web2")["state"]),
        (&json!("succeeded"), &json!("succeeded"))
    );
    assert_eq!(shop.cluster.server().kv_get("shipit/locks/shop/staging"), None);
    // A host that fails is named, with what its hook printed.
    let _ = shop.release("two");
    fs::write(shop.file("web1.fail"), "").unwrap();
    let ran = shop.shipit("kick", &[]).exits(7);
    assert_eq!(ran.out(), "web\tweb1\tfailed\nweb\tweb2\tsucceeded\n", "{ran}");
    let ran = ran.says("1 of 2 hosts did not succeed: web1");
    assert!(ran.err().contains("web1 | "), "{ran}");
    fs::remove_file(shop.file("web1.fail")).unwrap();
    // Only that one is told again.
    let before = shop.told().len();
    let ran = shop.shipit("repair", &[]).ok();
    assert_eq!(ran.out(), "web\tweb1\tsucceeded\n", "{ran}");
    assert_eq!(shop.told()[before..], ["web1"]);
    // Too many failed: the others are not waited for, and are named.
    let three = shop.release("three");
    fs::write(shop.file("web2.hang"), "").unwrap();
    let log = shop.project.tmp.join("early.log");
    fs::write(shop.file("web1.hang"), "").unwrap();
    let args = ["kick", "web", "--stage", "staging"];
    let mut kick = shop.project.shipit(&args).start("early", log);
    kick.wait_log(Duration::from_secs(30), "web2: started");
    fs::write(shop.file("web1.fail"), "").unwrap();
    fs::remove_file(shop.file("web1.hang")).unwrap();
    let status = kick.wait(Duration::from_secs(100)).unwrap();
    assert_eq!(status.code(), Some(7), "{}", kick.log());
    for part in [
        "still at it, and not followed any more: web2; `shipit status web --stage staging`",
        "`shipit logs web1 --stage staging`",
    ] {
        assert!(kick.log().contains(part), "{part}: {}", kick.log());
    }
    fs::remove_file(shop.file("web2.hang")).unwrap();
    until("the other to end by itself", Duration::from_secs(30), || {
        let report = shop.key(&format!("shipit/reports/shop/staging/web/web2/{three}"));
        report.is_some_and(|report| report["state"] == "succeeded")
    });
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn waves_reach_their_nodes_alone_and_silence_is_no_success() {
    let mut shop = Shop::new(
        &["web1", "web10", "web2"],
        "",
        "dest = \"@DEST@\"\nonce = [\"echo $NODE >>migrated\"]\n[role.web.filter]\nnode = \"web*\"",
    );
    shop.by_apply("web1");
    shop.by_apply("web10");
    let _ = shop.release("one");
    // Nobody listens on web2.
    let ran = shop
        .shipit("kick", &["--batch", "1", "--timeout", "20s"])
        .exits(7);
    assert_eq!(
        ran.out(),
        "web\tweb1\tsucceeded\nweb\tweb10\tsucceeded\nweb\tweb2\tsilent\n",
        "{ran}"
    );
    let ran = ran.says("nothing was heard from it in 20 s");
    assert!(
        ran.err().contains("running the once commands of web on web1"),
        "{ran}"
    );
    assert_eq!(shop.told(), ["web1", "web10"]);
    let report = |role: &str| {
        shop.cluster
            .server()
            .kv_keys(&format!("shipit/reports/shop/staging/{role}/"))
    };
    assert_eq!((report("web.once").len(), report("web").len()), (1, 2));
    assert!(
        !ran.err().contains("shipit logs"),
        "a silent host has no log: {ran}"
    );
    let ran = shop.shipit("repair", &["--timeout", "2s"]).exits(7);
    assert_eq!(ran.out(), "web\tweb2\tsilent\n", "{ran}");
    let _ = shop.shipit("kick", &["--only", "web1"]).ok();
    assert_eq!(
        shop.told(),
        ["web1", "web10"],
        "a release that is done does nothing more"
    );
    let _ = shop.shipit("kick", &["--only", "web3"]).exits(2).says("web3");
    let told = shop.told().len();
    let _ = shop
        .shipit("kick", &["--only", "web*"])
        .exits(2)
        .says("is no host's name");
    assert_eq!(shop.told().len(), told);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn who_is_expected_is_found_out_before_anything_is_fired() {
    let shop = Shop::new(&["web1"], "", "");
    let _ = shop.release("one");
    let _ = shop.shipit("kick", &[]).exits(2).says("role.web.hosts");
    let none = shop.shipit("kick", &["--service", "nowhere"]).exits(6);
    let _ = none.says("nowhere");
    assert!(
        shop.cluster
            .client("web1")
            .events("deploy_shop_web_staging")
            .is_empty()
    );
    // Fired and not followed: the event's id, and live at once.
    let ran = shop.shipit("kick", &["--no-wait"]).ok();
    assert_eq!(ran.line().len(), 36, "{ran}");
    assert!(shop.project.tmp.join("store/live/shop/staging/web.yml").exists());
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_host_that_joins_meanwhile_is_told_too_and_a_signal_says_who_goes_on() {
    let filter = "[role.web.filter]\nnode = \"web*\"";
    let mut shop = Shop::new(&["web1"], "", filter);
    shop.by_apply("web1");
    let one = shop.release("one");
    fs::write(shop.file("web1.hang"), "").unwrap();
    let start = |shop: &Shop, name: &str| {
        let log = shop.project.tmp.join(format!("{name}.log"));
        let args = ["kick", "web", "--stage", "staging"];
        shop.project.shipit(&args).start(name, log)
    };
    let mut kick = start(&shop, "joined");
    kick.wait_log(Duration::from_secs(30), "web1: started");
    let _ = shop.cluster.join("web2");
    shop.by_apply("web2");
    fs::remove_file(shop.file("web1.hang")).unwrap();
    let status = kick.wait(Duration::from_secs(100)).unwrap();
    assert_eq!(status.code(), Some(0), "{}", kick.log());
    assert!(kick.log().contains("web\tweb2\tsucceeded"), "{}", kick.log());
    let report = shop
        .key(&format!("shipit/reports/shop/staging/web/web2/{one}"))
        .unwrap();
    assert_eq!(report["state"], "succeeded");
    // Stopped while a host works: it goes on by itself.
    let two = shop.release("two");
    fs::write(shop.file("web1.hang"), "").unwrap();
    let mut kick = start(&shop, "stopped");
    kick.wait_log(Duration::from_secs(30), "web2: succeeded");
    kick.wait_log(Duration::from_secs(30), "web1: started");
    kick.signal(Signal::INT);
    let status = kick.wait(Duration::from_secs(100)).unwrap();
    assert_eq!(status.code(), Some(130), "{}", kick.log());
    assert!(
        kick.log()
            .contains("still at it, and not followed any more: web1"),
        "{}",
        kick.log()
    );
    assert_eq!(shop.cluster.server().kv_get("shipit/locks/shop/staging"), None);
    fs::remove_file(shop.file("web1.hang")).unwrap();
    until("the host to end by itself", Duration::from_secs(30), || {
        let report = shop.key(&format!("shipit/reports/shop/staging/web/web1/{two}"));
        report.is_some_and(|report| report["state"] == "succeeded")
    });
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn checks_of_the_service_must_pass_and_a_lost_lock_stops_the_next_wave() {
    let role = "health = true\n[role.web.filter]\nservice = \"shop\"";
    let mut shop = Shop::new(&["web1", "web2"], "", role);
    for node in ["web1", "web2"] {
        shop.by_apply(node);
        shop.cluster.client(node).register_service("shop", &[]);
    }
    let check =
        json!({"Name": "answers", "ID": "answers", "ServiceID": "shop", "TTL": "1h", "Status": "critical"});
    let put = |shop: &Shop, target: &str, body: &[u8]| {
        let done = shop.cluster.client("web1").api("PUT", target, body);
        assert_eq!(done.status, 200, "{}", done.text());
    };
    put(&shop, "/v1/agent/check/register", check.to_string().as_bytes());
    let _ = shop.release("one");
    let catalog = || {
        let found = shop
            .cluster
            .server()
            .api("GET", "/v1/health/service/shop", b"")
            .text();
        found.matches("\"Node\": {").count() == 2 && found.contains("\"answers\"")
    };
    until("the services in the catalog", Duration::from_secs(30), catalog);
    let ran = shop.shipit("kick", &["--timeout", "15s"]).exits(7);
    assert_eq!(ran.out(), "web\tweb1\tfailed\nweb\tweb2\tsucceeded\n", "{ran}");
    let _ = ran.says("checks of the service shop fail: answers is critical");
    put(&shop, "/v1/agent/check/pass/answers", b"");
    let _ = shop.shipit("kick", &[]).ok();
    // Somebody takes the lock away in the pause.
    let log = shop.project.tmp.join("lost.log");
    let args = [
        "kick", "web", "--stage", "staging", "--batch", "1", "--pause", "2m",
    ];
    let mut kick = shop.project.shipit(&args).start("lost", log);
    kick.wait_log(Duration::from_secs(30), "before the next wave");
    let key = "/v1/kv/shipit/locks/shop/staging";
    assert_eq!(shop.cluster.server().api("DELETE", key, b"").status, 200);
    let status = kick.wait(Duration::from_secs(100)).unwrap();
    assert_eq!(status.code(), Some(8), "{}", kick.log());
    let log = kick.log();
    assert!(
        log.contains("the lock was lost") && log.contains("not told: web2"),
        "{log}"
    );
}
