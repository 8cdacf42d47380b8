//! The settled config as `shipit config` shows it: TOML that loads again, with a comment on each value's origin.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;
use toml::{Table, Value};

use super::provenance::Provenance;
use super::setting::Origin;
use super::settled::Settled;
use super::text::bare;

/// Where comments start, unless the value is longer.
const COLUMN: usize = 56;

/// Asks for an environment variable.
type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The settled config as TOML with comments.
///
/// # Errors
/// A value that TOML cannot hold, which a config that was read from TOML does not have.
pub fn as_toml(settled: &Settled, env: Env<'_>) -> Result<String, toml::ser::Error> {
    let table = Table::try_from(settled)?;
    let file = settled.file.file_name().map_or(settled.file.as_path(), Path::new);
    let mut writer = Writer {
        out: String::new(),
        provenance: &settled.provenance,
        file,
        env,
    };
    match &settled.stage {
        Some(stage) => writeln_to(
            &mut writer.out,
            format_args!("# {} with the stage {stage}", settled.file.display()),
        ),
        None => writeln_to(
            &mut writer.out,
            format_args!("# {}, its base alone", settled.file.display()),
        ),
    }
    let mut top = table;
    top.remove("stage");
    if let Some(Value::Table(roles)) = top.get_mut("role") {
        roles.iter_mut().for_each(|(_, role)| without_unused(role));
    }
    writer.table(&top, "", "");
    Ok(writer.out)
}

/// The settled config and the origins as one JSON document.
///
/// # Errors
/// A value that JSON cannot hold, which a config that was read from TOML does not have.
pub fn as_json(settled: &Settled) -> Result<serde_json::Value, serde_json::Error> {
    Ok(json!({
        "file": settled.file,
        "stage": settled.stage,
        "config": serde_json::to_value(settled)?,
        "origins": settled.provenance,
    }))
}

struct Writer<'a> {
    out: String,
    provenance: &'a Provenance,
    file: &'a Path,
    env: Env<'a>,
}

impl Writer<'_> {
    /// Values first, then tables, as TOML wants it. `header` is the path as TOML has it, `key` as origins have it.
    fn table(&mut self, table: &Table, header: &str, key: &str) {
        let join = |path: &str, name: &str| match path {
            "" => bare(name),
            _ => format!("{path}.{}", bare(name)),
        };
        for (name, value) in table.iter().filter(|(name, value)| !is_table(name, value, key)) {
            self.value(name, value, &join(key, name));
        }
        for (name, value) in table.iter().filter(|(name, value)| is_table(name, value, key)) {
            let (header, key) = (join(header, name), join(key, name));
            match value {
                Value::Table(inner) if inner.is_empty() => {}
                Value::Table(inner) => {
                    if inner.iter().any(|(name, value)| !is_table(name, value, &key)) {
                        writeln_to(&mut self.out, format_args!("\n[{header}]"));
                    }
                    self.table(inner, &header, &key);
                }
                Value::Array(items) => {
                    for (at, item) in items.iter().enumerate() {
                        if let Value::Table(inner) = item {
                            writeln_to(&mut self.out, format_args!("\n[[{header}]]"));
                            self.table(inner, &header, &format!("{key}[{at}]"));
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn value(&mut self, name: &str, value: &Value, key: &str) {
        let line = format!("{} = {value}", bare(name));
        let mut comment = self.origin(key);
        if let Some(reference) = reference(value) {
            comment.push_str(&self.variable(reference, value));
        }
        let width = line.rsplit('\n').next().map_or(0, |last| last.chars().count());
        let gap = " ".repeat(COLUMN.saturating_sub(width).max(1));
        writeln_to(&mut self.out, format_args!("{line}{gap}# {comment}"));
    }

    fn origin(&self, key: &str) -> String {
        let file = self.file.display();
        match self.provenance.of(key) {
            Origin::File { line } => format!("{file}:{line}"),
            Origin::Stage { stage, line } => format!("{file}:{line} [stage.{}]", bare(&stage)),
            Origin::Environment { name } => format!("environment variable {name}"),
            Origin::Default => "default".to_owned(),
        }
    }

    /// What the environment holds for a reference, masked when it is secret.
    fn variable(&self, name: &str, value: &Value) -> String {
        let secret = value.get("secret").and_then(Value::as_bool) == Some(true);
        match (self.env)(name) {
            Some(_) if secret => format!("; {name} is set: ***"),
            Some(text) => format!("; {name} is set: {text:?}"),
            None if value.get("default").is_some() => format!("; {name} is not set, the default counts"),
            None => format!("; {name} is not set"),
        }
    }
}

/// Takes out of a role what its layout has no use for and the file therefore may not have.
fn without_unused(role: &mut Value) {
    let Value::Table(keys) = role else { return };
    let unused: &[&str] = match keys.get("layout").and_then(Value::as_str) {
        Some("commands") => &["layout", "owner", "excludes", "shared", "keep_releases", "link"],
        Some("plain") => &["shared", "keep_releases", "link"],
        _ => &[],
    };
    keys.retain(|key, _| !unused.contains(&key));
}

/// Whether a value is written as a table of its own. `{ env = … }`, a step's `packages` and what lies in `vars` are not.
fn is_table(name: &str, value: &Value, inside: &str) -> bool {
    match value {
        Value::Table(_) => reference(value).is_none() && name != "packages" && !inside.ends_with(".vars"),
        Value::Array(items) => {
            !items.is_empty()
                && !inside.ends_with(".vars")
                && items.iter().all(|item| matches!(item, Value::Table(_)))
        }
        _ => false,
    }
}

/// The variable's name when the value is `{ env = "NAME", … }`.
fn reference(value: &Value) -> Option<&str> {
    value.get("env").and_then(Value::as_str)
}

fn writeln_to(out: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{line}");
}
