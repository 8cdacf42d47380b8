//! Where a stage's lock and its hosts' reports stand, by the config; and taking locks, with what is said meanwhile.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use shipit_fleet::board::{Board, ConsulBoard, Holder, StoreBoard};
use shipit_fleet::consul::Client;
use shipit_fleet::lock::{Lock, LockEvent, OnLockEvent, TakeError};
use shipit_store::Store;
use shipit_store::lock::{LockPlace, PublishLock};

use crate::config::Settled;
use crate::context::Context;
use crate::errors::{CliError, Kind, Result, held_by, stage_locked};
use crate::output::Output;
use crate::settle;

/// The stage's board: in Consul when the config uses it, else in the store.
pub fn board(config: &Settled, context: &Context, store: &Store) -> Result<Arc<dyn Board>> {
    board_on(config, context, store, settle::consul::client(config, context)?)
}

/// As [`board`], on a client that is there already; none where the config uses no Consul.
pub fn board_on(
    config: &Settled,
    context: &Context,
    store: &Store,
    consul: Option<Client>,
) -> Result<Arc<dyn Board>> {
    if let Some(client) = consul {
        let board = ConsulBoard::new(client, &config.app, config.stage());
        return Ok(Arc::new(match &config.consul.hosts_in {
            Some(datacenter) => board.of_hosts_in(datacenter),
            None => board,
        }));
    }
    let board = StoreBoard::new(store, &config.app, config.stage())?;
    Ok(Arc::new(
        board.with_witnesses(&context.environment.temporary_directory()),
    ))
}

/// `shop in production`: what a stage's lock locks, for people.
pub fn stage_name(config: &Settled) -> String {
    format!("{} in {}", config.app, config.stage())
}

/// ` --stage production`, for commands in hints: none of them may mean another stage. Empty in a config without stages.
pub fn stage_flag(config: &Settled) -> String {
    let name = config.stage.as_ref();
    name.map_or_else(String::new, |name| format!(" --stage {name}"))
}

/// The same for commands that ask the board, when this run does without Consul: without that flag they would ask Consul.
pub fn flags(config: &Settled) -> String {
    let without = match config.has_left_consul() {
        true => " --without-consul",
        false => "",
    };
    format!("{}{without}", stage_flag(config))
}

/// Somebody has the stage's lock.
pub fn locked(config: &Settled, holder: &Holder) -> CliError {
    stage_locked(&stage_name(config), holder, &flags(config), config.uses_consul())
}

/// Takes the stage's lock, and waits for it as long as `wait` says, which is said; ends early when the process is asked to
/// stop. Who has it gives it back by `release`.
pub fn stage_lock(
    config: &Settled,
    context: &Context,
    board: Arc<dyn Board>,
    holder: Holder,
    wait: Duration,
) -> Result<Lock> {
    let what = stage_name(config);
    let on_event = on_event(&context.output, what.clone());
    // To the end: what an attempt took at the last moment has to be given back.
    context.block_on_to_the_end(async {
        Lock::take(board, holder, wait, on_event, context.interrupt.asked())
            .await
            .map_err(|error| match error {
                TakeError::Held(held) => locked(config, &held.holder),
                TakeError::Board(error) => error.into(),
                _ => context.stopped(),
            })
    })
}

/// Takes the lock of publishing and pruning, likewise.
pub fn publish_lock(
    config: &Settled,
    context: &Context,
    store: &Store,
    holder: &Holder,
    wait: Duration,
) -> Result<PublishLock> {
    let on_event = on_event(&context.output, format!("publishing {}", config.app));
    let stop = context.interrupt.asked();
    let place = LockPlace::publish(store, &config.app)?;
    let place = place.with_witnesses(&context.environment.temporary_directory());
    let taken = context.block_on_to_the_end(async {
        Ok(PublishLock::take_at(place, holder, wait, on_event, stop).await?)
    })?;
    taken.ok_or_else(|| context.stopped())
}

/// How long giving back a lock may take; it frees itself else.
const GIVE_BACK: Duration = Duration::from_secs(5);

/// Gives a lock back, whatever came of the work under it. That it did not work is a warning.
pub fn give_back<E>(context: &Context, what: &str, release: impl Future<Output = std::result::Result<(), E>>)
where
    CliError: From<E>,
{
    let released = context.block_on_to_the_end(async {
        match tokio::time::timeout(GIVE_BACK, release).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(CliError::new(
                Kind::Internal,
                format!("no answer in {} s", GIVE_BACK.as_secs()),
            )),
        }
    });
    if let Err(error) = released {
        context.output.warn(format!(
            "could not give back the lock of {what}: {}; it frees itself within about a minute",
            error.chain().join(": ")
        ));
    }
}

fn on_event(output: &Output, what: String) -> OnLockEvent {
    let output = output.clone();
    Arc::new(move |event| {
        match event {
        LockEvent::Waiting { holder, left } => output.say(format!(
            "waiting up to {} for the lock of {what}: {}",
            span(left),
            held_by(&holder)
        )),
        LockEvent::NotRenewed { why, left } => output.warn(format!(
            "the lock of {what} could not be renewed ({why}); it is lost in {}",
            span(left)
        )),
        LockEvent::Lost { why } => output.warn(format!(
            "the lock of {what} was lost ({why}); what is under way comes to its end, and nothing more is begun"
        )),
        _ => {}
    }
    })
}

fn span(time: Duration) -> String {
    let seconds = time.as_secs_f64().ceil() as u64;
    crate::config::Span::seconds(seconds).to_string()
}
