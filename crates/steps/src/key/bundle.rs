//! What `bundle install` goes by: the lockfile, the Gemfile and what it reads, the settings in .bundle/config, gems that lie in
//! the tree. A Gemfile is a program: when it does more than name gems, all that it might read counts.

use std::collections::BTreeSet;

use shipit_artifact::EntryPath;

use super::LayerKey;
use super::gather::Gather;
use super::words::{Reads, ruby};
use crate::error::Error;
use crate::presets::{bundle, env_value, from_root};

/// How many files a Gemfile may take in before it is no longer followed.
const MOST_GEMFILES: usize = 32;

/// The key of the step's layer.
pub(super) fn key(mut gather: Gather<'_>, without: &[String]) -> Result<LayerKey, Error> {
    gather.setting("option without", &without.join(":"));
    gather.known(&[bundle::CONFIG, ".ruby-version", ".tool-versions"])?;
    let settings = settings(&mut gather)?;
    let setting = |name: &str| {
        settings
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
    };
    let mut gemfiles = vec!["Gemfile".to_owned(), "gems.rb".to_owned()];
    let mut locks = vec!["Gemfile.lock".to_owned(), "gems.locked".to_owned()];
    if let Some(other) = setting("BUNDLE_GEMFILE") {
        locks.push(format!("{other}.lock"));
        gemfiles.push(other);
    }
    let mut any = false;
    for lock in &locks {
        any |= lockfile(&mut gather, lock)?;
    }
    any |= follow(&mut gather, &gemfiles)?;
    gemspecs(&mut gather)?;
    // A clone that stands in for a git source, and that no lockfile pins.
    for (_, clone) in settings
        .iter()
        .filter(|(name, _)| name.starts_with("BUNDLE_LOCAL__"))
    {
        if let Some(path) = gather.path(clone) {
            gather.below(Some(&path))?;
        }
    }
    let cache = setting("BUNDLE_CACHE_PATH");
    let listed = env_value(&gather.request.spec.env, "BUNDLE_CACHE_PATH").map(str::to_owned);
    for cache in [Some("vendor/cache".to_owned()), cache, listed]
        .into_iter()
        .flatten()
    {
        if let Some(path) = gather.path(&cache).filter(|path| gather.files.is_dir(Some(path))) {
            gather.below(Some(&path))?;
        }
    }
    if any && gather.request.spec.inputs.is_empty() {
        gather.below(gather.request.spec.dir.as_ref())?;
    }
    Ok(gather.parts.finish())
}

/// The settings of a tracked .bundle/config: `NAME: "value"` a line.
fn settings(gather: &mut Gather<'_>) -> Result<Vec<(String, String)>, Error> {
    let Some(path) = gather.path(bundle::CONFIG) else {
        return Ok(Vec::new());
    };
    let content = gather.content(&path)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&content).into_owned();
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    Ok(pairs
        .map(|(name, value)| {
            (
                name.trim().to_owned(),
                value.trim().trim_matches(['"', '\'']).to_owned(),
            )
        })
        .collect())
}

/// The lockfile's bytes, and the gems that lie in the tree. Returns whether one of those is the app itself, or a directory
/// around it: then any of its files may matter.
fn lockfile(gather: &mut Gather<'_>, name: &str) -> Result<bool, Error> {
    let Some(path) = gather.path(name) else {
        return Ok(false);
    };
    gather.file("lockfile", &path)?;
    let content = gather.content(&path)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&content).into_owned();
    let mut any = false;
    for remote in path_remotes(&text) {
        let spec = gather.request.spec;
        let dir = from_root(path.parent().as_ref(), remote);
        match dir {
            // The path of a gem on this machine alone: bundler will say what it thinks of it.
            None if !is_root(path.parent().as_ref(), remote) => {}
            Some(dir) if spec.dir.as_ref().is_none_or(|own| !own.starts_with(&dir)) => {
                gather.below(Some(&dir))?;
            }
            dir => {
                any = true;
                if spec.inputs.is_empty() {
                    gather.below(dir.as_ref())?;
                }
            }
        }
    }
    Ok(any)
}

fn is_root(dir: Option<&EntryPath>, name: &str) -> bool {
    from_root(dir, &format!("{name}/x")).is_some_and(|path| path.as_bytes() == b"x")
}

/// The `remote:` of each `PATH` section: gems that are used where they lie.
fn path_remotes(lock: &str) -> impl Iterator<Item = &str> {
    let mut in_path = false;
    lock.lines().filter_map(move |line| {
        if !line.starts_with(' ') {
            in_path = line.trim_end() == "PATH";
        }
        line.strip_prefix("  remote: ").map(str::trim).filter(|_| in_path)
    })
}

/// The Gemfiles and the files that they read, as far as they say which. Returns whether one might read any other.
fn follow(gather: &mut Gather<'_>, names: &[String]) -> Result<bool, Error> {
    let mut pending: Vec<EntryPath> = names.iter().filter_map(|name| gather.path(name)).collect();
    let mut seen = BTreeSet::new();
    let mut any = false;
    while let Some(path) = pending.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        if seen.len() > MOST_GEMFILES {
            return Ok(true);
        }
        let Some(content) = gather.content(&path)? else {
            continue;
        };
        gather.file("file", &path)?;
        let Some(reads) = ruby(&String::from_utf8_lossy(&content)) else {
            any = true;
            continue;
        };
        for read in reads {
            let read = match &read {
                // What is taken in counts from the file that takes it in, all else from the working directory.
                Reads::Gemfile(name) => {
                    from_root(path.parent().as_ref(), name).inspect(|path| pending.push(path.clone()))
                }
                Reads::File(name) => gather.path(name),
            };
            match read {
                Some(path) => gather.file("file", &path)?,
                None => any = true,
            }
        }
    }
    Ok(any)
}

fn gemspecs(gather: &mut Gather<'_>) -> Result<(), Error> {
    gather.matching("of a gem", &["*.gemspec"])
}
