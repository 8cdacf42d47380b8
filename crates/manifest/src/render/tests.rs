//! Rendering without a host: what comes out, and what is refused.

use std::time::Duration;

use super::*;
use crate::{Hooks, Link};

pub(super) fn input() -> RenderInput {
    RenderInput {
        src: Some("s3://bucket/artifacts/shop/abc.tar.zst".to_owned()),
        checksum: Some("ab".repeat(32)),
        record_sha256: Some("cd".repeat(32)),
        app: "shop".to_owned(),
        stage: "production".to_owned(),
        role: "web".to_owned(),
        release: "20261121T010203Z-3074f46".to_owned(),
        revision: "3074f46".repeat(6)[..40].to_owned(),
        dest: Some("/srv/shop/".to_owned()),
        layout: Layout::Releases,
        link: Link::Auto,
        owner: Some("shop:shop".to_owned()),
        shared: vec!["log".to_owned(), "tmp/pids".to_owned()],
        excludes: Vec::new(),
        hooks: Hooks {
            before_switch: vec!["bundle exec rake assets:sync".to_owned()],
            after_switch: vec!["systemctl reload-or-restart shop".to_owned()],
            check: Some("curl -fsS http://127.0.0.1:8080/health".to_owned()),
            timeout: Duration::from_millis(90_500),
            check_timeout: Duration::from_secs(30),
        },
        report: None,
        once: Vec::new(),
        keep_releases: 5,
        vars: [("color".to_owned(), serde_json::json!("blue"))].into(),
    }
}

fn with(text: &str) -> Result<String, Error> {
    render(
        &input(),
        Some(Template {
            name: "templates/web.yml.j2",
            text,
        }),
    )
}

fn commands(text: &str) -> Vec<String> {
    let full = format!("commands:\n  post:\n{text}");
    parse(&trial(&with(&full).unwrap()).unwrap())
        .unwrap()
        .commands
        .post
}

#[test]
fn the_default_is_a_manifest_with_its_binding() {
    let text = render(&input(), None).unwrap();
    let manifest = parse(&trial(&text).unwrap()).unwrap();
    assert_eq!(
        manifest.dest.as_deref(),
        Some("/srv/shop/.incoming/20261121T010203Z-3074f46")
    );
    assert_eq!(manifest.src, input().src);
    let binding = manifest.shipit.unwrap();
    assert_eq!((binding.app.as_str(), binding.role.as_str()), ("shop", "web"));
    assert_eq!(
        (binding.dest.as_deref(), binding.layout),
        (Some("/srv/shop"), Layout::Releases)
    );
    assert_eq!(binding.record_sha256, input().record_sha256);
    let post = &manifest.commands.post[0];
    assert!(
        post.contains("hook before_switch.1 91 'bundle exec rake assets:sync'\n"),
        "{post}"
    );
    assert!(post.contains("for p in 'log' 'tmp/pids'; do\n"), "{post}");
    assert!(!text.contains("{{") && !text.contains("point:"), "{text}");
}

#[test]
fn layouts_without_hooks_render_too() {
    for layout in [Layout::Releases, Layout::Plain] {
        let bare = RenderInput {
            layout,
            owner: None,
            shared: Vec::new(),
            hooks: Hooks::default(),
            excludes: vec!["*.bak".to_owned()],
            ..input()
        };
        let manifest = parse(&render(&bare, None).unwrap()).unwrap();
        assert_eq!(manifest.excludes, ["*.bak"]);
        assert_eq!(manifest.shipit.unwrap().layout, layout);
    }
    let commands = RenderInput {
        layout: Layout::Commands,
        src: None,
        checksum: None,
        dest: None,
        shared: vec![],
        ..input()
    };
    let manifest = parse(&render(&commands, None).unwrap()).unwrap();
    assert_eq!(
        (manifest.src, manifest.dest, manifest.commands.post.len()),
        (None, None, 1)
    );
}

#[test]
fn an_undefined_variable_is_named_with_its_place() {
    let error = with("src: {{ src | yaml }}\ndest: {{ dset | yaml }}\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "template templates/web.yml.j2, line 2: the variable `dset` is not defined"
    );
    assert_eq!(error.hint().unwrap(), "did you mean `dest`?");
    let hint = |text| with(text).unwrap_err().hint().unwrap();
    assert_eq!(
        hint("{{ vars.nope }}"),
        "the role has no such variable: add `nope` to its vars"
    );
    assert!(hint("{{ nope }}").contains("write `vars.nope`"));
    for (text, variable, nearest) in [
        ("a\n{{ vars.colour }}", "vars.colour", Some("vars.color")),
        ("\n{% if ownr %}x{% endif %}", "ownr", Some("owner")),
        ("\n{% for x in sharde %}x{% endfor %}", "sharde", Some("shared")),
        ("\n{{ hooks.chek | sh }}", "hooks.chek", Some("hooks.check")),
        ("\n{{ \"a\" ~ zzzzzzzz }}", "zzzzzzzz", None),
        ("\n{{ vars.a.b }}", "vars.a", None),
    ] {
        match with(text).unwrap_err() {
            Error::Undefined {
                line: 2,
                variable: found,
                nearest: near,
                ..
            } => {
                assert_eq!((found.as_str(), near.as_deref()), (variable, nearest), "{text}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn a_template_that_cannot_run_names_its_line() {
    for (text, line) in [
        ("a: 1\n{% if %}", 2),
        ("a\nb\n{{ src | nope }}", 3),
        ("{{ 'a\0b' | sh }}", 1),
        ("\n{{ none }}", 2),
    ] {
        let error = with(text).unwrap_err();
        assert!(
            matches!(error, Error::Template { line: at, .. } if at == line),
            "{text}: {error:?}"
        );
        assert!(error.to_string().contains("templates/web.yml.j2"), "{error}");
    }
}

#[test]
fn braces_of_values_and_of_the_template_come_out_as_they_are() {
    let odd = [
        "docker inspect -f '{{.State}}' x",
        "{{{",
        "a{{ env \"HOME\" }}b",
        "}} {{`",
        "{",
        "{% if %}",
    ];
    for command in odd {
        let text = with(&format!(
            "commands:\n  post:\n    - {}",
            "{{ vars_command | yaml }}"
        ))
        .unwrap_err();
        assert!(matches!(text, Error::Undefined { .. }));
        let mut input = input();
        input.vars.insert("command".to_owned(), command.into());
        let template = Template {
            name: "t",
            text: "commands:\n  post:\n    - {{ vars.command | yaml }}\n    - {% filter yaml_block(6) %}\necho {{ vars.command | sh }}\n{% endfilter %}\n",
        };
        let rendered = render(&input, Some(template)).unwrap();
        let post = parse(&trial(&rendered).unwrap()).unwrap().commands.post;
        assert_eq!(
            post,
            [
                command.to_owned(),
                format!("echo {}", quote::sh(command).unwrap())
            ]
        );
    }
    assert_eq!(
        commands("    - {{ '{' }}{{ '{ x' }}\n".replace("- ", "- a").as_str()),
        ["a{{ x"]
    );
}

#[test]
fn host_env_stays_for_the_host() {
    let template = "commands:\n  post:\n    - {{ ('a ' ~ host_env('HOME', 'd\"{{') ~ ' ' ~ host_must_env('X')) | yaml }}\n    - b {{ '{' }}{{ host_env('Y', 'd') }}\n";
    let text = with(template).unwrap();
    assert!(
        text.contains(r#""a {{ env "HOME" "d\"{{" | json_escape }} {{ must_env "X" | json_escape }}""#),
        "{text}"
    );
    let on_host = crate::host_template(&text, &|name| Some(format!("[{name}\"\\]"))).unwrap();
    assert_eq!(
        parse(&on_host).unwrap().commands.post,
        ["a [HOME\"\\] [X\"\\]", "b {[Y\"\\]"]
    );
    let error = with("{{ host_env('A B') }}").unwrap_err();
    assert!(
        std::error::Error::source(&error)
            .unwrap()
            .to_string()
            .contains("A B")
    );
}

#[test]
fn what_must_not_be_published_is_refused() {
    for (text, part) in [
        (
            "src: ftp://x\nchecksum: abc\ndest: /a\ncommands: {post: [x]}",
            "checksum has 3 characters",
        ),
        ("commands: {post: ['']}", "commands.post[0] is empty"),
        ("commands: {}", "commands are empty"),
        ("commands: {post: [x]}\ndest: a", "dest \"a\" is not absolute"),
        ("commands: {post: [\"a\\0b\"]}", "commands.post[0] holds a NUL"),
        ("commands: {post: [x]}\nsync_strategy: mv", "file exists"),
        (
            "commands: {post: [x]}\nsync_strategy: cp",
            "stretcher knows rsync and mv",
        ),
    ] {
        let error = with(text).unwrap_err();
        assert!(matches!(error, Error::Unsound { .. }), "{error:?}");
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(matches!(with("src: a: b").unwrap_err(), Error::Rendered { .. }));
    assert!(matches!(
        with("src: file:///x").unwrap_err(),
        Error::Rendered { .. }
    ));
}

#[test]
fn inputs_that_no_manifest_may_hold_are_refused() {
    let refused = |change: &dyn Fn(&mut RenderInput), part: &str| {
        let mut input = input();
        change(&mut input);
        let error = render(&input, None).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    };
    refused(&|input| input.role = "we b".to_owned(), "role");
    refused(&|input| input.release = "a.b".to_owned(), "no dot");
    refused(&|input| input.dest = Some("srv".to_owned()), "absolute");
    refused(&|input| input.dest = Some("/".to_owned()), "dest");
    refused(&|input| input.dest = Some("/srv/../etc".to_owned()), "'..'");
    refused(
        &|input| input.shared.push("log/old".to_owned()),
        "one in the other",
    );
    refused(&|input| input.shared.push("../x".to_owned()), "'..'");
    refused(&|input| input.owner = Some("a b".to_owned()), "owner");
    refused(&|input| input.hooks.check = Some("a\0".to_owned()), "NUL");
    refused(&|input| input.hooks.after_switch.push(" \n".to_owned()), "blank");
    refused(&|input| input.hooks.timeout = Duration::ZERO, "no limit");
    refused(&|input| input.keep_releases = 0, "kept");
    refused(&|input| input.src = None, "needs it");
    refused(&|input| input.checksum = Some("zz".repeat(32)), "hexadecimal");
    refused(
        &|input| input.src = Some("https://u:secret@h/x".to_owned()),
        "password",
    );
    refused(&|input| input.hooks.check = Some(format!("a{MARK}")), "reserved");
    let secret = RenderInput {
        src: Some("https://u:s3cr3t@h/x".to_owned()),
        ..input()
    };
    assert!(!format!("{:?}", render(&secret, None).unwrap_err()).contains("s3cr3t"));
}

#[test]
fn a_template_of_ones_own_extends_the_default() {
    let text = "{% extends \"shipit/manifest.yml.j2\" %}\n{% block failure %}\n    - {{ ('echo ' ~ vars.color) | yaml }}\n{% endblock %}\n";
    let rendered = with(text).unwrap();
    let manifest = parse(&rendered).unwrap();
    assert_eq!(manifest.commands.failure, ["echo blue"]);
    assert_eq!(manifest.commands.post.len(), 1);
}

#[test]
fn a_mirror_of_the_hosts_own_may_be_the_source_of_the_same_bytes() {
    let text = "src: {{ (host_env('MIRROR', 'https://mirror.example.com') ~ '/shop.tar.zst') | yaml }}\nchecksum: {{ checksum }}\ndest: /srv/x\n";
    let rendered = with(text).unwrap();
    let on_host = crate::host_template(&rendered, &|_| None).unwrap();
    assert_eq!(
        parse(&on_host).unwrap().src.as_deref(),
        Some("https://mirror.example.com/shop.tar.zst")
    );
    with(&text.replace(
        "host_env('MIRROR', 'https://mirror.example.com')",
        "host_must_env('MIRROR')",
    ))
    .unwrap();
    let other = text.replace("{{ checksum }}", &"0".repeat(64));
    assert!(
        with(&other)
            .unwrap_err()
            .to_string()
            .contains("checksum is not the artifact's")
    );
}

/// The templates that docs/manifest.md shows, indented by four.
#[test]
fn the_examples_of_the_docs_render() {
    let docs = include_str!("../../../../docs/manifest.md");
    let example = |from: &str, to: &str| {
        let begin = docs.find(from).unwrap();
        let end = docs[begin..].find(to).unwrap() + begin + to.len();
        let lines = docs[begin..end]
            .lines()
            .map(|line| line.strip_prefix("    ").unwrap_or(line));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    let extended = with(&example("{% extends", "{% endblock %}")).unwrap();
    assert_eq!(
        parse(&extended).unwrap().commands.failure,
        ["logger -t deploy 'shop' failed"]
    );
    let commands = example("post:\n      - {{ (\"deploy-done", "{% endfilter %}");
    let text = format!(
        "commands:\n  {}\n",
        commands.replace("channel", "color").replace("\n  ", "\n    ")
    );
    let post = parse(&with(&text).unwrap()).unwrap().commands.post;
    assert_eq!(
        post,
        [
            "deploy-done 'blue'",
            "set -eu\ncd '/srv/shop'/current\ndeploy-done 'blue'"
        ]
    );
}

#[test]
fn values_of_every_kind_have_a_form() {
    let mut input = input();
    input.vars.insert(
        "all".to_owned(),
        serde_json::json!({"n": 3, "b": true, "f": 1.5, "l": ["a b", 1, {"k": "v"}]}),
    );
    let text = "commands:\r\n  post:\r\n    - {{ vars.all | yaml | yaml }}\r\n    - {% filter yaml_block(6) %}\r\necho {{ [vars.all.n, vars.all.b, vars.all.f, vars.all.l[0]] | sh }} {{ vars.all.b }}\r\n{% endfilter %}\r\n";
    let post = parse(&render(&input, Some(Template { name: "t", text })).unwrap())
        .unwrap()
        .commands
        .post;
    assert_eq!(
        post,
        [
            r#"{"b": true, "f": 1.5, "l": ["a b", 1, {"k": "v"}], "n": 3}"#,
            "echo 3 true 1.5 'a b' true"
        ]
    );
}
