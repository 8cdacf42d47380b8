//! What a role's manifest is rendered from.

use std::io::ErrorKind;

use shipit_manifest::{
    Hooks, Layout, Link, RenderInput, ReportInput, ReportWith, Template, render, render_once,
};
use shipit_store::{BoxError, RenderContext};

use crate::config::{self, Role, Settled};
use crate::errors::{CliError, Kind, Result};

/// A role, ready to be rendered for any release; its template is read once, before anything is uploaded.
#[derive(Debug)]
pub struct RoleManifest {
    input: RenderInput,
    template: Option<(String, String)>,
}

impl RoleManifest {
    /// Settles a role of a stage.
    pub fn new(config: &Settled, role: &Role, revision: &str) -> Result<Self> {
        let template = match &role.template {
            None => None,
            Some(path) => {
                let name = path
                    .strip_prefix(&config.dir)
                    .unwrap_or(path)
                    .display()
                    .to_string();
                let text = std::fs::read_to_string(path).map_err(|error| {
                    let kind = match error.kind() {
                        ErrorKind::NotFound | ErrorKind::IsADirectory | ErrorKind::InvalidData => Kind::Usage,
                        _ => Kind::Disk,
                    };
                    CliError::from_source(kind, error)
                        .context(format!(
                            "cannot read the template {name} of the role {}",
                            role.name
                        ))
                        .hint(format!(
                            "role.{}.template names it, seen from the config's directory",
                            role.name
                        ))
                })?;
                Some((name, text))
            }
        };
        Ok(RoleManifest {
            input: input(config, role, revision),
            template,
        })
    }

    /// The manifest's text for a release, checked.
    pub fn render(&self, context: &RenderContext<'_>) -> std::result::Result<String, BoxError> {
        let input = self.of_release(context);
        let template = self.template.as_ref().map(|(name, text)| Template { name, text });
        Ok(render(&input, template)?)
    }

    /// Whether one host runs `once` commands before the others are told.
    pub fn has_once(&self) -> bool {
        !self.input.once.is_empty()
    }

    /// The text of the manifest of its `once` commands for a release, checked.
    pub fn render_once(&self, context: &RenderContext<'_>) -> std::result::Result<String, BoxError> {
        Ok(render_once(&self.of_release(context))?)
    }

    fn of_release(&self, context: &RenderContext<'_>) -> RenderInput {
        let mut input = self.input.clone();
        input.release = context.release.to_string();
        if input.layout != Layout::Commands {
            input.src = Some(context.src.to_owned());
            input.checksum = Some(context.checksum.to_owned());
            input.record_sha256 = Some(context.record_sha256.to_owned());
        }
        input
    }

    /// One of the two, with the error as a command shows it.
    pub fn render_alone(&self, context: &RenderContext<'_>, once: bool) -> Result<String> {
        let rendered = if once {
            self.render_once(context)
        } else {
            self.render(context)
        };
        rendered.map_err(|error| match error.downcast::<shipit_manifest::Error>() {
            Ok(error) => {
                let hint = error.hint();
                CliError::from_source(Kind::Usage, *error)
                    .context(format!("cannot render the manifest of role {}", self.input.role))
                    .maybe_hint(hint)
            }
            Err(error) => CliError::new(Kind::Internal, error.to_string()),
        })
    }
}

fn input(config: &Settled, role: &Role, revision: &str) -> RenderInput {
    RenderInput {
        src: None,
        checksum: None,
        record_sha256: None,
        app: config.app.clone(),
        stage: config.stage().to_owned(),
        role: role.name.clone(),
        release: String::new(),
        revision: revision.to_owned(),
        dest: role.dest.clone(),
        layout: match role.layout {
            config::Layout::Releases => Layout::Releases,
            config::Layout::Plain => Layout::Plain,
            config::Layout::Commands => Layout::Commands,
        },
        link: match role.link {
            config::Link::Auto => Link::Auto,
            config::Link::Copy => Link::Copy,
            config::Link::Symlink => Link::Symlink,
        },
        owner: role.owner.clone(),
        shared: role.shared.clone(),
        excludes: role.excludes.clone(),
        hooks: Hooks {
            before_switch: role.before_switch.clone(),
            after_switch: role.after_switch.clone(),
            check: role.check.clone(),
            timeout: role.hook_timeout.get(),
            check_timeout: role.check_timeout.get(),
        },
        report: report(config),
        once: role.once.clone(),
        keep_releases: role.keep_releases,
        vars: role.vars.clone(),
    }
}

fn report(config: &Settled) -> Option<ReportInput> {
    let with = match config.report.with {
        config::ReportWith::Curl => ReportWith::Curl,
        config::ReportWith::Consul => ReportWith::Consul,
        config::ReportWith::Off => return None,
    };
    Some(ReportInput {
        with,
        dashboard: config.report.dashboard.clone(),
    })
}
