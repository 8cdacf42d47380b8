//! What builds keep for the next ones, damaged, contended or lying: the build goes on, says so, and gives the bytes of a build
//! from nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::project::Project;
use crate::small::{self, store};
use crate::trees::{differences, untar};

/// Vendors as many files as `lock` says, and notes each of its runs outside of the tree.
const VENDOR: &str = "echo run >>\"$RUNS\"; mkdir vendor; cp blob vendor/blob; for i in $(seq $(cat lock)); do echo $i >vendor/$i; done";

/// A project whose one layer depends on `lock`, and whose code is the rest.
pub struct Shop {
    pub project: Project,
    runs: PathBuf,
}

impl Shop {
    pub fn new(more: &str) -> Self {
        Self::with(VENDOR, more)
    }

    pub fn with(vendor: &str, more: &str) -> Self {
        let project = Project::new();
        let runs = project.tmp.join("runs");
        let step = format!(
            "[[build.step]]\nname = \"deps\"\nrun = {}\ninputs = [\"lock\", \"blob\"]\noutputs = [\"vendor\"]\nenv = {{ RUNS = {:?} }}\n{more}",
            small::quoted(vendor),
            runs.display().to_string()
        );
        project.config(&small::config(&project, &step, ""));
        let blob: Vec<u8> = (0..60_000u32).flat_map(|n| (n * n).to_le_bytes()).collect();
        project
            .repo
            .write("lock", "20\n")
            .write("blob", blob)
            .write(".gitignore", "/.shipit/\n/shipit.toml\n/other.toml\n");
        project.repo.commit("one");
        Shop { project, runs }
    }

    /// How often the step ran so far.
    pub fn ran(&self) -> usize {
        fs::read_to_string(&self.runs).unwrap_or_default().lines().count()
    }

    pub fn cache(&self) -> PathBuf {
        self.project.tmp.join("cache")
    }

    pub fn build(&self) -> PathBuf {
        self.project.build("main")
    }

    /// Another line of code, committed.
    pub fn edit(&self, text: &str) {
        self.project.repo.write("code", text).commit("code");
    }
}

/// The files below a directory that hold something, locks aside.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            found.extend(files(&path));
        } else if meta.len() > 0 {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_flipped_bit_in_any_file_of_a_cached_layer_is_found_and_made_good() {
    let shop = Shop::new("");
    let artifact = shop.build();
    let layers = shop.cache().join("layers");
    let kinds = files(&layers).len();
    assert!(
        kinds >= 3,
        "frames, index, what is known of them: {:?}",
        files(&layers)
    );
    for number in 0..kinds {
        let damaged = files(&layers)[number].clone();
        flip(&damaged);
        let ran = shop.project.shipit(&["build"]).run().ok();
        assert_eq!(Path::new(&ran.line()), artifact, "{}\n{ran}", damaged.display());
        let _ = shop.project.shipit(&["cache", "verify"]).run().ok();

        let damaged = files(&layers)[number].clone();
        flip(&damaged);
        let ran = shop.project.shipit(&["cache", "verify"]).run();
        assert_eq!(ran.code(), Some(11), "{}\n{ran}", damaged.display());
        assert_eq!(shop.build(), artifact, "{}", damaged.display());
        let _ = shop.project.shipit(&["cache", "verify"]).run().ok();
    }
    assert!(shop.ran() > 1, "a damaged layer is made anew");
}

#[test]
fn a_flipped_bit_in_what_a_kept_workspace_is_known_by_is_found() {
    let shop = Shop::new(
        "[[build.step]]\nname = \"count\"\nrun = \"find . -type f ! -name count | LC_ALL=C sort | xargs cat | cksum >count\"\n",
    );
    let work = shop.cache().join("work");
    let _ = shop.build();
    // Beside the tree of each app's workspace.
    let state = |path: &PathBuf| {
        let mut parts = path.strip_prefix(&work).unwrap().components();
        parts.nth(1).is_some_and(|part| part.as_os_str() != "tree")
    };
    let count = files(&work).iter().filter(|path| state(path)).count();
    assert!(count >= 1, "{:?}", files(&work));
    for number in 0..count {
        let states: Vec<PathBuf> = files(&work).into_iter().filter(|path| state(path)).collect();
        flip(&states[number]);
        shop.edit(&format!("{number}\n"));
        let clean = shop.project.tmp.join("clean").display().to_string();
        let warm = shop.build();
        let clean = shop
            .project
            .shipit(&["build", "--clean", "--cache-dir", &clean])
            .run()
            .ok();
        assert_eq!(warm, Path::new(&clean.line()), "{}", states[number].display());
    }
}

#[test]
fn of_two_builders_at_once_one_makes_the_layer() {
    // Two apps, which have a workspace each and share the cache.
    let shop = Shop::with(&format!("sleep 1; {VENDOR}"), "");
    let text = fs::read_to_string(shop.project.repo.join("shipit.toml")).unwrap();
    let other = text.replace("app = \"shop\"", "app = \"other\"");
    shop.project.repo.write("other.toml", other);
    let other = shop.project.repo.join("other.toml");
    let args = ["--config", other.to_str().unwrap(), "build"];
    let start = |args: &[&str], log: &str| shop.project.shipit(args).start(log, shop.project.tmp.join(log));
    let mut both = [start(&["build"], "first"), start(&args, "second")];
    for process in &mut both {
        let status = process.wait(Duration::from_secs(100)).expect("it ends");
        assert_eq!(status.code(), Some(0), "{}", process.log());
    }
    let logs = both.each_ref().map(shipit_testbed::Process::log);
    assert_eq!(shop.ran(), 1, "{}\n{}", logs[0], logs[1]);
    let cached = logs
        .iter()
        .filter(|log| log.contains("deps: cached (layer "))
        .count();
    assert_eq!(cached, 1, "{}\n{}", logs[0], logs[1]);
}

/// Publishes what was built, and forgets the local cache as another builder has none.
fn offered(shop: &Shop) -> (PathBuf, PathBuf) {
    let artifact = shop.build();
    let _ = shop.project.publish("staging", "web");
    fs::remove_dir_all(shop.cache()).unwrap();
    let layers = store(&shop.project).join("layers/shop");
    let mut keys = fs::read_dir(layers).unwrap().map(|entry| entry.unwrap().path());
    let layer = keys.next().expect("one layer is offered");
    assert_eq!(keys.next(), None);
    (artifact, layer)
}

#[test]
fn another_builder_takes_the_layer_from_the_store_unless_it_is_told_not_to() {
    let shop = Shop::new("");
    let (artifact, _) = offered(&shop);
    assert_eq!(shop.build(), artifact);
    assert_eq!(shop.ran(), 1, "the store gave it");
    // So that its frames are taken over when the lockfile changes.
    let meta = files(&shop.cache().join("layers"))
        .into_iter()
        .find(|path| path.ends_with("meta.json"))
        .expect("the cache has it");
    assert!(fs::read_to_string(meta).unwrap().contains("\"level\": 9"));
    let text = fs::read_to_string(shop.project.repo.join("shipit.toml")).unwrap();
    let _ = shop.project.config(&format!("{text}\n[cache]\nshared = false\n"));
    fs::remove_dir_all(shop.cache()).unwrap();
    assert_eq!(shop.build(), artifact);
    assert_eq!(shop.ran(), 2);
    fs::remove_dir_all(store(&shop.project)).unwrap();
    let _ = shop.project.publish("staging", "web");
    assert!(!store(&shop.project).join("layers").exists(), "nor is it offered");
}

#[test]
fn a_store_whose_layer_lies_is_said_and_not_believed() {
    let shop = Shop::new("");
    let (artifact, layer) = offered(&shop);
    let count = files(&layer).len();
    assert!(count >= 1);
    for number in 0..count {
        let path = files(&layer)[number].clone();
        let honest = fs::read(&path).unwrap();
        flip(&path);
        let before = shop.ran();
        let ran = shop.project.shipit(&["build"]).run().ok();
        assert_eq!(Path::new(&ran.line()), artifact, "{}\n{ran}", path.display());
        assert_eq!(shop.ran(), before + 1, "{}\n{ran}", path.display());
        let ran = ran.says("layers/shop");
        assert!(ran.err().contains("deps"), "{ran}");
        // What the store holds under the key is not ours: it is not copied from.
        let _ = shop.project.publish("staging", "web");
        fs::write(&path, honest).unwrap();
        fs::remove_dir_all(shop.cache()).unwrap();
    }
}

#[test]
fn a_layer_of_another_key_under_this_one_is_not_believed() {
    let shop = Shop::new("");
    let (_, first) = offered(&shop);
    fs::rename(&first, first.with_file_name("aside")).unwrap();
    shop.project.repo.write("lock", "21\n").commit("two");
    let (second, layer) = {
        let artifact = shop.build();
        let _ = shop.project.publish("staging", "web");
        let mut keys = fs::read_dir(first.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        (artifact, keys.find(|path| !path.ends_with("aside")).unwrap())
    };
    fs::remove_dir_all(&layer).unwrap();
    fs::rename(first.with_file_name("aside"), &layer).unwrap();
    fs::remove_dir_all(shop.cache()).unwrap();
    let built = shop.build();
    assert!(
        built == second,
        "{:?}",
        differences(&untar(&built), &untar(&second))
    );
}

#[test]
fn a_step_that_writes_the_time_is_named_by_verify() {
    let shop = Shop::new(
        "[[build.step]]\nname = \"stamp\"\nrun = \"if [ -e clock ]; then date +%s.%N >stamp; fi\"\n",
    );
    let _ = shop.build();
    let _ = shop.project.shipit(&["build", "--verify"]).run().ok();
    shop.project.repo.write("clock", "").commit("clock");
    let _ = shop
        .project
        .shipit(&["build", "--verify"])
        .run()
        .exits(11)
        .says("stamp");
    let _ = shop.build();
}

#[test]
fn a_running_builds_layer_is_not_pruned_under_it() {
    let shop = Shop::new(
        "[[build.step]]\nname = \"slow\"\nrun = \"test -e vendor/20; if [ -e \\\"$WAIT\\\" ]; then touch \\\"$WAIT.on\\\"; while [ -e \\\"$WAIT\\\" ]; do sleep 0.02; done; fi; echo slow >slow\"\nenv = { WAIT = { env = \"WAIT\" } }\n",
    );
    let artifact = {
        let none = shop.project.tmp.join("none").display().to_string();
        PathBuf::from(
            shop.project
                .shipit(&["build"])
                .env("WAIT", none)
                .run()
                .ok()
                .line(),
        )
    };
    let wait = shop.project.tmp.write("wait", "").display().to_string();
    let mut build = shop
        .project
        .shipit(&["build"])
        .env("WAIT", &wait)
        .start("build", shop.project.tmp.join("log"));
    build.wait_ready(Duration::from_secs(30), || {
        Path::new(&format!("{wait}.on")).exists()
    });
    let _ = shop
        .project
        .shipit(&["cache", "prune", "--max-size", "0"])
        .run()
        .ok();
    fs::remove_file(&wait).unwrap();
    let status = build.wait(Duration::from_secs(100)).unwrap();
    assert_eq!(status.code(), Some(0), "{}", build.log());
    assert!(
        build.log().contains(artifact.to_str().unwrap()),
        "{}",
        build.log()
    );
    assert_eq!(shop.ran(), 1);
    // When nobody holds it, it goes.
    let _ = shop
        .project
        .shipit(&["cache", "prune", "--max-size", "0"])
        .run()
        .ok();
    let list = shop.project.shipit(&["cache", "list"]).run().ok();
    assert!(!list.out().contains("deps"), "{list}");
}

#[test]
fn a_layer_of_the_store_that_is_too_old_is_made_again() {
    let shop = Shop::new("[cache]\nmax_age = \"3s\"\n");
    let (artifact, _) = offered(&shop);
    std::thread::sleep(Duration::from_millis(4200));
    let ran = shop.project.shipit(&["build"]).run().ok();
    assert_eq!(Path::new(&ran.line()), artifact, "{ran}");
    let ran = ran.says("longer ago than cache.max_age");
    assert_eq!(shop.ran(), 2, "{ran}");
}
