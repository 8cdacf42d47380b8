//! Runs a `[[build.test]]` on an unpacked copy of the packed bytes, and keeps the JUnit files that it writes.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::command::shell;
use crate::error::Error;
use crate::event::{Event, OnEvent};
use crate::mask::Masker;
use crate::output::{Output, file_name};
use crate::presets::Environment;
use crate::runner::{Limits, Runner};
use crate::spec::{TestSpec, Workspace, below};
use crate::step::io_error;

/// What a test did that succeeded.
#[derive(Debug, Clone)]
pub struct TestOutcome {
    /// The test's name.
    pub name: String,
    /// Copies of its JUnit files, beside the log, secrets masked.
    pub junit: Vec<PathBuf>,
    /// Its whole output, secrets masked.
    pub log: PathBuf,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// Runs `spec` in `unpacked`. Of `workspace` the logs and the base environment count; its tree is not touched. JUnit
/// files are collected whether the test succeeds or not, and told by [`Event::Reports`].
///
/// # Errors
/// As [`run`](crate::run); a test that fails is [`Error::Failed`].
pub fn run_test(
    spec: &TestSpec,
    unpacked: &Path,
    workspace: &Workspace,
    cancel: &AtomicBool,
    on_event: OnEvent<'_>,
) -> Result<TestOutcome, Error> {
    let began = Instant::now();
    let dir = below(unpacked, spec.dir.as_ref());
    if !dir.is_dir() {
        return Err(Error::MissingDir {
            step: spec.name.clone(),
            dir,
        });
    }
    let reports = Reports::new(spec, &dir)?;
    let output = Output::create(&workspace.logs, &spec.name, masker(spec), on_event)
        .map_err(|(path, source)| io_error(&spec.name, "make the log", &path)(source))?;
    let log = output.path().to_path_buf();
    let mut runner = Runner {
        step: &spec.name,
        limits: Limits::new(spec.timeout, spec.idle_timeout),
        output,
        cancel,
        on_event,
    };
    let env = Environment::base(workspace).listed(&spec.env);
    let result = runner.run(&shell(&spec.run, &dir, env));
    let junit = match (reports.collect(&workspace.logs, on_event), &result) {
        (Ok(junit), _) => junit,
        // That the test failed is the news; its reports are not.
        (Err(error), Err(_)) => {
            reports.warn(on_event, format!("its JUnit files are not kept: {error}"));
            Vec::new()
        }
        (Err(error), Ok(())) => return Err(error),
    };
    result?;
    let seconds = began.elapsed().as_secs_f64();
    on_event(Event::Ended {
        step: spec.name.clone(),
        seconds,
    });
    Ok(TestOutcome {
        name: spec.name.clone(),
        junit,
        log,
        seconds,
    })
}

fn masker(spec: &TestSpec) -> Masker {
    let secrets = spec.env.iter().filter(|var| var.secret);
    Masker::new(secrets.map(|var| var.value.as_str()))
}

/// The JUnit files of one test.
struct Reports<'a> {
    spec: &'a TestSpec,
    dir: &'a Path,
    globs: GlobSet,
    /// Those that match before the test runs.
    shipped: Vec<Report>,
}

impl<'a> Reports<'a> {
    fn new(spec: &'a TestSpec, dir: &'a Path) -> Result<Self, Error> {
        let globs = globs("junit", &spec.junit).map_err(|problem| Error::Spec {
            step: spec.name.clone(),
            problem,
        })?;
        let mut reports = Self {
            spec,
            dir,
            globs,
            shipped: Vec::new(),
        };
        reports.shipped = reports.there()?;
        Ok(reports)
    }

    fn there(&self) -> Result<Vec<Report>, Error> {
        matching(self.dir, &self.globs)
            .map_err(|(path, source)| io_error(&self.spec.name, "read reports in", &path)(source))
    }

    /// Keeps what the test wrote, and tells of it.
    fn collect(&self, logs: &Path, on_event: OnEvent<'_>) -> Result<Vec<PathBuf>, Error> {
        let mut written = self.there()?;
        written.retain(|report| !self.shipped.contains(report));
        let to = logs.join(format!("{}-junit", file_name(&self.spec.name)));
        let junit = keep(&written, self.dir, &to, &masker(self.spec))
            .map_err(|(path, source)| io_error(&self.spec.name, "keep the report", &path)(source))?;
        if !junit.is_empty() {
            on_event(Event::Reports {
                step: self.spec.name.clone(),
                files: junit.clone(),
            });
        } else if !self.spec.junit.is_empty() {
            let patterns = self.spec.junit.join(", ");
            self.warn(
                on_event,
                format!("it wrote no JUnit file that matches {patterns}"),
            );
        }
        Ok(junit)
    }

    fn warn(&self, on_event: OnEvent<'_>, message: String) {
        on_event(Event::Warning {
            step: self.spec.name.clone(),
            message,
        });
    }
}

/// The set of a key's patterns of paths below `dir`, or a sentence on what is wrong with one.
pub(crate) fn globs(key: &str, patterns: &[String]) -> Result<GlobSet, String> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let plain = pattern.strip_prefix("./").unwrap_or(pattern);
        if plain.starts_with('/') || plain.split('/').any(|part| part == "..") {
            return Err(format!(
                "`{key}` has the pattern `{pattern}`, which can match nothing: it leaves `dir`"
            ));
        }
        let glob = GlobBuilder::new(plain).literal_separator(true).build();
        set.add(glob.map_err(|error| {
            format!(
                "`{key}` has the pattern `{pattern}`, which is none: {}",
                error.kind()
            )
        })?);
    }
    set.build()
        .map_err(|error| format!("`{key}` cannot be used: {error}"))
}

/// A file that matches. Those that were packed, and that the test does not write anew, are not its reports.
#[derive(PartialEq)]
pub(crate) struct Report {
    path: PathBuf,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

/// The regular files in `dir` that match, sorted. Links are not followed: a report is a file of the test's own.
pub(crate) fn matching(dir: &Path, globs: &GlobSet) -> Result<Vec<Report>, (PathBuf, io::Error)> {
    let mut found = Vec::new();
    let mut pending = if globs.is_empty() {
        Vec::new()
    } else {
        vec![dir.to_path_buf()]
    };
    while let Some(current) = pending.pop() {
        let failed = |error| (current.clone(), error);
        for entry in fs::read_dir(&current).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            let metadata = entry.metadata().map_err(|error| (path.clone(), error))?;
            if metadata.is_dir() {
                pending.push(path);
            } else if metadata.is_file() && globs.is_match(path.strip_prefix(dir).unwrap_or(&path)) {
                let changed = (metadata.ctime(), metadata.ctime_nsec());
                found.push(Report {
                    path,
                    inode: metadata.ino(),
                    size: metadata.size(),
                    changed,
                });
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

/// Copies the reports into `to`, at the paths that they have below `dir`. What an earlier run left there goes.
fn keep(
    reports: &[Report],
    dir: &Path,
    to: &Path,
    masker: &Masker,
) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    if to.exists() {
        fs::remove_dir_all(to).map_err(|error| (to.to_path_buf(), error))?;
    }
    let mut kept = Vec::new();
    for report in reports {
        let target = to.join(report.path.strip_prefix(dir).unwrap_or(&report.path));
        let copied = fs::create_dir_all(target.parent().unwrap_or(to))
            .and_then(|()| fs::read(&report.path))
            .and_then(|bytes| fs::write(&target, masker.mask_bytes(&bytes)));
        copied.map_err(|error| (report.path.clone(), error))?;
        kept.push(target);
    }
    Ok(kept)
}
