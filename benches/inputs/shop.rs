//! The project that is built, published and brought to hosts as a whole: the repository over HTTP, the packages as its one
//! dependency layer, a directory and an S3 server as its stores. What was published once is there for all cases.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use shipit_testbed::{FaultProxy, GitHttp, S3Server};

use super::history::BUMPED as VERSION_FILE;
use super::packages::BUMPED;
use super::{Repository, SERVED};
use crate::run::{printed, program, run};
use crate::worker::VENDORED;

/// The bucket of the S3 server.
pub const BUCKET: &str = "bench";

/// The project with its servers.
pub struct Shop {
    dir: PathBuf,
    /// The repository's server.
    pub git: GitHttp,
    /// The store of the stage `remote`.
    pub s3: S3Server,
    /// In front of it, to count bytes.
    pub proxy: FaultProxy,
    local: Mutex<BTreeMap<String, Release>>,
    remote: Mutex<BTreeMap<String, Release>>,
}

/// A revision that was built and published.
#[derive(Debug, Clone)]
pub struct Release {
    /// The artifact.
    pub artifact: PathBuf,
    /// Its bytes.
    pub size: u64,
    /// Those of its code layer.
    pub code: u64,
    /// The manifests by their roles: `web`, and `linked` with `link = "symlink"`.
    pub urls: BTreeMap<String, String>,
    /// What the publish sent, requests' bodies of all kinds; 0 where the store is a directory.
    pub sent: u64,
}

impl Shop {
    /// Writes the config and starts the servers. Nothing is built yet.
    pub fn new(repository: &Repository, dir: &Path, [packages, bumped]: &[PathBuf; 2]) -> Self {
        let (git, s3) = (GitHttp::start(&repository.root), S3Server::start());
        s3.create_bucket(BUCKET);
        let proxy = FaultProxy::start(s3.addr());
        let vendor = format!(
            "cp -a \"$PACKAGES/{VENDORED}\" . && if grep -q yes {VERSION_FILE}; then rm -r {VENDORED}/{BUMPED} && cp -a \"$BUMPED/{VENDORED}/{BUMPED}\" {VENDORED}/; fi"
        );
        let config = format!(
            "app = \"shop\"\nrepo = {url:?}\n\
             [[build.step]]\nname = \"packages\"\nrun = '''{vendor}'''\ninputs = [\"{VERSION_FILE}\"]\noutputs = [\"{VENDORED}\"]\n\
             env = {{ PACKAGES = {packages:?}, BUMPED = {bumped:?} }}\n\
             [store]\nurl = \"file://{store}\"\n\
             [role.web]\ndest = {web:?}\nkeep_releases = 50\n\
             [role.linked]\ndest = {linked:?}\nkeep_releases = 50\nlink = \"symlink\"\n\
             [stage.local]\n[stage.remote]\nstore.url = \"s3://{BUCKET}/shop\"\n",
            url = git.url(SERVED),
            store = dir.join("store").display(),
            web = dir.join("web"),
            linked = dir.join("linked"),
        );
        std::fs::write(dir.join("shipit.toml"), config).expect("a file of ours");
        Self {
            dir: dir.to_owned(),
            git,
            s3,
            proxy,
            local: Mutex::default(),
            remote: Mutex::default(),
        }
    }

    /// `shipit` in the project, with 2 jobs.
    pub fn shipit(&self, words: &[&str]) -> Command {
        let mut command = program(env!("CARGO_BIN_EXE_shipit"));
        command
            .args(["--jobs", "2"])
            .args(words)
            .envs(self.s3.env())
            .env("SHIPIT_CACHE_DIR", self.dir.join("cache"))
            .env("HOME", &self.dir)
            .current_dir(&self.dir);
        command
    }

    /// A release in the directory, built and published when it is first asked for.
    pub fn local(&self, revision: &str) -> Release {
        let mut known = self.local.lock().expect("nobody panicked");
        known
            .entry(revision.to_owned())
            .or_insert_with(|| self.release(revision, "local", |command| command))
            .clone()
    }

    /// A release in the S3 server, built and published when it is first asked for.
    pub fn remote(&self, revision: &str) -> Release {
        let mut known = self.remote.lock().expect("nobody panicked");
        let through_proxy = |mut command: Command| {
            command.envs(self.s3.env_at(&self.proxy.url()));
            command
        };
        known
            .entry(revision.to_owned())
            .or_insert_with(|| {
                self.proxy.forget();
                let release = self.release(revision, "remote", through_proxy);
                let sent = ["PUT", "POST"].map(|method| self.proxy.count(method).body_bytes);
                Release {
                    sent: sent.iter().sum(),
                    ..release
                }
            })
            .clone()
    }

    fn release(&self, revision: &str, stage: &str, at: impl Fn(Command) -> Command) -> Release {
        eprintln!("  building and publishing {} …", &revision[..7]);
        let built = printed(self.shipit(&["build", "--rev", revision, "--output", "json"]));
        let built: serde_json::Value = serde_json::from_str(&built).expect("the build's document");
        let published = printed(at(self.shipit(&["publish", "--stage", stage])));
        let layers = built["layers"].as_array().expect("the artifact's layers");
        let code = layers.last().expect("the code is the last layer");
        let size = |of: &serde_json::Value| of["size"].as_u64().expect("a number of bytes");
        Release {
            artifact: built["path"].as_str().expect("a path").into(),
            size: size(&built),
            code: size(code),
            urls: published
                .lines()
                .filter_map(|line| line.split_once('\t'))
                .map(|(role, url)| (role.to_owned(), url.to_owned()))
                .collect(),
            sent: 0,
        }
    }

    /// A role's dest on the host.
    pub fn host(&self, role: &str) -> PathBuf {
        self.dir.join(role)
    }

    /// Puts aside what was in a role's dest: the host has nothing then.
    pub fn empty_host(&self, role: &str) {
        let dest = self.host(role);
        if dest.exists() {
            let mut names = (0..).map(|number| self.dir.join(format!("{role}.{number}")));
            let aside = names.find(|path| !path.exists()).expect("numbers do not end");
            std::fs::rename(&dest, aside).expect("a rename in our directory");
        }
    }

    /// A command that applies a manifest.
    pub fn apply(&self, url: &str) -> Command {
        let mut command = self.shipit(&["apply", url, "--lock-dir"]);
        command.arg(self.dir.join("locks"));
        command
    }

    /// What an apply gets over the network, responses' bodies of all kinds.
    pub fn fetched(&self, url: &str) -> u64 {
        self.proxy.forget();
        let mut command = self.apply(url);
        command.envs(self.s3.env_at(&self.proxy.url()));
        run(command);
        self.proxy.count("GET").response_bytes
    }
}
