//! From a pending artifact to one that has its name: only after its tests passed, and the record last, so that whoever sees a
//! record finds all that it names.

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
        remove_abandoned(&artifacts);
        let failed =
            |error| CliError::disk(format!("creating a directory in {}", artifacts.display()), error);
        let directory = tempfile::Builder::new()
            .prefix(".pending-")
            .tempdir_in(&artifacts)
            .map_err(failed)?;
        let lock = File::create(directory.path().join("lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
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
        for index in &artifact.indexes {
            rename_into(index, &indexes)?;
        }
        rename_into(&artifact.path, &self.artifacts)?;
        rename_into(&artifact.record_path, &self.artifacts)?;
        prune(&self.artifacts, keep)?;
        let opened = Artifact::open(&self.artifacts, &artifact.record.sha256)?;
        drop(self.lock);
        Ok(opened)
    }
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

/// Removes all artifacts but the newest `keep`, records first, then indexes that no record names.
fn prune(artifacts: &Path, keep: u32) -> Result<()> {
    let mut records: Vec<(SystemTime, PathBuf)> = std::fs::read_dir(artifacts)
        .map_err(|error| CliError::disk(format!("listing {}", artifacts.display()), error))?
        .flatten()
        .filter(|entry| {
            entry
                .path()
                .extension()
                .is_some_and(|extension| extension == "json")
        })
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    records.sort_by(|a, b| b.cmp(a));
    for (_, record) in records.iter().skip(keep as usize) {
        for path in [
            record.clone(),
            record.with_extension("tar.zst"),
            record.with_extension("tar.gz"),
        ] {
            remove_if_there(&path)?;
        }
    }
    let named: Vec<String> = records
        .iter()
        .take(keep as usize)
        .filter_map(|(_, path)| Record::parse(&std::fs::read(path).ok()?).ok())
        .flat_map(|record| record.layers.into_iter().map(|layer| layer.index_sha256))
        .collect();
    for index in std::fs::read_dir(artifacts.join("indexes"))
        .into_iter()
        .flatten()
        .flatten()
    {
        if !named
            .iter()
            .any(|name| *name == *index.file_name().to_string_lossy())
        {
            remove_if_there(&index.path())?;
        }
    }
    Ok(())
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
        std::fs::remove_dir_all(old)
            .map_err(|error| CliError::disk(format!("removing the old logs {}", old.display()), error))?;
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
