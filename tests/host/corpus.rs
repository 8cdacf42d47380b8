//! Every manifest literal of stretcher's own tests, run by stretcher and by `apply` on hosts in the same state.

use std::fs;
use std::path::Path;
use std::time::Duration;

use shipit_host::parse_bandwidth;
use shipit_testbed::{S3Server, Testbed};

use crate::support::{Outcome, Sandbox, Seen, as_under_the_umask, difference, holds, shown};

/// The page that lists the differences; each has an id there.
const LISTED: &str = include_str!("../../docs/stretcher-compatibility.md");

/// What stretcher's test sets beside the manifest: its flags, and the same for `apply`.
const FLAGS: [(&str, &[&str]); 3] = [
    ("TestDeployManifestRetry", &["--retry=3", "--retry-wait=200ms"]),
    (
        "TestDeployManifestTimeout",
        &["--max-band-width=2kB", "--timeout=2s"],
    ),
    ("TestDeployManifestMaxBandwidth", &["--max-band-width=5kB"]),
];

/// What stands at dest before.
const BEFORE: [&str; 3] = ["nothing", "a directory", "a file"];

/// A literal of manifest_test.go, and the test that it stands in.
struct Literal {
    test: String,
    /// Texts and the names of Go variables between them.
    parts: Vec<Part>,
}

enum Part {
    Text(String),
    Variable(String),
}

/// Finds `yml := ` followed by raw strings and variables joined by `+`.
fn literals(source: &str) -> Vec<Literal> {
    let mut found = Vec::new();
    let mut test = String::new();
    let mut rest = source;
    while let Some(at) = rest.find("\n").map(|end| end + 1) {
        let line = &rest[..at];
        if let Some(name) = line.strip_prefix("func ").and_then(|line| line.split('(').next()) {
            test = name.to_owned();
        }
        let Some(begin) = line.find("yml := `") else {
            rest = &rest[at..];
            continue;
        };
        let (parts, after) = expression(&rest[begin + "yml := ".len()..]);
        found.push(Literal {
            test: test.clone(),
            parts,
        });
        rest = after;
    }
    found
}

fn expression(mut text: &str) -> (Vec<Part>, &str) {
    let mut parts = Vec::new();
    loop {
        if let Some(raw) = text.strip_prefix('`') {
            let (inner, after) = raw.split_once('`').expect("a raw string ends");
            parts.push(Part::Text(inner.to_owned()));
            text = after;
        } else {
            let end = text.find([' ', '\n']).expect("a variable ends");
            parts.push(Part::Variable(text[..end].to_owned()));
            text = &text[end..];
        }
        match text.strip_prefix(" + ") {
            Some(after) => text = after,
            None => return (parts, text),
        }
    }
}

impl Literal {
    fn manifest(&self, sandbox: &Sandbox) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Variable(name) if name == "cwd" => sandbox.cwd().display().to_string(),
            Part::Variable(name) if name == "testDest" => sandbox.join("dest").display().to_string(),
            Part::Variable(name) => panic!("{}: what is {name}?", self.test),
        };
        self.parts.iter().map(text).collect()
    }

    fn flags(&self) -> &'static [&'static str] {
        FLAGS
            .iter()
            .find(|(test, _)| *test == self.test)
            .map_or(&[], |(_, flags)| flags)
    }
}

fn host(before: &str, server: &S3Server) -> Sandbox {
    let mut sandbox = Sandbox::new("corpus").with_s3(server);
    sandbox.set("SRC", "s3://example.com/path/to/archive.tar.gz");
    copy(
        &Testbed::get().stretcher_src().join("testdata"),
        &sandbox.cwd().join("testdata"),
    );
    match before {
        "a directory" => drop(sandbox.write("dest/test.pid", "1234")),
        "a file" => drop(sandbox.write("dest", "")),
        _ => {}
    }
    sandbox
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

fn apply(sandbox: &Sandbox, manifest: &str, flags: &[&str]) -> Outcome {
    let mut request = sandbox.request(manifest);
    for flag in flags {
        match flag.split_once('=').unwrap() {
            ("--retry", count) => request.retry = count.parse().unwrap(),
            ("--retry-wait", _) => request.retry_wait = Duration::from_millis(200),
            ("--timeout", _) => request.timeout = Some(Duration::from_secs(2)),
            ("--max-band-width", text) => request.max_bandwidth = Some(parse_bandwidth(text).unwrap()),
            other => panic!("{other:?}"),
        }
    }
    sandbox.apply_request(request)
}

/// The files of a host that a manifest can have changed. The archive has owners by name, which stretcher's tar looks up on the host:
/// the listed difference `owner-names`.
fn files(sandbox: &Sandbox) -> std::collections::BTreeMap<std::path::PathBuf, Seen> {
    let mut all = holds(&sandbox.join("dest"));
    assert!(LISTED.contains("| `owner-names` |"));
    for seen in all.values_mut() {
        (seen.uid, seen.gid) = (0, 0);
    }
    all.extend(
        holds(&sandbox.cwd())
            .into_iter()
            .map(|(path, seen)| (Path::new("cwd").join(path), seen)),
    );
    as_under_the_umask(&mut all);
    all
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn every_literal_of_stretchers_tests_has_the_same_outcome_and_leaves_the_same_files() {
    let source = fs::read_to_string(Testbed::get().stretcher_src().join("manifest_test.go")).unwrap();
    let literals = literals(&source);
    let counted = source.matches("yml := `").count();
    assert_eq!(literals.len(), counted);
    assert!(counted >= 17, "stretcher 1.1.0 has 17 literals, found {counted}");
    let server = S3Server::start();
    server.create_bucket("example.com");
    let object = server.object_path("example.com", "path/to/archive.tar.gz");
    fs::create_dir_all(object.parent().unwrap()).unwrap();
    fs::copy(Testbed::get().stretcher_src().join("testdata/test.tar"), object).unwrap();
    for literal in &literals {
        for before in BEFORE {
            let what = format!("{} with {before} at dest", literal.test);
            let (real, ours) = (host(before, &server), host(before, &server));
            let ran = real.stretcher(&literal.manifest(&real), literal.flags());
            let outcome = apply(&ours, &literal.manifest(&ours), literal.flags());
            let error = outcome.result.as_ref().err().map(|error| shown(error));
            assert_eq!(
                ran.code() == Some(0),
                error.is_none(),
                "{what}: {ran}\napply: {error:?}"
            );
            let differs = difference(&files(&real), &files(&ours));
            assert!(
                differs.is_empty(),
                "{what}: stretcher / apply\n{}",
                differs.join("\n")
            );
            assert!(!ours.join("dest/.incoming").exists());
            ours.assert_clean();
        }
    }
}

#[test]
fn literals_with_variables_are_read() {
    let source =
        "func TestA(t *testing.T) {\n\tyml := `\na: ` + cwd + `/x\n`\n}\nfunc TestB(t) {\n\tyml := `b`\n}\n";
    let found = literals(source);
    assert_eq!(found.len(), 2);
    assert_eq!(
        (found[0].test.as_str(), found[1].test.as_str()),
        ("TestA", "TestB")
    );
    assert_eq!(found[0].parts.len(), 3);
    assert!(matches!(&found[0].parts[1], Part::Variable(name) if name == "cwd"));
}
