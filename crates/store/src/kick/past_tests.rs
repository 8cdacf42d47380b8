use std::collections::BTreeMap;

use super::*;
use crate::kick::{Ended, HostEnd, HostState, KICK_VERSION, KickId, Started};

fn kick(action: Action, release: &str, live: Option<&str>) -> Kick {
    let id = KickId::new(1_795_268_715).unwrap();
    let end = HostEnd {
        state: HostState::Succeeded,
        reason: None,
        time: None,
    };
    Kick {
        started: Started {
            version: KICK_VERSION,
            kick: id.clone(),
            app: "shop".to_owned(),
            stage: "production".to_owned(),
            role: "web".to_owned(),
            action,
            release: release.to_owned(),
            revision: String::new(),
            live: live.map(str::to_owned),
            lock: None,
            batch: None,
            transport: "exec".to_owned(),
            whole: true,
            followed: true,
            hosts: Vec::new(),
            expected: None,
            who: String::new(),
            reason: None,
            time: 0,
        },
        ended: Some(Ended {
            version: KICK_VERSION,
            kick: id,
            result: KickResult::Succeeded,
            reason: None,
            moved_live: true,
            once: false,
            once_on: None,
            hosts: BTreeMap::from([("web1".to_owned(), end)]),
            time: 0,
            seconds: 0.0,
        }),
    }
}

/// Kicks of these releases one after the other, all good, then rollbacks as long as there is something to go back to: where each
/// went, and what the last one that did not passed over.
fn rollbacks(kicks: &str) -> (String, Vec<String>) {
    let mut live: Option<String> = None;
    let mut history: Vec<Kick> = Vec::new();
    for release in kicks.split_whitespace() {
        history.insert(0, kick(Action::Kick, release, live.as_deref()));
        live = Some(release.to_owned());
    }
    let mut went = Vec::new();
    loop {
        let from = live.clone().unwrap();
        let mut way = WayBack::from(&from);
        let stopped = history.iter().any(|kick| way.is_found(kick));
        assert_eq!(stopped, way.found().is_some());
        let Some(to) = way.found() else {
            return (went.join(" "), way.passed());
        };
        assert!(went.len() < 20, "{went:?}");
        history.insert(0, kick(Action::Rollback, &to, Some(&from)));
        went.push(to.clone());
        live = Some(to);
    }
}

#[test]
fn each_rollback_goes_further_back_whatever_was_kicked_twice() {
    let cases = [
        ("a b c d", "c b a", ""),
        // To b, and then not forward to what was just left.
        ("a b a", "b", "a"),
        ("x a b a", "b x", ""),
        ("x a b a b", "a x", ""),
        ("a b a c", "a b", "a"),
        ("a a b b", "a", ""),
        ("a", "", ""),
    ];
    for (kicks, went, passed) in cases {
        let (found, over) = rollbacks(kicks);
        assert_eq!(
            (found.as_str(), over.join(" ").as_str()),
            (went, passed),
            "{kicks}"
        );
    }
}

#[test]
fn what_was_left_and_kicked_again_is_gone_back_to() {
    let history = [
        kick(Action::Kick, "c", Some("b")),
        kick(Action::Kick, "b", Some("a")),
        kick(Action::Rollback, "a", Some("b")),
        kick(Action::Kick, "b", Some("a")),
        kick(Action::Kick, "a", None),
    ];
    let mut way = WayBack::from("c");
    assert!(history.iter().any(|kick| way.is_found(kick)));
    assert_eq!(way.found().as_deref(), Some("b"));
    // Where a rollback went by name, it is the kick of that release that counts.
    let history = [
        kick(Action::Rollback, "a", Some("c")),
        kick(Action::Kick, "c", Some("b")),
        kick(Action::Kick, "b", Some("a")),
        kick(Action::Kick, "a", Some("x")),
    ];
    let mut way = WayBack::from("a");
    assert!(history.iter().any(|kick| way.is_found(kick)));
    assert_eq!(way.found().as_deref(), Some("x"));
}

/// Kicks and rollbacks (`<to`), oldest first, all good; where the next rollback goes, and what it passes over.
fn way_after(moves: &str) -> (Option<String>, Vec<String>) {
    let mut live: Option<String> = None;
    let mut history: Vec<Kick> = Vec::new();
    for word in moves.split_whitespace() {
        let (action, release) = match word.strip_prefix('<') {
            Some(release) => (Action::Rollback, release),
            None => (Action::Kick, word),
        };
        history.insert(0, kick(action, release, live.as_deref()));
        live = Some(release.to_owned());
    }
    let mut way = WayBack::from(&live.unwrap());
    let stopped = history.iter().any(|kick| way.is_found(kick));
    assert!(way.found().is_some() || !stopped);
    (way.found(), way.passed())
}

#[test]
fn who_goes_forth_again_to_what_a_rollback_left_takes_the_leaving_back() {
    let cases = [
        ("a b <a <b", Some("a"), ""),
        ("x a b <a <b", Some("a"), ""),
        ("a b <a <b <a", None, ""),
        ("x a b <a <b <a", Some("x"), ""),
        // What was left before the going forth, and not named by it, stays left.
        ("a b c <b <a <c", Some("a"), "b"),
        ("a b c <b <a <b", Some("a"), ""),
        ("a b c <b <a <b d", Some("b"), ""),
        ("a b <a c <b", Some("a"), ""),
        // Further back by name is a leaving like others.
        ("a b c <a d", Some("a"), ""),
        ("a b a <b", None, "a"),
        ("a b a <b <a <b", None, "a"),
    ];
    for (moves, went, passed) in cases {
        let (found, over) = way_after(moves);
        assert_eq!(
            (found.as_deref(), over.join(" ").as_str()),
            (went, passed),
            "{moves}"
        );
    }
}

/// Kicks and rollbacks as [`way_after`] has them, newest first, some killed: with `!` after they had moved live, with `?` before.
fn killed(moves: &str) -> WayBack {
    let mut live: Option<String> = None;
    let mut history: Vec<Kick> = Vec::new();
    for word in moves.split_whitespace() {
        let name = word.trim_end_matches(['!', '?']);
        let (action, release) = match name.strip_prefix('<') {
            Some(release) => (Action::Rollback, release),
            None => (Action::Kick, name),
        };
        let mut kick = kick(action, release, live.as_deref());
        if name != word {
            kick.ended = None;
        }
        if !word.ends_with('?') {
            live = Some(release.to_owned());
        }
        history.insert(0, kick);
    }
    let mut way = WayBack::from(&live.unwrap());
    let _ = history.iter().any(|kick| way.is_found(kick));
    way
}

#[test]
fn a_kick_that_was_killed_when_live_had_moved_is_gone_back_from() {
    let cases = [
        ("one two!", Some("one")),
        ("a R c R!", Some("c")),
        // Not live yet, it replaced nothing.
        ("a b c?", Some("a")),
        ("a R? c R", Some("c")),
        ("a c R? R", Some("c")),
        // Whatever was kicked since.
        ("a b! b", Some("a")),
        ("a b! c", Some("b")),
        ("a b! c <b", Some("a")),
        ("x a b! c <b <a", Some("x")),
        ("a b! c <b c b? <b", Some("a")),
        // A rollback leaves what it came from.
        ("x a b a <b!", Some("x")),
        ("a b a <b! <b", None),
        ("a b a <b? <b", None),
    ];
    for (moves, went) in cases {
        assert_eq!(killed(moves).found().as_deref(), went, "{moves}");
    }
    // Of some hosts, or a repair: that moves nothing.
    for (whole, action) in [(false, Action::Kick), (false, Action::Repair)] {
        let mut cut = kick(action, "b", Some("x"));
        (cut.ended, cut.started.whole) = (None, whole);
        let mut way = WayBack::from("b");
        assert!(
            ![cut, kick(Action::Kick, "a", None)]
                .iter()
                .any(|kick| way.is_found(kick))
        );
        assert_eq!(way.found(), None);
    }
}

fn some(release: &str, hosts: &[&str]) -> Kick {
    let mut kick = kick(Action::Kick, release, None);
    kick.started.whole = false;
    kick.started.hosts = hosts.iter().map(|&host| host.to_owned()).collect();
    kick
}

#[test]
fn a_repair_may_want_what_some_hosts_were_told_last_and_what_all_were() {
    let mut nobody = kick(Action::Kick, "nobody", None);
    let ended = nobody.ended.as_mut().unwrap();
    (ended.moved_live, ended.result) = (false, KickResult::Interrupted);
    ended.hosts.clear();
    let history = [
        nobody,
        some("e", &["web1"]),
        some("d", &["web1"]),
        some("c", &["web1", "web2"]),
        kick(Action::Kick, "b", Some("a")),
        kick(Action::Kick, "a", None),
    ];
    let releases: Vec<&str> = repairable(&history).into_iter().collect();
    assert_eq!(releases, ["b", "c", "e"]);
    assert!(repairable(&[]).is_empty());
}
