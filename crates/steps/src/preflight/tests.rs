//! The preflight with tools that are scripts on a PATH of the test's own.

use std::ffi::OsStr;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use shipit_artifact::DirTree;

use super::ask::{find, version_in};
use super::*;
use crate::spec::EnvVar;

struct Place {
    dir: tempfile::TempDir,
    workspace: Workspace,
}

/// A tree with `files` and, on PATH, `programs` with what they do.
fn tree(files: &[&str], programs: &[(&str, &str)]) -> Place {
    let dir = tempfile::tempdir().unwrap();
    let (root, bin) = (dir.path().join("root"), dir.path().join("bin"));
    fs::create_dir_all(&root).unwrap();
    fs::create_dir_all(&bin).unwrap();
    for name in files {
        fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        fs::write(root.join(name), "{}").unwrap();
    }
    for (name, does) in programs {
        // Written by another process: a file that this one has open for writing may be inherited by a child that
        // another test starts at that moment, and cannot be executed until that child is on its way.
        let write = "printf '#!/bin/sh\\n%s\\n' \"$2\" > \"$1\" && chmod 755 \"$1\"";
        let mut command = Command::new("/bin/sh");
        let written = command
            .args(["-c", write, "sh"])
            .arg(bin.join(name))
            .arg(does)
            .status();
        assert!(written.unwrap().success());
    }
    let at = |name| dir.path().join(name);
    let base_env = vec![("PATH".into(), bin.into_os_string())];
    let workspace = Workspace {
        root,
        logs: at("logs"),
        cache: at("cache"),
        aside: at("aside"),
        base_env,
        jobs: std::num::NonZeroUsize::MIN.saturating_add(3),
    };
    Place { dir, workspace }
}

fn step(tool: Tool, dir: Option<&str>) -> StepSpec {
    StepSpec {
        name: tool.name().to_owned(),
        tool,
        dir: dir.map(|dir| EntryPath::new(dir).unwrap()),
        env: Vec::new(),
        timeout: None,
        idle_timeout: None,
        layer: true,
        inputs: Vec::new(),
        outputs: Vec::new(),
    }
}

fn check(tree: &Place, steps: &[StepSpec], tracked: &[&str]) -> Result<Tools, Error> {
    let tracked: Vec<_> = tracked
        .iter()
        .map(|path| EntryPath::new(*path).unwrap())
        .collect();
    let files = DirTree::new(&tree.workspace.root).unwrap();
    let _turn = crate::runner::turn();
    preflight(steps, &files, &tracked, &tree.workspace, &AtomicBool::new(false))
}

fn message(result: Result<Tools, Error>) -> String {
    result.unwrap_err().to_string()
}

const BUNDLE: Tool = Tool::Bundle { without: Vec::new() };

#[test]
fn all_that_is_missing_is_named_at_once() {
    let tree = tree(
        &["Gemfile", "app/package.json"],
        &[("ruby", "echo ruby 3.1.2p20; echo abi x86_64-linux-gnu 3.1.0")],
    );
    let steps = [
        step(Tool::Carton, None),
        step(BUNDLE, None),
        step(Tool::Npm { production: false }, Some("app")),
        step(Tool::Npm { production: false }, Some("ap")),
    ];
    let text = message(check(&tree, &steps, &[]));
    for expected in [
        "step `carton`: cpanfile is not in the tree",
        "step `carton`: cpanfile.snapshot is not in the tree; make it with `carton install`, and commit it",
        "step `carton`: `carton` is not on its PATH; install it (Debian: `apt-get install carton`)",
        "step `bundle`: Gemfile.lock or gems.locked is not in the tree",
        "step `bundle`: `bundle` is not on its PATH",
        "step `npm`: app/package-lock.json or app/npm-shrinkwrap.json is not in the tree",
        "step `npm`: the directory ap is not in the tree",
        "step `npm`: `node` is not on its PATH",
    ] {
        assert!(text.contains(expected), "{expected}\nis not in\n{text}");
    }
    assert!(!text.contains("`ruby`"), "{text}");
}

#[test]
fn versions_are_asked_in_the_steps_environment() {
    let go = "[ \"$MODE\" = new ] && echo go version go1.27.3 linux/amd64 || echo go version go1.19.8 x/y";
    let tree = tree(&["go.mod"], &[("go", go)]);
    let packages = vec![crate::GoOutput {
        package: ".".into(),
        output: EntryPath::new("x").unwrap(),
    }];
    let old = step(Tool::Go { packages }, None);
    let mut new = old.clone();
    new.env.push(EnvVar {
        name: "MODE".into(),
        value: "new".into(),
        secret: false,
    });
    let versions = check(&tree, &[old.clone(), old, new], &[]).unwrap();
    let versions = versions.all();
    let versions: Vec<_> = versions
        .iter()
        .map(|tool| (tool.name.as_str(), tool.version.as_str()))
        .collect();
    assert_eq!(versions, [("go", "1.19.8"), ("go", "1.27.3")]);
}

/// As rbenv's and asdf's shims do it.
#[test]
fn tools_obey_the_version_files_of_a_tree_that_is_not_on_disk() {
    let shim = "d=$PWD; while ! [ -e $d/.ruby-version ]; do d=${d%/*}; done; read v < $d/.ruby-version; echo ruby $v; echo abi x";
    let place = tree(&[], &[("bundle", "echo 2.3.15"), ("ruby", shim)]);
    let elsewhere = place.dir.path().join("elsewhere");
    for (name, text) in [(".ruby-version", "3.1.2\n"), ("b/.ruby-version", "3.2.0\n")] {
        fs::create_dir_all(elsewhere.join("a")).unwrap();
        fs::create_dir_all(elsewhere.join("b")).unwrap();
        fs::write(elsewhere.join(name), text).unwrap();
    }
    let mut steps = [step(BUNDLE, Some("a")), step(BUNDLE, Some("b"))];
    steps[1].name = "other".to_owned();
    for dir in ["a", "b"] {
        for name in ["Gemfile", "Gemfile.lock"] {
            fs::write(elsewhere.join(dir).join(name), "").unwrap();
        }
    }
    let files = DirTree::new(&elsewhere).unwrap();
    let [one, other] = steps;
    let run = step(
        Tool::Run {
            command: "rake".into(),
        },
        None,
    );
    // A command may call any of them, whether it comes before or after.
    let steps = [run.clone(), one, other];
    let _turn = crate::runner::turn();
    let tools = preflight(&steps, &files, &[], &place.workspace, &AtomicBool::new(false)).unwrap();
    assert_eq!(tools.of(&run.name), tools.all());
    let ruby = |step| &tools.of(step)[1];
    assert_eq!(
        (ruby("bundle").version.as_str(), ruby("other").version.as_str()),
        ("3.1.2", "3.2.0")
    );
    assert_eq!(
        (ruby("bundle").abi.as_deref(), tools.of("none")),
        (Some("x"), &[][..])
    );
    assert_eq!(tools.all().len(), 3);
}

#[test]
fn a_tool_that_does_not_work_is_named_with_its_reason() {
    let programs = [
        ("bundle", "echo \"no ruby for hunter2\" >&2; exit 3"),
        ("ruby", "echo none"),
    ];
    let tree = tree(&["Gemfile", "Gemfile.lock"], &programs);
    let mut step = step(BUNDLE, None);
    step.env.push(EnvVar {
        name: "TOKEN".into(),
        value: "hunter2".into(),
        secret: true,
    });
    let text = message(check(&tree, &[step], &[]));
    assert!(
        text.contains("`bundle` does not work: asked for its version, it ended with exit status: 3: "),
        "{text}"
    );
    assert!(text.contains("no ruby for ***"), "{text}");
    assert!(
        text.contains("`ruby` does not work: asked for its version, it printed no version: none"),
        "{text}"
    );
}

#[test]
fn a_tool_that_says_nothing_is_named_with_its_file_and_what_it_was_asked() {
    let programs = [("npm", ""), ("node", "exit 7")];
    let tree = tree(&["package.json", "package-lock.json"], &programs);
    let error = check(&tree, &[step(Tool::Npm { production: false }, None)], &[]).unwrap_err();
    let text = error.to_string();
    let npm = tree.dir.path().join("bin/npm").display().to_string();
    for expected in [
        format!("`npm` does not work: asked for its version, it printed nothing (asked by: {npm} --version)"),
        "`node` does not work: asked for its version, it ended with exit status: 7 (asked by: ".to_owned(),
    ] {
        assert!(text.contains(&expected), "{expected}\nis not in\n{text}");
    }
    assert!(error.hint().unwrap().contains("run that command line"));
}

#[test]
fn a_tool_that_leaves_a_daemon_on_its_pipe_is_not_waited_for() {
    let tree = tree(
        &["go.mod"],
        &[("go", "/bin/sleep 60 & echo $! >$0.pid; echo go1.20.1")],
    );
    let packages = vec![crate::GoOutput {
        package: ".".into(),
        output: EntryPath::new("x").unwrap(),
    }];
    let began = Instant::now();
    check(&tree, &[step(Tool::Go { packages }, None)], &[]).unwrap();
    assert!(began.elapsed() < Duration::from_secs(50));
    let pid = fs::read_to_string(tree.dir.path().join("bin/go.pid")).unwrap();
    assert!(Command::new("kill").arg(pid.trim()).status().unwrap().success());
}

#[test]
fn tracked_files_where_a_step_vendors_are_refused_by_name() {
    let programs = [("bundle", "echo 2.3.15"), ("ruby", "echo 3.1.2; echo abi x")];
    let tree = tree(&["Gemfile", "Gemfile.lock"], &programs);
    let tracked = [
        ".bundle/config",
        "vendor/bundle/a.rb",
        "vendor/bundler.rb",
        "vendor/bundle/b.rb",
    ];
    let text = message(check(&tree, &[step(BUNDLE, None)], &tracked));
    assert!(
        text.contains("vendors into vendor/bundle, where git tracks vendor/bundle/a.rb, vendor/bundle/b.rb;")
    );
    assert!(!text.contains("config") && !text.contains("bundler.rb"), "{text}");
    check(&tree, &[step(BUNDLE, None)], &tracked[..1]).unwrap();
    let mut into_code = step(BUNDLE, None);
    into_code.layer = false;
    check(&tree, &[into_code], &tracked).unwrap();
}

#[test]
fn two_steps_that_vendor_into_one_path_are_refused() {
    let tree = tree(&[], &[]);
    let mut one = step(
        Tool::Run {
            command: "true".into(),
        },
        None,
    );
    (one.inputs, one.outputs) = (vec!["a.lock".into()], vec!["vendor".into()]);
    let mut other = one.clone();
    (other.name, other.outputs) = ("other".into(), vec!["vendor/x".into()]);
    let text = message(check(&tree, &[one, other], &[]));
    assert!(
        text.contains("step `other` vendors into vendor/x, as step `run` does before it"),
        "{text}"
    );
}

#[test]
fn what_a_spec_cannot_ask_is_refused() {
    let tree = tree(
        &["cpanfile", "cpanfile.snapshot"],
        &[("carton", "echo 1.0"), ("perl", "echo 5.36.0; echo abi x")],
    );
    let mut carton = step(Tool::Carton, None);
    carton.env.push(EnvVar {
        name: "PERL_CARTON_PATH".into(),
        value: "x".into(),
        secret: false,
    });
    carton.inputs = vec!["../patches/*".to_owned()];
    let text = message(check(&tree, &[carton], &[]));
    assert!(
        text.contains("`inputs` has the pattern `../patches/*`, which can match nothing"),
        "{text}"
    );
    assert!(
        text.contains("`env` lists PERL_CARTON_PATH, which the preset sets itself"),
        "{text}"
    );
}

#[test]
fn inputs_that_reach_what_is_kept_are_refused() {
    let refused = |dir: Option<&str>, inputs: &str| {
        let mut make = step(
            Tool::Run {
                command: "make".into(),
            },
            dir,
        );
        (make.inputs, make.outputs) = (vec![inputs.to_owned()], vec!["out".to_owned()]);
        let kept = [EntryPath::new("web/build/obj").unwrap()];
        let refused = crate::refuse_kept_inputs(std::slice::from_ref(&make), &kept);
        make.layer = false;
        crate::refuse_kept_inputs(&[make], &kept).unwrap();
        refused.err().map(|error| {
            assert_eq!(error.kind(), crate::ErrorKind::Config);
            error.to_string()
        })
    };
    for inputs in [
        "web",
        "web/**",
        "web/build/obj",
        "web/build/obj/*.o",
        "**/*.c",
        "w*",
        "{src,web/b*}",
        ".",
    ] {
        let text = refused(None, inputs).unwrap_or_else(|| panic!("{inputs}"));
        let said = format!("the pattern `{inputs}`, which may match in web/build/obj, that a `keep` names");
        assert!(text.contains(&said), "{text}");
    }
    for inputs in [
        "src/**",
        "web/src",
        "web/build/*.c",
        "web/build/object",
        "*.lock",
        "build/obj",
        "web/b/**",
    ] {
        assert_eq!(refused(None, inputs), None, "{inputs}");
    }
    assert!(refused(Some("web"), "build").is_some() && refused(Some("web/build/obj"), "x").is_some());
    assert_eq!(refused(Some("web"), "web/build/obj"), None);
    assert_eq!(refused(Some("lib"), "**"), None);
}

#[test]
fn a_directory_that_a_command_may_make_is_not_missed() {
    let tree = tree(&[], &[]);
    let make = step(
        Tool::Run {
            command: "mkdir made".into(),
        },
        None,
    );
    let used = step(
        Tool::Run {
            command: "true".into(),
        },
        Some("made"),
    );
    check(&tree, &[make, used.clone()], &[]).unwrap();
    assert!(message(check(&tree, &[used], &[])).contains("the directory made is not in the tree"));
}

#[test]
fn versions_in_what_tools_print() {
    let version = |text| version_in(text).unwrap();
    assert_eq!(version("Bundler version 2.3.15"), "2.3.15");
    assert_eq!(
        version("ruby 3.1.2p20 (2022-04-12 revision 4491bb740a) [x86_64-linux-gnu]"),
        "3.1.2p20"
    );
    assert_eq!(version("v20.20.2\n"), "20.20.2");
    assert_eq!(version("carton v1.0.35\n"), "1.0.35");
    assert_eq!(version("go version go1.27.3 linux/amd64"), "1.27.3");
    assert_eq!(version_in("none to be had"), None);
    let missing = tree(&[], &[]);
    assert_eq!(find("sh", OsStr::new(""), missing.dir.path()), None);
}
