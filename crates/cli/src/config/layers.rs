//! Which stage's table is laid over the base, and how.

use super::error::{ConfigError, Problem};
use super::request::StageChoice;
use super::setting::Origin;
use super::settled::DEFAULT_STAGE;
use super::text::{Entry, Node, Value};
use super::{checks, names};

/// Why no stage could be chosen: an error of the command line, or of the file.
pub enum Unchosen {
    /// The wish cannot be met.
    Wish(Box<ConfigError>),
    /// The file is ambiguous.
    File(Box<Problem>),
}

/// The stage's name and, when the file has one for it, its table's key.
pub struct Chosen<'a> {
    /// As it was asked for.
    pub stage: Option<String>,
    /// The table that is laid over the base.
    pub table: Option<&'a Entry>,
}

/// The stages that have a table, in the file's order.
pub fn stages(root: &Node) -> Vec<String> {
    let tables = root.get("stage").map(Node::entries).unwrap_or_default();
    tables.iter().map(|entry| entry.key.clone()).collect()
}

/// Chooses the stage.
pub fn choose<'a>(
    root: &'a Node,
    choice: StageChoice<'_>,
    file: &std::path::Path,
) -> Result<Chosen<'a>, Unchosen> {
    let tables = root.get("stage").map(Node::entries).unwrap_or_default();
    let known = || {
        tables
            .iter()
            .map(|entry| entry.key.clone())
            .collect::<Vec<String>>()
    };
    let wanted = match choice {
        StageChoice::Base => {
            return Ok(Chosen {
                stage: None,
                table: None,
            });
        }
        StageChoice::Any(None) if !tables.is_empty() => {
            return Ok(Chosen {
                stage: None,
                table: None,
            });
        }
        StageChoice::Any(name) => return choose(root, StageChoice::Of(name), file),
        StageChoice::Of(None) if tables.is_empty() => {
            return Ok(Chosen {
                stage: Some(DEFAULT_STAGE.to_owned()),
                table: None,
            });
        }
        StageChoice::Of(None) => {
            return Err(wish(ConfigError::NoStage {
                file: file.to_owned(),
                known: known(),
            }));
        }
        StageChoice::Of(Some(DEFAULT_STAGE)) if tables.is_empty() => {
            return Ok(Chosen {
                stage: Some(DEFAULT_STAGE.to_owned()),
                table: None,
            });
        }
        StageChoice::Of(Some(wanted)) => wanted,
    };
    if let Err(wrong) = checks::name(wanted) {
        return Err(wish(ConfigError::StageName {
            stage: wanted.to_owned(),
            why: wrong.why,
        }));
    }
    if let Some(exact) = tables.iter().find(|entry| entry.key == wanted) {
        return Ok(Chosen {
            stage: Some(wanted.to_owned()),
            table: Some(exact),
        });
    }
    let matching: Vec<&Entry> = tables
        .iter()
        .filter(|entry| entry.key.contains('*') && matches(&entry.key, wanted))
        .collect();
    match most_specific(&matching) {
        Ok(Some(table)) => Ok(Chosen {
            stage: Some(wanted.to_owned()),
            table: Some(table),
        }),
        Ok(None) => Err(wish(ConfigError::UnknownStage {
            file: file.to_owned(),
            stage: wanted.to_owned(),
            nearest: names::nearest(wanted, tables.iter().map(|entry| entry.key.as_str())),
            known: known(),
        })),
        Err((one, other)) => {
            let message = format!(
                "the stage `{wanted}` matches the patterns `{}` and `{}`, of which none is the more specific",
                one.key, other.key
            );
            let problem = Problem::at(one.key_span.clone(), message, "this one matches")
                .also(other.key_span.clone(), "and so does this")
                .help(format!(
                    "add [stage.{wanted}], or make one of the patterns match less"
                ));
            Err(Unchosen::File(Box::new(problem)))
        }
    }
}

fn wish(error: ConfigError) -> Unchosen {
    Unchosen::Wish(Box::new(error))
}

/// The pattern that matches less than every other one; two that cannot be told apart are the error.
fn most_specific<'a>(matching: &[&'a Entry]) -> Result<Option<&'a Entry>, (&'a Entry, &'a Entry)> {
    let Some(first) = matching.first() else {
        return Ok(None);
    };
    for candidate in matching {
        if matching.iter().all(|other| matches(&other.key, &candidate.key)) {
            return Ok(Some(candidate));
        }
    }
    let other = matching
        .iter()
        .find(|other| !matches(&other.key, &first.key))
        .unwrap_or(first);
    Err((first, other))
}

/// Whether a pattern matches a text. A `*` in the text is matched by a `*` of the pattern alone, so that a pattern matches
/// another one exactly when it matches all that the other does.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((star_p, star_t)) = star {
            p = star_p + 1;
            t = star_t + 1;
            star = Some((star_p, t));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// The base with a stage's table laid over it: tables merge key by key, all else is replaced.
pub fn merged(root: &Node, chosen: &Chosen<'_>) -> Node {
    let mut base = root.clone();
    if let Value::Table(entries) = &mut base.value {
        entries.retain(|entry| entry.key != "stage");
    }
    if let Some(table) = chosen.table {
        let mut over = table.node.clone();
        mark(&mut over, &table.key);
        lay(&mut base, over);
    }
    base
}

/// Notes the stage as the origin of all that stands in its table.
fn mark(node: &mut Node, stage: &str) {
    if let Origin::File { line } = node.origin {
        node.origin = Origin::Stage {
            stage: stage.to_owned(),
            line,
        };
    }
    match &mut node.value {
        Value::Array(items) => items.iter_mut().for_each(|item| mark(item, stage)),
        Value::Table(entries) => entries.iter_mut().for_each(|entry| mark(&mut entry.node, stage)),
        _ => {}
    }
}

fn lay(base: &mut Node, over: Node) {
    let (Value::Table(under), Value::Table(entries)) = (&mut base.value, over.value) else {
        return;
    };
    for entry in entries {
        match under.iter_mut().find(|old| old.key == entry.key) {
            None => under.push(entry),
            Some(old) => {
                let both = matches!(
                    (&old.node.value, &entry.node.value),
                    (Value::Table(_), Value::Table(_))
                );
                if both && !is_reference(&old.key, &old.node) && !is_reference(&entry.key, &entry.node) {
                    lay(&mut old.node, entry.node);
                } else {
                    *old = entry;
                }
            }
        }
    }
}

/// Whether a table is a value, `{ env = "NAME" }`, and not a table of keys: a stage replaces it whole.
fn is_reference(key: &str, node: &Node) -> bool {
    key != "env" && node.get("env").and_then(Node::as_text).is_some()
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_is_any_run_of_characters() {
        for (pattern, text, wanted) in [
            ("pr-*", "pr-1", true),
            ("pr-*", "pr-", true),
            ("pr-*", "production", false),
            ("*-eu", "production-eu", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("*", "anything", true),
            ("pr-*", "pr-1*", true),
            ("pr-1*", "pr-*", false),
            ("*", "pr-*", true),
        ] {
            assert_eq!(matches(pattern, text), wanted, "{pattern} {text}");
        }
    }
}
