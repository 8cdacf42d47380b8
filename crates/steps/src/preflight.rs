//! Finds out before anything runs whether the steps can: all that is missing or in the way, in one error.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use shipit_artifact::EntryPath;

use crate::error::{Error, Problem};
use crate::mask::Masker;
use crate::presets::{Environment, Needed, Program, env_value, from_root};
use crate::session;
use crate::spec::{StepSpec, Tool, Workspace, below};

/// How many tracked files are named.
const NAMED: usize = 5;
/// How long a tool may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program and what it says its version is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolVersion {
    /// The program: `bundle`.
    pub name: String,
    /// Its version: `2.3.15`.
    pub version: String,
}

/// Checks that the steps can run in the workspace: each tool is on its step's PATH and tells its version, each lockfile
/// and directory is in the tree, and git tracks nothing (`tracked`, all files of the commit) where a step vendors, but
/// for `.bundle/config`. Nothing is written, and of the steps nothing is run.
///
/// Returns the versions of the tools, sorted, each once.
///
/// # Errors
/// [`Error::Preflight`] with all that was found, or [`Error::Cancelled`].
pub fn preflight(
    steps: &[StepSpec],
    workspace: &Workspace,
    tracked: &[EntryPath],
    cancel: &AtomicBool,
) -> Result<Vec<ToolVersion>, Error> {
    let mut check = Check {
        workspace,
        tracked,
        problems: Vec::new(),
        owners: BTreeMap::new(),
        may_make_dirs: false,
    };
    for step in steps {
        check.spec(step);
        check.files(step);
        check.vendored(step);
    }
    let mut versions = Vec::new();
    for answer in ask_all(&programs(steps), workspace, cancel) {
        match answer {
            Ok(version) => versions.push(version),
            Err(problem) => check.problems.push(problem),
        }
    }
    if cancel.load(Ordering::Relaxed) {
        return Err(Error::Cancelled {
            step: steps.first().map(|step| step.name.clone()).unwrap_or_default(),
        });
    }
    if !check.problems.is_empty() {
        return Err(Error::Preflight(check.problems));
    }
    versions.sort_by(|one, other| (&one.name, &one.version).cmp(&(&other.name, &other.version)));
    versions.dedup();
    Ok(versions)
}

struct Check<'a> {
    workspace: &'a Workspace,
    tracked: &'a [EntryPath],
    problems: Vec<Problem>,
    /// Which step vendors a path.
    owners: BTreeMap<EntryPath, String>,
    /// Whether an earlier step is a command, which may make any directory.
    may_make_dirs: bool,
}

impl Check<'_> {
    fn spec(&mut self, step: &StepSpec) {
        let mut problem = |problem: String| {
            self.problems.push(Problem::Spec {
                step: step.name.clone(),
                problem,
            });
        };
        for name in step.tool.preset().into_iter().flat_map(|preset| preset.fixed_env) {
            if env_value(&step.env, name).is_some() {
                problem(format!(
                    "`env` lists {name}, which the preset sets itself; use `run` to have your own"
                ));
            }
        }
        match &step.tool {
            Tool::Npm { production: true } if !step.layer => problem(
                "`production = true` packs another tree than later steps build with, which needs a layer; remove \
                 `layer = false`"
                    .to_owned(),
            ),
            Tool::Go { packages } if packages.is_empty() => {
                problem("no packages to build; name them in `packages`".to_owned());
            }
            Tool::Run { .. } if step.layer && !step.inputs.is_empty() && step.outputs.is_empty() => {
                problem("`inputs` without `outputs`: name the paths that it makes".to_owned());
            }
            _ => {}
        }
    }

    fn files(&mut self, step: &StepSpec) {
        let dir = below(&self.workspace.root, step.dir.as_ref());
        let is_command = matches!(step.tool, Tool::Run { .. });
        let may_come = is_command && self.may_make_dirs;
        match &step.dir {
            Some(name) if !may_come && !dir.is_dir() => {
                self.problems.push(Problem::MissingDir {
                    step: step.name.clone(),
                    dir: name.clone(),
                });
            }
            _ => {
                let needs = step.tool.preset().into_iter().flat_map(|preset| preset.needs);
                for needed in needs.filter(|needed| !is_there(&dir, needed)) {
                    let place = |name: &&str| {
                        from_root(step.dir.as_ref(), name)
                            .map_or_else(|| (*name).to_owned(), |p| p.to_string())
                    };
                    self.problems.push(Problem::MissingLockfile {
                        step: step.name.clone(),
                        any_of: needed.any_of.iter().map(place).collect(),
                        make: needed.make.to_owned(),
                    });
                }
            }
        }
        self.may_make_dirs |= is_command;
    }

    fn vendored(&mut self, step: &StepSpec) {
        let paths = match step.vendored_paths(&self.workspace.root) {
            Ok(paths) => paths,
            Err(problem) => {
                self.problems.push(Problem::Spec {
                    step: step.name.clone(),
                    problem,
                });
                return;
            }
        };
        let config = from_root(step.dir.as_ref(), crate::presets::bundle::CONFIG);
        for vendored in paths {
            let overlaps = |other: &EntryPath| other.starts_with(&vendored) || vendored.starts_with(other);
            if let Some((_, other)) = self.owners.iter().find(|(path, _)| overlaps(path)) {
                let other = other.clone();
                let step = step.name.clone();
                self.problems.push(Problem::VendoredTwice {
                    step,
                    other,
                    vendored,
                });
                continue;
            }
            // A tracked .bundle/config is code, and the step leaves it alone.
            let code = matches!(step.tool, Tool::Bundle { .. }) && config.as_ref() == Some(&vendored);
            let files: Vec<&EntryPath> = self
                .tracked
                .iter()
                .filter(|file| !code && file.starts_with(&vendored))
                .collect();
            if !files.is_empty() {
                self.problems.push(Problem::VendoredTracked {
                    step: step.name.clone(),
                    vendored: vendored.clone(),
                    files: files.iter().take(NAMED).map(|file| (*file).clone()).collect(),
                    count: files.len(),
                });
            }
            self.owners.insert(vendored, step.name.clone());
        }
    }
}

fn is_there(dir: &Path, needed: &Needed) -> bool {
    needed.any_of.iter().any(|name| dir.join(name).is_file())
}

/// Each program that the steps need, once for each environment and directory it is asked in.
fn programs(steps: &[StepSpec]) -> Vec<(&StepSpec, &'static Program)> {
    let mut found: Vec<(&StepSpec, &'static Program)> = Vec::new();
    for step in steps {
        for program in step.tool.preset().into_iter().flat_map(|preset| preset.programs) {
            let known = |(other, known): &(&StepSpec, &Program)| {
                known.name == program.name && other.env == step.env && other.dir == step.dir
            };
            if !found.iter().any(known) {
                found.push((step, program));
            }
        }
    }
    found
}

/// Asks all at once: most take a third of a second to start, and none does anything.
fn ask_all(
    programs: &[(&StepSpec, &'static Program)],
    workspace: &Workspace,
    cancel: &AtomicBool,
) -> Vec<Result<ToolVersion, Problem>> {
    thread::scope(|scope| {
        let asked: Vec<_> = programs
            .iter()
            .map(|(step, program)| scope.spawn(|| ask_version(step, program, workspace, cancel)))
            .collect();
        let panicked = |payload| std::panic::resume_unwind(payload);
        asked
            .into_iter()
            .map(|answer| answer.join().unwrap_or_else(panicked))
            .collect()
    })
}

fn ask_version(
    step: &StepSpec,
    program: &'static Program,
    workspace: &Workspace,
    cancel: &AtomicBool,
) -> Result<ToolVersion, Problem> {
    let env = Environment::base(workspace).listed(&step.env);
    let dir = below(&workspace.root, step.dir.as_ref());
    let dir = if dir.is_dir() { dir } else { workspace.root.clone() };
    let Some(path) = find(program.name, env.get("PATH").unwrap_or_default(), &dir) else {
        let install = program.install.to_owned();
        return Err(Problem::MissingTool {
            step: step.name.clone(),
            program: program.name.to_owned(),
            install,
        });
    };
    let masker = Masker::new(
        step.env
            .iter()
            .filter(|var| var.secret)
            .map(|var| var.value.as_str()),
    );
    let broken = |reason: String| Problem::BrokenTool {
        step: step.name.clone(),
        program: program.name.to_owned(),
        reason: masker.mask(&reason),
    };
    let mut command = Command::new(path);
    command
        .args(program.version_args)
        .current_dir(dir)
        .env_clear()
        .envs(env.into_vec());
    let text = answer(command, cancel).map_err(broken)?;
    let version = version_in(&text).ok_or_else(|| {
        let first = text.lines().next().unwrap_or_default();
        broken(format!(
            "`{} {}` printed no version: {first}",
            program.name,
            program.version_args.join(" ")
        ))
    })?;
    Ok(ToolVersion {
        name: program.name.to_owned(),
        version,
    })
}

/// The program that `name` is on `path`, as execvp would find it.
fn find(name: &str, path: &OsStr, dir: &Path) -> Option<PathBuf> {
    std::env::split_paths(path)
        .map(|place| dir.join(place).join(name))
        .find(|file| {
            fs::metadata(file)
                .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
        })
}

/// What the command prints on standard output, when it succeeds in time.
fn answer(mut command: Command, cancel: &AtomicBool) -> Result<String, String> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    session::in_own_session(&mut command, true);
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    // A version is some bytes: they fit into the pipes, so that nothing waits for us to read.
    let until = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < until && !cancel.load(Ordering::Relaxed) => {
                thread::sleep(Duration::from_millis(5));
            }
            Ok(None) => {
                end(&mut child);
                return Err(format!(
                    "it did not tell its version within {} s",
                    PATIENCE.as_secs()
                ));
            }
            Err(error) => return Err(error.to_string()),
        }
    };
    let printed = child.stdout.as_mut().map(what_is_there).unwrap_or_default();
    if status.success() {
        return Ok(printed);
    }
    let said = child.stderr.as_mut().map(what_is_there).unwrap_or_default();
    let last = said.trim().lines().last().unwrap_or_default().to_owned();
    Err(format!(
        "it ended with {status} when it was asked for its version: {last}"
    ))
}

/// What a pipe holds. A process that the tool left behind may hold its other end: nothing is waited for.
fn what_is_there<P: Read + AsFd>(pipe: &mut P) -> String {
    let mut bytes = Vec::new();
    if rustix::io::ioctl_fionbio(&*pipe, true).is_ok() {
        // Ends with WouldBlock when nobody has closed the other end; what came before is in `bytes`.
        let _ = pipe.take(64 * 1024).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn end(child: &mut std::process::Child) {
    use rustix::process::{Pid, Signal, kill_process_group};
    // Its whole session: a shim may have started the real tool.
    let _ = Pid::from_raw(child.id().cast_signed()).map(|pid| kill_process_group(pid, Signal::KILL));
    let _ = child.wait();
}

/// The first word that has the form of a version: `2.3.15`, `v20.20.2`, `go1.27.3`, `3.1.2p20`.
fn version_in(text: &str) -> Option<String> {
    text.split_whitespace().find_map(|word| {
        let version = word
            .trim_start_matches(|c: char| c.is_ascii_alphabetic())
            .trim_end_matches([',', ')']);
        let numbers = version
            .split('.')
            .take_while(|part| part.starts_with(|c: char| c.is_ascii_digit()));
        (numbers.count() >= 2).then(|| version.to_owned())
    })
}

#[cfg(test)]
#[path = "preflight_tests.rs"]
mod tests;
