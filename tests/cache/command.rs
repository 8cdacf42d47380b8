//! `shipit cache`, as its users run it.

use std::path::PathBuf;

use shipit_steps::LayerCache;
use shipit_testbed::{Cmd, Ran, Tmp, Tmpfs};

use crate::setup::{build, flip, key, names_in, set_used};

/// A cache directory, and a directory to stand in.
struct Bench {
    tmp: Tmp,
    cache_dir: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let tmp = Tmp::new("cache");
        let cache_dir = tmp.join("cache");
        Self { tmp, cache_dir }
    }

    fn cache(&self) -> LayerCache {
        LayerCache::open(&self.cache_dir.join("layers")).unwrap()
    }

    fn shipit(&self, args: &[&str]) -> Ran {
        Cmd::new(env!("CARGO_BIN_EXE_shipit"))
            .arg("cache")
            .args(args)
            .cwd(self.tmp.path())
            .env("HOME", self.tmp.path())
            .env("SHIPIT_CACHE_DIR", &self.cache_dir)
            .run()
    }

    fn json(&self, args: &[&str]) -> serde_json::Value {
        let args: Vec<&str> = args.iter().chain(&["--output", "json"]).copied().collect();
        serde_json::from_slice(&self.shipit(&args).ok().stdout).unwrap()
    }

    fn config(&self, cache: &str) {
        let text = format!("app = \"shop\"\n[cache]\n{cache}\n[store]\nurl = \"file:///nowhere\"\n");
        self.tmp.write("shipit.toml", text);
    }
}

#[test]
fn no_cache_is_an_empty_one() {
    let bench = Bench::new();
    assert_eq!(bench.shipit(&["list"]).ok().says("no layers yet").out(), "");
    assert_eq!(bench.json(&["list"])["layers"], serde_json::json!([]));
    assert_eq!(bench.shipit(&["size"]).ok().out(), "0 layers, 0 B\n");
    assert_eq!(bench.shipit(&["verify"]).ok().out(), "");
    let _ = bench.shipit(&["prune", "--max-size", "0"]).ok().says("freed 0 B");
    assert!(!bench.cache_dir.exists());
}

#[test]
fn layers_are_listed_with_what_they_hold() {
    let bench = Bench::new();
    let cache = bench.cache();
    for (name, used) in [("bundle", 1_700_000_600), ("web", 1_700_003_600)] {
        let layer = build(&cache, name, 100_000);
        set_used(&layer, used);
    }
    // The size of meta.json is a matter of the format.
    let out = bench.shipit(&["list"]).ok().out();
    let size = out.lines().nth(1).unwrap().split_whitespace().nth(5).unwrap();
    insta::assert_snapshot!(out.replace(size, "SIZE."), @r"
    LAYER    APP   STEP    PACKAGES  ENTRIES      SIZE  MADE               USED
    4b5e57f  shop  web          812        3  SIZE. kB  2023-11-14T22:13Z  2023-11-14T23:13Z
    1e6ed65  shop  bundle       812        3  SIZE. kB  2023-11-14T22:13Z  2023-11-14T22:23Z
    ");
    let listed = bench.json(&["list"]);
    let first = &listed["layers"][0];
    assert_eq!(first["key"], key("web").key.as_str());
    assert_eq!(first["layer"]["step"], "web");
    assert_eq!(first["layer"]["tree"], "packed");
    assert_eq!(
        (&first["used"], &first["in_use"]),
        (&1_700_003_600.into(), &false.into())
    );
    let size = bench.json(&["size"]);
    assert_eq!(size["layers"], 2);
    assert_eq!(
        size["size"].as_u64(),
        Some(first["size"].as_u64().unwrap() + listed["layers"][1]["size"].as_u64().unwrap())
    );
    let text = bench.shipit(&["size"]).ok().out();
    assert!(text.starts_with("2 layers, 20"), "{text}");
}

#[test]
fn verify_names_what_is_damaged_removes_it_and_ends_with_11() {
    let bench = Bench::new();
    let cache = bench.cache();
    drop(build(&cache, "bundle", 100_000));
    let frames = build(&cache, "web", 100_000).meta.sealed.frames;
    let _ = bench.shipit(&["verify"]).ok().says("checked 2 layers");
    flip(&frames);
    let ran = bench.shipit(&["verify", "--output", "json"]).exits(11);
    let document: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(document["damaged"][0]["step"], "web");
    assert_eq!(document["damaged"][0]["removed"], true);
    let ran = ran
        .says("1 of 2 layers is damaged")
        .says("the next build makes it again");
    assert!(!frames.exists(), "{ran}");
    let _ = bench.shipit(&["verify"]).ok().says("checked 1 layer,");
    let held = build(&cache, "web", 100_000);
    flip(&held.meta.sealed.frames);
    let ran = bench
        .shipit(&["verify"])
        .exits(11)
        .says("verify again when no build runs");
    let line = ran.line();
    assert!(
        line.starts_with(&key("web").key) && line.ends_with("; not removed"),
        "{ran}"
    );
}

#[test]
fn prune_goes_by_its_options_and_by_the_config_where_they_say_nothing() {
    let bench = Bench::new();
    let cache = bench.cache();
    let fill = || {
        for (name, used) in [("a", 1_700_000_100), ("b", 1_700_000_200), ("c", 1_700_000_300)] {
            set_used(&build(&cache, name, 100_000), used);
        }
    };
    fill();
    let _ = bench
        .shipit(&["prune"])
        .exits(2)
        .says("there is nothing to prune by")
        .says("--max-size");
    let ran = bench.shipit(&["prune", "--max-size", "250K"]).ok();
    let ran = ran
        .says("removed a of shop (layer ")
        .says("used 2023-11-14T22:15Z")
        .says("2 layers, 20");
    assert!(!ran.err().contains("removed b"), "{ran}");
    // The config's age, for the layers were made in 2023; its size is not asked.
    bench.config("max_size = \"1K\"\nmax_age = \"30d\"");
    let ran = bench.shipit(&["prune", "--max-size", "1G"]).ok();
    let ran = ran.says("made 2023-11-14T22:13Z").says("0 layers, 0 B left");
    assert!(ran.err().contains("removed b of shop") && ran.err().contains("removed c of shop"));
    fill();
    let held = build(&cache, "d", 100_000);
    let pruned = bench.json(&["prune", "--max-size", "0"]);
    assert_eq!((&pruned["layers"], &pruned["in_use"]), (&1.into(), &1.into()));
    assert_eq!(pruned["removed"].as_array().unwrap().len(), 3);
    assert_eq!(pruned["removed"][0]["why"], "age");
    assert!(held.meta.sealed.frames.exists());
    let layers = bench.cache_dir.join("layers");
    assert_eq!(
        (names_in(&layers.join("aside")), names_in(&layers.join("turns"))),
        (0, 0)
    );
}

#[test]
fn what_the_options_cannot_be_is_said() {
    let bench = Bench::new();
    let _ = bench
        .shipit(&["prune", "--max-size", "20"])
        .exits(2)
        .says("it has no unit");
    let _ = bench
        .shipit(&["prune", "--max-age", "30"])
        .exits(2)
        .says("it has no unit");
    let _ = bench
        .shipit(&["frobnicate"])
        .exits(2)
        .says("unrecognized subcommand");
    bench.config("max_size = 7");
    let _ = bench
        .shipit(&["prune", "--max-age", "1d"])
        .exits(2)
        .says("shipit.toml");
    bench.tmp.write("cache", "a file");
    let _ = bench
        .shipit(&["list"])
        .exits(10)
        .says("layers")
        .says("--cache-dir");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_cache_that_cannot_be_written_to_can_be_looked_at() {
    let small = Tmpfs::mount(2 << 20);
    let mut bench = Bench::new();
    bench.cache_dir = small.path().to_path_buf();
    flip(&build(&bench.cache(), "web", 1_000).meta.sealed.frames);
    small.read_only();
    assert_eq!(bench.shipit(&["list"]).ok().out().lines().count(), 2);
    assert!(bench.shipit(&["size"]).ok().out().starts_with("1 layer, "));
    let _ = bench.shipit(&["verify"]).exits(11).says("not to be written to");
    let ran = bench.shipit(&["prune", "--max-size", "0"]).exits(10);
    let _ = ran.says("Read-only file system").says("--cache-dir DIR");
}
