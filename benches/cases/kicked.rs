//! A project with one release, to be kicked: its store is a directory, its hosts are known to a Consul agent.

use std::path::{Path, PathBuf};
use std::process::Command;

use shipit_testbed::{ConsulAgent, Repo};

use crate::run::{printed, program, run};

/// Under which the reports of its role's hosts stand.
pub const REPORTS: &str = "shipit/reports/shop/bench/web";
/// Under which stands what was asked of them.
pub const ASKS: &str = "shipit/asks/shop/bench/web";
/// The event that tells them.
pub const EVENT: &str = "deploy_shop_web_bench";

/// The project, built and published.
pub struct Kicked {
    dir: PathBuf,
    /// The manifest's URL, which is the event's payload.
    pub manifest: String,
}

impl Kicked {
    /// Builds and publishes it below `dir`. `hosts` says which they are: lines of `[role.web]`.
    pub fn new(dir: &Path, agent: &ConsulAgent, hosts: &str) -> Self {
        let repo = Repo::init_at(&dir.join("project"));
        let config = format!(
            "app = \"shop\"\n[store]\nurl = \"file://{}\"\n[consul]\naddress = \"{}\"\n[role.web]\ndest = \"/srv/shop\"\n\
             {hosts}\n[stage.bench]\n",
            dir.join("store").display(),
            agent.url(),
        );
        repo.write("shipit.toml", config)
            .write(".gitignore", "/.shipit/\n");
        repo.write("code", "one\n").commit("one");
        let mut kicked = Self {
            dir: dir.to_owned(),
            manifest: String::new(),
        };
        run(kicked.shipit(&["build"]));
        let published = printed(kicked.shipit(&["publish", "--stage", "bench"]));
        let mut lines = published.lines();
        let web = lines.find_map(|line| line.strip_prefix("web\t"));
        kicked.manifest = web.expect("a line for each role").to_owned();
        kicked
    }

    /// `shipit` in the project.
    pub fn shipit(&self, args: &[&str]) -> Command {
        let mut command = program(env!("CARGO_BIN_EXE_shipit"));
        command
            .args(args)
            .env("SHIPIT_CACHE_DIR", self.dir.join("cache"))
            .env("HOME", &self.dir)
            .env("USER", "bench")
            .current_dir(self.dir.join("project"));
        command
    }

    /// The release's id.
    pub fn release(&self) -> &str {
        let mut parts = self.manifest.rsplit('/').skip(1);
        parts.next().expect("a manifest's URL has a release")
    }
}

/// Lets the agent forget all reports.
pub fn forget(agent: &ConsulAgent) {
    let done = agent.api("DELETE", &format!("/v1/kv/{REPORTS}?recurse"), b"");
    assert_eq!(done.status, 200, "cannot delete the reports: {}", done.text());
}
