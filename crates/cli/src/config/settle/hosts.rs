//! `[store]`, `[consul]`, and the events' names.

use std::path::Path;

use super::super::file::{self, SseName};
use super::super::setting::Setting;
use super::super::settled::{Consul, Role, Store};
use super::{Settler, key, under};
use crate::config::error::Lint;

/// Where Consul's agent listens when nobody says.
const ADDRESS: &str = "http://127.0.0.1:8500";

/// The events' names when the config does not say.
const EVENT_NAME: &str = "deploy_{{ app }}_{{ role }}_{{ stage }}";

impl Settler<'_> {
    /// The store; `None` when only a stage may complete it, or when it is wrong.
    pub(super) fn store(&mut self, table: file::StoreTable) -> Option<Store> {
        let path = [key("store")];
        if table.sse_kms_key_id.is_some() && !matches!(table.sse, Some(SseName::Kms | SseName::KmsDsse)) {
            self.problem(
                &under(&path, "sse_kms_key_id"),
                "`store.sse_kms_key_id` goes with sse = \"aws:kms\" or \"aws:kms:dsse\" alone",
                "",
                "add sse = \"aws:kms\"",
            );
        }
        let Some(url) = table.url else {
            if self.around.stage.is_some() {
                self.problem(
                    &path,
                    "the store has no `url`",
                    "",
                    "add url = \"s3://bucket/prefix\" or \"file:///dir\"",
                );
            }
            return None;
        };
        let url = self.setting(&path, "url", url);
        if url.as_text().is_some_and(|url| url.starts_with("file:")) {
            let given = [
                ("endpoint", table.endpoint.is_some()),
                ("region", table.region.is_some()),
                ("sse", table.sse.is_some()),
            ];
            for (name, _) in given.iter().filter(|(_, there)| *there) {
                let message =
                    format!("`store.{name}` goes with an s3:// store alone, and this one is a directory");
                self.problem(&under(&path, name), message, "", "");
            }
        }
        Some(Store {
            url,
            region: table.region,
            endpoint: table.endpoint.map(|value| self.setting(&path, "endpoint", value)),
            path_style: table.path_style.unwrap_or(false),
            sse: table.sse.map(|sse| sse.as_str().to_owned()),
            sse_kms_key_id: table.sse_kms_key_id,
            public_url: table
                .public_url
                .map(|value| self.setting(&path, "public_url", value)),
        })
    }

    pub(super) fn consul(&mut self, table: file::ConsulTable) -> Consul {
        let path = [key("consul")];
        if table.token.is_some() && table.token_file.is_some() {
            self.problem(
                &under(&path, "token_file"),
                "`consul.token` and `consul.token_file` are two places for one token",
                "",
                "keep one of them",
            );
        }
        if table.client_cert.is_some() != table.client_key.is_some() {
            let (there, missing) = if table.client_cert.is_some() {
                ("client_cert", "client_key")
            } else {
                ("client_key", "client_cert")
            };
            let message = format!("`consul.{there}` needs `consul.{missing}`");
            self.problem(
                &under(&path, there),
                message,
                "",
                "a client's certificate and its key go together",
            );
        }
        let address = match table.address {
            Some(address) => self.setting(&path, "address", address),
            None => Setting::text("consul.address", "default", ADDRESS),
        };
        Consul {
            address,
            token: self.secret(&path, "token", table.token),
            token_file: table.token_file.map(|path| self.path(&path)),
            ca_cert: table.ca_cert.map(|path| self.path(&path)),
            client_cert: table.client_cert.map(|path| self.path(&path)),
            client_key: table.client_key.map(|path| self.path(&path)),
            tls_server_name: table.tls_server_name,
            verify: table.verify.unwrap_or(true),
            namespace: table.namespace,
            datacenter: table.datacenter,
            event_name: table.event_name.unwrap_or_else(|| EVENT_NAME.to_owned()),
            hosts_in: None,
        }
    }

    /// The events' names: the template must render for every role, and to another name for each.
    pub(super) fn event_names(&mut self, consul: &Consul, app: &str, roles: &[Role]) {
        let path = [key("consul"), key("event_name")];
        let stage = self
            .around
            .stage
            .clone()
            .unwrap_or_else(|| super::super::settled::DEFAULT_STAGE.to_owned());
        let mut names: Vec<(String, &str)> = Vec::new();
        for role in roles {
            match shipit_fleet::event::name(&consul.event_name, app, &role.name, &stage) {
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(|cause| format!(" ({cause})"));
                    let why = format!("{error}{}", cause.unwrap_or_default());
                    self.problem(&path, format!("`consul.event_name` is not right: {why}"), "", "");
                    return;
                }
                Ok(name) => {
                    if let Some((_, other)) = names.iter().find(|(taken, _)| *taken == name) {
                        let message = format!(
                            "the roles `{other}` and `{}` have one event name, `{name}`",
                            role.name
                        );
                        let help =
                            "hosts keep only the newest event of a name: use {{ role }} in the template";
                        self.problem(&path, message, "", help);
                        return;
                    }
                    names.push((name, &role.name));
                }
            }
        }
        if !roles.is_empty() && !consul.event_name.contains("stage") {
            let line = self.line(&path);
            self.lints.push(Lint {
                message: "`consul.event_name` is the same for every stage".to_owned(),
                line,
                help: "hosts of another stage on the same Consul take the event too: use {{ stage }} in it"
                    .to_owned(),
            });
        }
    }

    /// Says where two roles would take each other's files on a host that has both.
    pub(super) fn dests(&mut self, roles: &[Role]) {
        for (at, role) in roles.iter().enumerate() {
            for other in &roles[..at] {
                let (Some(a), Some(b)) = (&role.dest, &other.dest) else {
                    continue;
                };
                let (a, b) = (Path::new(a), Path::new(b));
                let clash = if a == b {
                    role.layout != other.layout
                } else {
                    a.starts_with(b) || b.starts_with(a)
                };
                if clash {
                    let line = self.line(&[key("role"), key(&role.name), key("dest")]);
                    self.lints.push(Lint {
                        message: format!("the roles `{}` and `{}` have dests that overlap", other.name, role.name),
                        line,
                        help: "a host with both would lose files of one to the other: give each a dest of its own"
                            .to_owned(),
                    });
                }
            }
        }
    }
}
