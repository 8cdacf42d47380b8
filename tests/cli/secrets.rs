//! A secret planted in the environment and in the config is searched for afterwards in all that the job leaves behind.

use std::fs;
use std::path::Path;

use crate::project::Project;
use crate::small::{self, dest, store};

const PLANTED: &str = "planted-geheim-4711";

#[test]
fn a_planted_secret_is_in_no_log_record_or_message() {
    let mut project = Project::new();
    let build = "[source]\ntoken = { env = \"PLANTED\", secret = true }\n\
        [[build.step]]\nname = \"make\"\nrun = \"echo the token is $TOKEN; echo $TOKEN >&2; printf %s $TOKEN | cut -c1-7; wc -c <<E\\n$TOKEN\\nE\"\n\
        env = { TOKEN = { env = \"PLANTED\", secret = true } }\n\
        [[build.test]]\nname = \"unit\"\nrun = \"env; exit $FAIL\"\n\
        env = { TOKEN = { env = \"PLANTED\", secret = true }, FAIL = { env = \"FAIL\", default = \"0\" } }\n";
    let consul = "[consul]\naddress = \"http://127.0.0.1:1\"\ntoken = { env = \"PLANTED\", secret = true }\n";
    let without = small::config(&project, build, "");
    let with = small::config(&project, &format!("{build}{consul}"), "");
    project.config(&with);
    project.repo.write("app.txt", "one\n").commit("one");
    project.env([("PLANTED".to_owned(), PLANTED.to_owned())]);
    let mut said = Vec::new();
    let mut run = |args: &[&str], env: &[(&str, &str)], code: i32| {
        let ran = project.shipit(args).envs(env.iter().copied()).run().exits(code);
        said.extend([ran.stdout, ran.stderr].concat());
    };
    run(&["config", "--stage", "staging"], &[], 0);
    run(&["config", "--stage", "staging", "--output", "json"], &[], 0);
    run(&["build"], &[("FAIL", "1")], 4);
    run(&["build", "--output", "json"], &[], 0);
    run(&["render", "web", "--stage", "staging"], &[], 0);
    run(&["publish", "--stage", "staging"], &[], 0);
    let fired = [
        "kick",
        "web",
        "--stage",
        "staging",
        "--transport",
        "consul",
        "--no-wait",
    ];
    run(&fired, &[], 6);
    // The lock is in Consul, too.
    run(&["kick", "web", "--stage", "staging"], &[], 6);
    project.config(&without);
    run(&["kick", "web", "--stage", "staging"], &[], 0);
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(!said.contains(PLANTED), "{said}");
    assert!(said.contains("the token is ***"), "{said}");
    for place in [
        project.repo.path().to_owned(),
        store(&project),
        dest(&project),
        project.tmp.join("cache"),
    ] {
        search(&place);
    }
}

#[test]
fn a_variable_whose_name_sounds_secret_is_one() {
    let step = "[[build.step]]\nname = \"make\"\nrun = \"echo it is $OTHER\"\nenv = { OTHER = { env = \"OTHER_SECRET\" } }\n";
    let mut project = small::with(step, "");
    project.env([("OTHER_SECRET".to_owned(), PLANTED.to_owned())]);
    for args in [["config", "--stage", "staging"], ["build", "--rev", "main"]] {
        let ran = project.shipit(&args).run().ok();
        assert!(
            !ran.out().contains(PLANTED) && !ran.err().contains(PLANTED),
            "{ran}"
        );
    }
}

#[track_caller]
fn search(path: &Path) {
    if fs::symlink_metadata(path).unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            search(&entry.unwrap().path());
        }
    } else if let Ok(bytes) = fs::read(path) {
        let found = bytes
            .windows(PLANTED.len())
            .any(|window| window == PLANTED.as_bytes());
        assert!(!found, "{} holds the secret", path.display());
    }
}
