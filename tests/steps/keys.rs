//! The layers' keys of a commit, asked of git and of its export, with the real tools.

use std::ffi::OsStr;
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use shipit_artifact::{DirTree, Tree};
use shipit_source::{CommitTree, Remote, Source, SourceOptions, TreeOptions};
use shipit_steps::{
    EarlierLayer, KeyRequest, StepKeys, StepSpec, Tool, Tools, differences, layer_keys, platform, preflight,
};
use shipit_testbed::fixtures::npm;
use shipit_testbed::{Repo, Tmp, git_env};

use crate::bench::{Bench, path, step};

/// A repository with everything that the keys ask for, and names and contents that an export may get wrong.
fn repository() -> Repo {
    let repo = Repo::new();
    let place = repo.path().to_path_buf();
    fs::create_dir_all(place.join("web")).unwrap();
    npm::write_app(&place.join("web"));
    let package = npm::PACKAGE_JSON.replacen('{', "{ \"scripts\": {\"postinstall\": \"true\"},", 1);
    repo.write("web/package.json", &package)
        .write("web/dos.txt", "one\ntwo\n")
        .write("web/subst.txt", "$Format:%H$\n")
        .write("web/script.sh", "#!/bin/sh\n")
        .write(
            ".gitattributes",
            "web/dos.txt text eol=crlf\nweb/subst.txt export-subst\n",
        )
        .write("versions/ruby", "3.1.2\n")
        .write("cpanfile", "requires 'Acme::Hello';\n")
        .write(
            "cpanfile.snapshot",
            "# carton snapshot format: version 1.0\nDISTRIBUTIONS\n",
        )
        .write(
            "Gemfile",
            "source 'https://rubygems.org'\nruby File.read('.ruby-version').strip\n",
        )
        .write(
            "Gemfile.lock",
            "GEM\n  specs:\n\nPLATFORMS\n  ruby\n\nDEPENDENCIES\n\nBUNDLED WITH\n   2.3.15\n",
        )
        .write("vendor/cache/x.gem", "x")
        .write("in/a", "a");
    symlink("versions/ruby", place.join(".ruby-version")).unwrap();
    symlink("../versions", place.join("web/link")).unwrap();
    fs::write(
        place.join("web").join(Path::new(OsStr::from_bytes(b"\xff\xfe"))),
        "odd",
    )
    .unwrap();
    fs::set_permissions(place.join("web/script.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    repo.commit("all");
    repo
}

fn specs() -> Vec<StepSpec> {
    let mut npm = step(Tool::Npm { production: true });
    npm.dir = Some(path("web"));
    let mut run = step(Tool::Run {
        command: "make deps".to_owned(),
    });
    (run.inputs, run.outputs) = (
        vec!["in/**".to_owned(), "**/*.js".to_owned()],
        vec!["deps".to_owned()],
    );
    vec![
        step(Tool::Bundle { without: Vec::new() }),
        step(Tool::Carton),
        npm,
        run,
    ]
}

fn commit_tree(repo: &Repo, tmp: &Tmp) -> CommitTree {
    let remote = Remote::parse(&format!("file://{}", repo.path().display())).unwrap();
    let mut options = SourceOptions::new(vec![remote], tmp.join("mirror.git"));
    options.git_env = git_env()
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    options
        .git_env
        .push(("PATH".into(), shipit_testbed::Testbed::get().path().to_owned()));
    let never = AtomicBool::new(false);
    let source = Source::open(options).unwrap();
    let commit = source.resolve("HEAD", &never, &|_| {}).unwrap();
    source
        .tree(&commit, TreeOptions::default(), &never, &|_| {})
        .unwrap()
}

fn all_keys(specs: &[StepSpec], tree: &dyn Tree, commit: &CommitTree, tools: &Tools) -> Vec<StepKeys> {
    let mut earlier = Vec::new();
    let mut all = Vec::new();
    for spec in specs {
        let keys = layer_keys(&KeyRequest {
            spec,
            tree,
            tracked: &commit.tracked(),
            tools: tools.of(&spec.name),
            platform: &platform(),
            format: "1 zstd 9",
            root: None,
            earlier: &earlier,
        });
        let keys = keys.unwrap().unwrap();
        earlier.push(EarlierLayer {
            key: keys.seen().clone(),
            owned: keys.owned.clone(),
        });
        all.push(keys);
    }
    all
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_commit_has_the_keys_of_its_export_and_needs_none() {
    let bench = Bench::new();
    let (repo, tmp, specs) = (repository(), Tmp::new("keys"), specs());
    let commit = commit_tree(&repo, &tmp);
    fs::remove_dir(bench.root()).unwrap();
    let never = AtomicBool::new(false);
    let tools = preflight(&specs, &commit, &commit.tracked(), &bench.workspace, &never).unwrap();
    let keys = all_keys(&specs, &commit, &commit, &tools);
    assert!(!bench.root().exists());
    assert_eq!(
        fs::read_dir(&bench.workspace.aside).unwrap().count(),
        0,
        "what the tools were asked in is gone"
    );

    let jobs = NonZeroUsize::MIN;
    commit.export(bench.root(), jobs, &never, &|_| {}).unwrap();
    // What steps vendored is no part of any key but as a layer.
    let config = "---\nBUNDLE_DEPLOYMENT: \"true\"\nBUNDLE_PATH: \"vendor/bundle\"\n";
    for name in ["web/node_modules/x/x.js", "vendor/bundle/x.js", "local/lib/x.js"] {
        bench.write(name, "x");
    }
    bench.write(".bundle/config", config);
    let workspace = DirTree::new(bench.root()).unwrap();
    assert_eq!(
        preflight(&specs, &workspace, &commit.tracked(), &bench.workspace, &never).unwrap(),
        tools
    );
    for (one, other) in keys.iter().zip(all_keys(&specs, &workspace, &commit, &tools)) {
        assert_eq!(differences(&one.packed, &other.packed), []);
        assert_eq!(*one, other);
    }

    let parts = |at: usize| {
        keys[at]
            .packed
            .parts
            .iter()
            .map(|part| part.name.as_str())
            .collect::<Vec<_>>()
    };
    for part in [
        "abi ruby",
        "tool bundle",
        "lockfile Gemfile.lock",
        "file .ruby-version",
        "file vendor/cache/x.gem (in vendor/cache)",
    ] {
        assert!(parts(0).contains(&part), "{part}: {:?}", parts(0));
    }
    // A postinstall script may read any file, and web/link leads out of web.
    for part in [
        "file web/\\xff\\xfe (in the tree)",
        "file web/dos.txt (in the tree)",
        "layer of .bundle/config",
    ] {
        assert!(parts(2).contains(&part), "{part}: {:?}", parts(2));
    }
    assert!(parts(3).contains(&"layer of web/node_modules"), "{:?}", parts(3));
}
