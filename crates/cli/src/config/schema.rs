//! The file's JSON Schema: with shipit's own keywords for the check, without them for editors.

use schemars::transform::{RecursiveTransform, Transform as _};
use schemars::{Schema, generate::SchemaSettings};
use serde_json::{Map, Value as Json, json};

use super::file::File;

/// Where the published schema stands in the project.
pub const PUBLISHED_AT: &str =
    "https://raw.githubusercontent.com/shipit-deploy/shipit/main/templates/shipit.schema.json";

/// The schema with shipit's own keywords (`x-check`, `x-names`, `x-secret`).
pub fn internal() -> Json {
    // Draft 7 is what the editors' TOML plug-ins know.
    let mut schema = SchemaSettings::draft07()
        .into_generator()
        .into_root_schema_for::<File>();
    RecursiveTransform(without_null).transform(&mut schema);
    schema.to_value()
}

/// The schema as it is checked in, without shipit's own keywords, ending with a line break.
pub fn published() -> String {
    let mut schema = internal();
    strip(&mut schema);
    if let Json::Object(top) = &mut schema {
        top.insert("$id".to_owned(), PUBLISHED_AT.into());
        top.insert("required".to_owned(), json!(["app"]));
    }
    format!("{schema:#}\n")
}

/// TOML has no null: a key that may be left out has its plain type.
fn without_null(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    object.retain(|name, value| name != "default" || !value.is_null());
    if let Some(Json::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Json::Array(choices)) = object.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").and_then(Json::as_str) != Some("null"));
        if let [only] = choices.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            object.insert("allOf".to_owned(), Json::Array(vec![only]));
        }
    }
}

fn strip(schema: &mut Json) {
    match schema {
        Json::Object(object) => {
            if let Some(kind) = object.get("x-names").and_then(Json::as_str) {
                let names = names(kind);
                object.insert("propertyNames".to_owned(), names);
            }
            // A property may be called like a keyword, but none starts with `x-`.
            object.retain(|name, _| !name.starts_with("x-"));
            values(object);
        }
        Json::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

fn values(object: &mut Map<String, Json>) {
    object.values_mut().for_each(strip);
}

/// What editors know of the keys that the user chooses.
fn names(kind: &str) -> Json {
    match kind {
        "variable" => json!({ "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" }),
        "stage" => json!({ "pattern": "^[A-Za-z0-9*][A-Za-z0-9._*-]{0,63}$" }),
        _ => json!({ "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" }),
    }
}
