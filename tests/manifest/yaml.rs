//! What shipit reads of a manifest's YAML is what stretcher reads of it.
//!
//! stretcher logs the manifest that it loaded before it runs anything, its commands as Go writes strings.

use shipit_manifest::{Manifest, host_template, parse};

use crate::host::Host;

/// Manifests that stretcher loads.
const LOADED: [&str; 23] = [
    "commands:\n  pre:\n    - |\n      : a\n        b\n    - >-\n      : c\n      d\n\n      e\n    - ': single ''quoted'' '\n    \
     - \": double \\t \\x41 \\\\ \\\"\"\n",
    "commands:\n  pre:\n    - |2\n        : kept indent\n    - |+\n      : kept end\n\n    - >\n      : folded\n        more\n      end\n",
    "x-common: &l [': a', \": b\"]\ncommands:\n  pre: *l\n",
    "base: &b\n  pre: [': m']\n  post: [': n']\ncommands:\n  <<: *b\n  post: [': own']\n",
    "commands: {pre: [true, 1, 0755, 0x1f, yes, Off, 1e3, 1_000, 2001-01-01, .5, '', \"\"]}\n",
    "commands:\n  pre:\n    - true a\n      continued\n      # a comment\n    - ':'  # another\n",
    "commands: {pre: [': a']}\ncommands: {pre: [': b']}\n",
    "%YAML 1.1\n---\ncommands: {pre: [': a']}\n...\n",
    "commands: {pre: [!!str 12, !!str true, !<tag:yaml.org,2002:str> x]}\n",
    "commands:\t{pre:\t[': a', ]}\n",
    "commands:\n  pre:\n  - ': not indented'\n  - ~\n  -\n  - null\n",
    "x: &x 1\nunknown: {deep: [1, {a: *x}], !t k: !u v, 3: [~]}\ncommands: {pre: [': a'], other: {}}\n",
    "commands:\n  pre: [ ': {{\"{{\"}} x }}', '{{ env \"NOT_SET\" \": default\" }}', {{`\": raw\"`}} ]\n",
    "? commands\n: pre:\n    - ': explicit key'\n",
    "commands: {pre: [': a']}\n---\ncommands: {pre: [': b']}\n",
    "commands: {pre: [!!binary OiBi, !custom c]}\n",
    "\u{feff}commands: {pre: [': bom']}\r\n",
    "commands:\r\n  pre:\r\n    - |\r\n      : crlf\r\n      : two\r\n",
    "dest_mode: 493.0\ncommands: {pre: [': a']}\n",
    "src: ~\ndest: null\nchecksum:\ncommands: {pre: [': a']}\n",
    "src: ''\nCommands: {pre: [': case']}\ncommands: {pre: [': a'], post: ~}\nexcludes: ~\n",
    "commands: {pre: [\": a\\\n     b\", ': c\n\n  d']}\n",
    "{\"commands\": {\"pre\": [\": as JSON\", \"\\u003a\"]}}",
];

/// Texts that it refuses to load.
const REFUSED: [&str; 11] = [
    "commands: [a]\n",
    "commands: {pre: a}\n",
    "commands: {pre: [[a]]}\n",
    "commands: {pre: [{a: b}]}\n",
    "src: [x]\n",
    "src: s3://b/k\n",
    "a: b: c\n",
    "dest_mode: rwx\n",
    "dest_mode: 99999999999\n",
    "commands: {pre: [*unknown]}\n",
    "commands: {pre: ['{{ unknown }}']}\n",
];

fn read(text: &str) -> Result<Manifest, shipit_manifest::Error> {
    parse(&host_template(text, &|_| None)?)
}

fn as_go(list: &[String]) -> String {
    let quote = |text: &String| {
        assert!(text.is_ascii(), "{text:?}");
        format!(
            "\"{}\"",
            text.replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n")
                .replace('\t', "\\t")
        )
    };
    let items: Vec<_> = list.iter().map(quote).collect();
    format!("{{{}}}", items.join(", "))
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn stretcher_and_shipit_read_the_same() {
    let host = Host::new();
    let log = |number: usize, text: &str| {
        let path = host.tmp.write(format!("store/{number}.yml"), text);
        host.handler(&format!("file://{}", path.display())).run().err()
    };
    let mut wrong = Vec::new();
    for (number, text) in LOADED.into_iter().enumerate() {
        let log = log(number, text);
        match read(text) {
            Ok(manifest) => {
                let ours = format!("Pre:stretcher.CommandLines{}", as_go(&manifest.commands.pre));
                if !log.contains(&ours) {
                    let line = log
                        .lines()
                        .find(|line| line.contains("Executing"))
                        .unwrap_or(&log);
                    wrong.push(format!("{text}\n  shipit: {ours}\n  stretcher: {line}"));
                }
            }
            Err(error) => wrong.push(format!("{text}\n  shipit: {error}")),
        }
    }
    for (number, text) in REFUSED.into_iter().enumerate() {
        let log = log(100 + number, text);
        if !log.contains("load manifest failed") || read(text).is_ok() {
            wrong.push(format!("{text}\n  shipit: {:?}\n  stretcher: {log}", read(text)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
