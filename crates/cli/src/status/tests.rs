use super::*;
use shipit_fleet::report::Report;
use shipit_store::{HostEnd, KICK_VERSION, KickResult};

const OLD: &str = "20261121T100000Z-0000001";
const NEW: &str = "20261121T110000Z-0000002";
const KICK: &str = "20261121T110500Z-5e1f00aa";

fn known() -> Known {
    let asked = Asked {
        kick: KICK.to_owned(),
        release: NEW.to_owned(),
    };
    Known {
        role: "web".to_owned(),
        expected: BTreeMap::from([("web1".to_owned(), Some(true))]),
        asked: BTreeMap::from([("web1".to_owned(), asked)]),
        reports: vec![found(
            OLD,
            5,
            Said::Succeeded,
            Some(OLD),
            Some("20261121T100500Z-00000000"),
        )],
        live: Some(OLD.to_owned()),
        ..Known::default()
    }
}

fn found(release: &str, index: u64, state: Said, current: Option<&str>, kick: Option<&str>) -> Found {
    Found {
        node: "web1".to_owned(),
        release: release.to_owned(),
        index,
        report: Report {
            kick: kick.map(str::to_owned),
            state,
            phase: None,
            time: 1_795_259_200,
            current: current.map(str::to_owned),
            handler: None,
            message: Some("last line".to_owned()),
        },
    }
}

fn ended() -> Ended {
    Ended {
        version: KICK_VERSION,
        kick: KickId::parse(KICK).unwrap(),
        result: KickResult::Failed,
        reason: None,
        moved_live: false,
        once_on: None,
        once: false,
        hosts: BTreeMap::from([(
            "web1".to_owned(),
            HostEnd {
                state: HostState::Silent,
                reason: Some("no word within 10m".to_owned()),
                time: None,
            },
        )]),
        time: 0,
        seconds: 0.0,
    }
}

#[track_caller]
fn one(known: &Known) -> HostStatus {
    let mut rows = hosts(known);
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

#[test]
fn a_host_is_asked_until_it_speaks_and_silent_when_the_kick_is_over() {
    let mut known = known();
    let row = one(&known);
    assert_eq!(
        (row.state, row.in_service.as_deref()),
        (Some(HostState::Asked), Some(OLD))
    );
    assert_eq!(row.since, Some(KickId::parse(KICK).unwrap().time()));
    known.ended.insert(KICK.to_owned(), ended());
    let row = one(&known);
    assert_eq!(row.state, Some(HostState::Silent));
    assert_eq!(row.says.as_deref(), Some("no word within 10m"));
}

#[test]
fn a_host_that_a_kick_left_at_work_goes_on() {
    let mut known = known();
    let mut ended = ended();
    ended.result = KickResult::NotFollowed;
    ended.hosts.get_mut("web1").unwrap().state = HostState::Asked;
    known.ended.insert(KICK.to_owned(), ended);
    assert_eq!(one(&known).state, Some(HostState::Asked));
    known
        .reports
        .push(found(NEW, 9, Said::Started, Some(OLD), Some(KICK)));
    assert_eq!(one(&known).state, Some(HostState::Started));
}

#[test]
fn a_host_that_the_kick_did_not_come_to_stands_where_it_stood() {
    let mut known = known();
    let mut ended = ended();
    let web1 = ended.hosts.remove("web1").unwrap();
    ended.hosts.insert("web2".to_owned(), web1);
    known.ended.insert(KICK.to_owned(), ended);
    let row = one(&known);
    assert_eq!(
        (row.state, row.release.as_deref()),
        (Some(HostState::Succeeded), Some(OLD))
    );
}

#[test]
fn what_it_says_counts_for_the_kick_that_asked() {
    let mut known = known();
    known.reports.push(found(
        NEW,
        9,
        Said::Succeeded,
        Some(NEW),
        Some("20261121T104500Z-5e1f0000"),
    ));
    assert_eq!(one(&known).state, Some(HostState::Asked), "another kick's report");
    known
        .reports
        .push(found(NEW, 10, Said::Succeeded, Some(NEW), Some(KICK)));
    let row = one(&known);
    assert_eq!((row.state, row.live), (Some(HostState::Succeeded), Some(false)));
    known.live = Some(NEW.to_owned());
    assert_eq!(one(&known).live, Some(true));
}

#[test]
fn success_with_another_release_in_service_is_a_failure() {
    let mut known = known();
    known
        .reports
        .push(found(NEW, 10, Said::Succeeded, Some(OLD), Some(KICK)));
    let row = one(&known);
    assert_eq!(row.state, Some(HostState::Failed));
    assert_eq!(row.says, Some(format!("current is {OLD}")));
}

#[test]
fn what_a_failed_host_has_in_service_is_not_known_unless_it_says_so() {
    let mut known = known();
    known.reports.push(found(NEW, 10, Said::Failed, None, Some(KICK)));
    let row = one(&known);
    assert_eq!(
        (row.state, row.in_service, row.live),
        (Some(HostState::Failed), None, None)
    );
    assert_eq!(row.before.as_deref(), Some(OLD), "what is known from before");
    known.reports[1].report.current = Some(OLD.to_owned());
    assert_eq!(one(&known).in_service.as_deref(), Some(OLD));
}

#[test]
fn a_host_that_has_begun_has_what_it_had_before() {
    const EARLIER: &str = "20261121T103000Z-5e1f00aa";
    let mut known = known();
    known.reports.push(found(NEW, 9, Said::Started, None, Some(KICK)));
    known.releases.insert(KICK.to_owned(), NEW.to_owned());
    assert_eq!(one(&known).in_service.as_deref(), Some(OLD));
    // It had this release already, and its report of that is written over.
    known.releases.insert(EARLIER.to_owned(), NEW.to_owned());
    assert_eq!(one(&known).in_service, None, "a kick without an end");
    let mut earlier = ended();
    earlier.hosts.get_mut("web1").unwrap().state = HostState::Succeeded;
    known.ended.insert(EARLIER.to_owned(), earlier);
    assert_eq!(one(&known).in_service.as_deref(), Some(NEW));
    known.ended.insert(EARLIER.to_owned(), ended());
    let row = one(&known);
    assert_eq!(
        (row.in_service, row.before.as_deref()),
        (None, Some(OLD)),
        "it did not go well there"
    );
}

#[test]
fn a_host_that_the_role_has_no_more_is_told_apart() {
    let mut known = known();
    known.expected = BTreeMap::from([("web2".to_owned(), Some(true))]);
    let rows = hosts(&known);
    let expected: Vec<_> = rows.iter().map(|row| (row.host.as_str(), row.expected)).collect();
    assert_eq!(expected, [("web1", false), ("web2", true)]);
}

#[test]
fn what_a_host_had_before_two_kicks_of_one_release_is_known_by_the_first_one() {
    const EARLIER: &str = "20261121T103000Z-5e1f00aa";
    let mut known = known();
    known.reports.push(found(NEW, 9, Said::Failed, None, Some(KICK)));
    known.releases.insert(KICK.to_owned(), NEW.to_owned());
    known.releases.insert(EARLIER.to_owned(), NEW.to_owned());
    let mut earlier = ended();
    earlier.hosts.get_mut("web1").unwrap().state = HostState::Succeeded;
    known.ended.insert(EARLIER.to_owned(), earlier);
    let row = one(&known);
    assert_eq!((row.in_service, row.before.as_deref()), (None, Some(NEW)));
}

#[test]
fn a_host_that_was_never_asked_is_listed_with_what_it_said() {
    let mut known = known();
    known.asked.clear();
    known.expected.insert("web2".to_owned(), Some(false));
    let rows = hosts(&known);
    assert_eq!(rows[0].state, Some(HostState::Succeeded));
    assert_eq!(
        (rows[1].host.as_str(), rows[1].state, rows[1].alive),
        ("web2", None, Some(false))
    );
}
