//! `shipit promote`.

use std::collections::BTreeSet;

use clap::Args;
use serde::Serialize;
use shipit_artifact::Artifact;
use shipit_store::promote::{Brought, bring, documents, lacks};
use shipit_store::{
    ErrorKind, Origin, PromotedFrom, PublishInput, Published, Release, RenderContext, RenderManifest,
    RolePlan, kick, publish,
};

use crate::config::Role;
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};
use crate::linked;
use crate::output::bytes;
use crate::plain;
use crate::releases::{Place, subjects};
use crate::settle::{self, manifest::RoleManifest};
use crate::state::{PublishState, StateDirectory};

use super::publish::{Around, roles};

/// Publish the release of one stage to another: the same artifact, byte for byte, with new manifests.
///
/// What was checked on staging goes to production. Nothing is built. The artifact is read and compared with what its release says
/// of it; stages that share a store share it, else the server copies it where it can. It is refused when the stage it
/// comes from has no good reports of it: its last kick there failed, was not followed, or never was. Prints a line for
/// each role, as publish does; no host is told: that is `kick`.
#[derive(Debug, Args)]
pub struct PromoteArgs {
    /// The release: its id, `latest` or `live` of the stage it comes from, or `published`, the one that the last publish here made
    #[arg(value_name = "RELEASE")]
    release: String,
    /// The stage that it comes from
    #[arg(long, value_name = "STAGE")]
    from: String,
    /// The stage that it is published to
    #[arg(long, value_name = "STAGE")]
    to: String,
    /// Publish for this role alone; may be given several times [default: all roles of the stage]
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Promote without good reports
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    around: Around,
}

/// The document of `--output json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    app: &'a str,
    stage: &'a str,
    release: &'a str,
    revision: &'a str,
    from: &'a PromotedFrom,
    artifact: &'a str,
    artifact_url: &'a str,
    record_sha256: &'a str,
    roles: Vec<RoleReport<'a>>,
    forced: bool,
    sent: u64,
    copied: u64,
    skipped: u64,
}

#[derive(Debug, Serialize)]
struct RoleReport<'a> {
    role: &'a str,
    manifest_url: &'a str,
}

/// What was promoted.
struct Promoted {
    published: Published,
    from: PromotedFrom,
    brought: Brought,
    forced: bool,
}

pub fn run(args: &PromoteArgs, context: &Context) -> Result<()> {
    if args.from == args.to {
        return Err(CliError::new(
            Kind::Usage,
            format!("--from and --to name the same stage, {}", args.to),
        ));
    }
    let to = Place::to_publish(context, Some(&args.to))?;
    let from = Place::further(context, &args.from)?;
    if from.config.app != to.config.app {
        let (one, other) = (&from.config.app, &to.config.app);
        let message = format!(
            "{} is the stage of the app {one}, and {} of {other}",
            args.from, args.to
        );
        return Err(CliError::new(Kind::Usage, message));
    }
    let roles = roles(&to.config, &args.roles)?;
    let release = from.release(&args.release, None, context)?;
    let forced = !refuse_without_reports(args, &from, &release, &roles, context)?;
    let promoted = promote(args, &from, &to, &release, &roles, context)?;
    told(&Promoted { forced, ..promoted }, &to, context)?;
    if args.around.prune {
        crate::prune::afterwards(&args.to, context);
    }
    Ok(())
}

/// Whether the stage's hosts reported well; without, it is refused, unless it is forced.
fn refuse_without_reports(
    args: &PromoteArgs,
    from: &Place,
    release: &Release,
    roles: &[&Role],
    context: &Context,
) -> Result<bool> {
    let (app, stage) = (&from.config.app, from.config.stage());
    let kicks = context.block_on(async { Ok(kick::list(&from.store, app, stage, None, None).await?) })?;
    let names: BTreeSet<String> = roles.iter().map(|role| role.name.clone()).collect();
    let lacks = lacks(release, &names, &kicks);
    if lacks.is_empty() {
        return Ok(true);
    }
    let why: Vec<String> = lacks.iter().map(|(role, why)| format!("{role}: {why}")).collect();
    let message = format!(
        "{} has no good reports of {}: {}",
        args.from,
        release.id,
        why.join("; ")
    );
    if args.force {
        context
            .output
            .warn(format!("{message}; promoted all the same, for --force was given"));
        return Ok(false);
    }
    Err(CliError::new(Kind::Refused, message).hint(format!(
        "kick it there first: shipit kick {} --stage {} --release {}; or promote it without reports by --force",
        lacks.into_keys().collect::<Vec<_>>().join(" "),
        args.from,
        release.id
    )))
}

fn promote(
    args: &PromoteArgs,
    from: &Place,
    to: &Place,
    release: &Release,
    roles: &[&Role],
    context: &Context,
) -> Result<Promoted> {
    let scratch = tempfile::Builder::new().prefix("shipit-promote-").tempdir();
    let scratch = scratch.map_err(|error| CliError::disk("making a temporary directory", error))?;
    let documents = context.block_on(async {
        let read = documents(&from.store, release, scratch.path()).await;
        read.map_err(|error| disagrees(error, release))
    });
    let artifact = documents?;
    linked::refuse_shared_in_layers(roles.iter().copied(), &artifact)?;
    let manifests: Vec<(&Role, RoleManifest)> = roles
        .iter()
        .map(|role| Ok((*role, RoleManifest::new(&to.config, role, &release.revision)?)))
        .collect::<Result<_>>()?;
    plain::refuse_hidden_changes(&to.config, &manifests, &artifact, &to.store, context)?;
    let doing = format!("promote to {}", args.to);
    let holder = settle::holder(context, &doing, Some(&release.revision), None);
    let lock = settle::board::publish_lock(
        &to.config,
        context,
        &to.store,
        &holder,
        args.around.lock_wait.get(),
    )?;
    let work = Work {
        from,
        to,
        release,
        manifests: &manifests,
        lock: &lock,
        context,
    };
    let done = work.run(artifact);
    from.reporter.finish();
    to.reporter.finish();
    if done.is_err() {
        context.block_on_to_the_end(async {
            to.store.settle().await;
            Ok(())
        })?;
    }
    let what = format!("publishing {}", to.config.app);
    settle::board::give_back(context, &what, lock.release());
    done
}

/// What is done under the lock.
struct Work<'a> {
    from: &'a Place,
    to: &'a Place,
    release: &'a Release,
    manifests: &'a [(&'a Role, RoleManifest)],
    lock: &'a shipit_store::lock::PublishLock,
    context: &'a Context,
}

impl Work<'_> {
    fn run(&self, mut artifact: Artifact) -> Result<Promoted> {
        let Work {
            from,
            to,
            release,
            context,
            ..
        } = *self;
        from.reporter.begin("comparing the artifact with its release");
        let brought = context.block_on(async {
            let brought = bring(&from.store, &to.store, release, &mut artifact);
            let brought = self.lock.during(brought).await;
            brought.map_err(|error| disagrees(error, release))
        })?;
        from.reporter.finish();
        to.reporter.begin("publishing");
        let promoted = PromotedFrom {
            stage: release.stage.clone(),
            release: release.id.clone(),
        };
        let published = self.publish(&artifact, brought, promoted.clone())?;
        Ok(Promoted {
            published,
            from: promoted,
            brought,
            forced: false,
        })
    }

    fn publish(&self, artifact: &Artifact, brought: Brought, promoted: PromotedFrom) -> Result<Published> {
        let Work { to, context, .. } = *self;
        let who = settle::who(context);
        let subjects = subjects(&to.config, std::iter::once(self.release), context);
        let renders: Vec<_> = self
            .manifests
            .iter()
            .map(|(_, manifest)| move |release: &RenderContext<'_>| manifest.render(release))
            .collect();
        let onces: Vec<_> = self
            .manifests
            .iter()
            .map(|(_, manifest)| move |release: &RenderContext<'_>| manifest.render_once(release))
            .collect();
        let plans = self.manifests.iter().zip(renders.iter().zip(&onces));
        let plans = plans.map(|((role, manifest), (render, once))| RolePlan {
            role: role.name.clone(),
            render,
            once: manifest.has_once().then_some(once as &RenderManifest<'_>),
        });
        let input = PublishInput {
            store: &to.store,
            app: &to.config.app,
            stage: to.config.stage(),
            artifact,
            time: jiff::Timestamp::now().as_second(),
            who: &who,
            roles: plans.collect(),
            shared: to.config.cache.shared,
            origin: Origin {
                subject: subjects.get(&self.release.revision).map(String::as_str),
                promoted: Some(promoted),
                bytes_stored: brought != Brought::Here,
            },
            lock: Some(self.lock),
        };
        context.block_on(async { Ok(publish(input).await?) })
    }
}

/// What the stage's store has, and what its release says, are not the same: nothing of it may go on.
fn disagrees(error: shipit_store::Error, release: &Release) -> CliError {
    match error.kind() {
        ErrorKind::Corrupt => CliError::from_source(Kind::Verification, error)
            .context(format!("the release {} is not what was published", release.id))
            .hint("nothing was promoted; find out who changed the store, then build and publish it again"),
        _ => error.into(),
    }
}

/// Notes the release for the stages of a job that follow, and prints where its manifests are.
fn told(promoted: &Promoted, to: &Place, context: &Context) -> Result<()> {
    let Promoted {
        published,
        from,
        brought,
        forced,
    } = promoted;
    let (config, release) = (&to.config, &published.release);
    let state = StateDirectory::beside(&config.dir);
    state.create()?;
    state.save_publish(&PublishState {
        app: config.app.clone(),
        stage: config.stage().to_owned(),
        release: release.id.to_string(),
        revision: release.revision.clone(),
        artifact: release.artifact.sha256.clone(),
    })?;
    let size = release.artifact.size;
    let copied = if *brought == Brought::Copied { size } else { 0 };
    let how = match brought {
        Brought::Copied => "copied by the server",
        Brought::Here if published.sent >= size => "sent",
        Brought::Here | Brought::There => "there already",
    };
    let how = format!("{} {how}", bytes(size));
    context.output.say(format!(
        "promoted {} of {} from {} to {} as {}: {how}",
        from.release,
        config.app,
        from.stage,
        config.stage(),
        release.id
    ));
    for (role, url) in &published.roles {
        context.output.data(format!("{role}\t{url}"))?;
    }
    context.output.json(&Report {
        app: &config.app,
        stage: config.stage(),
        release: release.id.as_str(),
        revision: &release.revision,
        from,
        artifact: &release.artifact.sha256,
        artifact_url: &published.artifact_url,
        record_sha256: &release.artifact.record_sha256,
        roles: published
            .roles
            .iter()
            .map(|(role, manifest_url)| RoleReport { role, manifest_url })
            .collect(),
        forced: *forced,
        sent: published.sent,
        copied: published.copied + copied,
        skipped: published.skipped.saturating_sub(copied),
    })
}
