//! `shipit init`.

mod survey;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value};
use serde::Serialize;

use crate::config::{self, Config, ConfigRequest, FILE_NAME, StageChoice};
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};

use survey::Survey;

/// The starter config.
const TEMPLATE: &str = include_str!("../../../../templates/shipit.toml.j2");

/// What keeps shipit's own directory out of git.
const IGNORED: &str = "/.shipit/";

/// Look at the repository and write a commented shipit.toml.
///
/// It finds the remote, the lockfiles of carton, bundler, npm and go (in subdirectories too), and what capistrano or stretcher
/// left, and writes a config that loads as it is. It lies in the repository's root, or in the working directory outside of a
/// repository. `.shipit/` is added to .gitignore.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Replace a shipit.toml that is there
    #[arg(long)]
    force: bool,
}

/// What was done: the document of `--output json`.
#[derive(Debug, Serialize)]
pub struct Written {
    /// The config.
    pub path: PathBuf,
    /// The stages that the config has.
    pub stages: Vec<String>,
    /// What was found in the repository, a line each.
    pub found: Vec<String>,
    /// What shipit knows no answer to, a line each.
    pub hints: Vec<String>,
    /// The .gitignore that got a line, if one did.
    pub gitignore: Option<PathBuf>,
}

pub fn run(args: &InitArgs, context: &Context) -> Result<()> {
    let cwd = context.working_directory()?;
    let target = context
        .global
        .config
        .as_deref()
        .map(|path| context.absolute(path))
        .transpose()?;
    let written = init(&cwd, target, args.force)?;
    for line in &written.found {
        context.output.say(format!("found {line}"));
    }
    for line in &written.hints {
        context.output.warn(line);
    }
    if let Some(path) = &written.gitignore {
        context
            .output
            .say(format!("added {IGNORED} to {}", path.display()));
    }
    let stage = written.stages.first().map_or("", String::as_str);
    context
        .output
        .say(format!("wrote {}; next:", written.path.display()));
    context
        .output
        .say("  1. fill in the store's URL, the roles and the stages");
    context.output.say(format!(
        "  2. shipit config --stage {stage}: shows what is settled"
    ));
    context
        .output
        .say("  3. shipit build: builds HEAD, of the repository that `repo` names, else of this one");
    context.output.data(written.path.display().to_string())?;
    context.output.json(&written)
}

/// Writes the config for the repository that `cwd` lies in.
pub fn init(cwd: &Path, target: Option<PathBuf>, force: bool) -> Result<Written> {
    let survey = Survey::of(cwd)?;
    let path = target.unwrap_or_else(|| survey.root.join(FILE_NAME));
    if !force && path.symlink_metadata().is_ok() {
        let message = format!("{} is there already, and is not overwritten", path.display());
        return Err(CliError::new(Kind::Usage, message).hint("--force replaces it"));
    }
    let text = render(&survey)?;
    write(&path, &text, force)?;
    let gitignore = ignore(&survey)?;
    Ok(Written {
        path,
        stages: survey.stages,
        found: survey.found,
        hints: survey.hints,
        gitignore,
    })
}

/// The config's text.
fn render(survey: &Survey) -> Result<String> {
    let failed = |error| CliError::from_source(Kind::Internal, error).context("rendering the starter config");
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let mut syntax = SyntaxConfig::builder();
    syntax
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true);
    environment.set_syntax(syntax.build().map_err(failed)?);
    environment.add_filter("key", |text: String| config::toml_key(&text));
    environment.add_filter("toml", |text: String| toml::Value::from(text).to_string());
    environment
        .render_str(TEMPLATE, Value::from(Serde(survey)))
        .map_err(failed)
}

/// Writes aside, loads what was written, and only then gives it its name: what init leaves always loads.
fn write(path: &Path, text: &str, force: bool) -> Result<()> {
    let failed = |error| CliError::disk(format!("writing {}", path.display()), error);
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new()
        .prefix(".shipit.toml.")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(dir)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    let request = ConfigRequest {
        path: Some(file.path().to_owned()),
        cwd: dir.to_owned(),
        stage: StageChoice::Base,
        env: &|_| None,
    };
    Config::load(&request).map_err(|error| {
        let shown = crate::errors::config(&error, false);
        CliError::new(
            Kind::Internal,
            format!("the starter config does not load: {}", shown.chain().join(": ")),
        )
    })?;
    if force {
        file.persist(path).map_err(|error| failed(error.error))?;
    } else {
        file.persist_noclobber(path)
            .map_err(|error| failed(error.error))?;
    }
    Ok(())
}

/// Adds `.shipit/` to the repository's .gitignore unless it stands there.
fn ignore(survey: &Survey) -> Result<Option<PathBuf>> {
    if !survey.repository {
        return Ok(None);
    }
    let path = survey.root.join(".gitignore");
    let old = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(CliError::disk(format!("reading {}", path.display()), error)),
    };
    let stands = |line: &[u8]| {
        matches!(
            line.trim_ascii(),
            b"/.shipit/" | b"/.shipit" | b".shipit/" | b".shipit"
        )
    };
    if old.split(|byte| *byte == b'\n').any(stands) {
        return Ok(None);
    }
    let mut line = String::new();
    if old.last().is_some_and(|last| *last != b'\n') {
        line.push('\n');
    }
    line.push_str(IGNORED);
    line.push('\n');
    // One write at the end of the file: what stands in it is never rewritten.
    fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .map_err(|error| CliError::disk(format!("adding {IGNORED} to {}", path.display()), error))?;
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::init;
    use crate::config::{Config, ConfigRequest, Settled, StageChoice, Tool};

    fn load(dir: &std::path::Path, stage: &str) -> Settled {
        Config::load(&ConfigRequest {
            path: None,
            cwd: dir.to_owned(),
            stage: StageChoice::Of(Some(stage)),
            env: &|_| None,
        })
        .unwrap()
    }

    #[test]
    fn a_repository_with_everything_gets_a_config_that_loads() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for (path, text) in [
            (
                ".git/config",
                "[remote \"origin\"]\n\turl = https://bob:hunter2@example.com/team/My Shop.git\n",
            ),
            (".git/HEAD", "ref: refs/heads/main\n"),
            ("Gemfile.lock", ""),
            ("backend/cpanfile.snapshot", ""),
            ("frontend/package-lock.json", "{}"),
            ("frontend/package.json", "{\"scripts\": {\"build\": \"x\"}}"),
            ("frontend/node_modules/dep/package-lock.json", "{}"),
            ("go.mod", "module x\n"),
            ("cmd/server/main.go", "// Serves.\npackage main\n"),
            ("poetry.lock", ""),
            (
                "config/deploy.rb",
                "set :application, 'shop'\nset :deploy_to, \"/srv/shop\"\n",
            ),
            ("config/deploy/production.rb", ""),
            ("config/deploy/qa.rb", ""),
            (".gitignore", "node_modules/"),
        ] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let sub = root.join("frontend");
        let written = init(&sub, None, false).unwrap();
        assert_eq!(written.path, root.join("shipit.toml"));
        let settled = load(&sub, "qa");
        assert_eq!(settled.app, "shop");
        assert_eq!(settled.repo, ["https://example.com/team/My Shop.git"]);
        assert_eq!(settled.role("web").unwrap().dest.as_deref(), Some("/srv/shop"));
        let names: Vec<&str> = settled
            .build
            .steps
            .iter()
            .map(|step| step.name.as_str())
            .collect();
        assert_eq!(
            names,
            [
                "backend-carton",
                "bundle",
                "frontend-npm",
                "frontend-npm-run-build",
                "go"
            ]
        );
        let Tool::Go { packages } = &settled.build.steps[4].tool else {
            panic!("{:?}", settled.build.steps)
        };
        assert_eq!(packages["./cmd/server"], "bin/server");
        assert_eq!(
            fs::read_to_string(root.join(".gitignore")).unwrap(),
            "node_modules/\n/.shipit/\n"
        );
        let said = format!("{written:?}{}", fs::read_to_string(&written.path).unwrap());
        assert!(
            said.contains("poetry.lock") && said.contains("capistrano") && !said.contains("hunter2"),
            "{said}"
        );
    }

    #[test]
    fn an_empty_directory_gets_one_too_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let written = init(dir.path(), None, false).unwrap();
        assert_eq!(written.gitignore, None);
        load(dir.path(), "staging");
        fs::write(&written.path, "mine").unwrap();
        let error = init(dir.path(), None, false).unwrap_err();
        assert_eq!(error.code(), 2);
        assert_eq!(fs::read_to_string(&written.path).unwrap(), "mine");
        init(dir.path(), None, true).unwrap();
        load(dir.path(), "production");
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}
