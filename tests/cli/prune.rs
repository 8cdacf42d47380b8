//! What a prune removes, and what it must not.

use std::fs;

use serde_json::Value;
use shipit_store::PromotedFrom;

use crate::aged::{Aged, now};
use crate::project::Project;
use crate::small;

const PRODUCTION: &str = "[stage.production]\n[stage.\"pr-*\"]\n";

/// A project with a step that vendors, so that its artifacts have a shared layer, and stages in one directory.
pub fn project() -> (Project, Aged) {
    let project = Project::new();
    let step = "[[build.step]]\nname = \"make\"\nrun = \"mkdir -p made && cp lock made/it\"\ninputs = [\"lock\"]\n\
                outputs = [\"made\"]\nlayer = true\n";
    project.config(&format!("{}{PRODUCTION}", small::config(&project, step, "")));
    let aged = Aged::directory(&small::store(&project));
    (project, aged)
}

pub fn json(out: &str) -> Value {
    serde_json::from_str(out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

#[test]
fn old_releases_go_with_their_bytes_and_what_is_needed_stays() {
    let (project, aged) = project();
    let staging = aged.publish_each(&project, "staging", 1..8);
    // What production has of it, and a stage of a pattern.
    project.repo.git(&["checkout", "-q", "HEAD~5"]);
    let shared = project.build("HEAD");
    let production = aged.publish_built(&shared, "production", 1);
    project.repo.git(&["checkout", "-q", "main"]);
    let pull = aged.publish_each(&project, "pr-1", 3..5);
    aged.make_live("staging", &staging[0]);
    aged.started("staging", &staging[2], now() - 60);
    fs::write(aged.root.join("artifacts/shop/notes.txt"), "mine").unwrap();
    fs::create_dir_all(aged.root.join("artifacts/other")).unwrap();
    fs::write(aged.root.join("artifacts/other/x.tar.zst"), "another app's").unwrap();
    aged.age(1);
    let before = aged.keys();

    let dry = project
        .shipit(&["prune", "--keep", "2", "--dry-run", "--output", "json"])
        .run()
        .ok();
    assert_eq!(aged.keys(), before, "{dry}");
    let would = &json(&dry.out())["stores"][0];
    let mut planned: Vec<String> = strings(&would["objects"], "key");
    let lines = project
        .shipit(&["prune", "--keep", "2", "--dry-run"])
        .run()
        .ok()
        .says("would remove 3 releases");
    assert_eq!(lines.out().lines().count(), planned.len(), "{lines}");

    let ran = project
        .shipit(&["prune", "--keep", "2"])
        .run()
        .ok()
        .says("removed 3 releases");
    let gone: Vec<&String> = before.iter().filter(|key| !aged.keys().contains(key)).collect();
    planned.sort();
    assert_eq!(gone, planned.iter().collect::<Vec<_>>(), "{ran}");
    // 0 is live, 2 in flight, 5 and 6 are the newest; 1, 3 and 4 go, but 1 has the bytes of production's.
    let mut stays = [&staging[0], &staging[2], &staging[5], &staging[6]].map(String::clone);
    stays.reverse();
    assert_eq!(aged.whole("staging"), stays);
    assert_eq!(aged.whole("production"), [production]);
    assert_eq!(aged.whole("pr-1").len(), pull.len());
    let layers = |keys: &[String]| keys.iter().filter(|key| key.ends_with("layer.json")).count();
    assert_eq!(
        layers(&before) - layers(&aged.keys()),
        0,
        "the library offers none"
    );
    assert!(aged.root.join("artifacts/shop/notes.txt").exists());
    assert!(aged.root.join("artifacts/other/x.tar.zst").exists());
    let of_staging = fs::read_dir(aged.root.join("releases/shop/staging")).unwrap();
    assert_eq!(of_staging.count(), 4, "no empty directory is left");

    let _ = project
        .shipit(&["prune", "--keep", "2"])
        .run()
        .ok()
        .says("nothing to prune")
        .says("in use or to go back to, ")
        .says(" among the newest");
    // One stage alone, and fewer of it.
    let alone = ["prune", "--keep", "1", "--stage", "pr-1", "--output", "json"];
    let pruned = json(&project.shipit(&alone).run().ok().out());
    assert_eq!(pruned["stores"][0]["stages"], serde_json::json!(["pr-1"]));
    assert_eq!(
        strings(&pruned["stores"][0]["releases"], "release"),
        [pull[0].clone()]
    );
    assert_eq!(aged.whole("staging").len(), 4);
    assert!(
        !aged.keys().iter().any(|key| key.starts_with("locks/")),
        "{:?}",
        aged.keys()
    );
}

fn strings(list: &Value, field: &str) -> Vec<String> {
    let list = list.as_array().unwrap();
    list.iter()
        .map(|item| item[field].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn shared_layers_go_with_the_last_release_that_has_them() {
    let (project, aged) = project();
    for (lock, code) in [("one", "1"), ("one", "2"), ("two", "3")] {
        project
            .repo
            .write("lock", lock)
            .write("app.txt", code)
            .commit(code);
        let _ = project.build("main");
        // The binary offers its layers; its release is of now, and stays.
        let _ = project.publish("staging", "web");
    }
    let layers = |aged: &Aged| {
        let keys = aged.keys();
        keys.iter().filter(|key| key.ends_with("/layer.json")).count()
    };
    assert_eq!(layers(&aged), 2);
    aged.age(1);
    let _ = project
        .shipit(&["prune", "--keep", "1"])
        .run()
        .ok()
        .says("nothing to prune");
    // As if the first two had never been.
    let releases = aged.whole("staging");
    for id in &releases[1..] {
        fs::remove_dir_all(aged.root.join("releases/shop/staging").join(id)).unwrap();
    }
    let ran = project
        .shipit(&["prune", "--keep", "1", "--output", "json"])
        .run()
        .ok();
    let mut kinds = strings(&json(&ran.out())["stores"][0]["objects"], "kind");
    kinds.dedup();
    assert_eq!(kinds, ["layer", "record", "index", "frames", "artifact"], "{ran}");
    assert_eq!((layers(&aged), aged.whole("staging").len()), (1, 1));
    // What is left serves a builder that has no cache.
    fs::remove_dir_all(project.tmp.join("cache")).unwrap();
    let _ = project
        .shipit(&["build", "--rev", "main"])
        .run()
        .ok()
        .says("fetched the layer make");
}

#[test]
fn a_release_that_is_kicked_meanwhile_comes_back() {
    let (project, aged) = project();
    let ids = aged.publish_each(&project, "staging", 1..5);
    aged.age(1);
    let input = shipit_store::prune::PruneInput {
        store: &aged.store,
        app: "shop",
        stages: [("staging".to_owned(), 1)].into(),
        locked: std::collections::BTreeSet::new(),
        now: now(),
    };
    let planned = aged
        .runtime
        .block_on(shipit_store::prune::Prune::plan(input))
        .unwrap();
    assert_eq!(planned.what().releases.len(), 3);
    // Between the look and the removal a kick begins, and another release becomes live.
    aged.started("staging", &ids[0], now());
    aged.make_live("staging", &ids[1]);
    let done = shipit_store::prune::Removed::default();
    let gone = aged.runtime.block_on(planned.remove(&done)).unwrap();
    let gone: Vec<String> = gone.iter().map(|release| release.release.to_string()).collect();
    assert_eq!(gone, [ids[2].clone()]);
    assert_eq!(
        aged.whole("staging"),
        [ids[3].clone(), ids[1].clone(), ids[0].clone()]
    );
    assert!(!done.objects().iter().any(|object| object.key.contains(&ids[0])));
}

#[test]
fn what_cannot_be_read_keeps_what_it_may_refer_to() {
    let (project, aged) = project();
    let ids = aged.publish_each(&project, "staging", 1..5);
    let document = aged
        .root
        .join(format!("releases/shop/production/{}/release.json", ids[0]));
    fs::create_dir_all(document.parent().unwrap()).unwrap();
    fs::write(&document, "{\"version\": 99}").unwrap();
    aged.age(1);
    let artifacts = |aged: &Aged| {
        let keys = aged.keys();
        keys.iter().filter(|key| key.starts_with("artifacts/")).count()
    };
    let before = artifacts(&aged);
    let _ = project
        .shipit(&["prune", "--keep", "1"])
        .run()
        .ok()
        .says("version 99");
    assert_eq!((aged.whole("staging").len(), artifacts(&aged)), (1, before));
    fs::remove_file(&document).unwrap();
    let _ = project.shipit(&["prune", "--keep", "1"]).run().ok();
    assert_eq!(artifacts(&aged), 2);
}

#[test]
fn a_publish_that_is_under_way_keeps_a_prune_out() {
    let (project, aged) = project();
    let _ = aged.publish_each(&project, "staging", 1..4);
    aged.age(1);
    let before = aged.keys();
    let holder = shipit_store::Holder {
        id: shipit_store::Holder::new_id(),
        who: "somebody@builder".into(),
        build: None,
        pid: None,
        doing: "publish to staging".into(),
        revision: None,
        reason: None,
        time: now(),
        manual: false,
    };
    let place = shipit_store::lock::LockPlace::publish(&aged.store, "shop").unwrap();
    let taken = aged.runtime.block_on(place.attempt(&holder)).unwrap();
    assert!(matches!(taken, shipit_store::lock::LockAttempt::Taken(_)));
    let _ = project
        .shipit(&["prune", "--keep", "1"])
        .run()
        .exits(8)
        .says("somebody@builder");
    let mut keys = aged.keys();
    keys.retain(|key| !key.starts_with("locks/"));
    assert_eq!(keys, before);
    // What is live cannot be told: whatever may be stays.
    fs::remove_file(aged.root.join("locks/shop/publish")).unwrap();
    fs::create_dir_all(aged.root.join("live/shop/staging")).unwrap();
    let live = aged.root.join("live/shop/staging/web.yml");
    fs::write(&live, "no manifest").unwrap();
    let _ = project
        .shipit(&["prune", "--keep", "1"])
        .run()
        .ok()
        .says("live/shop/staging/web.yml is no live manifest");
    assert_eq!(aged.whole("staging").len(), 3);
    fs::remove_file(&live).unwrap();
    // As part of another command a prune that fails is a warning.
    let kicks = aged.root.join("kicks/shop");
    fs::create_dir_all(&kicks).unwrap();
    std::os::unix::fs::symlink("staging", kicks.join("staging")).unwrap();
    let _ = project
        .shipit(&["prune", "--keep", "1"])
        .run()
        .exits(10)
        .says("kicks/shop/staging");
    let ran = project
        .shipit(&["publish", "--stage", "staging", "--prune"])
        .run()
        .ok();
    let _ = ran
        .says("published")
        .says("could not be pruned")
        .says("kicks/shop/staging");
}

#[test]
fn there_has_to_be_something_to_keep() {
    let (project, _aged) = project();
    let _ = project.shipit(&["prune", "--keep", "0"]).run().exits(2);
    let _ = project
        .shipit(&["prune", "--stage", "nowhere"])
        .run()
        .exits(2)
        .says("nowhere");
    // Nothing was published yet, or it is elsewhere: that is not a store in which there is nothing to prune.
    let _ = project.shipit(&["prune"]).run().exits(5).says("is not there");
    fs::create_dir(small::store(&project)).unwrap();
    let _ = project.shipit(&["prune"]).run().ok().says("nothing to prune");
}

/// The release that a promoted one comes from is no reference: its bytes are.
#[test]
fn the_bytes_of_a_promoted_release_stay_when_its_origin_goes() {
    let (project, aged) = project();
    let ids = aged.publish_each(&project, "staging", 1..4);
    let _ = project
        .shipit(&[
            "promote",
            &ids[0],
            "--from",
            "staging",
            "--to",
            "production",
            "--force",
        ])
        .run()
        .ok();
    aged.age(1);
    let _ = project
        .shipit(&["prune", "--keep", "1"])
        .run()
        .ok()
        .says("removed 2 releases");
    let production = aged
        .runtime
        .block_on(shipit_store::releases(&aged.store, "shop", "production", None));
    let from = PromotedFrom {
        stage: "staging".into(),
        release: ids[0].parse().unwrap(),
    };
    assert_eq!(production.unwrap()[0].promoted, Some(from));
    assert_eq!(
        (aged.whole("production").len(), aged.whole("staging")),
        (1, vec![ids[2].clone()])
    );
    // New hosts boot with it though somebody has removed the release by hand.
    let promoted = aged.whole("production").remove(0);
    aged.make_live("production", &promoted);
    fs::remove_dir_all(aged.root.join("releases/shop/production").join(&promoted)).unwrap();
    aged.age(1);
    let before = aged.keys();
    let _ = project
        .shipit(&["prune", "--keep", "1"])
        .run()
        .ok()
        .says("nothing to prune");
    assert_eq!(aged.keys(), before);
    fs::remove_dir_all(aged.root.join("live")).unwrap();
    let ran = project.shipit(&["prune", "--keep", "1"]).run().ok();
    let _ = ran.says("removed 0 releases (4 objects");
}

#[test]
fn stages_with_stores_of_their_own_are_pruned_in_each() {
    let (project, aged) = project();
    let place = project.tmp.join("production-store");
    let text = fs::read_to_string(project.repo.join("shipit.toml")).unwrap();
    let own = format!("[stage.production]\nstore.url = \"file://{}\"\n", place.display());
    project.config(&text.replace("[stage.production]\n", &own));
    let apart = Aged::directory(&place);
    let staging = aged.publish_each(&project, "staging", 1..4);
    let production = apart.publish_each(&project, "production", 1..4);
    // What lies under that stage's name in the other store is not the stage's.
    let left = aged.publish_each(&project, "production", 1..3);
    for one in [&aged, &apart] {
        one.age(1);
    }
    let ran = project
        .shipit(&["prune", "--keep", "1", "--output", "json"])
        .run()
        .ok();
    let told = json(&ran.out());
    let stages = |at: usize| told["stores"][at]["stages"].clone();
    assert_eq!(
        (stages(0), stages(1)),
        (serde_json::json!(["staging"]), serde_json::json!(["production"]))
    );
    assert_eq!(aged.whole("staging"), [staging[2].clone()]);
    assert_eq!(apart.whole("production"), [production[2].clone()]);
    assert_eq!(aged.whole("production").len(), left.len());
}

#[test]
fn a_publish_prunes_afterwards_when_it_is_asked_to() {
    let (project, aged) = project();
    let text = fs::read_to_string(project.repo.join("shipit.toml")).unwrap();
    project.config(&text.replacen("[store]\n", "[prune]\nkeep = 2\n[store]\n", 1));
    let old = aged.publish_each(&project, "staging", 1..4);
    aged.age(1);
    project.repo.write("app.txt", "new").commit("new");
    let _ = project.build("main");
    let ran = project.shipit(&["publish", "--stage", "staging"]).run().ok();
    assert!(!ran.err().contains("pruned"), "{ran}");
    let ran = project
        .shipit(&["publish", "--stage", "staging", "--prune"])
        .run()
        .ok();
    let _ = ran.says("pruned 3 releases");
    let left = aged.whole("staging");
    assert!(left.len() == 2 && !left.contains(&old[2]), "{left:?}");
}
