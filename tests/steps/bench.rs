//! What the tests of the steps share: a workspace, running a step in it, looking at what it vendored.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};

use shipit_artifact::EntryPath;
use shipit_steps::{EnvVar, Error, Event, StepOutcome, StepSpec, Tool, Vendored, Workspace};
use shipit_testbed::{Testbed, Tmp};

/// A workspace of one test. Only one exists at a time: steps adopt and end what has no parent any more in their process,
/// and this process is that of all tests.
pub struct Bench {
    pub workspace: Workspace,
    tmp: Tmp,
    _turn: MutexGuard<'static, ()>,
}

impl Bench {
    pub fn new() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        shipit_steps::become_subreaper().unwrap();
        let tmp = Tmp::new("steps");
        let workspace = workspace(&tmp, "work");
        Self {
            workspace,
            tmp,
            _turn: turn,
        }
    }

    /// Another workspace, at a path of another length and with a cache of its own.
    pub fn elsewhere(&self) -> Workspace {
        workspace(&self.tmp, "another/place/that/is/deeper")
    }

    pub fn root(&self) -> &Path {
        &self.workspace.root
    }

    pub fn write(&self, name: &str, text: &str) {
        write(self.root(), name, text);
    }
}

pub fn write(root: &Path, name: &str, text: &str) {
    let file = root.join(name);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

fn workspace(tmp: &Tmp, name: &str) -> Workspace {
    let place = tmp.join(name);
    let home = tmp.mkdir("home");
    let root = place.join("tree");
    fs::create_dir_all(&root).unwrap();
    let base_env = vec![
        ("PATH".into(), Testbed::get().path().to_owned()),
        ("HOME".into(), home.into_os_string()),
        ("LANG".into(), "C.UTF-8".into()),
    ];
    Workspace {
        root,
        logs: place.join("logs"),
        cache: place.join("cache"),
        aside: place.join("aside"),
        base_env,
        jobs: std::num::NonZeroUsize::MIN.saturating_add(1),
    }
}

pub fn step(tool: Tool) -> StepSpec {
    StepSpec {
        name: tool.name().to_owned(),
        tool,
        dir: None,
        env: Vec::new(),
        timeout: Some(std::time::Duration::from_secs(300)),
        idle_timeout: None,
        layer: true,
        inputs: Vec::new(),
        outputs: Vec::new(),
    }
}

pub fn listed(pairs: Vec<(String, String)>) -> Vec<EnvVar> {
    pairs
        .into_iter()
        .map(|(name, value)| EnvVar {
            name,
            value,
            secret: false,
        })
        .collect()
}

pub fn path(name: &str) -> EntryPath {
    EntryPath::new(name).unwrap()
}

/// Runs the step; returns what it told besides.
pub fn try_run(spec: &StepSpec, workspace: &Workspace) -> (Result<StepOutcome, Error>, Vec<Event>) {
    let events = Mutex::new(Vec::new());
    let result = shipit_steps::run(spec, workspace, &AtomicBool::new(false), &|event| {
        events.lock().unwrap().push(event);
    });
    (result, events.into_inner().unwrap())
}

/// Runs a step that must succeed and vendor.
#[track_caller]
pub fn vendor(spec: &StepSpec, workspace: &Workspace) -> (Vendored, Vec<Event>) {
    let (result, events) = try_run(spec, workspace);
    let outcome = result.unwrap_or_else(|error| panic!("{error}\n{}", error.tail().join("\n")));
    (outcome.vendored.unwrap(), events)
}

pub fn warnings(events: &[Event]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Warning { message, .. } => Some(message.as_str()),
            _ => None,
        })
        .collect()
}

pub fn names(paths: &[EntryPath]) -> Vec<String> {
    paths.iter().map(ToString::to_string).collect()
}

/// Every file that is vendored: what `tar` would see, without times.
pub fn files(vendored: &Vendored) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut pending: Vec<PathBuf> = vendored
        .paths
        .iter()
        .map(|path| vendored.root.join(path.as_path()))
        .collect();
    while let Some(path) = pending.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let mode = metadata.permissions().mode();
        let content = if metadata.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else if metadata.is_symlink() {
            fs::read_link(&path)
                .unwrap()
                .into_os_string()
                .into_encoded_bytes()
        } else {
            fs::read(&path).unwrap()
        };
        found.insert(
            path.strip_prefix(&vendored.root).unwrap().to_path_buf(),
            (mode, content),
        );
    }
    found
}

/// Fails with the names of the files that differ.
#[track_caller]
pub fn assert_same_files(one: &Vendored, other: &Vendored) {
    let (one, other) = (files(one), files(other));
    assert!(!one.is_empty());
    let differ: Vec<_> = one
        .keys()
        .chain(other.keys())
        .filter(|path| one.get(*path) != other.get(*path))
        .map(|path| path.display().to_string())
        .collect();
    assert!(differ.is_empty(), "not the same in both builds: {differ:#?}");
}
