//! The config from its text to what it settles to.

mod generated;
mod kicks;
mod layering;
mod refusals;
mod secrets;

use std::path::{Path, PathBuf};

use super::{ConfigError, ConfigRequest, Settled, StageChoice, settle_text};

/// Settles a text that lies at /app/shipit.toml.
fn load(text: &str, stage: StageChoice<'_>, variables: &[(&str, &str)]) -> Result<Settled, ConfigError> {
    let env = |name: &str| {
        variables
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| (*value).to_owned())
    };
    let request = ConfigRequest {
        path: None,
        cwd: PathBuf::from("/app"),
        stage,
        env: &env,
    };
    settle_text(text, Path::new("/app/shipit.toml"), &request)
}

/// What is shown of a text that must not load.
fn refused(text: &str) -> String {
    match load(text, StageChoice::Base, &[]) {
        Err(ConfigError::Invalid(invalid)) => invalid.render(false),
        other => panic!("{other:?}"),
    }
}
