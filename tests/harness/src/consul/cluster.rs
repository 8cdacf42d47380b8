//! A cluster of real agents: one server and clients, each with a node name and an address of its own.

use super::{ConsulAgent, READY, Role};
use crate::wait::until;

/// A server and clients that know each other.
#[derive(Debug)]
pub struct ConsulCluster {
    clients: Vec<ConsulAgent>,
    server: ConsulAgent,
}

impl ConsulCluster {
    /// Starts a development server and one client per node name, and waits until all see all.
    #[track_caller]
    #[must_use]
    pub fn start(nodes: &[&str]) -> Self {
        let server = ConsulAgent::launch("server", &Role::Dev);
        // Side by side: each needs a second or two to find its leader.
        let clients = std::thread::scope(|scope| {
            let launch = |node: &&str| ConsulAgent::launch(node, &Role::Client { join: &server });
            let started: Vec<_> = nodes
                .iter()
                .map(|node| scope.spawn(move || launch(node)))
                .collect();
            started
                .into_iter()
                .map(|thread| thread.join().expect("a Consul client did not start"))
                .collect()
        });
        let cluster = Self { clients, server };
        cluster.wait_joined();
        cluster
    }

    /// Waits until every agent that runs sees every other, as after a [`ConsulAgent::restart`].
    #[track_caller]
    pub fn wait_joined(&self) {
        let all = self.clients.len() + 1;
        until("Consul's agents to see each other", READY, || {
            self.agents().all(|agent| agent.alive_members() == all)
        });
    }

    /// The server.
    #[must_use]
    pub fn server(&self) -> &ConsulAgent {
        &self.server
    }

    /// The clients, in the order of their names at the start.
    #[must_use]
    pub fn clients(&self) -> &[ConsulAgent] {
        &self.clients
    }

    /// The client of that node name.
    #[track_caller]
    #[must_use]
    pub fn client(&self, node: &str) -> &ConsulAgent {
        let found = self.clients.iter().find(|client| client.node == node);
        found.unwrap_or_else(|| panic!("the cluster has no node {node}"))
    }

    fn agents(&self) -> impl Iterator<Item = &ConsulAgent> {
        self.clients.iter().chain([&self.server])
    }
}

impl Drop for ConsulCluster {
    fn drop(&mut self) {
        // Dropped politely, each client would first tell the others that it leaves.
        for agent in self.agents() {
            agent.kill9();
        }
    }
}
