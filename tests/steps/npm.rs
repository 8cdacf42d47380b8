//! npm.

use std::fs;
use std::sync::atomic::AtomicBool;

use shipit_artifact::DirTree;
use shipit_steps::{
    EnvVar, InPlace, Kept, KeyRequest, StepKeys, StepSpec, Tool, Vendored, Workspace, layer_keys, platform,
    preflight,
};
use shipit_testbed::fixtures::{npm, registry_env};
use shipit_testbed::{Cmd, Tmp};

use crate::bench::{Bench, assert_same_files, listed, names, path, step, try_run, vendor, write};

const PACKAGE: &str = r#"{"name": "app", "version": "1.0.0", "private": true, "workspaces": ["packages/*"],
    "scripts": {"prepare": "is-number-is-not-there-in-production"},
    "dependencies": {"semver": "7.6.3", "lib": "file:../lib"}, "devDependencies": {"dev": "file:dev"}}"#;
const LOCK: &str = r#"{"name": "app", "version": "1.0.0", "lockfileVersion": 3, "requires": true, "packages": {
    "": {"name": "app", "version": "1.0.0", "workspaces": ["packages/*"],
        "dependencies": {"semver": "7.6.3", "lib": "file:../lib"}, "devDependencies": {"dev": "file:dev"}},
    "../lib": {"version": "1.0.0"},
    "dev": {"version": "1.0.0", "dev": true, "bin": {"is-number-is-not-there-in-production": "x.js"}},
    "packages/a": {"version": "1.0.0", "dependencies": {"is-number": "7.0.0"}},
    "node_modules/a": {"resolved": "packages/a", "link": true},
    "node_modules/dev": {"resolved": "dev", "link": true},
    "node_modules/lib": {"resolved": "../lib", "link": true},
    "packages/a/node_modules/is-number": {"version": "7.0.0", "integrity": "IS_NUMBER"},
    "node_modules/semver": {"version": "7.6.3", "integrity": "SEMVER", "bin": {"semver": "bin/semver.js"}}}}"#;

fn npm_ci(production: bool) -> StepSpec {
    let mut npm = step(Tool::Npm { production });
    npm.env = listed(registry_env());
    npm
}

/// The integrity of a package, from the fixture's lockfile.
fn integrity(package: &str) -> String {
    let after = npm::PACKAGE_LOCK
        .split(&format!("\"node_modules/{package}\""))
        .nth(1)
        .unwrap();
    let value = after.split("\"integrity\": \"").nth(1).unwrap();
    value.split('"').next().unwrap().to_owned()
}

/// An app in `app/` with a workspace that has a node_modules of its own, a dependency beside it, and a root package
/// whose prepare script needs a dev dependency.
fn write_workspaces(workspace: &Workspace) {
    let root = &workspace.root;
    let lock = LOCK
        .replace("IS_NUMBER", &integrity("is-number"))
        .replace("SEMVER", &integrity("semver"));
    let dev =
        r#"{"name": "dev", "version": "1.0.0", "bin": {"is-number-is-not-there-in-production": "x.js"}}"#;
    let workspace = r#"{"name": "a", "version": "1.0.0", "dependencies": {"is-number": "7.0.0"}}"#;
    for (name, text) in [
        ("app/package.json", PACKAGE),
        ("app/package-lock.json", &lock),
        ("app/dev/package.json", dev),
        (
            "app/dev/x.js",
            "#!/usr/bin/env node\nrequire('fs').writeFileSync('prepared', '')\n",
        ),
        ("app/packages/a/package.json", workspace),
        (
            "app/packages/a/index.js",
            "console.log(require('is-number')(1))\n",
        ),
        ("lib/package.json", r#"{"name": "lib", "version": "1.0.0"}"#),
        ("lib/index.js", "module.exports = 'lib'\n"),
    ] {
        write(root, name, text);
    }
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(root.join("app/dev/x.js"), fs::Permissions::from_mode(0o755)).unwrap();
}

/// The workspace, which knows how the layer stands in it.
fn noted(bench: &Bench, layer: &Vendored) -> Kept {
    let dir = bench.root().parent().unwrap();
    let mut kept = Kept::open(dir, std::num::NonZeroUsize::MIN).unwrap();
    let layer = InPlace {
        key: "k".to_owned(),
        owned: layer.owned.clone(),
    };
    kept.placed(&layer).unwrap();
    kept
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn npm_vendors_the_same_twice() {
    let bench = Bench::new();
    let other = bench.elsewhere();
    npm::write_app(bench.root());
    npm::write_app(&other.root);
    let (one, _) = vendor(&npm_ci(false), &bench.workspace);
    let (two, _) = vendor(&npm_ci(false), &other);
    assert_eq!(names(&one.paths), ["node_modules"]);
    assert!(bench.root().join("node_modules/is-number").is_dir());
    assert_same_files(&one, &two);
    // The cache is shipit's, not the user's.
    assert!(bench.workspace.cache.join("npm/_cacache").is_dir());

    let sealed = noted(&bench, &one);
    write(bench.root(), "node_modules/.cache/babel/x", "x");
    assert_eq!(sealed.changes("k").unwrap(), []);
    write(bench.root(), "node_modules/semver/index.js", "changed");
    assert_eq!(
        names(&sealed.changes("k").unwrap()),
        ["node_modules/semver/index.js"]
    );
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn the_production_tree_is_packed_and_the_full_one_built_with() {
    let bench = Bench::new();
    let other = bench.elsewhere();
    let mut spec = npm_ci(true);
    spec.dir = Some(path("app"));
    let mut layers = Vec::new();
    for workspace in [&bench.workspace, &other] {
        write_workspaces(workspace);
        layers.push(vendor(&spec, workspace).0);
    }
    let layer = &layers[0];
    assert_eq!(
        names(&layer.paths),
        ["app/node_modules", "app/packages/a/node_modules"]
    );
    assert_eq!(
        names(&layer.owned),
        [
            "app/dev/node_modules",
            "app/node_modules",
            "app/packages/a/node_modules",
            "lib/node_modules"
        ]
    );
    assert!(!layer.root.starts_with(bench.root()));
    assert!(bench.root().join("app/node_modules/dev/x.js").is_file());
    assert!(bench.root().join("app/prepared").is_file());
    assert!(!layer.root.join("app/node_modules/dev").exists());
    assert_same_files(layer, &layers[1]);

    // A later step's change is not packed, and told all the same.
    let sealed = noted(&bench, layer);
    bench.write("app/node_modules/semver/new.js", "");
    assert_eq!(
        names(&sealed.changes("k").unwrap()),
        ["app/node_modules/semver/new.js"]
    );

    // Code and layer together, as a host has them.
    let host = Tmp::new("host");
    let copy = |from: &std::path::Path| {
        let tree = Cmd::new("cp").arg("-a").arg(from).arg(host.path());
        let _ = tree.run().ok();
    };
    for owned in &layer.owned {
        let _ = fs::remove_dir_all(bench.root().join(owned.as_path()));
    }
    copy(&bench.root().join("app"));
    copy(&bench.root().join("lib"));
    copy(&layer.root.join("app"));
    let script = "require('a'); console.log(require('lib'), require('semver').inc('1.2.3', 'minor'))";
    let ran = Cmd::new("node")
        .args(["-e", script])
        .cwd(host.join("app"))
        .home(host.path())
        .run()
        .ok();
    assert_eq!(ran.out(), "true\nlib 1.3.0\n");
}

/// The keys of what `spec` would vendor in the workspace as it stands.
fn keys(spec: &StepSpec, workspace: &Workspace) -> StepKeys {
    let tree = DirTree::new(&workspace.root).unwrap();
    let cancel = AtomicBool::new(false);
    let tools = preflight(std::slice::from_ref(spec), &tree, &[], workspace, &cancel).unwrap();
    let request = KeyRequest {
        spec,
        tree: &tree,
        tracked: &[],
        tools: tools.of(&spec.name),
        platform: &platform(),
        format: "1 zstd 9",
        root: None,
        earlier: &[],
    };
    layer_keys(&request).unwrap().unwrap()
}

/// A key may be the same only where what is vendored is.
#[test]
#[ignore = "needs the testbed; run make test"]
fn a_release_of_the_app_has_the_key_and_the_files_of_the_one_before() {
    let bench = Bench::new();
    let other = bench.elsewhere();
    let mut spec = npm_ci(true);
    spec.dir = Some(path("app"));
    // A script of the app's own would make all files count.
    spec.env.push(EnvVar {
        name: "npm_config_ignore_scripts".to_owned(),
        value: "true".to_owned(),
        secret: false,
    });
    for workspace in [&bench.workspace, &other] {
        write_workspaces(workspace);
    }
    for (name, changes) in [
        (
            "app/package.json",
            [
                (
                    r#""name": "app", "version": "1.0.0""#,
                    r#""version": "2.0.0", "description": "new", "license": "MIT""#,
                ),
                (r#""prepare":"#, r#""test": "jest", "prepare":"#),
            ],
        ),
        (
            "app/package-lock.json",
            [
                (
                    r#"{"name": "app", "version": "1.0.0", "lock"#,
                    r#"{"name": "shop", "version": "2.0.0", "lock"#,
                ),
                (
                    r#"{"name": "app", "version": "1.0.0", "work"#,
                    r#"{"name": "shop", "version": "2.0.0", "work"#,
                ),
            ],
        ),
    ] {
        let mut text = fs::read_to_string(other.root.join(name)).unwrap();
        for (what, with) in changes {
            assert!(text.contains(what), "{name} has no {what}");
            text = text.replace(what, with);
        }
        write(&other.root, name, &text);
    }
    write(&other.root, "app/packages/a/index.js", "console.log('new')\n");
    let before = keys(&spec, &bench.workspace);
    assert_eq!(before, keys(&spec, &other));
    let layers = [&bench.workspace, &other].map(|workspace| vendor(&spec, workspace).0);
    assert_same_files(&layers[0], &layers[1]);
    assert_eq!(layers[0].owned, before.owned);
    // The tree that later steps see is the same too.
    let full = layers.map(|layer| Vendored {
        root: layer.workspace.clone(),
        paths: vec![path("app/node_modules")],
        ..layer
    });
    assert_same_files(&full[0], &full[1]);
    // What was made does not count in the next build's key.
    assert_eq!(before, keys(&spec, &bench.workspace));
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn an_install_that_fails_is_told_with_its_last_lines() {
    let bench = Bench::new();
    bench.write("package.json", npm::PACKAGE_JSON);
    bench.write("package-lock.json", &npm::PACKAGE_LOCK.replace("7.6.3", "7.6.2"));
    let (result, _) = try_run(&npm_ci(false), &bench.workspace);
    let error = result.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("step `npm` failed with exit code 1"),
        "{error}"
    );
    // npm prints its help after the reason, more or less of it by its version: the log has it all, below the command.
    let log = fs::read_to_string(bench.workspace.logs.join("npm.log")).unwrap();
    let lines: Vec<&str> = log.lines().skip(1).collect();
    assert_eq!(error.tail(), &lines[lines.len().saturating_sub(40)..]);
    assert!(log.contains("package.json and package-lock.json"), "{log}");
    assert!(error.hint().unwrap().ends_with("logs/npm.log"));
}
