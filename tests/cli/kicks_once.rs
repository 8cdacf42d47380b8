//! Once commands whose kick was over before they were, with Consul.

use std::fs;
use std::time::Duration;

use shipit_testbed::{Signal, until};

use crate::kicks_consul::Shop;

/// They may run on when their kick is over: that is said, and when they ended well they are not run again.
#[test]
#[ignore = "needs the testbed; run make test"]
fn once_commands_whose_end_nobody_saw_may_still_run() {
    let once = "once = ['''echo \"$NODE\" >>@HOSTS@/migrated; while [ -e @HOSTS@/once.hang ]; do sleep 0.05; done''']";
    let role = format!("dest = \"@DEST@\"\n{once}\n[role.web.filter]\nnode = \"web*\"");
    let mut shop = Shop::new(&["web1"], "", &role);
    shop.by_apply("web1");
    let migrated = |shop: &Shop| {
        fs::read_to_string(shop.file("migrated"))
            .unwrap_or_default()
            .lines()
            .count()
    };
    let history = |shop: &Shop| {
        let args = ["history", "--stage", "staging", "--limit", "1"];
        shop.project.shipit(&args).run().ok().out()
    };
    let still = "the once commands may still run on web1";
    let log = "`shipit logs web1 --role web.once --stage staging`";
    let one = shop.release("one");
    fs::write(shop.file("once.hang"), "").unwrap();
    let ran = shop
        .shipit("kick", &["--timeout", "5s"])
        .exits(7)
        .says("the once commands did not report in time, and no host was told to switch: web1 (silent")
        .says(still)
        .says(log);
    assert!(!ran.err().contains("once commands failed"), "{ran}");
    assert!(history(&shop).contains("once on web1: silent"));
    fs::remove_file(shop.file("once.hang")).unwrap();
    until("the once commands to end", Duration::from_secs(30), || {
        let report = shop.key(&format!("shipit/reports/shop/staging/web.once/web1/{one}"));
        report.is_some_and(|report| report["state"] == "succeeded")
    });
    let _ = shop
        .shipit("kick", &[])
        .ok()
        .says("the once commands of web ended well on web1");
    assert_eq!(migrated(&shop), 1);
    // Nor after that kick.
    let _ = shop.shipit("kick", &[]).ok().says("ran already");
    // The same when somebody stops the kick.
    let _ = shop.release("two");
    fs::write(shop.file("once.hang"), "").unwrap();
    let args = ["kick", "web", "--stage", "staging"];
    let mut kick = shop
        .project
        .shipit(&args)
        .start("stopped", shop.project.tmp.join("stopped.log"));
    until("the once commands to run", Duration::from_secs(30), || {
        migrated(&shop) == 2
    });
    kick.wait_log(Duration::from_secs(30), "web1: started");
    kick.signal(Signal::INT);
    let status = kick.wait(Duration::from_secs(100)).unwrap();
    assert_eq!(status.code(), Some(130), "{}", kick.log());
    assert!(
        kick.log().contains(still) && kick.log().contains(log),
        "{}",
        kick.log()
    );
    assert!(!kick.log().contains("do nothing more"), "{}", kick.log());
    assert!(
        history(&shop).contains("once on web1: started"),
        "{}",
        history(&shop)
    );
    fs::remove_file(shop.file("once.hang")).unwrap();
}
