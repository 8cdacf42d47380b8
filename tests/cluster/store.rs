//! A store that goes away: before a kick, while it waits, and while hosts fetch.

use shipit_testbed::{ConsulCluster, S3Server};

use crate::host::Handler;
use crate::shop::{Config, EVENT, KICKER, Shop, WithLogs, line};

const BUCKET: &str = "shop-deploy";

#[test]
#[ignore = "needs the testbed; run make test"]
fn without_its_store_a_kick_says_so_and_the_next_one_works() {
    let cluster = ConsulCluster::start(&[KICKER, "web1", "web2"]);
    let s3 = S3Server::start();
    s3.create_bucket(BUCKET);
    let store = format!(
        "url = \"s3://{BUCKET}/shipit\"\nregion = \"{}\"\nendpoint = \"{}\"\n",
        s3.region(),
        s3.endpoint()
    );
    let config = Config {
        store: &store,
        ..Config::default()
    };
    let mut shop = Shop::new(cluster, &config);
    shop.env(&s3.env());
    shop.host("web1", Handler::Stretcher);
    shop.host("web2", Handler::Apply);
    let one = shop.release("one");
    let _ = shop.shipit("kick", &[]).exits_with_logs(0, &shop);

    before(&shop, &s3);
    while_it_waits(&shop, &s3, &one);
    while_hosts_fetch(&shop, &s3);
}

/// Nobody hears of anything.
fn before(shop: &Shop, s3: &S3Server) {
    s3.kill9();
    let events = shop.events("web1");
    let _ = shop.shipit("kick", &[]).exits(5).says("s3://shop-deploy/shipit");
    assert_eq!(shop.events("web1"), events);
    s3.start_again();
}

/// The hosts are told and come through; what is live cannot be noted.
fn while_it_waits(shop: &Shop, s3: &S3Server, one: &str) {
    let two = shop.release("two");
    shop.switch("web1.hang", true);
    let mut kick = shop.start("kick", &["--reason", "without a store"]);
    shop.wait_told("web1", 2);
    shop.wait_told("web2", 2);
    s3.kill9();
    shop.switch("web1.hang", false);
    let (code, said) = shop.end_of(&mut kick);
    assert_eq!(code, Some(5), "{said}\n{}", shop.logs());
    for node in ["web1", "web2"] {
        assert!(said.contains(&line(node, "succeeded")), "{said}");
    }
    assert_eq!(
        shop.agent(KICKER).kv_get("shipit/locks/shop/staging"),
        None,
        "{said}"
    );
    s3.start_again();
    let kick = shop.last_kick();
    assert_eq!(
        (&kick["state"], &kick["ended"]),
        (&"interrupted".into(), &serde_json::Value::Null)
    );
    assert_eq!(shop.live().as_deref(), Some(one));
    assert!(
        shop.status()
            .values()
            .all(|host| host["in_service"].as_str() == Some(&two))
    );
    let _ = shop.shipit("kick", &[]).exits_with_logs(0, shop);
    assert_eq!(shop.live().as_ref(), Some(&two));
}

/// An event whose manifest cannot be had: hosts keep what they have, and are repaired once the store is back.
fn while_hosts_fetch(shop: &Shop, s3: &S3Server) {
    let two = shop.hosts["web1"].current();
    let three = shop.release("three");
    let artifact = {
        let keys = s3.keys(BUCKET);
        let record = String::from_utf8(
            s3.object(BUCKET, &format!("shipit/releases/shop/staging/{three}/web.yml"))
                .unwrap(),
        );
        let manifest = record.unwrap();
        keys.into_iter()
            .find(|key| key.ends_with(".tar.zst") && manifest.contains(key.rsplit('/').next().unwrap()))
            .unwrap()
    };
    let path = s3.object_path(BUCKET, &artifact);
    let aside = path.with_extension("aside");
    std::fs::rename(&path, &aside).unwrap();
    let ran = shop
        .shipit("kick", &["--timeout", "40s", "--max-failures", "1"])
        .exits_with_logs(7, shop);
    assert_eq!(
        ran.out(),
        [line("web1", "failed"), line("web2", "failed")].concat(),
        "{ran}\n{}",
        shop.logs()
    );
    for host in shop.hosts.values() {
        assert_eq!(host.current(), two);
    }
    std::fs::rename(&aside, &path).unwrap();
    let ran = shop.shipit("repair", &[]).exits_with_logs(0, shop);
    assert_eq!(ran.out().matches("succeeded").count(), 2, "{ran}");
    assert!(!shop.agent("web1").events(EVENT).is_empty());
    let all = shop.status();
    assert!(
        all.values()
            .all(|host| host["in_service"].as_str() == Some(&three)),
        "{all:?}"
    );
}
