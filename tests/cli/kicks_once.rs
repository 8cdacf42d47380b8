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

/// Two migrations side by side are what nobody wants: where the first may still run, the next one waits for it, on the same host.
#[test]
#[ignore = "needs the testbed; run make test"]
fn once_commands_that_may_still_run_are_not_run_beside_on_another_host() {
    let once = "once = ['''echo \"$NODE begins\" >>@HOSTS@/migrated; while [ -e @HOSTS@/once.hang ]; do sleep 0.05; done; \
                echo \"$NODE ends\" >>@HOSTS@/migrated''']";
    let filter = |node: &str| format!("[role.web.filter]\nnode = \"{node}\"");
    let role = format!("dest = \"@DEST@\"\n{once}\n{}", filter("web2"));
    let mut shop = Shop::new(&["web1", "web2"], "", &role);
    shop.by_apply("web1");
    shop.by_apply("web2");
    let migrated = |shop: &Shop| fs::read_to_string(shop.file("migrated")).unwrap_or_default();
    let now_of = |shop: &Shop, from: &str, to: &str| {
        let text = fs::read_to_string(shop.project.repo.join("shipit.toml")).unwrap();
        let (from, to) = (filter(from), filter(to));
        assert!(text.contains(&from), "{text}");
        let _ = shop.project.config(&text.replace(&from, &to));
    };
    let one = shop.release("one");
    fs::write(shop.file("once.hang"), "").unwrap();
    let _ = shop
        .shipit("kick", &["--timeout", "10s"])
        .exits(7)
        .says("the once commands did not report in time");
    assert_eq!(migrated(&shop), "web2 begins\n");
    // That host is no longer one of the role's: nobody can wait for them there.
    now_of(&shop, "web2", "web1");
    let key = format!("shipit/reports/shop/staging/web.once/web2/{one}");
    let _ = shop
        .shipit("kick", &["--timeout", "10s"])
        .exits(12)
        .says("the once commands of an earlier kick may still run on web2")
        .says("web2 is none of the hosts of web now")
        .says(&format!("`consul kv delete {key}`"));
    assert_eq!(migrated(&shop), "web2 begins\n");
    // web1 comes first in the order, and is not taken.
    now_of(&shop, "web1", "web*");
    let args = ["kick", "web", "--stage", "staging"];
    let mut kick = shop
        .project
        .shipit(&args)
        .start("again", shop.project.tmp.join("again.log"));
    kick.wait_log(
        Duration::from_secs(30),
        "running the once commands of web on web2",
    );
    fs::remove_file(shop.file("once.hang")).unwrap();
    let status = kick.wait(Duration::from_secs(100)).unwrap();
    assert_eq!(status.code(), Some(0), "{}", kick.log());
    let ran = migrated(&shop);
    assert!(
        ran.starts_with("web2 begins\nweb2 ends\n") && !ran.contains("web1"),
        "{ran}"
    );
}

/// Who knows that the host is gone for good says so.
#[test]
#[ignore = "needs the testbed; run make test"]
fn once_commands_of_a_host_that_is_dead_are_not_run_elsewhere_unasked() {
    let once = "once = ['''echo \"$NODE\" >>@HOSTS@/migrated; while [ -e @HOSTS@/once.hang ]; do sleep 0.05; done''']";
    let role = format!("dest = \"@DEST@\"\n{once}\n[role.web.filter]\nnode = \"web*\"");
    let mut shop = Shop::new(&["web1", "web2"], "", &role);
    shop.by_apply("web1");
    shop.by_apply("web2");
    let one = shop.release("one");
    fs::write(shop.file("once.hang"), "").unwrap();
    let _ = shop.shipit("kick", &["--timeout", "10s"]).exits(7);
    shop.die("web1");
    let key = format!("shipit/reports/shop/staging/web.once/web1/{one}");
    let _ = shop
        .shipit("kick", &[])
        .exits(12)
        .says("web1 cannot be told: its Consul agent does not answer")
        .says("when web1 is back, kick again")
        .says(&format!("`consul kv delete {key}`"));
    let migrated = |shop: &Shop| fs::read_to_string(shop.file("migrated")).unwrap();
    assert_eq!(migrated(&shop), "web1\n");
    fs::remove_file(shop.file("once.hang")).unwrap();
    shop.forget(&key);
    let _ = shop
        .shipit("kick", &[])
        .ok()
        .says("running the once commands of web on web2");
    assert_eq!(migrated(&shop), "web1\nweb2\n");
}
