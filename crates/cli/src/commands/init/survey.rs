//! What a repository tells of itself: its remote, its lockfiles, and the deploy tools before shipit. Files are read, nothing is
//! run and nothing written.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::errors::{CliError, Result};

/// How deep below the root lockfiles are looked for.
const DEPTH: usize = 4;

/// Directories that hold what others wrote.
const SKIPPED: [&str; 8] = [
    "node_modules",
    "vendor",
    "local",
    "target",
    "dist",
    "build",
    "tmp",
    "spec",
];

/// Lockfiles of tools that have no preset.
const WITHOUT_PRESET: [&str; 7] = [
    "yarn.lock",
    "pnpm-lock.yaml",
    "composer.lock",
    "poetry.lock",
    "uv.lock",
    "Pipfile.lock",
    "Cargo.lock",
];

/// What was found; also what the starter config is rendered from.
#[derive(Debug, Default, Serialize)]
pub struct Survey {
    /// The repository's root, or the directory where the search began.
    pub root: PathBuf,
    /// Whether `root` is a repository's.
    pub repository: bool,
    /// A name for the app.
    pub app: String,
    /// The app's name as a bucket's may have it.
    pub bucket: String,
    /// The remote's URL, without a password.
    pub repo: Option<String>,
    /// The steps that the lockfiles ask for.
    pub steps: Vec<Step>,
    /// Where the app lies on hosts, if an older tool says so.
    pub dest: Option<String>,
    /// The stages.
    pub stages: Vec<String>,
    /// What was found, a line each.
    pub found: Vec<String>,
    /// What there is no answer to, a line each.
    pub hints: Vec<String>,
}

/// A step of the starter config.
#[derive(Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    order: usize,
    /// The preset.
    pub preset: &'static str,
    /// The directory, empty for the root.
    pub dir: String,
    /// Go's packages with a main, relative to the directory, and the files that they become.
    pub packages: Vec<(String, String)>,
    /// Whether package.json has a script `build`.
    pub build_script: bool,
}

impl Survey {
    /// Looks around from a directory upward to its repository, and downward through that.
    pub fn of(cwd: &Path) -> Result<Self> {
        let git = cwd.ancestors().find(|dir| dir.join(".git").exists());
        let root = git.unwrap_or(cwd).to_owned();
        let mut survey = Self {
            repository: git.is_some(),
            root: root.clone(),
            ..Self::default()
        };
        survey.remote();
        survey.directory(&root, "", 0)?;
        survey.steps.sort();
        survey.capistrano();
        if survey.app.is_empty() {
            let from_remote = survey.repo.as_deref().and_then(last_component);
            let from_dir = root
                .file_name()
                .and_then(|name| name.to_str())
                .map(ToOwned::to_owned);
            survey.app = app_name(&from_remote.or(from_dir).unwrap_or_default());
        }
        survey.bucket = survey.app.to_lowercase().replace(['_', '.'], "-");
        if survey.stages.is_empty() {
            survey.stages = vec!["staging".to_owned(), "production".to_owned()];
        }
        if survey.steps.is_empty() {
            survey.hints.push(
                "no lockfile of carton, bundler, npm or go was found: the artifact is the tree alone"
                    .to_owned(),
            );
        }
        Ok(survey)
    }

    fn remote(&mut self) {
        let Some(url) = git_config(&self.root).as_deref().and_then(remote_url) else {
            return;
        };
        let (plain, had_password) = without_password(&url);
        if had_password {
            self.hints.push(format!(
                "the remote's URL holds a password, which is left out: give it as [source] token = {{ env = \"GIT_TOKEN\" }} for {plain}"
            ));
        }
        self.found.push(format!("the remote {plain}"));
        self.repo = Some(plain);
    }

    fn directory(&mut self, dir: &Path, relative: &str, depth: usize) -> Result<()> {
        let entries =
            fs::read_dir(dir).map_err(|error| CliError::disk(format!("reading {}", dir.display()), error))?;
        let mut inner = Vec::new();
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_file() {
                self.file(dir, relative, &name);
            } else if kind.is_dir()
                && depth < DEPTH
                && !name.starts_with('.')
                && !SKIPPED.contains(&name.as_str())
            {
                inner.push(name);
            }
        }
        inner.sort();
        for name in inner {
            let below = if relative.is_empty() {
                name.clone()
            } else {
                format!("{relative}/{name}")
            };
            // A directory that cannot be read has nothing to say; the root was read.
            let _ = self.directory(&dir.join(&name), &below, depth + 1);
        }
        Ok(())
    }

    fn file(&mut self, dir: &Path, relative: &str, name: &str) {
        let at = if relative.is_empty() {
            name.to_owned()
        } else {
            format!("{relative}/{name}")
        };
        let (order, preset) = match name {
            "cpanfile.snapshot" => (0, "carton"),
            "Gemfile.lock" => (1, "bundle"),
            "package-lock.json" | "npm-shrinkwrap.json" => (2, "npm"),
            "go.mod" => (3, "go"),
            _ => {
                if WITHOUT_PRESET.contains(&name) {
                    self.hints.push(format!(
                        "{at}: its tool has no preset; add a step with run, inputs and outputs"
                    ));
                } else if matches!(name, "stretcher.yml" | "stretcher.yaml" | "stretcher.yml.erb") {
                    self.hints.push(format!(
                        "{at}: shipit writes stretcher's manifests itself; docs/stretcher-compatibility.md says what becomes of its keys"
                    ));
                }
                return;
            }
        };
        if self
            .steps
            .iter()
            .any(|step| step.preset == preset && step.dir == relative)
        {
            return;
        }
        self.found.push(at);
        let packages = if preset == "go" { go_mains(dir) } else { Vec::new() };
        if preset == "go" && packages.is_empty() {
            self.hints.push(
                "go.mod: no package with a main was found; name them in the step's packages".to_owned(),
            );
        }
        let build_script = preset == "npm" && has_build_script(dir);
        self.steps.push(Step {
            order,
            preset,
            dir: relative.to_owned(),
            packages,
            build_script,
        });
    }

    /// capistrano's own files name the app, its directory and the stages.
    fn capistrano(&mut self) {
        let deploy = fs::read_to_string(self.root.join("config/deploy.rb")).unwrap_or_default();
        if deploy.is_empty() && !self.root.join("Capfile").exists() {
            return;
        }
        self.found.push("capistrano's files".to_owned());
        self.hints.push(
            "capistrano is in use: docs/migrating-from-capistrano-stretcher.md says what becomes of its settings".to_owned(),
        );
        if let Some(app) = ruby_setting(&deploy, "application") {
            self.app = app_name(&app);
        }
        self.dest =
            ruby_setting(&deploy, "deploy_to").filter(|dest| dest.starts_with('/') && !dest.contains("#{"));
        let stages = fs::read_dir(self.root.join("config/deploy"))
            .into_iter()
            .flatten()
            .flatten();
        self.stages = stages
            .filter_map(|entry| {
                entry
                    .file_name()
                    .to_str()?
                    .strip_suffix(".rb")
                    .map(ToOwned::to_owned)
            })
            .filter(|name| *name == app_name(name))
            .collect();
        self.stages.sort();
    }
}

/// The text of the repository's config, also of a linked worktree or a submodule.
fn git_config(root: &Path) -> Option<String> {
    let git = root.join(".git");
    let dir = if git.is_file() {
        let pointer = fs::read_to_string(&git).ok()?;
        let dir = root.join(pointer.strip_prefix("gitdir:")?.trim());
        match fs::read_to_string(dir.join("commondir")) {
            Ok(common) => dir.join(common.trim()),
            Err(_) => dir,
        }
    } else {
        git
    };
    fs::read_to_string(dir.join("config")).ok()
}

/// The URL of the remote `origin`, else of the first one.
fn remote_url(config: &str) -> Option<String> {
    let mut section = "";
    let mut first = None;
    for line in config.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if section.starts_with("[remote \"")
            && let Some((key, value)) = line.split_once('=')
            && key.trim() == "url"
        {
            let value = value.trim().trim_matches('"').to_owned();
            if section == "[remote \"origin\"]" {
                return Some(value);
            }
            first = first.or(Some(value));
        }
    }
    first
}

/// The URL without user and password, where an `http` one has them; whether it had.
fn without_password(url: &str) -> (String, bool) {
    let Some((scheme, rest)) = url.split_once("://") else {
        return (url.to_owned(), false);
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    match host.rsplit_once('@') {
        Some((user, host)) if scheme.starts_with("http") || user.contains(':') => {
            let name = user.split(':').next().filter(|_| !scheme.starts_with("http"));
            let user = name.map(|name| format!("{name}@")).unwrap_or_default();
            (format!("{scheme}://{user}{host}/{path}"), true)
        }
        _ => (url.to_owned(), false),
    }
}

fn last_component(url: &str) -> Option<String> {
    let path = url.trim_end_matches('/').trim_end_matches(".git");
    path.rsplit(['/', ':']).next().map(ToOwned::to_owned)
}

/// A text made into a name that the config takes.
fn app_name(text: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name: String = text
        .chars()
        .map(|c| if fits(c) { c } else { '-' })
        .take(64)
        .collect();
    let name = name.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if name.is_empty() {
        "app".to_owned()
    } else {
        name.to_owned()
    }
}

/// The value of `set :name, 'value'`.
fn ruby_setting(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let rest = line
            .trim()
            .strip_prefix("set")?
            .trim_start_matches(['(', ' '])
            .strip_prefix(':')?;
        let value = rest
            .strip_prefix(name)?
            .trim_start()
            .strip_prefix(',')?
            .trim_start();
        let quote = value.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        value[1..].split(quote).next().map(ToOwned::to_owned)
    })
}

fn has_build_script(dir: &Path) -> bool {
    let package = fs::read(dir.join("package.json")).unwrap_or_default();
    let package: serde_json::Value = serde_json::from_slice(&package).unwrap_or_default();
    package.pointer("/scripts/build").is_some()
}

/// The packages with a main: the module's root, and the directories of cmd/.
fn go_mains(dir: &Path) -> Vec<(String, String)> {
    let mut mains = Vec::new();
    let mut commands: Vec<PathBuf> = fs::read_dir(dir.join("cmd"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    commands.sort();
    for command in commands.iter().filter(|path| has_main(path)) {
        if let Some(name) = command
            .file_name()
            .and_then(|name| name.to_str())
            .filter(|name| *name == app_name(name))
        {
            mains.push((format!("./cmd/{name}"), format!("bin/{name}")));
        }
    }
    if has_main(dir) {
        mains.push((".".to_owned(), "bin/app".to_owned()));
    }
    mains
}

fn has_main(dir: &Path) -> bool {
    let files = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    files
        .filter(|path| path.extension().is_some_and(|ext| ext == "go"))
        .filter(|path| !path.to_string_lossy().ends_with("_test.go"))
        .any(|path| {
            fs::read_to_string(path)
                .is_ok_and(|text| text.lines().any(|line| line.trim_end() == "package main"))
        })
}
