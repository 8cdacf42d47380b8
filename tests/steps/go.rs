//! go.

use std::fs;

use shipit_steps::{GoOutput, StepSpec, Tool, Workspace};
use shipit_testbed::Cmd;
use shipit_testbed::fixtures::{go, registry_env};

use crate::bench::{Bench, listed, path, step, try_run};

fn build() -> StepSpec {
    let packages = vec![
        GoOutput {
            package: ".".to_owned(),
            output: path("bin/app"),
        },
        GoOutput {
            package: "./cmd/other".to_owned(),
            output: path("bin/tools/other"),
        },
    ];
    let mut go = step(Tool::Go { packages });
    go.env = listed(registry_env());
    go.env
        .extend(listed(vec![("CGO_ENABLED".to_owned(), "0".to_owned())]));
    go
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn go_builds_the_same_twice_and_keeps_its_caches() {
    let bench = Bench::new();
    // The standard library is compiled once. The app is too only if nothing that go looks at names its directory.
    let other = Workspace {
        cache: bench.workspace.cache.clone(),
        ..bench.elsewhere()
    };
    for root in [bench.root(), &other.root] {
        go::write_app(root);
        crate::bench::write(
            root,
            "cmd/other/main.go",
            "package main\n\nfunc main() { println(\"other\") }\n",
        );
    }
    // What lies above the workspace is not the app's.
    fs::write(
        bench.root().parent().unwrap().join("go.work"),
        "go 1.21\n\nuse ./elsewhere\n",
    )
    .unwrap();
    let run = |spec: &StepSpec, workspace| {
        let (result, _) = try_run(spec, workspace);
        result.unwrap_or_else(|error| panic!("{error}\n{}", error.tail().join("\n")))
    };
    assert!(run(&build(), &bench.workspace).vendored.is_none());
    run(&build(), &other);
    let program = |root: &std::path::Path| fs::read(root.join("bin/app")).unwrap();
    let first = program(bench.root());
    assert!(first == program(&other.root), "the programs differ");
    let place = bench.root().as_os_str().as_encoded_bytes();
    assert!(!first.windows(place.len()).any(|bytes| bytes == place));
    assert_eq!(
        Cmd::new(bench.root().join("bin/app")).run().ok().out(),
        go::OUTPUT
    );
    assert!(bench.root().join("bin/tools/other").is_file());

    // Nothing is downloaded a second time.
    fs::remove_dir_all(bench.root().join("bin")).unwrap();
    let mut offline = build();
    offline
        .env
        .extend(listed(vec![("GOPROXY".to_owned(), "off".to_owned())]));
    run(&offline, &bench.workspace);
    assert!(program(bench.root()) == first);
}
