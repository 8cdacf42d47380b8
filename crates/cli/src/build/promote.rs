//! From a pending artifact to one that has its name: only after its tests passed, and the record last, so that whoever sees a
//! record finds all that it names.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use shipit_artifact::{Artifact, Record};

use crate::errors::{CliError, Result};
use crate::state::{StateDirectory, create_directory};

/// A directory of this build's own, on the same file system as the artifacts; removed when the build does not get far.
#[derive(Debug)]
pub struct Pending {
    directory: tempfile::TempDir,
    artifacts: PathBuf,
    lock: File,
}

impl Pending {
    /// Opens one, and removes what killed builds left.
    pub fn open(state: &StateDirectory) -> Result<Self> {
        let artifacts = state.artifacts();
        create_directory(&artifacts)?;
        // Between the directory and its lock another build would take it for abandoned.
        let turn = take_turn(&artifacts)?;
        remove_abandoned(&artifacts);
        let failed =
            |error| CliError::disk(format!("creating a directory in {}", artifacts.display()), error);
        let directory = tempfile::Builder::new()
            .prefix(".pending-")
            .tempdir_in(&artifacts)
            .map_err(failed)?;
        let lock = File::create(directory.path().join("lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        drop(turn);
        Ok(Pending {
            directory,
            artifacts,
            lock,
        })
    }

    /// Where the artifact is assembled.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Gives the artifact its name in `.shipit/artifacts` and removes all but the newest `keep`.
    pub fn promote(self, artifact: &Artifact, keep: u32) -> Result<Artifact> {
        let indexes = self.artifacts.join("indexes");
        create_directory(&indexes)?;
        // Two apps may share the directory: the one's pruning must not take the other's indexes for nobody's.
        let turn = take_turn(&self.artifacts)?;
        for index in &artifact.indexes {
            rename_into(index, &indexes)?;
        }
        rename_into(&artifact.path, &self.artifacts)?;
        sync(&indexes)?;
        sync(&self.artifacts)?;
        rename_into(&artifact.record_path, &self.artifacts)?;
        sync(&self.artifacts)?;
        let opened = Artifact::open(&self.artifacts, &artifact.record.sha256)?;
        prune(&self.artifacts, &opened.record_path, keep)?;
        drop(turn);
        drop(self.lock);
        Ok(opened)
    }
}

/// One build at a time does the small things that others must not see half done; it takes no longer than a few renames.
fn take_turn(artifacts: &Path) -> Result<File> {
    let path = artifacts.with_extension("lock");
    let failed = |error| CliError::disk(format!("locking {}", path.display()), error);
    let lock = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(failed)?;
    lock.lock().map_err(failed)?;
    Ok(lock)
}

/// Brings a directory's names to the disk: after a power cut a record must not be there without what it names.
fn sync(directory: &Path) -> Result<()> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| CliError::disk(format!("syncing {}", directory.display()), error))
}

fn rename_into(file: &Path, directory: &Path) -> Result<()> {
    let Some(name) = file.file_name() else {
        return Ok(());
    };
    let target = directory.join(name);
    std::fs::rename(file, &target).map_err(|error| {
        CliError::disk(
            format!("renaming {} to {}", file.display(), target.display()),
            error,
        )
    })
}

/// Pending directories whose lock nobody holds.
fn remove_abandoned(artifacts: &Path) {
    for entry in std::fs::read_dir(artifacts).into_iter().flatten().flatten() {
        let path = entry.path();
        let pending = entry.file_name().to_string_lossy().starts_with(".pending-");
        // Killed between its two first calls, a build leaves a directory without a lock file.
        let free = || {
            File::open(path.join("lock")).is_ok_and(|lock| lock.try_lock().is_ok())
                || !path.join("lock").exists()
        };
        if pending && free() {
            // Whatever stays is tried again by the next build.
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}

/// Removes all artifacts but `newest` and those that are next, `keep` in all; records first, then indexes that no record names.
fn prune(artifacts: &Path, newest: &Path, keep: u32) -> Result<()> {
    let (kept, old) = by_age(artifacts, newest, keep)?;
    for record in old {
        for path in [
            record.clone(),
            record.with_extension("tar.zst"),
            record.with_extension("tar.gz"),
        ] {
            remove_if_there(&path)?;
        }
    }
    // A record that cannot be read, a newer shipit's for example, names indexes all the same: then none is removed.
    let records: Option<Vec<Record>> = kept
        .iter()
        .map(|path| Record::parse(&std::fs::read(path).ok()?).ok())
        .collect();
    let Some(records) = records else {
        return Ok(());
    };
    let named: HashSet<&OsStr> = records
        .iter()
        .flat_map(|record| &record.layers)
        .map(|layer| OsStr::new(&layer.index_sha256))
        .collect();
    for index in std::fs::read_dir(artifacts.join("indexes"))
        .into_iter()
        .flatten()
        .flatten()
    {
        if !named.contains(index.file_name().as_os_str()) {
            remove_if_there(&index.path())?;
        }
    }
    Ok(())
}

/// The records to keep and those to remove, by their files' times. `newest` is kept whatever the clock did meanwhile.
fn by_age(artifacts: &Path, newest: &Path, keep: u32) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let mut others: Vec<(SystemTime, PathBuf)> = std::fs::read_dir(artifacts)
        .map_err(|error| CliError::disk(format!("listing {}", artifacts.display()), error))?
        .flatten()
        .filter(|entry| entry.path().extension() == Some(OsStr::new("json")) && entry.path() != newest)
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    others.sort_by(|a, b| b.cmp(a));
    let mut kept: Vec<PathBuf> = others.into_iter().map(|(_, path)| path).collect();
    let old = kept.split_off(kept.len().min((keep as usize).saturating_sub(1)));
    kept.push(newest.to_owned());
    Ok((kept, old))
}

/// Removes all builds' logs but the newest `keep`; their names begin with their time.
pub fn prune_logs(state: &StateDirectory, keep: u32) -> Result<()> {
    let mut logs: Vec<PathBuf> = std::fs::read_dir(state.all_logs())
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    logs.sort();
    for old in logs.iter().rev().skip(keep as usize) {
        match std::fs::remove_dir_all(old) {
            // Another build removes old logs too.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(CliError::disk(
                    format!("removing the old logs {}", old.display()),
                    error,
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(CliError::disk(format!("removing {}", path.display()), error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const THREE: [&str; 3] = ["old.json", "older.json", "new.json"];

    /// Three records; the clock went back before `new.json` was written.
    fn three() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (age, name) in THREE.iter().enumerate() {
            let path = dir.path().join(name);
            std::fs::write(&path, "{}").unwrap();
            let time = SystemTime::now() - Duration::from_secs(60 * age as u64);
            File::options()
                .append(true)
                .open(&path)
                .unwrap()
                .set_modified(time)
                .unwrap();
            std::fs::write(path.with_extension("tar.zst"), "").unwrap();
        }
        std::fs::create_dir(dir.path().join("indexes")).unwrap();
        dir
    }

    #[test]
    fn what_was_just_built_is_kept_whatever_the_clock_says() {
        let dir = three();
        prune(dir.path(), &dir.path().join("new.json"), 2).unwrap();
        let left = THREE.map(|name| dir.path().join(name).exists());
        assert_eq!(left, [true, false, true]);
        assert!(dir.path().join("new.tar.zst").exists() && !dir.path().join("older.tar.zst").exists());
    }

    #[test]
    fn a_record_that_cannot_be_read_keeps_all_indexes() {
        let dir = three();
        let index = dir.path().join("indexes/some");
        std::fs::write(&index, "").unwrap();
        prune(dir.path(), &dir.path().join("new.json"), 3).unwrap();
        assert!(index.exists());
    }

    #[test]
    fn abandoned_directories_are_removed_and_those_in_use_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDirectory::beside(dir.path());
        let used = Pending::open(&state).unwrap();
        let abandoned = state.artifacts().join(".pending-killed");
        std::fs::create_dir(&abandoned).unwrap();
        std::fs::write(abandoned.join("lock"), "").unwrap();
        let second = Pending::open(&state).unwrap();
        assert!(!abandoned.exists());
        assert!(used.directory().exists() && second.directory().exists());
    }
}
