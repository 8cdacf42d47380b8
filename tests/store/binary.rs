//! The binary against a real server: what `shipit publish` says of a publish by difference, and two builders that share layers.

use shipit_testbed::{Cmd, Repo, Tmp};

use super::setup::{BUCKET, Bench};

/// A project whose layer is other bytes each time its step runs: equal ones were cached or shared.
struct Project {
    bench: Bench,
    tmp: Tmp,
    repo: Repo,
}

impl Project {
    fn new(cache: &str) -> Self {
        let (bench, tmp) = (Bench::start(), Tmp::new("store"));
        let repo = Repo::init_at(&tmp.join("shop"));
        repo.write(
            "shipit.toml",
            format!(
                "app = \"shop\"\n[[build.step]]\nname = \"make\"\ninputs = [\"lock\"]\noutputs = [\"vendor\"]\n\
                 run = \"mkdir -p vendor; head -c 12000000 /dev/urandom >vendor/big\"\n{cache}\
                 [store]\nurl = \"s3://{BUCKET}/shipit\"\nendpoint = \"{}\"\n[role.web]\ndest = \"/srv/shop\"\n[stage.test]\n",
                bench.proxy.url()
            ),
        );
        repo.write("lock", "one\n");
        repo.write("app", "one\n");
        repo.commit("one");
        Self { bench, tmp, repo }
    }

    fn shipit(&self, builder: &str, args: &[&str]) -> Cmd {
        Cmd::new(env!("CARGO_BIN_EXE_shipit"))
            .args(args)
            .cwd(self.tmp.join("shop"))
            .env("HOME", self.tmp.path())
            .env("SHIPIT_CACHE_DIR", self.tmp.join(builder))
            .envs(self.bench.server.env())
    }

    fn change(&self) {
        self.repo.write("app", "two\n");
        self.repo.commit("two");
    }

    fn layers(&self) -> usize {
        let keys = self.bench.server.keys(BUCKET);
        keys.iter()
            .filter(|key| key.starts_with("shipit/layers/"))
            .count()
    }
}

const PUBLISH: [&str; 3] = ["publish", "--stage", "test"];

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_changed_line_costs_a_line_and_another_builder_has_the_layer() {
    let project = Project::new("");
    let _ = project.shipit("one", &["build"]).run().ok();
    let first = project.shipit("one", &PUBLISH).run().ok();
    assert!(first.err().contains("is there for other builders"), "{first}");
    assert_eq!(project.layers(), 2);

    project.change();
    let _ = project.shipit("one", &["build"]).run().ok();
    project.bench.proxy.forget();
    let second = project.shipit("one", &PUBLISH).run().ok();
    let line = second.err();
    let line = line.lines().find(|line| line.contains("published ")).unwrap();
    assert!(
        line.contains(" kB of 12.0 MB, 12.0 MB copied inside the store"),
        "{line}"
    );
    let sent: u64 = project
        .bench
        .proxy
        .counts()
        .values()
        .map(|count| count.body_bytes)
        .sum();
    assert!(sent < 100_000, "{sent}");

    let again = project
        .shipit("one", &PUBLISH)
        .args(["--output", "json"])
        .run()
        .ok();
    let told: serde_json::Value = serde_json::from_str(&again.out()).unwrap();
    assert!(told["skipped"].as_u64().unwrap() > 12_000_000, "{told}");
    assert_eq!(told["copied"], 0);
    assert!(told["sent"].as_u64().unwrap() < 30_000, "{told}");

    // Another machine: only the store has those bytes.
    let there = project.shipit("one", &["build"]).run().ok();
    let other = project.shipit("two", &["build"]).run().ok();
    assert!(other.err().contains("fetched the layer make"), "{other}");
    assert_eq!(there.out(), other.out());
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn layers_are_not_shared_when_that_is_off() {
    let project = Project::new("[cache]\nshared = false\n");
    let _ = project.shipit("one", &["build"]).run().ok();
    let _ = project.shipit("one", &PUBLISH).run().ok();
    assert_eq!(project.layers(), 0);
    project.change();
    let _ = project.shipit("one", &["build"]).run().ok();
    let second = project.shipit("one", &PUBLISH).run().ok();
    // Earlier artifacts are copied from all the same.
    assert!(second.err().contains("copied inside the store"), "{second}");
}
