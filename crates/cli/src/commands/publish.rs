//! `shipit publish`.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use shipit_artifact::Artifact;
use shipit_steps::{CacheEntryLayer, LayerCache};
use shipit_store::lock::PublishLock;
use shipit_store::shared::{KnownLayer, OfferLayers, Offered, offer};
use shipit_store::{
    OnEvent, Origin, PublishInput, Published, RenderContext, RenderManifest, RolePlan, Store, publish,
};

use crate::args::StageArg;
use crate::config::{Role, Settled, Span, StageChoice};
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};
use crate::linked;
use crate::output::bytes;
use crate::plain;
use crate::report;
use crate::settle::{self, manifest::RoleManifest};
use crate::state::{PublishState, StateDirectory, artifact_to_publish, subject_of};

/// How long a publish waits by default for its lock.
const PUBLISH_WAIT: &str = "10m";

/// Publish the last artifact built here to a stage: artifact, record, and a manifest for each role.
///
/// Prints a line for each role: the role, a tab, the manifest's URL. No host is told: that is `kick`. What is in the store
/// already is not sent again: unchanged layers and frames of earlier artifacts are copied inside the store. Nothing in it is
/// overwritten, and a publish that was cut anywhere can be run again.
#[derive(Debug, Args)]
pub struct PublishArgs {
    #[command(flatten)]
    stage: StageArg,
    /// The artifact, by its SHA-256 [default: the last one built here]
    #[arg(long, value_name = "SHA256")]
    artifact: Option<String>,
    /// Publish for this role alone; may be given several times [default: all roles]
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    #[command(flatten)]
    around: Around,
}

/// What publish and promote do before and after.
#[derive(Debug, Args)]
pub struct Around {
    /// How long to wait while another publish or a prune of the app runs; 0s fails at once
    #[arg(long, value_name = "TIME", value_parser = Span::parse, default_value = PUBLISH_WAIT)]
    pub lock_wait: Span,
    /// Prune the stage's releases afterwards, as `shipit prune` does; what goes wrong with that is a warning
    #[arg(long)]
    pub prune: bool,
}

/// The document of `--output json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    app: &'a str,
    stage: &'a str,
    release: String,
    revision: &'a str,
    artifact: &'a str,
    artifact_url: &'a str,
    record_sha256: &'a str,
    roles: Vec<RoleReport<'a>>,
    sent: u64,
    copied: u64,
    skipped: u64,
}

#[derive(Debug, Serialize)]
struct RoleReport<'a> {
    role: &'a str,
    manifest_url: &'a str,
}

pub fn run(args: &PublishArgs, context: &Context) -> Result<()> {
    let stage = args.stage.name(&context.environment);
    let config = settle::config(context, StageChoice::Of(stage.as_deref()))?;
    let roles = roles(&config, &args.roles)?;
    let artifact = artifact_to_publish(&config, args.artifact.as_deref())?;
    linked::refuse_shared_in_layers(roles.iter().copied(), &artifact)?;
    let revision = &artifact.record.revision;
    let manifests: Vec<(&Role, RoleManifest)> = roles
        .into_iter()
        .map(|role| Ok((role, RoleManifest::new(&config, role, revision)?)))
        .collect::<Result<_>>()?;
    let reporter = Arc::new(report::Store::new(&context.output));
    let on_event = OnEvent::new({
        let reporter = Arc::clone(&reporter);
        move |event| reporter.event(&event)
    });
    let store = settle::store::to_publish(&config, context, on_event)?;
    plain::refuse_hidden_changes(&config, &manifests, &artifact, &store, context)?;

    let who = settle::who(context);
    let subject = subject_of(&config, &artifact)?;
    let renders: Vec<_> = manifests
        .iter()
        .map(|(_, manifest)| move |release: &RenderContext<'_>| manifest.render(release))
        .collect();
    let onces: Vec<_> = manifests
        .iter()
        .map(|(_, manifest)| move |release: &RenderContext<'_>| manifest.render_once(release))
        .collect();
    let plans = manifests
        .iter()
        .zip(renders.iter().zip(&onces))
        .map(|((role, manifest), (render, once))| RolePlan {
            role: role.name.clone(),
            render,
            once: manifest.has_once().then_some(once as &RenderManifest<'_>),
        })
        .collect();
    let doing = format!("publish to {}", config.stage());
    let holder = settle::holder(context, &doing, Some(revision), None);
    let lock = settle::board::publish_lock(&config, context, &store, &holder, args.around.lock_wait.get())?;
    let input = PublishInput {
        store: &store,
        app: &config.app,
        stage: config.stage(),
        artifact: &artifact,
        time: jiff::Timestamp::now().as_second(),
        who: &who,
        roles: plans,
        shared: config.cache.shared,
        origin: Origin {
            subject: subject.as_deref(),
            ..Origin::default()
        },
        lock: Some(&lock),
    };
    let done = locked(input, &config, &reporter, context);
    let what = format!("publishing {}", config.app);
    settle::board::give_back(context, &what, lock.release());
    let (published, offered) = done?;
    told(&published, offered, &config, &artifact, context)?;
    if args.around.prune {
        crate::prune::afterwards(config.stage(), context);
    }
    Ok(())
}

/// What is done under the lock: a prune must neither delete what is reused nor a layer that is just put there.
fn locked(
    input: PublishInput<'_>,
    config: &Settled,
    reporter: &report::Store,
    context: &Context,
) -> Result<(Published, Offered)> {
    let (store, artifact, lock) = (input.store, input.artifact, input.lock);
    reporter.begin("publishing");
    let published = context.block_on(async { Ok(publish(input).await?) });
    reporter.finish();
    if published.is_err() {
        context.block_on_to_the_end(async {
            store.settle().await;
            Ok(())
        })?;
    }
    let published = published?;
    if !config.cache.shared {
        return Ok((published, Offered::default()));
    }
    let offered = offered(config, artifact, store, lock, context)?;
    reporter.finish();
    Ok((published, offered))
}

/// Puts the artifact's dependency layers where other builders look for them. The release is complete by then, so what goes wrong
/// is a warning.
fn offered(
    config: &Settled,
    artifact: &Artifact,
    store: &Store,
    lock: Option<&PublishLock>,
    context: &Context,
) -> Result<Offered> {
    let request = OfferLayers {
        store,
        app: &config.app,
        artifact,
        known: &known(artifact, context),
        now: jiff::Timestamp::now().as_second(),
    };
    let done = context.block_on(async {
        let offered = match lock {
            Some(lock) => lock.during(offer(request)).await,
            None => offer(request).await,
        };
        Ok(offered.map_err(CliError::from))
    });
    match done {
        Ok(Ok(offered)) => Ok(offered),
        Ok(Err(error)) => {
            context.output.warn(format!(
                "the release is complete, but its layers could not be offered to other builders: {}",
                error.chain().join(": ")
            ));
            Ok(Offered::default())
        }
        Err(stopped) => {
            context.block_on_to_the_end(async {
                store.settle().await;
                Ok(())
            })?;
            Err(stopped)
        }
    }
}

/// What this machine's cache knows of the artifact's layers, by their keys: told beside a layer, and no reason to fail.
fn known(artifact: &Artifact, context: &Context) -> BTreeMap<String, KnownLayer> {
    let cache = || {
        let dir = context.cache_directory().ok()?.join("layers");
        LayerCache::existing(&dir).ok()?
    };
    let Some(cache) = cache() else {
        return BTreeMap::new();
    };
    let keys = artifact.record.layers.iter().filter_map(|row| row.key.clone());
    let known = |key: String| {
        let CacheEntryLayer { packages, made, .. } = cache.about(&key)?;
        Some((key, KnownLayer { packages, made }))
    };
    keys.filter_map(known).collect()
}

/// Notes the release for the stages of a job that follow, and prints where its manifests are.
fn told(
    published: &Published,
    offered: Offered,
    config: &Settled,
    artifact: &Artifact,
    context: &Context,
) -> Result<()> {
    let release = published.release.id.to_string();
    let record = &artifact.record;
    StateDirectory::beside(&config.dir).save_publish(&PublishState {
        app: config.app.clone(),
        stage: config.stage().to_owned(),
        release: release.clone(),
        revision: record.revision.clone(),
        artifact: record.sha256.clone(),
    })?;
    context.output.say(format!(
        "published {release} of {} to {}: {}",
        config.app,
        config.stage(),
        cost(published, offered)
    ));
    for (role, url) in &published.roles {
        context.output.data(format!("{role}\t{url}"))?;
    }
    context.output.json(&Report {
        app: &config.app,
        stage: config.stage(),
        release,
        revision: &record.revision,
        artifact: &record.sha256,
        artifact_url: &published.artifact_url,
        record_sha256: &published.release.artifact.record_sha256,
        roles: published
            .roles
            .iter()
            .map(|(role, manifest_url)| RoleReport { role, manifest_url })
            .collect(),
        sent: published.sent + offered.sent,
        copied: published.copied + offered.copied,
        skipped: published.skipped,
    })
}

/// `sent 6.1 of 151.9 MB, 145.8 MB copied inside the store`: of the artifact and what belongs to it; then what was put where other
/// builders look for it.
fn cost(published: &Published, offered: Offered) -> String {
    let all = published.sent + published.copied + published.skipped;
    let mut text = match (bytes(published.sent), bytes(all)) {
        (sent, all) if sent == all => format!("sent {sent}"),
        (sent, all) => {
            let unit = all.rsplit(' ').next().unwrap_or_default();
            let same = sent.strip_suffix(unit).map(str::trim_end);
            format!("sent {} of {all}", same.unwrap_or(&sent))
        }
    };
    for (count, what) in [
        (published.copied, "copied inside the store"),
        (published.skipped, "there already"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {} {what}", bytes(count)));
        }
    }
    if offered.sent + offered.copied > 0 {
        let layers = if offered.layers == 1 { "layer" } else { "layers" };
        text.push_str(&format!(
            "; {} {layers} for other builders: sent {}, {} copied",
            offered.layers,
            bytes(offered.sent),
            bytes(offered.copied)
        ));
    }
    text
}

/// The roles that are published for.
pub fn roles<'a>(config: &'a Settled, wanted: &[String]) -> Result<Vec<&'a Role>> {
    if wanted.is_empty() {
        if config.roles.is_empty() {
            return Err(
                CliError::new(Kind::Usage, format!("{} has no role", config.file.display()))
                    .hint("add a table [role.web] with the dest of its hosts"),
            );
        }
        return Ok(config.roles.iter().collect());
    }
    wanted.iter().map(|name| Ok(config.role(name)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shipit_store::{Release, ReleaseArtifact, ReleaseId};

    fn published(sent: u64, copied: u64, skipped: u64) -> Published {
        let artifact = ReleaseArtifact {
            key: String::new(),
            sha256: String::new(),
            size: 0,
            record_sha256: String::new(),
        };
        Published {
            release: Release {
                version: 1,
                id: ReleaseId::parse("20261121T134515Z-3074f46").unwrap(),
                app: String::new(),
                stage: String::new(),
                revision: String::new(),
                artifact,
                roles: BTreeMap::new(),
                who: String::new(),
                time: 0,
                nonce: String::new(),
                subject: None,
                promoted: None,
            },
            roles: Vec::new(),
            artifact_url: String::new(),
            sent,
            copied,
            skipped,
        }
    }

    #[test]
    fn what_a_publish_cost_is_one_line() {
        let offered = Offered {
            layers: 1,
            sent: 542,
            copied: 40_400_000,
        };
        assert_eq!(
            cost(&published(40_400_000, 0, 0), offered),
            "sent 40.4 MB; 1 layer for other builders: sent 542 B, 40.4 MB copied"
        );
        let cost = |sent, copied, skipped| cost(&published(sent, copied, skipped), Offered::default());
        assert_eq!(
            cost(6_100_000, 145_800_000, 0),
            "sent 6.1 of 151.9 MB, 145.8 MB copied inside the store"
        );
        assert_eq!(cost(151_900_000, 0, 0), "sent 151.9 MB");
        assert_eq!(
            cost(2_100, 0, 151_900_000),
            "sent 2.1 kB of 151.9 MB, 151.9 MB there already"
        );
        assert_eq!(
            cost(900, 5_000, 1_000),
            "sent 900 B of 6.9 kB, 5.0 kB copied inside the store, 1.0 kB there already"
        );
        assert_eq!(cost(0, 0, 0), "sent 0 B");
    }
}
