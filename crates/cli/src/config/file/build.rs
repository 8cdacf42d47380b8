//! `[build]`, `[[build.step]]`, `[[build.test]]`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::texts::{
    Command, DurationText, GlobText, Name, OneOrMany, RelativePath, SizeText, Text, TextOrEnv,
};
use crate::config::{Size, Span};

/// What is built and packed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BuildTable {
    /// What stays out of the code layer: globs as in .gitignore. `.git`, `*.pid` and `*.socket` always stay out.
    #[schemars(with = "Option<Vec<GlobText>>", extend("default" = [], "examples" = [["spec", "docs", "*.psd"]]))]
    pub exclude: Option<Vec<String>>,
    /// The artifact's compression: `zstd`, or `gzip` for hosts whose tar knows no zstd.
    #[schemars(extend("default" = "zstd", "examples" = ["gzip"]))]
    pub compression: Option<Packer>,
    /// The directory of the tree that is packed alone, as its root. Without it, the whole tree.
    #[schemars(with = "Option<RelativePath>", extend("examples" = ["build"]))]
    pub root: Option<String>,
    /// How many artifacts `.shipit/artifacts` keeps; older ones are removed after a build.
    #[schemars(range(min = 1), extend("default" = 10, "examples" = [3]))]
    pub keep: Option<u32>,
    /// The steps, which run in the exported tree one after the other, each with a table `[[build.step]]`.
    #[schemars(extend("default" = []))]
    pub step: Option<Vec<StepTable>>,
    /// The tests, which run on an unpacked copy of the packed bytes, each with a table `[[build.test]]`. When one fails there
    /// is no artifact.
    #[schemars(extend("default" = []))]
    pub test: Option<Vec<TestTable>>,
}

/// The artifact's compression.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Packer {
    /// zstd frames.
    Zstd,
    /// gzip members.
    Gzip,
}

/// A step of the build: a preset that knows its tool (`use`), or a command (`run`).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StepTable {
    /// The preset: `carton`, `bundle`, `npm` or `go`. Either this or `run`.
    #[schemars(extend("examples" = ["npm"]))]
    pub r#use: Option<Use>,
    /// A command for `sh -c`. Either this or `use`.
    #[schemars(with = "Option<Command>", extend("examples" = ["npm run build"]))]
    pub run: Option<String>,
    /// The step's name in output, logs and the record. Without it one is made of the preset or command and `dir`.
    #[schemars(with = "Option<Name>", extend("examples" = ["frontend"]))]
    pub name: Option<String>,
    /// The directory that the step runs in, relative to the tree's root. Without it, the root.
    #[schemars(with = "Option<RelativePath>", extend("examples" = ["frontend"]))]
    pub dir: Option<String>,
    /// Environment variables of the step. It gets these, PATH, HOME and LANG, and no other.
    #[schemars(extend("x-names" = "variable", "default" = {}, "examples" = [{"NODE_ENV": "production", "NPM_TOKEN": {"env": "NPM_TOKEN", "secret": true}}]))]
    pub env: Option<BTreeMap<String, TextOrEnv>>,
    /// The longest that the step may run.
    #[schemars(with = "Option<DurationText>", extend("default" = "1h", "examples" = ["10m"]))]
    pub timeout: Option<Span>,
    /// The longest that the step may stay without output.
    #[schemars(with = "Option<DurationText>", extend("default" = "15m", "examples" = ["5m"]))]
    pub idle_timeout: Option<Span>,
    /// Whether what the step vendors becomes a layer of its own. Presets do, except `go`, whose result is always code; a
    /// `run` does when it has `inputs` and `outputs`.
    #[schemars(extend("examples" = [false]))]
    pub layer: Option<bool>,
    /// The files, as globs relative to `dir`, that decide whether the layer is built anew: for `run` with `outputs` all of them,
    /// for a preset what it reads beside the files that it is known to read. A directory stands for all below it. One that matches
    /// nothing keeps the layer from being kept; `{a,b}` needs a match of one of them.
    #[schemars(with = "Option<Vec<GlobText>>", extend("default" = [], "examples" = [["composer.lock"]]))]
    pub inputs: Option<Vec<String>>,
    /// For `run`, with `inputs`: the paths, relative to `dir`, that the command vendors.
    #[schemars(with = "Option<Vec<RelativePath>>", extend("default" = [], "examples" = [["vendor"]]))]
    pub outputs: Option<Vec<String>>,
    /// Directories, relative to `dir`, that stay in the workspace from build to build as the step left them: what speeds up its
    /// next run, such as a compiler's output. They are not packed: what is to ship is copied out of them. A build with `--clean` starts without them.
    #[schemars(with = "Option<Vec<RelativePath>>", extend("default" = [], "examples" = [["target"]]))]
    pub keep: Option<Vec<String>>,
    /// For `npm`: whether the layer that ships is the one of `npm ci --omit=dev`, while later steps see the dev dependencies
    /// too.
    #[schemars(extend("default" = false, "examples" = [true]))]
    pub production: Option<bool>,
    /// For `bundle`: the Gemfile's groups that are left out.
    #[schemars(with = "Option<Vec<Text>>", extend("examples" = [["development", "test"]]))]
    pub without: Option<Vec<String>>,
    /// For `go`: the packages that are built, each with the file that it becomes, both relative to `dir`.
    #[schemars(with = "Option<BTreeMap<String, RelativePath>>", extend("examples" = [{"./cmd/server": "bin/server"}]))]
    pub packages: Option<BTreeMap<String, String>>,
}

/// What builds keep for the next ones.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CacheTable {
    /// Whether dependency layers are had from the store when another builder published them, and are offered there.
    #[schemars(extend("default" = true, "examples" = [false]))]
    pub shared: Option<bool>,
    /// How much the layers on this machine may take. What was not used for longest goes first, after a build.
    #[schemars(with = "Option<SizeText>", extend("default" = "20G", "examples" = ["5G"]))]
    pub max_size: Option<Size>,
    /// How old a layer may become, one of the store too: then its step runs again, from nothing.
    #[schemars(with = "Option<DurationText>", extend("default" = "30d", "examples" = ["7d"]))]
    pub max_age: Option<Span>,
}

/// A preset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    /// Perl's carton: `carton install --deployment` into local/, by cpanfile.snapshot.
    Carton,
    /// Ruby's bundler in deployment mode, into vendor/bundle, by Gemfile.lock.
    Bundle,
    /// `npm ci` into node_modules, by package-lock.json.
    Npm,
    /// `go build -trimpath -buildvcs=false`.
    Go,
}

/// A test of the packed bytes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TestTable {
    /// A command for `sh -c`; the test fails when it ends with another code than 0.
    #[schemars(with = "Option<Command>", extend("examples" = ["prove -lr t"]))]
    pub run: Option<String>,
    /// The test's name in output and logs. Without it one is made of the command.
    #[schemars(with = "Option<Name>", extend("examples" = ["unit"]))]
    pub name: Option<String>,
    /// Globs, one or a list, relative to `dir`, of JUnit files to be kept beside the test's log.
    #[schemars(with = "Option<OneOrMany<GlobText>>", extend("default" = [], "examples" = ["reports/*.xml"]))]
    pub junit: Option<OneOrMany<String>>,
    /// The directory that the test runs in, relative to the unpacked tree. Without it, its root.
    #[schemars(with = "Option<RelativePath>", extend("examples" = ["backend"]))]
    pub dir: Option<String>,
    /// Environment variables of the test. It gets these, PATH, HOME and LANG, and no other.
    #[schemars(extend("x-names" = "variable", "default" = {}, "examples" = [{"RAILS_ENV": "test"}]))]
    pub env: Option<BTreeMap<String, TextOrEnv>>,
    /// The longest that the test may run.
    #[schemars(with = "Option<DurationText>", extend("default" = "1h", "examples" = ["20m"]))]
    pub timeout: Option<Span>,
    /// The longest that the test may stay without output.
    #[schemars(with = "Option<DurationText>", extend("default" = "15m", "examples" = ["5m"]))]
    pub idle_timeout: Option<Span>,
}

/// A command or a list of commands, as schemas have it.
pub type Commands = OneOrMany<Command>;
