//! A store that goes away in the middle of a prune, one that is interrupted, and Consul that answers or does not.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shipit_testbed::{ConsulAgent, Fault, FaultProxy, Process, S3Server};

use crate::aged::{Aged, now};
use crate::project::Project;
use crate::prune::{json, project};
use crate::small;

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
    let ids = aged.publish_each(&project, "staging", 1..9);
    aged.age(1);
    let before = aged.keys();
    // Ten objects are deleted; the next ones are when the server is gone.
    let gone = Arc::new(AtomicBool::new(false));
    proxy.inject(Fault::until(&gone).method("DELETE").after(10).always());
    let args = ["prune", "--keep", "2", "--output", "json"];
    let mut running = project
        .shipit(&args)
        .start("prune", project.tmp.join("prune.log"));
    running.wait_ready(Duration::from_secs(30), || aged.keys().len() + 7 < before.len());
    server.kill9();
    gone.store(true, Ordering::SeqCst);
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
    assert!((8..6 * 5).contains(&removed), "{removed}\n{log}");
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
    let ids = aged.publish_each(&project, "staging", 1..6);
    aged.age(1);
    let before = aged.keys().len();
    proxy.inject(Fault::delay(Duration::from_secs(1)).method("DELETE").always());
    let mut running: Process = project
        .shipit(&["prune", "--keep", "1"])
        .start("prune", project.tmp.join("prune.log"));
    running.wait_ready(Duration::from_secs(30), || aged.keys().len() + 5 < before);
    running.signal(shipit_testbed::Signal::INT);
    let status = running
        .wait(Duration::from_secs(100))
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
    let ids = aged.publish_each(&project, "staging", 1..5);
    // Begun ten days ago: over, unless the stage is locked.
    aged.started("staging", &ids[0], now() - 10 * 24 * 60 * 60);
    aged.started("staging", &ids[1], now() - 9 * 24 * 60 * 60);
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
    let ids = aged.publish_each(&project, "staging", 1..4);
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
