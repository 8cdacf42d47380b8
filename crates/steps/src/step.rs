//! Runs one step in the workspace, and says what it vendored. Packing that is the artifact crate's; the order of steps,
//! and what was found ready in a cache, is the cli's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use shipit_artifact::EntryPath;

use crate::as_packed::{Ended, as_packed};
use crate::command::shell;
use crate::error::Error;
use crate::event::{Event, OnEvent};
use crate::key::Pattern;
use crate::mask::Masker;
use crate::normalise::normalise;
use crate::output::{Output, file_name};
use crate::presets::{Environment, bundle, carton, compilers, from_root, go, npm, npm_tree};
use crate::runner::{Limits, Runner};
use crate::spec::{GoOutput, StepSpec, Tool, Workspace, below};
use crate::vendored::{Vendored, check_links, read_from};

/// What a step did.
#[derive(Debug, Clone)]
pub struct StepOutcome {
    /// The step's name.
    pub name: String,
    /// What it vendored; `None` when its result is code.
    pub vendored: Option<Vendored>,
    /// Its whole output, secrets masked.
    pub log: PathBuf,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// Runs `spec` in the workspace. Blocks until the step and all that it started have ended. The calling thread must not
/// end before this returns: the kernel ends the step's command with it. Of several calls at once in one process, one
/// runs and the others wait.
///
/// # Errors
/// See [`Error`]: the command fails, runs out of time, or does not make what it is to make; `cancel` is set; a file
/// cannot be read or written. Nothing of the step is running any more then; the workspace may hold half of its work.
pub fn run(
    spec: &StepSpec,
    workspace: &Workspace,
    cancel: &AtomicBool,
    on_event: OnEvent<'_>,
) -> Result<StepOutcome, Error> {
    let began = Instant::now();
    let dir = below(&workspace.root, spec.dir.as_ref());
    if !dir.is_dir() {
        return Err(Error::MissingDir {
            step: spec.name.clone(),
            dir,
        });
    }
    for made in [&workspace.cache, &workspace.aside] {
        fs::create_dir_all(made).map_err(io_error(&spec.name, "make", made))?;
    }
    let secrets = spec
        .env
        .iter()
        .filter(|var| var.secret)
        .map(|var| var.value.as_str());
    let output = Output::create(&workspace.logs, &spec.name, Masker::new(secrets), on_event)
        .map_err(|(path, source)| io_error(&spec.name, "make the log", &path)(source))?;
    let log = output.path().to_path_buf();
    let limits = Limits::new(spec.timeout, spec.idle_timeout);
    let runner = Runner {
        step: &spec.name,
        limits,
        output,
        cancel,
        on_event,
    };
    let vendored = Step {
        spec,
        workspace,
        dir,
        runner,
        on_event,
    }
    .run()?;
    let seconds = began.elapsed().as_secs_f64();
    on_event(Event::Ended {
        step: spec.name.clone(),
        seconds,
    });
    Ok(StepOutcome {
        name: spec.name.clone(),
        vendored,
        log,
        seconds,
    })
}

/// A step under way.
struct Step<'a> {
    spec: &'a StepSpec,
    workspace: &'a Workspace,
    dir: PathBuf,
    runner: Runner<'a>,
    on_event: OnEvent<'a>,
}

impl Step<'_> {
    fn run(mut self) -> Result<Option<Vendored>, Error> {
        self.check_inputs()?;
        match &self.spec.tool {
            Tool::Run { command } => self.command(command),
            Tool::Go { packages } => self.go(packages).map(|()| None),
            Tool::Carton => self.carton(),
            Tool::Bundle { without } => self.bundle(without),
            Tool::Npm { production } => self.npm(*production),
        }
    }

    fn command(&mut self, command: &str) -> Result<Option<Vendored>, Error> {
        let env = Environment::base(self.workspace).listed(&self.spec.env);
        self.runner.run(&shell(command, &self.dir, env))?;
        for name in &self.spec.outputs {
            let path = self.in_tree(name)?;
            self.must_exist(&path)?;
        }
        let owned = self.installs_into()?;
        let root = self.workspace.root.clone();
        self.vendored(root, owned)
    }

    /// What they match decides about the layer, not about the step: the keys say of a pattern that nothing matches it.
    fn check_inputs(&self) -> Result<(), Error> {
        for text in &self.spec.inputs {
            Pattern::parse(text).map_err(|problem| self.spec_error(problem))?;
        }
        Ok(())
    }

    fn go(&mut self, packages: &[GoOutput]) -> Result<(), Error> {
        let env = go::environment(self.preset_env(), self.workspace, &self.dir);
        for build in packages {
            let file = self.dir.join(build.output.as_path());
            let parent = file.parent().unwrap_or(&self.dir);
            fs::create_dir_all(parent).map_err(self.io("make", parent))?;
            self.runner.run(&go::command(&self.dir, build, &env))?;
            let path = self.in_tree(&build.output.as_path().to_string_lossy())?;
            self.must_exist(&path)?;
        }
        Ok(())
    }

    fn carton(&mut self) -> Result<Option<Vendored>, Error> {
        let env = carton::environment(self.preset_env(), self.workspace);
        let env = self.wrap_compilers(env, &self.workspace.root)?;
        self.runner.run(&carton::command(&self.dir, env))?;
        let owned = self.installs_into()?;
        self.vendored(self.workspace.root.clone(), owned)
    }

    fn bundle(&mut self, without: &[String]) -> Result<Option<Vendored>, Error> {
        let files = |(path, source): (PathBuf, io::Error)| self.io("write", &path)(source);
        let config = bundle::Config::prepare(&self.dir, &self.aside(), without).map_err(files)?;
        let env = bundle::environment(self.preset_env(), self.workspace, &self.dir, &config);
        let env = self.wrap_compilers(env, &self.workspace.root)?;
        let result = self.runner.run(&bundle::command(&self.dir, env));
        let files = |(path, source): (PathBuf, io::Error)| self.io("write", &path)(source);
        config.restore().map_err(files)?;
        result?;
        let mut owned = self.installs_into()?;
        if config.tracked {
            let config = self.in_tree(bundle::CONFIG)?;
            owned.retain(|path| *path != config);
        }
        if !config.finds_gems() {
            self.warn(format!(
                "the tracked {} does not set BUNDLE_PATH to vendor/bundle: `bundle exec` on a host will not find the \
                 gems; set it there, or stop tracking the file",
                bundle::CONFIG
            ));
        }
        // A bundle without a single gem is none to bundler, but the layer is the layer.
        let gems = self.dir.join("vendor/bundle");
        fs::create_dir_all(&gems).map_err(self.io("make", &gems))?;
        self.vendored(self.workspace.root.clone(), owned)
    }

    fn npm(&mut self, production: bool) -> Result<Option<Vendored>, Error> {
        let owned = self.installs_into()?;
        if !production {
            self.npm_ci(&self.workspace.root, npm::Which::Usual)?;
            return self.vendored(self.workspace.root.clone(), owned);
        }
        let second = self.aside().join("production");
        // Copied first: the full tree's install scripts may write into the workspace.
        let (root, dir) = (&self.workspace.root, self.spec.dir.as_ref());
        let copied = npm_tree::copy_for_production(root, &second, dir, self.runner.cancel);
        copied.map_err(|error| self.npm_error(error))?;
        self.npm_ci(&self.workspace.root, npm::Which::All)?;
        // The full tree is not packed, but later steps must find it without what is not the same twice.
        self.normalise(&self.workspace.root, &owned)?;
        self.npm_ci(&second, npm::Which::Production)?;
        self.vendored(second, owned)
    }

    fn npm_ci(&mut self, root: &Path, which: npm::Which) -> Result<(), Error> {
        let dir = below(root, self.spec.dir.as_ref());
        let env = npm::environment(self.preset_env(), self.workspace);
        let env = self.wrap_compilers(env, root)?;
        self.runner.run(&npm::command(&dir, which, &env))?;
        // npm makes no node_modules when there is nothing to put there.
        let modules = dir.join("node_modules");
        fs::create_dir_all(&modules).map_err(self.io("make", &modules))?;
        npm_tree::forget_app(&modules).map_err(|error| self.npm_error(error))
    }

    fn npm_error(&self, error: npm_tree::CopyError) -> Error {
        match error {
            npm_tree::CopyError::Io(action, path, source) => self.io(action, &path)(source),
            npm_tree::CopyError::Package(problem) => self.spec_error(problem),
            npm_tree::CopyError::Cancelled => Error::Cancelled {
                step: self.spec.name.clone(),
            },
        }
    }

    /// Normalises the result, checks its links, and says what is vendored when it is a layer.
    fn vendored(&mut self, root: PathBuf, mut owned: Vec<EntryPath>) -> Result<Option<Vendored>, Error> {
        owned.sort();
        let is_layer = self.spec.layer && !owned.is_empty();
        if is_layer {
            self.as_packed(&owned)?;
        }
        let removed = self.normalise(&root, &owned)?;
        let machine = [
            root.as_path(),
            self.workspace.root.as_path(),
            self.workspace.aside.as_path(),
        ];
        check_links(&self.spec.name, &root, &owned, &machine)?;
        if !is_layer {
            return Ok(None);
        }
        let there = |path: &&EntryPath| fs::symlink_metadata(root.join(path.as_path())).is_ok();
        let paths = owned.iter().filter(there).cloned().collect();
        let lockfiles = self.spec.lockfiles(&self.workspace.root);
        let workspace = self.workspace.root.clone();
        Ok(Some(Vendored {
            root,
            workspace,
            paths,
            owned,
            lockfiles,
            removed,
        }))
    }

    /// Lets later steps find in the workspace what they would find if the layer came from a cache.
    fn as_packed(&self, owned: &[EntryPath]) -> Result<(), Error> {
        let odd =
            as_packed(&self.workspace.root, owned, self.runner.cancel).map_err(|ended| match ended {
                Ended::Failed((action, path, source)) => self.io(action, &path)(source),
                Ended::Cancelled => Error::Cancelled {
                    step: self.spec.name.clone(),
                },
            })?;
        for path in odd.removed {
            self.warn(format!(
                "{path} is a socket, fifo or device and is not packed; it was removed"
            ));
        }
        if let Some(first) = odd.foreign.first() {
            let more = match odd.foreign.len() {
                1 => String::new(),
                count => format!(" and {} more", count - 1),
            };
            self.warn(format!(
                "{first}{more} belong to another user and keep their modes in this build, which later steps may see; let \
                 the step run all as the user that builds"
            ));
        }
        Ok(())
    }

    fn normalise(&self, root: &Path, paths: &[EntryPath]) -> Result<Vec<EntryPath>, Error> {
        let Some(preset) = self.spec.tool.preset() else {
            return Ok(Vec::new());
        };
        let removed = normalise(root, self.spec.dir.as_ref(), paths, preset.leftovers)
            .map_err(|(action, path, source)| self.io(action, &path)(source))?;
        if !removed.is_empty() {
            (self.on_event)(Event::Normalised {
                step: self.spec.name.clone(),
                files: removed.len(),
            });
        }
        Ok(removed)
    }

    /// A preset's environment before the tool's own: what the config lists wins over what is common to all.
    fn preset_env(&self) -> Environment {
        Environment::base(self.workspace)
            .isolated(self.workspace)
            .listed(&self.spec.env)
    }

    fn wrap_compilers(&self, env: Environment, root: &Path) -> Result<Environment, Error> {
        compilers::wrap(env, &self.aside().join("compilers"), &[root])
            .map_err(|(path, source)| self.io("write", &path)(source))
    }

    /// The step's own directory outside of the tree.
    fn aside(&self) -> PathBuf {
        self.workspace.aside.join(file_name(&self.spec.name))
    }

    fn installs_into(&self) -> Result<Vec<EntryPath>, Error> {
        self.spec
            .installs_into(&|path| read_from(&self.workspace.root, path))
            .map_err(|problem| self.spec_error(problem))
    }

    fn in_tree(&self, name: &str) -> Result<EntryPath, Error> {
        from_root(self.spec.dir.as_ref(), name)
            .ok_or_else(|| self.spec_error(format!("`{name}` leaves the tree")))
    }

    fn must_exist(&self, path: &EntryPath) -> Result<(), Error> {
        match fs::symlink_metadata(self.workspace.root.join(path.as_path())) {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::MissingOutput {
                step: self.spec.name.clone(),
                path: path.clone(),
            }),
        }
    }

    fn warn(&self, message: String) {
        (self.on_event)(Event::Warning {
            step: self.spec.name.clone(),
            message,
        });
    }

    fn spec_error(&self, problem: String) -> Error {
        Error::Spec {
            step: self.spec.name.clone(),
            problem,
        }
    }

    fn io(&self, action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
        io_error(&self.spec.name, action, path)
    }
}

pub(crate) fn io_error(
    step: &str,
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> Error + use<> {
    let (step, path) = (step.to_owned(), path.to_path_buf());
    move |source| Error::Io {
        step,
        action,
        path,
        source,
    }
}
