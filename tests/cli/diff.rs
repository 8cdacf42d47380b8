//! What differs between two releases, as people and as programs read it.

use std::fs;

use serde_json::{Value, json};
use shipit_testbed::{Cmd, GitHttp};

use crate::project::{Project, release_of};
use crate::small;

const STEP: &str = "[[build.step]]\nname = \"make\"\nrun = \"mkdir -p made && cp lock made/it && cp lock made/$(cat lock)\"\n\
                    inputs = [\"lock\"]\noutputs = [\"made\"]\nlayer = true\n";

/// A project with three releases: the second changes code, the third the layer too.
fn three() -> (Project, Vec<String>) {
    let project = Project::new();
    project.config(&format!(
        "{}[stage.production]\n",
        small::config(&project, STEP, "")
    ));
    let repo = &project.repo;
    repo.write("lock", "one")
        .write("app.txt", "1\n")
        .write("old.txt", "x")
        .commit("the first");
    let mut ids = vec![release(&project)];
    repo.write("app.txt", "2\n")
        .write("new.txt", "y")
        .remove("old.txt")
        .commit("the second\n\nwith a body");
    repo.script("run.sh", "#!/bin/sh\n").commit("the third");
    ids.push(release(&project));
    repo.write("lock", "two").commit("the fourth");
    ids.push(release(&project));
    (project, ids)
}

fn release(project: &Project) -> String {
    let _ = project.build("main");
    release_of(&project.publish("staging", "web"))
}

#[track_caller]
fn diff(project: &Project, args: &[&str]) -> String {
    let args = [&["diff"], args, &["--stage", "staging"]].concat();
    project.shipit(&args).run().ok().out()
}

#[track_caller]
fn document(project: &Project, args: &[&str]) -> Value {
    serde_json::from_str(&diff(project, &[args, &["--output", "json"]].concat())).unwrap()
}

#[test]
fn commits_files_layers_and_sizes_are_told() {
    let (project, ids) = three();
    let out = diff(&project, &[&ids[0], &ids[1]]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines[0],
        format!("{} in staging -> {} in staging", ids[0], ids[1])
    );
    assert_eq!(lines[2], "2 commits");
    assert!(
        lines[3].ends_with(" the third") && lines[4].ends_with(" the second"),
        "{out}"
    );
    assert_eq!(
        lines[6..11],
        [
            "4 files",
            "  ~ app.txt",
            "  + new.txt",
            "  - old.txt",
            "  + run.sh"
        ],
        "{out}"
    );
    assert!(lines[12].starts_with("layer make same: "), "{out}");
    assert!(
        lines[13].starts_with("layer code changed: ") && lines[13].contains("2 files added"),
        "{out}"
    );
    assert!(lines[14].starts_with("artifact "), "{out}");

    let told = document(&project, &[&ids[1], &ids[0]]);
    assert_eq!(
        (&told["commits"]["added_count"], &told["commits"]["removed_count"]),
        (&json!(0), &json!(2))
    );
    assert_eq!(told["commits"]["removed"][1]["subject"], "the second");
    let of = |path: &str| {
        told["files"]
            .as_array()
            .unwrap()
            .iter()
            .find(|file| file["path"] == path)
            .cloned()
    };
    assert_eq!(of("old.txt").unwrap()["how"], "added");
    assert_eq!(of("new.txt").unwrap()["from"], 1);
    assert_eq!(of("made/it"), None);
    assert_eq!(told["from"]["subject"], "the third");
}

#[test]
fn a_changed_layer_is_told_in_sum_and_its_files_when_they_are_asked_for() {
    let (project, ids) = three();
    let out = diff(&project, &[&ids[1], &ids[2]]);
    assert!(
        out.contains("layer make changed: ") && out.contains("1 file added, 1 file changed, 1 file removed"),
        "{out}"
    );
    assert!(
        !out.contains("made/it") && out.contains("\n1 file\n  ~ lock\n"),
        "{out}"
    );
    // REVISION is neither listed nor counted.
    let code = out
        .lines()
        .find(|line| line.starts_with("layer code changed: "))
        .unwrap();
    assert!(code.ends_with(", 1 file changed"), "{out}");
    let out = diff(&project, &[&ids[1], &ids[2], "--files"]);
    assert!(
        out.contains("  ~ made/it\n") && out.contains("  + made/two\n") && out.contains("  - made/one\n"),
        "{out}"
    );
    let layers = document(&project, &[&ids[1], &ids[2]])["layers"].clone();
    assert_eq!(
        (&layers[0]["name"], &layers[0]["how"]),
        (&json!("make"), &json!("changed"))
    );
    assert_ne!(layers[0]["from"]["key"], layers[0]["to"]["key"]);
    let same = diff(&project, &["latest", &ids[2]]);
    assert!(
        same.contains("0 commits\n") && same.contains("no file of the code differs"),
        "{same}"
    );
}

#[test]
fn one_release_is_compared_with_what_is_live() {
    let (project, ids) = three();
    let args = ["diff", "latest", "--stage", "staging"];
    let _ = project.shipit(&args).run().exits(2).says("nothing is live yet");
    let _ = project
        .shipit(&["kick", "web", "--stage", "staging", "--release", &ids[0]])
        .run()
        .ok();
    let told = document(&project, &["latest"]);
    assert_eq!(
        (&told["from"]["release"], &told["to"]["release"]),
        (&json!(ids[0]), &json!(ids[2]))
    );
    assert_eq!(told["commits"]["added_count"], 3);
    // A release of another stage.
    let _ = project
        .shipit(&["promote", &ids[0], "--from", "staging", "--to", "production"])
        .run()
        .ok();
    let across = project
        .shipit(&["diff", "production/latest", "staging/live"])
        .run()
        .ok();
    assert!(across.out().contains("0 commits"), "{across}");
    // What it would change in its own stage, and in another one.
    let own = project.shipit(&["diff", "staging/latest"]).run().ok().out();
    assert!(own.contains("3 commits"), "{own}");
    let args = ["diff", "staging/latest", "--stage", "production"];
    let _ = project.shipit(&args).run().exits(2).says("nothing is live yet");
    let _ = project
        .shipit(&["diff", "x", "y", "--stage", "staging"])
        .run()
        .exits(2);
    let _ = project
        .shipit(&["diff", "20200101T000000Z-3074f46", "--stage", "staging"])
        .run()
        .exits(5);
}

#[test]
fn without_the_repository_the_files_are_told_and_the_commits_are_not() {
    let (project, ids) = three();
    let elsewhere = project.tmp.mkdir("elsewhere");
    fs::copy(project.repo.join("shipit.toml"), elsewhere.join("shipit.toml")).unwrap();
    let args = ["diff", &ids[0], &ids[1], "--stage", "staging"];
    let ran = project.shipit(&args).cwd(&elsewhere).run().ok();
    assert!(ran.out().contains("the commits between are not known: "), "{ran}");
    assert!(ran.out().contains("  + new.txt\n"), "{ran}");
    // A repository that is there, and has other commits.
    let _ = project
        .surround(Cmd::new("git").args(["init", "-q"]).arg(&elsewhere))
        .run()
        .ok();
    let ran = project.shipit(&args).cwd(&elsewhere).run().ok();
    assert!(ran.out().contains("without the commit"), "{ran}");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_mirror_of_a_build_tells_the_commits_too() {
    let (project, ids) = three();
    project.repo.bare_clone(&project.tmp.join("served/shop.git"));
    let http = GitHttp::start(&project.tmp.join("served"));
    let elsewhere = project.tmp.mkdir("elsewhere");
    let text = fs::read_to_string(project.repo.join("shipit.toml")).unwrap();
    let text = text.replacen(
        "app = \"shop\"\n",
        &format!("app = \"shop\"\nrepo = \"{}\"\n", http.url("shop.git")),
        1,
    );
    fs::write(elsewhere.join("shipit.toml"), text).unwrap();
    let shipit = |args: &[&str]| project.shipit(args).cwd(&elsewhere).run().ok();
    let args = ["diff", &ids[0], &ids[2], "--stage", "staging"];
    let none = shipit(&args);
    assert!(none.out().contains("not known"), "{none}");
    let _ = shipit(&["build", "--rev", &project.repo.head()]);
    let told = shipit(&args);
    assert!(
        told.out().contains("3 commits\n") && told.out().contains(" the fourth\n"),
        "{told}"
    );
}
