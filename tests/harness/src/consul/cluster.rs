//! A cluster of real agents: one server or several, and clients, each with a node name and an address of its own.

use super::{ConsulAgent, READY, Role};
use crate::wait::{until, wait_for};

/// Servers and clients that know each other.
#[derive(Debug)]
pub struct ConsulCluster {
    clients: Vec<ConsulAgent>,
    servers: Vec<ConsulAgent>,
}

impl ConsulCluster {
    /// Starts a development server and one client per node name, and waits until all see all.
    #[track_caller]
    #[must_use]
    pub fn start(nodes: &[&str]) -> Self {
        let server = ConsulAgent::launch("server", &Role::Dev);
        Self::with_clients(vec![server], nodes, false)
    }

    /// Starts servers that elect a leader among them, `server1` and so on, and one client per node name. They keep their
    /// state over [`ConsulAgent::kill9`] and [`ConsulAgent::restart`].
    #[track_caller]
    #[must_use]
    pub fn with_servers(servers: usize, nodes: &[&str]) -> Self {
        Self::with_clients(Self::elect(servers, false), nodes, false)
    }

    /// The same, refusing what no token allows: [`ConsulAgent::token`] of each agent is the management token.
    #[track_caller]
    #[must_use]
    pub fn with_acl(servers: usize, nodes: &[&str]) -> Self {
        let servers = Self::elect(servers, true);
        servers[0].bootstrap_acl();
        let cluster = Self::with_clients(servers, nodes, true);
        until("the nodes to register themselves", READY, || {
            let catalog = cluster.server().api("GET", "/v1/catalog/nodes", b"").text();
            nodes.iter().all(|node| catalog.contains(&format!("\"{node}\"")))
        });
        cluster
    }

    #[track_caller]
    fn elect(servers: usize, acl: bool) -> Vec<ConsulAgent> {
        let mut prepared: Vec<ConsulAgent> = Vec::new();
        for number in 1..=servers {
            let role = Role::Server {
                acl,
                of: servers,
                join: prepared.first(),
            };
            prepared.push(ConsulAgent::prepare(&format!("server{number}"), &role));
        }
        // Each is there when it has a leader: none is before the others are.
        std::thread::scope(|scope| {
            for server in &prepared {
                scope.spawn(|| server.restart());
            }
        });
        prepared
    }

    #[track_caller]
    fn with_clients(servers: Vec<ConsulAgent>, nodes: &[&str], acl: bool) -> Self {
        // Side by side: each needs a second or two to find its leader.
        let clients = std::thread::scope(|scope| {
            let join = &servers[0];
            let launch = move |node: &&str| ConsulAgent::launch(node, &Role::Client { acl, join });
            let started: Vec<_> = nodes
                .iter()
                .map(|node| scope.spawn(move || launch(node)))
                .collect();
            started
                .into_iter()
                .map(|thread| thread.join().expect("a Consul client did not start"))
                .collect()
        });
        let cluster = Self { clients, servers };
        if let Some(token) = cluster.server().token() {
            let others = cluster.agents().filter(|agent| agent.token().is_none());
            others.for_each(|agent| agent.give_token(token));
        }
        cluster.wait_joined();
        cluster
    }

    /// Waits until every agent that runs sees every other, as after a [`ConsulAgent::restart`].
    #[track_caller]
    pub fn wait_joined(&self) {
        let all = self.clients.len() + self.servers.len();
        until("Consul's agents to see each other", READY, || {
            self.agents().all(|agent| agent.alive_members() == all)
        });
    }

    /// Starts one more client, as a host that joins.
    #[track_caller]
    pub fn join(&mut self, node: &str) -> &ConsulAgent {
        let token = self.server().token().map(str::to_owned);
        let role = Role::Client {
            acl: token.is_some(),
            join: self.server(),
        };
        let agent = ConsulAgent::launch(node, &role);
        if let Some(token) = token {
            agent.give_token(&token);
        }
        self.clients.push(agent);
        self.client(node)
    }

    /// The server, or the first of them.
    #[must_use]
    pub fn server(&self) -> &ConsulAgent {
        &self.servers[0]
    }

    /// The servers.
    #[must_use]
    pub fn servers(&self) -> &[ConsulAgent] {
        &self.servers
    }

    /// The server that leads, as the agent `asked` sees it; waits for an election.
    #[track_caller]
    #[must_use]
    pub fn leader(&self, asked: &ConsulAgent) -> &ConsulAgent {
        wait_for("a leader", READY, || {
            let leader = asked.api("GET", "/v1/status/leader", b"").text();
            let of = |server: &&ConsulAgent| leader.contains(&format!("\"{}:", server.addr().ip()));
            self.servers.iter().find(of)
        })
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
        self.clients.iter().chain(&self.servers)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "needs the testbed; run make test"]
    fn servers_elect_another_leader() {
        let cluster = ConsulCluster::with_servers(3, &["web1"]);
        let web1 = cluster.client("web1");
        let first = cluster.leader(web1);
        web1.kv_put("a", b"1");
        first.kill9();
        until("another leader", READY, || {
            cluster.leader(web1).node() != first.node() && web1.api("PUT", "/v1/kv/a", b"2").status == 200
        });
        first.restart();
        cluster.wait_joined();
        assert_eq!(first.kv_get("a").unwrap(), b"2");
    }

    #[test]
    #[ignore = "needs the testbed; run make test"]
    fn each_agent_of_a_cluster_with_acl_refuses() {
        let mut cluster = ConsulCluster::with_acl(1, &["web1"]);
        let token = cluster.server().create_token("key \"a\" { policy = \"write\" }");
        let web2 = cluster.join("web2");
        web2.kv_put("b", b"1");
        assert_eq!(web2.api_as(Some(&token), "PUT", "/v1/kv/a", b"1").status, 200);
        assert_eq!(web2.api_as(Some(&token), "PUT", "/v1/kv/b", b"1").status, 403);
        assert_eq!(web2.api_as(None, "PUT", "/v1/kv/a", b"1").status, 403);
    }
}
