//! Finding the programs of the testbed: environment variables first, then the env file that the install script
//! wrote, then PATH. Starts nothing and installs nothing.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Where Debian keeps daemons and administration tools, which an ordinary user's PATH leaves out.
const SYSTEM_DIRS: [&str; 4] = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin"];

/// The programs that the tests use.
#[derive(Debug)]
pub struct Testbed {
    file: BTreeMap<String, String>,
    path: OsString,
}

impl Testbed {
    /// The testbed of this machine. Nothing is checked yet: each part is looked for when it is asked for.
    #[must_use]
    pub fn get() -> &'static Self {
        static TESTBED: OnceLock<Testbed> = OnceLock::new();
        TESTBED.get_or_init(|| {
            let file = env_file().and_then(|path| fs::read_to_string(path).ok());
            let file = parse_env(file.as_deref().unwrap_or_default());
            let path = child_path(&file, &env::var_os("PATH").unwrap_or_default());
            Self { file, path }
        })
    }

    /// PATH for children: the testbed's own programs, then this process's PATH, then the system's directories.
    #[must_use]
    pub fn path(&self) -> &OsStr {
        &self.path
    }

    /// A program by its name on [`Self::path`], as an absolute path.
    ///
    /// # Panics
    /// When there is none: a test that needs a part does not pass without it.
    #[track_caller]
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        find(name, &self.path).unwrap_or_else(|| missing(name))
    }

    /// The Consul program.
    #[track_caller]
    #[must_use]
    pub fn consul(&self) -> PathBuf {
        self.part("CONSUL", "consul")
    }

    /// The stretcher program.
    #[track_caller]
    #[must_use]
    pub fn stretcher(&self) -> PathBuf {
        self.part("STRETCHER", "stretcher")
    }

    /// stretcher's source tree, which holds `manifest_test.go`.
    ///
    /// # Panics
    /// When it is not known or not there.
    #[track_caller]
    #[must_use]
    pub fn stretcher_src(&self) -> PathBuf {
        match self.value("STRETCHER_SRC").map(PathBuf::from) {
            Some(dir) if dir.join("manifest_test.go").is_file() => dir,
            _ => missing("stretcher's source (STRETCHER_SRC)"),
        }
    }

    /// The S3 server's program.
    #[track_caller]
    #[must_use]
    pub fn versitygw(&self) -> PathBuf {
        self.part("VERSITYGW", "versitygw")
    }

    /// The Go compiler.
    #[track_caller]
    #[must_use]
    pub fn go(&self) -> PathBuf {
        self.part("GO", "go")
    }

    /// The AWS command line.
    #[track_caller]
    #[must_use]
    pub fn aws(&self) -> PathBuf {
        self.part("AWS", "aws")
    }

    /// The SSH daemon.
    #[track_caller]
    #[must_use]
    pub fn sshd(&self) -> PathBuf {
        self.part("SSHD", "sshd")
    }

    #[track_caller]
    fn part(&self, variable: &str, program: &str) -> PathBuf {
        match self.value(variable).map(PathBuf::from) {
            Some(path) if is_program(&path) => path,
            Some(path) => panic!(
                "{variable} names {}, which is no program: unset it and run `make test`",
                path.display()
            ),
            None => self.program(program),
        }
    }

    fn value(&self, variable: &str) -> Option<String> {
        let set = env::var(variable).ok().filter(|value| !value.is_empty());
        set.or_else(|| self.file.get(variable).cloned())
    }
}

#[track_caller]
fn missing(what: &str) -> ! {
    let place = env_file().map_or_else(
        || "no cache directory".to_owned(),
        |path| path.display().to_string(),
    );
    panic!("needs {what}: run `make test`, which installs it (looked in the environment, {place} and PATH)")
}

fn env_file() -> Option<PathBuf> {
    let set = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let dir = set("SHIPIT_TESTBED")
        .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("shipit-testbed")))
        .or_else(|| set("HOME").map(|dir| dir.join(".cache/shipit-testbed")))?;
    Some(dir.join("env"))
}

/// Reads the lines `export NAME='value'` of the env file; a quote inside stands as `'\''`.
fn parse_env(text: &str) -> BTreeMap<String, String> {
    let pair = |line: &str| {
        let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
        let value = value
            .strip_prefix('\'')?
            .strip_suffix('\'')?
            .replace("'\\''", "'");
        Some((name.to_owned(), value))
    };
    text.lines().filter_map(pair).collect()
}

fn child_path(file: &BTreeMap<String, String>, inherited: &OsStr) -> OsString {
    let own = file.get("SHIPIT_TESTBED_BIN").map(PathBuf::from);
    // A compiler of the testbed's own comes with its tools beside it.
    let go = file
        .get("GO")
        .and_then(|go| Path::new(go).parent().map(Path::to_owned));
    let mut dirs: Vec<PathBuf> = own.into_iter().chain(go).collect();
    dirs.extend(env::split_paths(inherited));
    dirs.extend(SYSTEM_DIRS.map(PathBuf::from));
    let mut seen = Vec::new();
    for dir in dirs {
        if dir.is_absolute() && !seen.contains(&dir) {
            seen.push(dir);
        }
    }
    env::join_paths(seen).expect("a directory on PATH has a colon in its name")
}

/// The first program of that name on `path`.
pub(crate) fn find(name: &str, path: &OsStr) -> Option<PathBuf> {
    env::split_paths(path)
        .map(|dir| dir.join(name))
        .find(|file| is_program(file))
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn env_file_is_read_as_the_shell_would() {
        let text = "# a comment\nexport A='/x/y z'\nexport B='it'\\''s'\nC=plain\n";
        let read = parse_env(text);
        assert_eq!(read.get("A").map(String::as_str), Some("/x/y z"));
        assert_eq!(read.get("B").map(String::as_str), Some("it's"));
        assert_eq!(read.len(), 2);
    }

    #[test]
    fn the_testbeds_own_programs_come_first_on_path() {
        let file = BTreeMap::from([("SHIPIT_TESTBED_BIN".to_owned(), "/bed/bin".to_owned())]);
        let path = child_path(&file, "/usr/bin:relative:/opt/bin".as_ref());
        assert_eq!(path, "/bed/bin:/usr/bin:/opt/bin:/usr/local/sbin:/usr/sbin:/sbin");
    }

    #[test]
    #[should_panic(expected = "needs no-such-program-anywhere: run `make test`")]
    fn a_missing_program_is_named_with_what_to_do() {
        let _ = Testbed::get().program("no-such-program-anywhere");
    }
}
