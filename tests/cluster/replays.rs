//! Events that come twice: by two watches, by a watch that is restarted, after a host was changed without one.

use std::ffi::OsString;
use std::time::Duration;

use shipit_testbed::ConsulCluster;

use crate::host::{Handler, Host};
use crate::shop::{Config, EVENT, KICKER, SOON, Shop, WithLogs};

#[test]
#[ignore = "needs the testbed; run make test"]
fn what_comes_twice_is_done_once_and_undoes_nothing() {
    let nodes = [KICKER, "web1", "web2", "web3", "web4"];
    let cluster = ConsulCluster::with_servers(1, &nodes);
    let hosts: Vec<String> = nodes[1..].iter().map(|node| format!("{node:?}")).collect();
    let role = format!(
        "[role.web.exec]\nhosts = [{}]\ncommand = \"sh @HOSTS@/by-exec {{{{ host }}}}\"\n",
        hosts.join(", ")
    );
    let mut shop = Shop::new(
        cluster,
        &Config {
            role: &role,
            ..Config::default()
        },
    );
    for (node, handler) in [
        ("web1", Handler::Stretcher),
        ("web2", Handler::Apply),
        ("web3", Handler::Stretcher),
        ("web4", Handler::Apply),
    ] {
        shop.host(node, handler);
    }
    let one = twice_at_the_same_moment(&mut shop);
    let two = after_a_kick_by_exec(&mut shop, &one);
    after_a_boot(&mut shop, &one, &two);
}

/// Two watches of one event on each host, and the event once more under another id.
fn twice_at_the_same_moment(shop: &mut Shop) -> String {
    for node in ["web1", "web2"] {
        shop.watch(node);
    }
    let one = shop.release("one");
    let _ = shop.shipit("kick", &[]).exits_with_logs(0, shop);
    let payload = shop.agent("web1").events(EVENT).pop().unwrap();
    let logged = |shop: &Shop| -> Vec<usize> { shop.hosts.values().map(Host::logged).collect() };
    let before = logged(shop);
    shop.agent(KICKER).fire(EVENT, &payload);
    shipit_testbed::until("the event to come again", SOON, || {
        logged(shop).iter().zip(&before).all(|(now, before)| now > before)
    });
    std::thread::sleep(Duration::from_secs(2));
    let mut told = shop.told();
    told.sort();
    assert_eq!(told, ["web1", "web2", "web3", "web4"], "{}", shop.logs());
    for (node, host) in &shop.hosts {
        assert_eq!(host.current().as_ref(), Some(&one), "{node}");
    }
    one
}

/// The kick went by exec, so Consul's newest event is of the release before, unless it is fired too.
fn after_a_kick_by_exec(shop: &mut Shop, one: &str) -> String {
    let mut script = "read -r url\ncase $1 in\n".to_owned();
    for node in shop.hosts.keys() {
        // As over ssh: the same program on the host itself.
        let argv = shop.apply(node, &[]).argv();
        let quoted = |word: &OsString| format!("'{}'", word.to_str().unwrap().replace('\'', "'\\''"));
        let argv: Vec<String> = argv.iter().map(quoted).collect();
        let env = format!("NODE={node} CONSUL_HTTP_ADDR={}", shop.agent(node).url());
        script.push_str(&format!("{node}) {env} exec {} \"$url\" ;;\n", argv.join(" ")));
    }
    script.push_str("esac\n");
    std::fs::write(shop.project.tmp.join("hosts/by-exec"), script).unwrap();
    let two = shop.release("two");
    let ran = shop
        .shipit("kick", &["--transport", "exec"])
        .exits_with_logs(0, shop);
    assert_eq!(ran.out().matches("\tsucceeded\n").count(), 4, "{ran}");
    for (node, host) in &shop.hosts {
        assert_eq!(host.current().as_ref(), Some(&two), "{node}");
    }
    assert_eq!(shop.told().len(), 8, "{}", shop.logs());
    shipit_testbed::until("the event to follow the hosts", SOON, || {
        let newest = shop.agent("web1").events(EVENT).pop().unwrap();
        String::from_utf8(newest).unwrap().contains(&two)
    });
    for node in ["web1", "web2"] {
        shop.rewatch(node);
        assert_eq!(
            shop.hosts[node].current().as_ref(),
            Some(&two),
            "{node}\n{}",
            shop.hosts[node].log()
        );
    }
    assert_eq!(shop.told().len(), 8, "{}", shop.logs());
    assert_ne!(one, two);
    two
}

/// A host boots into the live release while the newest event is an older one's.
fn after_a_boot(shop: &mut Shop, one: &str, two: &str) {
    let _ = shop.shipit("kick", &["--release", one]).exits_with_logs(0, shop);
    let store = shop.project.tmp.join("store");
    let manifest = |release: &str| {
        format!(
            "file://{}/releases/shop/staging/{release}/web.yml",
            store.display()
        )
    };
    let _ = shop.apply("web4", &["--live", &manifest(two)]).run().ok();
    assert_eq!(shop.hosts["web4"].current().as_deref(), Some(two));
    shop.rewatch("web4");
    assert_eq!(
        shop.hosts["web4"].current().as_deref(),
        Some(two),
        "{}",
        shop.hosts["web4"].log()
    );
    // status says so, and repair brings it back to what the role has.
    let status = &shop.status()["web4"];
    assert_eq!(
        (status["in_service"].as_str(), status["live"].as_bool()),
        (Some(two), Some(false)),
        "{status}"
    );
    let ran = shop.shipit("repair", &[]).exits_with_logs(0, shop);
    assert_eq!(ran.out(), "web\tweb4\tsucceeded\n", "{ran}");
    assert_eq!(shop.hosts["web4"].current().as_deref(), Some(one));
}
