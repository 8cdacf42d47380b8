//! The environment variables that Consul's own tools know: they go before the file, for each key on its own, except that one
//! way to give the token drops the other. Flags are the commands' own, and go before both.

use serde_json::Value as Json;

use super::check;
use super::error::ConfigError;
use super::setting::Origin;
use super::text::{Entry, Node, Part, Value};

/// Variables that hold the text of a key as it stands.
const TEXTS: [(&str, &str); 5] = [
    ("CONSUL_CACERT", "ca_cert"),
    ("CONSUL_CLIENT_CERT", "client_cert"),
    ("CONSUL_CLIENT_KEY", "client_key"),
    ("CONSUL_TLS_SERVER_NAME", "tls_server_name"),
    ("CONSUL_NAMESPACE", "namespace"),
];

/// Lays Consul's variables over the tree.
pub fn environment(
    root: &mut Node,
    schema: &Json,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(), ConfigError> {
    let get = |name: &str| env(name).filter(|value| !value.is_empty());
    if let Some(address) = get("CONSUL_HTTP_ADDR") {
        let tls = truth("CONSUL_HTTP_SSL", &get)?.unwrap_or(false);
        set(
            root,
            schema,
            "consul.address",
            text(with_scheme(&address, tls)),
            variable("CONSUL_HTTP_ADDR"),
        )?;
    } else if truth("CONSUL_HTTP_SSL", &get)? == Some(true) {
        over_tls(root, schema)?;
    }
    for (name, key) in TEXTS {
        if let Some(value) = get(name) {
            set(
                root,
                schema,
                &format!("consul.{key}"),
                text(value),
                variable(name),
            )?;
        }
    }
    if let Some(verify) = truth("CONSUL_HTTP_SSL_VERIFY", &get)? {
        set(
            root,
            schema,
            "consul.verify",
            Value::Bool(verify),
            variable("CONSUL_HTTP_SSL_VERIFY"),
        )?;
    }
    token(root, schema, &get)
}

/// The file goes before the token as such in Consul's own tools, and so it does here.
fn token(root: &mut Node, schema: &Json, get: &dyn Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
    if let Some(file) = get("CONSUL_HTTP_TOKEN_FILE") {
        remove(root, "token");
        set(
            root,
            schema,
            "consul.token_file",
            text(file),
            variable("CONSUL_HTTP_TOKEN_FILE"),
        )
    } else if get("CONSUL_HTTP_TOKEN").is_some() {
        remove(root, "token_file");
        let name = "CONSUL_HTTP_TOKEN";
        let origin = variable(name);
        let entry = |key: &str, value: Value| Entry {
            key: key.to_owned(),
            key_span: 0..0,
            node: Node {
                value,
                span: 0..0,
                origin: variable(name),
            },
        };
        let reference = Value::Table(vec![
            entry("env", text(name.to_owned())),
            entry("secret", Value::Bool(true)),
        ]);
        set(root, schema, "consul.token", reference, origin)
    } else {
        Ok(())
    }
}

/// CONSUL_HTTP_SSL alone turns the address that the file has, or the default one, into one over TLS.
fn over_tls(root: &mut Node, schema: &Json) -> Result<(), ConfigError> {
    let address = match root.get("consul").and_then(|consul| consul.get("address")) {
        None => "http://127.0.0.1:8500".to_owned(),
        Some(node) => match node.as_text() {
            Some(address) => address.to_owned(),
            None => return Ok(()),
        },
    };
    match address.strip_prefix("http://") {
        Some(rest) => set(
            root,
            schema,
            "consul.address",
            text(format!("https://{rest}")),
            variable("CONSUL_HTTP_SSL"),
        ),
        None => Ok(()),
    }
}

/// Consul takes `host:port` alone too.
fn with_scheme(address: &str, tls: bool) -> String {
    match (address.split_once("://"), tls) {
        (Some(("http", rest)), true) => format!("https://{rest}"),
        (Some(_), _) => address.to_owned(),
        (None, true) => format!("https://{address}"),
        (None, false) => format!("http://{address}"),
    }
}

fn truth(name: &str, get: &dyn Fn(&str) -> Option<String>) -> Result<Option<bool>, ConfigError> {
    match get(name).as_deref() {
        None => Ok(None),
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Some(true)),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Some(false)),
        Some(_) => Err(ConfigError::Override {
            from: format!("the environment variable {name}"),
            why: "it must be true or false".to_owned(),
        }),
    }
}

/// Puts a value at a dotted key when the schema takes it there.
fn set(root: &mut Node, schema: &Json, key: &str, value: Value, origin: Origin) -> Result<(), ConfigError> {
    let from = match &origin {
        Origin::Environment { name } => format!("the environment variable {name}"),
        _ => key.to_owned(),
    };
    let node = Node {
        value,
        span: 0..0,
        origin,
    };
    let path: Vec<Part> = key.split('.').map(|part| Part::Key(part.to_owned())).collect();
    let wrong = |why: String| ConfigError::Override {
        from: from.clone(),
        why,
    };
    let at = check::schema_of(schema, key).ok_or_else(|| wrong(format!("there is no key {key}")))?;
    if let Some(problem) = check::check(at, schema, &node, &path).into_iter().next() {
        let help = problem.help.map(|help| format!("; {help}")).unwrap_or_default();
        return Err(wrong(format!("{}{help}", problem.message)));
    }
    put(root, key, node);
    Ok(())
}

fn put(node: &mut Node, key: &str, value: Node) {
    let (first, rest) = key
        .split_once('.')
        .map_or((key, None), |(first, rest)| (first, Some(rest)));
    let Value::Table(entries) = &mut node.value else {
        return;
    };
    let at = entries
        .iter()
        .position(|entry| entry.key == first)
        .unwrap_or_else(|| {
            entries.push(Entry {
                key: first.to_owned(),
                key_span: 0..0,
                node: Node::empty(),
            });
            entries.len() - 1
        });
    match (rest, entries.get_mut(at)) {
        (Some(rest), Some(entry)) => put(&mut entry.node, rest, value),
        (None, Some(entry)) => entry.node = value,
        (_, None) => {}
    }
}

/// Takes a key out of `[consul]`.
fn remove(root: &mut Node, key: &str) {
    let Value::Table(entries) = &mut root.value else {
        return;
    };
    for table in entries.iter_mut().filter(|entry| entry.key == "consul") {
        if let Value::Table(keys) = &mut table.node.value {
            keys.retain(|entry| entry.key != key);
        }
    }
}

fn text(text: String) -> Value {
    Value::Text(text)
}

fn variable(name: &str) -> Origin {
    Origin::Environment {
        name: name.to_owned(),
    }
}
