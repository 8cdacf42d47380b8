//! Which nodes and services there are, how they are, and who the agent is.

use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::call::Call;
use super::client::Client;
use super::error::Error;

/// The check that every node with an agent has: whether the others see it.
pub const AGENT_CHECK: &str = "serfHealth";

/// One health check of a node, or of a service on it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Check {
    /// The node.
    pub node: String,
    /// Its id, as [`AGENT_CHECK`].
    #[serde(rename = "CheckID")]
    pub id: String,
    /// Its name, for people.
    #[serde(default)]
    pub name: String,
    /// `passing`, `warning` or `critical`.
    pub status: String,
    /// What the check printed.
    #[serde(default)]
    pub output: String,
}

/// A service on a node, with the node's checks and its own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServiceNode {
    /// The node.
    #[serde(deserialize_with = "node_name")]
    pub node: String,
    /// The checks.
    #[serde(default)]
    pub checks: Vec<Check>,
}

/// Who an agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentSelf {
    /// Its node's name.
    pub node: String,
    /// Its datacenter.
    pub datacenter: String,
    /// Its version.
    pub version: String,
}

impl Client {
    /// The names of all nodes of the catalog, sorted.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Denied`], [`Error::Refused`], [`Error::NotConsul`].
    pub async fn nodes(&self) -> Result<Vec<String>, Error> {
        let nodes: Vec<Node> = self
            .read(
                &["v1", "catalog", "nodes"],
                &[],
                "listing the nodes of Consul's catalog",
                NODES,
            )
            .await?;
        // A catalog has the server's node at least: what the token may not read is left out silently.
        if nodes.is_empty() {
            let url = self.endpoint(&["v1", "catalog", "nodes"])?;
            let call = Call::new(
                Method::GET,
                url,
                "listing the nodes of Consul's catalog".to_owned(),
            );
            return Err(self.denied(
                &call.rule(NODES.to_owned()),
                "the answer has no node at all".to_owned(),
            ));
        }
        let mut names: Vec<String> = nodes.into_iter().map(|node| node.node).collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// The instances of a service, or of those with a tag.
    ///
    /// # Errors
    /// As [`Client::nodes`]; what the token may not read is left out.
    pub async fn service(&self, service: &str, tag: Option<&str>) -> Result<Vec<ServiceNode>, Error> {
        let rule = format!("service \"{service}\" {{ policy = \"read\" }}, {NODES}");
        let doing = format!("listing the nodes of the service {service}");
        let tag: Vec<_> = tag.map(|tag| ("tag", tag)).into_iter().collect();
        self.read(&["v1", "health", "service", service], &tag, &doing, &rule)
            .await
    }

    /// [`AGENT_CHECK`] of each node that has an agent.
    ///
    /// # Errors
    /// As [`Client::nodes`]; what the token may not read is left out.
    pub async fn agent_checks(&self) -> Result<Vec<Check>, Error> {
        let filter = format!("CheckID == \"{AGENT_CHECK}\"");
        let mut checks: Vec<Check> = self
            .read(
                &["v1", "health", "state", "any"],
                &[("filter", &filter)],
                "reading the health of the nodes",
                NODES,
            )
            .await?;
        // Agents before 1.5 know no filters.
        checks.retain(|check| check.id == AGENT_CHECK);
        Ok(checks)
    }

    /// Who the agent is.
    ///
    /// # Errors
    /// As [`Client::nodes`].
    pub async fn agent_self(&self) -> Result<AgentSelf, Error> {
        let rule = "agent_prefix \"\" { policy = \"read\" }";
        let answer: SelfAnswer = self
            .read(
                &["v1", "agent", "self"],
                &[],
                "asking the agent for its name",
                rule,
            )
            .await?;
        Ok(AgentSelf {
            node: answer.config.node_name,
            datacenter: answer.config.datacenter,
            version: answer.config.version,
        })
    }

    async fn read<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        doing: &str,
        rule: &str,
    ) -> Result<T, Error> {
        let mut url = self.endpoint(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let call = Call::new(Method::GET, url, doing.to_owned()).rule(rule.to_owned());
        let answer = self.send(&call).await?;
        if answer.is_filtered() {
            return Err(self.denied(&call, "parts were left out of the answer".to_owned()));
        }
        answer.json(self, &call)
    }
}

const NODES: &str = "node_prefix \"\" { policy = \"read\" }";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    node: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SelfAnswer {
    config: SelfConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SelfConfig {
    node_name: String,
    #[serde(default)]
    datacenter: String,
    #[serde(default)]
    version: String,
}

fn node_name<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Node::deserialize(from)?.node)
}
