//! Asks the steps' tools for their versions, and interpreters for what decides whether compiled code fits them.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::scratch::scratch;
use crate::command::quoted;
use crate::error::{Error, Problem};
use crate::mask::Masker;
use crate::presets::{Environment, Program};
use crate::session;
use crate::spec::{StepSpec, Tool, Workspace, below};
use crate::tree_files::TreeFiles;

/// How long a tool may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the line begins with in which an interpreter tells its binary interface.
const ABI: &str = "abi ";

/// A program and what it says its version is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ToolVersion {
    /// The program: `bundle`.
    pub name: String,
    /// Its version: `2.3.15`.
    pub version: String,
    /// Of an interpreter: what compiled extensions must fit: `x86_64-linux-gnu 3.1.0` (ruby), `115 linux x64` (node).
    pub abi: Option<String>,
}

/// The tools of all steps. Two steps may have two versions of one program: their environments and directories differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tools {
    by_step: Vec<(String, Vec<ToolVersion>)>,
}

impl Tools {
    /// The tools of a step, in the order of its preset. Of a command: those of all presets of the build, sorted, for nobody
    /// knows which of them it calls.
    #[must_use]
    pub fn of(&self, step: &str) -> &[ToolVersion] {
        let found = self.by_step.iter().find(|(name, _)| name == step);
        found.map_or(&[], |(_, tools)| tools)
    }

    /// All of them, sorted, each version once.
    #[must_use]
    pub fn all(&self) -> Vec<ToolVersion> {
        let mut all: Vec<_> = self
            .by_step
            .iter()
            .flat_map(|(_, tools)| tools)
            .cloned()
            .collect();
        all.sort();
        all.dedup();
        all
    }
}

/// Asks several at once: most take a tenth of a second to start, and none does anything. What is asked in the same
/// environment and directory is asked once.
pub(super) fn ask_all(
    steps: &[StepSpec],
    files: &TreeFiles<'_>,
    workspace: &Workspace,
    cancel: &AtomicBool,
) -> Result<(Tools, Vec<Problem>), Error> {
    let questions = questions(steps);
    let Some((first, _)) = questions.first() else {
        return Ok((Tools::default(), Vec::new()));
    };
    let dirs = steps.iter().map(|step| step.dir.as_ref());
    let scratch = scratch(files, dirs, &workspace.aside, &first.name)?;
    let place = scratch.path();
    let asked =
        |(step, program): &(&StepSpec, &'static Program)| ask(step, program, place, workspace, cancel);
    let answers = by_threads(&questions, workspace.jobs, asked);
    let mut tools = Tools::default();
    for step in steps {
        let mut versions = Vec::new();
        for program in step.tool.preset().into_iter().flat_map(|preset| preset.programs) {
            let at = questions
                .iter()
                .position(|(other, asked)| same(step, program, other, asked));
            if let Some(Ok(version)) = at.and_then(|at| answers.get(at)) {
                versions.push(version.clone());
            }
        }
        tools.by_step.push((step.name.clone(), versions));
    }
    let all = tools.all();
    for (step, (_, versions)) in steps.iter().zip(&mut tools.by_step) {
        if matches!(step.tool, Tool::Run { .. }) {
            versions.clone_from(&all);
        }
    }
    Ok((tools, answers.into_iter().filter_map(Result::err).collect()))
}

/// The answers in the questions' order.
fn by_threads<Q: Sync, A: Send>(questions: &[Q], jobs: NonZeroUsize, ask: impl Fn(&Q) -> A + Sync) -> Vec<A> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut own = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(question) = questions.get(number) else {
                return own;
            };
            own.push((number, ask(question)));
        }
    };
    let mut answers = thread::scope(|scope| {
        let others: Vec<_> = (1..jobs.get().min(questions.len()))
            .map(|_| scope.spawn(work))
            .collect();
        let mut answers = work();
        for thread in others {
            answers.extend(
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            );
        }
        answers
    });
    answers.sort_by_key(|(number, _)| *number);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// Each program that the steps need, once for each environment and directory it is asked in.
fn questions(steps: &[StepSpec]) -> Vec<(&StepSpec, &'static Program)> {
    let mut found: Vec<(&StepSpec, &'static Program)> = Vec::new();
    for step in steps {
        for program in step.tool.preset().into_iter().flat_map(|preset| preset.programs) {
            if !found
                .iter()
                .any(|(other, known)| same(step, program, other, known))
            {
                found.push((step, program));
            }
        }
    }
    found
}

fn same(step: &StepSpec, program: &Program, other: &StepSpec, known: &Program) -> bool {
    known.name == program.name && other.env == step.env && other.dir == step.dir
}

fn ask(
    step: &StepSpec,
    program: &'static Program,
    scratch: &Path,
    workspace: &Workspace,
    cancel: &AtomicBool,
) -> Result<ToolVersion, Problem> {
    let env = Environment::base(workspace).listed(&step.env);
    let dir = below(scratch, step.dir.as_ref());
    let Some(path) = find(program.name, env.get("PATH").unwrap_or_default(), &dir) else {
        return Err(Problem::MissingTool {
            step: step.name.clone(),
            program: program.name.to_owned(),
            install: program.install.to_owned(),
        });
    };
    let secrets = step.env.iter().filter(|var| var.secret);
    let masker = Masker::new(secrets.map(|var| var.value.as_str()));
    let words =
        std::iter::once(path.to_string_lossy()).chain(program.version_args.iter().map(|arg| (*arg).into()));
    let asked = words.map(|word| quoted(&word)).collect::<Vec<_>>().join(" ");
    let broken = |reason: String| Problem::BrokenTool {
        step: step.name.clone(),
        program: program.name.to_owned(),
        asked: masker.mask(&asked),
        reason: masker.mask(&reason),
    };
    let mut command = Command::new(path);
    command
        .args(program.version_args)
        .current_dir(dir)
        .env_clear()
        .envs(env.into_vec());
    let text = answer(command, cancel).map_err(broken)?;
    let lacks = |what: &str| {
        broken(match text.lines().find(|line| !line.trim().is_empty()) {
            Some(first) => format!("printed no {what}: {first}"),
            None => "printed nothing".to_owned(),
        })
    };
    let version = version_in(&text).ok_or_else(|| lacks("version"))?;
    let abi = text.lines().find_map(|line| line.strip_prefix(ABI));
    if program.tells_abi && abi.is_none() {
        return Err(lacks("binary interface"));
    }
    Ok(ToolVersion {
        name: program.name.to_owned(),
        version,
        abi: abi.map(|abi| abi.trim().to_owned()),
    })
}

/// The program that `name` is on `path`, as execvp would find it.
pub(super) fn find(name: &str, path: &OsStr, dir: &Path) -> Option<PathBuf> {
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
    let mut child = command
        .spawn()
        .map_err(|error| format!("could not be started: {error}"))?;
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
                return Err(format!("did not answer within {} s", PATIENCE.as_secs()));
            }
            Err(error) => return Err(format!("could not be waited for: {error}")),
        }
    };
    let printed = child.stdout.as_mut().map(what_is_there).unwrap_or_default();
    if status.success() {
        return Ok(printed);
    }
    let said = child.stderr.as_mut().map(what_is_there).unwrap_or_default();
    Err(match said.trim().lines().last() {
        Some(last) => format!("ended with {status}: {last}"),
        None => format!("ended with {status}"),
    })
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
pub(super) fn version_in(text: &str) -> Option<String> {
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
