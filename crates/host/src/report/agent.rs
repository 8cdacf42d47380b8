//! The host's own Consul agent: its node's name, what a kick asked of it, and the keys that are written.

use std::path::PathBuf;
use std::time::Duration;

use shipit_artifact::with_causes;
use shipit_fleet::consul::{Client, ConsulConfig, Error, Read};
use shipit_fleet::report::{Asked, Report, RoleKeys, Said};
use shipit_manifest::Binding;
use tokio::sync::Mutex;

/// How long an agent that has not answered yet may take to.
const FIRST: Duration = Duration::from_secs(2);
/// How long anything else may take that is not the end.
const USUAL: Duration = Duration::from_secs(3);
/// How long the end may take: an election of a leader is over by then.
const LAST: Duration = Duration::from_secs(8);

/// The agent, and what is told to it.
#[derive(Debug)]
pub(super) struct Agent {
    /// Why not, when its settings cannot be used.
    client: Result<Client, String>,
    app: String,
    stage: String,
    role: String,
    release: String,
    dashboard: Option<String>,
    current: Option<PathBuf>,
    met: Mutex<Option<Met>>,
}

/// What the agent has said.
#[derive(Clone, Debug)]
struct Met {
    node: String,
    kick: Option<String>,
}

impl Agent {
    pub(super) fn new(config: &ConsulConfig, binding: &Binding, current: Option<PathBuf>) -> Self {
        let one_try = ConsulConfig {
            attempts: 1,
            ..config.clone()
        };
        Self {
            client: Client::new(&one_try).map_err(|error| with_causes(&error)),
            app: binding.app.clone(),
            stage: binding.stage.clone(),
            role: binding.role.clone(),
            release: binding.release.clone(),
            dashboard: binding.dashboard.clone(),
            current,
            met: Mutex::default(),
        }
    }

    /// The kick that asked this node for this release.
    pub(super) async fn kick(&self) -> Option<String> {
        self.met.lock().await.as_ref()?.kick.clone()
    }

    /// Whether another handler of this node works on this release, and reports it: for the same kick, or where one of them knows none,
    /// not at its end yet. What an earlier deploy of the release has left does not count.
    pub(super) async fn is_in_hand(&self) -> bool {
        let Ok(client) = &self.client else { return false };
        let Ok(met) = self.meet(client).await else {
            return false;
        };
        let key = self.keys().report(&met.node, &self.release);
        let found = client.within(USUAL).kv_get(&key, Read::Usual).await;
        let Ok(Some(entry)) = found else { return false };
        let Ok(report) = serde_json::from_slice::<Report>(&entry.value) else {
            return false;
        };
        match (&report.kick, &met.kick) {
            (Some(theirs), Some(ours)) => theirs == ours,
            _ => report.state == Said::Started,
        }
    }

    /// Writes the log first: who sees the report looks for it.
    pub(super) async fn tell(
        &self,
        said: Said,
        phase: Option<&str>,
        message: Option<String>,
        log: Option<&[u8]>,
    ) -> Result<(), String> {
        let client = self.client.as_ref().map_err(Clone::clone)?;
        let met = self.meet(client).await.map_err(|error| with_causes(&error))?;
        let report = Report {
            kick: met.kick,
            state: said,
            phase: phase.map(ToOwned::to_owned),
            time: jiff::Timestamp::now().as_second(),
            current: self.current(),
            handler: Some(concat!("shipit ", env!("CARGO_PKG_VERSION")).to_owned()),
            message,
        };
        let client = client.within(if log.is_some() { LAST } else { USUAL });
        self.put(&client, &met.node, &report, log)
            .await
            .map_err(|error| with_causes(&error))
    }

    /// The node's name and the kick; asked for once.
    async fn meet(&self, client: &Client) -> Result<Met, Error> {
        let mut met = self.met.lock().await;
        if let Some(met) = &*met {
            return Ok(met.clone());
        }
        let node = client.within(FIRST).agent_self().await?.node;
        let ask = self.keys().ask(&node);
        // Without the kick the report still says what the host did.
        let asked = client
            .within(USUAL)
            .kv_get(&ask, Read::Usual)
            .await
            .ok()
            .flatten();
        let kick = asked
            .and_then(|entry| Asked::parse(&String::from_utf8_lossy(&entry.value)))
            .filter(|asked| asked.release == self.release)
            .map(|asked| asked.kick);
        let found = Met { node, kick };
        *met = Some(found.clone());
        Ok(found)
    }

    async fn put(
        &self,
        client: &Client,
        node: &str,
        report: &Report,
        log: Option<&[u8]>,
    ) -> Result<(), Error> {
        let keys = self.keys();
        if let Some(log) = log {
            client.kv_put(&keys.log(node, &self.release), log, None).await?;
        }
        let value = serde_json::to_vec(report).unwrap_or_default();
        client
            .kv_put(&keys.report(node, &self.release), &value, None)
            .await?;
        if let Some(category) = &self.dashboard {
            let (status, word) = match report.state {
                Said::Succeeded => (0, "succeeded"),
                Said::Failed => (2, "failed"),
                Said::Started => (3, "started"),
            };
            let text = format!(
                "{}/{}/{} {} {word} {}",
                self.app,
                self.stage,
                self.role,
                self.release,
                report.message.as_deref().unwrap_or_default()
            );
            let flags = report.time.unsigned_abs() * 1000 + status;
            let key = format!("dashboard/{category}/{node}");
            client.kv_put_flags(&key, text.as_bytes(), flags).await?;
        }
        Ok(())
    }

    /// The release that is in service now.
    fn current(&self) -> Option<String> {
        let target = std::fs::read_link(self.current.as_ref()?).ok()?;
        let text = target.to_str()?;
        Some(
            text.strip_prefix("releases/")
                .unwrap_or(text)
                .chars()
                .take(100)
                .collect(),
        )
    }

    fn keys(&self) -> RoleKeys<'_> {
        RoleKeys {
            app: &self.app,
            stage: &self.stage,
            role: &self.role,
        }
    }
}
