//! Many hosts that report at the same time: they are seen soon, and read seldom.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use shipit_fleet::board::{Board, ConsulBoard};
use shipit_fleet::consul::Op;
use shipit_testbed::{ConsulAgent, FaultProxy};

use crate::agents::{block_on, client};
use crate::board::{APP, STAGE};

const HOSTS: u32 = 1000;
const RELEASES: u32 = 10;

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
    let begin = Instant::now();
    let mut longest = Duration::ZERO;
    block_on(async {
        let (found, mut seen) = board.reports("web", None, Duration::ZERO).await.unwrap();
        assert_eq!(found.len(), (HOSTS * RELEASES) as usize);
        proxy.forget();
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
    });
    over.store(true, Ordering::Relaxed);
    let written = writer.join().unwrap();
    let reads = proxy.count("GET").requests;
    assert!(written > 100, "{written} written");
    assert!(reads < 60, "{reads} reads for {written} reports");
    assert!(longest < Duration::from_secs(40), "{longest:?}");
}
