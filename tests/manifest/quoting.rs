//! What is written comes out of stretcher as it was, through Go's template, YAML and the shell.

use std::fs;

use crate::host::Host;

/// Texts that one of the three readers would take for its own.
const ODD: [&str; 17] = [
    "{{ env \"HOME\" }}",
    "docker ps --format '{{.Names}}'",
    "{{{ }}} {{",
    "{{/* a comment */}} {{- trim -}}",
    "{%raw%}{# jinja #}",
    "'single' \"double\" `back`",
    "two\nlines\n\n\nand a blank",
    "\n leading and trailing \n",
    "back\\slash \\n \\\\ end\\",
    "tab\there\t",
    "\tfirst",
    "$HOME ${HOME} $(id) !history",
    "日本語 é 😀 \u{a0}\u{2028}\u{85}\u{feff}",
    "# not a comment: - key: [a, b] &x *x !y %z @w",
    "carriage\r\nreturn",
    "\u{1}\u{7f}\u{1b}[31m",
    "yes",
];

#[test]
#[ignore = "needs the testbed; run make test"]
fn odd_texts_come_out_of_hooks_as_they_are() {
    let host = Host::new();
    let mut input = host.release("r1");
    for (number, text) in ODD.iter().enumerate() {
        let word = shipit_manifest::sh(text).unwrap();
        let out = host.tmp.join(format!("out-{number}"));
        input
            .hooks
            .before_switch
            .push(format!("printf %s {word} >{}", out.display()));
        input
            .hooks
            .after_switch
            .push(format!("printf %s {word} >>{}", out.display()));
    }
    host.deploy(&input).ok();
    for (number, text) in ODD.iter().enumerate() {
        let out = fs::read_to_string(host.tmp.join(format!("out-{number}"))).unwrap();
        assert_eq!(out, text.repeat(2));
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn odd_texts_come_out_of_a_template_of_ones_own_as_they_are() {
    const TEMPLATE: &str = "\
commands:
  pre:
{% for text in vars.texts %}
    - {{ ('printf %s ' ~ (text | sh) ~ ' >' ~ vars.dir ~ '/a-' ~ loop.index0) | yaml }}
    - {% filter yaml_block(6) %}
x={{ text | sh }}
printf %s \"$x\" >{{ vars.dir }}/b-{{ loop.index0 }}
{% endfilter %}

{% endfor %}
    - |
      printf %s '{{ '{{' }} literal }}' >{{ vars.dir }}/c
    - {{ ('printf %s ' ~ host_env('FROM_HOST', 'default') ~ ' >' ~ vars.dir ~ '/d') | yaml }}
    - printf %s {{ host_env('NOT_SET', 'a {{ default') | sh }} >{{ vars.dir }}/e
    - {{ ('printf %s \"{' ~ host_must_env('FROM_HOST') ~ '\" >' ~ vars.dir ~ '/f') | yaml }}
";
    let host = Host::with_template(TEMPLATE.to_owned());
    host.env
        .borrow_mut()
        .push(("FROM_HOST".to_owned(), "it\\'s\\\"".to_owned()));
    let mut input = host.release("r1");
    let texts: Vec<_> = ODD.iter().map(|text| serde_json::Value::from(*text)).collect();
    input.vars.insert("texts".to_owned(), texts.into());
    input
        .vars
        .insert("dir".to_owned(), host.tmp.path().display().to_string().into());
    host.deploy(&input).ok();
    let out = |name: &str| fs::read_to_string(host.tmp.join(name)).unwrap();
    for (number, text) in ODD.iter().enumerate() {
        assert_eq!(
            (out(&format!("a-{number}")), out(&format!("b-{number}"))),
            ((*text).to_owned(), (*text).to_owned())
        );
    }
    assert_eq!(
        (out("c"), out("d"), out("e")),
        ("{{ literal }}".into(), "it's\"".into(), "a {{ default".into())
    );
    assert_eq!(out("f"), "{it\\'s\"");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn paths_and_owners_with_odd_characters_are_words() {
    let host = Host::new();
    let mut input = host.release("r1");
    input.dest = Some(
        host.tmp
            .join("srv/it's {{ \"$HOME\" }} ünï")
            .display()
            .to_string(),
    );
    input.shared = vec!["log".to_owned(), "a b/{{ c }}/$d".to_owned()];
    host.deploy(&input).ok();
    let dest = host.tmp.join("srv/it's {{ \"$HOME\" }} ünï");
    assert_eq!(fs::read_to_string(dest.join("current/REVISION")).unwrap(), "r1");
    assert_eq!(
        fs::read_link(dest.join("current/a b/{{ c }}/$d")).unwrap(),
        dest.join("shared/a b/{{ c }}/$d")
    );
    host.deploy(&input).ok();
    assert_eq!(host.events(), ["before r1", "after r1"]);
}
