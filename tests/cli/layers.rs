//! Who owns a path, what a sealed layer holds, and that the same revision gives the same bytes wherever it is built.

use std::fs;
use std::path::Path;

use shipit_testbed::Cmd;

use crate::project::{Project, binary};
use crate::small;
use crate::trees::{Entry, untar};

fn step(name: &str, run: &str, outputs: &str) -> String {
    let outputs = if outputs.is_empty() {
        String::new()
    } else {
        format!("inputs = [\"app.txt\"]\noutputs = [\"{outputs}\"]\n")
    };
    format!(
        "[[build.step]]\nname = \"{name}\"\nrun = {}\n{outputs}",
        small::quoted(run)
    )
}

#[test]
fn two_layers_that_claim_one_path_are_refused_by_name() {
    let steps = [
        step("first", "mkdir -p lib && touch lib/a", "lib"),
        step("second", "touch lib/b", "lib"),
    ];
    let project = small::with(&steps.concat(), "");
    let ran = project.shipit(&["build"]).run();
    let ran = ran.says("first").says("second").says("lib");
    assert!(matches!(ran.code(), Some(2 | 4)), "{ran}");
    assert_eq!(small::artifacts(&project), [""; 0]);
}

#[test]
fn a_tracked_file_under_a_vendored_path_is_refused_by_name() {
    let project = small::with(&step("vendor", "mkdir -p lib && touch lib/a", "lib"), "");
    project.repo.write("lib/tracked.txt", "mine\n");
    project.repo.commit("tracked");
    let _ = project
        .shipit(&["build"])
        .run()
        .exits(4)
        .says("lib/tracked.txt")
        .says("layer = false");
    let text = fs::read_to_string(project.repo.join("shipit.toml")).unwrap();
    project.config(&text.replace("outputs = [\"lib\"]", "outputs = [\"lib\"]\nlayer = false"));
    let names = untar(&project.build("main"));
    assert!(names.contains_key(Path::new("lib/tracked.txt")) && names.contains_key(Path::new("lib/a")));
}

#[test]
fn what_a_later_step_writes_into_a_sealed_layer_is_said_and_not_packed() {
    let steps = [
        step("vendor", "mkdir -p lib && echo sealed >lib/a", "lib"),
        step("later", "echo changed >lib/a; touch lib/new; echo code >made", ""),
    ];
    let project = small::with(&steps.concat(), "");
    let ran = project.shipit(&["build"]).run().ok().says("lib/a").says("sealed");
    let names = untar(Path::new(&ran.line()));
    let Some(Entry::File { content, .. }) = names.get(Path::new("lib/a")) else {
        panic!("{ran}")
    };
    assert_eq!(content, b"sealed\n");
    assert!(!names.contains_key(Path::new("lib/new")) && names.contains_key(Path::new("made")));
}

#[test]
fn the_same_revision_gives_the_same_bytes_elsewhere() {
    let steps = [
        step(
            "vendor",
            "mkdir -p 'lib/é' && echo x >lib/é/a && ln lib/é/a lib/hard && ln -s é lib/link && chmod 751 lib/hard && touch -d 2001-01-01 lib/é/a && mkdir lib/empty",
            "lib",
        ),
        step(
            "code",
            "date >/dev/null; mkdir empty; : >none; echo made >made",
            "",
        ),
    ];
    let build = |surroundings: &str, jobs: &str| {
        let project = Project::new();
        project.config(&small::config(&project, &steps.concat(), ""));
        // The config names this project's own directories: what is built must not hold it.
        project.repo.write(".git/info/exclude", "shipit.toml\n");
        project
            .repo
            .write("app.txt", "one\n")
            .script("run", "#!/bin/sh\n")
            .link("l", "app.txt");
        project.repo.commit("one");
        let script = format!("{surroundings}; exec \"$@\"");
        let shipit = project.shipit(&[]).argv().remove(0);
        assert_eq!(shipit, binary());
        let ran = project.surround(
            Cmd::new("sh")
                .args(["-c", &script, "sh"])
                .arg(shipit)
                .args(["build", "--jobs", jobs]),
        );
        let path = ran.run().ok().line();
        path.rsplit('/').next().unwrap().to_owned()
    };
    let first = build("umask 022; export LANG=C TZ=UTC", "1");
    assert_eq!(
        first,
        build("umask 077; export LANG=de_DE.UTF-8 TZ=Asia/Tokyo", "4")
    );
    assert_eq!(first, build("umask 002; export LC_ALL=C.UTF-8; sleep 1.1", "2"));
}

#[test]
fn build_root_is_the_top_with_its_revision_and_what_lies_outside_is_said() {
    let build = "[build]\nroot = \"public\"\n[[build.step]]\nname = \"make\"\nrun = \"mkdir public made && touch public/x made/y\"\n\
        inputs = [\"app.txt\"]\noutputs = [\"made\"]\n";
    let project = small::with(build, "");
    let ran = project
        .shipit(&["build"])
        .run()
        .ok()
        .says("made lies outside of build.root");
    let names: Vec<_> = untar(Path::new(&ran.line())).into_keys().collect();
    assert_eq!(names, ["REVISION", "x"].map(std::path::PathBuf::from));
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn development_dependencies_are_no_code_when_nothing_is_needed_in_production() {
    let project = small::with(
        "[[build.step]]\nuse = \"npm\"\nproduction = true\n[[build.step]]\nrun = \"test -d node_modules\"\n",
        "",
    );
    project.repo.write(
        "package.json",
        "{ \"name\": \"shop\", \"private\": true, \"devDependencies\": { \"tool\": \"file:tool\" } }\n",
    );
    project.repo.write(
        "tool/package.json",
        "{ \"name\": \"tool\", \"version\": \"1.0.0\" }\n",
    );
    project.repo.write("package-lock.json", "{ \"name\": \"shop\", \"lockfileVersion\": 3, \"requires\": true, \"packages\": {\n\
        \"\": { \"name\": \"shop\", \"devDependencies\": { \"tool\": \"file:tool\" } },\n\
        \"node_modules/tool\": { \"resolved\": \"tool\", \"link\": true }, \"tool\": { \"version\": \"1.0.0\", \"dev\": true } } }\n");
    project.repo.commit("npm");
    let artifact = project.build("main");
    let names: Vec<_> = untar(&artifact).into_keys().collect();
    assert!(
        !names.iter().any(|name| name.starts_with("node_modules/tool")),
        "{names:?}"
    );
}
