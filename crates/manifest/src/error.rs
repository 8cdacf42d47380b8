//! What can go wrong with a manifest, and what to do about it.

use std::fmt;

use crate::check::Problem;

/// A manifest that could not be rendered, read or accepted. The cause, where there is one, is `source()`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value that the manifest is rendered from cannot stand in one.
    #[error("manifest: {field} {value:?} cannot be used: {reason}")]
    Value {
        /// The config's key, or the part of the release.
        field: &'static str,
        /// The value.
        value: String,
        /// Why not.
        reason: String,
    },
    /// The template names a variable that does not exist.
    #[error("template {template}, line {line}: the variable `{variable}` is not defined")]
    Undefined {
        /// The template's name.
        template: String,
        /// Its line, from 1.
        line: usize,
        /// The expression that has no value.
        variable: String,
        /// The nearest name that has one.
        nearest: Option<String>,
    },
    /// The template cannot be read or run.
    #[error("template {template}, line {line} cannot be rendered")]
    Template {
        /// The template's name.
        template: String,
        /// Its line, from 1.
        line: usize,
        /// minijinja's reason.
        #[source]
        source: minijinja::Error,
    },
    /// What the template gave is no manifest.
    #[error("template {template}: what it renders to is not a manifest that a host can read")]
    Rendered {
        /// The template's name.
        template: String,
        /// Why the text cannot be read.
        #[source]
        source: Box<Error>,
    },
    /// What the template gave is a manifest that must not be published.
    #[error("template {template}: {}", Listed(problems))]
    Unsound {
        /// The template's name.
        template: String,
        /// What is wrong with the manifest, at least one.
        problems: Vec<Problem>,
    },
    /// The text is not the YAML of a manifest.
    #[error("manifest, line {line}, column {column}: {reason}")]
    Yaml {
        /// Line in the text as the host's template evaluation left it, from 1; 0 when unknown.
        line: u64,
        /// Column, from 1; 0 when unknown.
        column: u64,
        /// The parser's reason.
        reason: String,
    },
    /// `src` without `dest`.
    #[error("manifest: dest is required when there is a src")]
    NoDest,
    /// A `{{ … }}` that the host cannot evaluate.
    #[error("manifest, line {line}: {{{{ {action} }}}}: {reason}")]
    HostTemplate {
        /// Line of the action, from 1.
        line: usize,
        /// What stands between the braces.
        action: String,
        /// What cannot be done with it.
        reason: String,
    },
    /// `must_env` of a variable that the host does not have.
    #[error("manifest, line {line}: the environment variable {name} is not defined on this host")]
    MissingEnv {
        /// Line of the action, from 1.
        line: usize,
        /// The variable.
        name: String,
    },
}

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The config or the template: the release engineer.
    Config,
    /// A manifest that was read: it is not what it should be.
    Manifest,
    /// The host's environment lacks something that the manifest needs.
    Environment,
}

impl Error {
    /// Who has to act.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Value { .. }
            | Error::Undefined { .. }
            | Error::Template { .. }
            | Error::Rendered { .. }
            | Error::Unsound { .. } => ErrorKind::Config,
            Error::Yaml { .. } | Error::NoDest | Error::HostTemplate { .. } => ErrorKind::Manifest,
            Error::MissingEnv { .. } => ErrorKind::Environment,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Undefined { variable, nearest, .. } => Some(match nearest {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None if variable.starts_with("vars.") => {
                    format!("the role has no such variable: add `{}` to its vars", &variable["vars.".len()..])
                }
                None => format!(
                    "give it in the role's vars and write `vars.{variable}`; docs/manifest.md lists what a template sees"
                ),
            }),
            Error::Rendered { .. } => Some(
                "values go into YAML through `| yaml`, and scripts through `{% filter yaml_block(6) %}`; see docs/manifest.md"
                    .to_owned(),
            ),
            Error::HostTemplate { .. } => {
                Some("only env, must_env and json_escape of text are evaluated on hosts; a literal {{ is written {{\"{{\"}}".to_owned())
            }
            Error::MissingEnv { name, .. } => {
                Some(format!("set {name} in the environment of the host's watch (the systemd unit's Environment=)"))
            }
            _ => None,
        }
    }

    pub(crate) fn value(field: &'static str, value: &str, reason: impl Into<String>) -> Self {
        Error::Value {
            field,
            value: value.to_owned(),
            reason: reason.into(),
        }
    }
}

/// Problems as one sentence.
struct Listed<'a>(&'a [Problem]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            if at > 0 {
                to.write_str("; ")?;
            }
            write!(to, "{problem}")?;
        }
        Ok(())
    }
}
