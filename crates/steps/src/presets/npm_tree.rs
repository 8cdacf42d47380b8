//! npm's directories: where `npm ci` will put node_modules, read from its lockfile, and the second tree that the
//! production layer is made in.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use shipit_artifact::EntryPath;

use super::from_root;
use crate::vendored::{ReadFile, read_from};

/// Scripts that npm runs for the packages of the tree itself when their dependencies are installed, and that prepare
/// them for being published or developed. They call dev dependencies, which the production tree has not.
pub(crate) const PREPARE: &[&str] = &["prepublish", "preprepare", "prepare", "postprepare"];

/// The packages of the tree itself, as paths below the workspace's root: the one in `dir` (`None` is the root),
/// workspaces, and directories that are depended on by `file:`. Each may get a node_modules.
///
/// They are the keys of the lockfile's `packages` outside node_modules; a lockfile of version 1 has none, and then it
/// is the package in `dir` alone.
///
/// # Errors
/// A sentence: the lockfile is no JSON, or a package lies out of the tree.
pub(crate) fn own_packages(
    read: ReadFile<'_>,
    dir: Option<&EntryPath>,
) -> Result<Vec<Option<EntryPath>>, String> {
    let mut found = BTreeSet::from([dir.cloned()]);
    let Some((file, lock)) = lockfile(read, dir)? else {
        return Ok(found.into_iter().collect());
    };
    let packages = lock.get("packages").and_then(Value::as_object);
    for key in packages.into_iter().flat_map(|packages| packages.keys()) {
        if key.is_empty() || key.split('/').any(|part| part == "node_modules") {
            continue;
        }
        let package = from_root(dir, key);
        if package.is_none() && !is_root(dir, key) {
            return Err(format!(
                "{file} names the package {key}, which lies out of the tree; move it in, or depend on it from a registry"
            ));
        }
        found.insert(package);
    }
    Ok(found.into_iter().collect())
}

/// The lockfile that npm goes by, and what it holds.
pub(crate) fn lockfile(
    read: ReadFile<'_>,
    dir: Option<&EntryPath>,
) -> Result<Option<(EntryPath, Value)>, String> {
    for name in ["npm-shrinkwrap.json", "package-lock.json"] {
        let Some(path) = from_root(dir, name) else {
            continue;
        };
        if let Some(bytes) = read(&path)? {
            let lock = parse_json(&path.to_string(), &bytes)?;
            return Ok(Some((path, lock)));
        }
    }
    Ok(None)
}

/// Whether `key`, below `dir`, is the workspace's root, which is no [`EntryPath`].
fn is_root(dir: Option<&EntryPath>, key: &str) -> bool {
    from_root(dir, &format!("{key}/x")).is_some_and(|path| path.as_bytes() == b"x")
}

/// Where `npm ci` in `dir` may put node_modules.
pub(crate) fn vendored(read: ReadFile<'_>, dir: Option<&EntryPath>) -> Result<Vec<EntryPath>, String> {
    let packages = own_packages(read, dir)?;
    Ok(packages
        .iter()
        .filter_map(|package| from_root(package.as_ref(), "node_modules"))
        .collect())
}

/// A copy of the workspace in `to`, for the production tree: everything but any node_modules and bundler's gems, since
/// install scripts may read any file. The packages of the tree itself lose their prepare scripts.
pub(crate) fn copy_for_production(
    root: &Path,
    to: &Path,
    dir: Option<&EntryPath>,
    cancel: &AtomicBool,
) -> Result<(), CopyError> {
    if to.exists() {
        fs::remove_dir_all(to).map_err(|error| CopyError::Io("empty", to.to_path_buf(), error))?;
    }
    copy_dir(root, to, cancel)?;
    for package in own_packages(&|path| read_from(root, path), dir).map_err(CopyError::Package)? {
        drop_prepare_scripts(&crate::spec::below(to, package.as_ref()).join("package.json"))?;
    }
    Ok(())
}

/// Why npm's trees could not be prepared or put in order.
pub(crate) enum CopyError {
    Io(&'static str, PathBuf, io::Error),
    Package(String),
    Cancelled,
}

fn copy_dir(from: &Path, to: &Path, cancel: &AtomicBool) -> Result<(), CopyError> {
    fs::create_dir_all(to).map_err(|error| CopyError::Io("make", to.to_path_buf(), error))?;
    let list = |error| CopyError::Io("list", from.to_path_buf(), error);
    for entry in fs::read_dir(from).map_err(list)? {
        if cancel.load(Ordering::Relaxed) {
            return Err(CopyError::Cancelled);
        }
        let entry = entry.map_err(list)?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(list)?;
        if entry.file_name() == OsStr::new("node_modules") || source.ends_with("vendor/bundle") {
            continue;
        }
        let copied = if kind.is_dir() {
            copy_dir(&source, &target, cancel)?;
            Ok(())
        } else if kind.is_symlink() {
            fs::read_link(&source).and_then(|link| symlink(link, &target))
        } else if kind.is_file() {
            fs::copy(&source, &target).map(drop)
        } else {
            Ok(())
        };
        copied.map_err(|error| CopyError::Io("copy", source, error))?;
    }
    Ok(())
}

fn drop_prepare_scripts(file: &Path) -> Result<(), CopyError> {
    if !file.is_file() {
        return Ok(());
    }
    let mut package = read_json(file).map_err(CopyError::Package)?;
    let Some(scripts) = package.get_mut("scripts").and_then(Value::as_object_mut) else {
        return Ok(());
    };
    let before = scripts.len();
    scripts.retain(|name, _| !PREPARE.contains(&name.as_str()));
    if scripts.len() == before {
        return Ok(());
    }
    fs::write(file, package.to_string()).map_err(|error| CopyError::Io("write", file.to_path_buf(), error))
}

/// What npm notes in node_modules of the package that it is installed for.
const INSTALLED: &str = ".package-lock.json";

/// Takes name and version of the app out of npm's note in `modules`: they change with releases of the app, and without a
/// name npm writes that of the directory. Nothing reads them there.
pub(crate) fn forget_app(modules: &Path) -> Result<(), CopyError> {
    let file = modules.join(INSTALLED);
    if !file.is_file() {
        return Ok(());
    }
    let mut note = read_json(&file).map_err(CopyError::Package)?;
    if let Some(members) = note.as_object_mut() {
        members.remove("name");
        members.remove("version");
    }
    fs::write(&file, format!("{note:#}\n")).map_err(|error| CopyError::Io("write", file, error))
}

fn read_json(file: &Path) -> Result<Value, String> {
    let bytes = fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    parse_json(&file.display().to_string(), &bytes)
}

pub(crate) fn parse_json(file: &str, bytes: &[u8]) -> Result<Value, String> {
    // npm takes a byte order mark too.
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    serde_json::from_slice(bytes).map_err(|error| format!("{file} is no JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = dir.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        dir
    }

    fn names(paths: &[EntryPath]) -> Vec<String> {
        paths.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn node_modules_of_workspaces_and_of_file_dependencies() {
        let lock = r#"{"packages": {"": {}, "packages/a": {}, "../lib": {}, "node_modules/a": {"link": true},
            "packages/a/node_modules/x": {}, "..": {}}}"#;
        let tree = tree(&[("web/package-lock.json", lock)]);
        let web = EntryPath::new("web").unwrap();
        let found = vendored(&|path| read_from(tree.path(), path), Some(&web)).unwrap();
        assert_eq!(
            names(&found),
            [
                "node_modules",
                "lib/node_modules",
                "web/node_modules",
                "web/packages/a/node_modules"
            ]
        );
        assert_eq!(
            names(&vendored(&|path| read_from(tree.path(), path), None).unwrap()),
            ["node_modules"]
        );
    }

    #[test]
    fn a_package_out_of_the_tree_is_refused() {
        let tree = tree(&[("package-lock.json", r#"{"packages": {"../lib": {}}}"#)]);
        let error = vendored(&|path| read_from(tree.path(), path), None).unwrap_err();
        assert!(
            error.starts_with("package-lock.json names the package ../lib, which lies out of"),
            "{error}"
        );
    }

    #[test]
    fn the_note_of_what_is_installed_does_not_name_the_app() {
        let note = "{\n \"name\": \"app\", \"version\": \"1.0.0\", \"packages\": {\"node_modules/a\": {\"version\": \"2\"}}}";
        let tree = tree(&[(".package-lock.json", note)]);
        assert!(forget_app(tree.path()).is_ok());
        let text = fs::read_to_string(tree.path().join(INSTALLED)).unwrap();
        assert_eq!(
            text,
            "{\n  \"packages\": {\n    \"node_modules/a\": {\n      \"version\": \"2\"\n    }\n  }\n}\n"
        );
        fs::remove_file(tree.path().join(INSTALLED)).unwrap();
        assert!(forget_app(tree.path()).is_ok());
    }

    #[test]
    fn the_copy_has_all_but_what_is_vendored_and_no_prepare() {
        let package = r#"{"scripts": {"prepare": "husky", "postinstall": "patch"}, "name": "x"}"#;
        let tree = tree(&[
            ("web/package.json", package),
            ("web/node_modules/a/index.js", ""),
            ("vendor/bundle/gem.rb", ""),
            ("patches/a.patch", "p"),
        ]);
        symlink("patches", tree.path().join("link")).unwrap();
        let to = tempfile::tempdir().unwrap();
        let to = to.path().join("copy");
        fs::create_dir_all(to.join("stale")).unwrap();
        let web = EntryPath::new("web").unwrap();
        assert!(copy_for_production(tree.path(), &to, Some(&web), &AtomicBool::new(false)).is_ok());
        assert_eq!(fs::read_to_string(to.join("patches/a.patch")).unwrap(), "p");
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("patches"));
        for gone in ["web/node_modules", "vendor/bundle", "stale"] {
            assert!(!to.join(gone).exists(), "{gone}");
        }
        let package = fs::read_to_string(to.join("web/package.json")).unwrap();
        assert!(
            package.contains("postinstall") && !package.contains("prepare"),
            "{package}"
        );
    }
}
