//! `shipit init` and `shipit config` as users run them: the binary, its exit code, what it prints and where.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test itself does"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const PLANTED: &str = "pl4nted-s3cret-value";

/// Runs shipit in a directory with nothing in the environment but these variables.
fn shipit(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shipit"))
        .args(args)
        .current_dir(dir)
        .env_clear()
        .envs(env.iter().copied())
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn project(config: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("shipit.toml"), config).unwrap();
    dir
}

#[test]
fn init_then_config_in_a_repository() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let sub = root.join("frontend");
    fs::create_dir_all(root.join(".git")).unwrap();
    fs::create_dir(&sub).unwrap();
    fs::write(
        root.join(".git/config"),
        "[remote \"origin\"]\n\turl = git@github.com:example/shop.git\n",
    )
    .unwrap();
    fs::write(sub.join("package-lock.json"), "{}").unwrap();

    let init = shipit(&sub, &["init"], &[]);
    assert_eq!(init.status.code(), Some(0), "{}", stderr(&init));
    assert_eq!(stdout(&init), format!("{}\n", root.join("shipit.toml").display()));
    for said in [
        "found the remote git@github.com:example/shop.git",
        "found frontend/package-lock.json",
        "added /.shipit/",
    ] {
        assert!(stderr(&init).contains(said), "{}", stderr(&init));
    }
    assert_eq!(
        fs::read_to_string(root.join(".gitignore")).unwrap(),
        "/.shipit/\n"
    );
    let written = fs::read_to_string(root.join("shipit.toml")).unwrap();
    assert!(written.starts_with("#:schema "), "{written}");

    let again = shipit(&root, &["init"], &[]);
    assert_eq!(again.status.code(), Some(2));
    assert!(stderr(&again).contains("--force"), "{}", stderr(&again));
    let forced = shipit(&root, &["init", "--force", "--output", "json"], &[]);
    let document: serde_json::Value = serde_json::from_slice(&forced.stdout).unwrap();
    assert_eq!(document["gitignore"], serde_json::Value::Null);

    for stage in ["staging", "production"] {
        let config = shipit(&sub, &["config", "--stage", stage], &[]);
        assert_eq!(config.status.code(), Some(0), "{}", stderr(&config));
        assert!(stdout(&config).contains("use = \"npm\""), "{}", stdout(&config));
    }
}

#[test]
fn what_config_prints_is_a_config_with_the_same_meaning() {
    let dir = project(
        "app = \"shop\"\n[store]\nurl = \"s3://shop/shipit\"\n[role.web]\ndest = \"/srv/shop\"\n\
         vars = { deep = { list = [1, 2] } }\n[stage.staging.role.web]\nshared = [\"log\"]\n",
    );
    let first = shipit(dir.path(), &["config", "--stage", "staging"], &[]);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    assert!(
        stdout(&first).contains("# shipit.toml:8 [stage.staging]"),
        "{}",
        stdout(&first)
    );
    let second = project(&stdout(&first));
    let json = |dir: &Path, args: &[&str]| {
        let output = shipit(dir, args, &[]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let mut document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        document["config"]["stage"].take();
        document["config"].take()
    };
    let base = json(dir.path(), &["--output", "json", "config", "--stage", "staging"]);
    assert_eq!(base, json(second.path(), &["--output", "json", "config"]));
    assert_eq!(
        base["role"]["web"]["vars"]["deep"]["list"],
        serde_json::json!([1, 2])
    );
}

#[test]
fn a_typo_ends_with_2_and_shows_the_line() {
    let dir = project("app = \"shop\"\n[role.web]\ndset = \"/srv/shop\"\n");
    let output = shipit(dir.path(), &["config"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stdout(&output).is_empty());
    let shown = stderr(&output);
    for part in [
        "unknown key `dset` in [role.web]",
        "shipit.toml:3:1",
        "did you mean `dest`?",
    ] {
        assert!(shown.contains(part), "{shown}");
    }
    assert!(!shown.contains('\u{1b}'), "{shown}");
    let coloured = shipit(dir.path(), &["--color", "always", "config"], &[]);
    assert!(stderr(&coloured).contains('\u{1b}'));
}

#[test]
fn no_config_and_an_unreadable_one_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let none = shipit(dir.path(), &["config"], &[]);
    assert_eq!(none.status.code(), Some(2));
    assert!(stderr(&none).contains("shipit init"), "{}", stderr(&none));
    let named = shipit(dir.path(), &["--config", "other.toml", "config"], &[]);
    assert!(matches!(named.status.code(), Some(2 | 10)), "{:?}", named.status);
    assert!(stderr(&named).contains("other.toml"), "{}", stderr(&named));
}

#[test]
fn the_variable_of_a_build_step_is_not_needed_to_show_the_config() {
    let dir = project(
        "app = \"shop\"\n[[build.step]]\nrun = \"x\"\nenv = { NPM_TOKEN = { env = \"NPM_TOKEN\", secret = true } }\n",
    );
    let unset = shipit(dir.path(), &["config"], &[]);
    assert_eq!(unset.status.code(), Some(0), "{}", stderr(&unset));
    assert!(
        stdout(&unset).contains("NPM_TOKEN is not set"),
        "{}",
        stdout(&unset)
    );
    let env = [("NPM_TOKEN", PLANTED), ("CONSUL_HTTP_TOKEN", PLANTED)];
    for args in [&["config"][..], &["--output", "json", "config"]] {
        let output = shipit(dir.path(), args, &env);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let all = format!("{}{}", stdout(&output), stderr(&output));
        assert!(!all.contains(PLANTED), "{all}");
        assert!(all.contains("CONSUL_HTTP_TOKEN"), "{all}");
    }
}

#[test]
fn a_secret_in_the_file_is_refused_and_not_repeated() {
    let dir = project(&format!("app = \"shop\"\n[consul]\ntoken = \"{PLANTED}\"\n"));
    for args in [
        &["config"][..],
        &["--color", "always", "config"],
        &["--output", "json", "config"],
    ] {
        let output = shipit(dir.path(), args, &[]);
        assert_eq!(output.status.code(), Some(2));
        let all = format!("{}{}", stdout(&output), stderr(&output));
        assert!(!all.contains(PLANTED), "{all}");
        assert!(all.contains("a secret must not stand in the config"), "{all}");
    }
}

#[test]
fn schema_and_reference_are_those_of_the_project() {
    let dir = tempfile::tempdir().unwrap();
    let schema = shipit(dir.path(), &["config", "--schema"], &[]);
    assert!(
        stdout(&schema) == include_str!("../templates/shipit.schema.json"),
        "see crates/cli/src/config/tests"
    );
    let reference = shipit(dir.path(), &["config", "--reference"], &[]);
    assert!(
        stdout(&reference) == include_str!("../docs/configuration.md"),
        "see crates/cli/src/config/tests"
    );
}
