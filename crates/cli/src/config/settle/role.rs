//! `[role.<name>]`: what its layout takes, and that its transport can be used.

use super::super::duration::Span;
use super::super::file::{self, LayoutName, LinkName, OneOrMany, RoleTable};
use super::super::settled::{Exec, Filter, Kick, Layout, Link, Role, Transport};
use super::super::text::Part;
use super::kick::transport;
use super::{Settler, key, under};

/// The longest that a hook may run when the role does not say.
const HOOK_TIMEOUT: Span = Span::seconds(600);

/// The longest that a check may take when the role does not say.
const CHECK_TIMEOUT: Span = Span::seconds(60);

/// How many releases a host keeps when the role does not say.
const KEEP_RELEASES: u32 = 5;

/// How many hosts `exec` takes at once when the role does not say.
const EXEC_LIMIT: u32 = 10;

/// The longest that one host of `exec` may take when the role does not say.
const EXEC_TIMEOUT: Span = Span::seconds(900);

impl Settler<'_> {
    pub(super) fn role(&mut self, name: String, table: RoleTable, kick: &Kick) -> Role {
        let path = [key("role"), key(&name)];
        let layout = match (&table.dest, table.layout) {
            (None, _) => Layout::Commands,
            (Some(_), None | Some(LayoutName::Releases)) => Layout::Releases,
            (Some(_), Some(LayoutName::Plain)) => Layout::Plain,
        };
        self.layout_keys(&path, &table, layout);
        let filter = table.filter.unwrap_or_default();
        if filter.tag.is_some() && filter.service.is_none() {
            self.problem(
                &under(&under(&path, "filter"), "tag"),
                format!("`role.{name}.filter.tag` needs `service`: a tag is one of a service"),
                "",
                "add service = \"…\" beside it",
            );
        }
        let told = table.transport.map(transport);
        let exec = table.exec.and_then(|exec| self.exec(&path, exec));
        let complete = self.around.stage.is_some();
        if complete && told.unwrap_or(kick.transport) == Transport::Exec && exec.is_none() {
            let message = format!("the role `{name}` is told by `exec`, and has no [role.{name}.exec]");
            let help = "add the table with command = \"ssh {{ host }} shipit apply\" and hosts = [\"…\"]";
            self.problem(&path, message, "", help);
        }
        let waves = self.waves(&table.kick.unwrap_or_default(), kick);
        let hosts = self.hosts(&path, table.hosts);
        let role = Role {
            dest: table.dest.map(|dest| dest.trim_end_matches('/').to_owned()),
            owner: table.owner,
            layout,
            shared: table
                .shared
                .unwrap_or_default()
                .iter()
                .map(|shared| plain(shared))
                .collect(),
            before_switch: many(table.before_switch),
            after_switch: many(table.after_switch),
            check: table.check,
            once: many(table.once),
            hook_timeout: table.hook_timeout.unwrap_or(HOOK_TIMEOUT),
            check_timeout: table.check_timeout.unwrap_or(CHECK_TIMEOUT),
            keep_releases: table.keep_releases.unwrap_or(KEEP_RELEASES),
            link: match table.link {
                None | Some(LinkName::Auto) => Link::Auto,
                Some(LinkName::Copy) => Link::Copy,
                Some(LinkName::Symlink) => Link::Symlink,
            },
            excludes: table.excludes.unwrap_or_default(),
            template: table.template.map(|template| self.path(&template)),
            vars: table.vars.unwrap_or_default(),
            transport: told,
            filter: Filter {
                node: filter.node,
                service: filter.service,
                tag: filter.tag,
            },
            exec,
            hosts,
            health: table.health.unwrap_or(false),
            waves,
            name,
        };
        self.expected(&path, &role.name, told.unwrap_or(kick.transport), &role);
        role
    }

    /// Refuses keys that the role's layout has no use for, and a role that would do nothing.
    fn layout_keys(&mut self, path: &[Part], table: &RoleTable, layout: Layout) {
        let files = [
            ("layout", table.layout.is_some()),
            ("owner", table.owner.is_some()),
            ("excludes", table.excludes.is_some()),
        ];
        let releases = [
            ("shared", table.shared.is_some()),
            ("keep_releases", table.keep_releases.is_some()),
            ("link", table.link.is_some()),
        ];
        let (given, why): (Vec<_>, _) = match layout {
            Layout::Releases => (Vec::new(), ""),
            Layout::Plain => (
                releases.to_vec(),
                "layout \"plain\" is one directory that is synced",
            ),
            // Without a stage the base may lack a `dest` that every stage has.
            Layout::Commands if self.around.stage.is_none() => return,
            Layout::Commands => (
                [files.as_slice(), releases.as_slice()].concat(),
                "a role without `dest` has no files",
            ),
        };
        for (name, _) in given.iter().filter(|(_, there)| *there) {
            let help = if layout == Layout::Plain {
                "it goes with layout = \"releases\""
            } else {
                "add dest = \"/srv/…\""
            };
            self.problem(
                &under(path, name),
                format!("`{name}` cannot be here: {why}"),
                "",
                help,
            );
        }
        let commands = table.before_switch.is_some() || table.after_switch.is_some() || table.check.is_some();
        if layout == Layout::Commands && !commands {
            let message = format!(
                "the role `{}` does nothing: it has neither `dest` nor a command",
                self.named(path)
            );
            self.problem(
                path,
                message,
                "",
                "add dest = \"/srv/…\", or after_switch = [\"a command\"]",
            );
        }
        self.nested_shared(path, table);
    }

    /// A shared path inside of another one would be a link inside of a link.
    fn nested_shared(&mut self, path: &[Part], table: &RoleTable) {
        let shared: Vec<String> = table
            .shared
            .iter()
            .flatten()
            .map(|shared| plain(shared))
            .collect();
        for (at, one) in shared.iter().enumerate() {
            if let Some(other) = shared[..at]
                .iter()
                .find(|other| within(one, other) || within(other, one))
            {
                let mut place = under(path, "shared");
                place.push(Part::Item(at));
                let message = format!("the shared paths `{other}` and `{one}` lie one in the other");
                self.problem(&place, message, "", "share the outer one alone");
            }
        }
    }

    fn exec(&mut self, role: &[Part], table: file::ExecTable) -> Option<Exec> {
        let path = under(role, "exec");
        let env = self.variables(&path, table.env);
        // What is not there may come from a stage; an empty list is none.
        let is_empty = table.hosts.as_ref().map(Vec::is_empty);
        let hosts = table.hosts.unwrap_or_default();
        let staged = self.around.stage.is_some();
        if staged && table.command.is_none() {
            let help = "add command = \"ssh {{ host }} shipit apply\"";
            self.problem(&path, "`exec` has no `command`", "", help);
        }
        if is_empty.unwrap_or(staged) {
            let help = "add hosts = [\"…\"]";
            self.problem(&under(&path, "hosts"), "`exec` has no hosts", "", help);
        }
        let command = table.command?;
        if let Err(why) = renders(&command) {
            let message = format!("`exec.command` cannot be rendered: {why}");
            self.problem(
                &under(&path, "command"),
                message,
                "",
                "it knows {{ host }}, and nothing else",
            );
        }
        Some(Exec {
            command,
            hosts,
            limit: table.limit.unwrap_or(EXEC_LIMIT),
            timeout: table.timeout.unwrap_or(EXEC_TIMEOUT),
            env,
        })
    }

    fn named<'p>(&self, path: &'p [Part]) -> &'p str {
        match path.last() {
            Some(Part::Key(name)) => name,
            _ => "",
        }
    }

    /// The line of a key, or of what is nearest to it.
    pub(super) fn line(&self, path: &[Part]) -> usize {
        use super::super::setting::Origin;
        match self.merged.find(path).map(|(node, _)| &node.origin) {
            Some(Origin::File { line } | Origin::Stage { line, .. }) => *line,
            _ => 1,
        }
    }
}

fn plain(path: &str) -> String {
    path.strip_prefix("./")
        .unwrap_or(path)
        .trim_end_matches('/')
        .to_owned()
}

fn within(path: &str, other: &str) -> bool {
    path == other || path.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether a template of `host` is one.
fn renders(command: &str) -> Result<(), minijinja::Error> {
    let mut environment = minijinja::Environment::new();
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    environment
        .render_str(command, minijinja::context! { host => "host" })
        .map(|_| ())
}

fn many(commands: Option<OneOrMany<String>>) -> Vec<String> {
    commands.map(OneOrMany::into_vec).unwrap_or_default()
}
