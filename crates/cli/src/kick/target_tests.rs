use std::collections::BTreeMap;

use shipit_store::{Ended, HostEnd, HostState, KICK_VERSION, KickId, Started};

use super::*;

fn kick(release: &str, live: Option<&str>, whole: bool, result: Option<KickResult>) -> Kick {
    let id = KickId::new(1_795_268_715).unwrap();
    let moved_live = whole && result == Some(KickResult::Succeeded);
    Kick {
        started: Started {
            version: KICK_VERSION,
            kick: id.clone(),
            app: "shop".to_owned(),
            stage: "production".to_owned(),
            role: "web".to_owned(),
            action: Action::Kick,
            release: release.to_owned(),
            revision: String::new(),
            live: live.map(str::to_owned),
            lock: None,
            batch: None,
            transport: "exec".to_owned(),
            whole,
            followed: true,
            hosts: Vec::new(),
            expected: None,
            who: String::new(),
            reason: None,
            time: 0,
        },
        ended: result.map(|result| Ended {
            version: KICK_VERSION,
            kick: id,
            result,
            reason: None,
            moved_live,
            once: false,
            once_on: None,
            hosts: BTreeMap::from([(
                "web1".to_owned(),
                HostEnd {
                    state: HostState::Failed,
                    reason: None,
                    time: None,
                },
            )]),
            time: 0,
            seconds: 0.0,
        }),
    }
}

/// As it is found in a history, newest first.
fn good_in(live: Option<&str>, kicks: &[Kick]) -> std::result::Result<String, String> {
    let mut way = live.map(WayBack::from);
    if let Some(way) = &mut way {
        let _ = kicks.iter().any(|kick| way.is_found(kick));
    }
    let last = kicks
        .iter()
        .position(|kick| is_whole(kick) && kick.told_somebody());
    let newer = &kicks[..last.unwrap_or(kicks.len())];
    let untold = newer.iter().rfind(|kick| is_whole(kick) && failed_untold(kick));
    good_before(live, last.map(|at| &kicks[at]), untold, way.as_ref()).map(|back| back.release)
}

fn rollback(release: &str, live: &str, result: Option<KickResult>) -> Kick {
    let mut kick = kick(release, Some(live), true, result);
    kick.started.action = Action::Rollback;
    kick
}

/// One of these hosts alone.
fn some(release: &str, hosts: &[&str], action: Action) -> Kick {
    let mut kick = kick(release, None, false, BAD);
    kick.started.action = action;
    kick.started.hosts = hosts.iter().map(|&host| host.to_owned()).collect();
    kick
}

const GOOD: Option<KickResult> = Some(KickResult::Succeeded);
const BAD: Option<KickResult> = Some(KickResult::Failed);

#[test]
fn after_a_bad_kick_the_live_release_is_the_last_good_one() {
    for bad in [BAD, None, Some(KickResult::Interrupted)] {
        let kicks = [kick("b", Some("a"), true, bad), kick("a", None, true, GOOD)];
        assert_eq!(good_in(Some("a"), &kicks).unwrap(), "a");
    }
}

#[test]
fn after_a_good_kick_it_is_the_one_that_was_live_before() {
    let kicks = [
        // A repair of some hosts that failed says nothing about the role.
        kick("c", Some("c"), false, BAD),
        kick("c", Some("c"), true, GOOD),
        kick("c", Some("b"), true, GOOD),
        kick("b", Some("a"), true, GOOD),
        kick("a", None, true, GOOD),
    ];
    assert_eq!(good_in(Some("c"), &kicks).unwrap(), "b");
    assert_eq!(good_in(Some("b"), &kicks[3..]).unwrap(), "a");
}

#[test]
fn there_may_be_nothing_good() {
    assert!(good_in(None, &[kick("a", None, true, BAD)]).is_err());
    assert!(good_in(Some("a"), &[kick("a", None, true, GOOD)]).is_err());
    assert!(good_in(Some("a"), &[]).is_err());
}

#[test]
fn a_rollback_that_did_not_go_well_goes_to_the_same_again() {
    for bad in [BAD, None, Some(KickResult::Interrupted)] {
        let kicks = [
            rollback("a", "b", bad),
            kick("b", Some("a"), true, GOOD),
            kick("a", None, true, GOOD),
        ];
        assert_eq!(good_in(Some("b"), &kicks).unwrap(), "a", "never forward to b");
    }
    let failed = rollback("a", "b", BAD);
    let way = WayBack::from("b");
    let note = good_before(Some("b"), Some(&failed), None, Some(&way))
        .unwrap()
        .note
        .unwrap();
    assert!(note.contains("going there again"), "{note}");
}

#[test]
fn a_second_rollback_goes_further_back() {
    let kicks = [
        rollback("c", "d", GOOD),
        kick("d", Some("c"), true, GOOD),
        kick("c", Some("b"), true, GOOD),
        kick("b", Some("a"), true, GOOD),
        kick("a", None, true, GOOD),
    ];
    assert_eq!(good_in(Some("c"), &kicks).unwrap(), "b");
    let then: Vec<Kick> = std::iter::once(rollback("b", "c", GOOD)).chain(kicks).collect();
    assert_eq!(good_in(Some("b"), &then).unwrap(), "a");
}

#[test]
fn what_a_rollback_left_is_not_gone_back_to() {
    let kicks = [
        rollback("b", "a", GOOD),
        kick("a", Some("b"), true, GOOD),
        kick("b", Some("a"), true, GOOD),
        kick("a", None, true, GOOD),
    ];
    let why = good_in(Some("b"), &kicks).unwrap_err();
    assert!(
        why.contains("but what a rollback left") && why.ends_with(": a"),
        "{why}"
    );
    assert_eq!(good_in(Some("a"), &kicks[1..]).unwrap(), "b");
}

#[test]
fn a_kick_that_was_stopped_before_any_host_was_told_does_not_count() {
    for stopped in [KickResult::Interrupted, KickResult::LockLost, KickResult::Error] {
        let mut nobody = kick("c", Some("b"), true, Some(stopped));
        nobody.ended.as_mut().unwrap().hosts.clear();
        let mut failed = kick("d", Some("b"), true, BAD);
        failed.ended.as_mut().unwrap().hosts.clear();
        let before = [kick("b", Some("a"), true, GOOD), kick("a", None, true, GOOD)];
        let kicks: Vec<Kick> = std::iter::once(nobody.clone()).chain(before.clone()).collect();
        assert_eq!(good_in(Some("b"), &kicks).unwrap(), "a", "{stopped:?}");
        // Nor does it hide one that failed for its release.
        let kicks: Vec<Kick> = [nobody, failed].into_iter().chain(before).collect();
        assert_eq!(good_in(Some("b"), &kicks).unwrap(), "b", "{stopped:?}");
    }
}

#[test]
fn after_a_kick_that_was_killed_when_live_had_moved_it_is_what_was_live_before() {
    let kicks = [
        kick("two", Some("one"), true, None),
        kick("one", None, true, GOOD),
    ];
    assert_eq!(good_in(Some("two"), &kicks).unwrap(), "one");
    let kicks = [
        kick("R", Some("c"), true, None),
        kick("c", Some("R"), true, GOOD),
        kick("R", Some("a"), true, GOOD),
        kick("a", None, true, GOOD),
    ];
    assert_eq!(good_in(Some("R"), &kicks).unwrap(), "c");
}

#[test]
fn after_a_kick_that_failed_before_any_host_was_told_the_live_release_is_the_last_good_one() {
    let mut nobody = kick("c", Some("b"), true, BAD);
    nobody.ended.as_mut().unwrap().hosts.clear();
    let kicks = [
        nobody.clone(),
        kick("b", Some("a"), true, GOOD),
        kick("a", None, true, GOOD),
    ];
    assert_eq!(good_in(Some("b"), &kicks).unwrap(), "b");
    // When that was gone to, further back; a rollback that told nobody does not count.
    let mut stopped = rollback("a", "b", Some(KickResult::Interrupted));
    stopped.ended.as_mut().unwrap().hosts.clear();
    let then: Vec<Kick> = [stopped, rollback("b", "b", GOOD)]
        .into_iter()
        .chain(kicks)
        .collect();
    assert_eq!(good_in(Some("b"), &then).unwrap(), "a");
    // A rollback that failed before is still to be gone on with.
    let kicks = [
        nobody.clone(),
        rollback("a", "b", BAD),
        kick("b", Some("a"), true, GOOD),
    ];
    assert_eq!(good_in(Some("b"), &kicks).unwrap(), "a");
    // Not past the live one, though that had failed when it was told again.
    let kicks = [
        nobody.clone(),
        kick("b", Some("b"), true, BAD),
        kick("b", Some("a"), true, GOOD),
    ];
    assert_eq!(good_in(Some("b"), &kicks).unwrap(), "b");
    // Of a number of hosts nobody knows.
    nobody.started.expected = Some(3);
    assert!(nobody.told_somebody());
}

#[test]
fn a_kick_that_moved_live_went_well_though_it_was_stopped_then() {
    let mut stopped = kick("b", Some("a"), true, Some(KickResult::Interrupted));
    stopped.ended.as_mut().unwrap().moved_live = true;
    let kicks = [stopped, kick("a", None, true, GOOD)];
    assert_eq!(good_in(Some("b"), &kicks).unwrap(), "a");
}

#[test]
fn when_the_live_release_itself_did_not_go_well_it_is_not_the_last_good_one() {
    let kicks = [
        kick("b", Some("b"), true, BAD),
        kick("b", Some("a"), true, GOOD),
        kick("a", None, true, GOOD),
    ];
    assert_eq!(good_in(Some("b"), &kicks).unwrap(), "a");
    assert!(
        good_in(
            Some("a"),
            &[kick("a", Some("a"), true, BAD), kick("a", None, true, GOOD)]
        )
        .is_err()
    );
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn a_repair_spreads_nothing_that_was_tried_on_some_hosts() {
    let whole = kick("a", None, true, GOOD);
    let (release, among) = again(Some(&whole), &[], &[]).unwrap().unwrap();
    assert_eq!((release.as_str(), among), ("a", None));
    let canary = some("b", &["web1", "web2"], Action::Kick);
    let since = [some("b", &["web2"], Action::Repair), canary];
    let (release, among) = again(Some(&whole), &since, &[]).unwrap().unwrap();
    assert_eq!(release, "b");
    assert_eq!(among.unwrap().into_iter().collect::<Vec<_>>(), ["web1", "web2"]);
    // A host of the others, by its name: what all were told.
    let (release, among) = again(Some(&whole), &since, &names(&["web3"])).unwrap().unwrap();
    assert_eq!((release.as_str(), among), ("a", None));
    assert!(again(Some(&whole), &since, &names(&["web1", "web3"])).is_err());
    // Nor is it taken back by mending the others.
    let since: Vec<Kick> = std::iter::once(some("a", &["web3"], Action::Repair))
        .chain(since)
        .collect();
    assert_eq!(again(Some(&whole), &since, &[]).unwrap().unwrap().0, "b");
    // Unless these hosts were told otherwise.
    let back = some("a", &["web1", "web2"], Action::Kick);
    let since: Vec<Kick> = std::iter::once(back).chain(since).collect();
    assert_eq!(
        again(Some(&whole), &since, &[]).unwrap().unwrap(),
        ("a".to_owned(), None)
    );
    // Repairs of what the whole role was told are of the whole role.
    let since = [some("a", &["web2"], Action::Repair)];
    let (release, among) = again(Some(&whole), &since, &[]).unwrap().unwrap();
    assert_eq!((release.as_str(), among), ("a", None));
    assert!(again(None, &[], &[]).unwrap().is_none());
}
