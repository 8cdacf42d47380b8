//! Real Consul agents: one, or a cluster of a server and clients, each on a loopback address of its own.
//! Here they are configured, started and ended; what a test asks them is in `api`.

mod api;
mod cluster;

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};

use crate::ports::Address;
use crate::process::Process;
use crate::{Cmd, Testbed, Tmp, http};

pub use cluster::ConsulCluster;

const READY: Duration = Duration::from_secs(60);

/// A running agent; gone on drop.
#[derive(Debug)]
pub struct ConsulAgent {
    // First, so that the agent has ended when its directory goes.
    process: Mutex<Option<Process>>,
    node: String,
    args: Vec<String>,
    token: OnceLock<String>,
    http: SocketAddr,
    serf: SocketAddr,
    dir: Tmp,
    _address: Address,
}

/// What kind of agent to start.
enum Role<'a> {
    Dev,
    Server {
        acl: bool,
        of: usize,
        join: Option<&'a ConsulAgent>,
    },
    Client {
        acl: bool,
        join: &'a ConsulAgent,
    },
}

impl ConsulAgent {
    /// A development agent: a server of its own that keeps nothing over a restart.
    #[track_caller]
    #[must_use]
    pub fn dev() -> Self {
        Self::launch("dev", &Role::Dev)
    }

    /// A single server that keeps its state over [`ConsulAgent::kill9`] and [`ConsulAgent::restart`].
    #[track_caller]
    #[must_use]
    pub fn server() -> Self {
        Self::launch("server", &Role::single(false))
    }

    /// A single server that refuses what no token allows; [`ConsulAgent::token`] is the management token.
    #[track_caller]
    #[must_use]
    pub fn with_acl() -> Self {
        let agent = Self::launch("server", &Role::single(true));
        agent.bootstrap_acl();
        agent
    }

    #[track_caller]
    fn launch(node: &str, role: &Role<'_>) -> Self {
        let agent = Self::prepare(node, role);
        agent.restart();
        agent
    }

    /// An agent that has its config and its addresses, and does not run yet.
    fn prepare(node: &str, role: &Role<'_>) -> Self {
        // A disk that takes its time would cost leaders their elections.
        let dir = Tmp::in_memory("consul");
        let _ = dir.mkdir("data");
        let address = Address::claim();
        let (http, serf, rpc) = (address.socket(), address.socket(), address.socket());
        let mut config = json!({
            "node_name": node,
            "bind_addr": address.ip().to_string(),
            "client_addr": address.ip().to_string(),
            "disable_update_check": true,
            "ports": { "http": http.port(), "serf_lan": serf.port(), "server": rpc.port(), "serf_wan": -1, "dns": -1, "grpc": -1 },
            // Members are seen within moments instead of seconds; one that a busy machine stops for a moment is not dead.
            "gossip_lan": { "gossip_interval": "100ms", "probe_interval": "300ms", "probe_timeout": "300ms", "suspicion_mult": 4 },
            "performance": { "raft_multiplier": 1 },
        });
        let extra = role.config(&dir);
        config.as_object_mut().expect("an object").extend(extra);
        let file = dir.write("agent.json", config.to_string());
        let mut args = vec!["agent".to_owned(), format!("-config-file={}", file.display())];
        if matches!(role, Role::Dev) {
            args.push("-dev".to_owned());
        }
        Self {
            process: Mutex::default(),
            node: node.to_owned(),
            args,
            token: OnceLock::new(),
            http: http.into(),
            serf: serf.into(),
            dir,
            _address: address,
        }
    }

    /// The agent's node name.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Host and port of its HTTP API, as CONSUL_HTTP_ADDR takes it.
    #[must_use]
    pub fn http_addr(&self) -> String {
        self.http.to_string()
    }

    /// The address of its HTTP API, for a [`crate::FaultProxy`].
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.http
    }

    /// The URL of its HTTP API, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// The management token of an agent with ACLs.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.get().map(String::as_str)
    }

    /// All that the agent has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Ends the agent politely. A client leaves the cluster.
    pub fn stop(&self) {
        if let Some(mut process) = self.slot().take() {
            process.stop();
        }
    }

    /// Ends the agent with KILL.
    pub fn kill9(&self) {
        if let Some(mut process) = self.slot().take() {
            process.kill9();
        }
    }

    /// Stops the agent if it runs, and starts it at the same addresses. What a development agent knew is gone.
    #[track_caller]
    pub fn restart(&self) {
        self.stop();
        let mut slot = self.slot();
        let cmd = Cmd::new(Testbed::get().consul())
            .args(&self.args)
            .cwd(self.dir.path());
        let mut process = cmd.start("consul", self.dir.join("log"));
        process.wait_ready(READY, || self.has_leader());
        *slot = Some(process);
    }

    fn slot(&self) -> MutexGuard<'_, Option<Process>> {
        self.process
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether there is a leader that answers for its data. A leader's name alone may be that of before a restart.
    fn has_leader(&self) -> bool {
        let read = http::request(self.http, "GET", "/v1/kv/testbed-ready?consistent", &[], b"");
        read.is_ok_and(|read| matches!(read.status, 200 | 403 | 404))
    }

    /// Runs `consul watch` for an event's name, with `handler` as what it runs: the handler's program, words,
    /// environment and working directory count, its time limit and standard input do not. The watch ends when the
    /// handler exits non-zero, as it does in life. A token in that environment is the watch's too; else it has the management one.
    #[track_caller]
    #[must_use]
    pub fn watch(&self, event: &str, handler: &Cmd) -> Process {
        // In the agent's directory: it stays to be looked at when the watch has gone.
        let log = self.dir.join(format!("watch-{}.log", crate::random_hex(4)));
        let mut watch = handler
            .surroundings_for(Testbed::get().consul())
            .args([
                "watch",
                &format!("-http-addr={}", self.url()),
                "-type=event",
                &format!("-name={event}"),
            ])
            .arg("-shell=false")
            .args(handler.argv());
        if let (Some(token), false) = (self.token(), watch.has_env("CONSUL_HTTP_TOKEN")) {
            watch = watch.env("CONSUL_HTTP_TOKEN", token);
        }
        watch.start(&format!("consul watch for {event}"), log)
    }
}

impl Role<'_> {
    fn single(acl: bool) -> Self {
        Self::Server {
            acl,
            of: 1,
            join: None,
        }
    }

    fn config(&self, dir: &Tmp) -> serde_json::Map<String, Value> {
        let data = dir.join("data");
        let acl = |on: bool| json!({ "enabled": on, "default_policy": if on { "deny" } else { "allow" } });
        let join = |with: Option<&ConsulAgent>| {
            with.map(|with| with.serf.to_string())
                .into_iter()
                .collect::<Vec<_>>()
        };
        let config = match self {
            Self::Dev => json!({}),
            Self::Server {
                acl: on,
                of,
                join: with,
            } => json!({
                "server": true,
                "bootstrap_expect": of,
                "data_dir": data,
                "acl": acl(*on),
                "retry_join": join(*with),
                "retry_interval": "1s",
            }),
            Self::Client { acl: on, join: with } => json!({
                "data_dir": data,
                "acl": acl(*on),
                "retry_join": join(Some(*with)),
                "retry_interval": "1s",
            }),
        };
        match config {
            Value::Object(map) => map,
            _ => unreachable!("each of them is an object"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::until;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;

    #[test]
    #[ignore = "needs the testbed; run make test"]
    fn a_development_agent_answers_and_is_gone_after_drop() {
        let agent = ConsulAgent::dev();
        agent.kv_put("a/b", b"value");
        assert_eq!(agent.kv_get("a/b").unwrap(), b"value");
        assert_eq!(agent.kv_keys("a"), ["a/b"]);
        assert_eq!(agent.kv_get("none"), None);
        agent.fire("deploy", b"first");
        until("the event", READY, || {
            agent.events("deploy") == [b"first".to_vec()]
        });
        let addr = agent.addr();
        drop(agent);
        assert!(http::request(addr, "GET", "/v1/status/leader", &[], b"").is_err());
    }

    #[test]
    #[ignore = "needs the testbed; run make test"]
    fn a_server_keeps_its_state_over_a_kill() {
        let server = ConsulAgent::server();
        server.kv_put("kept", b"1");
        server.kill9();
        assert!(http::request(server.addr(), "GET", "/v1/status/leader", &[], b"").is_err());
        server.restart();
        assert_eq!(server.kv_get("kept").unwrap(), b"1");
    }

    #[test]
    #[ignore = "needs the testbed; run make test"]
    fn watches_on_the_nodes_of_a_cluster_run_their_handlers() {
        let cluster = ConsulCluster::start(&["web-1", "batch-1"]);
        let tmp = Tmp::new("watch");
        let handler = |node: &str| {
            let out = tmp.join(node);
            let script = "cat >>\"$OUT\"; echo \"$CONSUL_INDEX\" >&2";
            Cmd::new("sh")
                .arg("-c")
                .arg(script)
                .env("OUT", out)
                .cwd(tmp.path())
        };
        let web = cluster.client("web-1");
        let mut watch = web.watch("deploy_web", &handler("web"));
        // At its start it hands the empty list.
        watch.wait_ready(READY, || {
            std::fs::read_to_string(tmp.join("web")).is_ok_and(|text| text.contains("[]"))
        });
        let _other = cluster.client("batch-1").watch("deploy_batch", &handler("batch"));
        cluster.server().fire("deploy_web", b"http://manifest");
        let payload = BASE64.encode("http://manifest");
        watch.wait_ready(READY, || {
            std::fs::read_to_string(tmp.join("web")).is_ok_and(|text| text.contains(&payload))
        });
        assert!(
            !std::fs::read_to_string(tmp.join("batch"))
                .unwrap_or_default()
                .contains(&payload)
        );
        let stopped = watch.stop();
        assert!(!watch.running(), "{stopped:?}");
    }

    #[test]
    #[ignore = "needs the testbed; run make test"]
    fn acl_refuses_what_no_token_allows() {
        let agent = ConsulAgent::with_acl();
        assert_eq!(
            agent.api_as(None, "PUT", "/v1/event/fire/deploy", b"").status,
            403
        );
        let token = agent.create_token("event \"deploy\" { policy = \"write\" }");
        assert_eq!(
            agent
                .api_as(Some(&token), "PUT", "/v1/event/fire/deploy", b"")
                .status,
            200
        );
        assert_eq!(
            agent
                .api_as(Some(&token), "PUT", "/v1/event/fire/other", b"")
                .status,
            403
        );
        agent.kv_put("k", b"v");
    }
}
