//! Requests that fail: each by its own kind, and sent again only where that is safe.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use shipit_fleet::Secret;
use shipit_fleet::consul::{Client, ConsulConfig, Error, ErrorKind, EventRequest};
use shipit_testbed::{ConsulAgent, Fault, FaultProxy, ports, until};

use crate::agents::{READY, block_on, client, config, event, fire};

const NAME: &str = "deploy_shop_web_production";

#[test]
#[ignore = "needs the testbed; run make test"]
fn tokens_decide_who_may_fire() {
    let agent = ConsulAgent::with_acl();
    let with = |token: Option<&str>| {
        let config = ConsulConfig {
            token: token.map(Secret::new),
            ..config(&agent.url())
        };
        (
            fire(&Client::new(&config).unwrap(), &event(NAME, "file:///m.yml")),
            format!("{config:?} {:?}", Client::new(&config)),
        )
    };
    let rule = format!("event \"{NAME}\" {{ policy = \"write\" }}");
    let (result, _) = with(None);
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Denied { token: false, .. }), "{error:?}");
    assert!(error.hint().unwrap().contains(&rule) && error.hint().unwrap().contains("CONSUL_HTTP_TOKEN"));
    let reader = agent.create_token("event_prefix \"\" { policy = \"read\" }");
    let (result, shown) = with(Some(&reader));
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Denied { token: true, .. }), "{error:?}");
    assert!(error.hint().unwrap().contains(&rule));
    assert!(!format!("{error} {error:?} {shown}").contains(&reader));
    let (result, _) = with(Some("00000000-0000-0000-0000-000000000000"));
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error:?}");
    // The rule that the hint names is the one that is needed.
    let writer = agent.create_token(&rule);
    with(Some(&writer)).0.unwrap();
    until("the event", READY, || {
        agent.events(NAME) == [b"file:///m.yml".to_vec()]
    });
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn an_address_where_nobody_listens() {
    let nobody = format!("http://127.0.0.1:{}", ports::free(Ipv4Addr::LOCALHOST));
    let client = Client::new(&ConsulConfig {
        attempts: 2,
        ..config(&nobody)
    })
    .unwrap();
    let error = fire(&client, &event(NAME, "file:///m.yml")).unwrap_err();
    assert!(
        matches!(error, Error::Unreachable { attempts: 2, .. }),
        "{error:?}"
    );
    assert_eq!(error.kind(), ErrorKind::Consul);
    assert!(
        error.to_string().contains(&nobody) && error.to_string().contains(NAME),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("CONSUL_HTTP_ADDR"));
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn consul_refuses_in_its_own_words() {
    let agent = ConsulAgent::dev();
    let elsewhere = EventRequest {
        datacenter: Some("nowhere".to_owned()),
        ..event(NAME, "file:///m.yml")
    };
    let error = fire(&client(&agent.url()), &elsewhere).unwrap_err();
    assert!(matches!(&error, Error::Refused { status: 500, .. }), "{error:?}");
    assert!(
        error.to_string().contains("datacenter") && error.hint().unwrap().contains("catalog"),
        "{error}"
    );
    let broken = EventRequest {
        node: Some("(".to_owned()),
        ..event(NAME, "file:///m.yml")
    };
    let error = fire(&client(&agent.url()), &broken).unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Refused {
                status: 400 | 500,
                ..
            }
        ),
        "{error:?}"
    );
    let lonely = EventRequest {
        tag: Some("blue".to_owned()),
        ..event(NAME, "file:///m.yml")
    };
    assert!(matches!(
        fire(&client(&agent.url()), &lonely).unwrap_err(),
        Error::Event { .. }
    ));
    let elsewhere = format!("{}/not/here", agent.url());
    let error = fire(&client(&elsewhere), &event(NAME, "file:///m.yml")).unwrap_err();
    assert!(matches!(&error, Error::NotConsul { .. }), "{error:?}");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn an_event_is_sent_once_and_a_read_until_it_succeeds() {
    let agent = ConsulAgent::dev();
    let proxy = FaultProxy::start(agent.addr());
    let client = client(&proxy.url());
    let event = event(NAME, "file:///m.yml");
    proxy.inject(Fault::status(500).body("rpc error"));
    let error = fire(&client, &event).unwrap_err();
    assert!(
        matches!(&error, Error::Refused { status: 500, reason, .. } if reason == "rpc error"),
        "{error:?}"
    );
    proxy.inject(Fault::status(413).body("too large"));
    assert!(matches!(
        fire(&client, &event).unwrap_err(),
        Error::Refused { status: 413, .. }
    ));
    // The agent has the event, and its answer is lost: for all that the client knows it may have been fired.
    proxy.inject(Fault::cut_response(0));
    let error = fire(&client, &event).unwrap_err();
    assert!(matches!(&error, Error::NoAnswer { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("kick again"));
    assert_eq!(proxy.count("PUT").requests, 3);
    proxy.forget();
    // Said before anything was done: the event cannot have been fired.
    proxy.inject(Fault::status(500).body("No cluster leader").times(2));
    fire(&client, &event).unwrap();
    assert_eq!(proxy.count("PUT").requests, 3);
    proxy.fail_next(2, 503);
    block_on(client.nodes()).unwrap();
    assert_eq!(proxy.count("GET").requests, 3);
    proxy.inject(Fault::status(200).body("<html>a proxy's page</html>"));
    assert!(matches!(
        fire(&client, &event).unwrap_err(),
        Error::NotConsul { .. }
    ));
    fire(&client, &event).unwrap();
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn an_answer_that_does_not_come_is_not_waited_for() {
    let agent = ConsulAgent::dev();
    let proxy = FaultProxy::start(agent.addr());
    proxy.inject(Fault::delay(Duration::from_secs(600)));
    let client = Client::new(&ConsulConfig {
        timeout: Duration::from_millis(500),
        ..config(&proxy.url())
    })
    .unwrap();
    let begin = Instant::now();
    let error = fire(&client, &event(NAME, "file:///m.yml")).unwrap_err();
    assert!(matches!(&error, Error::NoAnswer { .. }), "{error:?}");
    assert!(begin.elapsed() < Duration::from_secs(300));
}
