//! The source's options: remotes, the mirror's place, who may authenticate and how.

use std::path::{Path, PathBuf};

use shipit_artifact::{hex, sha256};
use shipit_source::{Credentials, Fetch, Remote, Secret, SourceOptions, Submodules, Token};

use crate::config::{self, Settled};
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};

/// Everything that `Source::open` wants.
pub fn options(config: &Settled, context: &Context) -> Result<SourceOptions> {
    let remotes = remotes(config)?;
    let mirror = context.writable_part(&mirror(config, &remotes))?;
    let home = context.environment.path("HOME");
    let mut options = SourceOptions::new(remotes, mirror);
    options.fetch = match config.source.fetch {
        config::Fetch::Auto => Fetch::Auto,
        config::Fetch::Libgit2 => Fetch::Libgit2,
        config::Fetch::Cli => Fetch::Cli,
    };
    options.credentials = credentials(config, context, home.as_deref())?;
    options.git_env = context.environment.all();
    options.ssh_configs = existing(home.as_deref(), &[".ssh/config"], &["/etc/ssh/ssh_config"]);
    options.submodules = if config.source.submodules {
        Submodules::On {
            allowed_hosts: config.source.submodule_hosts.clone(),
        }
    } else {
        Submodules::Off
    };
    options.lfs = config.source.lfs;
    Ok(options)
}

fn remotes(config: &Settled) -> Result<Vec<Remote>> {
    if config.repo.is_empty() {
        let here = Remote::containing(&config.dir).ok_or_else(|| {
            CliError::new(
                Kind::Source,
                format!("{} lies in no git repository", config.dir.display()),
            )
            .hint("name one by `repo` in shipit.toml, or put shipit.toml into the repository that it is for")
        })?;
        return Ok(vec![here]);
    }
    config
        .repo
        .iter()
        .map(|given| Ok(Remote::parse(given)?.based_on(&config.dir)))
        .collect()
}

/// One mirror per app and list of remotes: two projects may share an app's name on one build machine.
fn mirror(config: &Settled, remotes: &[Remote]) -> PathBuf {
    let urls: Vec<String> = remotes.iter().map(Remote::url).collect();
    PathBuf::from(format!("mirrors/{}-{}.git", config.app, tag(&urls.join("\n"))))
}

/// Twelve hex digits that stand for a text in a file name.
pub fn tag(text: &str) -> String {
    hex(&sha256(text.as_bytes()).0[..6])
}

fn credentials(config: &Settled, context: &Context, home: Option<&Path>) -> Result<Credentials> {
    let source = &config.source;
    let token = match &source.token {
        Some(setting) => Some(Token {
            username: source.username.clone(),
            secret: Secret::new(context.value(setting)?.into_inner()),
            hosts: Vec::new(),
        }),
        None => None,
    };
    let or =
        |given: &[PathBuf], default: Vec<PathBuf>| if given.is_empty() { default } else { given.to_vec() };
    Ok(Credentials {
        token,
        ssh_keys: or(
            &source.ssh_key,
            existing(home, &[".ssh/id_ed25519", ".ssh/id_ecdsa", ".ssh/id_rsa"], &[]),
        ),
        ssh_agent: source.ssh_agent,
        known_hosts: or(
            &source.known_hosts,
            existing(
                home,
                &[".ssh/known_hosts", ".ssh/known_hosts2"],
                &["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"],
            ),
        ),
        helper: source.credential_helper,
    })
}

fn existing(home: Option<&Path>, in_home: &[&str], absolute: &[&str]) -> Vec<PathBuf> {
    let home = home
        .into_iter()
        .flat_map(|home| in_home.iter().map(move |name| home.join(name)));
    home.chain(absolute.iter().map(PathBuf::from))
        .filter(|path| path.is_file())
        .collect()
}
