//! The directory that a build works in: one fixed path per app, since native extensions record where they were built. A lock
//! lets one build at a time use it. The tree in it is kept from build to build; all else is moved aside and removed at the
//! end: removing first slows what follows.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use shipit_artifact::EntryPath;
use shipit_source::{Commit, Planned, WriteOptions};
use shipit_steps::{Distrust, InPlace, Kept, PlannedFile, UpdateRequest, Workspace};

use super::gone::Held;
use super::layers::Given;
use crate::config::Settled;
use crate::context::Context;
use crate::errors::{CliError, Result, chain};
use crate::report;
use crate::settle;
use crate::state::{StateDirectory, create_directory};

/// How often a waiting build looks whether it was interrupted.
const LOOK: std::time::Duration = std::time::Duration::from_millis(100);

/// Where a build's things lie; nothing of it is made or locked yet.
#[derive(Debug, Clone)]
pub struct Places {
    /// The app's directory.
    root: PathBuf,
    /// Whether it is one for a single build, of which nothing is kept.
    second: bool,
    /// The directories as the steps are given them.
    pub steps: Workspace,
}

impl Places {
    /// Those of the app: its own, or, for a build that is compared with it, a second one.
    pub fn new(
        config: &Settled,
        commit: &Commit,
        state: &StateDirectory,
        second: bool,
        context: &Context,
    ) -> Result<Self> {
        let tag = settle::source::tag(&config.repo.join("\n"));
        let suffix = if second { "-verify" } else { "" };
        let name = format!("work/{}-{tag}{suffix}", config.app);
        let root = context.writable_part(Path::new(&name))?;
        let steps = Workspace {
            root: root.join("tree"),
            logs: state.logs(&format!("{}{suffix}", logs_name(commit))),
            cache: context.writable_part(Path::new("tools"))?,
            aside: root.join("aside"),
            base_env: settle::steps::base_environment(context),
            jobs: context.jobs(),
        };
        create_directory(&steps.logs)?;
        Ok(Places { root, second, steps })
    }
}

/// The app's workspace, held for one build.
#[derive(Debug)]
pub struct BuildWorkspace {
    places: Places,
    /// The tree, kept from build to build.
    pub kept: Kept,
    // Whether the tree was brought to the revision: then there is one.
    used: bool,
    // Held until the build is over; the kernel lets go of it when the process ends, however that is.
    lock: Held,
}

impl BuildWorkspace {
    /// Waits for the workspace, and empties what is no build's but the one's that made it.
    pub fn open(places: &Places, context: &Context) -> Result<Self> {
        create_directory(&places.root)?;
        let path = places.root.join("lock");
        let lock = Held::new(&path, lock(&path, context)?);
        let kept = Kept::open(&places.root, context.jobs())?;
        let workspace = BuildWorkspace {
            places: places.clone(),
            kept,
            used: false,
            lock,
        };
        // What builds that failed or were killed left: without this each of them would leave its trees for ever.
        // What cannot be removed, another user's files perhaps, is in the way of nobody.
        if let Err(error) = workspace.kept.remove_old() {
            context.output.warn(chain(&error));
        }
        workspace.set_aside()?;
        for path in [&workspace.places.steps.aside, &workspace.layers()] {
            create_directory(path)?;
        }
        Ok(workspace)
    }

    /// Where the workspace was, if somebody removed it.
    pub fn removed(&self) -> Option<&Path> {
        let tree_is_there = self.kept.root().symlink_metadata().is_ok();
        (self.lock.is_gone() || !tree_is_there && self.used).then_some(&self.places.root)
    }

    /// Where layers that are not cached lie until the artifact is assembled.
    pub fn layers(&self) -> PathBuf {
        self.places.root.join("layers")
    }

    /// A fresh directory for the tests' copy of the artifact.
    pub fn test_directory(&self) -> PathBuf {
        self.places.root.join("test")
    }

    /// Brings the tree to the revision; says which of these layers (keys, and what is theirs alone) stand in place.
    pub fn update(&mut self, given: &Given<'_>, layers: &[(String, Vec<EntryPath>)]) -> Result<Vec<String>> {
        let context = given.context;
        if let Some(why) = self.kept.distrust() {
            context
                .output
                .say(format!("the workspace is made anew: {}", distrust(why)));
        }
        let planned: Vec<PlannedFile> = given.tree.planned().into_iter().map(planned).collect();
        let layers: Vec<InPlace> = layers.iter().map(|(key, owned)| in_place(key, owned)).collect();
        let mtime = given.keep.is_empty().then_some(given.commit.time);
        let reporter = report::Source::new(&context.output);
        let flag = context.interrupt.flag();
        let root = self.kept.root().to_owned();
        let write = |paths: &[EntryPath]| {
            let options = WriteOptions {
                jobs: context.jobs(),
                mtime,
            };
            let on_event = |event| reporter.event(&event);
            given
                .tree
                .write(&root, paths, options, flag, &on_event)
                .map(|_| ())
        };
        let request = UpdateRequest {
            planned: &planned,
            layers: &layers,
            keep: &given.keep,
            mtime,
            write: &write,
        };
        let _wait = context.output.waiting("bringing the workspace up to date");
        let updated = self.kept.update(&request, flag)?;
        self.used = true;
        Ok(updated.in_place)
    }

    /// Puts a layer back that stood in the tree before this build, and was not known to be wanted when it was brought to the
    /// revision; whether it was to be had.
    pub fn unpark(&mut self, key: &str, owned: &[EntryPath]) -> Result<bool> {
        Ok(self.kept.unpark(&in_place(key, owned))?)
    }

    /// Notes that a layer stands in the tree now.
    pub fn placed(&mut self, key: &str, owned: &[EntryPath]) -> Result<()> {
        Ok(self.kept.placed(&in_place(key, owned))?)
    }

    /// Removes what the next build does not need. What cannot be removed is in the way of nobody, and said.
    pub fn clean(&self, context: &Context) {
        let removed = self.set_aside().and_then(|()| Ok(self.kept.remove_old()?));
        if let Err(error) = removed {
            context.output.error(&error);
        }
    }

    fn set_aside(&self) -> Result<()> {
        let mut paths = vec![
            self.places.steps.aside.clone(),
            self.layers(),
            self.test_directory(),
        ];
        if self.places.second {
            paths.push(self.places.steps.root.clone());
        }
        for path in &paths {
            self.kept.set_aside(path)?;
        }
        Ok(())
    }
}

fn planned(planned: Planned) -> PlannedFile {
    let Planned { entry, identity } = planned;
    PlannedFile {
        path: entry.path,
        kind: entry.kind,
        size: entry.size,
        identity,
    }
}

fn in_place(key: &str, owned: &[EntryPath]) -> InPlace {
    InPlace {
        key: key.to_owned(),
        owned: owned.to_vec(),
    }
}

fn distrust(why: &Distrust) -> String {
    match why {
        Distrust::Interrupted => "the last build did not finish bringing it up to date".to_owned(),
        Distrust::Rebooted => "the machine was started since".to_owned(),
        Distrust::Damaged(why) => why.clone(),
        _ => "it is not to be relied on".to_owned(),
    }
}

/// Logs of a build: the time keeps them sorted, the revision tells them apart.
fn logs_name(commit: &Commit) -> String {
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    format!("{now}-{}", commit.short(7))
}

fn lock(path: &Path, context: &Context) -> Result<File> {
    let failed = |error| CliError::disk(format!("locking {}", path.display()), error);
    let file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .map_err(failed)?;
    let mut wait = None;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        if wait.is_none() {
            context.output.say("waiting for another build of this app to end");
            wait = Some(context.output.waiting("waiting for another build"));
        }
        if context.interrupt.signal().is_some() {
            return Err(context.stopped());
        }
        std::thread::sleep(LOOK);
    }
}
