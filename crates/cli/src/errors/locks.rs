//! Locks as errors: who has one, since when, why, and what to do.

use shipit_store::Holder;

use super::{CliError, Kind};
use crate::times;

/// Somebody has the lock of publishing; of `what` (`publishing shop`).
pub fn locked(what: &str, holder: &Holder) -> CliError {
    refused(what, holder, "", "in about a minute")
}

/// Somebody has the lock of a stage, `what` (`shop in production`). `flag` names the stage to commands.
pub fn stage_locked(what: &str, holder: &Holder, flag: &str, uses_consul: bool) -> CliError {
    let frees = match uses_consul {
        true => "within 25 seconds",
        false => "in about a minute, on its own machine at once",
    };
    refused(what, holder, flag, frees)
}

fn refused(what: &str, holder: &Holder, flag: &str, frees: &str) -> CliError {
    let error = CliError::new(Kind::Locked, format!("{what} is locked by {}", held_by(holder)));
    if holder.manual {
        error.hint(format!(
            "a person set it, and `shipit unlock{flag}` alone ends it: ask them first"
        ))
    } else {
        error.hint(format!(
            "wait for it with --lock-wait 10m; when its holder is gone, it frees itself {frees}"
        ))
    }
}

/// The lock of `what` was lost on the way.
pub fn lost(what: &str, why: &str) -> CliError {
    CliError::new(Kind::Locked, format!("the lock of {what} was lost: {why}"))
        .hint("what was begun before may have been done; look who has the lock now, and run it again when it is free")
}

/// `deploy@ci since 2026-11-21 13:45:15Z: kick web, revision 3074f46, "db migration" (https://ci.example.com/job/shop/7/)`.
pub fn held_by(holder: &Holder) -> String {
    let mut text = format!(
        "{} since {}: {}",
        holder.who,
        times::utc(holder.time),
        holder.doing
    );
    if let Some(revision) = &holder.revision {
        let short: String = revision.chars().take(7).collect();
        text.push_str(&format!(", revision {short}"));
    }
    if let Some(reason) = &holder.reason {
        text.push_str(&format!(", {reason:?}"));
    }
    if let Some(build) = &holder.build {
        text.push_str(&format!(" ({build})"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder() -> Holder {
        Holder {
            id: "1".into(),
            who: "deploy@ci".into(),
            build: Some("https://ci.example.com/job/shop/7/".into()),
            pid: Some(7),
            doing: "kick web".into(),
            revision: Some("3074f4622d1bc2b6b7de1fae7f0e2f8c4f3c3f6d".into()),
            reason: Some("db migration".into()),
            time: 1_795_268_715,
            manual: false,
        }
    }

    #[test]
    fn who_has_a_lock_since_when_and_why_is_one_line() {
        let error = locked("shop in production", &holder());
        assert_eq!(error.code(), 8);
        assert_eq!(
            error.chain().join("|"),
            "shop in production is locked by deploy@ci since 2026-11-21 13:45:15Z: kick web, revision 3074f46, \
             \"db migration\" (https://ci.example.com/job/shop/7/)"
        );
        assert!(error.hints()[0].contains("--lock-wait"));
        let staged = |uses_consul| stage_locked("x", &holder(), " --stage x", uses_consul).hints()[0].clone();
        assert!(staged(true).contains("25 seconds") && staged(false).contains("a minute"));
        let manual = Holder {
            manual: true,
            ..holder()
        };
        assert!(
            stage_locked("x", &manual, " --stage x", true).hints()[0].contains("`shipit unlock --stage x`")
        );
        let bare = Holder {
            build: None,
            revision: None,
            reason: None,
            manual: true,
            ..holder()
        };
        assert_eq!(held_by(&bare), "deploy@ci since 2026-11-21 13:45:15Z: kick web");
        assert!(locked("shop in p", &bare).hints()[0].contains("unlock"));
        assert_eq!(lost("x", "y").code(), 8);
    }
}
