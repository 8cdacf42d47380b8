//! Keys, transactions and sessions as the agent has them, not as the client says.

use std::time::{Duration, Instant};

use serde_json::Value;
use shipit_fleet::consul::{Blocking, Error, Op, Read, Txn};
use shipit_testbed::{ConsulAgent, Fault, FaultProxy};

use crate::agents::{block_on, client, on_threads};

#[test]
#[ignore = "needs the testbed; run make test"]
fn keys_and_values_are_as_they_were_written() {
    let agent = ConsulAgent::dev();
    let client = client(&agent.url());
    let keys = ["a", "a/b", "a/wéb 1+2?x=y&z#%20", "a/web.1", "ab"];
    let values: [&[u8]; 5] = [b"", b"text", &[0, 255, 10, 13], "é".as_bytes(), &[7; 300_000]];
    block_on(async {
        for (key, value) in keys.iter().zip(values) {
            assert!(client.kv_put(key, value, None).await.unwrap());
            let entry = client.kv_get(key, Read::Consistent).await.unwrap().unwrap();
            assert_eq!((entry.key.as_str(), entry.value.as_slice()), (*key, value));
            assert_eq!(entry.session, None);
        }
        let list = client.kv_list("a/", None).await.unwrap();
        let found: Vec<&str> = list.entries.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(found, [keys[1], keys[3], keys[2]]);
        let newest = list.entries.iter().map(|entry| entry.modify_index).max();
        assert_eq!(Some(list.index), newest);
        assert_eq!(client.kv_keys("a").await.unwrap().len(), 5);
        assert_eq!(client.kv_get("a/b/c", Read::Usual).await.unwrap(), None);
        assert_eq!(client.kv_list("none/", None).await.unwrap().entries, []);
        assert!(client.kv_keys("none/").await.unwrap().is_empty());
    });
    let error = block_on(client.kv_put("a", &vec![0; 600_000], None)).unwrap_err();
    assert!(matches!(&error, Error::Refused { status: 413, .. }), "{error:?}");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn conditions_hold() {
    let agent = ConsulAgent::dev();
    let client = client(&agent.url());
    block_on(async {
        assert!(client.kv_put("k", b"1", Some(0)).await.unwrap());
        assert!(!client.kv_put("k", b"2", Some(0)).await.unwrap());
        let index = client
            .kv_get("k", Read::Usual)
            .await
            .unwrap()
            .unwrap()
            .modify_index;
        assert!(!client.kv_put("k", b"2", Some(index + 1)).await.unwrap());
        assert!(!client.kv_delete("k", Some(index + 1)).await.unwrap());
        assert!(client.kv_put("k", b"2", Some(index)).await.unwrap());
        assert!(!client.kv_delete("k", Some(index)).await.unwrap());
        assert_eq!(agent.kv_get("k").unwrap(), b"2");
        assert!(client.kv_delete("k", None).await.unwrap());
        assert_eq!(agent.kv_get("k"), None);
        // A transaction happens as a whole.
        let set = |key: &str| Op::Set {
            key: key.to_owned(),
            value: b"x".to_vec(),
        };
        let absent = Op::CheckAbsent { key: "x".to_owned() };
        let Txn::Done(entries) = client
            .txn("testing", &[absent.clone(), set("x"), set("y")])
            .await
            .unwrap()
        else {
            panic!("it failed")
        };
        assert_eq!(entries.len(), 2);
        let failed = client.txn("testing", &[set("z"), absent]).await.unwrap();
        assert!(
            matches!(&failed, Txn::Failed(reason) if reason.contains("exists")),
            "{failed:?}"
        );
        assert_eq!(agent.kv_get("z"), None);
    });
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn many_writes_are_few_transactions_within_the_limits() {
    let agent = ConsulAgent::dev();
    let proxy = FaultProxy::start(agent.addr());
    let client = client(&proxy.url());
    let small: Vec<Op> = (0..200)
        .map(|number| Op::Set {
            key: format!("small/{number:03}"),
            value: b"20261121T134515Z-5e1f00aa 20261121T134515Z-3074f46\n".to_vec(),
        })
        .collect();
    let large: Vec<Op> = (0..70)
        .map(|number| Op::Set {
            key: format!("large/{number:03}"),
            value: vec![b'x'; 16 * 1024],
        })
        .collect();
    block_on(async {
        let newest = client.write_all("testing", &small).await.unwrap();
        assert_eq!(client.kv_list("small/", None).await.unwrap().index, newest);
        assert_eq!(proxy.count("PUT").requests, 4);
        client.write_all("testing", &large).await.unwrap();
        assert_eq!(proxy.count("PUT").requests, 8);
        assert_eq!(client.write_all("testing", &[]).await.unwrap(), 0);
        assert_eq!(
            (agent.kv_keys("small/").len(), agent.kv_keys("large/").len()),
            (200, 70)
        );
        let gone: Vec<Op> = agent
            .kv_keys("small/")
            .into_iter()
            .map(|key| Op::Delete { key })
            .collect();
        client.write_all("testing", &gone).await.unwrap();
        assert!(agent.kv_keys("small/").is_empty());
        // What is gone already is no failure.
        client.write_all("testing", &gone).await.unwrap();
    });
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_blocking_read_waits_for_its_prefix_and_no_longer_than_asked() {
    let agent = ConsulAgent::dev();
    let proxy = FaultProxy::start(agent.addr());
    let client = client(&proxy.url()).within(Duration::from_secs(1));
    agent.kv_put("mine/a", b"1");
    on_threads(async {
        let index = client.kv_list("mine/", None).await.unwrap().index;
        let until = |seconds| {
            let wait = Duration::from_secs(seconds);
            Some(Blocking { index, wait })
        };
        // Longer than the client gives a request otherwise.
        let begin = Instant::now();
        let list = client.kv_list("mine/", until(3)).await.unwrap();
        assert!(
            (2900..60_000).contains(&begin.elapsed().as_millis()),
            "{:?}",
            begin.elapsed()
        );
        assert_eq!(list.index, index);
        // It is Consul that waits, in one query.
        let seen = proxy.seen();
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert!(
            seen[1].target.contains(&format!("index={index}&wait=3")),
            "{seen:?}"
        );
        let begin = Instant::now();
        let (waited, ()) = tokio::join!(client.kv_list("mine/", until(30)), async {
            client.kv_put("other/a", b"1", None).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            client.kv_put("mine/b", b"1", None).await.unwrap();
        });
        assert!(
            (900..25_000).contains(&begin.elapsed().as_millis()),
            "{:?}",
            begin.elapsed()
        );
        assert_eq!(waited.unwrap().entries.len(), 2);
    });
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_session_is_one_that_nothing_but_time_ends() {
    let agent = ConsulAgent::dev();
    let client = client(&agent.url());
    block_on(async {
        let id = client
            .session_create("shipit test", Duration::from_secs(10))
            .await
            .unwrap();
        let text = agent.api("GET", &format!("/v1/session/info/{id}"), b"").text();
        let info: Value = serde_json::from_str(&text).unwrap();
        let info = &info[0];
        assert_eq!(
            (&info["TTL"], &info["Behavior"], &info["LockDelay"], &info["Name"]),
            (&"10s".into(), &"delete".into(), &0.into(), &"shipit test".into())
        );
        assert_eq!(info["NodeChecks"], serde_json::json!([]));
        assert!(client.session_renew(&id).await.unwrap());
        client.session_destroy(&id).await.unwrap();
        client.session_destroy(&id).await.unwrap();
        assert!(!client.session_renew(&id).await.unwrap());
    });
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn who_the_agent_is() {
    let agent = ConsulAgent::dev();
    let is = block_on(client(&agent.url()).agent_self()).unwrap();
    assert_eq!((is.node.as_str(), is.datacenter.as_str()), ("dev", "dc1"));
    assert!(is.version.contains('.'));
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn what_is_not_consul_is_no_missing_key() {
    let agent = ConsulAgent::dev();
    let proxy = FaultProxy::start(agent.addr());
    proxy.inject(Fault::status(404).body("<html>not found</html>").always());
    let client = client(&proxy.url());
    block_on(async {
        let errors = [
            client.kv_get("k", Read::Usual).await.unwrap_err(),
            client.kv_list("k/", None).await.unwrap_err(),
            client.session_renew("x").await.unwrap_err(),
            client.nodes().await.unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(&error, Error::NotConsul { .. }), "{error:?}");
        }
    });
}
