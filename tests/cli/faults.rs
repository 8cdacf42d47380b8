//! Servers that refuse, fail or cut, and stored bytes that are not what they should be.

use std::fs;

use shipit_testbed::{Fault, FaultProxy, S3Server};

use crate::project::{Project, shipit};
use crate::small::{self, STEP, store};

fn on_s3(server: &S3Server, endpoint: &str, bucket: &str) -> Project {
    let mut project = Project::new();
    let url = format!("file://{}", store(&project).display());
    let s3 = format!("s3://{bucket}/p\"\nendpoint = \"{endpoint}");
    project.config(&small::config(&project, "", "").replace(&url, &s3));
    project.repo.write("app.txt", "one\n").commit("one");
    project.env(server.env());
    let _ = project.build("main");
    project
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn credentials_and_buckets_that_are_wrong() {
    let server = S3Server::start();
    server.create_bucket("shop");
    let project = on_s3(&server, &server.endpoint(), "shop");
    let publish = || project.shipit(&["publish", "--stage", "staging"]);
    let none = publish()
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY");
    let _ = none.run().exits(5).says("AWS_ACCESS_KEY_ID");
    let ran = publish()
        .env("AWS_SECRET_ACCESS_KEY", "geheim-but-wrong")
        .run()
        .exits(5);
    assert!(!ran.err().contains("geheim"), "{ran}");
    assert_eq!(server.keys("shop"), [""; 0]);
    let elsewhere = on_s3(&server, &server.endpoint(), "shpo");
    let _ = elsewhere
        .shipit(&["publish", "--stage", "staging"])
        .run()
        .exits(5)
        .says("shpo");
    let _ = publish().run().ok();
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_server_that_fails_and_recovers_or_cuts_the_upload() {
    let server = S3Server::start();
    server.create_bucket("shop");
    let proxy = FaultProxy::start(server.addr());
    let project = on_s3(&server, &proxy.url(), "shop");
    let publish = || project.shipit(&["publish", "--stage", "staging"]).run();
    proxy.fail_next(2, 500);
    let _ = publish().ok().says("again in");
    let before = server.keys("shop").len();

    proxy.inject(Fault::cut_request(10).method("PUT").always());
    project.repo.write("app.txt", "two\n").commit("two");
    let _ = project.build("main");
    let _ = publish().exits(5);
    let releases = |keys: Vec<String>| {
        keys.into_iter()
            .filter(|key| key.ends_with("release.json"))
            .count()
    };
    assert_eq!(server.keys("shop").len(), before);
    proxy.heal();
    let _ = publish().ok();
    assert_eq!(releases(server.keys("shop")), 2);
}

#[test]
fn apply_of_what_is_not_what_it_should_be() {
    let project = small::with_step(STEP);
    let _ = project.build("main");
    let url = project.publish("staging", "web");
    let artifact = fs::read_dir(store(&project).join("artifacts/shop")).unwrap();
    let tarball = artifact
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().unwrap() == "zst")
        .unwrap();
    let whole = fs::read(&tarball).unwrap();
    let mut damaged = whole.clone();
    damaged[40] ^= 1;
    let locks = project.tmp.join("locks");
    let apply = || {
        shipit()
            .args(["apply", &url, "--retry", "0", "--lock-dir"])
            .arg(&locks)
            .home(project.tmp.path())
    };
    fs::write(&tarball, damaged).unwrap();
    let _ = apply().run().exits(11).says("checksum mismatch");
    assert!(!small::dest(&project).join("current").exists());
    let watched = apply().env("CONSUL_INDEX", "7").run().ok();
    let _ = watched.says("checksum mismatch").says("ending with 0");
    fs::remove_file(&tarball).unwrap();
    let _ = apply().run().exits(5).says("does not exist");
    fs::write(&tarball, whole).unwrap();
    let _ = apply().run().ok();
    assert!(small::dest(&project).join("current/made/it").exists());
    let input = |text: &str| {
        shipit()
            .args(["apply", "--lock-dir"])
            .arg(&locks)
            .home(project.tmp.path())
            .stdin(text)
            .run()
    };
    let _ = input("[]").ok().says("nothing to do");
    let _ = input("").exits(2);
    let _ = input("what?").exits(2).says("what?");
    let _ = input(&format!("{url}\n")).ok();
}
