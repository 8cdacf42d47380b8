//! The base, a stage over it, the environment over both, and where each value is said to come from.

use std::path::{Path, PathBuf};

use super::super::setting::Origin;
use super::super::{ConfigRequest, StageChoice, Transport, as_toml};
use super::load;

const TEXT: &str = r#"app = "shop"
[store]
url = "s3://shop/shipit"
region = "eu-west-1"
[consul]
token = { env = "BASE_TOKEN" }
[role.web]
dest = "/srv/shop"
shared = ["log", "tmp"]
after_switch = "systemctl reload shop"
[role.batch]
after_switch = "systemctl restart batch"
[role.admin]
dest = "/srv/admin"
layout = "plain"

[stage.production]
store.url = "s3://shop-production/shipit"
consul.token = { env = "STAGE_TOKEN", secret = true }
[stage.production.role.web]
shared = ["log"]
[stage."pr-*"]
kick.transport = "exec"
role.web.exec = { command = "ssh {{ host }} x", hosts = ["a"] }
role.batch.exec = { command = "ssh {{ host }} x", hosts = ["a"] }
role.admin.exec = { command = "ssh {{ host }} x", hosts = ["a"] }
[stage."pr-1*"]
[stage.pr-10]
store.region = "eu-north-1"
"#;

fn of(stage: &str) -> StageChoice<'_> {
    StageChoice::Of(Some(stage))
}

#[test]
fn tables_merge_and_all_else_is_replaced() {
    let settled = load(TEXT, of("production"), &[]).unwrap();
    let store = settled.store().unwrap();
    assert_eq!(store.url.as_text(), Some("s3://shop-production/shipit"));
    assert_eq!(store.region.as_deref(), Some("eu-west-1"));
    let web = settled.role("web").unwrap();
    assert_eq!(web.shared, ["log"]);
    assert_eq!(web.after_switch, ["systemctl reload shop"]);
    assert_eq!(
        settled.consul.token.as_ref().unwrap().as_env().unwrap().name,
        "STAGE_TOKEN"
    );
    let names: Vec<&str> = settled.roles.iter().map(|role| role.name.as_str()).collect();
    assert_eq!(names, ["web", "batch", "admin"]);
    let origin = |key| settled.provenance.of(key);
    assert_eq!(
        origin("store.url"),
        Origin::Stage {
            stage: "production".to_owned(),
            line: 18
        }
    );
    assert_eq!(origin("store.region"), Origin::File { line: 4 });
    assert_eq!(origin("store.path_style"), Origin::Default);
    assert_eq!(
        origin("role.web.shared"),
        Origin::Stage {
            stage: "production".to_owned(),
            line: 21
        }
    );
}

#[test]
fn the_exact_name_goes_before_patterns_and_the_narrow_before_the_wide() {
    let settled = load(TEXT, of("pr-10"), &[]).unwrap();
    assert_eq!(settled.store().unwrap().region.as_deref(), Some("eu-north-1"));
    assert_eq!(settled.kick.transport, Transport::Consul);
    assert_eq!(
        load(TEXT, of("pr-12"), &[]).unwrap().kick.transport,
        Transport::Consul
    );
    let wide = load(TEXT, of("pr-2"), &[]).unwrap();
    assert_eq!(wide.kick.transport, Transport::Exec);
    assert_eq!(wide.stage(), "pr-2");
    assert_eq!(load(TEXT, StageChoice::Base, &[]).unwrap().stage, None);
    assert_eq!(load(TEXT, StageChoice::Any(None), &[]).unwrap().stage, None);
}

#[test]
fn a_config_without_stages_is_the_stage_default() {
    for choice in [
        StageChoice::Of(None),
        StageChoice::Of(Some("default")),
        StageChoice::Any(None),
    ] {
        assert_eq!(
            load("app = \"shop\"\n", choice, &[]).unwrap().stage.as_deref(),
            Some("default")
        );
    }
}

#[test]
fn environment_then_file_then_default() {
    let text = "app = \"shop\"\n[consul]\naddress = \"http://file:1\"\nverify = true\n";
    let address = |variables: &[(&str, &str)], text: &str| {
        let settled = load(text, StageChoice::Base, variables).unwrap();
        (
            settled.consul.address.as_text().unwrap().to_owned(),
            settled.provenance.of("consul.address"),
        )
    };
    let env = [("CONSUL_HTTP_ADDR", "env:1"), ("CONSUL_HTTP_SSL", "true")];
    let from = |name: &str| Origin::Environment {
        name: name.to_owned(),
    };
    assert_eq!(
        address(&env, text),
        ("https://env:1".to_owned(), from("CONSUL_HTTP_ADDR"))
    );
    assert_eq!(
        address(&env[1..], text),
        ("https://file:1".to_owned(), from("CONSUL_HTTP_SSL"))
    );
    assert_eq!(
        address(&[], text),
        ("http://file:1".to_owned(), Origin::File { line: 3 })
    );
    assert_eq!(
        address(&[], "app = \"a\"\n"),
        ("http://127.0.0.1:8500".to_owned(), Origin::Default)
    );
}

#[test]
fn consuls_variables_are_checked_like_the_file() {
    let error = load(TEXT, StageChoice::Base, &[("CONSUL_HTTP_ADDR", "tcp://x")]).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("the environment variable CONSUL_HTTP_ADDR is not right"),
        "{error}"
    );
    let error = load(TEXT, StageChoice::Base, &[("CONSUL_HTTP_SSL_VERIFY", "perhaps")]).unwrap_err();
    assert!(error.to_string().contains("CONSUL_HTTP_SSL_VERIFY"), "{error}");
    let settled = load(
        TEXT,
        StageChoice::Base,
        &[("CONSUL_HTTP_TOKEN_FILE", "t"), ("CONSUL_HTTP_TOKEN", "s")],
    )
    .unwrap();
    assert_eq!(settled.consul.token, None);
    assert_eq!(settled.consul.token_file.as_deref(), Some(Path::new("/app/t")));
}

#[test]
fn what_is_shown_loads_again_to_the_same() {
    for stage in [of("production"), of("pr-10"), of("pr-2"), StageChoice::Base] {
        let settled = load(TEXT, stage, &[]).unwrap();
        let shown = as_toml(&settled, &|_| None).unwrap();
        let again =
            load(&shown, StageChoice::Of(None), &[]).unwrap_or_else(|error| panic!("{error}\n{shown}"));
        let mut values = [
            serde_json::to_value(&settled).unwrap(),
            serde_json::to_value(&again).unwrap(),
        ];
        for value in &mut values {
            value.as_object_mut().unwrap().remove("stage");
        }
        assert_eq!(values[0], values[1], "{shown}");
    }
}

#[test]
fn paths_of_this_machine_start_at_the_config() {
    let text = "app = \"a\"\n[source]\nssh_key = [\"deploy/key\", \"~/.ssh/id\", \"/etc/key\"]\n";
    let settled = load(text, StageChoice::Base, &[("HOME", "/home/me")]).unwrap();
    let expected = ["/app/deploy/key", "/home/me/.ssh/id", "/etc/key"].map(PathBuf::from);
    assert_eq!(settled.source.ssh_key, expected);
}

#[test]
fn the_config_is_found_upward() {
    use super::super::{Config, ConfigError};
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a/b");
    std::fs::create_dir_all(&deep).unwrap();
    let request = |cwd: &Path, path: Option<PathBuf>| ConfigRequest {
        path,
        cwd: cwd.to_owned(),
        stage: StageChoice::Base,
        env: &|_| None,
    };
    assert!(matches!(
        Config::load(&request(&deep, None)),
        Err(ConfigError::NotFound { .. })
    ));
    std::fs::write(dir.path().join("shipit.toml"), "app = \"up\"\n").unwrap();
    let settled = Config::load(&request(&deep, None)).unwrap();
    assert_eq!((settled.app.as_str(), settled.dir.as_path()), ("up", dir.path()));
    let named = Config::load(&request(&deep, Some("nothing.toml".into())));
    assert!(matches!(named, Err(ConfigError::Read { .. })));
}

#[test]
fn paths_of_the_tree_have_one_form() {
    let text = "app = \"a\"\n[build]\nroot = \"./public/\"\n[[build.step]]\nrun = \"x\"\ndir = \"./a/b/\"\nlayer = true\n\
                inputs = [\"lock\"]\noutputs = [\"./vendor/\"]\n";
    let build = load(text, StageChoice::Base, &[]).unwrap().build;
    assert_eq!(build.root.as_deref(), Some("public"));
    assert_eq!(build.steps[0].dir.as_deref(), Some("a/b"));
    assert_eq!(build.steps[0].outputs, ["vendor"]);
}
