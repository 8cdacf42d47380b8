//! Events that arrive.

use std::fs;

use shipit_fleet::consul::{Error, EventRequest, exact, preflight};
use shipit_fleet::event::{HandlerInput, Heard, parse_handler_input};
use shipit_testbed::{Cmd, ConsulAgent, ConsulCluster, FaultProxy, Tmp, until};

use crate::agents::{READY, client, event, fire};

const NAME: &str = "deploy_shop_web_production";

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_watch_hands_the_payload_to_its_handler() {
    let agent = ConsulAgent::dev();
    let tmp = Tmp::new("watch");
    // Each call leaves a file that is whole when it has its name.
    let script = "cat >$$.new; echo \"${CONSUL_INDEX:-}\" >$$.index; mv $$.new $(date +%s%N).input";
    let handler = Cmd::new("sh").args(["-c", script]).cwd(tmp.path());
    let _watch = agent.watch(NAME, &handler);
    let inputs = || {
        let entries = fs::read_dir(tmp.path())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let mut found: Vec<_> = entries
            .filter(|path| path.extension().is_some_and(|ext| ext == "input"))
            .collect();
        found.sort();
        let read = |path| parse_handler_input(&fs::read(path).unwrap()).unwrap();
        found.into_iter().map(read).collect::<Vec<_>>()
    };
    until("the watch's first call", READY, || !inputs().is_empty());
    assert_eq!(inputs(), [HandlerInput::Nothing]);
    let urls = ["s3://bucket/a b/wéb.yml?x={{1}}", "file:///srv/store/web.yml"];
    for (number, url) in urls.iter().enumerate() {
        let url = url.replace(' ', "+");
        let id = fire(&client(&agent.url()), &event(NAME, &url)).unwrap();
        assert_eq!(id.to_string().len(), 36);
        until("the event at the watch", READY, || inputs().len() == number + 2);
        let heard = Heard {
            name: NAME.to_owned(),
            id: id.to_string(),
        };
        assert_eq!(inputs().last(), Some(&HandlerInput::Event { url, heard }));
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn filters_reach_the_named_nodes_alone() {
    let cluster = ConsulCluster::start(&["web1", "web10", "db1"]);
    cluster
        .client("web10")
        .register_service("shop", &["blue", "blue2"]);
    cluster.client("db1").register_service("shopping", &["green"]);
    let server = client(&cluster.server().url());
    let sent = |payload: &str, change: &dyn Fn(&mut EventRequest)| {
        let mut request = event(NAME, payload);
        change(&mut request);
        fire(&server, &request).unwrap();
    };
    sent("exact", &|request| request.node = Some(exact("web1")));
    sent("loose", &|request| request.node = Some("web1".to_owned()));
    sent("service", &|request| request.service = Some(exact("shop")));
    sent("tag", &|request| {
        request.service = Some("shop".to_owned());
        request.tag = Some(exact("green"));
    });
    sent("all", &|_| {});
    let seen = |node: &str| {
        let mut payloads = cluster.client(node).events(NAME);
        payloads.sort();
        payloads
            .into_iter()
            .map(|payload| String::from_utf8(payload).unwrap())
            .collect::<Vec<_>>()
    };
    let expected = [
        ("web1", vec!["all", "exact", "loose"]),
        ("web10", vec!["all", "loose", "service"]),
        ("db1", vec!["all", "tag"]),
    ];
    for (node, payloads) in expected {
        until("the events at their nodes", READY, || {
            seen(node).len() >= payloads.len()
        });
        assert_eq!(seen(node), payloads, "at {node}");
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn the_largest_event_arrives_and_a_larger_one_is_not_sent() {
    let agent = ConsulAgent::dev();
    let proxy = FaultProxy::start(agent.addr());
    let client = client(&proxy.url());
    // Name, payload, filters: each at one of the limits.
    let sizes = [
        (1, 300, vec![69]),
        (50, 300, vec![]),
        (100, 200, vec![]),
        (185, 30, vec![]),
        (30, 230, vec![32, 33, 33]),
    ];
    for (number, (name, payload, filters)) in sizes.into_iter().enumerate() {
        let filter = |at: usize| {
            filters
                .get(at)
                .map(|length| format!(".*{}", "x?".repeat(length / 2 - 1) + &"$"[..length % 2]))
        };
        let mut request = EventRequest {
            node: filter(0),
            service: filter(1),
            tag: filter(2),
            ..event(&"e".repeat(name), &"p".repeat(payload))
        };
        preflight(&request).unwrap();
        fire(&client, &request).unwrap_or_else(|error| panic!("{name} + {payload}: {error}"));
        let sent = proxy.seen();
        assert_eq!(sent.len(), number + 1);
        let header = |wanted: &str| {
            let found = sent[number]
                .headers
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.clone())
        };
        assert_eq!(
            (header("content-length"), header("transfer-encoding")),
            (Some(payload.to_string()), None)
        );
        request.payload.push('p');
        let error = fire(&client, &request).unwrap_err();
        assert!(matches!(&error, Error::TooLong(_)), "{error:?}");
        assert_eq!(proxy.seen().len(), number + 1, "something was sent");
    }
    let name = "e".repeat(50);
    until("the event", READY, || agent.events(&name) == [vec![b'p'; 300]]);
    let error = fire(&client, &event(NAME, &"p".repeat(301))).unwrap_err();
    assert!(
        error.to_string().contains("payload 301 bytes (limit 300)")
            && error.hint().unwrap().contains("store.url")
    );
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn names_and_filters_are_encoded() {
    let agent = ConsulAgent::dev();
    let name = "deploy_a+b:c@d=e.f-g";
    let request = EventRequest {
        node: Some("^(d.v|x&y=z|a%20b)$".to_owned()),
        ..event(name, "file:///m.yml")
    };
    fire(&client(&agent.url()), &request).unwrap();
    until("the event", READY, || {
        agent.events("").last() == Some(&b"file:///m.yml".to_vec())
    });
    let list = agent.api("GET", "/v1/event/list", b"").text();
    assert!(list.contains(&format!("\"Name\": \"{name}\"")), "{list}");
}
