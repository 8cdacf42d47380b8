//! What stays in Consul and what goes: reports of a node, asks of nodes that left.

use std::time::Duration;

use shipit_fleet::board::{Board, ConsulBoard};
use shipit_fleet::report::{Asked, Report, Said};
use shipit_testbed::ConsulAgent;

use crate::agents::{client, on_threads};
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
