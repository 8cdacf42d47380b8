//! An unmodified stretcher applies an artifact that was published by difference.

use std::path::Path;

use shipit_artifact::Artifact;
use shipit_manifest::{Layout, RenderInput, render};
use shipit_store::{PublishInput, Published, RenderContext, RolePlan, Store, publish};
use shipit_testbed::{Cmd, Testbed, Tmp};

use super::layered::{PACKAGE, PACKAGES, Parts};
use super::publishing::NOW;
use super::setup::Bench;

async fn published(store: &Store, artifact: &Artifact, dest: &Path, time: i64) -> Published {
    let web = |context: &RenderContext<'_>| {
        let input = RenderInput {
            src: Some(context.src.to_owned()),
            checksum: Some(context.checksum.to_owned()),
            record_sha256: Some(context.record_sha256.to_owned()),
            app: "shop".into(),
            stage: "production".into(),
            role: "web".into(),
            release: context.release.to_string(),
            revision: artifact.record.revision.clone(),
            dest: Some(dest.display().to_string()),
            layout: Layout::Releases,
            keep_releases: 5,
            ..RenderInput::default()
        };
        Ok(render(&input, None)?)
    };
    let roles = vec![RolePlan {
        role: "web".into(),
        render: &web,
        once: None,
    }];
    let input = PublishInput {
        store,
        app: "shop",
        stage: "production",
        artifact,
        time,
        who: "jenkins",
        roles,
        shared: true,
        origin: shipit_store::Origin::default(),
        lock: None,
    };
    publish(input).await.unwrap()
}

/// What stands in the release in service is what the artifact was made of.
fn check_tree(current: &Path, parts: &Parts) {
    assert!(std::fs::read(current.join("app.js")).unwrap() == parts.code);
    assert_eq!(
        std::fs::read_dir(current.join("node_modules")).unwrap().count(),
        PACKAGES
    );
    for (number, seed) in parts.packages.iter().enumerate() {
        let file = current.join(format!("node_modules/package{number:02}.js"));
        let wanted = super::conformance::bytes(PACKAGE, *seed);
        assert!(std::fs::read(file).unwrap() == wanted, "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn stretcher_applies_what_was_published_by_difference() {
    let (bench, tmp) = (Bench::start(), Tmp::new("store"));
    let dest = tmp.mkdir("srv");
    let (store, _) = bench.store();
    let first = Parts::first();
    let all = [first.clone(), first.changed_line(), first.bumped()];
    for (number, parts) in all.iter().enumerate() {
        let artifact = parts.build(&tmp.mkdir(format!("build{number}")));
        let done = published(&store, &artifact, &dest, NOW + 60 * number as i64).await;
        assert_eq!(done.copied > 0, number > 0, "{done:?}");
        let ran = Cmd::new(Testbed::get().stretcher())
            .envs(bench.server.env())
            .home(tmp.path())
            .env("TMPDIR", tmp.mkdir("tmp"))
            .cwd(tmp.path())
            .stdin(format!("{}\n", done.roles[0].1))
            .run()
            .ok();
        let current = dest.join("current");
        assert!(current.join("app.js").exists(), "{ran}");
        check_tree(&current, parts);
    }
}
