//! What a user who gets the config wrong sees, line by line.

use super::super::{ConfigError, StageChoice};
use super::{load, refused};

#[test]
fn a_typo_of_a_key() {
    let shown = refused(
        "app = \"shop\"\n\n[role.web]\ndest = \"/srv/shop\"\nafter-switch = [\"systemctl reload shop\"]\n",
    );
    insta::assert_snapshot!(shown, @r#"
    error: unknown key `after-switch` in [role.web]
     --> shipit.toml:5:1
      |
    5 | after-switch = ["systemctl reload shop"]
      | ^^^^^^^^^^^^ did you mean `after_switch`?
    "#);
}

#[test]
fn a_key_in_the_wrong_table() {
    let shown = refused("app = \"shop\"\n[build]\nrepo = \"../shop\"\n");
    insta::assert_snapshot!(shown, @r#"
    error: unknown key `repo` in [build]
     --> shipit.toml:3:1
      |
    3 | repo = "../shop"
      | ^^^^
      |
      = help: `repo` is a key of the top level; keys after a [table] line belong to that table
    "#);
}

#[test]
fn a_wrong_type() {
    let shown = refused("app = \"shop\"\n[[build.step]]\nuse = \"npm\"\nproduction = \"yes\"\n");
    insta::assert_snapshot!(shown, @r#"
    error: `build.step[0].production` must be true or false, not a string
     --> shipit.toml:4:14
      |
    4 | production = "yes"
      |              ^^^^^ expected true or false
    "#);
}

#[test]
fn a_wrong_value() {
    let shown = refused("app = \"shop\"\n[[build.step]]\nuse = \"bundler\"\n");
    insta::assert_snapshot!(shown, @r#"
    error: `build.step[0].use` cannot be "bundler"
     --> shipit.toml:3:7
      |
    3 | use = "bundler"
      |       ^^^^^^^^^ did you mean `bundle`?
      |
      = help: it takes "carton", "bundle", "npm", "go"
    "#);
}

#[test]
fn a_bad_duration() {
    let shown = refused("app = \"shop\"\n[[build.step]]\nrun = \"make\"\ntimeout = \"10\"\n");
    insta::assert_snapshot!(shown, @r#"
    error: `build.step[0].timeout` is not right: it has no unit: write "10s" or "10m"
     --> shipit.toml:4:11
      |
    4 | timeout = "10"
      |           ^^^^
      |
      = help: write one like "90s", "10m" or "1h30m"
    "#);
}

#[test]
fn a_bad_dest() {
    let shown = refused("app = \"shop\"\n[role.web]\ndest = \"/usr/lib\"\n");
    insta::assert_snapshot!(shown, @r#"
    error: `role.web.dest` is not right: it is a directory of the hosts' system
     --> shipit.toml:3:8
      |
    3 | dest = "/usr/lib"
      |        ^^^^^^^^^^
      |
      = help: give the app a directory of its own below it or in /srv
    "#);
}

#[test]
fn build_under_a_stage() {
    let shown = refused("app = \"shop\"\n\n[stage.production.build]\nexclude = [\"spec\"]\n");
    insta::assert_snapshot!(shown, @r#"
    error: a stage cannot change `build`: one artifact serves every stage
     --> shipit.toml:3:19
      |
    3 | [stage.production.build]
      |                   ^^^^^ not in a stage
      |
      = help: `build` belongs to the base, outside of [stage.production]
    "#);
}

#[test]
fn an_inline_secret() {
    let shown = refused(
        "app = \"shop\"\n[[build.step]]\nrun = \"npm ci\"\nenv = { NPM_TOKEN = \"hunter2hunter2\", NODE_ENV = \"production\" }\n",
    );
    insta::assert_snapshot!(shown, @r#"
    error: `build.step[0].env.NPM_TOKEN` holds a secret, by its name
     --> shipit.toml:4:21
      |
    4 | env = { NPM_TOKEN = "**************", NODE_ENV = "production" }
      |                     ^^^^^^^^^^^^^^^^ a secret must not stand in the config
      |
      = help: write NPM_TOKEN = { env = "NPM_TOKEN", secret = true }; the config is kept with the code, and everyone who has the one has the other
    "#);
}

#[test]
fn a_url_with_a_password() {
    let shown = refused("app = \"shop\"\nrepo = \"https://bob:hunter2@example.com/shop.git\"\n");
    insta::assert_snapshot!(shown, @r#"
    error: `repo` holds a URL with a password
     --> shipit.toml:2:8
      |
    2 | repo = "****************************************"
      |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ a secret must not stand in the config
      |
      = help: write the URL without it, and [source] token = { env = "GIT_TOKEN" }; the config is kept with the code, and everyone who has the one has the other
    "#);
}

#[test]
fn several_at_once() {
    let shown = refused(
        "apq = \"shop\"\n\n[build]\nexclude = \"spec\"\n\n[role.\"my web\"]\ndest = \"srv\"\nkeep_releases = 0\n",
    );
    insta::assert_snapshot!(shown, @r#"
    error: unknown key `apq` in the top level
     --> shipit.toml:1:1
      |
    1 | apq = "shop"
      | ^^^ did you mean `app`?

    error: `build.exclude` must be an array, each item a string, not a string
     --> shipit.toml:4:11
      |
    4 | exclude = "spec"
      |           ^^^^^^ expected an array, each item a string

    error: `role."my web"` is not right: it has a character that no name has
     --> shipit.toml:6:7
      |
    6 | [role."my web"]
      |       ^^^^^^^^
      |
      = help: letters, digits, `.`, `_` and `-`, starting with a letter or a digit, make a name

    error: `role."my web".dest` is not right: it must be an absolute path
     --> shipit.toml:7:8
      |
    7 | dest = "srv"
      |        ^^^^^
      |
      = help: write one like "/srv/srv"

    error: `role."my web".keep_releases` must be at least 1, not 0
     --> shipit.toml:8:17
      |
    8 | keep_releases = 0
      |                 ^ at least 1
    "#);
}

#[test]
fn bad_syntax_with_a_secret_beside() {
    let shown = refused("app = \"shop\"\n[consul]\ntoken = \"hunter2\n");
    insta::assert_snapshot!(shown, @r#"
    error: invalid basic string, expected `"`
     --> shipit.toml:3:17
      |
    3 | token = "*******
      |                 ^ not TOML
    "#);
}

#[test]
fn a_step_that_runs_nothing() {
    let shown = refused("app = \"shop\"\n[[build.step]]\ndir = \"frontend\"\n");
    insta::assert_snapshot!(shown, @r#"
    error: the step runs nothing: it has neither `use` nor `run`
     --> shipit.toml:2:1
      |
    2 | [[build.step]]
      | ^^^^^^^^^^^^^^
      |
      = help: add use = "npm" (carton, bundle, npm, go), or run = "a command"
    "#);
}

#[test]
fn two_patterns_of_which_none_is_more_specific() {
    let text = "app = \"shop\"\n[stage.\"pr-*\"]\n[stage.\"*-eu\"]\n";
    let shown = load(text, StageChoice::Of(Some("pr-1-eu")), &[])
        .map(|_| ())
        .unwrap_err();
    let ConfigError::Invalid(invalid) = shown else {
        panic!("{shown:?}")
    };
    insta::assert_snapshot!(invalid.render(false), @r#"
    error: the stage `pr-1-eu` matches the patterns `pr-*` and `*-eu`, of which none is the more specific
     --> shipit.toml:2:8
      |
    2 | [stage."pr-*"]
      |        ^^^^^^ this one matches
    3 | [stage."*-eu"]
      |        ------ and so does this
      |
      = help: add [stage.pr-1-eu], or make one of the patterns match less
    "#);
}

#[test]
fn an_unknown_stage_names_the_nearest() {
    let text = "app = \"shop\"\n[stage.production]\n[stage.\"pr-*\"]\n";
    let error = load(text, StageChoice::Of(Some("prodution")), &[]).unwrap_err();
    assert_eq!(error.to_string(), "shipit.toml has no stage `prodution`");
    assert_eq!(error.hint().unwrap(), "did you mean `production`?");
    let error = load(text, StageChoice::Of(None), &[]).unwrap_err();
    assert_eq!(error.to_string(), "shipit.toml has stages, and none was named");
    let error = load(text, StageChoice::Of(Some("../x")), &[]).unwrap_err();
    assert!(matches!(error, ConfigError::StageName { .. }), "{error:?}");
    let error = load("app = \"shop\"\n", StageChoice::Of(Some("production")), &[]).unwrap_err();
    assert!(error.hint().unwrap().contains("leave --stage away"), "{error:?}");
}

#[test]
fn an_unknown_role_names_the_nearest() {
    let text = "app = \"shop\"\n[role.web]\ndest = \"/srv/a\"\n[role.batch]\ndest = \"/srv/b\"\n";
    let settled = load(text, StageChoice::Of(None), &[]).unwrap();
    let error = settled.role("wbe").unwrap_err();
    assert_eq!(error.to_string(), "/app/shipit.toml has no role `wbe`");
    assert_eq!(error.hint().unwrap(), "did you mean `web`?");
    assert_eq!(
        settled.role("xyz").unwrap_err().hint().unwrap(),
        "its roles: web, batch"
    );
    assert!(settled.store().unwrap_err().hint().unwrap().contains("[store]"));
}

#[test]
fn everything_between_keys_is_refused_at_its_line() {
    let cases = [
        (
            "[[build.step]]\nuse = \"npm\"\nrun = \"x\"",
            4,
            "either `use` or `run`",
        ),
        ("[[build.step]]\nuse = \"go\"", 2, "needs `packages`"),
        (
            "[[build.step]]\nuse = \"go\"\npackages = { \".\" = \"x\" }\nlayer = true",
            5,
            "never a layer",
        ),
        (
            "[[build.step]]\nuse = \"npm\"\nwithout = [\"x\"]",
            4,
            "goes with use = \"bundle\" alone",
        ),
        (
            "[[build.step]]\nrun = \"x\"\nlayer = true",
            4,
            "needs `inputs` and `outputs`",
        ),
        (
            "[[build.step]]\nrun = \"x\"\noutputs = [\"a\"]",
            4,
            "needs `inputs` and `outputs`",
        ),
        (
            "[[build.step]]\nrun = \"x\"\nname = \"a\"\n[[build.step]]\nrun = \"y\"\nname = \"a\"",
            7,
            "is taken",
        ),
        ("[store]\nregion = \"x\"", 2, "has no `url`"),
        (
            "[store]\nurl = \"file:///x\"\nsse = \"AES256\"",
            4,
            "this one is a directory",
        ),
        (
            "[store]\nurl = \"s3://x\"\nsse_kms_key_id = \"k\"",
            4,
            "goes with sse",
        ),
        (
            "[consul]\ntoken = { env = \"T\" }\ntoken_file = \"x\"",
            4,
            "two places for one token",
        ),
        ("[consul]\nclient_key = \"x\"", 3, "needs `consul.client_cert`"),
        (
            "[consul]\nevent_name = \"{{ rol }}\"\n[role.a]\ndest = \"/srv/a\"",
            3,
            "consul.event_name",
        ),
        (
            "[consul]\nevent_name = \"x_{{ stage }}\"\n[role.a]\ndest = \"/srv/a\"\n[role.b]\ndest = \"/srv/b\"",
            3,
            "one event name",
        ),
        (
            "[role.a]\ndest = \"/srv/a\"\nlayout = \"plain\"\nshared = [\"log\"]",
            5,
            "`shared` cannot be here",
        ),
        ("[role.a]\nowner = \"x\"\ncheck = \"true\"", 3, "has no files"),
        ("[role.a]", 2, "does nothing"),
        (
            "[role.a]\ndest = \"/srv/a\"\nshared = [\"log\", \"log/x\"]",
            4,
            "lie one in the other",
        ),
        (
            "[role.a]\ndest = \"/srv/a\"\n[role.a.exec]\nhosts = [\"a\"]\ncommand = \"ssh {{ hots }} x\"",
            6,
            "cannot be rendered",
        ),
        (
            "[role.a]\ndest = \"/srv/a\"\n[role.a.exec]\ncommand = \"x\"\nhosts = []",
            6,
            "`exec` has no hosts",
        ),
        (
            "[role.a]\ndest = \"/srv/a\"\ntransport = \"exec\"",
            2,
            "has no [role.a.exec]",
        ),
        (
            "[role.a]\ndest = \"/srv/a\"\nfilter.tag = \"x\"",
            4,
            "needs `service`",
        ),
        (
            "[role.a]\ndest = \"/srv/a\"\nhealth = true",
            4,
            "needs `filter.service`",
        ),
        ("[role.a]\ndest = \"/srv/a\"\nhosts = []", 4, "`hosts` is empty"),
        (
            "[role.a]\ndest = \"/srv/a\"\nhosts = [\"x\", \"x\"]",
            4,
            "named twice",
        ),
        ("[kick]\nwave_check = \"https://\"", 3, "after the scheme"),
        ("[[notify]]\non = [\"success\"]", 2, "one of `slack`"),
        (
            "[[notify]]\ncommand = \"x\"\nwebhook = \"https://x\"",
            2,
            "one of `slack`",
        ),
        (
            "[[notify]]\ncommand = \"x\"\nheaders = { A = \"b\" }",
            4,
            "goes with `webhook`",
        ),
        ("[[notify]]\ncommand = \"x\"\non = []", 4, "never sent"),
        ("[kick]\nbatch = \"150%\"", 3, "more than 100%"),
        ("[kick]\nbatch = 0", 3, "at least 1"),
        (
            "[role.a]\ndest = \"/srv/a\"\nkick.pause = \"30\"",
            4,
            "has no unit",
        ),
        ("[role.a]\ndest = \"/srv/a\"\nhosts = 0", 4, "at least 1"),
        ("[report]\ndashboard = \"a/b\"", 3, "no name has"),
        ("[report]\nwith = \"wget\"", 3, "cannot be \"wget\""),
        ("[prune]\nkeep = 0", 3, "at least 1"),
        (
            "[[notify]]\nwebhook = \"https://x\"\nheaders = { \"A B\" = \"x\" }",
            4,
            "name of a header",
        ),
    ];
    for (text, line, message) in cases {
        let error = load(&format!("app = \"shop\"\n{text}\n"), StageChoice::Of(None), &[]).unwrap_err();
        let ConfigError::Invalid(invalid) = error else {
            panic!("{text}: {error:?}")
        };
        let shown = invalid.render(false);
        assert!(shown.contains(message), "{text}\n{shown}");
        assert!(shown.contains(&format!("shipit.toml:{line}:")), "{text}\n{shown}");
    }
}
