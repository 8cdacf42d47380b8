//! From the merged tree to the settled config: defaults, and what must hold between keys.

mod build;
mod hosts;
mod kick;
mod role;

use std::path::{Path, PathBuf};

use super::duration::Span;
use super::error::{Lint, Problem};
use super::file::{File, OneOrMany, TextOrEnv};
use super::provenance::Provenance;
use super::secrets::sounds_secret;
use super::setting::{EnvRef, Origin, Setting};
use super::settled::{Cache, Settled, Source};
use super::size::Size;
use super::text::{Node, Part, Value, bare, dotted};
use super::{Fetch, file};

/// What settling needs beside the tree.
pub struct Surroundings<'a> {
    /// The config's file, absolute.
    pub file: &'a Path,
    /// The file as messages name it.
    pub shown: &'a Path,
    /// The directory it lies in, absolute.
    pub dir: &'a Path,
    /// The stage's name; `None` for the base alone, of which nothing that a stage may complete is asked.
    pub stage: Option<String>,
    /// Whether the file or its stage has a `[consul]` table.
    pub consul_table: bool,
    /// The user's home directory, for `~/`.
    pub home: Option<PathBuf>,
}

/// Settles a merged tree that fits the schema.
pub fn settle(merged: &Node, around: &Surroundings<'_>) -> Result<Settled, Vec<Problem>> {
    let file: File = serde_json::from_value(merged.to_json())
        .map_err(|error| vec![Problem::missing(format!("the config cannot be read: {error}"))])?;
    let mut settler = Settler {
        merged,
        around,
        problems: Vec::new(),
        lints: Vec::new(),
    };
    let settled = settler.file(file);
    if settler.problems.is_empty() {
        Ok(settled)
    } else {
        Err(settler.problems)
    }
}

/// Collects problems while it settles.
struct Settler<'a> {
    merged: &'a Node,
    around: &'a Surroundings<'a>,
    problems: Vec<Problem>,
    lints: Vec<Lint>,
}

impl Settler<'_> {
    fn file(&mut self, file: File) -> Settled {
        let app = file.app.unwrap_or_else(|| {
            let problem = Problem::missing("the config has no `app`");
            self.problems
                .push(problem.help("add a line like app = \"shop\" at its top, before the first [table]"));
            String::new()
        });
        let source = self.source(file.source.unwrap_or_default());
        let build = self.build(file.build.unwrap_or_default());
        let cache = cache(&file.cache.unwrap_or_default());
        let store = file.store.and_then(|table| self.store(table));
        let consul = self.consul(file.consul.unwrap_or_default());
        let kick = self.kick(file.kick.as_ref().unwrap_or(&file::KickTable::default()));
        let mut roles: Vec<_> = file
            .role
            .unwrap_or_default()
            .into_iter()
            .map(|(name, table)| self.role(name, table, &kick))
            .collect();
        roles.sort_by_key(|role| self.position(&[key("role"), key(&role.name)]));
        self.event_names(&consul, &app, &roles);
        self.dests(&roles);
        let uses_consul = self.uses_consul(file.kick.as_ref(), &kick, &roles);
        let report = self.report(file.report.unwrap_or_default(), &app, uses_consul);
        let notify = self.notify(file.notify.unwrap_or_default());
        let mut provenance = provenance(self.merged);
        kick::inherited(&roles, &mut provenance);
        Settled {
            app,
            stage: self.around.stage.clone(),
            repo: file.repo.map(OneOrMany::into_vec).unwrap_or_default(),
            source,
            build,
            cache,
            store,
            consul,
            kick,
            report,
            notify,
            prune: kick::prune(&file.prune.unwrap_or_default()),
            uses_consul,
            left_consul: false,
            roles,
            file: self.around.file.to_owned(),
            dir: self.around.dir.to_owned(),
            stages: Vec::new(),
            lints: std::mem::take(&mut self.lints),
            provenance,
        }
    }

    fn source(&mut self, table: file::SourceTable) -> Source {
        let path = [key("source")];
        Source {
            fetch: match table.fetch {
                None | Some(file::FetchName::Auto) => Fetch::Auto,
                Some(file::FetchName::Libgit2) => Fetch::Libgit2,
                Some(file::FetchName::Cli) => Fetch::Cli,
            },
            submodules: table.submodules.unwrap_or(false),
            submodule_hosts: table.submodule_hosts.unwrap_or_default(),
            lfs: table.lfs.unwrap_or(false),
            username: table.username.unwrap_or_else(|| "x-access-token".to_owned()),
            token: self.secret(&path, "token", table.token),
            ssh_key: self.paths(table.ssh_key),
            ssh_agent: table.ssh_agent.unwrap_or(true),
            known_hosts: self.paths(table.known_hosts),
            credential_helper: table.credential_helper.unwrap_or(true),
        }
    }

    /// A value that may come from the environment. It is secret when it says so, or else when its key, or the variable that it
    /// comes from, sounds so.
    fn setting(&self, table: &[Part], name: &str, value: TextOrEnv) -> Setting {
        let path = under(table, name);
        let place = self.place(&path);
        match value {
            TextOrEnv::Text(text) => Setting::text(dotted(&path), place, text),
            TextOrEnv::Env(env) => {
                // What has a default in the file is none, whatever its variable is called.
                let sounds = sounds_secret(name) || (env.default.is_none() && sounds_secret(&env.env));
                let secret = env.secret.unwrap_or(sounds);
                Setting::env(
                    dotted(&path),
                    place,
                    EnvRef {
                        name: env.env,
                        secret,
                        default: env.default,
                    },
                )
            }
        }
    }

    /// A value that is always secret, which the file can only take from the environment.
    fn secret(&self, table: &[Part], name: &str, value: Option<TextOrEnv>) -> Option<Setting> {
        let value = match value? {
            TextOrEnv::Env(env) => TextOrEnv::Env(file::EnvTable {
                secret: Some(true),
                ..env
            }),
            // An empty text, which the search for secrets lets pass, is none.
            TextOrEnv::Text(_) => return None,
        };
        Some(self.setting(table, name, value))
    }

    /// The variables of an `env` table, by name.
    fn variables(&self, table: &[Part], env: Option<Env>) -> Vec<(String, Setting)> {
        let path = under(table, "env");
        env.unwrap_or_default()
            .into_iter()
            .map(|(name, value)| {
                let setting = self.setting(&path, &name, value);
                (name, setting)
            })
            .collect()
    }

    /// A path of this machine: relative to the config, or to the home directory.
    fn path(&self, text: &str) -> PathBuf {
        match (text.strip_prefix("~/"), &self.around.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => self.around.dir.join(text),
        }
    }

    fn paths(&self, texts: Option<OneOrMany<String>>) -> Vec<PathBuf> {
        texts
            .map(OneOrMany::into_vec)
            .unwrap_or_default()
            .iter()
            .map(|text| self.path(text))
            .collect()
    }

    /// Where a key stands, for errors about its value.
    fn place(&self, path: &[Part]) -> String {
        let file = self.around.shown.display();
        match self.merged.find(path).map(|(node, _)| &node.origin) {
            Some(Origin::File { line } | Origin::Stage { line, .. }) => format!("{file}:{line}"),
            Some(Origin::Environment { name }) => name.clone(),
            Some(Origin::Default) | None => "default".to_owned(),
        }
    }

    /// Where a key stands in the file, for the order of tables.
    fn position(&self, path: &[Part]) -> usize {
        self.merged.find(path).map_or(0, |(_, span)| span.start)
    }

    /// A problem that underlines a key, or what is nearest to it in the file.
    fn problem(&mut self, path: &[Part], message: impl Into<String>, label: &str, help: &str) {
        let mut up = path;
        let span = loop {
            match self.merged.find(up) {
                Some((node, span)) if !span.is_empty() || up.is_empty() => {
                    let table = matches!(node.value, Value::Table(_));
                    break if up.is_empty() {
                        None
                    } else {
                        Some(if table { span } else { node.span.clone() })
                    };
                }
                _ if up.is_empty() => break None,
                _ => up = &up[..up.len() - 1],
            }
        };
        let mut problem = match span {
            Some(span) => Problem::at(span, message, label),
            None => Problem::missing(message),
        };
        problem.help = (!help.is_empty()).then(|| help.to_owned());
        self.problems.push(problem);
    }
}

/// What a layer cache may take when the config does not say.
const CACHE_SIZE: Size = Size::bytes(20_000_000_000);

/// How old a layer may become when the config does not say.
const CACHE_AGE: Span = Span::seconds(30 * 86_400);

fn cache(table: &file::CacheTable) -> Cache {
    Cache {
        shared: table.shared.unwrap_or(true),
        max_size: table.max_size.unwrap_or(CACHE_SIZE),
        max_age: table.max_age.unwrap_or(CACHE_AGE),
    }
}

/// An `env` table of the file.
type Env = std::collections::BTreeMap<String, TextOrEnv>;

fn key(name: &str) -> Part {
    Part::Key(name.to_owned())
}

fn under(path: &[Part], name: &str) -> Vec<Part> {
    let mut longer = path.to_vec();
    longer.push(key(name));
    longer
}

/// The origin of each value of the merged tree. Tables have none of their own, except `{ env = … }`.
fn provenance(merged: &Node) -> Provenance {
    fn walk(node: &Node, path: &str, into: &mut Provenance) {
        match &node.value {
            Value::Table(entries)
                if !entries.is_empty() && node.get("env").and_then(Node::as_text).is_none() =>
            {
                for entry in entries {
                    let dot = if path.is_empty() { "" } else { "." };
                    walk(&entry.node, &format!("{path}{dot}{}", bare(&entry.key)), into);
                }
            }
            Value::Array(items) if items.iter().any(|item| matches!(item.value, Value::Table(_))) => {
                for (at, item) in items.iter().enumerate() {
                    walk(item, &format!("{path}[{at}]"), into);
                }
            }
            _ => into.note(path, node.origin.clone()),
        }
    }
    let mut provenance = Provenance::default();
    walk(merged, "", &mut provenance);
    provenance
}
