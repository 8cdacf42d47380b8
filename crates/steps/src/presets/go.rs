//! Go. Its result is code: it always runs, and its caches make that quick. Facts: `go help build`, `go help
//! environment`, `go help cache`; Go 1.19 to 1.27.

use std::path::Path;

use super::{Environment, Needed, Preset, Program};
use crate::command::ToolCommand;
use crate::spec::{GoOutput, Workspace};

pub(crate) static PRESET: Preset = Preset {
    name: "go",
    recipe: 1,
    programs: &[Program {
        name: "go",
        version_args: &["version"],
        tells_abi: false,
        install: "install Go (https://go.dev/dl)",
    }],
    // A module without dependencies has no go.sum.
    needs: &[Needed {
        any_of: &["go.mod"],
        make: "make it with `go mod init`, and commit it",
    }],
    lockfiles: &["go.mod", "go.sum"],
    vendored: &[],
    leftovers: &[],
    fixed_env: &["GOCACHE", "GOMODCACHE", "GOPATH", "GOWORK"],
};

/// `-trimpath` keeps the workspace's path out of the program, `-buildvcs=false` the state of a repository that the
/// workspace may lie in.
pub(crate) fn command(dir: &Path, build: &GoOutput, env: &Environment) -> ToolCommand {
    let mut args = vec!["build".into(), "-trimpath".into(), "-buildvcs=false".into()];
    if vendor_is_anothers(dir) {
        args.push("-mod=readonly".into());
    }
    args.extend([
        "-o".into(),
        build.output.to_path_buf().into(),
        build.package.clone().into(),
    ]);
    ToolCommand {
        program: "go".into(),
        args,
        dir: dir.to_path_buf(),
        env: env.clone().into_vec(),
    }
}

/// Whether `vendor/` is not Go's: `go` takes any directory of that name for its own (`go help modules`, since 1.14), and
/// bundler puts vendor/bundle there.
fn vendor_is_anothers(dir: &Path) -> bool {
    let vendor = dir.join("vendor");
    vendor.is_dir() && !vendor.join("modules.txt").exists()
}

/// Further flags (`-ldflags`, `-tags`) are listed in the step's `env` as GOFLAGS, which `go` reads itself.
pub(crate) fn environment(env: Environment, workspace: &Workspace, dir: &Path) -> Environment {
    let cache = &workspace.cache;
    // Without this, files of the module cache are read-only, and whoever empties the cache needs chmod first.
    let flags = match env.get("GOFLAGS").and_then(|flags| flags.to_str()).map(str::trim) {
        Some(flags) if !flags.is_empty() => format!("{flags} -modcacherw"),
        _ => "-modcacherw".to_owned(),
    };
    env.set("GOFLAGS", flags)
        .set("GOPATH", cache.join("go"))
        .set("GOMODCACHE", cache.join("go-mod"))
        .set("GOCACHE", cache.join("go-build"))
        .set("GOWORK", go_work(&workspace.root, dir))
}

/// The nearest go.work inside the tree. By itself `go` would also take one from above the workspace.
fn go_work(root: &Path, dir: &Path) -> std::ffi::OsString {
    let inside = dir.ancestors().take_while(|ancestor| ancestor.starts_with(root));
    let file = inside
        .map(|ancestor| ancestor.join("go.work"))
        .find(|file| file.is_file());
    file.map_or_else(|| "off".into(), Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vendor_directory_of_bundler_is_not_taken_for_gos() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!vendor_is_anothers(dir.path()));
        std::fs::create_dir_all(dir.path().join("vendor/bundle")).unwrap();
        assert!(vendor_is_anothers(dir.path()));
        std::fs::write(dir.path().join("vendor/modules.txt"), "").unwrap();
        assert!(!vendor_is_anothers(dir.path()));
    }

    #[test]
    fn a_go_work_counts_only_inside_the_tree() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("tree");
        let module = root.join("services/api");
        std::fs::create_dir_all(&module).unwrap();
        std::fs::write(dir.path().join("go.work"), "").unwrap();
        assert_eq!(go_work(&root, &module), "off");
        std::fs::write(root.join("go.work"), "").unwrap();
        assert_eq!(go_work(&root, &module), root.join("go.work"));
    }
}
