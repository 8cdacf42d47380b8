//! Locks: objects below `locks/` that say who holds them, and that expire when their holder stops to renew them.
//!
//! [`LockPlace`] is one such object: taken, renewed, given back and looked at by conditional writes. [`Keeper`] renews whatever
//! can be renewed, a lock of Consul too; [`wait_for`] tries until a lock is free. [`PublishLock`] is all of it for the
//! one lock of an app that keeps publishing and pruning apart. Not here: what is done under a lock, and Consul's locks.
//!
//! Clocks are not trusted to agree. A holder takes its lock for lost once its TTL has passed since it last began to renew
//! it with success, by a clock that goes on while the machine sleeps. Who wants the lock has seen it unchanged for longer than
//! that by its own clock, or has seen that by the holder's clock it expired and that no renewal comes.

mod clock;
mod document;
mod keep;
mod place;
mod publish;
mod take;
mod watch;
mod witness;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use clock::Moment;
pub use document::{LockAttempt, LockGrip, LockHeld};
pub use keep::{Keeper, Renew, Trouble};
pub use place::LockPlace;
pub use publish::PublishLock;
pub use take::{Waited, wait_for};

/// How long a lock in the store stands that its holder does not renew; it is renewed three times as often.
pub const LOCK_TTL: Duration = Duration::from_secs(30);

/// Who holds a lock, and what for: what is stored in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Tells this holder from every other one.
    pub id: String,
    /// `user@host`.
    pub who: String,
    /// The build's URL, in Jenkins.
    #[serde(default)]
    pub build: Option<String>,
    /// The process id there.
    #[serde(default)]
    pub pid: Option<u32>,
    /// What it does: `kick web`, `rollback web`, `lock`.
    pub doing: String,
    /// The revision that it deploys.
    #[serde(default)]
    pub revision: Option<String>,
    /// Why, in its words.
    #[serde(default)]
    pub reason: Option<String>,
    /// Since when, in unix seconds.
    pub time: i64,
    /// Whether a person set it: then `unlock` alone ends it.
    pub manual: bool,
}

impl Holder {
    /// An id that no other holder has: 32 hexadecimal digits.
    pub fn new_id() -> String {
        format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
    }
}

/// What happens to a lock; the caller shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockEvent {
    /// Somebody has it, and it is waited for. Said once for each holder.
    Waiting {
        /// Who has it.
        holder: Box<Holder>,
        /// For how much longer it is waited at most.
        left: Duration,
    },
    /// It could not be renewed; that is tried again until it is lost.
    NotRenewed {
        /// Why.
        why: String,
        /// Until it is lost.
        left: Duration,
    },
    /// It is lost, for good.
    Lost {
        /// Why.
        why: String,
    },
}

/// Where a lock's events go. Called from any thread.
pub type OnLockEvent = Arc<dyn Fn(LockEvent) + Send + Sync>;
