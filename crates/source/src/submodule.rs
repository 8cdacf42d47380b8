//! Submodules: what the commit's `.gitmodules` says about one, whether its host is allowed, and its pinned commit.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use git2::{Oid, Repository};
use shipit_artifact::sha256;

use crate::commit::Commit;
use crate::config_text;
use crate::error::Error;
use crate::event::Event;
use crate::options::SourceOptions;
use crate::remote::Remote;
use crate::repository;
use crate::resolve;

/// A submodule that a commit pins.
pub(crate) struct Wanted<'a> {
    /// Its path within the commit that pins it.
    pub path: &'a [u8],
    /// Its path from the top, printable.
    pub shown: String,
    /// The pinned commit.
    pub id: String,
    /// The `.gitmodules` of the commit that pins it.
    pub gitmodules: Option<&'a [u8]>,
}

impl Wanted<'_> {
    /// Refuses a host that the config does not know, and a directory of this machine unless a repository of this machine
    /// names it relative to itself (`local`).
    fn check_remote(&self, remote: &Remote, known: &[String], local: bool) -> Result<(), Error> {
        match remote.host() {
            Some(host) if known.contains(&host) => Ok(()),
            Some(host) => Err(Error::SubmoduleHost {
                path: self.shown.clone(),
                host,
            }),
            None if local => Ok(()),
            None => Err(self.refused(
                format!("its URL {remote} is a directory of this machine, which a commit may not name"),
                "give it a server's URL in .gitmodules, or one relative to the repository (../name.git), or set \
                 `submodules = false`",
            )),
        }
    }

    fn refused(&self, reason: String, advice: &'static str) -> Error {
        Error::Submodule {
            path: self.shown.clone(),
            reason,
            advice,
        }
    }
}

/// The pinned commit, fetched if need be.
pub(crate) fn fetch(
    source: &SourceOptions,
    allowed: &[String],
    parent: &Commit,
    wanted: &Wanted<'_>,
    cancel: &AtomicBool,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<Commit, Error> {
    let (name, url) = described(wanted).ok_or_else(|| {
        wanted.refused(
            ".gitmodules of the commit does not describe it".to_owned(),
            "add its path and URL to .gitmodules and commit that, or set `submodules = false`",
        )
    })?;
    let within = |source: Error| Error::InSubmodule {
        path: wanted.shown.clone(),
        source: Box::new(source),
    };
    let base = base(parent)?;
    let remote = base.submodule(&url).map_err(within)?;
    let own = source.remotes.iter().chain([&base]).filter_map(Remote::host);
    let known: Vec<String> = own
        .chain(allowed.iter().map(|host| host.to_ascii_lowercase()))
        .collect();
    let relative = url.starts_with("./") || url.starts_with("../");
    wanted.check_remote(&remote, &known, relative && base.host().is_none())?;
    on_event(Event::Submodule {
        path: wanted.shown.clone(),
        url: remote.to_string(),
        id: wanted.id.clone(),
    });
    if let Some(commit) = checked_out(parent, &name, &wanted.id, &remote) {
        return Ok(commit);
    }
    let options = SourceOptions {
        mirror: mirror(&source.mirror, &remote),
        remotes: vec![remote],
        ..source.clone()
    };
    resolve::resolve(&options, &wanted.id, cancel, on_event).map_err(within)
}

/// The remote that relative URLs are relative to: where the commit came from; for a repository that is read directly, its
/// own origin.
pub(crate) fn base(parent: &Commit) -> Result<Remote, Error> {
    let Remote::Path(path) = &parent.origin else {
        return Ok(parent.origin.clone());
    };
    let repository = repository::open_git_dir(&parent.git_dir)?;
    let origin = repository
        .find_remote("origin")
        .ok()
        .and_then(|remote| remote.url().ok().map(str::to_owned));
    Ok(origin
        .and_then(|url| Remote::parse(&url).ok())
        .map_or_else(|| parent.origin.clone(), |remote| remote.based_on(path)))
}

/// The pinned commit from the clone that `git submodule` keeps in the repository's own git directory.
fn checked_out(parent: &Commit, name: &str, id: &str, remote: &Remote) -> Option<Commit> {
    if !matches!(parent.origin, Remote::Path(_)) || name.split('/').any(|part| part == "..") {
        return None;
    }
    let kept = Repository::open_bare(parent.git_dir.join("modules").join(name)).ok()?;
    let id = Oid::from_str(id).ok()?;
    if !repository::is_complete(&kept, id) {
        return None;
    }
    repository::commit(&kept, id, remote).ok()
}

/// `<mirror>.modules/<digest of the URL>.git`, beside the mirror.
fn mirror(parent: &Path, remote: &Remote) -> PathBuf {
    let text = parent.as_os_str();
    let mut directory = text.to_owned();
    // Submodules of submodules lie beside their parents, not one deeper each.
    if parent
        .parent()
        .is_some_and(|parent| parent.extension().is_some_and(|extension| extension == "modules"))
    {
        directory = parent
            .parent()
            .map(|parent| parent.as_os_str().to_owned())
            .unwrap_or(directory);
    } else {
        directory.push(".modules");
    }
    let digest = sha256(remote.url().as_bytes()).to_string();
    PathBuf::from(directory).join(format!("{}.git", &digest[..20]))
}

/// Its name and URL in `.gitmodules`.
fn described(wanted: &Wanted<'_>) -> Option<(String, String)> {
    let text = wanted.gitmodules?;
    let values = config_text::entries(text);
    let field = |key: &str, field: &str| {
        Some(
            key.strip_prefix("submodule.")?
                .strip_suffix(field)?
                .strip_suffix('.')?
                .to_owned(),
        )
    };
    let name = values.iter().find_map(|(key, value)| {
        field(key, "path").filter(|_| value.trim_end_matches('/').as_bytes() == wanted.path)
    });
    let name = name?;
    let url = values
        .iter()
        .find(|(key, _)| field(key, "url").as_ref() == Some(&name))
        .map(|(_, value)| value.clone());
    url.map(|url| (name, url))
}
