//! Clients for the agents of the testbed, and an agent with a config of its own.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use shipit_fleet::consul::{Address, Client, ConsulConfig, Error, EventId, EventRequest};
use shipit_testbed::{Cmd, Process, Testbed, Tmp};

/// How long an agent may take to start, or an event to arrive.
pub const READY: Duration = Duration::from_secs(60);

pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// The same with threads beside, for what is spawned.
pub fn on_threads<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

pub fn config(address: &str) -> ConsulConfig {
    ConsulConfig::new(Address::parse(address, false).unwrap())
}

pub fn client(address: &str) -> Client {
    Client::new(&config(address)).unwrap()
}

pub fn event(name: &str, payload: &str) -> EventRequest {
    EventRequest {
        name: name.to_owned(),
        payload: payload.to_owned(),
        ..EventRequest::default()
    }
}

pub fn fire(client: &Client, event: &EventRequest) -> Result<EventId, Error> {
    block_on(client.fire(event))
}

/// A development agent with these settings over the usual; `ready` says when it answers.
pub fn agent(dir: &Tmp, settings: &Value, ready: impl FnMut() -> bool) -> Process {
    let file = dir.write("agent.json", settings.to_string());
    let cmd = Cmd::new(Testbed::get().consul())
        .args(["agent", "-dev"])
        .arg(config_file(&file))
        .cwd(dir.path());
    let mut process = cmd.start("consul", dir.join("log"));
    process.wait_ready(READY, ready);
    process
}

fn config_file(path: &Path) -> String {
    format!("-config-file={}", path.display())
}
