//! From a kick to the last of its hosts' reports, with real agents and real watches.

use std::process::Command;
use std::time::Duration;

use shipit_testbed::{Cmd, ConsulCluster, Process, Testbed, until};

use super::kicked::{EVENT, Kicked, REPORTS, forget};
use crate::compare::{Measured, in_turn};
use crate::inputs::Inputs;
use crate::run::{pipeline, run};

const AGENTS: usize = 20;
/// Gossip takes a random time, of which most of a round consists: many more rounds than elsewhere, for they are short.
const ROUNDS: usize = 31;

/// What each watch runs, whoever fired: it writes the report of its host for the release that the payload names. The event is told
/// apart in it: Consul leaves a key alone that is written with the value that it has.
const HANDLER: &str = r#"r=$(sed 's/.*"Payload":"//;s/".*//' | base64 -d 2>/dev/null); r=${r%/*}; [ -z "$r" ] || curl -sS -X PUT -d "{\"state\":\"succeeded\",\"time\":1,\"message\":\"$CONSUL_INDEX\"}" "$CONSUL_HTTP_ADDR/v1/kv/$REPORTS/$NODE/${r##*/}" >&2"#;

/// What a script does to follow: it is woken up when a key comes, and counts the keys.
const PEER: &str = r#"
    "$CONSUL" event -http-addr="$ADDR" -name="$EVENT" "$PAYLOAD" >&2
    index=1
    while
        curl -sS -D "$DIR/head" -o "$DIR/keys" "$ADDR/v1/kv/$REPORTS?keys&index=$index&wait=60s"
        [ "$(tr , '\n' <"$DIR/keys" | grep -c "/$RELEASE\"" || :)" -lt "$AGENTS" ]
    do
        index=$(sed -n 's/^X-Consul-Index: \([0-9]*\).*/\1/p' "$DIR/head")
    done"#;

/// A kick of a role with its lock, asks, history and live pointer, against an event and a loop that waits for the keys.
pub fn to_all_reports(inputs: &Inputs) -> Measured {
    let names: Vec<String> = (1..=AGENTS).map(|number| format!("web{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    eprintln!("  starting {AGENTS} agents …");
    let cluster = ConsulCluster::start(&names);
    let dir = inputs.dir("kick");
    let kicked = Kicked::new(&dir, cluster.server(), &format!("hosts = {names:?}"));
    let _watches = watches(&cluster);
    until("each watch to hear of an event", Duration::from_secs(60), || {
        cluster.server().fire(EVENT, kicked.manifest.as_bytes());
        std::thread::sleep(Duration::from_secs(1));
        cluster.server().kv_keys(REPORTS).len() == AGENTS
    });
    let script = || {
        let (consul, agents) = (Testbed::get().consul(), AGENTS.to_string());
        let mut command: Command = pipeline(PEER, &[("CONSUL", consul.as_ref()), ("DIR", dir.as_ref())]);
        command.envs([
            ("ADDR", cluster.server().url().as_str()),
            ("EVENT", EVENT),
            ("PAYLOAD", &kicked.manifest),
            ("REPORTS", REPORTS),
            ("RELEASE", kicked.release()),
            ("AGENTS", &agents),
        ]);
        command
    };
    in_turn(
        ROUNDS,
        |_| {
            forget(cluster.server());
            || {
                run(kicked.shipit(&["kick", "web", "--stage", "bench"]));
                assert_eq!(cluster.server().kv_keys(REPORTS).len(), AGENTS);
            }
        },
        |_| {
            forget(cluster.server());
            || {
                run(script());
                assert_eq!(cluster.server().kv_keys(REPORTS).len(), AGENTS);
            }
        },
    )
}

fn watches(cluster: &ConsulCluster) -> Vec<Process> {
    let watch = |client: &shipit_testbed::ConsulAgent| {
        let handler = Cmd::new("sh")
            .args(["-c", HANDLER])
            .env("CONSUL_HTTP_ADDR", client.url())
            .env("REPORTS", REPORTS)
            .env("NODE", client.node());
        client.watch(EVENT, &handler)
    };
    cluster.clients().iter().map(watch).collect()
}
