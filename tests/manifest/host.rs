//! One host: its dest, its artifacts, and stretcher under the watch's wrapper.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shipit_manifest::{Hooks, Layout, Link, RenderInput, Template, render};
use shipit_testbed::{Cmd, Process, Ran, Testbed, Tmp, procs, random_hex, until};

/// What the watch runs: one handler at a time, the leftovers of killed ones removed.
const HANDLE: &str = r#"exec 9>>"$1"; shift; flock 9; rm -rf "${TMPDIR:?}"/stretcher*; exec "$@""#;

/// A path that is shared, and at which every release has a file.
pub const SEEDED: &str = "config/database.yml";

/// How many files an artifact has beside its fixed ones.
const FILES: usize = 40;

pub struct Host {
    pub tmp: Tmp,
    mark: String,
    /// What each deploy's environment has beside the usual.
    pub env: RefCell<Vec<(String, String)>>,
    template: Option<String>,
}

impl Host {
    pub fn new() -> Self {
        Host::build(None)
    }

    fn build(template: Option<String>) -> Self {
        let host = Host {
            tmp: Tmp::new("manifest"),
            mark: random_hex(8),
            env: RefCell::default(),
            template,
        };
        let _ = host.tmp.mkdir("tmp");
        let _ = host.tmp.mkdir("store");
        host
    }

    /// All its manifests come from this template.
    pub fn with_template(text: String) -> Self {
        Host::build(Some(text))
    }

    pub fn dest(&self) -> PathBuf {
        self.tmp.join("srv/the app")
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.dest().join(path)
    }

    /// A release of the role web, its artifact made. Its `log/` and the file `config/database.yml` are shipped and shared.
    pub fn release(&self, id: &str) -> RenderInput {
        let artifact = self.tmp.join(format!("store/{id}.tar.zst"));
        if !artifact.exists() {
            self.pack(id, &artifact);
        }
        let sum = Cmd::new("sha256sum").arg(&artifact).run().ok().out();
        let events = self.tmp.join("events");
        RenderInput {
            src: Some(format!("file://{}", artifact.display())),
            checksum: Some(sum[..64].to_owned()),
            record_sha256: Some("0".repeat(64)),
            app: "shop".to_owned(),
            stage: "test".to_owned(),
            role: "web".to_owned(),
            release: id.to_owned(),
            revision: "3074f46".to_owned(),
            dest: Some(self.dest().display().to_string()),
            layout: Layout::Releases,
            link: Link::Auto,
            owner: Some(me()),
            shared: ["log", "tmp/pids", SEEDED].map(ToOwned::to_owned).to_vec(),
            excludes: Vec::new(),
            hooks: Hooks {
                before_switch: vec![format!(
                    "cp REVISION prepared; echo before {id} >>{}",
                    events.display()
                )],
                after_switch: vec![format!("echo after {id} >>{}", events.display())],
                check: Some("test -e prepared".to_owned()),
                timeout: Duration::from_secs(20),
                check_timeout: Duration::from_secs(10),
            },
            report: None,
            once: Vec::new(),
            keep_releases: 2,
            vars: Default::default(),
        }
    }

    fn pack(&self, id: &str, artifact: &Path) {
        let tree = format!("tree/{id}");
        self.tmp.write(format!("{tree}/REVISION"), id);
        self.tmp.write(format!("{tree}/log/shipped.log"), id);
        self.tmp.write(format!("{tree}/{SEEDED}"), seed(id));
        for number in 0..FILES {
            self.tmp
                .write(format!("{tree}/lib/{number}"), format!("{id} {number}"));
        }
        let new = artifact.with_extension("new");
        // The second differs per release, as commits' do: rsync skips a file of equal size and second.
        let second = id.bytes().fold(1_000_000_u32, |sum, byte| {
            sum.wrapping_mul(31) % 100_000_000 + u32::from(byte)
        });
        let words = ["-I", "zstd -q", "-cf"];
        Cmd::new("tar")
            .arg(format!("--mtime=@{second}"))
            .args(words)
            .arg(&new)
            .arg("-C")
            .arg(self.tmp.join(&tree))
            .arg(".")
            .run()
            .ok();
        fs::rename(new, artifact).unwrap();
    }

    /// Publishes the manifest and gives its URL.
    pub fn publish(&self, input: &RenderInput) -> String {
        let template = self.template.as_deref().map(|text| Template {
            name: "test.yml.j2",
            text,
        });
        let text = render(input, template)
            .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)));
        let path = self
            .tmp
            .write(format!("store/{}/{}.yml", input.release, input.role), text);
        format!("file://{}", path.display())
    }

    /// The handler, its input given.
    pub fn handler(&self, url: &str) -> Cmd {
        Cmd::new("sh")
            .args(["-c", HANDLE, "handle"])
            .arg(self.tmp.join("handler.lock"))
            .arg(Testbed::get().stretcher())
            .env("TMPDIR", self.tmp.join("tmp"))
            .env("TEST_MARK", &self.mark)
            .envs(
                self.env
                    .borrow()
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str())),
            )
            .cwd(self.tmp.path())
            .stdin(format!("{url}\n"))
            .timeout(Duration::from_secs(100))
    }

    /// One whole deploy.
    pub fn deploy(&self, input: &RenderInput) -> Ran {
        self.handler(&self.publish(input)).run()
    }

    /// A deploy to interrupt.
    pub fn start(&self, input: &RenderInput) -> Process {
        let log = self.tmp.join(format!("deploy-{}.log", random_hex(4)));
        self.handler(&self.publish(input)).start("a deploy", log)
    }

    /// Ends every process that a deploy of this host started, as a crash of the machine would.
    pub fn kill_all(&self) {
        until("the host's processes to end", Duration::from_secs(10), || {
            let left = procs::marked("TEST_MARK", &self.mark);
            if !left.is_empty() {
                let pids = left.iter().map(|process| process.pid.to_string());
                // One may have ended meanwhile.
                let _ = Cmd::new("sh")
                    .args(["-c", "kill -9 \"$@\" 2>/dev/null", "kill"])
                    .args(pids)
                    .run();
            }
            left.is_empty()
        });
    }

    /// How many of its processes have this word in their command line.
    pub fn running(&self, word: &str) -> usize {
        procs::marked("TEST_MARK", &self.mark)
            .iter()
            .filter(|process| process.command.contains(word))
            .count()
    }

    /// The release that `current` leads to.
    pub fn current(&self) -> Option<String> {
        let target = fs::read_link(self.at("current")).ok()?;
        Some(target.to_str()?.strip_prefix("releases/")?.to_owned())
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub fn names(&self, path: &str) -> Vec<String> {
        names(&self.at(path))
    }

    /// What the hooks wrote, line by line.
    pub fn events(&self) -> Vec<String> {
        let text = fs::read_to_string(self.tmp.join("events")).unwrap_or_default();
        text.lines().map(ToOwned::to_owned).collect()
    }

    /// What must hold at every moment: `current` leads to nothing but a whole release.
    pub fn assert_in_service(&self) {
        if let Some(id) = self.current() {
            self.assert_whole(&id);
        }
    }

    /// The release is all there, no file of another among it.
    pub fn assert_whole(&self, id: &str) {
        let root = format!("releases/{id}");
        assert_eq!(
            self.names(&root),
            ["REVISION", "config", "lib", "log", "prepared", "tmp"],
            "of {id}"
        );
        assert_eq!(
            (
                self.read(&format!("{root}/REVISION")),
                self.read(&format!("{root}/prepared"))
            ),
            (id.to_owned(), id.to_owned())
        );
        assert_eq!(self.names(&format!("{root}/lib")).len(), FILES, "of {id}");
        for number in 0..FILES {
            assert_eq!(
                self.read(&format!("{root}/lib/{number}")),
                format!("{id} {number}")
            );
        }
        for path in ["log", "tmp/pids", SEEDED] {
            let link = fs::read_link(self.at(&format!("{root}/{path}"))).unwrap();
            assert_eq!(link, self.at(&format!("shared/{path}")), "of {id}");
        }
        assert!(
            self.at(&format!(".shipit/{id}.complete")).exists(),
            "{id} is in service and not complete"
        );
        self.assert_seeded();
    }

    /// The shared file is the whole one of some release.
    pub fn assert_seeded(&self) {
        let text = self.read(&format!("shared/{SEEDED}"));
        let id = text.lines().next().unwrap_or_default();
        assert!(text == seed(id), "{} bytes of {id}", text.len());
    }

    /// What must hold after a deploy that was not cut.
    pub fn assert_deployed(&self, input: &RenderInput) {
        let id = &input.release;
        assert_eq!(self.current().as_ref(), Some(id));
        self.assert_whole(id);
        assert!(
            self.at(&format!(".shipit/{id}.done.{}", input.role)).exists(),
            "{id} is not done"
        );
        assert!(
            !self.at(&format!(".incoming/{id}")).exists(),
            "{id} is still incoming"
        );
        assert_eq!(self.read(&format!(".shipit/aside/{id}/log/shipped.log")), *id);
        assert!(!self.at(".current.new").exists());
        for other in self.names("releases") {
            assert!(
                self.at(&format!(".shipit/{other}.complete")).exists(),
                "{other} is left half-made"
            );
            self.assert_whole(&other);
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill_all();
    }
}

/// What a release ships at the shared file: large enough that a cut copy would show.
pub fn seed(id: &str) -> String {
    format!("{id}\n").repeat(20_000)
}

pub fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Who runs the test: an ordinary user may give files to itself alone.
pub fn me() -> String {
    let id = |flag| Cmd::new("id").arg(flag).run().ok().line();
    format!("{}:{}", id("-u"), id("-g"))
}
