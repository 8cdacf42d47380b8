//! The one place that reads this process's environment: a snapshot, taken once, that everything else is handed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// The environment, working directory and command line of this process as they were at its start.
#[derive(Debug, Clone)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
    working_directory: Option<PathBuf>,
    temporary_directory: PathBuf,
    arguments: Vec<String>,
}

impl Environment {
    /// Takes the snapshot.
    #[allow(clippy::disallowed_methods)] // This is the place that the rule sends everyone to.
    pub fn of_this_process() -> Self {
        Environment {
            variables: std::env::vars_os().collect(),
            working_directory: std::env::current_dir().ok(),
            temporary_directory: std::env::temp_dir(),
            arguments: std::env::args_os()
                .skip(1)
                .map(|argument| argument.to_string_lossy().into_owned())
                .collect(),
        }
    }

    /// A variable's value; one that is not UTF-8 counts as absent, as does an empty one.
    pub fn text(&self, name: &str) -> Option<String> {
        let value = self.variables.get(OsStr::new(name))?.to_str()?;
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// A variable's value as a path, absent when empty.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        let value = self.variables.get(OsStr::new(name))?;
        (!value.is_empty()).then(|| PathBuf::from(value))
    }

    /// All variables, for children that inherit them.
    pub fn all(&self) -> Vec<(OsString, OsString)> {
        self.variables
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// Where this process stands, unless that directory is gone.
    pub fn working_directory(&self) -> Option<PathBuf> {
        self.working_directory.clone()
    }

    /// TMPDIR, or the system's default.
    pub fn temporary_directory(&self) -> PathBuf {
        self.temporary_directory.clone()
    }

    /// What followed the program's name on its command line, for people.
    pub fn arguments(&self) -> Vec<String> {
        self.arguments.clone()
    }

    /// `$SHIPIT_CACHE_DIR`, else `$XDG_CACHE_HOME/shipit`, else `$HOME/.cache/shipit`.
    pub fn cache_directory(&self) -> Option<PathBuf> {
        self.path("SHIPIT_CACHE_DIR")
            .or_else(|| self.path("XDG_CACHE_HOME").map(|dir| dir.join("shipit")))
            .or_else(|| self.path("HOME").map(|dir| dir.join(".cache/shipit")))
    }
}
