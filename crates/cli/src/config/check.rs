//! The check of a tree against the file's schema: unknown keys, wrong types, wrong values, all of them at once.
//!
//! It reads the part of JSON Schema that the file's types make use of. What stands between keys (either of two, needed
//! together) is `settle`'s.

use serde_json::Value as Json;

use super::checks;
use super::error::Problem;
use super::names;
use super::text::{Entry, Node, Part, Value, bare, dotted};

/// Keys of the top level that a stage cannot change, and why.
const NOT_IN_A_STAGE: [&str; 5] = ["app", "repo", "source", "build", "cache"];

/// Checks a tree against a schema; `path` is where the tree stands in the file.
pub fn check(schema: &Json, root: &Json, node: &Node, path: &[Part]) -> Vec<Problem> {
    let mut checker = Checker {
        root,
        problems: Vec::new(),
        path: path.to_vec(),
    };
    checker.node(schema, node, &[]);
    checker.problems
}

/// The schema of a dotted key of the top level (`consul.address`).
pub fn schema_of<'a>(root: &'a Json, key: &str) -> Option<&'a Json> {
    let mut schema = root;
    for part in key.split('.') {
        schema = keyword(&layers(root, schema), "properties")?.get(part)?;
    }
    Some(schema)
}

/// A schema, with those that it stands for (`$ref`) or adds (`allOf` of one).
pub fn layers<'a>(root: &'a Json, schema: &'a Json) -> Vec<&'a Json> {
    let mut all = vec![schema];
    let mut at = 0;
    while let Some(schema) = all.get(at).copied() {
        if let Some(reference) = schema.get("$ref").and_then(Json::as_str) {
            all.extend(root.pointer(reference.trim_start_matches('#')));
        }
        if let Some(Json::Array(parts)) = schema.get("allOf") {
            all.extend(parts);
        }
        at += 1;
    }
    all
}

/// A keyword of the first schema that has it.
pub fn keyword<'a>(layers: &[&'a Json], name: &str) -> Option<&'a Json> {
    layers.iter().find_map(|schema| schema.get(name))
}

/// The words that a schema allows, when it is a list of words.
pub fn words<'a>(layers: &[&'a Json]) -> Option<Vec<&'a str>> {
    if let Some(Json::Array(words)) = keyword(layers, "enum") {
        return Some(words.iter().filter_map(Json::as_str).collect());
    }
    let Some(Json::Array(variants)) = keyword(layers, "oneOf") else {
        return None;
    };
    let mut words = Vec::new();
    for variant in variants {
        match (variant.get("const"), variant.get("enum")) {
            (Some(word), _) => words.extend(word.as_str()),
            (None, Some(Json::Array(more))) => words.extend(more.iter().filter_map(Json::as_str)),
            _ => return None,
        }
    }
    Some(words)
}

struct Checker<'a> {
    root: &'a Json,
    problems: Vec<Problem>,
    path: Vec<Part>,
}

impl<'a> Checker<'a> {
    /// `inherited` are the checks that a list or a choice hands on to its texts.
    fn node(&mut self, schema: &'a Json, node: &Node, inherited: &[&'a str]) {
        let layers = layers(self.root, schema);
        let mut checks = inherited.to_vec();
        checks.extend(layers.iter().filter_map(|schema| schema.get("x-check")?.as_str()));
        if node.value == Value::Datetime {
            self.wrong_type(schema, node);
            return;
        }
        if let Some(Json::Array(choices)) = keyword(&layers, "anyOf") {
            match choices.iter().find(|choice| self.takes(choice, node)) {
                Some(choice) => self.node(choice, node, &checks),
                None => self.wrong_type(schema, node),
            }
            return;
        }
        if !self.takes(schema, node) {
            self.wrong_type(schema, node);
            return;
        }
        match &node.value {
            Value::Text(text) => self.text(&layers, node, text, &checks),
            Value::Integer(number) => self.integer(&layers, node, *number),
            Value::Array(items) => {
                if let Some(schema) = keyword(&layers, "items") {
                    for (at, item) in items.iter().enumerate() {
                        self.path.push(Part::Item(at));
                        self.node(schema, item, &checks);
                        self.path.pop();
                    }
                }
            }
            Value::Table(entries) => self.table(&layers, node, entries),
            Value::Float(_) | Value::Bool(_) | Value::Datetime => {}
        }
    }

    /// Whether the value's type is one of the schema's.
    fn takes(&self, schema: &'a Json, node: &Node) -> bool {
        let layers = layers(self.root, schema);
        let name = match &node.value {
            Value::Text(_) => "string",
            Value::Integer(_) => "integer",
            Value::Float(_) => "number",
            Value::Bool(_) => "boolean",
            Value::Array(_) => "array",
            Value::Table(_) => "object",
            Value::Datetime => return false,
        };
        if let Some(Json::Array(choices)) = keyword(&layers, "anyOf") {
            return choices.iter().any(|choice| self.takes(choice, node));
        }
        match keyword(&layers, "type").and_then(Json::as_str) {
            Some(wanted) => wanted == name || (wanted == "number" && name == "integer"),
            None => words(&layers).is_none() || name == "string",
        }
    }

    fn wrong_type(&mut self, schema: &'a Json, node: &Node) {
        let wanted = self.wanted(schema);
        let message = format!("`{}` must be {wanted}, not {}", dotted(&self.path), node.kind());
        self.problems.push(Problem::at(
            node.span.clone(),
            message,
            format!("expected {wanted}"),
        ));
    }

    /// What a schema takes, in words.
    fn wanted(&self, schema: &'a Json) -> String {
        let layers = layers(self.root, schema);
        if let Some(Json::Array(choices)) = keyword(&layers, "anyOf") {
            let all: Vec<String> = choices.iter().map(|choice| self.wanted(choice)).collect();
            return all.join(" or ");
        }
        if let Some(words) = words(&layers) {
            let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
            return quoted.join(", ");
        }
        match keyword(&layers, "type").and_then(Json::as_str) {
            Some("string") => match keyword(&layers, "x-check").and_then(Json::as_str) {
                Some("duration" | "pause") => "a duration like \"10m\"",
                Some("batch") => "a part like \"25%\"",
                Some("size") => "a size like \"20G\"",
                _ => "a string",
            }
            .to_owned(),
            Some("integer") => "an integer".to_owned(),
            Some("boolean") => "true or false".to_owned(),
            Some("array") => match keyword(&layers, "items") {
                Some(items) => format!("an array, each item {}", self.wanted(items)),
                None => "an array".to_owned(),
            },
            Some("object") => match keyword(&layers, "properties").and_then(|keys| keys.get("env")) {
                Some(_) if keyword(&layers, "required").is_some() => "{ env = \"NAME\" }".to_owned(),
                _ => "a table".to_owned(),
            },
            _ => "a string, a number, a boolean, an array or a table".to_owned(),
        }
    }

    fn text(&mut self, layers: &[&'a Json], node: &Node, text: &str, checks: &[&'a str]) {
        if let Some(words) = words(layers) {
            if !words.contains(&text) {
                let message = format!("`{}` cannot be {text:?}", dotted(&self.path));
                let near = names::nearest(text, words.iter().copied());
                let mut problem = Problem::at(node.span.clone(), message, label(&near));
                let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
                problem.help = Some(format!("it takes {}", quoted.join(", ")));
                self.problems.push(problem);
            }
            return;
        }
        for check in checks {
            if let Err(wrong) = checks::run(check, text) {
                let message = format!("`{}` is not right: {}", dotted(&self.path), wrong.why);
                let problem = Problem::at(node.span.clone(), message, "");
                self.problems.push(Problem {
                    help: wrong.help,
                    ..problem
                });
                return;
            }
        }
    }

    fn integer(&mut self, layers: &[&'a Json], node: &Node, number: i64) {
        let least = keyword(layers, "minimum")
            .and_then(Json::as_i64)
            .unwrap_or(i64::MIN);
        let most = keyword(layers, "format").map_or(i64::MAX, |_| i64::from(u32::MAX));
        if number < least || number > most {
            let bound = if number < least {
                format!("at least {least}")
            } else {
                format!("at most {most}")
            };
            let message = format!("`{}` must be {bound}, not {number}", dotted(&self.path));
            self.problems.push(Problem::at(node.span.clone(), message, bound));
        }
    }

    fn table(&mut self, layers: &[&'a Json], node: &Node, entries: &[Entry]) {
        let known = keyword(layers, "properties").and_then(Json::as_object);
        let others = keyword(layers, "additionalProperties").filter(|schema| **schema != Json::Bool(false));
        let names = keyword(layers, "x-names").and_then(Json::as_str);
        for entry in entries {
            self.path.push(Part::Key(entry.key.clone()));
            if let Some(wrong) = names.and_then(|kind| checks::name_of(kind, &entry.key).err()) {
                let message = format!("`{}` is not right: {}", dotted(&self.path), wrong.why);
                let problem = Problem::at(entry.key_span.clone(), message, "");
                self.problems.push(Problem {
                    help: wrong.help,
                    ..problem
                });
            }
            match known.and_then(|known| known.get(&entry.key)).or(others) {
                Some(schema) => self.node(schema, &entry.node, &[]),
                None if known.is_some() => self.unknown(layers, entry),
                None => {}
            }
            self.path.pop();
        }
        self.required(layers, node);
    }

    /// Keys that only a whole value lacks: `env` of a reference. What tables lack is `settle`'s, for stages complete them.
    fn required(&mut self, layers: &[&'a Json], node: &Node) {
        let Some(Json::Array(required)) = keyword(layers, "required") else {
            return;
        };
        for key in required.iter().filter_map(Json::as_str) {
            if node.get(key).is_none() && !self.path.is_empty() {
                let message = format!("`{}` has no `{key}`", dotted(&self.path));
                self.problems.push(Problem::at(
                    node.span.clone(),
                    message,
                    format!("`{key}` is missing"),
                ));
            }
        }
    }

    fn unknown(&mut self, layers: &[&'a Json], entry: &Entry) {
        let key = entry.key.as_str();
        let inside = &self.path[..self.path.len() - 1];
        let place = if inside.is_empty() {
            "the top level".to_owned()
        } else {
            format!("[{}]", table_name(inside))
        };
        if in_a_stage(inside) && NOT_IN_A_STAGE.contains(&key) {
            let message = format!("a stage cannot change `{key}`: one artifact serves every stage");
            let help = format!("`{key}` belongs to the base, outside of [{}]", table_name(inside));
            self.problems
                .push(Problem::at(entry.key_span.clone(), message, "not in a stage").help(help));
            return;
        }
        let known: Vec<&str> = keyword(layers, "properties")
            .and_then(Json::as_object)
            .map(|keys| keys.keys().map(String::as_str).collect())
            .unwrap_or_default();
        let near = names::nearest(key, known.iter().copied());
        let message = format!("unknown key `{}` in {place}", bare(key));
        let mut problem = Problem::at(entry.key_span.clone(), message, label(&near));
        if near.is_empty() {
            problem.help = Some(match self.elsewhere(key) {
                Some(place) => {
                    format!("`{key}` is a key of {place}; keys after a [table] line belong to that table")
                }
                None => format!("its keys are {}", known.join(", ")),
            });
        }
        self.problems.push(problem);
    }

    /// The table of the base that does have the key.
    fn elsewhere(&self, key: &str) -> Option<String> {
        let top = self.root.get("properties")?.as_object()?;
        if top.contains_key(key) {
            return Some("the top level".to_owned());
        }
        for (name, schema) in top.iter().filter(|(name, _)| *name != "stage") {
            let mut layers = layers(self.root, schema);
            let mut table = name.clone();
            if let Some(named) = keyword(&layers, "additionalProperties") {
                layers = self::layers(self.root, named);
                table.push_str(".<name>");
            }
            if keyword(&layers, "properties").is_some_and(|keys| keys.get(key).is_some()) {
                return Some(format!("[{table}]"));
            }
        }
        None
    }
}

/// A path as a table's header has it: items of arrays are not counted there.
fn table_name(path: &[Part]) -> String {
    let keys: Vec<Part> = path
        .iter()
        .filter(|part| matches!(part, Part::Key(_)))
        .cloned()
        .collect();
    dotted(&keys)
}

/// Whether a path is that of a stage's table.
fn in_a_stage(path: &[Part]) -> bool {
    matches!(path, [Part::Key(first), Part::Key(_)] if first == "stage")
}

fn label(near: &[String]) -> String {
    if near.is_empty() {
        String::new()
    } else {
        format!("did you mean {}?", names::one_of(near))
    }
}
