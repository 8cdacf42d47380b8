//! JSON without what does not matter: the digest of a document does not depend on the order of its keys, nor on spaces.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::parts::of_content;

/// The digest of a document.
pub(super) fn digest(document: &Value) -> String {
    let mut text = String::new();
    write(document, &mut text);
    of_content(text.as_bytes())
}

fn write(value: &Value, to: &mut String) {
    match value {
        Value::Object(members) => {
            to.push('{');
            for (name, member) in members.iter().collect::<BTreeMap<_, _>>() {
                write(&Value::String(name.clone()), to);
                to.push(':');
                write(member, to);
                to.push(',');
            }
            to.push('}');
        }
        Value::Array(items) => {
            to.push('[');
            for item in items {
                write(item, to);
                to.push(',');
            }
            to.push(']');
        }
        plain => {
            // Writing to a string does not fail.
            let _ = write!(to, "{plain}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_spaces_do_not_count_and_all_else_does() {
        let of = |text: &str| digest(&serde_json::from_str(text).unwrap());
        let one = of(r#"{"a": [1, "x"], "b": {"c": null}}"#);
        assert_eq!(one, of(r#"{"b":{"c":null},"a":[1,"x"]}"#));
        for other in [
            r#"{"a": ["x", 1], "b": {"c": null}}"#,
            r#"{"a": [1, "x"], "b": {"c": false}}"#,
            r#"{"a": [1, "x"], "b": {}}"#,
            r#"{"a": [1], "x": null, "b": {"c": null}}"#,
        ] {
            assert_ne!(of(other), one, "{other}");
        }
    }
}
