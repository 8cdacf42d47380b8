//! What the tests of a host share: a sandbox, `apply` in it, stretcher in it, and what a directory holds.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shipit_host::{Applied, ApplyRequest, Error, Event, Limits, OnEvent};
use shipit_store::{Fetcher, FetcherOptions, S3Options};
use shipit_testbed::{Cmd, Ran, S3Server, Testbed, Tmp};

/// One host: a directory with all that a manifest touches.
pub struct Sandbox {
    tmp: Tmp,
    pub environment: Vec<(OsString, OsString)>,
    pub temp_dir: PathBuf,
    s3: Option<S3Options>,
}

/// What an apply gave.
pub struct Outcome {
    pub result: Result<Applied, Error>,
    pub events: Vec<Event>,
}

impl Sandbox {
    pub fn new(name: &str) -> Self {
        let tmp = Tmp::new(name);
        let temp_dir = tmp.mkdir("tmp");
        let _ = tmp.mkdir("cwd");
        let environment = vec![
            ("PATH".into(), Testbed::get().path().to_owned()),
            ("HOME".into(), tmp.mkdir("home").into()),
            ("TMPDIR".into(), temp_dir.clone().into()),
        ];
        Self {
            tmp,
            environment,
            temp_dir,
            s3: None,
        }
    }

    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.push((name.into(), value.into()));
    }

    /// Lets both programs read from a server.
    pub fn with_s3(mut self, server: &S3Server) -> Self {
        for (name, value) in server.env() {
            self.set(&name, value);
        }
        let credentials = aws_credentials(server);
        let config = aws_config::SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::latest())
            .region(aws_config::Region::from_static(server.region()))
            .endpoint_url(server.endpoint())
            .credentials_provider(credentials)
            .build();
        self.s3 = Some(S3Options::new(config));
        self
    }

    pub fn path(&self) -> &Path {
        self.tmp.path()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.tmp.join(name)
    }

    /// Where commands run.
    pub fn cwd(&self) -> PathBuf {
        self.join("cwd")
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        self.tmp.write(name, content)
    }

    pub fn request(&self, manifest: &str) -> ApplyRequest {
        let path = self.write("manifest.yml", manifest);
        ApplyRequest {
            manifest_url: format!("file://{}", path.display()),
            environment: self.environment.clone(),
            working_dir: self.cwd(),
            temp_dir: self.temp_dir.clone(),
            lock_dir: self.join("locks"),
            lock_wait: None,
            retry: 0,
            retry_wait: Duration::from_millis(200),
            timeout: None,
            event: None,
            consul: None,
            random_delay: Duration::ZERO,
            max_bandwidth: None,
            verbose: false,
            limits: Limits::default(),
            jobs: std::num::NonZeroUsize::new(2).unwrap(),
        }
    }

    pub fn apply(&self, manifest: &str) -> Outcome {
        self.apply_request(self.request(manifest))
    }

    pub fn apply_request(&self, request: ApplyRequest) -> Outcome {
        self.apply_until(request, Arc::new(AtomicBool::new(false)))
    }

    pub fn apply_until(&self, request: ApplyRequest, cancel: Arc<AtomicBool>) -> Outcome {
        let events = Arc::new(Mutex::new(Vec::new()));
        let sink = events.clone();
        let on_event: OnEvent = Arc::new(move |event| sink.lock().unwrap().push(event));
        let result = self.run(request, cancel, on_event);
        let events = std::mem::take(&mut *events.lock().unwrap());
        Outcome { result, events }
    }

    pub fn run(
        &self,
        request: ApplyRequest,
        cancel: Arc<AtomicBool>,
        on_event: OnEvent,
    ) -> Result<Applied, Error> {
        let options = FetcherOptions {
            s3: self.s3.clone().map(Into::into),
            ..FetcherOptions::default()
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let fetcher = Fetcher::new(options);
            shipit_host::apply(request, &fetcher, cancel, on_event).await
        })
    }

    /// The real stretcher with the same manifest, given its URL on standard input.
    pub fn stretcher(&self, manifest: &str, flags: &[&str]) -> Ran {
        let path = self.write("manifest.yml", manifest);
        Cmd::new(Testbed::get().stretcher())
            .args(flags)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .cwd(self.cwd())
            .stdin(format!("file://{}\n", path.display()))
            .timeout(Duration::from_secs(60))
            .run()
    }

    /// Nothing temporary is left.
    #[track_caller]
    pub fn assert_clean(&self) {
        let left: Vec<_> = fs::read_dir(&self.temp_dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

fn aws_credentials(server: &S3Server) -> aws_sdk_s3::config::SharedCredentialsProvider {
    aws_sdk_s3::config::SharedCredentialsProvider::new(aws_sdk_s3::config::Credentials::new(
        server.access_key(),
        server.secret_key(),
        None,
        None,
        "test",
    ))
}

impl Outcome {
    /// The applied manifest; an error is shown with its causes.
    #[track_caller]
    pub fn ok(self) -> Applied {
        self.result
            .unwrap_or_else(|error| panic!("apply failed: {}", shown(&error)))
    }

    #[track_caller]
    pub fn error(&self) -> &Error {
        self.result.as_ref().expect_err("apply should have failed")
    }
}

/// An error with its causes.
pub fn shown(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

/// An entry as a user sees it.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    pub kind: &'static str,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds; 0 where the time says when the test ran.
    pub mtime: i64,
    pub links: u64,
    pub content: Vec<u8>,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            kind,
            mode,
            uid,
            gid,
            mtime,
            links,
            content,
        } = self;
        let content = String::from_utf8_lossy(&content[..content.len().min(200)]);
        write!(
            f,
            "{kind} {mode:o} {uid}:{gid} at {mtime}, {links} links, {content:?}"
        )
    }
}

/// All that a directory holds, itself included as the empty path; empty when it is not there.
pub fn holds(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut all = BTreeMap::new();
    if root.symlink_metadata().is_ok() {
        look(root, root, &mut all);
    }
    all
}

fn look(root: &Path, path: &Path, all: &mut BTreeMap<PathBuf, Seen>) {
    let meta = path.symlink_metadata().unwrap();
    let (kind, content) = if meta.is_symlink() {
        (
            "link",
            fs::read_link(path).unwrap().into_os_string().into_encoded_bytes(),
        )
    } else if meta.is_dir() {
        ("directory", Vec::new())
    } else if meta.is_file() {
        ("file", fs::read(path).unwrap())
    } else {
        ("special", Vec::new())
    };
    // What a test makes while it runs carries the time of the run; archives in these tests are older.
    let mtime = if meta.mtime() > 1_700_000_000 {
        0
    } else {
        meta.mtime()
    };
    let seen = Seen {
        kind,
        mode: meta.permissions().mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        mtime,
        links: if meta.is_dir() { 0 } else { meta.nlink() },
        content,
    };
    all.insert(path.strip_prefix(root).unwrap().to_owned(), seen);
    if meta.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            look(root, &entry.unwrap().path(), all);
        }
    }
}

/// Without root, stretcher's tar takes the umask's bits away: the listed difference `umask`.
pub fn as_under_the_umask(all: &mut BTreeMap<PathBuf, Seen>) {
    assert!(include_str!("../../docs/stretcher-compatibility.md").contains("| `umask` |"));
    if !rustix::process::geteuid().is_root() {
        let files = all.values_mut().filter(|seen| seen.kind != "link");
        files.for_each(|seen| seen.mode &= !0o022);
    }
}

/// How two directories differ, in words; empty when they do not.
pub fn difference(left: &BTreeMap<PathBuf, Seen>, right: &BTreeMap<PathBuf, Seen>) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, seen) in left {
        match right.get(path) {
            None => lines.push(format!("{} is missing on the right", path.display())),
            Some(other) if other != seen => lines.push(format!("{}: {seen:?} / {other:?}", path.display())),
            Some(_) => {}
        }
    }
    let more = right.keys().filter(|path| !left.contains_key(*path));
    lines.extend(more.map(|path| format!("{} is missing on the left", path.display())));
    lines
}

/// Packs a directory with the real tar, owners as numbers, and returns the archive's path.
pub fn pack(sandbox: &Sandbox, name: &str, dir: &Path) -> PathBuf {
    let archive = sandbox.join(name);
    let flag = match archive.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => "-czf",
        Some("zst") => "--zstd -cf",
        _ => "-cf",
    };
    let mut tar = program("tar");
    tar.args(["--numeric-owner", "--owner=0", "--group=0", "-C"])
        .arg(dir)
        .args(flag.split(' '));
    assert!(
        tar.args([archive.as_os_str(), ".".as_ref()])
            .status()
            .unwrap()
            .success()
    );
    archive
}

/// The checksum by the program of that name.
pub fn sum(name: &str, file: &Path) -> String {
    let output = program(name).arg(file).output().unwrap();
    assert!(output.status.success(), "{name}: {output:?}");
    let line = String::from_utf8(output.stdout).unwrap();
    line.split_whitespace()
        .next()
        .unwrap()
        .trim_start_matches('\\')
        .to_owned()
}

/// A small program that ends by itself; without the watch over children that costs the harness's `Cmd` its time.
pub fn program(name: &str) -> std::process::Command {
    let mut command = std::process::Command::new(Testbed::get().program(name));
    command
        .env_clear()
        .env("PATH", Testbed::get().path())
        .env("LANG", "C.UTF-8");
    command
}
