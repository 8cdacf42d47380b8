//! Builds, publishes and applies that go by difference, to be killed (kill -9) again and again from the same state; and what holds
//! after each kill, and after the run that follows it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fastrand::Rng;
use shipit_testbed::{Ran, Signal};

use crate::commits::{Step, commit_all};
use crate::edits::{State, file};
use crate::project::{Project, release_of};
use crate::small::{self, artifacts, dest, store};
use crate::strace::{self, Point};
use crate::trees::{differences, tree, untar};

/// Tells a path by which a kill is named.
pub type Is = fn(&str) -> bool;

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
pub struct Two {
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
pub struct Victim<'a> {
    pub project: &'a Project,
    pub args: Vec<&'a str>,
    /// Brings that state about.
    pub reset: &'a dyn Fn(),
    /// What holds right after a kill.
    pub after_kill: &'a dyn Fn(&str),
    /// What holds after the run that follows; its outcome is given.
    pub after_next: &'a dyn Fn(&str, &Ran),
}

impl Victim<'_> {
    /// The paths that it names in each undisturbed run: temporary names are others each time.
    pub fn points(&self) -> Vec<Point> {
        let [first, second] = [(); 2].map(|()| {
            (self.reset)();
            strace::points(self.project, &self.args)
        });
        first.into_iter().filter(|path| second.contains(path)).collect()
    }

    #[track_caller]
    pub fn killed_at(&self, name: &str, point: &Point) {
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
    pub fn next(&self, at: &str) {
        (self.after_kill)(at);
        let ran = self.project.shipit(&self.args).run();
        assert_eq!(ran.code(), Some(0), "{at}\n{ran}");
        (self.after_next)(at, &ran);
    }

    /// Kills it at each of these: a name for people, and what tells the path.
    #[track_caller]
    pub fn killed_at_each(&self, named: &[(&str, Is)]) {
        let points = self.points();
        for (name, is) in named {
            self.killed_at(name, found(&points, name, *is));
        }
    }

    /// Kills it at every path that it names.
    pub fn killed_everywhere(&self) {
        for point in self.points() {
            self.killed_at("a call", &point);
        }
    }

    /// Kills it at random times within the time that an undisturbed run takes.
    pub fn killed_at_random(&self, rounds: u32, seed: u64) {
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
            let status = process.wait(Duration::from_secs(60)).unwrap();
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
pub fn with_build(test: impl Fn(&Victim<'_>)) {
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
pub fn with_publish(test: impl Fn(&Victim<'_>)) {
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
pub fn with_apply(test: impl Fn(&Victim<'_>)) {
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

/// The first call that is told by its path.
#[track_caller]
pub fn found<'a>(points: &'a [Point], name: &str, is: Is) -> &'a Point {
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
