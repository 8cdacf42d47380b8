//! bundle.

use std::fs;

use shipit_steps::Tool;
use shipit_testbed::fixtures::gems::GemSource;
use shipit_testbed::{Cmd, Repo, Tmp};

use crate::bench::{Bench, assert_same_files, names, step, vendor, warnings};

const CONFIG: &str = "---\nBUNDLE_DEPLOYMENT: \"true\"\nBUNDLE_PATH: \"vendor/bundle\"\n";
const USE: &str =
    "require 'testbed_hello'; require 'testbed_native'; print TestbedHello.hello, TestbedNative.answer";

fn bundle(without: &[&str]) -> shipit_steps::StepSpec {
    step(Tool::Bundle {
        without: without.iter().map(|group| (*group).to_owned()).collect(),
    })
}

/// A gem in a git repository, whose gemspec asks git for its files.
fn git_gem() -> Repo {
    let repo = Repo::new();
    let spec = "Gem::Specification.new do |s|\n  s.name = 'from-git'\n  s.version = '0.1.0'\n  s.summary = 'x'\n  \
                s.authors = ['x']\n  s.files = `git ls-files`.split(\"\\n\")\nend\n";
    repo.write("from-git.gemspec", spec)
        .write("lib/from_git.rb", "FROM_GIT = 'git'\n");
    repo.commit("a gem");
    repo
}

fn lock(gemfile: &str) -> (String, String) {
    let work = Tmp::new("lock");
    work.write("Gemfile", gemfile);
    let cmd = Cmd::new("bundle").arg("lock").home(work.path()).cwd(work.path());
    let _ = cmd.run().ok();
    (
        gemfile.to_owned(),
        fs::read_to_string(work.join("Gemfile.lock")).unwrap(),
    )
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn bundle_vendors_the_same_twice_and_a_host_can_use_it() {
    let bench = Bench::new();
    let (source, git) = (GemSource::build(), git_gem());
    let own = format!("gem 'from-git', git: 'file://{}'\n", git.path().display());
    let (gemfile, gemfile_lock) = lock(&format!("{}{own}", source.gemfile()));
    let other = bench.elsewhere();
    for root in [bench.root(), &other.root] {
        fs::write(root.join("Gemfile"), &gemfile).unwrap();
        fs::write(root.join("Gemfile.lock"), &gemfile_lock).unwrap();
    }
    let (one, events) = vendor(&bundle(&[]), &bench.workspace);
    let (two, _) = vendor(&bundle(&[]), &other);
    assert_eq!(names(&one.paths), [".bundle/config", "vendor/bundle"]);
    assert_eq!(names(&one.lockfiles), ["Gemfile.lock"]);
    assert!(warnings(&events).is_empty(), "{events:?}");
    assert_same_files(&one, &two);

    // A host has neither the sources of the gems nor the workspace.
    let host = Tmp::new("host");
    let moved = host.join("release");
    fs::rename(bench.root(), &moved).unwrap();
    drop((source, git));
    let ran = Cmd::new("bundle")
        .args([
            "exec",
            "ruby",
            "-e",
            &format!("require 'from_git'; {USE}, FROM_GIT"),
        ])
        .home(host.path())
        .cwd(&moved)
        .run()
        .ok();
    assert_eq!(ran.out(), "hello 1.0.042git");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_tracked_bundle_config_is_heeded_but_stays_code() {
    let bench = Bench::new();
    let source = GemSource::build();
    let (gemfile, gemfile_lock) = lock(&source.gemfile());
    bench.write("Gemfile", &gemfile);
    bench.write("Gemfile.lock", &gemfile_lock);
    let own = "---\nBUNDLE_PATH: \"elsewhere\"\nBUNDLE_JOBS: \"1\"\n";
    bench.write(".bundle/config", own);
    let (vendored, events) = vendor(&bundle(&[]), &bench.workspace);
    assert_eq!(names(&vendored.owned), ["vendor/bundle"]);
    assert_eq!(
        fs::read_to_string(bench.root().join(".bundle/config")).unwrap(),
        own
    );
    assert!(!bench.root().join("elsewhere").exists());
    let warnings = warnings(&events);
    assert!(
        warnings[0].contains("does not set BUNDLE_PATH to vendor/bundle"),
        "{warnings:?}"
    );
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn groups_are_left_out_on_the_host_too() {
    let bench = Bench::new();
    let source = GemSource::build();
    source.add("only-test", "1.0.0", &[("lib/only_test.rb", "")], "");
    let (gemfile, gemfile_lock) = lock(&format!(
        "{}group(:test) {{ gem 'only-test' }}\n",
        source.gemfile()
    ));
    bench.write("Gemfile", &gemfile);
    bench.write("Gemfile.lock", &gemfile_lock);
    let (vendored, _) = vendor(&bundle(&["test", "development"]), &bench.workspace);
    let files = crate::bench::files(&vendored);
    assert!(
        !files
            .keys()
            .any(|path| path.display().to_string().contains("only")),
        "{:?}",
        files.keys()
    );
    let config = fs::read_to_string(bench.root().join(".bundle/config")).unwrap();
    assert_eq!(config, format!("{CONFIG}BUNDLE_WITHOUT: \"test:development\"\n"));
    let home = Tmp::new("home");
    let exec = Cmd::new("bundle")
        .args(["exec", "ruby", "-e", USE])
        .home(home.path())
        .cwd(bench.root());
    assert_eq!(exec.run().ok().out(), "hello 1.0.042");
}
