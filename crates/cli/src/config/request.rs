//! What a command asks of the config.

use std::path::PathBuf;

/// How the config is loaded.
pub struct ConfigRequest<'a> {
    /// The file, from `--config`; `None` searches `shipit.toml` from `cwd` upward.
    pub path: Option<PathBuf>,
    /// The working directory, absolute.
    pub cwd: PathBuf,
    /// Which stage is laid over the base.
    pub stage: StageChoice<'a>,
    /// The environment; asked for the standard variables that complete the config (`CONSUL_HTTP_ADDR`).
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

/// Which stage is laid over the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageChoice<'a> {
    /// None: the command serves every stage, or shows the base. What only a stage may complete is not missed.
    Base,
    /// This one if it is named; without a name the base, or the stage `default` of a config that has no `[stage.*]` table.
    Any(Option<&'a str>),
    /// This one. Without a name, a config that has no `[stage.*]` table is taken as the stage `default`.
    Of(Option<&'a str>),
}
