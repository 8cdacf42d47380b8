//! From one stage to another, byte for byte: within a store, between buckets, from a bucket to a directory; and what is refused.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use shipit_testbed::{Fault, FaultProxy, S3Server};

use crate::project::{Project, release_of};
use crate::small;

/// A project with a release in staging; `production` is what stands in that stage's table.
fn published(production: &str) -> (Project, String) {
    let project = Project::new();
    let text = small::config(&project, "", "");
    let dest = project.tmp.join("production");
    let role = format!("[stage.production.role.web]\ndest = \"{}\"\n", dest.display());
    project.config(&format!("{text}[stage.production]\n{production}\n{role}"));
    project.repo.write("app.txt", "one\n").commit("the first change");
    let _ = project.build("main");
    let release = release_of(&project.publish("staging", "web"));
    (project, release)
}

fn kick(project: &Project, stage: &str, release: &str) {
    let _ = project
        .shipit(&["kick", "web", "--stage", stage, "--release", release])
        .run()
        .ok();
}

fn promote<'a>(release: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [
        &["promote", release, "--from", "staging", "--to", "production"],
        more,
    ]
    .concat()
}

#[track_caller]
fn document(project: &Project, args: &[&str]) -> Value {
    let ran = project.shipit(&[args, &["--output", "json"]].concat()).run().ok();
    serde_json::from_str(&ran.out()).unwrap_or_else(|_| panic!("{ran}"))
}

fn artifacts(root: &std::path::Path) -> Vec<PathBuf> {
    let files = fs::read_dir(root.join("artifacts/shop"))
        .into_iter()
        .flatten()
        .flatten();
    let tarballs = files
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with(".tar.zst"));
    tarballs.collect()
}

#[test]
fn a_good_release_goes_to_the_other_stage_with_the_same_artifact_and_is_kicked_there() {
    let (project, release) = published("");
    // Nobody has tried it yet.
    let refused = project.shipit(&promote(&release, &[])).run().exits(12);
    let _ = refused
        .says("never kicked")
        .says("shipit kick web --stage staging")
        .says("--force");
    kick(&project, "staging", &release);
    let before = artifacts(&small::store(&project));
    let told = document(&project, &promote(&release, &[]));
    assert_eq!(artifacts(&small::store(&project)), before);
    assert_eq!(told["from"], json!({ "stage": "staging", "release": release }));
    assert_eq!(
        (&told["stage"], &told["forced"], &told["copied"]),
        (&json!("production"), &json!(false), &json!(0))
    );
    assert!(told["sent"].as_u64().unwrap() < 100_000, "{told}");
    let again = project.shipit(&promote(&release, &[])).run().ok();
    let _ = again.says("there already").says("promoted ");
    // Its manifest is that of its own stage.
    let url = told["roles"][0]["manifest_url"].as_str().unwrap();
    let manifest = fs::read_to_string(url.strip_prefix("file://").unwrap()).unwrap();
    let dest = project.tmp.join("production").display().to_string();
    assert!(
        manifest.contains(&dest) && manifest.contains("stage: \"production\""),
        "{manifest}"
    );
    // What follows in a job takes it as if it had been published here.
    let told = document(&project, &promote("live", &[]));
    kick(&project, "production", "published");
    let installed = project.tmp.join("production/current/app.txt");
    assert_eq!(fs::read_to_string(installed).unwrap(), "one\n");
    let releases = document(&project, &["releases", "--stage", "production"]);
    let row = &releases["releases"][0];
    assert_eq!(
        (&row["release"], &row["subject"]),
        (&told["release"], &json!("the first change"))
    );
    assert_eq!(
        (&row["live"], &row["promoted"]["release"]),
        (&json!(["web"]), &json!(release))
    );
}

#[test]
fn a_release_that_failed_is_refused_unless_it_is_forced() {
    let (project, release) = published("");
    project.config(
        &fs::read_to_string(project.repo.join("shipit.toml"))
            .unwrap()
            .replacen("[role.web]\n", "[role.web]\nafter_switch = [\"false\"]\n", 1),
    );
    let bad = release_of(&project.publish("staging", "web"));
    let _ = project
        .shipit(&["kick", "web", "--stage", "staging", "--release", &bad])
        .run()
        .exits(7);
    let _ = project
        .shipit(&promote(&bad, &[]))
        .run()
        .exits(12)
        .says("not good on here");
    // The other one was never tried.
    let _ = project
        .shipit(&promote(&release, &[]))
        .run()
        .exits(12)
        .says("never kicked as a whole");
    let forced = project
        .shipit(&promote(&bad, &["--force", "--role", "web"]))
        .run()
        .ok();
    let _ = forced.says("promoted all the same").says("promoted 2");
    let _ = project
        .shipit(&promote("latest", &["--role", "nothing"]))
        .run()
        .exits(2);
    let _ = project
        .shipit(&["promote", &bad, "--from", "staging", "--to", "staging"])
        .run()
        .exits(2);
    let _ = project
        .shipit(&promote("20200101T000000Z-3074f46", &[]))
        .run()
        .exits(5)
        .says(&bad);
}

#[test]
fn bytes_that_are_not_those_of_the_release_are_not_promoted() {
    for file in ["artifact", "record", "index"] {
        let (project, release) = published("");
        kick(&project, "staging", &release);
        let store = small::store(&project);
        let tarball = artifacts(&store).remove(0);
        let path = match file {
            "artifact" => tarball,
            "record" => PathBuf::from(tarball.display().to_string().replace(".tar.zst", ".json")),
            _ => fs::read_dir(store.join("indexes/shop"))
                .unwrap()
                .next()
                .unwrap()
                .unwrap()
                .path(),
        };
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let ran = project.shipit(&promote(&release, &[])).run().exits(11);
        let _ = ran
            .says("nothing was promoted")
            .says(&path.file_name().unwrap().to_string_lossy());
        assert!(!store.join("releases/shop/production").exists(), "{file}");
        // Shorter, it is seen before it is read.
        fs::write(&path, &bytes[1..]).unwrap();
        let _ = project.shipit(&promote(&release, &["--force"])).run().exits(11);
        assert!(!store.join("releases/shop/production").exists(), "{file}");
        fs::remove_file(&path).unwrap();
        let _ = project
            .shipit(&promote(&release, &["--force"]))
            .run()
            .exits(5)
            .says("does not exist");
    }
}

/// Staging in one bucket, production in another place; `url` is made of the server's and the proxy's endpoint.
fn apart(production: impl Fn(&str, &str) -> String) -> (Project, S3Server, FaultProxy, String) {
    let server = S3Server::start();
    server.create_bucket("shop-staging");
    server.create_bucket("shop-production");
    let proxy = FaultProxy::start(server.addr());
    let mut project = Project::new();
    project.env(server.env());
    let text = small::config(&project, "", "");
    let directory = format!("[store]\nurl = \"file://{}\"", small::store(&project).display());
    let staging = format!(
        "store.url = \"s3://shop-staging/a\"\nstore.endpoint = \"{}\"",
        proxy.url()
    );
    let production = production(&server.endpoint(), &proxy.url());
    let text = text.replace(&directory, "");
    project.config(&format!("{text}{staging}\n[stage.production]\n{production}\n"));
    // What does not get smaller by compression: so that copying it can be told from sending it.
    let mut seed = 88_172_645_463_325_252_u64;
    let noise = (0..6 << 20).map(|_| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as u8
    });
    project
        .repo
        .write("noise", noise.collect::<Vec<u8>>())
        .commit("noise");
    let _ = project.build("main");
    let release = release_of(&project.publish("staging", "web"));
    (project, server, proxy, release)
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn between_two_buckets_the_server_copies() {
    let (project, server, proxy, release) =
        apart(|_, proxy| format!("store.url = \"s3://shop-production/b\"\nstore.endpoint = \"{proxy}\""));
    proxy.forget();
    let told = document(&project, &promote(&release, &["--force"]));
    let size = 6 << 20;
    assert!(
        told["copied"].as_u64().unwrap() > size && told["sent"].as_u64().unwrap() < 100_000,
        "{told}"
    );
    assert!(
        proxy.count("PUT").body_bytes < 200_000,
        "{:?}",
        proxy.count("PUT")
    );
    same_bytes(&server, &told);
    // Once more it is there.
    let again = document(&project, &promote(&release, &["--force"]));
    assert_eq!(again["copied"], 0);
    assert_ne!(again["release"], told["release"]);
    let kicked = project.shipit(&["kick", "web", "--stage", "production", "--release", "published"]);
    let _ = kicked.run().ok();
    assert!(small::dest(&project).join("current/noise").exists());
}

#[track_caller]
fn same_bytes(server: &S3Server, told: &Value) {
    let key = format!("artifacts/shop/{}.tar.zst", told["artifact"].as_str().unwrap());
    let there = server.object("shop-production", &format!("b/{key}")).unwrap();
    assert!(server.object("shop-staging", &format!("a/{key}")).unwrap() == there);
    assert_eq!(server.open_uploads("shop-production"), 0);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn where_the_server_does_not_copy_the_bytes_come_here_and_are_sent() {
    let (project, server, proxy, release) =
        apart(|_, proxy| format!("store.url = \"s3://shop-production/b\"\nstore.endpoint = \"{proxy}\""));
    // A server that knows no such request; and a cut while the artifact is read.
    proxy.inject(
        Fault::status(501)
            .method("PUT")
            .path("shop-production/b/artifacts")
            .times(1),
    );
    proxy.inject(Fault::cut_response(1 << 20).method("GET").path(".tar.zst"));
    let ran = project
        .shipit(&promote(&release, &["--force", "--output", "json"]))
        .run()
        .ok();
    let ran = ran.says("is sent, though");
    let told: Value = serde_json::from_str(&ran.out()).unwrap();
    assert!(told["sent"].as_u64().unwrap() > 6 << 20, "{ran}");
    same_bytes(&server, &told);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn between_two_servers_the_bytes_come_here_and_are_sent() {
    // Another endpoint is another server, as far as anybody knows.
    let (project, server, _proxy, release) =
        apart(|server, _| format!("store.url = \"s3://shop-production/b\"\nstore.endpoint = \"{server}\""));
    let told = document(&project, &promote(&release, &["--force"]));
    assert!(told["sent"].as_u64().unwrap() > 6 << 20, "{told}");
    same_bytes(&server, &told);
    let left = fs::read_dir(project.tmp.join("tmp")).unwrap().count();
    assert_eq!(left, 0, "what was fetched is gone");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn from_a_bucket_to_a_directory_and_what_was_changed_there_is_found() {
    let (project, server, _proxy, release) = apart(|_, _| "store.url = \"file:///nowhere\"".to_owned());
    let place = project.tmp.join("production-store");
    let text = fs::read_to_string(project.repo.join("shipit.toml")).unwrap();
    project.config(&text.replace("/nowhere", &place.display().to_string()));
    let told = document(&project, &promote(&release, &["--force"]));
    let sha256 = told["artifact"].as_str().unwrap();
    let stored = fs::read(place.join(format!("artifacts/shop/{sha256}.tar.zst"))).unwrap();
    assert_eq!(shipit_artifact::sha256(&stored).to_string(), sha256);
    let path = server.object_path("shop-staging", &format!("a/artifacts/shop/{sha256}.tar.zst"));
    let mut bytes = stored;
    bytes[1000] ^= 1;
    fs::write(path, &bytes).unwrap();
    let before = fs::read_dir(place.join("releases/shop/production"))
        .unwrap()
        .count();
    let _ = project.shipit(&promote(&release, &["--force"])).run().exits(11);
    assert_eq!(
        fs::read_dir(place.join("releases/shop/production"))
            .unwrap()
            .count(),
        before
    );
}
