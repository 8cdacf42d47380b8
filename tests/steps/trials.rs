//! Commands, the preflight of real tools, and build tests.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use shipit_artifact::DirTree;
use shipit_steps::{EnvVar, Error, ErrorKind, Event, GoOutput, TestSpec, Tool, preflight, run_test};
use shipit_testbed::Tmp;

use crate::bench::{Bench, names, path, step, try_run, vendor};

fn command(text: &str) -> shipit_steps::StepSpec {
    step(Tool::Run {
        command: text.to_owned(),
    })
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn the_versions_of_the_real_tools_are_told() {
    let bench = Bench::new();
    for name in [
        "Gemfile",
        "Gemfile.lock",
        "cpanfile",
        "cpanfile.snapshot",
        "package.json",
        "package-lock.json",
        "go.mod",
    ] {
        bench.write(name, if name.ends_with("json") { "{}" } else { "" });
    }
    bench.write("go.mod", "module x\n");
    let packages = vec![GoOutput {
        package: ".".to_owned(),
        output: path("x"),
    }];
    let steps = [
        step(Tool::Bundle { without: Vec::new() }),
        step(Tool::Carton),
        step(Tool::Npm { production: true }),
        step(Tool::Go { packages }),
    ];
    let tree = DirTree::new(bench.root()).unwrap();
    let tools = preflight(&steps, &tree, &[], &bench.workspace, &AtomicBool::new(false)).unwrap();
    let tools = tools.all();
    let found: Vec<_> = tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(found, ["bundle", "carton", "go", "node", "npm", "perl", "ruby"]);
    for tool in &tools {
        let major: u32 = tool.version.split('.').next().unwrap().parse().unwrap();
        assert!(major < 100 && tool.version.split('.').count() >= 2, "{tool:?}");
        let interpreter = ["node", "perl", "ruby"].contains(&tool.name.as_str());
        assert_eq!(tool.abi.is_some(), interpreter, "{tool:?}");
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_command_with_inputs_and_outputs_is_a_layer() {
    let bench = Bench::new();
    bench.write("lock", "1");
    let mut fetch = command("mkdir -p deps && cp lock deps/");
    (fetch.inputs, fetch.outputs) = (vec!["lock".to_owned()], vec!["deps".to_owned()]);
    let (vendored, _) = vendor(&fetch, &bench.workspace);
    assert_eq!(
        (names(&vendored.paths), vendored.root.as_path()),
        (vec!["deps".to_owned()], bench.root())
    );
    fetch.outputs = vec!["elsewhere".to_owned()];
    let error = try_run(&fetch, &bench.workspace).0.unwrap_err();
    assert_eq!(
        error.to_string(),
        "step `run` ended well, but did not make elsewhere"
    );
    let code = try_run(&command("true"), &bench.workspace).0.unwrap();
    assert!(code.vendored.is_none());

    // Inputs that cannot be are refused; of such as nothing is of, the keys tell.
    fetch.outputs = vec!["deps".to_owned()];
    fetch.inputs = vec!["../lock".to_owned()];
    let error = try_run(&fetch, &bench.workspace).0.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("`../lock`"), "{error}");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_failed_command_and_a_directory_that_is_not_there() {
    let bench = Bench::new();
    let error = try_run(&command("echo one; false; exit 3"), &bench.workspace)
        .0
        .unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.tail()),
        ("step `run` failed with exit code 3", &["one".to_owned()][..])
    );
    let mut lost = command("true");
    lost.dir = Some(path("gone"));
    assert!(matches!(
        try_run(&lost, &bench.workspace).0,
        Err(Error::MissingDir { .. })
    ));
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_build_test_runs_in_the_unpacked_tree_and_its_reports_are_kept() {
    let bench = Bench::new();
    let unpacked = Tmp::new("unpacked");
    unpacked.write("t/reports/shipped.xml", "<old/>");
    let mut test = TestSpec {
        name: "prove".to_owned(),
        run: "mkdir -p reports/deep; echo \"<t>$TOKEN</t>\" > reports/one.xml; \
              echo x > reports/deep/two.xml; echo x > reports/three.txt; pwd"
            .to_owned(),
        junit: vec!["./reports/**/*.xml".to_owned()],
        dir: Some(path("t")),
        env: vec![EnvVar {
            name: "TOKEN".into(),
            value: "hunter2".into(),
            secret: true,
        }],
        timeout: None,
        idle_timeout: None,
    };
    let never = AtomicBool::new(false);
    let outcome = run_test(&test, unpacked.path(), &bench.workspace, &never, &|_| {}).unwrap();
    let logs = &bench.workspace.logs;
    let kept = ["deep/two.xml", "one.xml"].map(|name| logs.join("prove-junit/reports").join(name));
    assert_eq!(outcome.junit, kept);
    assert_eq!(fs::read_to_string(&kept[1]).unwrap(), "<t>***</t>\n");
    assert!(
        fs::read_to_string(&outcome.log)
            .unwrap()
            .ends_with(&format!("{}\n", unpacked.join("t").display()))
    );

    // A test that fails has its reports too, and only those of its own run.
    test.run = "echo '<failed/>' > reports/one.xml; exit 1".to_owned();
    let events = Mutex::new(Vec::new());
    let on_event = |event| events.lock().unwrap().push(event);
    let error = run_test(&test, unpacked.path(), &bench.workspace, &never, &on_event).unwrap_err();
    assert!(matches!(error, Error::Failed { .. }), "{error}");
    let events = events.into_inner().unwrap();
    let reports = |event: &Event| matches!(event, Event::Reports { files, .. } if *files == kept[1..]);
    assert!(events.iter().any(reports), "{events:?}");
    assert_eq!(fs::read_to_string(&kept[1]).unwrap(), "<failed/>\n");

    // Reports that cannot be kept do not hide that it failed.
    fs::remove_dir_all(logs.join("prove-junit")).unwrap();
    fs::write(logs.join("prove-junit"), "in the way").unwrap();
    let error = run_test(&test, unpacked.path(), &bench.workspace, &never, &|_| {}).unwrap_err();
    assert!(matches!(error, Error::Failed { .. }), "{error}");

    // A pattern that can match nothing is no pattern.
    test.junit = vec!["../*.xml".to_owned()];
    let error = run_test(&test, unpacked.path(), &bench.workspace, &never, &|_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}
