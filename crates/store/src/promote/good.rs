//! Whether a release is good enough to be promoted: what its hosts said. Nothing here does I/O.

use std::collections::{BTreeMap, BTreeSet};

use crate::Release;
use crate::kick::{HostState, Kick, KickResult};

/// The roles for which a release has no good reports, each with the reason. `kicks` are those of its stage, newest first. A
/// role that the stage never kicked is not asked for; with none that it did there are no reports at all. Of a release that has
/// none of the roles (the stages name theirs differently) all that it has are asked for.
///
/// A role is good when its last whole kick with the release succeeded, or what failed of it was mended by kicks of some hosts that
/// followed; and no host failed since.
pub fn lacks(release: &Release, roles: &BTreeSet<String>, kicks: &[Kick]) -> BTreeMap<String, String> {
    let all: BTreeSet<&String> = release.roles.keys().collect();
    let same: BTreeSet<&String> = all.iter().copied().filter(|role| roles.contains(*role)).collect();
    let asked = if same.is_empty() { all } else { same };
    let was_kicked = |role: &&String| kicks.iter().any(|kick| kick.started.role == **role);
    let kicked: Vec<&String> = asked.iter().copied().filter(was_kicked).collect();
    if kicked.is_empty() {
        let never = |role: &String| {
            let why = format!("{role} was never kicked in {}", release.stage);
            (role.clone(), why)
        };
        return asked.into_iter().map(never).collect();
    }
    let mut lacks = BTreeMap::new();
    for role in kicked {
        let own: Vec<&Kick> = kicks
            .iter()
            .filter(|kick| kick.started.role == *role && kick.started.release == release.id.as_str())
            .collect();
        if let Some(why) = lack(&own) {
            lacks.insert(role.clone(), why);
        }
    }
    lacks
}

/// Why the kicks of a release and role, newest first, do not show that it is good.
fn lack(kicks: &[&Kick]) -> Option<String> {
    let Some(at) = kicks.iter().position(|kick| kick.started.whole) else {
        return Some("it was never kicked as a whole with this release".to_owned());
    };
    let whole = kicks[at];
    let id = &whole.started.kick;
    let Some(ended) = &whole.ended else {
        return Some(format!("the kick {id} has not ended"));
    };
    let mut hosts: BTreeMap<&str, HostState> = BTreeMap::new();
    for name in &whole.started.hosts {
        hosts.insert(name, HostState::Asked);
    }
    for kick in kicks[..=at].iter().rev() {
        let of = kick.ended.iter().flat_map(|ended| &ended.hosts);
        hosts.extend(of.map(|(name, host)| (name.as_str(), host.state)));
    }
    let bad: Vec<&str> = hosts
        .iter()
        .filter(|(_, state)| **state != HostState::Succeeded)
        .map(|(name, _)| *name)
        .collect();
    let told = match ended.result {
        // Hosts that died before the kick are named by it and were not waited for.
        KickResult::Succeeded => since(kicks, at).is_empty(),
        // Without names nobody knows which hosts there are.
        _ => bad.is_empty() && !whole.started.hosts.is_empty(),
    };
    if told {
        return None;
    }
    let since = since(kicks, at);
    let hosts = if since.is_empty() { bad } else { since };
    Some(match (ended.result, hosts.is_empty()) {
        (KickResult::NotFollowed, _) => format!("the kick {id} was not followed"),
        (result, true) => format!("the kick {id} {}", in_words(result)),
        (_, false) => format!("after the kick {id} not good on {}", hosts.join(", ")),
    })
}

/// The hosts that were kicked after a whole kick and did not succeed in the end.
fn since<'a>(kicks: &[&'a Kick], at: usize) -> Vec<&'a str> {
    let mut last: BTreeMap<&str, HostState> = BTreeMap::new();
    for kick in kicks[..at].iter().rev() {
        let of = kick.ended.iter().flat_map(|ended| &ended.hosts);
        last.extend(of.map(|(name, host)| (name.as_str(), host.state)));
    }
    let bad = last
        .into_iter()
        .filter(|(_, state)| *state != HostState::Succeeded);
    bad.map(|(name, _)| name).collect()
}

fn in_words(result: KickResult) -> &'static str {
    match result {
        KickResult::Succeeded => "succeeded",
        KickResult::Failed => "failed",
        KickResult::NotFollowed => "was not followed",
        KickResult::Interrupted => "was interrupted",
        KickResult::LockLost => "lost its lock",
        KickResult::Error => "could not go on",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kick::{Ended, HostEnd};
    use crate::prune::tests_support::{NOW, kick as good, release};

    /// A kick of the release: whether of the whole role, how it ended, and how its hosts did.
    fn kick(at: i64, whole: bool, result: KickResult, hosts: &[(&str, HostState)]) -> Kick {
        let release = release(NOW, &["web"]);
        let mut kick = good(NOW + at, "web", release.id.as_str());
        kick.started.whole = whole;
        kick.started.hosts = hosts.iter().map(|(name, _)| (*name).to_owned()).collect();
        let end = |state| HostEnd {
            state,
            reason: None,
            time: None,
        };
        let hosts = hosts
            .iter()
            .map(|(name, state)| ((*name).to_owned(), end(*state)));
        kick.ended = kick.ended.map(|ended| Ended {
            result,
            hosts: hosts.collect(),
            ..ended
        });
        kick
    }

    #[track_caller]
    fn why(kicks: &[Kick]) -> Option<String> {
        let release = release(NOW, &["web", "batch"]);
        let roles = BTreeSet::from(["web".to_owned(), "batch".to_owned()]);
        let lacks = lacks(&release, &roles, kicks);
        assert!(lacks.len() < 2 || kicks.is_empty());
        lacks.into_iter().next().map(|(_, why)| why)
    }

    const OK: HostState = HostState::Succeeded;
    const BAD: HostState = HostState::Failed;

    #[test]
    fn a_whole_kick_that_succeeded_is_enough() {
        assert_eq!(
            why(&[kick(1, true, KickResult::Succeeded, &[("web1", OK)])]),
            None
        );
        // batch was never kicked in the stage: it is not asked for.
        assert!(why(&[]).unwrap().contains("never kicked"));
    }

    #[test]
    fn a_release_without_one_of_the_roles_needs_reports_all_the_same() {
        let release = release(NOW, &["web"]);
        let others = BTreeSet::from(["all".to_owned(), "admin".to_owned()]);
        let of = |kicks: &[Kick]| lacks(&release, &others, kicks);
        let never = of(&[]);
        assert!(never["web"].contains("never kicked"), "{never:?}");
        let failed = of(&[kick(1, true, KickResult::Failed, &[("web1", BAD)])]);
        assert!(failed["web"].contains("not good on web1"), "{failed:?}");
        let good = of(&[kick(1, true, KickResult::Succeeded, &[("web1", OK)])]);
        assert!(good.is_empty(), "{good:?}");
    }

    #[test]
    fn other_releases_prove_nothing() {
        let mut other = kick(1, true, KickResult::Succeeded, &[("web1", OK)]);
        other.started.release = "20200101T000000Z-3074f46".into();
        assert!(
            why(&[other])
                .unwrap()
                .contains("never kicked as a whole with this release")
        );
    }

    #[test]
    fn what_failed_and_was_mended_is_good() {
        let failed = kick(1, true, KickResult::Failed, &[("web1", OK), ("web2", BAD)]);
        assert!(
            why(std::slice::from_ref(&failed))
                .unwrap()
                .contains("not good on web2")
        );
        let mended = kick(2, false, KickResult::Succeeded, &[("web2", OK)]);
        assert_eq!(why(&[mended.clone(), failed.clone()]), None);
        let again = kick(3, false, KickResult::Failed, &[("web2", BAD)]);
        assert!(why(&[again, mended, failed]).unwrap().contains("web2"));
    }

    #[test]
    fn a_host_that_failed_after_a_good_kick_counts() {
        let good = kick(1, true, KickResult::Succeeded, &[("web1", OK)]);
        let bad = kick(2, false, KickResult::Failed, &[("web9", BAD)]);
        assert!(why(&[bad, good]).unwrap().contains("web9"));
    }

    #[test]
    fn without_an_end_or_names_nothing_is_known() {
        let mut running = kick(1, true, KickResult::Succeeded, &[]);
        running.ended = None;
        assert!(why(&[running]).unwrap().contains("not ended"));
        assert!(
            why(&[kick(1, true, KickResult::NotFollowed, &[])])
                .unwrap()
                .contains("not followed")
        );
        assert!(
            why(&[kick(1, true, KickResult::Interrupted, &[])])
                .unwrap()
                .contains("interrupted")
        );
        let part = kick(
            1,
            true,
            KickResult::Interrupted,
            &[("web1", OK), ("web2", HostState::Asked)],
        );
        assert!(why(&[part]).unwrap().contains("web2"));
    }
}
