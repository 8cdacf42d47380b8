//! The event that follows a kick by exec, so that a watch that restarts replays no older one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shipit_testbed::{Fault, until};

use crate::kicks_killed::Bed;

const LOCK: &str = "shipit/locks/shop/staging";
const SOON: Duration = Duration::from_secs(60);

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_lock_that_is_lost_when_live_has_moved_makes_no_bad_kick() {
    let bed = Bed::new(true);
    let agent = bed.agent.as_ref().unwrap();
    let [release, _] = &bed.releases;
    let seen = Arc::new(AtomicBool::new(false));
    bed.s3.inject(Fault::until(&seen).method("PUT").path("/live/"));
    let mut kick = bed.fleet.start("kick", &["--release", release]);
    until("live to be moved", SOON, || {
        bed.s3
            .seen()
            .iter()
            .any(|seen| seen.method == "PUT" && seen.target.contains("/live/"))
    });
    assert_eq!(agent.api("DELETE", &format!("/v1/kv/{LOCK}"), b"").status, 200);
    // Its next renewal finds out.
    kick.wait_log(SOON, "was lost (");
    seen.store(true, Ordering::SeqCst);
    assert_eq!(kick.wait(SOON).unwrap().code(), Some(0), "{}", kick.log());
    let log = kick.log();
    for part in [
        "was not fired after the hosts were told by exec: the lock was lost: ",
        "until the next kick",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert_eq!(bed.fleet.live().as_ref(), Some(release));
    let history = bed.fleet.history();
    let ended = history.last().unwrap().1.as_ref().unwrap();
    assert_eq!(
        (&ended["result"], &ended["moved_live"]),
        (&"succeeded".into(), &true.into())
    );
    let events = agent.api("GET", "/v1/event/list", b"").text();
    assert_eq!(events.trim(), "[]");
    // With the lock it is fired.
    let _ = bed.fleet.shipit("kick", &["--release", release]).ok();
    let events = agent.api("GET", "/v1/event/list", b"").text();
    assert!(events.contains("deploy_shop_web_staging"), "{events}");
}
