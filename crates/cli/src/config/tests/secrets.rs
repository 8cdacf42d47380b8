//! A secret, wherever it is planted, is in nothing that is shown.

use super::super::{ConfigError, StageChoice, as_json, as_toml};
use super::{load, refused};

const PLANTED: &str = "pl4nted-s3cret-value";

#[test]
fn one_in_the_environment_is_never_shown() {
    let text = r#"app = "shop"
[source]
token = { env = "GIT" }
[[build.step]]
run = "npm ci"
env = { NPM_TOKEN = { env = "NPM" }, OTHER = { env = "OTHER", secret = true }, PLAIN = { env = "PLAIN" } }
[consul]
token = { env = "CT", secret = false }
"#;
    let variables: Vec<(&str, &str)> = ["GIT", "NPM", "OTHER", "CT", "CONSUL_HTTP_TOKEN"]
        .map(|name| (name, PLANTED))
        .to_vec();
    let env = |name: &str| {
        variables
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| (*value).to_owned())
    };
    let settled = load(text, StageChoice::Of(None), &variables).unwrap();
    let token = settled.source.token.as_ref().unwrap().resolve(&env).unwrap();
    assert!(token.is_secret());
    assert_eq!(token.clone().into_inner(), PLANTED);
    let mut shown = format!("{settled:?}{token:?}{}", serde_json::to_string(&token).unwrap());
    shown.push_str(&as_toml(&settled, &env).unwrap());
    shown.push_str(&as_json(&settled).unwrap().to_string());
    for (_, setting) in &settled.build.steps[0].env {
        shown.push_str(&format!(
            "{setting:?}{:?}",
            setting
                .resolve(&env)
                .as_ref()
                .map(|value| value.shown().to_owned())
        ));
    }
    assert!(!shown.contains(PLANTED), "{shown}");
    assert!(shown.contains("NPM is set: ***"), "{shown}");
}

#[test]
fn one_in_the_file_is_refused_and_masked_wherever_it_stands() {
    for text in [
        "[consul]\ntoken = \"@@\"",
        "[consul]\ntoken = \"@@\"\nverify = \"yes\"\ntokn = \"x\"",
        "[source]\ntoken = { env = \"T\", default = \"@@\" }",
        "[store]\nsecret_access_key = \"@@\"",
        "[role.web.vars]\ndb = { password = \"@@\" }",
        "[[build.step]]\nrun = \"curl https://me:@@@example.com/\"",
        "[[build.step]]\nrun = \"x\"\nenv = { DB_PASSWORD = \"@@\" }",
        "[consul\ntoken = \"@@\"",
        "[consul]\ntoken = @@",
        "[consul]\ntoken = \"\"\"\n@@",
        "[consul]\ntoken = [\"@@\"]",
    ] {
        let text = format!("app = \"shop\"\n{}\n", text.replace("@@", PLANTED));
        let error = load(&text, StageChoice::Base, &[]).map(|_| ()).unwrap_err();
        let shown = format!("{error:?}{error}{}", refused(&text));
        assert!(!shown.contains(PLANTED), "{text}\n{shown}");
    }
}

#[test]
fn a_missing_variable_is_missed_only_when_its_value_is_needed() {
    let text = "app = \"shop\"\n[[build.step]]\nrun = \"x\"\nenv = { A = { env = \"NOT_SET\" } }\n";
    let settled = load(text, StageChoice::Of(None), &[]).unwrap();
    let (_, setting) = &settled.build.steps[0].env[0];
    let error = setting.resolve(&|_| None).unwrap_err();
    assert!(matches!(error, ConfigError::MissingVariable { .. }));
    assert_eq!(
        error.to_string(),
        "the environment variable NOT_SET is not set, and build.step[0].env.A (shipit.toml:4) takes its value from it"
    );
    assert!(setting.resolve(&|_| Some("x".to_owned())).is_ok());
}

#[test]
fn a_variable_in_a_plain_text_stays_and_is_said() {
    let text =
        "app = \"shop\"\n[[build.step]]\nrun = \"echo $HOME\"\nenv = { A = \"${HOME}/x\", B = \"5$\" }\n";
    let settled = load(text, StageChoice::Of(None), &[("HOME", "/root")]).unwrap();
    let (_, setting) = &settled.build.steps[0].env[0];
    assert_eq!(setting.as_text(), Some("${HOME}/x"));
    let [lint] = settled.lints.as_slice() else {
        panic!("{:?}", settled.lints)
    };
    assert_eq!(lint.line, 4);
    assert!(lint.message.contains("build.step[0].env.A"), "{}", lint.message);
}
