//! The environment of a command: nothing but what is put in here.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::spec::{EnvVar, Workspace};

/// Variables by name; a later one wins.
#[derive(Debug, Clone)]
pub(crate) struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// What every step starts with.
    pub(crate) fn base(workspace: &Workspace) -> Self {
        Self(workspace.base_env.iter().cloned().collect())
    }

    pub(crate) fn set(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.insert(name.into(), value.as_ref().to_owned());
        self
    }

    /// As [`Self::set`], unless the config lists it.
    pub(crate) fn or_set(self, name: &str, value: impl AsRef<OsStr>) -> Self {
        if self.0.contains_key(OsStr::new(name)) {
            self
        } else {
            self.set(name, value)
        }
    }

    /// What the config lists.
    pub(crate) fn listed(mut self, env: &[EnvVar]) -> Self {
        self.0.extend(
            env.iter()
                .map(|var| (OsString::from(&var.name), OsString::from(&var.value))),
        );
        self
    }

    /// `dir` before all that PATH names.
    pub(crate) fn path_first(mut self, dir: &Path) -> Self {
        let mut path = dir.as_os_str().to_owned();
        if let Some(rest) = self.0.get(OsStr::new("PATH")).filter(|rest| !rest.is_empty()) {
            path.push(":");
            path.push(rest);
        }
        self.0.insert("PATH".into(), path);
        self
    }

    /// Settings that keep git, and tools that ask git, from taking a repository that the workspace happens to lie in
    /// for the tree's own; and a fixed time for what writes one into its result. It is the first that zip can hold.
    pub(crate) fn isolated(self, workspace: &Workspace) -> Self {
        let above = workspace.root.parent().unwrap_or(&workspace.root);
        self.set("GIT_CEILING_DIRECTORIES", above)
            .set("SOURCE_DATE_EPOCH", "315532800")
    }

    pub(crate) fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    pub(crate) fn into_vec(self) -> Vec<(OsString, OsString)> {
        self.0.into_iter().collect()
    }
}

/// The value of `name` among those listed.
pub(crate) fn env_value<'a>(env: &'a [EnvVar], name: &str) -> Option<&'a str> {
    env.iter()
        .rev()
        .find(|var| var.name == name)
        .map(|var| var.value.as_str())
}
