//! What a step is: the settled input of this crate, as the cli makes it from the config. Nothing is run here.

use std::ffi::OsString;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shipit_artifact::EntryPath;

/// One step of the build, settled.
#[derive(Debug, Clone)]
pub struct StepSpec {
    /// What the step is called in output, logs and errors; unique in the build.
    pub name: String,
    /// What it runs.
    pub tool: Tool,
    /// The directory it runs in, below the workspace's root; `None` is the root itself.
    pub dir: Option<EntryPath>,
    /// What is added to [`Workspace::base_env`]; a name that stands in both takes this value.
    pub env: Vec<EnvVar>,
    /// How long the step may take in all; `None` is without limit.
    pub timeout: Option<Duration>,
    /// How long the step may stay without a byte of output; `None` is without limit.
    pub idle_timeout: Option<Duration>,
    /// Whether what it vendors is a layer of its own. With `false` it goes into the code.
    pub layer: bool,
    /// Files that rule what a [`Tool::Run`] step makes, as patterns below `dir`. With `outputs` they make it a layer.
    pub inputs: Vec<String>,
    /// Paths below `dir` that a [`Tool::Run`] step makes. They must be there when it ends.
    pub outputs: Vec<String>,
}

/// What a step runs: a preset, which knows its tool, or a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tool {
    /// Perl: `carton install --deployment`.
    Carton,
    /// Ruby: `bundle install` in deployment mode.
    Bundle {
        /// Groups of the Gemfile that are left out.
        without: Vec<String>,
    },
    /// Node: `npm ci`.
    Npm {
        /// Whether the layer holds the tree without dev dependencies. Later steps see the full tree either way.
        production: bool,
    },
    /// Go: `go build` of packages to files. Its result is code.
    Go {
        /// What is built, in order.
        packages: Vec<GoOutput>,
    },
    /// Any command, given to `sh -c`.
    Run {
        /// The command.
        command: String,
    },
}

/// One program that the go preset builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoOutput {
    /// The package as `go build` takes it: `./cmd/server`.
    pub package: String,
    /// The file to write, below the step's directory: `bin/server`.
    pub output: EntryPath,
}

/// A variable of a step's environment.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Whether the value is replaced by `***` in all that the step prints.
    pub secret: bool,
}

impl fmt::Debug for EnvVar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = if self.secret {
            crate::output::MASK
        } else {
            &self.value
        };
        f.debug_struct("EnvVar")
            .field("name", &self.name)
            .field("value", &value)
            .field("secret", &self.secret)
            .finish()
    }
}

/// A `[[build.test]]`: a command that runs on an unpacked copy of the artifact.
#[derive(Debug, Clone)]
pub struct TestSpec {
    /// What the test is called in output, logs and errors.
    pub name: String,
    /// The command, given to `sh -c`.
    pub run: String,
    /// Where it writes JUnit files: patterns below `dir`, such as `reports/*.xml`.
    pub junit: Vec<String>,
    /// The directory it runs in, below the unpacked tree; `None` is its root.
    pub dir: Option<EntryPath>,
    /// As [`StepSpec::env`].
    pub env: Vec<EnvVar>,
    /// As [`StepSpec::timeout`].
    pub timeout: Option<Duration>,
    /// As [`StepSpec::idle_timeout`].
    pub idle_timeout: Option<Duration>,
}

/// Where steps run. All paths are absolute, and no one of them lies in `root`.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// The exported tree.
    pub root: PathBuf,
    /// Where the logs are written; made when missing.
    pub logs: PathBuf,
    /// What tools keep from build to build (downloads, Go's build cache); made when missing.
    pub cache: PathBuf,
    /// Where a step keeps what is neither the tree nor a cache (npm's second tree); made when missing. It lives as
    /// long as the workspace: [`Vendored::root`](crate::Vendored::root) may lie in it.
    pub aside: PathBuf,
    /// What every step's environment starts with: PATH, HOME and LANG, settled by the cli.
    pub base_env: Vec<(OsString, OsString)>,
    /// How many tools are asked for their versions at once.
    pub jobs: NonZeroUsize,
}

/// The directory `dir` below `root`.
pub(crate) fn below(root: &Path, dir: Option<&EntryPath>) -> PathBuf {
    match dir {
        Some(dir) => root.join(dir.to_path_buf()),
        None => root.to_path_buf(),
    }
}
