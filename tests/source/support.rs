//! What the tests of the source share: options, collected events, directories to compare.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use shipit_source::{Commit, Error, Event, Fetch, Remote, Source, SourceOptions, Timeouts, TreeOptions};
use shipit_testbed::{Cmd, Repo, Tmp, git_env};

/// How many threads export.
pub const JOBS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

/// Options for these remotes, with a mirror in `tmp` and an environment that knows no user.
pub fn options(tmp: &Tmp, remotes: &[&str]) -> SourceOptions {
    let remotes = remotes
        .iter()
        .map(|remote| Remote::parse(remote).unwrap())
        .collect();
    let mut options = SourceOptions::new(remotes, tmp.join("mirror.git"));
    options.git_env = git_env()
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    options
        .git_env
        .push(("PATH".into(), std::env::var_os("PATH").unwrap()));
    options.timeouts = Timeouts {
        connect: Duration::from_secs(20),
        stall: Duration::from_secs(20),
    };
    options
}

/// The ways to fetch that every remote must stand.
pub fn both(options: &SourceOptions) -> [SourceOptions; 2] {
    [Fetch::Libgit2, Fetch::Cli].map(|fetch| SourceOptions {
        fetch,
        ..options.clone()
    })
}

/// A result and what was reported on the way.
pub struct Told<T> {
    pub result: Result<T, Error>,
    pub events: Vec<Event>,
}

impl<T> Told<T> {
    #[track_caller]
    pub fn ok(self) -> T {
        match self.result {
            Ok(value) => value,
            Err(error) => panic!("{error}: {error:?}\n{:#?}", self.events),
        }
    }

    #[track_caller]
    pub fn err(self) -> Error {
        match self.result {
            Ok(_) => panic!("it went well, against expectation\n{:#?}", self.events),
            Err(error) => error,
        }
    }

    /// Whether anything was asked of a remote.
    pub fn fetched(&self) -> bool {
        self.events
            .iter()
            .any(|event| matches!(event, Event::Fetching { .. }))
    }
}

pub fn told<T>(run: impl FnOnce(&(dyn Fn(Event) + Sync)) -> Result<T, Error>) -> Told<T> {
    let events = Mutex::new(Vec::new());
    let result = run(&|event| events.lock().unwrap().push(event));
    Told {
        result,
        events: events.into_inner().unwrap(),
    }
}

pub fn resolve(options: &SourceOptions, revision: &str) -> Told<Commit> {
    told(|on_event| {
        let source = Source::open(options.clone())?;
        source.resolve(revision, &AtomicBool::new(false), on_event)
    })
}

/// Resolves and exports into `dest`.
pub fn export(options: &SourceOptions, revision: &str, dest: &Path, tree: TreeOptions) -> Told<Commit> {
    told(|on_event| {
        let never = AtomicBool::new(false);
        let source = Source::open(options.clone())?;
        let commit = source.resolve(revision, &never, on_event)?;
        source
            .tree(&commit, tree, &never, on_event)?
            .export(dest, JOBS, &never, on_event)?;
        Ok(commit)
    })
}

/// git in the mirror.
pub fn in_mirror(options: &SourceOptions, args: &[&str]) -> String {
    Cmd::new("git")
        .envs(git_env())
        .env("GIT_DIR", &options.mirror)
        .args(args)
        .run()
        .ok()
        .line()
}

/// How many commits the mirror holds.
pub fn commits(options: &SourceOptions) -> usize {
    let all = in_mirror(
        options,
        &["cat-file", "--batch-all-objects", "--batch-check=%(objecttype)"],
    );
    all.lines().filter(|kind| *kind == "commit").count()
}

/// Everything under a directory, by path: mode, time and content (a symlink's is its target).
pub fn snapshot(root: &Path) -> BTreeMap<Vec<u8>, (u32, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for item in std::fs::read_dir(&directory).unwrap() {
            let path: PathBuf = item.unwrap().path();
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let content = if meta.is_symlink() {
                std::fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
            } else if meta.is_dir() {
                directories.push(path.clone());
                Vec::new()
            } else {
                std::fs::read(&path).unwrap()
            };
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            found.insert(name, (meta.mode(), meta.mtime(), content));
        }
    }
    found
}

/// What `git archive` writes, unpacked into `dest`.
pub fn archive(repo: &Repo, revision: &str, dest: &Path) {
    let args = [
        "-c",
        "tar.umask=0022",
        "-c",
        "core.abbrev=12",
        "archive",
        "--format=tar",
        revision,
    ];
    let tarball = repo.try_git(&args).ok().stdout;
    std::fs::create_dir_all(dest).unwrap();
    let _ = Cmd::new("tar")
        .args(["xpf", "-", "-C"])
        .arg(dest)
        .stdin(tarball)
        .run()
        .ok();
}

/// A repository of three commits with tags and branches, and a bare clone that is served.
pub fn served(tmp: &Tmp) -> (Repo, Vec<String>) {
    let repo = Repo::new();
    let mut ids = Vec::new();
    for number in 1..=3 {
        repo.write("file", format!("{number}\n"))
            .write(format!("data/{number}"), vec![b'x'; 1000 * number]);
        ids.push(repo.commit(&format!("commit {number}")));
        if number == 1 {
            repo.annotated_tag("v1");
        }
    }
    repo.tag("v3");
    repo.branch("release/2024").commit("on a branch");
    ids.push(repo.head());
    repo.switch("main");
    repo.bare_clone(&tmp.join("served/shop.git"));
    (repo, ids)
}
