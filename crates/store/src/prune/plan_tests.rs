use super::*;
use crate::prune::refer::Named;
use crate::prune::tests_support::{NOW, kick, release};

const DAY: i64 = 24 * 60 * 60;

fn meta(key: &str, age: i64) -> Meta {
    Meta {
        key: key.to_owned(),
        size: 10,
        etag: String::new(),
        modified: NOW - age,
    }
}

fn digest(text: &str) -> String {
    shipit_artifact::sha256(text.as_bytes()).to_string()
}

/// Three releases of production, a day apart, newest first, each with an artifact, an index and a layer; their records are read.
fn world() -> (Seen, Records) {
    let mut seen = Seen::default();
    let mut records = Records::default();
    let mut stage = SeenStage::default();
    for days in 1..=3 {
        let release = release(NOW - days * DAY, &["web"]);
        let prefix = format!("releases/shop/production/{}", release.id);
        for file in ["release.json", "web.yml", "web.once.yml"] {
            stage.objects.push(meta(&format!("{prefix}/{file}"), days * DAY));
        }
        let sha256 = release.artifact.sha256.clone();
        seen.artifacts.push(meta(&release.artifact.key, days * DAY));
        seen.artifacts
            .push(meta(&format!("artifacts/shop/{sha256}.json"), days * DAY));
        let index = digest(&format!("index {days}"));
        seen.indexes
            .push(meta(&format!("indexes/shop/{index}"), days * DAY));
        let layer = format!("key{days}");
        for file in ["layer.json".to_owned(), format!("{}.frames", digest("frames"))] {
            seen.layers
                .push(meta(&format!("layers/shop/{layer}/{file}"), days * DAY));
        }
        let named = Named {
            indexes: BTreeSet::from([index.clone()]),
            layers: BTreeSet::from([layer.clone()]),
        };
        records.artifacts.insert(sha256, Ok(named));
        records.layers.insert(layer, Ok(index));
        stage.releases.push(release);
    }
    seen.stages.insert("production".into(), stage);
    (seen, records)
}

fn store() -> crate::Store {
    let url = crate::StoreUrl::parse("file:///nowhere").unwrap();
    crate::Store::open(&url, crate::StoreOptions::default()).unwrap()
}

fn planned(seen: &Seen, records: &Records, keep: u32) -> PrunePlan {
    let store = store();
    let input = PruneInput {
        store: &store,
        app: "shop",
        stages: BTreeMap::from([("production".to_owned(), keep)]),
        locked: BTreeSet::new(),
        now: NOW,
    };
    plan(seen, &kept(seen, &input, None), records, &input)
}

/// What goes, by kind and the end of its key.
fn gone(plan: &PrunePlan) -> Vec<(RemovalKind, &str)> {
    let end = |key: &'_ str| key.rmatch_indices('/').nth(1).map_or(0, |(at, _)| at + 1);
    let all = plan.removals.iter();
    all.map(|removal| (removal.kind, &removal.key[end(&removal.key)..]))
        .collect()
}

#[test]
fn a_release_goes_with_all_that_it_alone_refers_to_the_document_first_and_the_bytes_last() {
    let (seen, records) = world();
    let plan = planned(&seen, &records, 2);
    let oldest = &seen.stages["production"].releases[2];
    let (id, sha256) = (oldest.id.to_string(), &oldest.artifact.sha256);
    use RemovalKind::{Artifact, Frames, Index, Layer, Manifest, Record, Release};
    let expected = [
        (Release, format!("{id}/release.json")),
        (Manifest, format!("{id}/web.once.yml")),
        (Manifest, format!("{id}/web.yml")),
        (Layer, "key3/layer.json".to_owned()),
        (Record, format!("shop/{sha256}.json")),
        (Index, format!("shop/{}", digest("index 3"))),
        (Frames, format!("key3/{}.frames", digest("frames"))),
        (Artifact, format!("shop/{sha256}.tar.zst")),
    ];
    let expected: Vec<_> = expected.iter().map(|(kind, key)| (*kind, key.as_str())).collect();
    assert_eq!(gone(&plan), expected);
    assert_eq!((plan.bytes(), plan.releases.len(), plan.kept.len()), (80, 1, 2));
    assert_eq!(plan.doubts, [""; 0]);
}

#[test]
fn what_a_release_of_any_other_stage_refers_to_stays() {
    let (mut seen, records) = world();
    let mut staging = SeenStage::default();
    let mut same = seen.stages["production"].releases[2].clone();
    same.stage = "staging".into();
    staging.releases.push(same);
    seen.stages.insert("staging".into(), staging);
    let plan = planned(&seen, &records, 1);
    let oldest = &seen.stages["production"].releases[2].artifact.sha256;
    assert!(!plan.removals.iter().any(|it| it.key.contains(oldest.as_str())));
    assert!(
        !plan
            .removals
            .iter()
            .any(|it| it.key.contains("key3") || it.key.contains(&digest("index 3")))
    );
    // The release itself goes: it is the bytes that are shared.
    assert_eq!(plan.releases.len(), 2);
    assert!(plan.releases.iter().all(|release| release.stage == "production"));
}

#[test]
fn what_new_hosts_boot_with_stays_though_its_release_is_gone() {
    let (mut seen, records) = world();
    let lost = seen.stages["production"].releases[2].artifact.sha256.clone();
    let stage = seen.stages.get_mut("production").unwrap();
    stage.releases.truncate(2);
    stage.live_artifacts.insert(lost.clone());
    let plan = planned(&seen, &records, 1);
    let gone = |part: &str| plan.removals.iter().any(|removal| removal.key.contains(part));
    assert!(!gone(&lost) && !gone("key3") && !gone(&digest("index 3")));
    assert!(gone("key2"));
}

#[test]
fn bytes_that_nothing_refers_to_go_when_they_are_old_enough() {
    let (mut seen, records) = world();
    let old = digest("old");
    seen.artifacts
        .push(meta(&format!("artifacts/shop/{old}.tar.gz"), 3601));
    seen.artifacts
        .push(meta(&format!("artifacts/shop/{}.tar.zst", digest("young")), 3599));
    seen.indexes
        .push(meta(&format!("indexes/shop/{}", digest("young")), 3599));
    // The frames of a layer that is being offered are there before its layer.json.
    seen.layers
        .push(meta(&format!("layers/shop/offered/{}.frames", digest("x")), 5));
    seen.layers.push(meta("layers/shop/left/layer.json", DAY));
    let stage = seen.stages.get_mut("production").unwrap();
    let cut = "releases/shop/production/20200101T000000Z-3074f46/web.yml";
    stage.objects.push(meta(cut, DAY));
    let begun = "releases/shop/production/20200101T000001Z-3074f46/web.yml";
    stage.objects.push(meta(begun, 5));
    let plan = planned(&seen, &records, 9);
    let keys: Vec<_> = plan.removals.iter().map(|removal| removal.key.clone()).collect();
    assert_eq!(
        keys,
        [
            cut.to_owned(),
            "layers/shop/left/layer.json".to_owned(),
            format!("artifacts/shop/{old}.tar.gz")
        ]
    );
    assert_eq!(plan.releases, []);
}

#[test]
fn what_is_not_shipits_stays() {
    let (mut seen, records) = world();
    for key in [
        "artifacts/shop/notes.txt",
        "artifacts/shop/3074f46.tar.zst",
        "artifacts/shop/sub/x.json",
    ] {
        seen.artifacts.push(meta(key, DAY));
    }
    seen.indexes.push(meta("indexes/shop/README", DAY));
    for key in [
        "layers/shop/README",
        "layers/shop/k/notes",
        "layers/shop/k/x.frames",
    ] {
        seen.layers.push(meta(key, DAY));
    }
    let stage = seen.stages.get_mut("production").unwrap();
    for key in [
        "releases/shop/production/README",
        "releases/shop/production/hand/made.yml",
    ] {
        stage.objects.push(meta(key, DAY));
    }
    stage
        .kick_objects
        .push(meta("kicks/shop/production/notes/x", 400 * DAY));
    let id = &stage.releases[2].id.to_string();
    stage
        .objects
        .push(meta(&format!("releases/shop/production/{id}/notes.txt"), DAY));
    let before = planned(&world().0, &records, 1);
    assert_eq!(planned(&seen, &records, 1).removals, before.removals);
}

#[test]
fn what_is_not_known_keeps_what_it_may_refer_to() {
    let (mut seen, mut records) = world();
    let release = &seen.stages["production"].releases[0];
    let newest = release.artifact.sha256.clone();
    let (id, revision) = (release.id.clone(), release.revision.clone());
    records.artifacts.insert(newest, Err("its record is gone".into()));
    let plan = planned(&seen, &records, 1);
    let mend = format!(
        "its record is gone; production/{id} cannot do without: build and publish {revision} again, which stores it anew, or, \
         when no host is to run it any more, delete releases/shop/production/{id}/release.json and prune again"
    );
    assert_eq!(plan.doubts, [mend]);
    let kinds: BTreeSet<_> = plan.removals.iter().map(|removal| removal.kind).collect();
    // Releases and artifacts are known to be needed by nothing; indexes and layers are not.
    let known = [
        RemovalKind::Release,
        RemovalKind::Manifest,
        RemovalKind::Record,
        RemovalKind::Artifact,
    ];
    assert_eq!(kinds, BTreeSet::from(known));
    seen.unreadable.push("version 2".into());
    let plan = planned(&seen, &records, 1);
    let kinds: BTreeSet<_> = plan.removals.iter().map(|removal| removal.kind).collect();
    assert_eq!(
        kinds,
        BTreeSet::from([RemovalKind::Release, RemovalKind::Manifest])
    );
    let (seen, mut records) = world();
    records.layers.insert("key1".into(), Err("no JSON".into()));
    let plan = planned(&seen, &records, 1);
    assert_eq!(plan.doubts, ["no JSON"]);
    assert!(
        !plan
            .removals
            .iter()
            .any(|removal| removal.kind == RemovalKind::Index)
    );
}

#[test]
fn of_releases_that_were_needed_after_all_nothing_goes() {
    let (seen, records) = world();
    let store = store();
    let input = PruneInput {
        store: &store,
        app: "shop",
        stages: BTreeMap::from([("production".to_owned(), 1)]),
        locked: BTreeSet::new(),
        now: NOW,
    };
    let releases = &seen.stages["production"].releases;
    let among = Ids::from([("production".to_owned(), BTreeSet::from([releases[2].id.clone()]))]);
    let plan = plan(&seen, &kept(&seen, &input, Some(&among)), &records, &input);
    assert_eq!(plan.releases.len(), 1);
    let needed = releases[1].artifact.sha256.as_str();
    assert!(!plan.removals.iter().any(|removal| removal.key.contains(needed)));
}

#[test]
fn the_history_of_releases_that_are_gone_is_kept_for_a_while() {
    let (mut seen, records) = world();
    let stage = seen.stages.get_mut("production").unwrap();
    let stays = stage.releases[0].id.to_string();
    for (role, release, days) in [
        ("web", stays.as_str(), 100),
        ("web", "20200101T000000Z-3074f46", 95),
        ("web", "20200101T000000Z-3074f46", 99),
        ("web", "20200101T000000Z-3074f46", 80),
        ("batch", "20200101T000000Z-3074f46", 120),
    ] {
        let time = NOW - days * DAY;
        let kick = kick(time, role, release);
        for file in ["started.json", "ended.json", "web1.log"] {
            let key = format!("kicks/shop/production/{}/{file}", kick.started.kick);
            stage.kick_objects.push(meta(&key, days * DAY));
        }
        stage.kicks.push(kick);
    }
    // One that cannot be read, and one of which only a report is left.
    let unread = KickId::new(NOW - 200 * DAY).unwrap();
    stage.kick_objects.push(meta(
        &format!("kicks/shop/production/{unread}/started.json"),
        200 * DAY,
    ));
    let left = KickId::new(NOW - 201 * DAY).unwrap();
    stage
        .kick_objects
        .push(meta(&format!("kicks/shop/production/{left}/web1.log"), 201 * DAY));
    stage.kicks.sort_by(|a, b| b.started.kick.cmp(&a.started.kick));
    let plan = planned(&seen, &records, 3);
    let gone: BTreeSet<&str> = plan
        .removals
        .iter()
        .map(|it| it.key.split('/').nth(3).unwrap())
        .collect();
    let stage = &seen.stages["production"];
    let of = |days: i64| {
        let kick = stage
            .kicks
            .iter()
            .find(|kick| kick.started.time == NOW - days * DAY);
        kick.unwrap().started.kick.to_string()
    };
    let expected = [of(95), of(99), left.to_string()];
    assert_eq!(gone, expected.iter().map(String::as_str).collect());
    assert_eq!(plan.removals.len(), 7);
}
