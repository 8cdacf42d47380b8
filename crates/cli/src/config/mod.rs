//! The config: `shipit.toml` found, read, checked, a stage laid over it, and settled into one typed value.
//!
//! The order is: the tree with its places (`text`), the search for inline secrets (`secrets`), the check of every table
//! against the file's types (`file`, `schema`, `check`), the stage's keys laid over the base (`layers`), Consul's
//! variables over both (`overrides`), the settled value (`settle`, `settled`). Nothing is fetched, opened or run
//! here, and no environment variable is read except through the function that the caller hands in.

mod batch;
mod check;
mod checks;
mod duration;
mod error;
mod file;
mod layers;
mod names;
mod overrides;
mod provenance;
mod reference;
mod render;
mod request;
mod schema;
mod secrets;
mod setting;
mod settle;
mod settled;
mod shown;
mod size;
#[cfg(test)]
mod tests;
mod text;

use std::path::{Path, PathBuf};

pub use batch::Batch;
pub use duration::Span;
pub use error::ConfigError;
pub use reference::reference;
pub use request::{ConfigRequest, StageChoice};
pub use schema::published as json_schema;
pub use setting::{Resolved, Setting};
pub use settled::{
    Compression, DEFAULT_STAGE, Exec, Fetch, Hosts, Layout, Link, Notify, NotifyTo, Outcome, ReportWith,
    Role, Settled, Step, Store, Tool, Transport, WaveCheck,
};
pub use shown::{as_json, as_toml};
pub use size::Size;

pub use text::bare as toml_key;

use error::{Invalid, Problem};
use layers::Unchosen;
use settle::Surroundings;

/// The config's name.
pub const FILE_NAME: &str = "shipit.toml";

/// Loads configs.
pub struct Config;

impl Config {
    /// Finds the config, reads it, and settles it with the stage that was asked for.
    ///
    /// # Errors
    /// There is no config, it is not right, or the stage cannot be had; see [`ConfigError`].
    pub fn load(request: &ConfigRequest<'_>) -> Result<Settled, ConfigError> {
        let path = match &request.path {
            Some(path) => request.cwd.join(path),
            None => find(&request.cwd)?,
        };
        let bytes = std::fs::read(&path).map_err(|source| ConfigError::Read {
            path: path.clone(),
            source,
        })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let source = std::io::Error::new(std::io::ErrorKind::InvalidData, error.utf8_error());
            ConfigError::Read {
                path: path.clone(),
                source,
            }
        })?;
        settle_text(&text, &path, request)
    }
}

/// The config of the directory or of the nearest one above it.
fn find(cwd: &Path) -> Result<PathBuf, ConfigError> {
    cwd.ancestors()
        .map(|dir| dir.join(FILE_NAME))
        .find(|path| path.is_file())
        .ok_or_else(|| ConfigError::NotFound { cwd: cwd.to_owned() })
}

fn settle_text(text: &str, path: &Path, request: &ConfigRequest<'_>) -> Result<Settled, ConfigError> {
    let shown = path.strip_prefix(&request.cwd).unwrap_or(path);
    let root = text::parse(text)
        .map_err(|problems| invalid(shown, secrets::masked(text, &secrets::suspects(text)), problems))?;
    let found = secrets::search(&root);
    let masked = secrets::masked(text, &found.spans);
    let refused = |problems| invalid(shown, masked.clone(), problems);
    let schema = schema::internal();
    let mut problems = check::check(&schema, &schema, &root, &[]);
    problems.extend(found.problems);
    if !problems.is_empty() {
        return Err(refused(problems));
    }
    let chosen = layers::choose(&root, request.stage, shown).map_err(|unchosen| match unchosen {
        Unchosen::Wish(error) => *error,
        Unchosen::File(problem) => refused(vec![*problem]),
    })?;
    let mut merged = layers::merged(&root, &chosen);
    // Before the environment is laid over it: that alone changes nothing of where locks and reports stand.
    let consul_table = merged.get("consul").is_some();
    overrides::environment(&mut merged, &schema, request.env)?;
    let around = Surroundings {
        file: path,
        shown,
        dir: path.parent().unwrap_or(&request.cwd),
        stage: chosen.stage,
        consul_table,
        home: (request.env)("HOME").map(PathBuf::from),
    };
    let mut settled = settle::settle(&merged, &around).map_err(refused)?;
    settled.stages = layers::stages(&root);
    settled.lints.extend(found.lints);
    settled.lints.sort_by_key(|lint| lint.line);
    Ok(settled)
}

/// The problems in the order of the file; what is missing comes last.
fn invalid(file: &Path, text: String, mut problems: Vec<Problem>) -> ConfigError {
    problems.sort_by_key(|problem| problem.span.as_ref().map_or(usize::MAX, |span| span.start));
    ConfigError::Invalid(Box::new(Invalid {
        file: file.to_owned(),
        text,
        problems,
    }))
}
