//! A cluster, a project with one role, and hosts of that role whose hook fails or hangs as a test wants it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use shipit_testbed::{Cmd, ConsulAgent, ConsulCluster, Process, Ran, until};

use crate::host::{Handler, Host, Surroundings};
use crate::project::{Project, release_of};

/// The role's event.
pub const EVENT: &str = "deploy_shop_web_staging";
/// The node whose agent kicks ask; no host.
pub const KICKER: &str = "ci";
/// How long what should happen may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

pub struct Shop {
    pub project: Project,
    // Before the cluster, so that watches end before their agents do.
    pub hosts: BTreeMap<String, Host>,
    pub cluster: ConsulCluster,
    dest: PathBuf,
    host_env: Vec<(String, String)>,
}

/// What a shop's config says beyond the usual.
#[derive(Default)]
pub struct Config<'a> {
    /// The table `[store]`; a directory where it is empty.
    pub store: &'a str,
    /// Lines of `[kick]`.
    pub kick: &'a str,
    /// Lines of `[role.web]`; `@HOSTS@` is the directory of what hosts are told.
    pub role: &'a str,
}

impl Shop {
    /// The role's hosts are the nodes `web*`.
    pub fn new(cluster: ConsulCluster, config: &Config<'_>) -> Self {
        let project = Project::new();
        let hosts = project.tmp.mkdir("hosts");
        let dest = project.tmp.mkdir("srv");
        let hook = format!(
            "echo \"$NODE\" >>{dir}/told; echo \"$NODE works\"; while [ -e {dir}/$NODE.hang ]; do sleep 0.05; done; \
             if [ -e {dir}/$NODE.fail ]; then echo \"$NODE is broken\"; exit 3; fi",
            dir = hosts.display()
        );
        let directory = format!("url = \"file://{}\"\n", project.tmp.join("store").display());
        project.config(&format!(
            "app = \"shop\"\n[store]\n{store}\n[consul]\naddress = \"{consul}\"\n[kick]\ntimeout = \"60s\"\n{kick}\n\
             [role.web]\ndest = \"{dest}\"\nfilter.node = \"web*\"\nafter_switch = ['''{hook}''']\n{role}\n[stage.staging]\n",
            store = if config.store.is_empty() { &directory } else { config.store },
            consul = cluster.client(KICKER).url(),
            kick = config.kick,
            dest = dest.display(),
            role = config.role.replace("@HOSTS@", hosts.to_str().unwrap()),
        ));
        Shop {
            project,
            hosts: BTreeMap::new(),
            cluster,
            dest,
            host_env: Vec::new(),
        }
    }

    /// Variables for all that runs on hosts, and for `shipit` beside them.
    pub fn env(&mut self, pairs: &[(String, String)]) {
        self.host_env.extend_from_slice(pairs);
        self.project.env(pairs.to_vec());
    }

    /// A host of this name with a watch.
    pub fn host(&mut self, node: &str, handler: Handler) {
        self.add(Host::new(node, handler));
    }

    /// The same of a host that is made already.
    pub fn add(&mut self, host: Host) {
        let node = host.node().to_owned();
        self.hosts.insert(node.clone(), host);
        self.watch(&node);
    }

    /// Starts a watch on a host, beside those that it has.
    pub fn watch(&mut self, node: &str) {
        let around = Surroundings {
            dest: &self.dest,
            env: &self.host_env,
        };
        let agent = self.cluster.client(node);
        self.hosts.get_mut(node).unwrap().watch(&around, agent, EVENT);
    }

    /// Ends a host's watches and starts one anew, which hands over the last event once more. Waits until it was handled.
    #[track_caller]
    pub fn rewatch(&mut self, node: &str) {
        self.hosts.get_mut(node).unwrap().kill_watches();
        let before = self.hosts[node].logged();
        self.watch(node);
        let host = &self.hosts[node];
        let mut last = before;
        until("the replayed event to be handled", SOON, || {
            // A handler that is over writes no more.
            let now = host.logged();
            let over = now > before && now == last;
            last = now;
            std::thread::sleep(Duration::from_millis(400));
            over
        });
    }

    /// `shipit apply` on a host, as by hand or at boot.
    pub fn apply(&self, node: &str, words: &[&str]) -> Cmd {
        let around = Surroundings {
            dest: &self.dest,
            env: &self.host_env,
        };
        self.hosts[node].apply(&around, self.agent(node), words)
    }

    pub fn agent(&self, node: &str) -> &ConsulAgent {
        self.cluster.client(node)
    }

    /// A new commit with this text, built and published; the release's id.
    #[track_caller]
    pub fn release(&self, text: &str) -> String {
        self.project.repo.write("app.txt", text).commit("a change");
        let _ = self.project.build("main");
        release_of(&self.project.publish("staging", "web"))
    }

    fn cmd(&self, command: &str, more: &[&str]) -> Cmd {
        let args = [&[command, "web", "--stage", "staging"][..], more].concat();
        self.project.shipit(&args).timeout(Duration::from_secs(150))
    }

    /// `shipit COMMAND web --stage staging …`.
    #[track_caller]
    pub fn shipit(&self, command: &str, more: &[&str]) -> Ran {
        self.cmd(command, more).run()
    }

    /// The same, left running.
    #[track_caller]
    pub fn start(&self, command: &str, more: &[&str]) -> Process {
        let log = self
            .project
            .tmp
            .join(format!("{command}-{}.log", shipit_testbed::random_hex(4)));
        self.cmd(command, more).start(command, log)
    }

    /// The document of a command that takes no role.
    #[track_caller]
    pub fn json(&self, words: &[&str]) -> Value {
        let args = [words, &["--stage", "staging", "--output", "json"]].concat();
        serde_json::from_str(&self.project.shipit(&args).run().ok().out()).unwrap()
    }

    /// What `status` says of each host.
    #[track_caller]
    pub fn status(&self) -> BTreeMap<String, Value> {
        let document = self.json(&["status", "web"]);
        let hosts = document["roles"][0]["hosts"].as_array().unwrap().clone();
        let named = |host: Value| (host["host"].as_str().unwrap().to_owned(), host);
        hosts.into_iter().map(named).collect()
    }

    /// The hosts by what `status` says of them.
    #[track_caller]
    pub fn states(&self) -> BTreeMap<String, String> {
        let state =
            |(host, status): (String, Value)| (host, status["state"].as_str().unwrap_or("-").to_owned());
        self.status().into_iter().map(state).collect()
    }

    /// The release that is live, as `status` says it.
    #[track_caller]
    pub fn live(&self) -> Option<String> {
        self.json(&["status", "web"])["roles"][0]["live"]
            .as_str()
            .map(str::to_owned)
    }

    /// The newest kick of the history.
    #[track_caller]
    pub fn last_kick(&self) -> Value {
        self.json(&["history"])["kicks"][0].clone()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.project.tmp.join("hosts").join(name)
    }

    /// A file beside what hosts are told: a switch of a hook, or what one wrote.
    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    /// Makes hooks fail (`web1.fail`) or hang (`web1.hang`), or do so no more.
    pub fn switch(&self, name: &str, on: bool) {
        if on {
            fs::write(self.file(name), "").unwrap();
        } else {
            fs::remove_file(self.file(name)).unwrap();
        }
    }

    /// The hosts whose hook has run, one word each time.
    pub fn told(&self) -> Vec<String> {
        self.text("told").lines().map(str::to_owned).collect()
    }

    /// The same of one host.
    pub fn times_told(&self, node: &str) -> usize {
        self.told().iter().filter(|told| *told == node).count()
    }

    /// Waits until hooks of these hosts have run so often in all.
    #[track_caller]
    pub fn wait_told(&self, node: &str, times: usize) {
        until(&format!("the hook of {node}"), SOON, || {
            self.times_told(node) >= times
        });
    }

    /// How many events of the role a node's agent let through.
    pub fn events(&self, node: &str) -> usize {
        self.agent(node).events(EVENT).len()
    }

    /// Waits until a kick that was started is over.
    #[track_caller]
    pub fn end_of(&self, kick: &mut Process) -> (Option<i32>, String) {
        let ended = kick.wait(Duration::from_secs(150));
        let ended = ended.unwrap_or_else(|| panic!("the kick does not end\n{}\n{}", kick.log(), self.logs()));
        (ended.code(), kick.log())
    }

    /// All that hosts wrote, for a message.
    pub fn logs(&self) -> String {
        self.hosts.values().map(Host::log).collect()
    }
}

/// The line that a kick prints of a host.
pub fn line(node: &str, state: &str) -> String {
    format!("web\t{node}\t{state}\n")
}

/// A demand that shows what hosts wrote when it is not met.
pub trait WithLogs {
    #[track_caller]
    fn exits_with_logs(self, code: i32, shop: &Shop) -> Self;
}

impl WithLogs for Ran {
    fn exits_with_logs(self, code: i32, shop: &Shop) -> Self {
        assert!(
            self.code() == Some(code),
            "wanted exit code {code}\n{self}\n{}",
            shop.logs()
        );
        self
    }
}
