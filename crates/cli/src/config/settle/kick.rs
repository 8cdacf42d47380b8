//! `[kick]`, `[report]`, `[[notify]]`, `[prune]`, and what of them needs Consul.

use super::super::duration::Span;
use super::super::error::Lint;
use super::super::file::{self, Dashboard, NotifyTable, OutcomeName, ReportName, TextOrEnv, WavesTable};
use super::super::provenance::Provenance;
use super::super::setting::{Origin, Setting};
use super::super::settled::{
    Filter, Hosts, Kick, Notify, NotifyTo, Outcome, Prune, Report, ReportWith, Role, Transport, WaveCheck,
    Waves,
};
use super::super::text::{Part, bare};
use super::{Settler, key, under};

/// The longest that one wave may take when nobody says.
const TIMEOUT: Span = Span::seconds(600);

/// How many releases `prune` keeps when the config does not say.
const KEEP: u32 = 10;

impl Settler<'_> {
    pub(super) fn kick(&mut self, table: &file::KickTable) -> Kick {
        if let Some(check) = table.wave_check.as_deref().map(WaveCheck::of) {
            self.wave_check(&check);
        }
        Kick {
            transport: table.transport.map_or(Transport::Consul, transport),
            waves: Waves {
                timeout: table.timeout.unwrap_or(TIMEOUT),
                batch: table.batch,
                pause: table.pause.unwrap_or(Span::seconds(0)),
                max_failures: table.max_failures.unwrap_or(0),
            },
            lock_wait: table.lock_wait.unwrap_or(Span::seconds(0)),
            rollback_on_failure: table.rollback_on_failure.unwrap_or(false),
            wave_check: table.wave_check.as_deref().map(WaveCheck::of),
        }
    }

    /// A URL with a fragment, or with nothing after its scheme, is a slip.
    fn wave_check(&mut self, check: &WaveCheck) {
        if let WaveCheck::Url(url) = check
            && let Err(wrong) = super::super::checks::run("http-url-with-query", url)
        {
            let message = format!("`kick.wave_check` is not right: {}", wrong.why);
            let help = wrong.help.unwrap_or_default();
            self.problem(&[key("kick"), key("wave_check")], message, "", &help);
        }
    }

    /// Whether the stage's lock and its reports stand in Consul: what the config says, never the environment.
    pub(super) fn uses_consul(&self, table: Option<&file::KickTable>, kick: &Kick, roles: &[Role]) -> bool {
        let asked = table.is_some_and(|table| table.transport.is_some());
        let by_kick = kick.transport == Transport::Consul && (asked || roles.is_empty());
        let by_role = roles
            .iter()
            .any(|role| role.transport.unwrap_or(kick.transport) == Transport::Consul);
        self.around.consul_table || by_kick || by_role
    }

    pub(super) fn report(&mut self, table: file::ReportTable, app: &str, uses_consul: bool) -> Report {
        let with = match table.with {
            None if uses_consul => ReportWith::Curl,
            None | Some(ReportName::Off) => ReportWith::Off,
            Some(ReportName::Curl) => ReportWith::Curl,
            Some(ReportName::Consul) => ReportWith::Consul,
        };
        let dashboard = match table.dashboard {
            None | Some(Dashboard::Whether(false)) => None,
            Some(Dashboard::Whether(true)) => Some(app.to_owned()),
            Some(Dashboard::Category(category)) => Some(category),
        };
        if !uses_consul && (with != ReportWith::Off || dashboard.is_some()) && self.around.stage.is_some() {
            let path = [key("report")];
            let line = self.line(&path);
            self.lints.push(Lint {
                message: "`report` is of no use: hosts report to Consul, and this config has none".to_owned(),
                line,
                help: "add [consul], or take [report] away".to_owned(),
            });
        }
        Report { with, dashboard }
    }

    pub(super) fn notify(&mut self, tables: Vec<NotifyTable>) -> Vec<Notify> {
        let tables = tables.into_iter().enumerate();
        tables
            .filter_map(|(at, table)| self.notice(&[key("notify"), Part::Item(at)], table))
            .collect()
    }

    fn notice(&mut self, path: &[Part], table: NotifyTable) -> Option<Notify> {
        let given = [
            table.slack.is_some(),
            table.webhook.is_some(),
            table.command.is_some(),
        ];
        if given.iter().filter(|given| **given).count() != 1 {
            self.problem(
                path,
                "a [[notify]] has one of `slack`, `webhook` and `command`",
                "",
                "make a [[notify]] for each",
            );
            return None;
        }
        if table.headers.is_some() && table.webhook.is_none() {
            self.problem(
                &under(path, "headers"),
                "`headers` goes with `webhook` alone",
                "",
                "",
            );
        }
        let on = match table.on {
            None => vec![Outcome::Success, Outcome::Failure],
            Some(named) if named.is_empty() => {
                let help = "it takes \"success\", \"failure\" or both";
                self.problem(
                    &under(path, "on"),
                    "`on` is empty: the notice is never sent",
                    "",
                    help,
                );
                return None;
            }
            Some(named) => named.into_iter().map(outcome).collect(),
        };
        let to = match (table.slack, table.webhook, table.command) {
            (Some(url), ..) => NotifyTo::Slack(self.private(path, "slack", url)),
            (_, Some(url), _) => {
                let inside = under(path, "headers");
                let headers = table.headers.unwrap_or_default().into_iter();
                NotifyTo::Webhook {
                    url: self.private(path, "webhook", url),
                    headers: headers
                        .map(|(name, value)| {
                            let value = self.private(&inside, &name, value);
                            (name, value)
                        })
                        .collect(),
                }
            }
            (_, _, command) => NotifyTo::Command(command?),
        };
        Some(Notify { to, on })
    }

    /// A value that is secret when it comes from the environment, unless it says that it is not.
    fn private(&self, path: &[Part], name: &str, value: TextOrEnv) -> Setting {
        let value = match value {
            TextOrEnv::Env(env) => TextOrEnv::Env(file::EnvTable {
                // A default stands in the file, for everyone to read.
                secret: env.secret.or(env.default.is_none().then_some(true)),
                ..env
            }),
            text @ TextOrEnv::Text(_) => text,
        };
        self.setting(path, name, value)
    }

    pub(super) fn waves(&mut self, table: &WavesTable, kick: &Kick) -> Waves {
        Waves {
            timeout: table.timeout.unwrap_or(kick.waves.timeout),
            batch: table.batch.or(kick.waves.batch),
            pause: table.pause.unwrap_or(kick.waves.pause),
            max_failures: table.max_failures.unwrap_or(kick.waves.max_failures),
        }
    }

    /// The hosts that a role is expected on; a name that stands there twice is refused.
    pub(super) fn hosts(&mut self, role: &[Part], value: Option<file::HostsValue>) -> Option<Hosts> {
        let path = under(role, "hosts");
        let names = match value? {
            file::HostsValue::Count(count) => return Some(Hosts::Count(count)),
            file::HostsValue::Named(names) => names,
        };
        if names.is_empty() {
            let help = "leave it away to have them from Consul by the role's filter";
            self.problem(&path, "`hosts` is empty", "", help);
        }
        for (at, name) in names.iter().enumerate() {
            if names[..at].contains(name) {
                let mut place = path.clone();
                place.push(Part::Item(at));
                self.problem(&place, format!("the host `{name}` is named twice"), "", "");
            }
        }
        Some(Hosts::Named(names))
    }

    /// What the hosts of a role are told by must say who they are, or nobody can be waited for.
    pub(super) fn expected(&mut self, role: &[Part], name: &str, told: Transport, settled: &Role) {
        if settled.health && settled.filter.service.is_none() {
            self.problem(
                &under(role, "health"),
                format!("`role.{name}.health` needs `filter.service`: the checks are those of a service"),
                "",
                &format!("add [role.{name}.filter] with service = \"…\""),
            );
        }
        let known = settled.hosts.is_some() || settled.filter != Filter::default();
        if told == Transport::Consul && !known && self.around.stage.is_some() {
            let line = self.line(role);
            self.lints.push(Lint {
                message: format!(
                    "nothing says which hosts the role `{name}` has: its kicks cannot be followed"
                ),
                line,
                help: format!(
                    "add [role.{name}.filter] with service = \"…\" or node = \"{name}-*\", or hosts = [\"…\"]"
                ),
            });
        }
    }
}

/// Notes where a role's waves come from that it takes over from `[kick]`.
pub(super) fn inherited(roles: &[Role], provenance: &mut Provenance) {
    for role in roles {
        for name in ["timeout", "batch", "pause", "max_failures"] {
            let own = format!("role.{}.kick.{name}", bare(&role.name));
            if provenance.of(&own) == Origin::Default {
                provenance.note(own, provenance.of(&format!("kick.{name}")));
            }
        }
    }
}

pub(super) fn prune(table: &file::PruneTable) -> Prune {
    Prune {
        keep: table.keep.unwrap_or(KEEP),
    }
}

pub(super) fn transport(name: file::TransportName) -> Transport {
    match name {
        file::TransportName::Consul => Transport::Consul,
        file::TransportName::Exec => Transport::Exec,
    }
}

fn outcome(name: OutcomeName) -> Outcome {
    match name {
        OutcomeName::Success => Outcome::Success,
        OutcomeName::Failure => Outcome::Failure,
    }
}
