//! Hosts without Consul: a directory in which each has a file of what it was told, and files that make it fail or hang.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use shipit_testbed::{Process, Ran};

use crate::project::{Project, release_of};

/// A role `web` with hosts that are scripts here.
pub struct Fleet {
    pub project: Project,
}

impl Fleet {
    /// Hosts of these names; further lines for `[kick]`, and for the role.
    pub fn new(hosts: &[&str], kick: &str, role: &str) -> Self {
        let project = Project::new();
        let dir = project.tmp.mkdir("hosts");
        let script = format!(
            "host=$1 dir={}; read -r url; echo \"$url\" >>$dir/$host.told\n\
             echo \"$host gets $url\"\n\
             while [ -e $dir/$host.hang ]; do sleep 0.05; done\n\
             if [ -e $dir/$host.fail ]; then echo \"$host is broken\"; exit 3; fi\n",
            dir.display()
        );
        fs::write(dir.join("run"), script).unwrap();
        let names: Vec<String> = hosts.iter().map(|host| format!("{host:?}")).collect();
        project.config(&format!(
            "app = \"shop\"\n[store]\nurl = \"file://{store}\"\n[kick]\ntransport = \"exec\"\n{kick}\n[role.web]\n\
             dest = \"/srv/shop\"\n{role}\n[role.web.exec]\nhosts = [{names}]\ncommand = \"sh {dir}/run {{{{ host }}}}\"\n\
             [stage.staging]\n",
            store = project.tmp.join("store").display(),
            names = names.join(", "),
            dir = dir.display(),
        ));
        Fleet { project }
    }

    /// A new commit, built and published; the release's id.
    pub fn release(&self, text: &str) -> String {
        self.project.repo.write("app.txt", text).commit(text);
        let _ = self.project.build("main");
        release_of(&self.project.publish("staging", "web"))
    }

    /// `shipit COMMAND web --stage staging …`.
    pub fn shipit(&self, command: &str, more: &[&str]) -> Ran {
        let args = [&[command, "web", "--stage", "staging"][..], more].concat();
        self.project.shipit(&args).run()
    }

    /// The same, started and left running.
    pub fn start(&self, command: &str, more: &[&str]) -> Process {
        let args = [&[command, "web", "--stage", "staging"][..], more].concat();
        let log = self
            .project
            .tmp
            .join(format!("{command}-{}.log", fastrand::u32(..)));
        self.project.shipit(&args).start(command, log)
    }

    /// The JSON document of a command that ends with this code.
    #[track_caller]
    pub fn json(&self, command: &str, more: &[&str], code: i32) -> Value {
        let more = [more, &["--output", "json"]].concat();
        let ran = self.shipit(command, &more).exits(code);
        serde_json::from_str(&ran.out()).unwrap_or_else(|error| panic!("{error}: {ran}"))
    }

    fn file(&self, host: &str, what: &str) -> PathBuf {
        self.project.tmp.join(format!("hosts/{host}.{what}"))
    }

    /// Makes a host fail, or do so no more.
    pub fn fails(&self, host: &str, fails: bool) {
        self.switch(host, "fail", fails);
    }

    /// Makes a host hang until it is told otherwise.
    pub fn hangs(&self, host: &str, hangs: bool) {
        self.switch(host, "hang", hangs);
    }

    fn switch(&self, host: &str, what: &str, on: bool) {
        if on {
            fs::write(self.file(host, what), "").unwrap();
        } else {
            let _ = fs::remove_file(self.file(host, what));
        }
    }

    /// The file names of the manifests that a host was told, with their releases: `<release>/web.yml`.
    pub fn told(&self, host: &str) -> Vec<String> {
        let text = fs::read_to_string(self.file(host, "told")).unwrap_or_default();
        let last_two = |line: &str| {
            let mut parts: Vec<&str> = line.rsplit('/').take(2).collect();
            parts.reverse();
            parts.join("/")
        };
        text.lines().map(last_two).collect()
    }

    /// The releases that a host was told, oldest first.
    pub fn releases(&self, host: &str) -> Vec<String> {
        let of = |told: String| told.split('/').next().unwrap_or_default().to_owned();
        self.told(host).into_iter().map(of).collect()
    }

    /// Waits until a host was told so many manifests.
    #[track_caller]
    pub fn wait_told(&self, host: &str, times: usize) {
        shipit_testbed::until("the host to be told", Duration::from_secs(30), || {
            self.told(host).len() >= times
        });
    }

    /// A release whose manifest is live, by its bytes.
    pub fn live(&self) -> Option<String> {
        let store = self.project.tmp.join("store");
        let live = fs::read(store.join("live/shop/staging/web.yml")).ok()?;
        let releases = fs::read_dir(store.join("releases/shop/staging")).ok()?;
        releases
            .map(|entry| entry.unwrap())
            .find(|entry| fs::read(entry.path().join("web.yml")).ok().as_ref() == Some(&live))
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
    }

    /// The history, oldest first: `started.json`, and `ended.json` where there is one.
    pub fn history(&self) -> Vec<(Value, Option<Value>)> {
        let dir = self.project.tmp.join("store/kicks/shop/staging");
        let mut kicks: Vec<PathBuf> = fs::read_dir(dir)
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path())
            .collect();
        kicks.sort();
        let read = |path: PathBuf| Some(serde_json::from_slice(&fs::read(path).ok()?).unwrap());
        kicks
            .into_iter()
            .filter_map(|kick| Some((read(kick.join("started.json"))?, read(kick.join("ended.json")))))
            .collect()
    }

    /// Whether anybody holds the stage's lock.
    pub fn locked(&self) -> bool {
        self.project.tmp.join("store/locks/shop/staging").exists()
    }
}

/// The states of a document's first role, by host.
pub fn states(document: &Value) -> Vec<(String, String)> {
    let hosts = document["roles"][0]["hosts"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    hosts
        .iter()
        .map(|host| (text(&host["host"]), text(&host["state"])))
        .collect()
}
