//! What several commands ask of releases: which one is meant, what is live, and what a revision is about.

use std::collections::BTreeMap;
use std::sync::Arc;

use shipit_source::Source;
use shipit_store::live::{self, Pointer};
use shipit_store::{OnEvent, Release, ReleaseRef, Store, release};

use crate::config::{Settled, StageChoice};
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};
use crate::kick::damaged_in_words;
use crate::report;
use crate::settle;
use crate::state::published;

/// A stage of the config, with its store.
pub struct Place {
    /// The config, settled for the stage.
    pub config: Settled,
    /// Its store.
    pub store: Store,
    /// What shows the store's events.
    pub reporter: Arc<report::Store>,
}

impl Place {
    /// Loads the config for a stage, and opens its store, which has to be there.
    pub fn open(context: &Context, stage: Option<&str>) -> Result<Self> {
        Self::of(settle::config(context, StageChoice::Of(stage))?, context)
    }

    /// As `open`, for who publishes: the store's directory is made when it is not there.
    pub fn to_publish(context: &Context, stage: Option<&str>) -> Result<Self> {
        let config = settle::config(context, StageChoice::Of(stage))?;
        Self::with(config, context, settle::store::to_publish)
    }

    /// As `open`, for a stage beside one that was opened: the config's warnings are not shown again.
    pub fn further(context: &Context, stage: &str) -> Result<Self> {
        let config = settle::further(context, stage)?;
        let config = config.map_err(|error| crate::errors::config(&error, context.output.colors()))?;
        Self::of(config, context)
    }

    /// Opens the store of a config, which has to be there.
    pub fn of(config: Settled, context: &Context) -> Result<Self> {
        Self::with(config, context, settle::store::existing)
    }

    fn with(
        config: Settled,
        context: &Context,
        open: impl FnOnce(&Settled, &Context, OnEvent) -> Result<Store>,
    ) -> Result<Self> {
        let reporter = Arc::new(report::Store::new(&context.output));
        let on_event = OnEvent::new({
            let reporter = Arc::clone(&reporter);
            move |event| reporter.event(&event)
        });
        let store = open(&config, context, on_event)?;
        Ok(Place {
            config,
            store,
            reporter,
        })
    }

    /// The release that is meant: its id, `latest`, `published`, or `live`, of this role where roles differ.
    pub fn release(&self, wanted: &str, role: Option<&str>, context: &Context) -> Result<Release> {
        let Place { config, store, .. } = self;
        let wanted: ReleaseRef = match wanted {
            "published" => published(config)?.parse()?,
            "live" => ReleaseRef::Id(self.live_release(role, context)?.parse()?),
            other => other.parse()?,
        };
        context.block_on(async { Ok(release(store, &config.app, config.stage(), &wanted).await?) })
    }

    /// The id of the release that is live: of the role, or of all roles, when it is one.
    fn live_release(&self, role: Option<&str>, context: &Context) -> Result<String> {
        let (app, stage) = (&self.config.app, self.config.stage());
        if let Some(role) = role {
            self.config.role(role)?;
        }
        let mut live = self.live(context)?;
        live.retain(|name, _| role.is_none_or(|role| role == name));
        let what = role.map_or_else(String::new, |role| format!("{role} of "));
        let Some((_, first)) = live.first_key_value() else {
            return Err(CliError::new(
                Kind::Usage,
                format!("nothing is live yet for {what}{app} in {stage}"),
            )
            .hint("a release becomes live by a kick; name a release to compare with"));
        };
        if live.values().all(|release| release == first) {
            return Ok(first.clone());
        }
        let each: Vec<String> = live
            .iter()
            .map(|(role, release)| format!("{role} has {release}"))
            .collect();
        let message = format!(
            "the roles of {app} in {stage} are live with different releases: {}",
            each.join(", ")
        );
        Err(CliError::new(Kind::Usage, message).hint("name one of them, or a role by --role"))
    }

    /// The release that is live, by role.
    pub fn live(&self, context: &Context) -> Result<BTreeMap<String, String>> {
        let live = context
            .block_on(async { Ok(live::all(&self.store, &self.config.app, self.config.stage()).await?) })?;
        let mut releases = BTreeMap::new();
        for (role, pointer) in live {
            match pointer {
                Pointer::Nothing => {}
                Pointer::Live(live) => drop(releases.insert(role, live.release)),
                Pointer::Damaged(damaged) => context.output.warn(format!(
                    "what is live for {role} in {} is not known: {}; a kick of the whole role replaces it",
                    self.config.stage(),
                    damaged_in_words(&damaged)
                )),
            }
        }
        Ok(releases)
    }
}

/// What the releases are about, by revision: what they tell themselves, else the repository, when it is at hand.
pub fn subjects<'a>(
    config: &Settled,
    releases: impl Iterator<Item = &'a Release>,
    context: &Context,
) -> BTreeMap<String, String> {
    let mut known = BTreeMap::new();
    let mut unknown = Vec::new();
    for release in releases {
        match &release.subject {
            Some(subject) => drop(known.insert(release.revision.clone(), subject.clone())),
            None => unknown.push(release.revision.clone()),
        }
    }
    unknown.retain(|revision| !known.contains_key(revision));
    if !unknown.is_empty()
        && let Ok(options) = settle::source::options(config, context)
        && let Ok(source) = Source::open(options)
    {
        known.extend(source.subjects(&unknown));
    }
    known
}

/// As many digits of a revision as releases are named by.
pub fn short(revision: &str) -> &str {
    revision.get(..7).unwrap_or(revision)
}
