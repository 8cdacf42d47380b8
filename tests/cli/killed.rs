//! kill -9 of a build, a publish and an apply that go by difference, right before calls that are named by their paths and at
//! random times: the next run succeeds, with the right bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fastrand::Rng;
use shipit_testbed::{Ran, Signal};

use crate::edits::{State, Step, commit_all, file};
use crate::project::{Project, release_of};
use crate::small::{self, artifacts, dest, store};
use crate::strace::{self, Point};
use crate::trees::{differences, tree, untar};

/// Vendors what the revision has under `blobs`, and many small files; a second step sees all of it.
const BUILD: &str = r#"
[[build.step]]
name = "deps"
run = "mkdir vendor && cp -r blobs vendor/deps && for i in $(seq 150); do echo $i >vendor/deps/f$i; done"
inputs = ["blobs/*"]
outputs = ["vendor/deps"]
[[build.step]]
name = "count"
run = "find . -type f ! -name count | LC_ALL=C sort | xargs cat | cksum >count"
"#;

/// What the tests of this file work on: two revisions, and the artifacts that builds from nothing make of them.
struct Two {
    project: Project,
    ids: [String; 2],
    artifacts: [PathBuf; 2],
}

impl Two {
    fn new() -> Self {
        let mut rng = Rng::with_seed(1);
        let mut blob = |length: usize| {
            let mut content = vec![0; length];
            rng.fill(&mut content);
            file(content)
        };
        let mut state = State::new();
        for number in 0..5 {
            state.insert(format!("blobs/{number}").into(), blob(700_000));
        }
        for number in 0..150 {
            state.insert(format!("src/{number}").into(), blob(2000));
        }
        let one = state.clone();
        for number in 0..60 {
            state.insert(format!("src/{}", number * 3).into(), blob(2000));
        }
        state.insert("blobs/1".into(), blob(700_000));
        let steps = [one, state].map(|state| Step {
            state,
            edits: vec!["an edit".to_owned()],
        });
        let project = Project::new();
        project.config(&small::config(&project, BUILD, ""));
        let ids: [String; 2] = commit_all(&project.repo, &steps).try_into().unwrap();
        let clean = project.tmp.join("clean").display().to_string();
        let artifacts = ids.clone().map(|id| {
            let args = ["build", "--clean", "--cache-dir", &clean, "--rev", &id];
            let artifact = PathBuf::from(project.shipit(&args).run().ok().line());
            // Its name stays its digest, wherever it lies.
            let kept = project.tmp.mkdir("kept").join(artifact.file_name().unwrap());
            fs::copy(&artifact, &kept).unwrap();
            kept
        });
        Two {
            project,
            ids,
            artifacts,
        }
    }

    fn build(&self, which: usize) -> Ran {
        self.project
            .shipit(&["build", "--rev", &self.ids[which]])
            .run()
            .ok()
    }

    #[track_caller]
    fn assert_built(&self, ran: &Ran, which: usize, at: &str) {
        let path = PathBuf::from(ran.line());
        assert_eq!(path.file_name(), self.artifacts[which].file_name(), "{at}\n{ran}");
        assert_eq!(
            fs::read(&path).unwrap(),
            fs::read(&self.artifacts[which]).unwrap(),
            "{at}"
        );
    }
}

/// A command to be killed, each time from the same state.
struct Victim<'a> {
    project: &'a Project,
    args: Vec<&'a str>,
    /// Brings that state about.
    reset: &'a dyn Fn(),
    /// What holds right after a kill.
    after_kill: &'a dyn Fn(&str),
    /// What holds after the run that follows; its outcome is given.
    after_next: &'a dyn Fn(&str, &Ran),
}

impl Victim<'_> {
    /// The paths that it names in each undisturbed run: temporary names are others each time.
    fn points(&self) -> Vec<Point> {
        let [first, second] = [(); 2].map(|()| {
            (self.reset)();
            strace::points(self.project, &self.args)
        });
        first.into_iter().filter(|path| second.contains(path)).collect()
    }

    #[track_caller]
    fn killed_at(&self, name: &str, point: &Point) {
        (self.reset)();
        let ran = strace::killed_at(self.project, &self.args, point);
        assert_ne!(
            ran.code(),
            Some(0),
            "it was not killed at {name}: {point:?}\n{ran}"
        );
        self.next(&format!("killed at {name}: {point:?}"));
    }

    #[track_caller]
    fn next(&self, at: &str) {
        (self.after_kill)(at);
        let ran = self.project.shipit(&self.args).run();
        assert_eq!(ran.code(), Some(0), "{at}\n{ran}");
        (self.after_next)(at, &ran);
    }

    /// Kills it at each of these: a name for people, and what tells the path.
    #[track_caller]
    fn killed_at_each(&self, named: &[(&str, fn(&str) -> bool)]) {
        let points = self.points();
        for (name, is) in named {
            self.killed_at(name, found(&points, name, *is));
        }
    }

    /// Kills it at every path that it names.
    fn killed_everywhere(&self) {
        for point in self.points() {
            self.killed_at("a call", &point);
        }
    }

    /// Kills it at random times within the time that an undisturbed run takes.
    fn killed_at_random(&self, rounds: u32, seed: u64) {
        let mut rng = Rng::with_seed(seed);
        (self.reset)();
        let started = Instant::now();
        let _ = self.project.shipit(&self.args).run().ok();
        let whole = started.elapsed();
        let mut killed = 0;
        for round in 0..rounds {
            (self.reset)();
            let time = whole.mul_f64(rng.f64());
            let cmd = self.project.shipit(&self.args);
            let mut process = cmd.start("shipit", self.project.tmp.join("out.log"));
            std::thread::sleep(time);
            process.signal(Signal::KILL);
            let status = process.wait(Duration::from_secs(30)).unwrap();
            killed += u32::from(status.code().is_none());
            self.next(&format!(
                "seed {seed}, round {round}: killed after {time:?} of {whole:?}"
            ));
        }
        assert!(
            killed > 0,
            "every run of {:?} was over before it was killed",
            self.args
        );
    }
}

/// Gives a test a build of the second revision: its layer is not cached, and the workspace is that of the first.
fn with_build(test: impl Fn(&Victim<'_>)) {
    let two = Two::new();
    let project = &two.project;
    let cache = project.tmp.join("cache");
    test(&Victim {
        project,
        args: vec!["build", "--rev", &two.ids[1]],
        reset: &|| {
            let _ = fs::remove_dir_all(cache.join("layers"));
            let _ = fs::remove_dir_all(project.repo.join(".shipit"));
            two.assert_built(&two.build(0), 0, "before the kill");
        },
        after_kill: &|_| {},
        after_next: &|at, ran| {
            two.assert_built(ran, 1, at);
            let left: Vec<String> = artifacts(project);
            assert!(!left.iter().any(|name| name.starts_with('.')), "{at}: {left:?}");
            let _ = project.shipit(&["cache", "verify"]).run().ok();
            // And what it left behind does for further builds.
            two.assert_built(&two.build(0), 0, at);
            two.assert_built(&two.build(1), 1, at);
        },
    });
}

/// Gives a test a publish of the second revision, the first being there.
fn with_publish(test: impl Fn(&Victim<'_>)) {
    let two = Two::new();
    let project = &two.project;
    let fresh = dest(project);
    test(&Victim {
        project,
        args: vec!["publish", "--stage", "staging"],
        reset: &|| {
            let _ = fs::remove_dir_all(store(project));
            let _ = two.build(0);
            let _ = project.publish("staging", "web");
            let _ = two.build(1);
        },
        after_kill: &|at| {
            let releases = fs::read_dir(store(project).join("releases/shop/staging")).unwrap();
            for release in releases
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.join("release.json").exists())
            {
                assert!(release.join("web.yml").exists(), "{at}: {}", release.display());
            }
        },
        after_next: &|at, ran| {
            let _ = fs::remove_dir_all(&fresh);
            let out = ran.out();
            let url = out.lines().find_map(|line| line.strip_prefix("web\t")).unwrap();
            let _ = apply(project, url).ok();
            assert_current(project, url, &two.artifacts[1], at);
        },
    });
}

fn apply(project: &Project, url: &str) -> Ran {
    let locks = project.tmp.join("locks").display().to_string();
    project.shipit(&["apply", url, "--lock-dir", &locks]).run()
}

#[track_caller]
fn assert_current(project: &Project, url: &str, artifact: &Path, at: &str) {
    let current = fs::read_link(dest(project).join("current")).unwrap();
    assert_eq!(current, Path::new("releases").join(release_of(url)), "{at}");
    let found = tree(&dest(project).join(current));
    assert_eq!(
        differences(&untar(artifact), &found),
        Vec::<PathBuf>::new(),
        "{at}"
    );
}

/// Gives a test an apply of the second revision on a host that has the first.
fn with_apply(test: impl Fn(&Victim<'_>)) {
    let two = Two::new();
    let project = &two.project;
    let urls = [0, 1].map(|which| {
        let _ = two.build(which);
        project.publish("staging", "web")
    });
    let locks = project.tmp.join("locks").display().to_string();
    test(&Victim {
        project,
        args: vec!["apply", &urls[1], "--lock-dir", &locks],
        reset: &|| {
            let _ = fs::remove_dir_all(dest(project));
            let _ = apply(project, &urls[0]).ok();
        },
        after_kill: &|at| {
            let current = fs::read_link(dest(project).join("current")).unwrap();
            let second = current.ends_with(release_of(&urls[1]));
            let which = usize::from(second);
            assert_current(project, &urls[which], &two.artifacts[which], at);
        },
        after_next: &|at, _| {
            assert_current(project, &urls[1], &two.artifacts[1], at);
            let verified = project
                .shipit(&["apply", "--verify", &urls[1], "--lock-dir", &locks])
                .run();
            assert_eq!(verified.code(), Some(0), "{at}\n{verified}");
        },
    });
}

#[track_caller]
fn found<'a>(points: &'a [Point], name: &str, is: fn(&str) -> bool) -> &'a Point {
    let point = points.iter().find(|point| is(&point.paths[0]));
    let all = || {
        points
            .iter()
            .map(|point| point.paths[0].as_str())
            .collect::<Vec<_>>()
            .join("\n")
    };
    point.unwrap_or_else(|| panic!("no call is that of {name}\n{}", all()))
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_build_killed_at_a_named_point() {
    with_build(|victim| {
        victim.killed_at_each(&[
            ("the first change of the workspace", |path| {
                path.ends_with("/old-0")
            }),
            ("a file that leaves the workspace", |path| path == "REVISION"),
            ("what is known of the workspace's files", |path| {
                path.ends_with("/state/tree")
            }),
            ("the mark of an update that has begun", |path| {
                path.ends_with("/state/updating")
            }),
            ("a layer's place in the cache", |path| {
                path.contains("/cache/layers/")
                    && path.rsplit('/').next().is_some_and(|name| name.len() == 64)
            }),
            ("the turn's end", |path| path.contains("/turns/")),
            ("what is known of the layer in the workspace", |path| {
                path.contains("/state/layer-")
            }),
            ("an index beside the artifact", |path| {
                path.contains("/artifacts/indexes/")
            }),
            ("the artifact", |path| path.ends_with(".tar.zst")),
            ("the artifact's record", |path| path.ends_with(".json")),
        ]);
    });
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_publish_killed_at_a_named_point() {
    with_publish(|victim| {
        victim.killed_at_each(&[
            ("the artifact", |path| path.ends_with(".tar.zst")),
            ("an index", |path| path.contains("/indexes/shop/")),
            ("the record", |path| {
                path.contains("/artifacts/shop/") && path.ends_with(".json")
            }),
            ("a shared layer", |path| path.contains("/layers/shop/")),
        ]);
        for name in ["web.yml", "release.json"] {
            victim.killed_at(name, &in_the_next_releases(victim, name));
        }
    });
}

/// A file of the release that a publish within the next half minute makes: its id is the time.
fn in_the_next_releases(victim: &Victim<'_>, name: &str) -> Point {
    let releases = store(victim.project).join("releases/shop/staging");
    let revision = victim.project.repo.git(&["rev-parse", "--short=7", "main"]);
    let now = jiff::Timestamp::now().as_second();
    let paths = (0..30).map(|seconds| {
        let time = jiff::Timestamp::from_second(now + seconds).unwrap();
        let id = format!("{}-{revision}", time.strftime("%Y%m%dT%H%M%SZ"));
        releases.join(id).join(name).display().to_string()
    });
    Point::at(paths.collect())
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn an_apply_killed_at_a_named_point() {
    with_apply(|victim| {
        victim.killed_at_each(&[
            ("the first directory of a new layer", |path| {
                path.ends_with("/.layers/.new")
            }),
            ("a file of a new layer", |path| path == "f77"),
            ("a file of the release", |path| path == "99"),
            ("the layer's place", |path| {
                path.contains("/.layers/") && !path.contains("/.new")
            }),
            ("the note of the record", |path| path.ends_with(".record.json")),
            ("the handing over to the manifest's commands", |path| {
                path.contains("/.incoming/")
            }),
            ("the release's place", |path| path.starts_with("releases/")),
            ("the switch", |path| path == "current"),
        ]);
    });
}

/// The test of these tests: what a kill would leave if a release were built in its place and called complete too early is
/// found by what is looked at after the next run.
#[test]
#[ignore = "needs the testbed; run make test"]
fn a_release_that_is_called_complete_too_early_is_found() {
    with_apply(|victim| {
        let points = victim.points();
        let point = found(&points, "a file of the release", |path| path == "99");
        (victim.reset)();
        let ran = strace::killed_at(victim.project, &victim.args, point);
        assert_ne!(ran.code(), Some(0), "{ran}");
        let (dest, release) = (dest(victim.project), release_of(victim.args[1]));
        fs::rename(
            dest.join(".layers/.new/tree"),
            dest.join("releases").join(&release),
        )
        .unwrap();
        fs::write(dest.join(format!(".shipit/{release}.complete")), "").unwrap();
        let next = std::panic::AssertUnwindSafe(|| victim.next("the guards are gone"));
        assert!(std::panic::catch_unwind(next).is_err(), "half a release passes");
    });
}

/// As above: what a kill would leave if a layer were written in its place in the cache is noticed by the next build.
#[test]
#[ignore = "needs the testbed; run make test"]
fn a_cached_layer_that_is_not_written_aside_is_found() {
    with_build(|victim| {
        let points = victim.points();
        let point = found(&points, "a layer's place in the cache", |path| {
            path.contains("/cache/layers/") && path.rsplit('/').next().is_some_and(|name| name.len() == 64)
        });
        (victim.reset)();
        let ran = strace::killed_at(victim.project, &victim.args, point);
        assert_ne!(ran.code(), Some(0), "{ran}");
        let aside = victim.project.tmp.join("cache/layers/aside");
        let left = fs::read_dir(aside)
            .unwrap()
            .map(|entry| entry.unwrap().path().join("entry"));
        let entry = left
            .into_iter()
            .find(|path| path.exists())
            .expect("what was to be renamed");
        fs::rename(&entry, &point.paths[0]).unwrap();
        let frames = Path::new(&point.paths[0]).join("frames");
        let half = fs::metadata(&frames).unwrap().len() / 2;
        fs::File::options()
            .write(true)
            .open(&frames)
            .unwrap()
            .set_len(half)
            .unwrap();
        let ran = victim.project.shipit(&victim.args).run().ok().says("damaged");
        (victim.after_next)("half a layer in its place", &ran);
    });
}

#[test]
fn a_build_killed_at_random() {
    with_build(|victim| victim.killed_at_random(10, 11));
}

#[test]
fn a_publish_killed_at_random() {
    with_publish(|victim| victim.killed_at_random(10, 12));
}

#[test]
fn an_apply_killed_at_random() {
    with_apply(|victim| victim.killed_at_random(10, 13));
}

#[test]
#[ignore = "takes minutes; run make soak"]
fn soak_killed() {
    with_build(|victim| {
        victim.killed_everywhere();
        victim.killed_at_random(100, 14);
    });
    with_publish(|victim| {
        victim.killed_everywhere();
        victim.killed_at_random(100, 15);
    });
    with_apply(|victim| {
        victim.killed_everywhere();
        victim.killed_at_random(100, 16);
    });
}
