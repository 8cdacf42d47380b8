//! Where a rollback goes, and what a repair repeats: read from the live pointer and the history.

use shipit_store::kick::{self, Kick};
use shipit_store::{KickResult, Release, ReleaseId, ReleaseRef, release};

use super::live;
use super::stage::Stage;
use crate::errors::{CliError, Kind, Result};

/// The release that a rollback of a role goes to.
pub fn of_rollback(stage: &Stage<'_>, role: &str) -> Result<Release> {
    let live = live::read(stage, role)?.map(|live| live.release);
    let last = newest(stage, role, is_whole)?;
    let before = match &live {
        Some(live) => newest(stage, role, |kick| replaced_another(kick, live))?,
        None => None,
    };
    let target = good_before(live.as_deref(), last.as_ref(), before.as_ref()).map_err(|why| {
        CliError::new(
            Kind::Refused,
            format!("{role} in {} cannot be rolled back: {why}", stage.config.stage()),
        )
        .hint("`shipit releases` lists what there is; name one by --to ID")
    })?;
    let id = ReleaseId::parse(&target)?;
    find(stage, &id).map_err(|error| {
        error.of_kind(Kind::Refused).context(format!(
            "{role} in {} cannot be rolled back to {target}, which is not in the store any more",
            stage.config.stage()
        ))
    })
}

/// The release that a role's hosts were told last.
pub fn of_repair(stage: &Stage<'_>, role: &str) -> Result<Release> {
    let last = newest(stage, role, |_| true)?.ok_or_else(|| {
        CliError::new(
            Kind::Refused,
            format!(
                "{role} in {} was never kicked: there is nothing to repair",
                stage.config.stage()
            ),
        )
        .hint(format!("kick it: `shipit kick {role}`"))
    })?;
    find(stage, &ReleaseId::parse(&last.started.release)?)
}

/// A release of the stage.
pub fn find(stage: &Stage<'_>, id: &ReleaseId) -> Result<Release> {
    let wanted = ReleaseRef::Id(id.clone());
    let (app, name) = (&stage.config.app, stage.config.stage());
    stage.wait(async { Ok(release(&stage.store, app, name, &wanted).await?) })
}

/// The newest kick of a role that is wanted.
fn newest(stage: &Stage<'_>, role: &str, wanted: impl Fn(&Kick) -> bool) -> Result<Option<Kick>> {
    let (app, name) = (&stage.config.app, stage.config.stage());
    stage.wait(async { Ok(kick::find(&stage.store, app, name, role, None, wanted).await?) })
}

fn is_whole(kick: &Kick) -> bool {
    kick.started.whole
}

/// Whether a kick made a release live in place of another one.
fn replaced_another(kick: &Kick, release: &str) -> bool {
    kick.ended.as_ref().is_some_and(|ended| ended.moved_live)
        && kick.started.release == release
        && kick.started.live.as_ref().is_some_and(|before| before != release)
}

/// The last good release: the live one when the `last` kick of the whole role did not go well, else the one that was live
/// `before` the kick that made this one live.
fn good_before(
    live: Option<&str>,
    last: Option<&Kick>,
    before: Option<&Kick>,
) -> std::result::Result<String, String> {
    let Some(live) = live else {
        return Err("no release was ever live, for no kick of all its hosts went well".to_owned());
    };
    let went_well = |kick: &Kick| {
        let result = kick.ended.as_ref().map(|ended| ended.result);
        matches!(result, Some(KickResult::Succeeded | KickResult::NotFollowed))
    };
    if last.is_some_and(|last| !went_well(last)) {
        return Ok(live.to_owned());
    }
    before
        .and_then(|kick| kick.started.live.clone())
        .ok_or_else(|| format!("{live} is live, and the history knows of none before it"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use shipit_store::{Action, Ended, KICK_VERSION, KickId, Started};

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
                hosts: BTreeMap::new(),
                time: 0,
                seconds: 0.0,
            }),
        }
    }

    /// As it is found in a history, newest first.
    fn good_in(live: Option<&str>, kicks: &[Kick]) -> std::result::Result<String, String> {
        let before = live.and_then(|live| kicks.iter().find(|kick| replaced_another(kick, live)));
        good_before(live, kicks.iter().find(|kick| is_whole(kick)), before)
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
}
