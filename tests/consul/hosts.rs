//! Which hosts are expected, and whom an event for some of them reaches.

use std::time::Duration;

use shipit_fleet::consul::{EventRequest, preflight};
use shipit_fleet::filters;
use shipit_fleet::hosts::{self, Error, ErrorKind, Expected, Wanted};
use shipit_testbed::{ConsulAgent, ConsulCluster, until};

use crate::agents::{READY, client, event, fire, on_threads};

const NAME: &str = "deploy_shop_web_production";

fn wanted() -> Wanted {
    Wanted {
        what: "role web".to_owned(),
        ..Wanted::default()
    }
}

fn named(names: &[&str]) -> Wanted {
    Wanted {
        named: Some(owned(names)),
        ..wanted()
    }
}

fn node(pattern: &str) -> Wanted {
    Wanted {
        node: Some(pattern.to_owned()),
        ..wanted()
    }
}

fn service(name: &str, tag: Option<&str>) -> Wanted {
    Wanted {
        service: Some(name.to_owned()),
        tag: tag.map(str::to_owned),
        ..wanted()
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn expected(agent: &ConsulAgent, wanted: &Wanted) -> Result<Expected, Error> {
    on_threads(hosts::expected(&client(&agent.url()), wanted))
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn hosts_are_those_of_the_list_or_the_filter() {
    let mut cluster = ConsulCluster::start(&["web1", "web10", "db1"]);
    cluster.client("web1").register_service("shop", &["blue", "v1"]);
    cluster.client("web10").register_service("shop", &["green"]);
    cluster.client("db1").register_service("shopping", &["blue"]);
    let names = |wanted: &Wanted| expected(cluster.server(), wanted).unwrap().names();
    until("the services in the catalog", READY, || {
        expected(cluster.server(), &service("shop", None)).is_ok_and(|found| found.hosts.len() == 2)
            && expected(cluster.server(), &service("shopping", None)).is_ok()
    });
    assert_eq!(names(&service("shop", None)), ["web1", "web10"]);
    assert_eq!(names(&service("shop", Some("blue"))), ["web1"]);
    assert_eq!(names(&node("web1")), ["web1"]);
    assert_eq!(names(&node("web*")), ["web1", "web10"]);
    assert_eq!(names(&node("*1")), ["db1", "web1"]);
    let both = Wanted {
        node: Some("*0".to_owned()),
        ..service("shop", None)
    };
    assert_eq!(names(&both), ["web10"]);
    assert_eq!(names(&named(&["web1", "db1", "web1"])), ["db1", "web1"]);
    assert_eq!(names(&named(&["web*"])), ["web1", "web10"]);
    let three = Wanted {
        count: Some(3),
        ..wanted()
    };
    let counted = expected(cluster.server(), &three).unwrap();
    assert_eq!((counted.count, counted.hosts.len()), (Some(3), 0));

    let error = expected(cluster.server(), &named(&["web1", "web2", "wbe10"])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert_eq!(error.to_string(), "role web: no host is named web2, wbe10");
    assert!(
        error
            .hint()
            .unwrap()
            .contains("there are db1, server, web1, web10")
    );
    for none in [
        node("web"),
        node("web1?"),
        service("none", None),
        service("shop", Some("red")),
    ] {
        let error = expected(cluster.server(), &none).unwrap_err();
        assert!(matches!(&error, Error::NoMatch { .. }), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Consul);
    }
    let error = expected(cluster.server(), &wanted()).unwrap_err();
    assert!(matches!(&error, Error::Unfiltered { .. }), "{error:?}");
    assert!(
        error.hint().unwrap().contains("[role.web.filter]"),
        "{:?}",
        error.hint()
    );

    let before = expected(cluster.server(), &node("web*")).unwrap();
    assert_eq!(
        before.only("role web", &owned(&["web10"])).unwrap().names(),
        ["web10"]
    );
    let error = before.only("role web", &owned(&["db1"])).unwrap_err();
    assert!(matches!(&error, Error::Unknown { .. }), "{error:?}");
    cluster.join("web11");
    until("the new host in the catalog", READY, || {
        let now = expected(cluster.server(), &node("web*")).unwrap();
        let joined: Vec<_> = now
            .hosts
            .iter()
            .filter(|host| !before.names().contains(&host.name))
            .collect();
        joined.len() == 1 && joined[0].name == "web11" && joined[0].alive
    });
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_dead_host_is_shown_as_dead() {
    let cluster = ConsulCluster::start(&["web1", "web2"]);
    for name in ["web1", "web2"] {
        cluster.client(name).register_service("shop", &[]);
    }
    until("the services in the catalog", READY, || {
        expected(cluster.server(), &service("shop", None)).is_ok_and(|found| found.alive().len() == 2)
    });
    cluster.client("web2").kill9();
    for wanted in [service("shop", None), node("web*"), named(&["web1", "web2"])] {
        until("Consul to see that an agent died", READY, || {
            expected(cluster.server(), &wanted).unwrap().alive() == ["web1"]
        });
        let found = expected(cluster.server(), &wanted).unwrap();
        assert_eq!(found.names(), ["web1", "web2"]);
        assert!(
            found.hosts[1]
                .why
                .as_ref()
                .unwrap()
                .contains("agent does not answer"),
            "{found:?}"
        );
    }
    // A node that something else put into the catalog has no agent that could hear of an event.
    let body = br#"{"Node":"web3","Address":"127.0.0.1"}"#;
    assert_eq!(
        cluster.server().api("PUT", "/v1/catalog/register", body).status,
        200
    );
    let found = expected(cluster.server(), &node("web3")).unwrap();
    assert!(!found.hosts[0].alive && found.hosts[0].why.as_ref().unwrap().contains("no Consul agent"));
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn the_checks_of_a_service() {
    let agent = ConsulAgent::dev();
    let register = |id: &str, tags: &str, status: &str| {
        let check = format!(r#"{{"Name":"{id} answers","TTL":"10m","Status":"{status}","Notes":""}}"#);
        let body = format!(r#"{{"ID":"{id}","Name":"shop","Tags":[{tags}],"Check":{check}}}"#);
        let done = agent.api("PUT", "/v1/agent/service/register", body.as_bytes());
        assert_eq!(done.status, 200, "{}", done.text());
    };
    register("one", r#""blue""#, "passing");
    register("two", "", "critical");
    let nodes = owned(&["dev", "web1"]);
    let health =
        |tag: Option<&str>| on_threads(hosts::health(&client(&agent.url()), "shop", tag, &nodes)).unwrap();
    until("the checks in the catalog", READY, || {
        health(None).get("dev").is_some_and(|failing| failing.len() == 1)
    });
    let all = health(None);
    assert_eq!(all.len(), 1, "web1 does not have it: {all:?}");
    assert_eq!(all["dev"], ["two answers is critical"]);
    assert_eq!(health(Some("blue"))["dev"], [""; 0]);
    let said = agent.api(
        "PUT",
        "/v1/agent/check/fail/service:one?note=no+answer%0Aat+all",
        b"",
    );
    assert_eq!(said.status, 200, "{}", said.text());
    until("the failing check", READY, || {
        health(Some("blue"))["dev"] == ["one answers is critical: no answer"]
    });
    assert!(
        on_threads(hosts::health(&client(&agent.url()), "shop", None, &nodes[1..]))
            .unwrap()
            .is_empty()
    );
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn an_event_for_named_nodes_reaches_them_alone() {
    let nodes = [
        "web1",
        "web10",
        "web11",
        "web2",
        "ip-10-0-1-1.example.com",
        "ip-10-0-1-1xexample.com",
    ];
    let cluster = ConsulCluster::start(&nodes);
    let server = client(&cluster.server().url());
    let base = |payload: &str| EventRequest {
        node: Some(filters::pattern("*")),
        ..event(NAME, payload)
    };
    let send = |payload: &str, names: &[&str]| {
        let events = filters::events(&base(payload), &owned(names)).unwrap();
        for event in &events {
            preflight(event).unwrap();
            fire(&server, event).unwrap();
        }
        events.len()
    };
    assert_eq!(send("one", &["web1"]), 1);
    assert_eq!(send("two", &["web1", "web10", "web2"]), 1);
    assert_eq!(send("dots", &["ip-10-0-1-1.example.com"]), 1);
    assert_eq!(send("all", &nodes), 1);
    // So long that not all fit into one event: each still gets it once.
    let long = format!("{}long", "x".repeat(296));
    assert!(send(&long, &nodes) > 1);
    let glob = EventRequest {
        node: Some(filters::pattern("web1*")),
        ..event(NAME, "glob")
    };
    fire(&server, &glob).unwrap();
    fire(&server, &event(NAME, "last")).unwrap();
    let seen = |node: &str| {
        let mut payloads: Vec<String> = cluster
            .client(node)
            .events(NAME)
            .into_iter()
            .map(|payload| String::from_utf8(payload).unwrap())
            .collect();
        payloads.sort();
        payloads
    };
    let expected: [(&str, &[&str]); 6] = [
        ("web1", &["all", "glob", "last", "one", "two", &long]),
        ("web10", &["all", "glob", "last", "two", &long]),
        ("web11", &["all", "glob", "last", &long]),
        ("web2", &["all", "last", "two", &long]),
        ("ip-10-0-1-1.example.com", &["all", "dots", "last", &long]),
        ("ip-10-0-1-1xexample.com", &["all", "last", &long]),
    ];
    for (node, payloads) in expected {
        until("the events at their nodes", READY, || {
            seen(node).len() >= payloads.len()
        });
        // One that should not come could come later than those that should.
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(seen(node), payloads, "at {node}");
    }
}
