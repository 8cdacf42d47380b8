//! Compilers whose output does not hold the workspace's path. Native gems, XS modules and node addons are compiled with
//! debug information, which names the directory; a wrapper of the same name, first on PATH, adds `-ffile-prefix-map`
//! and runs the real compiler. gcc and clang read no such option from the environment.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Environment;

/// Fills `dir` with a wrapper for each compiler on PATH that knows the option, and puts it first on PATH. `roots` are
/// the directories whose names must not appear.
///
/// # Errors
/// When a wrapper cannot be written.
pub(crate) fn wrap(
    env: Environment,
    dir: &Path,
    roots: &[&Path],
) -> Result<Environment, (PathBuf, io::Error)> {
    let found = compilers(env.get("PATH").unwrap_or_default(), dir);
    if found.is_empty() {
        return Ok(env);
    }
    fs::create_dir_all(dir).map_err(|error| (dir.to_path_buf(), error))?;
    for compiler in &found {
        let Some(name) = compiler.file_name() else {
            continue;
        };
        let file = dir.join(name);
        write_program(&file, &script(compiler, roots)).map_err(|error| (file, error))?;
    }
    Ok(env.path_first(dir))
}

fn script(compiler: &Path, roots: &[&Path]) -> String {
    // The working directory comes last, so that it wins: cpanm builds in directories that are named by the time.
    let maps: Vec<String> = roots
        .iter()
        .map(|root| quoted(&format!("-ffile-prefix-map={}=.", root.display())))
        .collect();
    format!(
        "#!/bin/sh\n# Keeps the names of this machine's directories out of what is compiled.\n\
         exec {} {} \"-ffile-prefix-map=$PWD=.\" \"$@\"\n",
        quoted(&compiler.display().to_string()),
        maps.join(" ")
    )
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn write_program(file: &Path, text: &str) -> io::Result<()> {
    fs::write(file, text)?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755))
}

/// The first of each name on PATH, as far as it knows the option.
fn compilers(path: &OsStr, own: &Path) -> Vec<PathBuf> {
    let mut names = BTreeSet::new();
    let mut found = Vec::new();
    for dir in std::env::split_paths(path).filter(|dir| dir.is_absolute() && dir != own) {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name.to_str().is_some_and(is_compiler) && names.insert(name) {
                found.push(entry.path());
            }
        }
    }
    let mut known: Vec<(PathBuf, bool)> = Vec::new();
    found.retain(|compiler| {
        let Ok(real) = fs::canonicalize(compiler) else {
            return false;
        };
        if let Some((_, knows)) = known.iter().find(|(other, _)| *other == real) {
            return *knows;
        }
        let knows = knows_prefix_map(compiler, path);
        known.push((real, knows));
        knows
    });
    found
}

/// `gcc`, `x86_64-linux-gnu-g++-12`, `clang`: a known name after an optional target, before an optional version.
fn is_compiler(name: &str) -> bool {
    let name = match name.rsplit_once('-') {
        Some((before, version)) if version.starts_with(|c: char| c.is_ascii_digit()) => before,
        _ => name,
    };
    ["gcc", "g++", "cc", "c++", "clang", "clang++"].contains(&name.rsplit('-').next().unwrap_or(name))
        // Those that drive the build of C standards, with options of their own.
        && !matches!(name, "c89-gcc" | "c99-gcc")
}

fn knows_prefix_map(compiler: &Path, path: &OsStr) -> bool {
    Command::new(compiler)
        .args(["-ffile-prefix-map=/from=/to", "-E", "-x", "c", "/dev/null"])
        .env_clear()
        .env("PATH", path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_compilers() {
        for name in [
            "gcc",
            "g++",
            "cc",
            "gcc-12",
            "x86_64-linux-gnu-gcc",
            "x86_64-linux-gnu-g++-12",
            "clang++-15",
        ] {
            assert!(is_compiler(name), "{name}");
        }
        for name in [
            "gcc-ar",
            "gcc-ranlib-12",
            "g++-mapper-server",
            "c99-gcc",
            "ccache",
            "cpp",
            "gcov",
            "12",
        ] {
            assert!(!is_compiler(name), "{name}");
        }
    }

    #[test]
    fn paths_are_quoted_for_the_shell() {
        let text = script(Path::new("/usr/bin/gcc"), &[Path::new("/it's here")]);
        assert!(text.ends_with(
            "exec '/usr/bin/gcc' '-ffile-prefix-map=/it'\\''s here=.' \"-ffile-prefix-map=$PWD=.\" \"$@\"\n"
        ));
    }
}
