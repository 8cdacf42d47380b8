//! The list of a stage's releases.

use std::fs;

use serde_json::{Value, json};

use crate::project::{Project, release_of};
use crate::small;

fn two() -> (Project, Vec<String>) {
    let project = Project::new();
    project.config(&small::config(&project, "", ""));
    let publish = |subject: &str| {
        project.repo.write("app.txt", subject).commit(subject);
        let _ = project.build("main");
        release_of(&project.publish("staging", "web"))
    };
    let ids = vec![publish("the first"), publish("the second")];
    (project, ids)
}

#[track_caller]
fn document(project: &Project, args: &[&str]) -> Value {
    let args = [&["releases", "--stage", "staging", "--output", "json"], args].concat();
    serde_json::from_str(&project.shipit(&args).run().ok().out()).unwrap()
}

#[test]
fn each_has_its_subject_and_the_roles_that_are_live_with_it() {
    let (project, ids) = two();
    let told = document(&project, &[]);
    let of = |at: usize, field: &str| told["releases"][at][field].clone();
    assert_eq!(
        (of(0, "release"), of(1, "release")),
        (json!(ids[1]), json!(ids[0]))
    );
    assert_eq!(
        (of(0, "subject"), of(0, "revision")),
        (json!("the second"), json!(project.repo.head()))
    );
    assert_eq!(
        (of(0, "roles"), of(0, "live"), of(0, "promoted")),
        (json!(["web"]), json!([]), Value::Null)
    );
    let _ = project
        .shipit(&["kick", "web", "--stage", "staging", "--release", &ids[0]])
        .run()
        .ok();
    let told = document(&project, &["--limit", "1"]);
    assert_eq!(told["releases"].as_array().unwrap().len(), 1);
    assert_eq!(document(&project, &[])["releases"][1]["live"], json!(["web"]));
    let out = project
        .shipit(&["releases", "--stage", "staging"])
        .run()
        .ok()
        .out();
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("RELEASE"), "{out}");
    assert!(
        lines[1].starts_with(&ids[1]) && lines[1].contains("the second"),
        "{out}"
    );
    assert!(lines[1].ends_with("  web    -     -"), "{out}");
    assert!(lines[2].ends_with("  web    web   -"), "{out}");
}

#[test]
fn the_subject_is_known_without_the_repository_and_else_read_from_it() {
    let (project, ids) = two();
    // One that was published by somebody who did not tell.
    let path = small::store(&project).join(format!("releases/shop/staging/{}/release.json", ids[0]));
    let text = fs::read_to_string(&path).unwrap();
    let mut release: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        release.as_object_mut().unwrap().remove("subject"),
        Some(json!("the first"))
    );
    fs::write(&path, release.to_string()).unwrap();
    assert_eq!(document(&project, &[])["releases"][1]["subject"], "the first");
    let elsewhere = project.tmp.mkdir("elsewhere");
    fs::copy(project.repo.join("shipit.toml"), elsewhere.join("shipit.toml")).unwrap();
    let args = ["releases", "--stage", "staging", "--output", "json"];
    let ran = project.shipit(&args).cwd(&elsewhere).run().ok();
    let told: Value = serde_json::from_str(&ran.out()).unwrap();
    let subjects = (&told["releases"][0]["subject"], &told["releases"][1]["subject"]);
    assert_eq!(subjects, (&json!("the second"), &Value::Null));
}

#[test]
fn a_stage_without_releases_says_so() {
    let project = Project::new();
    project.config(&small::config(&project, "", ""));
    project.repo.commit("one");
    fs::create_dir(small::store(&project)).unwrap();
    let ran = project
        .shipit(&["releases", "--stage", "staging"])
        .run()
        .ok()
        .says("no release of shop in staging yet");
    assert_eq!(ran.out(), "");
    assert_eq!(document(&project, &[])["releases"], json!([]));
}

#[test]
fn a_store_that_is_not_there_is_not_taken_for_an_empty_one() {
    let (project, _) = two();
    project.config(&(small::config(&project, "", "") + "[stage.production]\n"));
    let (store, away) = (small::store(&project), project.tmp.join("unmounted"));
    fs::rename(&store, &away).unwrap();
    let reading: [&[&str]; 8] = [
        &["releases", "--stage", "staging"],
        &["status", "--stage", "staging"],
        &["history", "--stage", "staging"],
        &["diff", "latest", "--stage", "staging"],
        &["kick", "web", "--stage", "staging"],
        &["rollback", "web", "--stage", "staging"],
        &["promote", "latest", "--from", "staging", "--to", "production"],
        &["prune", "--stage", "staging"],
    ];
    let refused = |why: &str| {
        for args in reading {
            let ran = project.shipit(args).run().exits(5);
            assert!(ran.err().contains("is not there"), "{ran}");
            assert!(ran.err().contains(why) && ran.err().contains("mount it"), "{ran}");
        }
    };
    refused("the directory does not exist");
    assert!(!store.exists(), "who reads makes nothing");
    fs::write(&store, "a file").unwrap();
    refused("it is no directory");
    let ran = project.shipit(&["publish", "--stage", "staging"]).run().exits(5);
    assert!(ran.err().contains("it is no directory"), "{ran}");
    // The first publish makes it.
    fs::remove_file(&store).unwrap();
    let _ = project.publish("staging", "web");
    assert_eq!(document(&project, &[])["releases"].as_array().unwrap().len(), 1);
}

#[test]
fn a_release_without_the_role_names_the_newest_that_has_it() {
    let project = Project::new();
    let text = small::config(&project, "", "");
    let worker = "[role.worker]\ndest = \"/srv/w\"\n[role.worker.exec]\nhosts = [\"w\"]\ncommand = \"true\"\n[stage.staging]\n";
    project.config(&text.replace("[stage.staging]\n", worker));
    project.repo.write("app.txt", "one\n").commit("one");
    let _ = project.build("main");
    let both = release_of(&project.publish("staging", "web"));
    let args = ["publish", "--stage", "staging", "--role", "worker"];
    let ran = project.shipit(&args).run().ok();
    let (_, url) = ran
        .line()
        .split_once('\t')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let alone = release_of(&url);

    let out = project
        .shipit(&["releases", "--stage", "staging"])
        .run()
        .ok()
        .out();
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].contains(" ROLES "), "{out}");
    assert!(
        lines[1].starts_with(&alone) && lines[1].contains(" worker "),
        "{out}"
    );
    assert!(
        lines[2].starts_with(&both) && lines[2].contains(" web,worker "),
        "{out}"
    );

    let kick = |role: &str, more: &[&str]| {
        let args = [&["kick", role, "--stage", "staging"], more].concat();
        project.shipit(&args).run()
    };
    let _ = kick("web", &[])
        .exits(2)
        .says(&format!(
            "{alone} has no manifest for the role web: it was published for worker"
        ))
        .says(&format!(
            "the newest release for web is {both} (`--release {both}`)"
        ));
    let _ = kick("web", &["--release", &both]).ok();
    let _ = kick("worker", &[]).ok();
    // With roles that have different releases live, what is wrong with an id is the id.
    let diff = |id: &str| project.shipit(&["diff", id, "--stage", "staging"]).run();
    let unknown = "20200101T000000Z-3074f46";
    let _ = diff(unknown).exits(5).says(&format!("no release {unknown}"));
    let _ = diff("latest").exits(2).says("live with different releases");
    let ran = diff("nonsense").exits(2);
    assert!(
        ran.err().contains("nonsense") && !ran.err().contains("live with"),
        "{ran}"
    );
}
