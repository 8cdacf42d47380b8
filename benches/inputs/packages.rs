//! The packages that stand for an application's dependencies: real ones, pinned by `benches/packages/`, installed
//! once per lockfile into a cache directory outside of the clone.

use std::fs;
use std::path::{Path, PathBuf};

use crate::run::{pipeline, printed, program, run};

/// What `npm ci` needs.
const FILES: [&str; 2] = ["package.json", "package-lock.json"];
/// Fewer files than this are no test of a tree's cost.
const LEAST_FILES: usize = 50_000;
/// The package that is bumped; the lockfile in `bumped/` has another version of it.
pub const BUMPED: &str = "rxjs";

/// The directory that holds `node_modules`.
pub fn installed() -> PathBuf {
    install("", LEAST_FILES)
}

/// The directory that holds the `node_modules` with another version of [`BUMPED`].
pub fn bumped() -> PathBuf {
    install("bumped", 1_000)
}

fn install(which: &str, least: usize) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../benches/packages")
        .join(which);
    let cache = cache();
    fs::create_dir_all(&cache).unwrap_or_else(|err| panic!("cannot make {}: {err}", cache.display()));
    let lockfile = from.join(FILES[1]);
    let digest = printed({
        let mut command = program("sha256sum");
        command.arg(&lockfile);
        command
    });
    let place = cache.join(format!("packages-{}", &digest[..16]));
    if place.is_dir() {
        return place;
    }
    eprintln!("  installing the packages (once, into {}) …", cache.display());
    let partial = tempfile::tempdir_in(&cache).expect("a directory in the cache");
    for name in FILES {
        fs::copy(from.join(name), partial.path().join(name)).expect("the committed package files");
    }
    let mut npm = program("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(partial.path());
    // npm keeps its downloads and its settings (a registry, a proxy) in the user's home.
    npm.env("HOME", home());
    run(npm);
    let script = r#"find "$PLACE/node_modules" -type f | wc -l"#;
    let count = printed(pipeline(script, &[("PLACE", partial.path().as_os_str())]));
    assert!(
        count.parse().is_ok_and(|files: usize| files >= least),
        "the packages have {count} files, and {least} are the least"
    );
    fs::rename(partial.keep(), &place).expect("a rename within the cache");
    place
}

fn cache() -> PathBuf {
    let set = std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty());
    set.map_or_else(|| home().join(".cache"), PathBuf::from)
        .join("shipit-bench")
}

fn home() -> PathBuf {
    std::env::var_os("HOME").expect("HOME is set").into()
}
