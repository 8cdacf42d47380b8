//! Renders a manifest from its template, reads it back as a host would, and checks it.
//!
//! The templates' language is minijinja's. All that a template writes reaches the host as it is: `{{` is escaped for
//! stretcher's Go template in the whole text at the end, but for what `host_env` and `host_must_env` wrote. Their place
//! is held by a mark until then, for a filter may stand between.

mod builtin;
mod failure;

use std::sync::{Arc, Mutex, PoisonError};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Rest, Serde, Value, ValueKind};
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};
use serde::Serialize;

use self::builtin::{BUILTIN, COMMANDS, ONCE, PLAIN, RELEASES};
use crate::check::{Problem, check};
use crate::error::Error;
use crate::go_template::{UNKNOWN, trial};
use crate::input::RenderInput;
use crate::model::{Layout, Manifest};
use crate::parse::parse;
use crate::quote;

/// A template by its name, which messages show, and its text.
#[derive(Debug, Clone, Copy)]
pub struct Template<'a> {
    /// The path as the user knows it.
    pub name: &'a str,
    /// The template's text.
    pub text: &'a str,
}

/// The template that a role has when it names none.
pub fn default_template(layout: Layout) -> Template<'static> {
    match layout {
        Layout::Releases => RELEASES,
        Layout::Plain => PLAIN,
        Layout::Commands => COMMANDS,
    }
}

/// Delimits the place of a wanted `{{ … }}`; the action's number stands between two of it. A private character at the
/// end of Unicode: what comes in is searched for it first.
const MARK: char = '\u{10fffd}';

/// Follows the number of an action whose value comes into a YAML scalar in double quotes.
const QUOTED: char = 'q';

/// Renders the manifest of one role and release; without a template, the layout's own.
///
/// # Errors
/// [`Error::Value`] for an input that no manifest may hold; [`Error::Undefined`] and [`Error::Template`] with the
/// template's name and line; [`Error::Rendered`] and [`Error::Unsound`] when the text is not a manifest to publish.
pub fn render(input: &RenderInput, template: Option<Template<'_>>) -> Result<String, Error> {
    input.validate()?;
    let template = template.unwrap_or_else(|| default_template(input.layout));
    let wanted = Wanted::default();
    let context = Value::from(Serde(Context::of(input)));
    let failed = |source| failure::explain(template.name, &context, source);
    let mut env = environment(&wanted).map_err(failed)?;
    for builtin in BUILTIN {
        env.add_template(builtin.name, builtin.text).map_err(failed)?;
    }
    // An editor's carriage returns would end up in the shell's words.
    env.add_template_owned(template.name.to_owned(), template.text.replace("\r\n", "\n"))
        .map_err(failed)?;
    if let Some(found) = reserved(template.text).or_else(|| reserved_in(&context)) {
        let reason = "this character is reserved for shipit's own marks";
        return Err(Error::value(
            "template or its values",
            &found.escape_unicode().to_string(),
            reason,
        ));
    }
    let text = env
        .get_template(template.name)
        .and_then(|ready| ready.render(context.clone()))
        .map_err(failed)?;
    let text = wanted.put_in(&text);
    accept(&text, &template, input)?;
    Ok(text)
}

/// Renders the manifest of a role's `once` commands, whose role is [`once_role`]. It has no template of one's own.
///
/// # Errors
/// As [`render`]; [`Error::Value`] too when there is no such command, or no artifact to run it in.
pub fn render_once(input: &RenderInput) -> Result<String, Error> {
    if input.once.is_empty() {
        return Err(Error::value("once", "", "there is no command"));
    }
    let once = RenderInput {
        role: once_role(&input.role),
        ..input.clone()
    };
    render(&once, Some(ONCE))
}

/// The role under whose name the `once` commands of a role are reported.
pub fn once_role(role: &str) -> String {
    format!("{role}{ONCE_ROLE}")
}

/// Whether a role's name is one of these.
pub fn is_once_role(role: &str) -> bool {
    role.ends_with(ONCE_ROLE)
}

const ONCE_ROLE: &str = ".once";

fn reserved(text: &str) -> Option<char> {
    text.chars()
        .find(|character| matches!(*character, MARK | UNKNOWN))
}

/// The reserved character in a value or in what it holds.
fn reserved_in(value: &Value) -> Option<char> {
    if let Some(text) = value.as_str() {
        return reserved(text);
    }
    let items = value.try_iter().ok()?;
    items
        .into_iter()
        .find_map(|item| reserved_in(&item).or_else(|| reserved_in(&value.get_item(&item).ok()?)))
}

/// What a template sees.
#[derive(Serialize)]
struct Context<'a> {
    #[serde(flatten)]
    input: &'a RenderInput,
    /// Again, without a slash at its end.
    dest: Option<&'a str>,
    /// Where the host keeps the role's marks.
    state: Option<String>,
    /// Where the host unpacks what the `once` commands run in.
    once_dir: Option<String>,
}

impl<'a> Context<'a> {
    fn of(input: &'a RenderInput) -> Self {
        Context {
            input,
            dest: input.dest.as_deref().map(|dest| dest.trim_end_matches('/')),
            state: input.state_dir(),
            once_dir: input.once_dir(),
        }
    }
}

fn environment(wanted: &Wanted) -> Result<Environment<'static>, minijinja::Error> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_debug(true);
    env.set_syntax(syntax()?);
    env.set_formatter(|out, state, value| {
        if value.is_none() {
            return Err(refuse(
                "the value is none; write `or` with what stands for it, or an `if` around it",
            ));
        }
        if value.kind() == ValueKind::Bool {
            return Ok(out.write_str(&plain(value))?);
        }
        minijinja::escape_formatter(out, state, value)
    });
    env.add_filter("yaml", |value: &Value| yaml_value(value));
    env.add_filter("yaml_block", |text: &str, indent: usize| {
        quote::yaml_block(text, indent)
    });
    env.add_filter("sh", |value: &Value| sh_words(value));
    let marks = wanted.clone();
    env.add_function("host_env", move |name: &str, defaults: Rest<String>| {
        marks.hold("env", name, &defaults)
    });
    let marks = wanted.clone();
    env.add_function("host_must_env", move |name: &str| {
        marks.hold("must_env", name, &[])
    });
    Ok(env)
}

/// A line that holds a tag or a comment alone leaves no line behind.
fn syntax() -> Result<SyntaxConfig, minijinja::Error> {
    SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()
}

fn refuse(reason: impl Into<String>) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, reason.into())
}

/// Any value in YAML's flow style, strings always quoted.
fn yaml_value(value: &Value) -> Result<String, minijinja::Error> {
    match value.kind() {
        ValueKind::String => Ok(in_quotes(&quote::yaml(value.as_str().unwrap_or_default()))),
        ValueKind::Bool | ValueKind::Number => Ok(plain(value)),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value
                .try_iter()?
                .map(|item| yaml_value(&item))
                .collect::<Result<Vec<_>, _>>()?;
            Ok(format!("[{}]", items.join(", ")))
        }
        ValueKind::Map => {
            let mut items = Vec::new();
            for key in value.try_iter()? {
                items.push(format!(
                    "{}: {}",
                    yaml_value(&key)?,
                    yaml_value(&value.get_item(&key)?)?
                ));
            }
            Ok(format!("{{{}}}", items.join(", ")))
        }
        ValueKind::Undefined => Err(minijinja::Error::from(ErrorKind::UndefinedError)),
        other => Err(refuse(format!("{other} cannot be written as YAML"))),
    }
}

/// A number or boolean; minijinja would write Python's `True`.
fn plain(value: &Value) -> String {
    match value.kind() {
        ValueKind::Bool => value.is_true().to_string(),
        _ => value.to_string(),
    }
}

/// A string, number or boolean as one shell word, a list as several.
fn sh_words(value: &Value) -> Result<String, minijinja::Error> {
    match value.kind() {
        ValueKind::String => {
            quote::sh(value.as_str().unwrap_or_default()).map_err(|error| refuse(error.to_string()))
        }
        ValueKind::Bool | ValueKind::Number => Ok(plain(value)),
        ValueKind::Seq | ValueKind::Iterable => {
            let words = value
                .try_iter()?
                .map(|item| sh_words(&item))
                .collect::<Result<Vec<_>, _>>()?;
            Ok(words.join(" "))
        }
        ValueKind::Undefined => Err(minijinja::Error::from(ErrorKind::UndefinedError)),
        other => Err(refuse(format!("{other} cannot be written as a shell word"))),
    }
}

/// Notes at the marks in a double-quoted YAML scalar that they stand in one.
fn in_quotes(scalar: &str) -> String {
    let mut out = String::with_capacity(scalar.len());
    for (at, piece) in scalar.split(MARK).enumerate() {
        if at > 0 {
            out.push(MARK);
        }
        out.push_str(piece);
        if at % 2 == 1 && !piece.ends_with(QUOTED) {
            out.push(QUOTED);
        }
    }
    out
}

/// The `{{ … }}` that the template wants evaluated on the host, without the braces.
#[derive(Clone, Default)]
struct Wanted(Arc<Mutex<Vec<String>>>);

impl Wanted {
    fn hold(&self, function: &str, name: &str, words: &[String]) -> Result<String, minijinja::Error> {
        let starts_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        if !starts_well
            || !name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            return Err(refuse(format!(
                "{name:?} is not the name of an environment variable"
            )));
        }
        let mut action = format!("{function} {}", quote::go_string(name));
        for word in words {
            action.push(' ');
            action.push_str(&quote::go_string(word));
        }
        let mut actions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        actions.push(action);
        Ok(format!("{MARK}{}{MARK}", actions.len() - 1))
    }

    /// Escapes the text for Go's template and puts the wanted actions in.
    fn put_in(&self, text: &str) -> String {
        let actions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = String::with_capacity(text.len());
        for (at, piece) in text.split(MARK).enumerate() {
            let (number, quoted) = piece
                .strip_suffix(QUOTED)
                .map_or((piece, false), |number| (number, true));
            match number
                .parse::<usize>()
                .ok()
                .and_then(|number| actions.get(number))
            {
                Some(action) if at % 2 == 1 => {
                    // A brace right before an action would be taken for a part of its own braces.
                    if out.ends_with('{') {
                        out.pop();
                        out.push_str("{{\"{\"}}");
                    }
                    out.push_str("{{ ");
                    out.push_str(action);
                    // JSON's escapes are YAML's too: the host's value cannot end the scalar.
                    out.push_str(if quoted { " | json_escape }}" } else { " }}" });
                }
                _ => out.push_str(&quote::go_literal(piece)),
            }
        }
        out
    }
}

/// Reads the text as a host would, and refuses what must not be published.
fn accept(text: &str, template: &Template<'_>, input: &RenderInput) -> Result<(), Error> {
    let name = template.name.to_owned();
    let manifest = trial(text)
        .and_then(|evaluated| parse(&evaluated))
        .map_err(|source| Error::Rendered {
            template: name.clone(),
            source: Box::new(source),
        })?;
    let mut problems = check(&manifest).err().unwrap_or_default();
    problems.extend(own_problems(&manifest, input));
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Error::Unsound {
            template: name,
            problems,
        })
    }
}

/// What stretcher would follow but a release of shipit's must not say.
fn own_problems(manifest: &Manifest, input: &RenderInput) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut add = |field: &str, reason: &str| {
        problems.push(Problem {
            field: field.to_owned(),
            reason: reason.to_owned(),
        });
    };
    if manifest.sync_strategy.as_deref() == Some("mv") {
        add(
            "sync_strategy",
            "is mv, which fails with 'file exists' when the newest event is replayed; use rsync",
        );
    }
    if manifest.src.is_some() && manifest.checksum != input.checksum {
        add("checksum", "is not the artifact's");
    }
    match &manifest.shipit {
        Some(binding) if binding.release != input.release || binding.role != input.role => {
            add("shipit", "names another release or role");
        }
        Some(binding) if binding.record_sha256 != input.record_sha256 => {
            add("shipit.record_sha256", "is not the record's");
        }
        _ => {}
    }
    problems
}

#[cfg(test)]
mod default_tests;
#[cfg(test)]
mod tests;
