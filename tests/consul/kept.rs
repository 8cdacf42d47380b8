//! What stays in Consul and what goes: reports of a node, asks of nodes that left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shipit_fleet::board::{Board, ConsulBoard};
use shipit_fleet::report::{Asked, Report, Said};
use shipit_testbed::{ConsulAgent, Fault, FaultProxy, until};

use crate::agents::{READY, client, on_threads};
use crate::board::{APP, STAGE};

fn board(agent: &ConsulAgent) -> ConsulBoard {
    ConsulBoard::new(client(&agent.url()), APP, STAGE)
}

fn release(at: usize) -> String {
    format!("202611{:02}T100000Z-0000001", at + 1)
}

fn asked(kick: usize, release: &str) -> Asked {
    Asked {
        kick: format!("20261121T134515Z-{kick:08x}"),
        release: release.to_owned(),
    }
}

async fn ask(board: &ConsulBoard, asked: &Asked, nodes: &[&str]) {
    let nodes: Vec<String> = nodes.iter().map(|&node| node.to_owned()).collect();
    board.ask("web", asked, &nodes).await.unwrap();
    board.tidy("web", asked, &nodes).await;
}

async fn says(board: &ConsulBoard, node: &str, release: &str) {
    let report = Report {
        kick: None,
        state: Said::Succeeded,
        phase: None,
        time: 1,
        current: None,
        handler: None,
        message: None,
    };
    let put = board.put_report("web", node, release, &report, Some("its log"));
    put.await.unwrap();
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn what_a_host_went_back_to_is_its_newest_report() {
    let agent = ConsulAgent::dev();
    let board = board(&agent);
    on_threads(async {
        for at in 1..=7 {
            says(&board, "web1", &release(at)).await;
        }
        // A rollback in waves: the oldest release is reported last, and the next wave asks.
        says(&board, "web1", &release(0)).await;
        ask(&board, &asked(1, &release(0)), &["web2"]).await;
        let (found, _) = board.reports("web", None, Duration::ZERO).await.unwrap();
        let mut left: Vec<String> = found.into_iter().map(|found| found.release).collect();
        left.sort();
        assert_eq!(left, [0, 4, 5, 6, 7].map(release));
        assert_eq!(agent.kv_keys("shipit/logs/").len(), 5);
        let log = board.log("web", "web1", None).await.unwrap().unwrap();
        assert_eq!(log.release, release(0));
        // What is asked for now stays, however old the host's word on it is.
        for at in 8..=10 {
            says(&board, "web1", &release(at)).await;
        }
        ask(&board, &asked(2, &release(4)), &["web1"]).await;
        let (found, _) = board.reports("web", None, Duration::ZERO).await.unwrap();
        assert!(found.iter().any(|found| found.release == release(4)));
        assert_eq!(found.len(), 6, "{found:?}");
    });
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn asks_of_nodes_that_left_go() {
    let agent = ConsulAgent::dev();
    let board = board(&agent);
    let there = br#"{"Node":"web2","Address":"127.0.0.2"}"#;
    assert_eq!(agent.api("PUT", "/v1/catalog/register", there).status, 200);
    let nodes = async || -> Vec<String> { board.asked("web").await.unwrap().into_keys().collect() };
    on_threads(async {
        ask(&board, &asked(1, &release(1)), &["gone", "web1", "web2"]).await;
        assert_eq!(nodes().await, ["gone", "web1", "web2"]);
        // In the next wave of the same kick nothing of it goes.
        ask(&board, &asked(1, &release(1)), &["web3"]).await;
        assert_eq!(nodes().await, ["gone", "web1", "web2", "web3"]);
        // web1 is asked although the catalog does not have it, web2 is there.
        ask(&board, &asked(2, &release(2)), &["web1"]).await;
        assert_eq!(nodes().await, ["web1", "web2"]);
        // An ask for a release that is no more goes wherever its node is.
        assert_eq!(board.forget(&[release(1)]).await.unwrap(), 1);
        assert_eq!(nodes().await, ["web1"]);
    });
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn an_ask_that_was_made_anew_meanwhile_stays() {
    let agent = ConsulAgent::dev();
    let proxy = FaultProxy::start(agent.addr());
    let tidying = ConsulBoard::new(client(&proxy.url()), APP, STAGE);
    let board = board(&agent);
    let (old, new) = (asked(1, &release(1)), asked(3, &release(3)));
    on_threads(ask(&board, &old, &["away", "gone", "web1"]));
    // The catalog is looked at when the asks are read.
    let open = Arc::new(AtomicBool::new(false));
    proxy.inject(Fault::until(&open).path("/v1/catalog/nodes"));
    std::thread::scope(|scope| {
        let this = asked(2, &release(2));
        let tidied =
            scope.spawn(|| on_threads(async move { tidying.tidy("web", &this, &["web1".to_owned()]).await }));
        until("the look at the catalog", READY, || {
            proxy
                .seen()
                .iter()
                .any(|seen| seen.target.contains("/v1/catalog/nodes"))
        });
        // The lock was lost, and the node is back.
        on_threads(board.ask("web", &new, &["away".to_owned()])).unwrap();
        open.store(true, Ordering::SeqCst);
        tidied.join().unwrap();
    });
    let left = on_threads(board.asked("web")).unwrap();
    let left: Vec<(&str, &Asked)> = left.iter().map(|(node, asked)| (node.as_str(), asked)).collect();
    assert_eq!(left, [("away", &new), ("web1", &old)]);
}
