//! The config's text as a tree in which every key and value knows its bytes in the file and which layer it came from.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::error::Problem;
use super::setting::Origin;

/// A value with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Its bytes in the file; empty for what does not stand in it.
    pub span: Range<usize>,
    /// Which layer it came from.
    pub origin: Origin,
}

/// TOML's values.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string.
    Text(String),
    /// An integer of 64 bits.
    Integer(i64),
    /// A float.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A date or time, which no key of the config takes.
    Datetime,
    /// An array.
    Array(Vec<Node>),
    /// A table; entries in the order of the file.
    Table(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key, without quotes.
    pub key: String,
    /// The key's bytes in the file.
    pub key_span: Range<usize>,
    /// The value.
    pub node: Node,
}

/// Reads TOML; on bad syntax gives every error that the parser could tell apart.
pub fn parse(text: &str) -> Result<Node, Vec<Problem>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut problems: Vec<Problem> = errors
        .iter()
        .map(|error| Problem::at(error.span().unwrap_or(0..0), error.message(), "not TOML"))
        .collect();
    if problems.is_empty() {
        let lines = Lines::of(text);
        let span = table.span();
        let node = table_node(table.get_ref(), span, &lines, &mut problems);
        if problems.is_empty() {
            return Ok(node);
        }
    }
    Err(problems)
}

/// Where lines start.
pub struct Lines(Vec<usize>);

impl Lines {
    /// Looks through a text.
    pub fn of(text: &str) -> Self {
        Self(
            std::iter::once(0)
                .chain(text.match_indices('\n').map(|(at, _)| at + 1))
                .collect(),
        )
    }

    /// The line, from 1, that a byte stands on.
    pub fn at(&self, byte: usize) -> usize {
        self.0.partition_point(|start| *start <= byte)
    }
}

fn node(value: &Spanned<DeValue<'_>>, lines: &Lines, problems: &mut Vec<Problem>) -> Node {
    let span = value.span();
    let plain = |plain: Value| Node {
        value: plain,
        span: span.clone(),
        origin: Origin::File {
            line: lines.at(span.start),
        },
    };
    match value.get_ref() {
        DeValue::String(text) => plain(Value::Text(text.to_string())),
        DeValue::Integer(integer) => {
            match i64::from_str_radix(&integer.as_str().replace('_', ""), integer.radix()) {
                Ok(number) => plain(Value::Integer(number)),
                Err(_) => {
                    problems.push(Problem::at(
                        span.clone(),
                        "the integer does not fit 64 bits",
                        "too large",
                    ));
                    plain(Value::Integer(0))
                }
            }
        }
        DeValue::Float(float) => plain(Value::Float(
            float.as_str().replace('_', "").parse().unwrap_or(f64::NAN),
        )),
        DeValue::Boolean(truth) => plain(Value::Bool(*truth)),
        DeValue::Datetime(_) => plain(Value::Datetime),
        DeValue::Array(items) => plain(Value::Array(
            items.iter().map(|item| node(item, lines, problems)).collect(),
        )),
        DeValue::Table(table) => table_node(table, span, lines, problems),
    }
}

fn table_node(table: &DeTable<'_>, span: Range<usize>, lines: &Lines, problems: &mut Vec<Problem>) -> Node {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| entry(key, value, lines, problems))
        .collect();
    entries.sort_by_key(|entry| entry.key_span.start);
    let origin = Origin::File {
        line: lines.at(span.start),
    };
    Node {
        value: Value::Table(entries),
        span,
        origin,
    }
}

fn entry(
    key: &Spanned<DeString<'_>>,
    value: &Spanned<DeValue<'_>>,
    lines: &Lines,
    problems: &mut Vec<Problem>,
) -> Entry {
    Entry {
        key: key.get_ref().to_string(),
        key_span: key.span(),
        node: node(value, lines, problems),
    }
}

impl Node {
    /// An empty table that stands in no file.
    pub fn empty() -> Self {
        Self {
            value: Value::Table(Vec::new()),
            span: 0..0,
            origin: Origin::Default,
        }
    }

    /// A table's entries; none for any other value.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Table(entries) => entries,
            _ => &[],
        }
    }

    /// A table's value of a key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries()
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.node)
    }

    /// The text of a string.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value at a dotted key (`role.web.dest`, `build.step[0].run`) and the bytes of its key.
    pub fn find(&self, path: &[Part]) -> Option<(&Self, Range<usize>)> {
        let mut found = (self, self.span.clone());
        for part in path {
            found = match part {
                Part::Key(key) => {
                    let entry = found.0.entries().iter().find(|entry| entry.key == *key)?;
                    (&entry.node, entry.key_span.clone())
                }
                Part::Item(at) => match &found.0.value {
                    Value::Array(items) => items.get(*at).map(|item| (item, item.span.clone()))?,
                    _ => return None,
                },
            };
        }
        Some(found)
    }

    /// What TOML calls the value, with its article.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Text(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Bool(_) => "a boolean",
            Value::Datetime => "a date or time",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }

    /// The value for serde. Dates are refused by the check before anything is made of them.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Text(text) => text.as_str().into(),
            Value::Integer(number) => (*number).into(),
            Value::Float(number) => (*number).into(),
            Value::Bool(truth) => (*truth).into(),
            Value::Datetime => serde_json::Value::Null,
            Value::Array(items) => items.iter().map(Self::to_json).collect(),
            Value::Table(entries) => entries
                .iter()
                .map(|entry| (entry.key.clone(), entry.node.to_json()))
                .collect(),
        }
    }
}

/// A part of a dotted key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A table's key.
    Key(String),
    /// An array's item.
    Item(usize),
}

/// A dotted key as errors and `shipit config` show it: keys that are not bare are quoted.
pub fn dotted(path: &[Part]) -> String {
    let mut text = String::new();
    for part in path {
        match part {
            Part::Key(key) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(&bare(key));
            }
            Part::Item(at) => text.push_str(&format!("[{at}]")),
        }
    }
    text
}

/// A key as TOML writes it.
pub fn bare(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !key.is_empty() && key.bytes().all(plain) {
        key.to_owned()
    } else {
        toml::Value::from(key).to_string()
    }
}
