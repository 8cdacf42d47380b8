//! What a prune removes, what it must not, and what is left when the store goes away in the middle.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use shipit_store::{Action, KickId, PromotedFrom, Started, kick, layout, live};
use shipit_testbed::{ConsulAgent, Fault, FaultProxy, Process, S3Server};

use crate::aged::{Aged, now};
use crate::project::Project;
use crate::small;

const PRODUCTION: &str = "[stage.production]\n[stage.\"pr-*\"]\n";

/// A project with a step that vendors, so that its artifacts have a shared layer, and stages in one directory.
fn project() -> (Project, Aged) {
    let project = Project::new();
    let step = "[[build.step]]\nname = \"make\"\nrun = \"mkdir -p made && cp lock made/it\"\ninputs = [\"lock\"]\n\
                outputs = [\"made\"]\nlayer = true\n";
    project.config(&format!("{}{PRODUCTION}", small::config(&project, step, "")));
    let aged = Aged::directory(&small::store(&project));
    (project, aged)
}

/// Publishes so many releases, the first so many days ago and one each day; each has a layer and code of its own.
fn publish(project: &Project, aged: &Aged, stage: &str, days: std::ops::Range<i64>) -> Vec<String> {
    let each = days.rev().map(|day| {
        project.repo.write("lock", format!("{stage} {day}\n"));
        project
            .repo
            .write("app.txt", format!("{stage} {day}\n"))
            .commit(&format!("{stage} {day}"));
        aged.publish(project, stage, day)
    });
    each.collect()
}

fn json(out: &str) -> Value {
    serde_json::from_str(out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// Makes a release the live one of web.
fn make_live(aged: &Aged, stage: &str, id: &str) {
    let key = layout::manifest_key("shop", stage, &id.parse().unwrap(), "web").unwrap();
    let manifest = fs::read(aged.root.join(key)).unwrap();
    let moved = live::move_to(&aged.store, "shop", stage, "web", &manifest, None);
    aged.runtime.block_on(moved).unwrap();
}

/// A kick that was started and has not ended.
fn started(aged: &Aged, stage: &str, release: &str, time: i64) {
    let started = Started {
        version: 1,
        kick: KickId::new(time).unwrap(),
        app: "shop".into(),
        stage: stage.into(),
        role: "web".into(),
        action: Action::Kick,
        release: release.into(),
        revision: "3074f46".repeat(6)[..40].to_owned(),
        live: None,
        transport: "exec".into(),
        whole: true,
        followed: true,
        hosts: vec!["here".into()],
        expected: None,
        who: "jenkins".into(),
        reason: None,
        time,
    };
    aged.runtime.block_on(kick::start(&aged.store, &started)).unwrap();
}

#[test]
fn old_releases_go_with_their_bytes_and_what_is_needed_stays() {
    let (project, aged) = project();
    let staging = publish(&project, &aged, "staging", 1..8);
    // What production has of it, and a stage of a pattern.
    project.repo.git(&["checkout", "-q", "HEAD~5"]);
    let shared = project.build("HEAD");
    let production = aged.publish_built(&shared, "production", 1);
    project.repo.git(&["checkout", "-q", "main"]);
    let pull = publish(&project, &aged, "pr-1", 3..5);
    make_live(&aged, "staging", &staging[0]);
    started(&aged, "staging", &staging[2], now() - 60);
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

    let _ = project
        .shipit(&["prune", "--keep", "2"])
        .run()
        .ok()
        .says("nothing to prune");
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
    let ids = publish(&project, &aged, "staging", 1..5);
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
    started(&aged, "staging", &ids[0], now());
    make_live(&aged, "staging", &ids[1]);
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
    let ids = publish(&project, &aged, "staging", 1..5);
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
    let _ = publish(&project, &aged, "staging", 1..4);
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
    // As part of another command that is a warning. What is live cannot be told here.
    fs::remove_file(aged.root.join("locks/shop/publish")).unwrap();
    fs::create_dir_all(aged.root.join("live/shop/staging")).unwrap();
    fs::write(aged.root.join("live/shop/staging/web.yml"), "no manifest").unwrap();
    let _ = project
        .shipit(&["prune", "--keep", "1"])
        .run()
        .exits(5)
        .says("live/shop/staging/web.yml");
    let ran = project
        .shipit(&["publish", "--stage", "staging", "--prune"])
        .run()
        .ok();
    let _ = ran
        .says("published")
        .says("could not be pruned")
        .says("live/shop/staging/web.yml");
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
    let _ = project.shipit(&["prune"]).run().ok().says("nothing to prune");
}

/// A project with its store in a bucket, behind a proxy.
fn in_bucket() -> (Project, Aged, S3Server, FaultProxy) {
    let server = S3Server::start();
    server.create_bucket("shop-deploy");
    let proxy = FaultProxy::start(server.addr());
    let mut project = Project::new();
    let store = format!(
        "url = \"s3://shop-deploy/shipit\"\nendpoint = \"{}\"",
        proxy.url()
    );
    let text = small::config(&project, "", "");
    let directory = format!("url = \"file://{}\"", small::store(&project).display());
    project.config(&text.replace(&directory, &store));
    project.env(server.env_at(&proxy.url()));
    let aged = Aged::bucket(&server, "shop-deploy", "shipit");
    (project, aged, server, proxy)
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_store_that_goes_away_in_the_middle_is_left_whole_and_a_second_run_finishes() {
    let (project, aged, server, proxy) = in_bucket();
    let ids = publish(&project, &aged, "staging", 1..9);
    aged.age(1);
    let before = aged.keys();
    proxy.inject(Fault::delay(Duration::from_millis(300)).method("DELETE").always());
    let args = ["prune", "--keep", "2", "--output", "json"];
    let mut running = project
        .shipit(&args)
        .start("prune", project.tmp.join("prune.log"));
    running.wait_ready(Duration::from_secs(30), || aged.keys().len() + 7 < before.len());
    server.kill9();
    let status = running.wait(Duration::from_secs(120));
    let log = running.log();
    assert_eq!(status.unwrap_or_else(|| panic!("{log}")).code(), Some(5), "{log}");
    for part in ["ended early", "6 of 6 releases", "were removed", "run it again"] {
        assert!(log.contains(part), "{part}: {log}");
    }
    server.start_again();
    proxy.heal();
    // Whatever is called a release is one.
    let left = aged.whole("staging");
    assert!(
        left.contains(&ids[6]) && left.contains(&ids[7]),
        "{left:?}\n{log}"
    );
    let removed = before.iter().filter(|key| !aged.keys().contains(key)).count();
    assert!(removed >= 8 && removed < 6 * 5, "{removed}\n{log}");
    // The lock of the first run frees itself; what it left is no younger than before.
    let finished = project
        .shipit(&["prune", "--keep", "2", "--lock-wait", "5m"])
        .timeout(Duration::from_secs(300))
        .run()
        .ok();
    assert_eq!(
        aged.whole("staging"),
        [ids[7].clone(), ids[6].clone()],
        "{finished}"
    );
    // Two releases, each with a document, a manifest, an artifact, a record and an index.
    let keys: Vec<String> = aged
        .keys()
        .into_iter()
        .filter(|key| !key.starts_with("locks/"))
        .collect();
    assert_eq!(keys.len(), 10, "{keys:?}");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_prune_that_is_killed_or_interrupted_leaves_no_half_release() {
    let (project, aged, _server, proxy) = in_bucket();
    let ids = publish(&project, &aged, "staging", 1..6);
    aged.age(1);
    let before = aged.keys().len();
    proxy.inject(Fault::delay(Duration::from_millis(200)).method("DELETE").always());
    let mut running: Process = project
        .shipit(&["prune", "--keep", "1"])
        .start("prune", project.tmp.join("prune.log"));
    running.wait_ready(Duration::from_secs(30), || aged.keys().len() + 5 < before);
    running.signal(shipit_testbed::Signal::INT);
    let status = running
        .wait(Duration::from_secs(30))
        .unwrap_or_else(|| panic!("{}", running.log()));
    assert_eq!(status.code(), Some(130), "{}", running.log());
    assert!(running.log().contains("ended early"), "{}", running.log());
    assert!(aged.whole("staging").contains(&ids[4]));
    // The lock was given back.
    proxy.heal();
    let _ = project.shipit(&["prune", "--keep", "1"]).run().ok();
    assert_eq!(aged.whole("staging"), [ids[4].clone()]);
    assert_eq!(aged.keys().len(), 5);
}

/// The project's stages use this Consul.
fn with_consul(project: &Project, address: &str) {
    let text = fs::read_to_string(project.repo.join("shipit.toml")).unwrap();
    let consul = format!("[consul]\naddress = \"{address}\"\n[store]\n");
    project.config(&text.replacen("[store]\n", &consul, 1));
}

#[test]
fn without_an_answer_of_consul_every_kick_without_an_end_counts() {
    let (project, aged) = project();
    with_consul(&project, "http://127.0.0.1:9");
    let ids = publish(&project, &aged, "staging", 1..5);
    // Begun ten days ago: over, unless the stage is locked.
    started(&aged, "staging", &ids[0], now() - 10 * 24 * 60 * 60);
    started(&aged, "staging", &ids[1], now() - 9 * 24 * 60 * 60);
    aged.age(1);
    let ran = project
        .shipit(&["prune", "--keep", "1", "--stage", "staging"])
        .run()
        .ok();
    let ran = ran.says("whether a kick is under way in staging cannot be told");
    let _ = ran.says("the reports of hosts in staging about releases that are gone could not be removed");
    assert_eq!(
        aged.whole("staging"),
        [ids[3].clone(), ids[1].clone(), ids[0].clone()]
    );
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn the_reports_of_releases_that_are_gone_go_too() {
    let (project, aged) = project();
    let agent = ConsulAgent::dev();
    with_consul(&project, &agent.url());
    let ids = publish(&project, &aged, "staging", 1..4);
    aged.age(1);
    for id in &ids {
        for area in ["reports", "logs"] {
            agent.kv_put(&format!("shipit/{area}/shop/staging/web/web1/{id}"), b"{}");
        }
    }
    let args = ["prune", "--keep", "1", "--stage", "staging", "--output", "json"];
    let told = json(&project.shipit(&args).run().ok().out());
    assert_eq!(told["stores"][0]["reports"], 4, "{told}");
    let left = agent.kv_keys("shipit/");
    assert!(
        left.len() == 2 && left.iter().all(|key| key.ends_with(&ids[2])),
        "{left:?}"
    );
}

/// The release that a promoted one comes from is no reference: its bytes are.
#[test]
fn the_bytes_of_a_promoted_release_stay_when_its_origin_goes() {
    let (project, aged) = project();
    let ids = publish(&project, &aged, "staging", 1..4);
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
}
