//! kill -9 of a build, a publish and an apply that go by difference, right before calls that are named by their paths and at
//! random times: the next run succeeds, with the right bytes.

use std::fs;
use std::path::Path;

use crate::project::release_of;
use crate::small::{dest, store};
use crate::strace::{self, Point};
use crate::victims::{Victim, found, with_apply, with_build, with_publish};

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

/// A file of the release that a publish within the next ten minutes makes: its id is the time.
fn in_the_next_releases(victim: &Victim<'_>, name: &str) -> Point {
    let releases = store(victim.project).join("releases/shop/staging");
    let revision = victim.project.repo.git(&["rev-parse", "--short=7", "main"]);
    let now = jiff::Timestamp::now().as_second();
    let paths = (0..600).map(|seconds| {
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
            ("a directory of the release", |path| path == "src"),
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
        let point = found(&points, "a directory of the release", |path| path == "src");
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
            path.contains("/cache/layers/")
                && !path.contains("/turns/")
                && path.rsplit('/').next().is_some_and(|name| name.len() == 64)
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
