//! What is made from the types: the schema, the reference, and that they tell the truth.

use serde_json::Value as Json;

use super::super::check::{keyword, layers};
use super::super::{StageChoice, json_schema, reference, schema};
use super::load;

#[test]
fn the_schema_that_is_checked_in_is_the_one_of_the_types() {
    let checked_in = include_str!("../../../../../templates/shipit.schema.json");
    assert!(
        checked_in == json_schema(),
        "templates/shipit.schema.json is stale: cargo run -p shipit-cli -- config --schema > templates/shipit.schema.json"
    );
}

#[test]
fn the_reference_that_is_checked_in_is_the_one_of_the_types() {
    let checked_in = include_str!("../../../../../docs/configuration.md");
    assert!(
        checked_in == reference(),
        "docs/configuration.md is stale: cargo run -p shipit-cli -- config --reference > docs/configuration.md"
    );
}

#[test]
fn the_schema_for_editors_has_nothing_of_shipits_own() {
    let schema = json_schema();
    for own in ["\"x-check\"", "\"x-names\"", "\"x-secret\"", "null"] {
        assert!(!schema.contains(own), "{own}");
    }
}

/// Every key that is no table: its dotted name and its schemas.
fn leaves<'a>(root: &'a Json, schema: &'a Json, path: &str, found: &mut Vec<(String, Vec<&'a Json>)>) {
    let all = layers(root, schema);
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) =
            keyword(&all, inner).filter(|inner| keyword(&layers(root, inner), "properties").is_some())
        {
            return leaves(root, inner, path, found);
        }
    }
    match keyword(&all, "properties").and_then(Json::as_object) {
        Some(keys) => keys
            .iter()
            .for_each(|(name, schema)| leaves(root, schema, &format!("{path}.{name}"), found)),
        None => found.push((path.to_owned(), all)),
    }
}

#[test]
fn every_key_has_a_meaning_and_an_example_that_loads() {
    let root = schema::internal();
    let mut found = Vec::new();
    leaves(&root, &root, "", &mut found);
    assert!(found.len() > 80, "{}", found.len());
    for (path, schemas) in &found {
        assert!(schemas[0].get("description").is_some(), "{path} has no meaning");
        let examples = keyword(schemas, "examples").and_then(Json::as_array);
        let examples = examples.unwrap_or_else(|| panic!("{path} has no example"));
        for example in examples.iter().chain(keyword(schemas, "default")) {
            let text = format!(
                "x = {}",
                serde_json::from_value::<toml::Value>(example.clone()).unwrap()
            );
            let node = super::super::text::parse(&text).unwrap();
            let problems = super::super::check::check(schemas[0], &root, node.get("x").unwrap(), &[]);
            assert!(problems.is_empty(), "{path}: {example}: {problems:?}");
        }
    }
}

#[test]
fn every_default_of_the_schema_is_the_settled_one() {
    let text = r#"app = "shop"
[[build.step]]
run = "x"
[[build.step]]
use = "npm"
[[build.test]]
run = "x"
[store]
url = "s3://x"
[[notify]]
webhook = "https://x"
[role.web]
dest = "/srv/x"
exec = { command = "x", hosts = ["a"] }
"#;
    let settled = serde_json::to_value(load(text, StageChoice::Of(None), &[]).unwrap()).unwrap();
    let root = schema::internal();
    let mut found = Vec::new();
    leaves(&root, &root, "", &mut found);
    let mut compared = 0;
    for (path, schemas) in found.iter().filter(|(path, _)| !path.starts_with(".stage")) {
        let Some(default) = keyword(schemas, "default") else {
            continue;
        };
        let pointer = path.replace('.', "/").replace("/role/", "/role/web/");
        // Of the steps, the first is a command and the second a preset.
        let step = if path.ends_with("production") {
            "/step/1/"
        } else {
            "/step/0/"
        };
        let pointer = pointer.replace("/step/", step).replace("/test/", "/test/0/");
        let pointer = pointer.replace("/notify/", "/notify/0/");
        match settled.pointer(&pointer) {
            Some(value) => {
                compared += 1;
                assert_eq!(value, default, "{path}");
            }
            None => assert!(
                default.as_array().is_some_and(Vec::is_empty),
                "{path} is not settled"
            ),
        }
    }
    assert!(compared > 30, "{compared}");
}
