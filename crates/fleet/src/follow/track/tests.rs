use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use shipit_store::HostState::{self, Asked, Failed, Silent, Started, Succeeded};

use super::{Told, Tracker, Verdict, Wanted};
use crate::board::Cursor;
use crate::report::{Found, Report, Said};

const KICK: &str = "20261121T134515Z-5e1f00aa";
const RELEASE: &str = "20261121T134515Z-3074f46";

fn told(name: &str) -> Told {
    Told {
        name: name.to_owned(),
        dead: None,
    }
}

fn wanted(hosts: &[&str]) -> Wanted {
    Wanted {
        kick: KICK.to_owned(),
        release: RELEASE.to_owned(),
        hosts: hosts.iter().map(|name| told(name)).collect(),
        count: None,
        switches: true,
        may_fail: 0,
        checked: false,
    }
}

fn tracker(hosts: &[&str]) -> Tracker {
    Tracker::new(wanted(hosts), Cursor(10))
}

fn said(node: &str, index: u64, state: Said) -> Found {
    Found {
        node: node.to_owned(),
        release: RELEASE.to_owned(),
        index,
        report: Report {
            kick: Some(KICK.to_owned()),
            state,
            phase: None,
            time: 1_795_268_715,
            current: None,
            handler: None,
            message: None,
        },
    }
}

fn states(tracker: &Tracker) -> Vec<HostState> {
    tracker.hosts().values().map(|now| now.state).collect()
}

#[test]
fn hosts_come_one_after_the_other_to_their_end() {
    let mut tracker = tracker(&["a", "b"]);
    let now = Instant::now();
    assert_eq!((states(&tracker), tracker.verdict()), (vec![Asked, Asked], None));
    let changed = tracker.reports(&[said("b", 11, Said::Started), said("a", 12, Said::Started)], now);
    assert_eq!(
        changed
            .iter()
            .map(|change| change.host.as_str())
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(tracker.awaited(), ["a", "b"]);
    let first = [said("b", 11, Said::Started), said("a", 13, Said::Succeeded)];
    assert_eq!(tracker.reports(&first, now).len(), 1);
    // The same once more is no news.
    assert_eq!(tracker.reports(&first, now), []);
    assert_eq!(
        (states(&tracker), tracker.verdict()),
        (vec![Succeeded, Started], None)
    );
    let _ = tracker.reports(&[said("b", 14, Said::Succeeded)], now);
    assert_eq!(tracker.verdict(), Some(Verdict::Done));
    assert_eq!((tracker.bad(), tracker.ended()), (0, 2));
}

#[test]
fn what_is_no_answer_to_this_kick_does_not_count() {
    let mut tracker = tracker(&["a"]);
    let now = Instant::now();
    let mut other_kick = said("a", 12, Said::Failed);
    other_kick.report.kick = Some("20261121T134500Z-00000000".to_owned());
    let mut other_release = said("a", 13, Said::Failed);
    other_release.release = "20261121T000000Z-0000000".to_owned();
    let of_the_past = said("a", 10, Said::Failed);
    let of_a_stranger = said("z", 14, Said::Failed);
    let found = [other_kick, other_release, of_the_past, of_a_stranger];
    assert_eq!(tracker.reports(&found, now), []);
    assert_eq!(states(&tracker), [Asked]);
    // A host that could not read its ask says no kick.
    let mut without = said("a", 15, Said::Succeeded);
    without.report.kick = None;
    assert_eq!(tracker.reports(&[without], now).len(), 1);
    assert_eq!(tracker.verdict(), Some(Verdict::Done));
}

#[test]
fn what_names_this_kick_counts_though_indexes_go_back() {
    // A Consul that was restored counts from less than the kick saw when it asked, and than a host's word before.
    let mut tracker = tracker(&["a"]);
    let now = Instant::now();
    assert_eq!(tracker.reports(&[said("a", 20, Said::Started)], now).len(), 1);
    let mut restored = said("a", 7, Said::Succeeded);
    restored.report.time += 1;
    assert_eq!(tracker.reports(std::slice::from_ref(&restored), now).len(), 1);
    assert_eq!(states(&tracker), [Succeeded]);
    // What it had said before, seen once more by a server that lags behind, is no news.
    assert_eq!(tracker.reports(&[said("a", 5, Said::Started)], now), []);
    assert_eq!(states(&tracker), [Succeeded]);
}

#[test]
fn success_counts_only_with_the_release_in_service() {
    let mut tracker = tracker(&["a"]);
    let mut report = said("a", 11, Said::Succeeded);
    report.report.current = Some("20261121T000000Z-0000000".to_owned());
    let changed = tracker.reports(std::slice::from_ref(&report), Instant::now());
    assert_eq!(changed[0].now.state, Failed);
    assert_eq!(
        changed[0].now.reason.as_deref(),
        Some("current is 20261121T000000Z-0000000")
    );
    let mut once = wanted(&["a"]);
    once.switches = false;
    let mut once = Tracker::new(once, Cursor(10));
    let _ = once.reports(&[report], Instant::now());
    assert_eq!(states(&once), [Succeeded]);
    let mut report = said("a", 12, Said::Succeeded);
    report.report.current = Some(RELEASE.to_owned());
    let _ = tracker.reports(&[report], Instant::now());
    assert_eq!(states(&tracker), [Succeeded]);
}

#[test]
fn more_failures_than_may_be_end_it_at_once() {
    let mut wanted = wanted(&["a", "b", "c"]);
    wanted.may_fail = 1;
    let mut tracker = Tracker::new(wanted, Cursor(0));
    let now = Instant::now();
    let mut failed = said("a", 1, Said::Failed);
    failed.report.message = Some("check: exit code 22".to_owned());
    let _ = tracker.reports(&[failed], now);
    assert_eq!(tracker.verdict(), None);
    assert_eq!(
        tracker.hosts()["a"].reason.as_deref(),
        Some("check: exit code 22")
    );
    let _ = tracker.reports(&[said("b", 2, Said::Failed)], now);
    assert_eq!(tracker.verdict(), Some(Verdict::TooMany));
    assert_eq!(states(&tracker), [Failed, Failed, Asked]);
}

#[test]
fn a_host_that_tries_again_is_waited_for_again() {
    let mut wanted = wanted(&["a"]);
    wanted.may_fail = 1;
    let mut tracker = Tracker::new(wanted, Cursor(0));
    let now = Instant::now();
    let _ = tracker.reports(&[said("a", 1, Said::Failed)], now);
    assert_eq!(tracker.verdict(), Some(Verdict::Done));
    let _ = tracker.reports(&[said("a", 2, Said::Started)], now);
    assert_eq!(tracker.verdict(), None);
    let _ = tracker.reports(&[said("a", 3, Said::Succeeded)], now);
    assert_eq!((tracker.verdict(), tracker.bad()), (Some(Verdict::Done), 0));
}

#[test]
fn dead_hosts_are_not_waited_for_unless_they_speak() {
    let mut wanted = wanted(&["a", "b"]);
    wanted.hosts[1].dead = Some("its node is critical".to_owned());
    let now = Instant::now();
    let mut tracker = Tracker::new(wanted, Cursor(0));
    let _ = tracker.reports(&[said("a", 1, Said::Succeeded)], now);
    assert_eq!(tracker.verdict(), Some(Verdict::Done));
    let mut other = tracker.clone();
    tracker.settle();
    assert_eq!(states(&tracker), [Succeeded, Silent]);
    assert_eq!(
        tracker.hosts()["b"].reason.as_deref(),
        Some("its node is critical")
    );
    assert_eq!(tracker.bad(), 0);
    let _ = other.reports(&[said("b", 2, Said::Started)], now);
    assert_eq!(other.verdict(), None);
    let _ = other.reports(&[said("b", 3, Said::Failed)], now);
    assert_eq!((other.verdict(), other.bad()), (Some(Verdict::TooMany), 1));
}

#[test]
fn at_the_deadline_who_said_no_last_word_is_silent() {
    let mut tracker = tracker(&["a", "b", "c"]);
    let begin = Instant::now();
    let mut started = said("b", 11, Said::Started);
    started.report.phase = Some("unpacked".to_owned());
    let _ = tracker.reports(&[started, said("c", 12, Said::Succeeded)], begin);
    let changed = tracker.expire(Duration::from_secs(600), begin + Duration::from_secs(40));
    assert_eq!(changed.len(), 2);
    assert_eq!(states(&tracker), [Silent, Silent, Succeeded]);
    let reason = |host: &str| tracker.hosts()[host].reason.clone().unwrap();
    assert_eq!(reason("a"), "nothing was heard from it in 600 s");
    assert_eq!(
        reason("b"),
        "its last word came 40 s before the deadline: unpacked"
    );
    assert_eq!(tracker.bad(), 2);
}

#[test]
fn hosts_known_by_number_are_whoever_reports() {
    let mut wanted = wanted(&[]);
    wanted.count = Some(2);
    let mut tracker = Tracker::new(wanted, Cursor(0));
    let now = Instant::now();
    assert_eq!((tracker.verdict(), tracker.missing()), (None, 2));
    let _ = tracker.reports(&[said("x", 1, Said::Succeeded)], now);
    assert_eq!((tracker.verdict(), tracker.missing()), (None, 1));
    let _ = tracker.reports(&[said("y", 2, Said::Started)], now);
    assert_eq!(tracker.verdict(), None);
    let _ = tracker.reports(&[said("y", 3, Said::Succeeded)], now);
    assert_eq!(tracker.verdict(), Some(Verdict::Done));
}

#[test]
fn a_success_waits_for_the_checks_of_its_service() {
    let mut wanted = wanted(&["a", "b"]);
    wanted.checked = true;
    let mut tracker = Tracker::new(wanted, Cursor(0));
    let now = Instant::now();
    let both = [said("a", 1, Said::Succeeded), said("b", 2, Said::Succeeded)];
    let _ = tracker.reports(&both, now);
    assert_eq!(
        (states(&tracker), tracker.unchecked()),
        (vec![Started, Started], vec!["a".into(), "b".into()])
    );
    let failing = BTreeMap::from([("a".to_owned(), Vec::new())]);
    let changed = tracker.checks(&failing, "shop");
    assert_eq!(changed.len(), 2);
    assert_eq!(states(&tracker), [Succeeded, Started]);
    let failing = BTreeMap::from([("b".to_owned(), vec!["http".to_owned()])]);
    assert_eq!(tracker.checks(&failing, "shop").len(), 1);
    assert_eq!(tracker.checks(&failing, "shop"), []);
    let _ = tracker.expire(Duration::from_secs(1), now);
    assert_eq!(states(&tracker), [Succeeded, Failed]);
    assert_eq!(
        tracker.hosts()["b"].reason.as_deref(),
        Some("checks of the service shop fail: http")
    );
}
