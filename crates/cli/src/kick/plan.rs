//! All that one role's kick needs, found and checked before the first host hears of anything.

use std::collections::BTreeSet;
use std::time::Duration;

use shipit_fleet::consul::{EventRequest, preflight};
use shipit_store::{Action, Release};

use super::flags::{Course, HostFlags, WaveFlags};
use super::health;
use super::hosts::{self, Listed};
use super::live::having;
use super::manifests::{self, Once};
use super::outcome::named;
use super::repair::Lagging;
use super::stage::Stage;
use super::waves::{self, Wave};
use crate::config::{ReportWith, Role, Transport};
use crate::errors::{CliError, Kind, Result};

/// What says in a manifest that its hosts report.
const REPORTS: &str = "# shipit: report";

/// What is wanted of one role.
pub struct Wish<'a> {
    /// The role.
    pub role: &'a Role,
    /// Why its hosts are told.
    pub action: Action,
    /// The release.
    pub release: Release,
    /// How.
    pub waves: &'a WaveFlags,
    /// Which of its hosts.
    pub hosts: &'a HostFlags,
    /// These alone, in a repair.
    pub lagging: Option<Lagging>,
    /// The release that its hosts were told before, on a way back.
    pub from: Option<String>,
    /// Whether nobody asked for it: the flags are those of the kick that failed.
    pub by_itself: bool,
    /// Whether it is followed to its end.
    pub followed: bool,
    /// What is to be known of the release, said before hosts are told.
    pub note: Option<String>,
    /// Why, in the words of who does it.
    pub reason: Option<String>,
}

/// One role's kick, ready.
pub struct Plan<'a> {
    /// The role.
    pub role: &'a Role,
    /// Why its hosts are told.
    pub action: Action,
    /// The release.
    pub release: Release,
    /// The manifest's text, checked against the release.
    pub manifest: String,
    /// Its URL, as hosts read it.
    pub url: String,
    /// How it goes.
    pub course: Course,
    /// Which hosts were asked for.
    pub flags: &'a HostFlags,
    /// The hosts.
    pub hosts: Listed,
    /// The event that reaches all of the role's hosts, where Consul can fire one.
    pub event: Option<EventRequest>,
    /// The waves.
    pub waves: Vec<Wave>,
    /// The `once` manifest, where the kick has to run it.
    pub once: Option<Once>,
    /// The release that its hosts were told before, on a way back.
    pub from: Option<String>,
    /// Whether its hosts will be silent, for the manifest has no commands that report.
    pub mute: bool,
    /// The flags that it was planned with.
    pub wave_flags: &'a WaveFlags,
    /// Whether it is followed to its end.
    pub followed: bool,
    /// What is to be known of the release.
    pub note: Option<String>,
    /// Why, in the words of who does it.
    pub reason: Option<String>,
}

impl Plan<'_> {
    /// The role's name.
    pub fn name(&self) -> &str {
        &self.role.name
    }

    /// The text of all manifests that its hosts may follow.
    pub fn manifests(&self) -> String {
        let once = self.once.as_ref().map_or("", |once| &once.manifest);
        format!("{}\n{once}", self.manifest)
    }
}

/// Plans one role's kick.
pub fn plan<'a>(stage: &Stage<'_>, wish: Wish<'a>) -> Result<Plan<'a>> {
    let role = wish.role;
    let course = course(stage, &wish);
    hosts::refuse_dc(role, &course, wish.waves)?;
    refuse_what_cannot_be(stage, &wish, &course)?;
    let Seen {
        manifest,
        url,
        once,
        mut hosts,
    } = see(stage, &wish, &course)?;
    let event = event(stage, &wish, &course, &url)?;
    let told_by = event.as_ref().filter(|_| course.transport == Transport::Consul);
    let batch = if wish.followed { course.batch } else { None };
    if wish.action == Action::Rollback && batch.is_some() {
        hosts.first = without(stage, &wish, &hosts);
    }
    let waves = waves::waves(role, &hosts, batch, told_by)?;
    if let (Some(once), Some(event)) = (&once, told_by) {
        check_once(role, &hosts, event, &once.url)?;
    }
    let by_consul = course.transport == Transport::Consul;
    let reports = manifest.contains(REPORTS);
    Ok(Plan {
        role,
        action: wish.action,
        release: wish.release,
        manifest,
        url,
        course,
        flags: wish.hosts,
        hosts,
        event,
        waves,
        once,
        from: wish.from,
        mute: by_consul && wish.followed && !reports,
        wave_flags: wish.waves,
        followed: wish.followed,
        note: wish.note,
        reason: wish.reason,
    })
}

/// How it goes: a repair as the kick did that it mends, a way back without what would hold it up.
fn course(stage: &Stage<'_>, wish: &Wish<'_>) -> Course {
    let course = Course::new(wish.waves, stage.config, wish.role);
    match wish.action {
        Action::Kick => course,
        Action::Repair => {
            let kicked = wish.lagging.as_ref().and_then(|lagging| lagging.batch);
            Course {
                batch: wish.waves.batch.or(kicked).or(course.batch),
                ..course
            }
        }
        Action::Rollback => course.back(Some(wish.waves).filter(|_| !wish.by_itself)),
    }
}

/// The hosts that do not say that they have the release: they go back first. Where that cannot be read, that may be any.
fn without(stage: &Stage<'_>, wish: &Wish<'_>, hosts: &Listed) -> BTreeSet<String> {
    let reports = async { Ok(stage.board.reports(&wish.role.name, None, Duration::ZERO).await?) };
    let found = stage.wait(reports).map(|(found, _)| found).unwrap_or_default();
    let has = having(&found, wish.release.id.as_str());
    let names = hosts.names().into_iter();
    names.filter(|name| !has.contains(name)).collect()
}

/// What the store and Consul say of a kick.
struct Seen {
    manifest: String,
    url: String,
    once: Option<Once>,
    hosts: Listed,
}

/// Asks the store and Consul, side by side.
fn see(stage: &Stage<'_>, wish: &Wish<'_>, course: &Course) -> Result<Seen> {
    let role = wish.role;
    let (manifest, once, hosts) = stage.wait(async {
        Ok(tokio::join!(
            manifests::manifest(stage, wish),
            manifests::once(stage, wish),
            hosts::list(stage, role, course, wish.hosts, wish.followed)
        ))
    })?;
    // The first of these that went wrong is told.
    let (manifest, url) = manifest?;
    let once = once?;
    if once.is_some() && !wish.followed {
        refuse_mute(stage, wish, course, "its once commands are followed in any case")?;
    }
    let hosts = match &wish.lagging {
        Some(lagging) => lagging_of(hosts?, lagging),
        None => hosts.map_err(|error| hosts::of_action(error, role, wish.action, wish.hosts))?,
    };
    if wish.followed {
        refuse_the_dead(role, wish.action, &hosts)?;
    }
    Ok(Seen {
        manifest,
        url,
        once,
        hosts,
    })
}

/// The hosts that lag behind, of a role's.
fn lagging_of(hosts: Listed, lagging: &Lagging) -> Listed {
    let listed = match hosts.count {
        Some(_) => Listed {
            told: lagging
                .names
                .iter()
                .map(|name| shipit_fleet::follow::Told {
                    name: name.clone(),
                    dead: None,
                })
                .collect(),
            count: None,
            whole: false,
            first: BTreeSet::new(),
        },
        None => hosts.only(&lagging.names),
    };
    Listed {
        first: lagging.first.clone(),
        ..listed
    }
}

fn refuse_what_cannot_be(stage: &Stage<'_>, wish: &Wish<'_>, course: &Course) -> Result<()> {
    let role = &wish.role.name;
    if wish.role.health && wish.role.filter.service.is_none() {
        return Err(CliError::new(
            Kind::Usage,
            format!("role {role}: health waits for the checks of a service, and none is named"),
        )
        .hint(format!("add service under [role.{role}.filter]")));
    }
    match course.transport {
        Transport::Exec => {
            hosts::exec_of(wish.role)?;
            if wish.role.health && !wish.waves.without_consul {
                health::refuse_unknown(stage, wish.role)?;
            }
            if !wish.followed {
                return Err(CliError::new(
                    Kind::Usage,
                    format!(
                        "role {role}: --no-wait is for the transport consul; exec waits for its commands anyway"
                    ),
                ));
            }
        }
        Transport::Consul => {
            stage.consul()?;
            if wish.followed {
                let unfollowed = match wish.action {
                    Action::Kick => "or kick with --no-wait".to_owned(),
                    Action::Repair | Action::Rollback => format!(
                        "or tell all hosts and follow none: `shipit kick {role}{} --release {} --no-wait`",
                        stage.flag(),
                        wish.release.id
                    ),
                };
                refuse_mute(stage, wish, course, &unfollowed)?;
            }
        }
    }
    Ok(())
}

/// Hosts that do not report cannot be followed.
fn refuse_mute(stage: &Stage<'_>, wish: &Wish<'_>, course: &Course, more: &str) -> Result<()> {
    if course.transport == Transport::Exec || stage.config.report.with != ReportWith::Off {
        return Ok(());
    }
    let role = &wish.role.name;
    Err(CliError::new(
        Kind::Usage,
        format!("role {role}: its hosts do not report (report.with = \"off\"), so nothing can be followed"),
    )
    .hint(format!(
        "set report.with to \"curl\" or \"consul\" and publish again; {more}"
    )))
}

/// That there is anybody to tell: nobody's silence is not a success.
fn refuse_the_dead(role: &Role, action: Action, hosts: &Listed) -> Result<()> {
    let dead: Vec<String> = hosts
        .told
        .iter()
        .filter_map(|told| Some(format!("{} ({})", told.name, told.dead.as_ref()?)))
        .collect();
    if hosts.told.is_empty() || dead.len() < hosts.told.len() {
        return Ok(());
    }
    Err(CliError::new(
        Kind::Hosts,
        format!("role {}: none of its hosts is alive: {}", role.name, named(&dead)),
    )
    .hint(match action {
        Action::Kick => {
            "start their Consul agents, or fire without following by --no-wait: hosts that boot take the live release"
        }
        Action::Repair | Action::Rollback => {
            "start their Consul agents, and run this again; hosts that boot take the live release"
        }
    }))
}

/// The event of a role; with the transport exec for the replay that keeps watches from going back, where Consul is used.
fn event(stage: &Stage<'_>, wish: &Wish<'_>, course: &Course, url: &str) -> Result<Option<EventRequest>> {
    if stage.consul.is_none() {
        return Ok(None);
    }
    match hosts::event(stage.config, wish.role, wish.hosts, url) {
        Ok(event) => Ok(Some(event)),
        Err(error) if course.transport == Transport::Consul => Err(error),
        Err(_) => Ok(None),
    }
}

/// That the first wave's event fits does not say that the one for a single host with another URL does.
fn check_once(role: &Role, hosts: &Listed, event: &EventRequest, url: &str) -> Result<()> {
    if hosts.told.is_empty() {
        return Err(hosts::unnamed(
            role,
            "its once commands need",
            "or publish without them",
        ));
    }
    let event = EventRequest {
        payload: url.to_owned(),
        ..event.clone()
    };
    for told in &hosts.told {
        for event in hosts::events_for(&event, std::slice::from_ref(&told.name))? {
            preflight(&event).map_err(|error| {
                let hint = error.hint();
                CliError::from_source(Kind::Consul, error).hint(hint)
            })?;
        }
    }
    Ok(())
}
