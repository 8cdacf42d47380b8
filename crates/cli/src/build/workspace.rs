//! The directory that a build works in: one fixed path per app, since native extensions record where they were built. A lock
//! lets one build at a time use it. Old trees are moved aside and removed at the end: removing first slows what follows.

use std::fs::{File, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use shipit_source::Commit;
use shipit_steps::Workspace;

use crate::config::Settled;
use crate::context::Context;
use crate::errors::{CliError, Result};
use crate::settle;
use crate::state::{StateDirectory, create_directory};

/// How often a waiting build looks whether it was interrupted.
const LOOK: std::time::Duration = std::time::Duration::from_millis(100);

/// The app's workspace, held for one build.
#[derive(Debug)]
pub struct BuildWorkspace {
    root: PathBuf,
    steps: Workspace,
    // Held until the build is over; the kernel lets go of it when the process ends, however that is.
    _lock: File,
}

impl BuildWorkspace {
    /// Waits for the workspace and empties it.
    pub fn open(
        config: &Settled,
        commit: &Commit,
        state: &StateDirectory,
        context: &Context,
    ) -> Result<Self> {
        let cache = context.cache_directory()?;
        let root = cache.join("work").join(format!(
            "{}-{}",
            config.app,
            settle::source::tag(&config.repo.join("\n"))
        ));
        create_directory(&root)?;
        let lock = lock(&root.join("lock"), context)?;
        let steps = Workspace {
            root: root.join("tree"),
            logs: state.logs(&logs_name(commit)),
            cache: cache.join("tools"),
            aside: root.join("aside"),
            base_env: settle::steps::base_environment(context),
        };
        let workspace = BuildWorkspace {
            root,
            steps,
            _lock: lock,
        };
        // What builds that failed or were killed left: without this each of them would leave its trees for ever.
        workspace.remove_trash(context);
        workspace.set_aside()?;
        for path in [
            &workspace.steps.root,
            &workspace.steps.aside,
            &workspace.layers(),
            &workspace.steps.logs,
        ] {
            create_directory(path)?;
        }
        Ok(workspace)
    }

    /// The directories as the steps are given them.
    pub fn steps(&self) -> &Workspace {
        &self.steps
    }

    /// Where sealed layers lie until the artifact is assembled.
    pub fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// A fresh directory for the tests' copy of the artifact.
    pub fn test_directory(&self) -> PathBuf {
        self.root.join("test")
    }

    /// Removes what the build no longer needs. What cannot be removed is in the way of nobody, and said.
    pub fn clean(&self, context: &Context) {
        if let Err(error) = self.set_aside() {
            context.output.error(&error);
        }
        self.remove_trash(context);
    }

    fn remove_trash(&self, context: &Context) {
        for path in trash(&self.root) {
            if let Err(error) = remove_tree(&path) {
                context
                    .output
                    .warn(format!("cannot remove {}: {error}", path.display()));
            }
        }
    }

    fn set_aside(&self) -> Result<()> {
        for path in [
            &self.steps.root,
            &self.steps.aside,
            &self.layers(),
            &self.test_directory(),
        ] {
            if !path.exists() {
                continue;
            }
            let aside = tempfile::Builder::new()
                .prefix("old-")
                .tempdir_in(&self.root)
                .map_err(|error| {
                    CliError::disk(format!("creating a directory in {}", self.root.display()), error)
                })?
                .keep();
            // A directory that its owner may not write to cannot be moved. When this fails, the rename says why.
            let _ = std::fs::set_permissions(path, Permissions::from_mode(0o700));
            std::fs::rename(path, aside.join("tree"))
                .map_err(|error| CliError::disk(format!("moving {} aside", path.display()), error))?;
        }
        Ok(())
    }
}

/// Removes a tree, directories without the write bit included: Go and Bazel make them.
fn remove_tree(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            make_writable(path)?;
            std::fs::remove_dir_all(path)
        }
        other => other,
    }
}

fn make_writable(path: &Path) -> std::io::Result<()> {
    std::fs::set_permissions(path, Permissions::from_mode(0o700))?;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_writable(&entry.path())?;
        }
    }
    Ok(())
}

fn trash(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("old-"))
        .map(|entry| entry.path())
        .collect()
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
    let mut said = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        if !said {
            context.output.say("waiting for another build of this app to end");
            said = true;
        }
        if context.interrupt.signal().is_some() {
            return Err(context.stopped());
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_without_the_write_bit_are_made_writable_and_links_are_not_followed() {
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        let dir = tempfile::tempdir().unwrap();
        let (tree, outside) = (dir.path().join("tree"), dir.path().join("outside"));
        let inner = tree.join("a/b");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, inner.join("link")).unwrap();
        for path in [&inner, &tree.join("a"), &outside] {
            std::fs::set_permissions(path, Permissions::from_mode(0o555)).unwrap();
        }
        make_writable(&tree).unwrap();
        assert_eq!(
            [mode(&tree.join("a")), mode(&inner), mode(&outside)],
            [0o700, 0o700, 0o555]
        );
        remove_tree(&tree).unwrap();
        assert!(!tree.exists() && outside.exists());
    }
}
