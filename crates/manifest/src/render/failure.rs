//! Says of a template that failed where it did, and which name it lacks.

use std::collections::BTreeSet;

use minijinja::value::Value;
use minijinja::{Environment, ErrorKind};

use crate::error::Error;

/// The error for what minijinja gave; `template` is the one that was asked for, which may include others.
pub(super) fn explain(template: &str, context: &Value, source: minijinja::Error) -> Error {
    let name = source.name().unwrap_or(template).to_owned();
    let line = source.line().unwrap_or(0);
    if source.kind() != ErrorKind::UndefinedError {
        return Error::Template {
            template: name,
            line,
            source,
        };
    }
    match undefined(&source, line, context) {
        Some(variable) => {
            let nearest = nearest(&variable, context);
            Error::Undefined {
                template: name,
                line,
                variable,
                nearest,
            }
        }
        None => Error::Template {
            template: name,
            line,
            source,
        },
    }
}

/// The name without a value: minijinja knows the place, which may be a filter's, so the names that the template uses
/// are looked up, those on the failing line first.
fn undefined(error: &minijinja::Error, line: usize, context: &Value) -> Option<String> {
    let text = error.template_source()?;
    let missing = missing(text, context);
    let on_line = text.lines().nth(line.checked_sub(1)?).unwrap_or_default();
    let here = missing.iter().find(|name| on_line.contains(name.as_str()));
    here.or_else(|| missing.first()).cloned().or_else(|| {
        let shown = text.get(error.range()?)?.trim();
        (!shown.is_empty()).then(|| shown.to_owned())
    })
}

/// The names that a template uses and the context lacks, each up to the first part that is missing.
fn missing(text: &str, context: &Value) -> BTreeSet<String> {
    let mut missing = BTreeSet::new();
    let env = Environment::new();
    let Ok(template) = env.template_from_str(text) else {
        return missing;
    };
    for name in template.undeclared_variables(true) {
        let mut value = context.clone();
        let mut path = String::new();
        for part in name.split('.') {
            path.push_str(part);
            value = value.get_attr(part).unwrap_or_default();
            if value.is_undefined() {
                missing.insert(path);
                break;
            }
            path.push('.');
        }
    }
    // Functions are names too, and are there.
    missing.retain(|name| {
        !matches!(
            name.as_str(),
            "host_env" | "host_must_env" | "loop" | "range" | "dict" | "namespace"
        )
    });
    missing
}

/// The existing name beside a missing one that looks most like it.
fn nearest(variable: &str, context: &Value) -> Option<String> {
    let (parent, last) = variable
        .rsplit_once('.')
        .map_or((None, variable), |(parent, last)| (Some(parent), last));
    let mut holder = context.clone();
    for part in parent.into_iter().flat_map(|parent| parent.split('.')) {
        holder = holder.get_attr(part).ok()?;
    }
    let names = holder
        .try_iter()
        .ok()?
        .filter_map(|key| key.as_str().map(ToOwned::to_owned));
    let scored = names
        .map(|name| (strsim::jaro_winkler(last, &name), name))
        .filter(|(score, _)| *score > 0.8);
    let (_, name) = scored.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    Some(parent.map_or_else(|| name.clone(), |parent| format!("{parent}.{name}")))
}
