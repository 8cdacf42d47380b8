use super::*;
use crate::kick::{Action, Ended, HostEnd, HostState};
use crate::prune::tests_support::{NOW, kick, release};

const DAY: i64 = 24 * 60 * 60;

const END: HostEnd = HostEnd {
    state: HostState::Started,
    reason: None,
    time: None,
};

/// A stage whose releases are a day apart; the first has the number 0 and is the oldest.
struct Stage {
    releases: Vec<Release>,
    live: BTreeMap<String, String>,
    damaged: BTreeMap<String, Damaged>,
    kicks: Vec<Kick>,
    locked: bool,
}

impl Stage {
    fn of(count: i64) -> Self {
        let releases = (0..count)
            .rev()
            .map(|number| release(at(number, count), &["web"]));
        Self {
            releases: releases.collect(),
            live: BTreeMap::new(),
            damaged: BTreeMap::new(),
            kicks: Vec::new(),
            locked: false,
        }
    }

    fn id(&self, number: usize) -> String {
        self.releases[self.releases.len() - 1 - number].id.to_string()
    }

    fn live(mut self, role: &str, number: usize) -> Self {
        let id = self.id(number);
        self.live.insert(role.to_owned(), id);
        self
    }

    /// A kick of a release, newer than those before.
    fn kick(mut self, role: &str, number: usize, result: Option<KickResult>, before: Option<usize>) -> Self {
        let time = NOW - 30 * DAY + self.kicks.len() as i64 * 60;
        let mut kick = kick(time, role, &self.id(number));
        kick.started.live = before.map(|before| self.id(before));
        kick.ended = kick.ended.zip(result).map(|(ended, result)| Ended {
            result,
            moved_live: result == KickResult::Succeeded,
            hosts: BTreeMap::from([("web1".to_owned(), END)]),
            ..ended
        });
        self.kicks.insert(0, kick);
        self
    }

    /// Makes the newest kick a rollback.
    fn the_newest_a_rollback(mut self) -> Self {
        self.kicks[0].started.action = Action::Rollback;
        self
    }

    /// Makes the newest kick one of this host alone.
    fn the_newest_of_some(mut self, host: &str) -> Self {
        let started = &mut self.kicks[0].started;
        (started.whole, started.hosts) = (false, vec![host.to_owned()]);
        self
    }

    /// The numbers of the releases that stay.
    fn stays(&self, keep: u32) -> Vec<usize> {
        let all = self.reasons(keep);
        (0..self.releases.len())
            .filter(|number| all.keys().any(|id| id.as_str() == self.id(*number)))
            .collect()
    }

    fn reasons(&self, keep: u32) -> BTreeMap<ReleaseId, BTreeSet<Reason>> {
        let view = StageView {
            releases: &self.releases,
            live: &self.live,
            damaged: &self.damaged,
            kicks: &self.kicks,
            locked: self.locked,
        };
        reasons(view, keep, NOW)
    }
}

fn at(number: i64, count: i64) -> i64 {
    NOW - (count - number) * DAY
}

const GOOD: Option<KickResult> = Some(KickResult::Succeeded);
const BAD: Option<KickResult> = Some(KickResult::Failed);

#[test]
fn the_newest_stay_and_the_older_ones_go() {
    assert_eq!(Stage::of(6).stays(2), [4, 5]);
    assert_eq!(Stage::of(1).stays(2), [0]);
    // Even with nothing to keep the latest stays.
    assert_eq!(Stage::of(3).stays(0), [2]);
}

#[test]
fn what_is_live_and_what_was_before_it_stay_however_old() {
    let stage = Stage::of(8)
        .kick("web", 1, GOOD, None)
        .kick("web", 2, GOOD, Some(1))
        .live("web", 2);
    assert_eq!(stage.stays(1), [1, 2, 7]);
    let reasons = stage.reasons(1);
    let of = |number| {
        let id = ReleaseId::parse(&stage.id(number)).unwrap();
        reasons[&id].clone()
    };
    let role = || "web".to_owned();
    assert!(of(2).contains(&Reason::Live { role: role() }));
    assert!(of(1).contains(&Reason::Back { role: role() }));
}

#[test]
fn after_a_rollback_what_a_second_one_goes_to_stays() {
    let stage = Stage::of(9)
        .kick("web", 1, GOOD, None)
        .kick("web", 2, GOOD, Some(1))
        .kick("web", 3, GOOD, Some(2))
        .kick("web", 2, GOOD, Some(3))
        .the_newest_a_rollback()
        .live("web", 2);
    assert_eq!(stage.stays(1), [1, 2, 8]);
}

#[test]
fn what_a_kick_replaced_that_was_killed_when_live_had_moved_stays() {
    let stage = Stage::of(9)
        .kick("web", 0, GOOD, None)
        .kick("web", 1, GOOD, Some(0))
        .kick("web", 2, GOOD, Some(1))
        .kick("web", 1, None, Some(2))
        .live("web", 1);
    assert_eq!(stage.stays(1), [1, 2, 8], "2 is where the next rollback goes");
}

#[test]
fn what_a_rollback_passes_over_is_not_what_stays_for_it() {
    let stage = Stage::of(9)
        .kick("web", 0, GOOD, None)
        .kick("web", 1, GOOD, Some(0))
        .kick("web", 2, GOOD, Some(1))
        .kick("web", 1, GOOD, Some(2))
        .kick("web", 2, GOOD, Some(1))
        .the_newest_a_rollback()
        .live("web", 2);
    assert_eq!(stage.stays(1), [0, 2, 8], "0 is where the next rollback goes");
}

#[test]
fn where_nobody_knows_what_is_live_all_releases_of_the_role_stay() {
    let mut stage = Stage::of(5).live("web", 3);
    assert_eq!(stage.stays(1), [3, 4]);
    let damaged = Damaged {
        etag: "1".to_owned(),
        url: "file:///store/live/shop/production/web.yml".to_owned(),
        why: "it is no manifest".to_owned(),
    };
    stage.live.clear();
    stage.damaged.insert("batch".to_owned(), damaged.clone());
    assert_eq!(stage.stays(1), [4], "of another role");
    stage.damaged.insert("web".to_owned(), damaged);
    assert_eq!(stage.stays(1), [0, 1, 2, 3, 4]);
}

#[test]
fn a_repair_of_all_and_one_of_some_hosts_find_their_releases() {
    let stage = Stage::of(9)
        .kick("web", 1, GOOD, None)
        .kick("web", 2, BAD, Some(1))
        .kick("web", 3, BAD, Some(1))
        .the_newest_of_some("web1")
        .kick("web", 4, BAD, Some(1))
        .the_newest_of_some("web2")
        .live("web", 1);
    assert_eq!(stage.stays(1), [1, 2, 3, 4, 8]);
}

#[test]
fn the_last_good_one_stays_when_every_later_kick_failed() {
    let mut stage = Stage::of(9).kick("web", 0, GOOD, None);
    for number in 1..8 {
        stage = stage.kick("web", number, BAD, Some(0));
    }
    // 7 is what a repair would do again, 8 was not kicked yet, and 0 has to stay though nothing says that it is live.
    assert_eq!(stage.stays(1), [0, 7, 8]);
}

#[test]
fn failed_releases_take_no_place_of_good_ones() {
    let mut stage = Stage::of(8);
    for number in [0, 1, 2] {
        stage = stage.kick("web", number, GOOD, None);
    }
    for number in [3, 4, 5, 6] {
        stage = stage.kick("web", number, BAD, Some(2));
    }
    // Of 8 releases 7 was not kicked, 3 to 6 failed, and three good ones stay: 7, 2 and 1; 6 was kicked last.
    assert_eq!(stage.stays(3), [1, 2, 6, 7]);
    // A release that failed first and succeeded then is good.
    let stage = stage.kick("web", 5, GOOD, Some(2));
    assert_eq!(stage.stays(3), [2, 5, 7]);
}

#[test]
fn a_kick_without_an_end_is_in_flight_for_a_day_or_as_long_as_the_stage_is_locked() {
    let mut stage = Stage::of(5)
        .kick("web", 0, None, Some(1))
        .kick("web", 4, GOOD, None);
    assert_eq!(
        stage.stays(1),
        [4],
        "it began a month ago, and nobody holds the lock"
    );
    stage.locked = true;
    assert_eq!(stage.stays(1), [0, 1, 4]);
    stage.locked = false;
    stage.kicks[1].started.time = NOW - DAY + 60;
    assert_eq!(stage.stays(1), [0, 1, 4]);
}

#[test]
fn what_was_published_a_moment_ago_stays() {
    let mut stage = Stage::of(3);
    for (age, id) in [(10, 0), (3599, 1), (3601, 2)] {
        stage.releases[id] = release(NOW - age, &["web"]);
    }
    assert_eq!(stage.reasons(1).len(), 2);
    // By its id it is old, by its document young: a clock was behind.
    stage.releases[2].time = NOW - 10;
    assert_eq!(stage.reasons(1).len(), 3);
}

#[test]
fn each_role_has_releases_of_its_own() {
    let mut stage = Stage::of(6);
    for number in 0..3 {
        stage.releases[5 - number] = release(at(number as i64, 6), &["batch"]);
    }
    // 0 to 2 are of batch, 3 to 5 of web.
    assert_eq!(stage.stays(2), [1, 2, 4, 5]);
    // A role that is not published any more, and is live.
    assert_eq!(stage.live("gone", 0).stays(2), [0, 1, 2, 4, 5]);
}

#[test]
fn an_event_that_was_fired_and_not_followed_is_no_failure() {
    let stage = Stage::of(3)
        .kick("web", 0, Some(KickResult::NotFollowed), None)
        .kick("web", 1, Some(KickResult::Interrupted), None)
        .kick("web", 2, BAD, None);
    assert_eq!(stage.stays(1), [0, 2], "1 came to no good end, 2 is the latest");
}
