//! Many hosts that report at the same time: they are seen soon, and read seldom.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use shipit_fleet::board::{Board, ConsulBoard};
use shipit_fleet::consul::Op;
use shipit_fleet::report::Said;
use shipit_testbed::{ConsulAgent, FaultProxy, until};

use crate::agents::{READY, block_on, client};
use crate::board::{APP, STAGE};

const HOSTS: u32 = 1000;
const RELEASES: u32 = 10;
/// A report is to be seen within a second, and is read by then on a machine that has nothing else to do.
const SOON: Duration = Duration::from_secs(2);

fn key(host: u32, release: u32) -> String {
    format!("shipit/reports/shop/production/web/web{host:04}.example.com/2026112{release}T134515Z-3074f46")
}

fn value(state: &str, time: u32) -> Vec<u8> {
    let ids = "\"kick\":\"20261121T134515Z-5e1f00aa\",\"current\":\"20261121T134515Z-3074f46\"";
    format!("{{\"state\":\"{state}\",\"time\":{time},\"handler\":\"stretcher\",{ids}}}").into_bytes()
}

/// A thousand hosts with the reports of ten releases, one of them being written all the time.
#[test]
#[ignore = "needs the testbed; run make test"]
fn a_thousand_hosts_are_read_seldom_and_seen_soon() {
    let agent = Arc::new(ConsulAgent::dev());
    let proxy = FaultProxy::start(agent.addr());
    let all: Vec<Op> = (0..HOSTS)
        .flat_map(|host| (0..RELEASES).map(move |release| (host, release)))
        .map(|(host, release)| Op::Set {
            key: key(host, release),
            value: value("succeeded", 1),
        })
        .collect();
    block_on(client(&agent.url()).write_all("testing", &all)).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let writer = {
        let (agent, over) = (Arc::clone(&agent), Arc::clone(&over));
        std::thread::spawn(move || {
            let mut written = 0;
            while !over.load(Ordering::Relaxed) {
                agent.kv_put(
                    &key(written % HOSTS, RELEASES - 1),
                    &value("started", 1000 + written),
                );
                written += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            written
        })
    };
    let board = ConsulBoard::new(client(&proxy.url()), APP, STAGE);
    let mut longest = Vec::new();
    // A machine that has much to do may be late in a round.
    while longest.len() < 5 && longest.last().is_none_or(|longest| *longest >= SOON) {
        longest.push(longest_read(&board, &proxy));
        let reads = proxy.count("GET").requests;
        assert!(reads < 60, "{reads} reads in ten seconds");
    }
    over.store(true, Ordering::Relaxed);
    let written = writer.join().unwrap();
    assert!(written > 100, "{written} written");
    assert!(longest.last() < Some(&SOON), "{longest:?}");
}

/// Reads news for ten seconds; how long the longest of it took to come.
fn longest_read(board: &ConsulBoard, proxy: &FaultProxy) -> Duration {
    block_on(async {
        let (found, mut seen) = board.reports("web", None, Duration::ZERO).await.unwrap();
        assert_eq!(found.len(), (HOSTS * RELEASES) as usize);
        proxy.forget();
        let (begin, mut longest) = (Instant::now(), Duration::ZERO);
        while begin.elapsed() < Duration::from_secs(10) {
            let read = Instant::now();
            let (found, now) = board
                .reports("web", Some(seen), Duration::from_secs(60))
                .await
                .unwrap();
            assert!(found.iter().any(|found| found.index > seen.0));
            seen = now;
            longest = longest.max(read.elapsed());
        }
        longest
    })
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_report_comes_as_the_answer_to_the_query_that_waits_for_it() {
    let agent = ConsulAgent::dev();
    let proxy = FaultProxy::start(agent.addr());
    let board = ConsulBoard::new(client(&proxy.url()), APP, STAGE);
    agent.kv_put(&key(0, 0), &value("started", 1));
    let (_, seen) = block_on(board.reports("web", None, Duration::ZERO)).unwrap();
    proxy.forget();
    let found = std::thread::scope(|scope| {
        let reader = scope.spawn(|| block_on(board.reports("web", Some(seen), Duration::from_secs(60))));
        until("the query", READY, || proxy.count("GET").requests == 1);
        agent.kv_put(&key(0, 0), &value("succeeded", 2));
        reader.join().unwrap().unwrap().0
    });
    assert_eq!(found[0].report.state, Said::Succeeded);
    let seen = proxy.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
}
