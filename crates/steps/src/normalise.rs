//! Removes from a vendored tree what its installer leaves behind that is not the same twice. What that is, the presets'
//! table says; nothing is changed, only removed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use shipit_artifact::EntryPath;

use crate::presets::Leftover;

/// An error, with what was being done to which path.
pub(crate) type Failed = (&'static str, PathBuf, io::Error);

/// Removes the `leftovers` of a step in `dir` from the vendored `paths` below `root`; returns what was removed, sorted.
pub(crate) fn normalise(
    root: &Path,
    dir: Option<&EntryPath>,
    paths: &[EntryPath],
    leftovers: &[Leftover],
) -> Result<Vec<EntryPath>, Failed> {
    let base = crate::spec::below(root, dir);
    let patterns: Vec<(GlobMatcher, &Leftover)> = leftovers
        .iter()
        .filter_map(|leftover| {
            let glob = GlobBuilder::new(leftover.pattern)
                .literal_separator(true)
                .build()
                .ok()?;
            Some((glob.compile_matcher(), leftover))
        })
        .collect();
    let mut found = Vec::new();
    for path in paths {
        collect(&root.join(path.as_path()), &base, &patterns, &mut found)?;
    }
    // Those outside the vendored paths (.bundle/plugin) are named without a glob.
    found.extend(
        leftovers
            .iter()
            .map(|leftover| base.join(leftover.pattern))
            .filter(|path| path.is_dir()),
    );
    found.sort();
    found.dedup();
    for path in &found {
        remove(path).map_err(|error| ("remove", path.clone(), error))?;
    }
    Ok(found.iter().filter_map(|path| relative(root, path)).collect())
}

/// What matches at or below `path`; nothing is removed yet, since a pattern may ask for a neighbour.
fn collect(
    path: &Path,
    base: &Path,
    patterns: &[(GlobMatcher, &Leftover)],
    found: &mut Vec<PathBuf>,
) -> Result<(), Failed> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(("look at", path.to_path_buf(), error)),
    };
    // npm's own packages may lie beside the step's directory; their patterns start with `**`.
    let name = path.strip_prefix(base).unwrap_or(path);
    let beside = |name: &str| fs::symlink_metadata(path.with_file_name(name)).is_ok();
    if patterns
        .iter()
        .any(|(glob, leftover)| glob.is_match(name) && leftover.beside.is_none_or(beside))
    {
        found.push(path.to_path_buf());
    } else if metadata.is_dir() {
        let list = |error| ("list", path.to_path_buf(), error);
        for entry in fs::read_dir(path).map_err(list)? {
            collect(&entry.map_err(list)?.path(), base, patterns, found)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

/// `path` as an entry below `root`.
pub(crate) fn relative(root: &Path, path: &Path) -> Option<EntryPath> {
    use std::os::unix::ffi::OsStrExt as _;
    EntryPath::new(path.strip_prefix(root).ok()?.as_os_str().as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets::{bundle, carton, npm};

    fn after(dir: Option<&str>, vendored: &[&str], leftovers: &[Leftover], files: &[&str]) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        let path = |name: &&str| EntryPath::new(*name).unwrap();
        let paths: Vec<_> = vendored.iter().map(path).collect();
        normalise(root.path(), dir.as_ref().map(path).as_ref(), &paths, leftovers).unwrap();
        let left = files.iter().filter(|file| root.path().join(file).exists());
        left.map(|file| (*file).to_owned()).collect()
    }

    #[test]
    fn carton_keeps_modules_and_programs() {
        let keep = [
            "p/local/bin/x",
            "p/local/lib/perl5/A.pm",
            "p/local/lib/perl5/x86/auto/A/A.so",
        ];
        let drop = [
            "p/local/cache/modules/02packages.details.txt",
            "p/local/lib/perl5/x86/perllocal.pod",
            "p/local/lib/perl5/x86/auto/A/.packlist",
            "p/local/lib/perl5/x86/.meta/A-0.01/install.json",
        ];
        let files = [&keep[..], &drop[..]].concat();
        assert_eq!(
            after(Some("p"), &["p/local"], carton::PRESET.leftovers, &files),
            keep
        );
    }

    #[test]
    fn bundle_keeps_what_a_gem_ships() {
        let gems = "vendor/bundle/ruby/3.1.0/gems";
        let keep = [
            format!("{gems}/a-1/ext/a/a.so"),
            format!("{gems}/a-1/ext/a/extconf.rb"),
            format!("{gems}/b-1/lib/cache/Makefile"),
            format!("{gems}/b-1/lib/x.o"),
            ".bundle/config".to_owned(),
        ];
        let drop = [
            format!("{gems}/a-1/ext/a/a.o"),
            format!("{gems}/a-1/ext/a/Makefile"),
            format!("{gems}/a-1/ext/a/mkmf.log"),
            "vendor/bundle/ruby/3.1.0/cache/a-1.gem".to_owned(),
            "vendor/bundle/ruby/3.1.0/extensions/x86_64-linux/3.1.0/a-1/gem_make.out".to_owned(),
            "vendor/bundle/ruby/3.1.0/bundler/gems/c-0123/.git/HEAD".to_owned(),
            ".bundle/plugin/index".to_owned(),
        ];
        let files: Vec<&str> = keep.iter().chain(&drop).map(String::as_str).collect();
        let paths = ["vendor/bundle", ".bundle/config"];
        assert_eq!(after(None, &paths, bundle::PRESET.leftovers, &files), keep);
    }

    #[test]
    fn npm_keeps_a_build_directory_that_a_package_ships() {
        let keep = [
            "node_modules/a/build/Makefile",
            "node_modules/b/build/Release/b.node",
        ];
        let drop = [
            "node_modules/.cache/x",
            "node_modules/b/build/Makefile",
            "node_modules/b/build/b.target.mk",
            "node_modules/b/build/config.gypi",
            "node_modules/b/build/Release/obj.target/b.o",
            "node_modules/b/build/Release/.deps/b.d",
        ];
        let files = [&keep[..], &drop[..]].concat();
        assert_eq!(
            after(None, &["node_modules"], npm::PRESET.leftovers, &files),
            keep
        );
    }
}
