//! What `build --explain` says of each step: whether its layer was found, and which part of its key changed.

use crate::project::Project;
use crate::small;

/// What is said of steps, digests and sizes left out.
fn explained(project: &Project, more: &[&str]) -> String {
    let args: Vec<&str> = ["build", "--explain"].iter().chain(more).copied().collect();
    let ran = project.shipit(&args).run().ok();
    let lines = ran.err();
    let lines = lines.lines().filter(|line| {
        let said = line.split_once(": ").map(|(_, rest)| rest);
        let about = line.starts_with("deps: ") || line.starts_with("count: ");
        about && said.is_some_and(|rest| !rest.starts_with('/') && !rest.starts_with("done"))
    });
    lines.map(masked).collect::<Vec<_>>().join("\n")
}

/// Digests are others on other machines, for the platform is part of a key.
fn masked(line: &str) -> String {
    let is_digest = |word: &str| word.len() >= 7 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words = line.split_inclusive(|letter: char| !letter.is_ascii_alphanumeric());
    words
        .map(|word| {
            let plain = word.trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric());
            let rest = &word[plain.len()..];
            if is_digest(plain) {
                format!("[digest]{rest}")
            } else {
                word.to_owned()
            }
        })
        .collect()
}

#[test]
fn each_layer_is_a_hit_or_a_miss_with_its_reason() {
    let step = |mode: &str| {
        format!(
            "[[build.step]]\nname = \"deps\"\nrun = \"mkdir vendor && cp lock vendor/\"\ninputs = [\"{{lock,*.more}}\"]\noutputs = [\"vendor\"]\n\
             env = {{ MODE = \"{mode}\" }}\n[[build.step]]\nname = \"count\"\nrun = \"ls | wc -l >count\"\n"
        )
    };
    let project = Project::new();
    let config = |mode: &str| project.config(&small::config(&project, &step(mode), ""));
    let _ = config("one");
    project
        .repo
        .write(".gitignore", "/.shipit/\n/shipit.toml\n")
        .write("lock", "1\n")
        .commit("one");
    insta::assert_snapshot!(explained(&project, &[]), @r"
    deps: miss: no layer of this step is in the cache
    count: runs each time, its result is code: with `inputs` and `outputs` it would be a layer
    ");
    insta::assert_snapshot!(explained(&project, &[]), @r"
    deps: cached (layer [digest], 106 B)
    count: runs each time, its result is code: with `inputs` and `outputs` it would be a layer
    ");
    project
        .repo
        .write("lock", "2\n")
        .write("a.more", "x")
        .commit("two");
    insta::assert_snapshot!(explained(&project, &[]), @r"
    deps: miss: changed since layer [digest]: file a.more (of its inputs) (new), file lock (of its inputs) ([digest] -> [digest])
    count: runs each time, its result is code: with `inputs` and `outputs` it would be a layer
    ");
    let _ = config("two");
    insta::assert_snapshot!(explained(&project, &[]), @r"
    deps: miss: changed since layer [digest]: env MODE (one -> two)
    count: runs each time, its result is code: with `inputs` and `outputs` it would be a layer
    ");
    insta::assert_snapshot!(explained(&project, &["--clean"]), @r"
    deps: not looked for: --clean
    count: runs each time, its result is code: with `inputs` and `outputs` it would be a layer
    ");
    let _ = project.shipit(&["cache", "prune", "--max-size", "0"]).run().ok();
    insta::assert_snapshot!(explained(&project, &[]), @r"
    deps: miss: no layer of this step is in the cache
    count: runs each time, its result is code: with `inputs` and `outputs` it would be a layer
    ");
}
