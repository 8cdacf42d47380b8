//! The parts together, without the product: an artifact in S3, an event through Consul, stretcher on a host. When this
//! fails, the testbed is at fault; when this passes and the end-to-end tests fail, it is not.

#![allow(clippy::expect_used, reason = "a helper of a test ends the test")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use shipit_testbed::{Cmd, ConsulCluster, S3Server, Testbed, Tmp, until};

const LONG: Duration = Duration::from_secs(60);

fn upload(server: &S3Server, file: &Path, key: &str) {
    let cmd = Cmd::new(Testbed::get().aws()).envs(server.env());
    let target = format!("s3://testbed/{key}");
    let _ = cmd
        .args(["--endpoint-url", &server.endpoint(), "s3", "cp"])
        .arg(file)
        .arg(target)
        .run()
        .ok();
}

/// An artifact of one file, and the manifest that puts it at `dest`.
fn publish(server: &S3Server, tmp: &Tmp, dest: &Path) {
    tmp.write("tree/app/hello", "from S3\n");
    let artifact = tmp.join("app.tar.zst");
    let tar = Cmd::new("tar").args(["--zstd", "-cf"]).arg(&artifact);
    let _ = tar.arg("-C").arg(tmp.join("tree")).arg("app").run().ok();
    let sum = Cmd::new("sha256sum").arg(&artifact).run().ok().line();
    let sum = sum.split_once(" ").expect("a checksum and a name").0;
    let dest = dest.display();
    let manifest = format!(
        "src: s3://testbed/app.tar.zst\nchecksum: {sum}\ndest: {dest}\ncommands:\n  post:\n    - echo done >{dest}/post\n"
    );
    upload(server, &artifact, "app.tar.zst");
    upload(server, &tmp.write("web.yml", manifest), "web.yml");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn stretcher_pulls_from_s3_when_consul_says_so() {
    let tmp = Tmp::new("pull");
    let server = S3Server::start();
    server.create_bucket("testbed");
    let dest = tmp.mkdir("srv");
    publish(&server, &tmp, &dest);
    let cluster = ConsulCluster::start(&["web-1"]);
    let handler = Cmd::new(Testbed::get().stretcher())
        .envs(server.env())
        .home(tmp.path())
        .cwd(tmp.path());
    let mut watch = cluster.client("web-1").watch("deploy_web", &handler);
    // The watch stands when it has handed the empty list, which stretcher refuses.
    watch.wait_log(LONG, "No Consul events found");
    cluster.server().fire("deploy_web", b"s3://testbed/web.yml");
    until("stretcher to have run its commands", LONG, || {
        dest.join("post").exists()
    });
    assert_eq!(fs::read_to_string(dest.join("app/hello")).unwrap(), "from S3\n");
    assert!(watch.running(), "{}", watch.tail());
}
