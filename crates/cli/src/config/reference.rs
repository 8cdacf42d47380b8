//! docs/configuration.md, made from the schema: every key with its type, its default, an example and what it means.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::check::{keyword, layers, words};
use super::schema;
use super::text::bare;

/// The page's head: what holds for all keys.
const HEAD: &str = include_str!("reference.md");

/// The page.
pub fn reference() -> String {
    let root = schema::internal();
    let mut page = Page {
        root: &root,
        out: HEAD.to_owned(),
    };
    page.table(&root, "", "The top level");
    page.out
}

struct Page<'a> {
    root: &'a Json,
    out: String,
}

/// A table that gets a section of its own.
struct Section<'a> {
    schema: &'a Json,
    path: String,
    title: String,
    about: &'a str,
}

impl<'a> Page<'a> {
    /// A table's keys, then the tables in it.
    fn table(&mut self, schema: &'a Json, path: &str, title: &str) {
        self.heading(title);
        self.keys(schema, path);
        for section in self.sections(schema, path) {
            if section.path.starts_with("stage") {
                self.stage(&section);
                continue;
            }
            self.table_about(&section);
        }
    }

    fn table_about(&mut self, section: &Section<'a>) {
        self.heading(&section.title);
        self.line(&format!("{}\n", section.about));
        self.keys(section.schema, &section.path);
        for inner in self.sections(section.schema, &section.path) {
            self.table_about(&inner);
        }
    }

    /// A stage's tables are those of the base.
    fn stage(&mut self, section: &Section<'a>) {
        self.heading(&section.title);
        self.line(&format!("{}\n", section.about));
        let about = keyword(&layers(self.root, section.schema), "description").and_then(Json::as_str);
        self.line(&format!("{}\n", about.unwrap_or_default()));
        self.line("```toml\n[stage.production]\nstore.url = \"s3://shop-production/shipit\"\n\n[stage.production.role.web]\nkeep_releases = 3\n\n[stage.\"pr-*\"]\nkick.transport = \"exec\"\n```\n");
    }

    fn heading(&mut self, title: &str) {
        self.line(&format!("## {title}\n"));
    }

    /// The keys of a table that are no tables, each as a paragraph.
    fn keys(&mut self, schema: &'a Json, path: &str) {
        let all = layers(self.root, schema);
        let Some(Json::Object(keys)) = keyword(&all, "properties") else {
            return;
        };
        for (name, schema) in keys {
            if self.section_kind(schema).is_some() {
                continue;
            }
            let layers = layers(self.root, schema);
            let full = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            self.line(&format!("### `{full}`\n"));
            let about = schema
                .get("description")
                .and_then(Json::as_str)
                .unwrap_or_default();
            self.line(&format!("{}\n", one_line(about)));
            self.line(&format!("- Type: {}", self.kind(schema)));
            let default = keyword(&layers, "default");
            self.line(&format!(
                "- Default: {}",
                default.map_or_else(|| "none".to_owned(), |value| format!("`{}`", toml(value)))
            ));
            let examples = keyword(&layers, "examples").and_then(Json::as_array);
            let shown: Vec<String> = examples
                .into_iter()
                .flatten()
                .map(|value| format!("`{} = {}`", bare(name), toml(value)))
                .collect();
            self.line(&format!("- Example: {}\n", shown.join(", ")));
        }
    }

    /// The tables in a table, those of single tables first.
    fn sections(&self, schema: &'a Json, path: &str) -> Vec<Section<'a>> {
        let all = layers(self.root, schema);
        let Some(Json::Object(keys)) = keyword(&all, "properties") else {
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (name, schema) in keys {
            let Some((kind, inner)) = self.section_kind(schema) else {
                continue;
            };
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            let (path, title) = match kind {
                Kind::Single => (path.clone(), format!("`[{path}]`")),
                Kind::Named => (format!("{path}.<name>"), format!("`[{path}.<name>]`")),
                Kind::Listed => (path.clone(), format!("`[[{path}]]`")),
            };
            let about = schema
                .get("description")
                .and_then(Json::as_str)
                .unwrap_or_default();
            sections.push(Section {
                schema: inner,
                path,
                title,
                about,
            });
        }
        // A stage comes last: it is about all the others.
        sections.sort_by_key(|section| section.path.starts_with("stage"));
        sections
    }

    /// Whether a key is a table of known keys, a map of such tables, or a list of them.
    fn section_kind(&self, schema: &'a Json) -> Option<(Kind, &'a Json)> {
        let known = |schema: &'a Json| keyword(&layers(self.root, schema), "properties").is_some();
        let all = layers(self.root, schema);
        if known(schema) {
            return Some((Kind::Single, schema));
        }
        if let Some(items) = keyword(&all, "items").filter(|items| known(items)) {
            return Some((Kind::Listed, items));
        }
        let named = keyword(&all, "additionalProperties").filter(|named| named.is_object() && known(named));
        named.map(|named| (Kind::Named, named))
    }

    /// A type in words.
    fn kind(&self, schema: &'a Json) -> String {
        let all = layers(self.root, schema);
        if let Some(Json::Array(choices)) = keyword(&all, "anyOf") {
            let kinds: Vec<String> = choices.iter().map(|choice| self.kind(choice)).collect();
            return kinds.join(" or ");
        }
        if let Some(words) = words(&all) {
            let quoted: Vec<String> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
            return quoted.join(", ");
        }
        let check = all.iter().find_map(|schema| schema.get("x-check")?.as_str());
        match keyword(&all, "type").and_then(Json::as_str) {
            Some("string") => text_kind(check).to_owned(),
            Some("integer") => match keyword(&all, "minimum").and_then(Json::as_i64) {
                Some(least) if least > 0 => format!("integer, at least {least}"),
                _ => "integer".to_owned(),
            },
            Some("boolean") => "boolean".to_owned(),
            Some("array") => {
                format!(
                    "array, each item a {}",
                    keyword(&all, "items").map_or_else(String::new, |items| self.kind(items))
                )
            }
            Some("object") => match keyword(&all, "additionalProperties").filter(|named| named.is_object()) {
                Some(named) => format!("table, each value a {}", self.kind(named)),
                None if keyword(&all, "required").is_some() => {
                    "[environment variable](#environment-variables)".to_owned()
                }
                None => "table".to_owned(),
            },
            _ => "value of any type".to_owned(),
        }
    }

    fn line(&mut self, text: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.out, "{text}");
    }
}

enum Kind {
    Single,
    Named,
    Listed,
}

fn text_kind(check: Option<&str>) -> &'static str {
    match check {
        Some("duration") => "duration",
        Some("pause") => "duration, or `\"0s\"`",
        Some("batch") => "part of the hosts",
        Some("size") => "size",
        Some("glob") => "glob",
        Some("relative-path") => "relative path",
        Some("dest") => "absolute path",
        Some("command") => "command",
        Some("name") => "name",
        _ => "string",
    }
}

/// A doc comment's lines as one.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<&str>>().join(" ")
}

/// A value of the schema as TOML writes it.
fn toml(value: &Json) -> String {
    match value {
        Json::Object(keys) => {
            let pairs: Vec<String> = keys
                .iter()
                .map(|(key, value)| format!("{} = {}", bare(key), toml(value)))
                .collect();
            if pairs.is_empty() {
                "{}".to_owned()
            } else {
                format!("{{ {} }}", pairs.join(", "))
            }
        }
        Json::Array(items) => format!("[{}]", items.iter().map(toml).collect::<Vec<String>>().join(", ")),
        Json::String(text) => ::toml::Value::from(text.as_str()).to_string(),
        other => other.to_string(),
    }
}
