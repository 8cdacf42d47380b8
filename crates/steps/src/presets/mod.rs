//! What shipit knows of each tool, as data: its programs, the files it needs, the lockfile that rules what it vendors,
//! where it vendors, and what it leaves behind that is not the same twice. Preflight, the normaliser and the layer keys
//! read this table; argv and environment are built in one module a tool.

pub(crate) mod bundle;
pub(crate) mod carton;
pub(crate) mod compilers;
mod environment;
pub(crate) mod go;
pub(crate) mod npm;
pub(crate) mod npm_tree;

use shipit_artifact::EntryPath;

pub(crate) use environment::{Environment, env_value};

use crate::spec::Tool;

/// What is known of a tool. Paths and patterns are below the step's directory.
#[derive(Debug)]
pub struct Preset {
    /// Its name in the config.
    pub name: &'static str,
    /// Counts up whenever shipit makes something else of the same input: the commands, their environment, what is removed.
    /// Layers of before are then no longer taken.
    pub recipe: u32,
    /// The programs it needs; their versions go into the record.
    pub programs: &'static [Program],
    /// The files without which it cannot run.
    pub needs: &'static [Needed],
    /// The files that rule what it vendors, as far as they are there.
    pub lockfiles: &'static [&'static str],
    /// Where it vendors. npm adds a path for each of its workspaces.
    pub vendored: &'static [&'static str],
    /// What is removed from there, for it differs from build to build and nothing reads it on a host.
    pub leftovers: &'static [Leftover],
    /// Variables that the preset itself has to set: a step that lists one is refused.
    pub fixed_env: &'static [&'static str],
}

/// A program that a preset runs, or that its tool runs in.
#[derive(Debug)]
pub struct Program {
    /// Its name on PATH.
    pub name: &'static str,
    /// What makes it print its version.
    pub version_args: &'static [&'static str],
    /// Whether that also makes it print a line `abi …`: what compiled code must fit to be loaded by it.
    pub tells_abi: bool,
    /// What brings it.
    pub install: &'static str,
}

/// A file that must be in the tree.
#[derive(Debug)]
pub struct Needed {
    /// Names, of which one must be there.
    pub any_of: &'static [&'static str],
    /// How it is made.
    pub make: &'static str,
}

/// Something that an installer leaves behind, and that is removed.
#[derive(Debug)]
pub struct Leftover {
    /// A glob; `*` does not cross a `/`, a directory goes with all that is in it.
    pub pattern: &'static str,
    /// A name that must lie in the same directory, for patterns that could match a file that a package ships.
    pub beside: Option<&'static str>,
    /// What it is.
    pub what: &'static str,
}

impl Leftover {
    const fn new(pattern: &'static str, what: &'static str) -> Self {
        Self {
            pattern,
            beside: None,
            what,
        }
    }

    const fn beside(pattern: &'static str, beside: &'static str, what: &'static str) -> Self {
        Self {
            pattern,
            beside: Some(beside),
            what,
        }
    }
}

impl Tool {
    /// The preset's name in the config, or `run`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.preset().map_or("run", |preset| preset.name)
    }

    /// What is known of the tool; `None` for a command.
    #[must_use]
    pub fn preset(&self) -> Option<&'static Preset> {
        match self {
            Self::Carton => Some(&carton::PRESET),
            Self::Bundle { .. } => Some(&bundle::PRESET),
            Self::Npm { .. } => Some(&npm::PRESET),
            Self::Go { .. } => Some(&go::PRESET),
            Self::Run { .. } => None,
        }
    }
}

/// `name`, which is below `dir`, as seen from the workspace's root; `None` when it leaves the root.
pub(crate) fn from_root(dir: Option<&EntryPath>, name: &str) -> Option<EntryPath> {
    let mut parts: Vec<&[u8]> = dir
        .map(|dir| dir.as_bytes().split(|b| *b == b'/').collect())
        .unwrap_or_default();
    for part in name.as_bytes().split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            _ => parts.push(part),
        }
    }
    EntryPath::new(parts.join(&b'/')).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_below_a_directory_seen_from_the_root() {
        let dir = EntryPath::new("front/app").unwrap();
        let from = |dir: Option<&EntryPath>, name| from_root(dir, name).map(|path| path.to_string());
        assert_eq!(
            from(Some(&dir), "node_modules").as_deref(),
            Some("front/app/node_modules")
        );
        assert_eq!(
            from(Some(&dir), "../lib/./node_modules").as_deref(),
            Some("front/lib/node_modules")
        );
        assert_eq!(from(None, "local").as_deref(), Some("local"));
        assert_eq!(from(Some(&dir), "../../../lib"), None);
        assert_eq!(from(Some(&dir), "../.."), None);
    }
}
