//! What the two ends of an event agree on: its name, and how its payload reaches a handler.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::{Environment, UndefinedBehavior, context};
use serde::Deserialize;

/// The template of an event's name that the config has when it names none.
pub const DEFAULT_NAME: &str = "deploy_{{ app }}_{{ role }}_{{ stage }}";

/// The event's name could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The template is wrong.
    #[error("the event name's template {template:?} cannot be rendered; it knows app, role and stage")]
    Template {
        /// The template.
        template: String,
        /// minijinja's reason.
        #[source]
        source: minijinja::Error,
    },
    /// The name is one that a watch or a URL cannot carry.
    #[error(
        "the event name {name:?} (from {template:?}) must be of letters, digits and any of - _ . : @ + ="
    )]
    Characters {
        /// The template.
        template: String,
        /// What it gave.
        name: String,
    },
}

/// The name of a role's event. One name per app, role and stage: a handler sees only the newest event of a name.
///
/// # Errors
/// [`NameError`] when the template or its result cannot be used.
pub fn name(template: &str, app: &str, role: &str, stage: &str) -> Result<String, NameError> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    let name = env
        .render_str(template, context! { app, role, stage })
        .map_err(|source| NameError::Template {
            template: template.to_owned(),
            source,
        })?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@+=".contains(&byte);
    if name.is_empty() || !name.bytes().all(fits) {
        return Err(NameError::Characters {
            template: template.to_owned(),
            name,
        });
    }
    Ok(name)
}

/// One event, told from every other one. Consul gives each an id of its own; its LTime begins anew with a new cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The event's name.
    pub name: String,
    /// The event's id; empty when Consul gave none.
    pub id: String,
}

/// What a handler was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandlerInput {
    /// Follow the manifest at this URL.
    Url(String),
    /// Follow the manifest at the URL that an event brought.
    Event {
        /// The URL.
        url: String,
        /// Which event it was.
        heard: Heard,
    },
    /// Nothing: `consul watch` calls its handler with an empty list at its start.
    Nothing,
}

/// A handler's input that says nothing it could act on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// No byte came.
    #[error("standard input is empty; a manifest's URL or Consul's event JSON is expected there")]
    Empty,
    /// It begins like Consul's JSON and is not.
    #[error("standard input is not the event JSON that `consul watch -type event` hands to its handler")]
    Json(#[source] serde_json::Error),
    /// The last event has no payload.
    #[error("the event {name} ({id}) has no payload; it must be a manifest's URL (shipit kick sends it)")]
    NoPayload {
        /// The event's name.
        name: String,
        /// The event's id.
        id: String,
    },
    /// The last event's payload is not base64.
    #[error("the payload of the event {name} ({id}) is not base64")]
    Base64 {
        /// The event's name.
        name: String,
        /// The event's id.
        id: String,
        /// The decoder's reason.
        #[source]
        source: base64::DecodeError,
    },
    /// What came is no URL.
    #[error("{text:?} is not a manifest's URL")]
    NotAUrl {
        /// Its beginning.
        text: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ConsulEvent {
    #[serde(rename = "ID", default)]
    id: String,
    #[serde(default)]
    name: String,
    payload: Option<String>,
}

/// Reads what stands on a handler's standard input: a URL on one line, or the list of events that `consul watch` hands
/// over, of which the last one counts. White space before either is skipped.
///
/// # Errors
/// [`InputError`] when it is neither, or the event has no URL.
pub fn parse_handler_input(input: &[u8]) -> Result<HandlerInput, InputError> {
    let text = input.trim_ascii();
    if text.is_empty() {
        return Err(InputError::Empty);
    }
    if text[0] != b'[' && text != b"null" {
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        return url(line).map(HandlerInput::Url);
    }
    let events: Option<Vec<ConsulEvent>> = serde_json::from_slice(text).map_err(InputError::Json)?;
    let Some(event) = events.and_then(|mut events| events.pop()) else {
        return Ok(HandlerInput::Nothing);
    };
    let Some(payload) = event.payload.filter(|payload| !payload.is_empty()) else {
        return Err(InputError::NoPayload {
            name: event.name,
            id: event.id,
        });
    };
    let payload = STANDARD.decode(payload);
    let (name, id) = (event.name, event.id);
    let payload = payload.map_err(|source| InputError::Base64 {
        name: name.clone(),
        id: id.clone(),
        source,
    })?;
    let heard = Heard { name, id };
    Ok(HandlerInput::Event {
        url: url(&payload)?,
        heard,
    })
}

fn url(bytes: &[u8]) -> Result<String, InputError> {
    let shown = || InputError::NotAUrl {
        text: String::from_utf8_lossy(bytes).chars().take(100).collect(),
    };
    let text = std::str::from_utf8(bytes.trim_ascii()).map_err(|_| shown())?;
    let scheme = text
        .split_once("://")
        .map(|(scheme, _)| scheme)
        .unwrap_or_default();
    let scheme_fits = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if !scheme_fits
        || text
            .chars()
            .any(|character| character.is_whitespace() || character.is_control())
    {
        return Err(shown());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(input: &str) -> HandlerInput {
        parse_handler_input(input.as_bytes()).unwrap()
    }

    #[test]
    fn a_name_comes_from_its_template() {
        assert_eq!(
            name(DEFAULT_NAME, "shop", "web", "production").unwrap(),
            "deploy_shop_web_production"
        );
        assert_eq!(
            name("deploy_{{ role }}_{{ stage }}", "shop", "web", "pr-1").unwrap(),
            "deploy_web_pr-1"
        );
        assert!(matches!(
            name("{{ apps }}", "a", "b", "c").unwrap_err(),
            NameError::Template { .. }
        ));
        assert!(matches!(
            name("a b", "a", "b", "c").unwrap_err(),
            NameError::Characters { .. }
        ));
        assert!(matches!(
            name("", "a", "b", "c").unwrap_err(),
            NameError::Characters { .. }
        ));
    }

    #[test]
    fn a_url_line_or_the_last_event_counts() {
        let url = || HandlerInput::Url("s3://b/web.yml".to_owned());
        assert_eq!(reads("s3://b/web.yml"), url());
        assert_eq!(reads("  s3://b/web.yml\r\nmore\n"), url());
        let event = |payload: &str| format!(r#"{{"ID":"i","Name":"n","Payload":{payload},"LTime":3}}"#);
        let first = event(&format!("\"{}\"", STANDARD.encode("s3://b/old.yml")));
        let last = event(&format!("\"{}\"", STANDARD.encode("s3://b/web.yml\n")));
        let heard = Heard {
            name: "n".to_owned(),
            id: "i".to_owned(),
        };
        let HandlerInput::Url(url) = url() else {
            unreachable!()
        };
        assert_eq!(
            reads(&format!("\n [{first},{last}]\n")),
            HandlerInput::Event { url, heard }
        );
        assert_eq!(reads("[]\n"), HandlerInput::Nothing);
        assert_eq!(reads("null"), HandlerInput::Nothing);
    }

    #[test]
    fn the_rest_is_refused_with_its_reason() {
        let refused = |input: &[u8]| parse_handler_input(input).unwrap_err();
        assert!(matches!(refused(b" \n"), InputError::Empty));
        assert!(matches!(refused(b"[{"), InputError::Json(_)));
        assert!(matches!(refused(b"[1]"), InputError::Json(_)));
        assert!(matches!(
            refused(br#"[{"ID":"i","Name":"n","Payload":null}]"#),
            InputError::NoPayload { .. }
        ));
        assert!(matches!(
            refused(br#"[{"ID":"i","Name":"n","Payload":"%"}]"#),
            InputError::Base64 { .. }
        ));
        assert!(matches!(refused(b"hello world"), InputError::NotAUrl { .. }));
        assert!(matches!(refused(b"://x"), InputError::NotAUrl { .. }));
        assert!(matches!(refused(b"\xff\xfe"), InputError::NotAUrl { .. }));
    }
}
