//! Bad input: the documented exit code, a message that helps, nothing partial left, and the next run works.

use std::fs;
use std::time::{Duration, Instant};

use shipit_testbed::procs;

use crate::project::Project;
use crate::small::{self, STEP, artifacts, store};

#[test]
fn a_typo_in_the_config_is_underlined_with_the_right_name() {
    let project = small::with_step(STEP);
    let text = small::config(&project, "[build]\nexcludes = [\"spec\"]\n", "");
    project.config(&text);
    let ran = project.shipit(&["build"]).run().exits(2);
    let ran = ran.says("excludes").says("shipit.toml:3").says("exclude");
    assert!(ran.err().contains("^^^^^^^^"), "{ran}");
}

#[test]
fn an_inline_secret_is_refused_and_not_repeated() {
    let project = small::with_step(STEP);
    let text = small::config(&project, "[source]\ntoken = \"gh-geheim-1234\"\n", "");
    project.config(&text);
    let ran = project.shipit(&["build"]).run().exits(2);
    assert!(!ran.err().contains("geheim"), "{ran}");
    let _ = ran.says("env");
}

#[test]
fn unknown_roles_and_stages_come_with_the_nearest() {
    let project = small::with_step(STEP);
    let _ = project.build("main");
    let _ = project
        .shipit(&["publish", "--stage", "stagin"])
        .run()
        .exits(2)
        .says("`staging`");
    let _ = project.shipit(&["publish"]).run().exits(2).says("--stage");
    let _ = project
        .shipit(&["kick", "wbe", "--stage", "staging"])
        .run()
        .exits(2)
        .says("`web`");
    let _ = project
        .shipit(&["render", "wbe", "--stage", "staging"])
        .run()
        .exits(2)
        .says("`web`");
}

#[test]
fn revisions_that_are_not_there() {
    let project = small::with_step(STEP);
    let _ = project
        .shipit(&["build", "--rev", "mian"])
        .run()
        .exits(3)
        .says("main");
    let _ = project
        .shipit(&["build", "--rev", &"1".repeat(40)])
        .run()
        .exits(3)
        .says("hint");
    assert_eq!(artifacts(&project), [""; 0]);
}

#[test]
fn a_repository_that_does_not_answer() {
    let project = Project::new();
    let port = shipit_testbed::ports::Address::claim();
    let repo = format!("repo = \"http://{}/shop.git\"\n", port.socket());
    project.config(&small::config(&project, &repo, ""));
    let _ = project
        .shipit(&["build", "--rev", "main"])
        .run()
        .exits(3)
        .says("no repository answered");
}

#[test]
fn a_step_that_fails_shows_its_last_lines_and_its_log() {
    let project = small::with_step("echo before; echo 'the reason' >&2; exit 3");
    let ran = project.shipit(&["build"]).run().exits(4);
    let ran = ran.says("the reason").says("exit code 3").says("make.log");
    assert_eq!(ran.out(), "");
    assert_eq!(artifacts(&project), [""; 0]);
}

#[test]
fn a_step_that_hangs_is_ended_with_all_that_it_started() {
    // A time that nobody else sleeps for.
    let mark = shipit_testbed::random_hex(4);
    let mark = format!("9{}", u32::from_str_radix(&mark, 16).unwrap());
    let build = format!(
        "[[build.step]]\nname = \"make\"\nrun = \"setsid sleep {mark}1 & sleep {mark}2\"\ntimeout = \"1s\"\n"
    );
    let project = small::with(&build, "");
    let ran = project.shipit(&["build"]).run().exits(4).says("timeout");
    assert!(ran.took < Duration::from_secs(100), "{ran}");
    assert_eq!(ran.left_behind.len(), 0, "{ran}");
    let sleeps = format!("sleep {mark}");
    assert!(
        !procs::all()
            .iter()
            .any(|process| process.command.contains(&sleeps)),
        "{:?}",
        procs::all()
    );
}

#[test]
fn a_step_that_prints_megabytes_does_not_fill_memory_or_the_error() {
    let project =
        small::with_step("yes 'a line of output that is not short at all' | head -c 20000000; exit 1");
    let started = Instant::now();
    let ran = project.shipit(&["build", "--quiet"]).run().exits(4);
    assert!(ran.stderr.len() < 100_000, "{} bytes of error", ran.stderr.len());
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_step_that_is_killed_says_by_what() {
    let project = small::with_step("kill -9 $$");
    let _ = project.shipit(&["build"]).run().exits(4).says("SIGKILL");
}

#[test]
fn a_daemon_that_a_step_leaves_is_ended_and_named() {
    let project = small::with_step("mkdir made; setsid -f sleep 985; echo done");
    let ran = project.shipit(&["build"]).run().ok();
    let _ = ran.says("sleep 985");
    assert!(
        !procs::all()
            .iter()
            .any(|process| process.command.contains("sleep 985"))
    );
}

#[test]
fn tools_and_lockfiles_that_are_missing_are_named_before_anything_runs() {
    let project = small::with(
        "[[build.step]]\nrun = \"touch /nowhere/ran\"\n[[build.step]]\nuse = \"carton\"\n",
        "",
    );
    let ran = project
        .shipit(&["build"])
        .env("PATH", "/usr/bin/none:/bin")
        .run()
        .exits(4);
    let ran = ran.says("carton").says("cpanfile.snapshot");
    assert!(!ran.err().contains("/nowhere"), "{ran}");
}

#[test]
fn a_build_test_that_fails_leaves_no_artifact() {
    let step = "[[build.step]]\nrun = \"echo made >made\"\n[[build.test]]\nname = \"unit\"\nrun = \"cat made; grep wanted made\"\n";
    let project = small::with(step, "");
    let _ = project
        .shipit(&["build"])
        .run()
        .exits(4)
        .says("unit")
        .says("not kept");
    assert_eq!(artifacts(&project), [""; 0]);
    let _ = project
        .shipit(&["publish", "--stage", "staging"])
        .run()
        .exits(2)
        .says("shipit build");
    project.config(&small::config(&project, &step.replace("wanted", "made"), ""));
    let _ = project.shipit(&["build"]).run().ok();
}

#[test]
fn a_build_root_that_is_not_there_is_the_configs_fault() {
    let project = small::with("[build]\nroot = \"public\"\n", "");
    let _ = project.shipit(&["build"]).run().exits(2).says("build.root");
    project.config(&small::config(
        &project,
        "[build]\nroot = \"public\"\n[[build.step]]\nrun = \"mkdir public && echo x >public/x\"\n",
        "",
    ));
    let _ = project.build("main");
}

#[test]
fn dests_that_overlap_are_warned_of() {
    let project = small::with("", "");
    let dest = small::dest(&project);
    let roles = format!(
        "[role.batch]\ntransport = \"consul\"\ndest = \"{}/releases\"\n",
        dest.display()
    );
    let text = fs::read_to_string(project.repo.join("shipit.toml")).unwrap();
    project.config(&format!("{text}{roles}"));
    let _ = project
        .shipit(&["config", "--stage", "staging"])
        .run()
        .ok()
        .says("overlap");
}

#[test]
fn kick_published_is_the_release_that_was_published_here() {
    let project = small::with_step(STEP);
    let kick = || {
        project
            .shipit(&["kick", "web", "--stage", "staging", "--release", "published"])
            .run()
    };
    let _ = project.build("main");
    fs::create_dir(store(&project)).unwrap();
    let _ = kick().exits(2).says("shipit publish");
    let first = crate::project::release_of(&project.publish("staging", "web"));
    let here = fs::read(project.repo.join(".shipit/publish.json")).unwrap();
    let second = crate::project::release_of(&project.publish("staging", "web"));
    assert_ne!(first, second);
    // As if the second publish had been another job's.
    fs::write(project.repo.join(".shipit/publish.json"), here).unwrap();
    let _ = kick().ok();
    let current = fs::read_link(small::dest(&project).join("current")).unwrap();
    assert_eq!(current, std::path::Path::new("releases").join(first));
}

#[test]
fn a_repository_that_a_step_clones_is_not_packed_with_its_git_directory() {
    let project = small::with_step("mkdir -p made/.git && touch made/.git/config made/kept");
    let artifact = project.build("main");
    let names: Vec<_> = crate::trees::untar(&artifact).into_keys().collect();
    assert!(
        names.contains(&"made/kept".into()) && !names.contains(&"made/.git".into()),
        "{names:?}"
    );
}

#[test]
fn empty_parameters_of_a_jenkins_job_count_as_not_given() {
    let project = small::with_step("echo the reason; exit 1");
    let build = project
        .shipit(&["build", "--quiet"])
        .env("SHIPIT_STAGE", "")
        .env("SHIPIT_CONFIG", "");
    let _ = build
        .env("SHIPIT_CACHE_DIR", "")
        .run()
        .exits(4)
        .says("the reason");
    let _ = project
        .shipit(&["kick", "web", "--stage", "staging", "--only", ""])
        .run()
        .exits(2)
        .says("--only");
    let _ = project
        .shipit(&["kick", "web", "--stage", ""])
        .run()
        .exits(2)
        .says("--stage");
    let _ = project
        .shipit(&["kick", "web", "web", "--stage", "staging"])
        .run()
        .exits(2)
        .says("twice");
}

#[test]
fn a_template_with_an_undefined_variable_is_refused_before_anything_is_uploaded() {
    let project = small::with("", "template = \"web.yml.j2\"\n");
    project.repo.write(
        "web.yml.j2",
        "src: {{ src | yaml }}\nchecksum: {{ chekcsum | yaml }}\n",
    );
    let _ = project.build("main");
    for command in ["render web", "publish"] {
        let args: Vec<&str> = command.split(' ').chain(["--stage", "staging"]).collect();
        let _ = project
            .shipit(&args)
            .run()
            .exits(2)
            .says("web.yml.j2")
            .says("chekcsum");
    }
    for area in ["artifacts", "releases"] {
        assert!(!store(&project).join(area).exists(), "{area}");
    }
}

#[test]
fn a_command_with_braces_quotes_and_newlines_arrives_as_it_is() {
    let odd = "printf '%s\\n' '{{ env \"HOME\" }}' \"it's\" '\\' \"\ttab é\" > odd\necho second >>odd";
    let project = small::with("", &format!("before_switch = [{}]\n", small::quoted(odd)));
    let _ = project.build("main");
    let _ = project.publish("staging", "web");
    let _ = project.shipit(&["kick", "web", "--stage", "staging"]).run().ok();
    let written = fs::read_to_string(small::dest(&project).join("current/odd")).unwrap();
    assert_eq!(written, "{{ env \"HOME\" }}\nit's\n\\\n\ttab é\nsecond\n");
}

#[test]
fn a_release_that_was_never_published() {
    let project = small::with_step(STEP);
    let _ = project.build("main");
    fs::create_dir(store(&project)).unwrap();
    let kick = |release: &str| {
        project
            .shipit(&["kick", "web", "--stage", "staging", "--release", release])
            .run()
    };
    let _ = kick("latest").exits(5).says("publish");
    let _ = kick("20260101T000000Z-0123456")
        .exits(5)
        .says("20260101T000000Z-0123456");
    let _ = kick("nonsense").exits(2).says("nonsense");
}

#[test]
fn a_host_that_fails_fails_the_kick_and_the_roles_after_it_wait() {
    let project = small::with("", "after_switch = [\"echo no; exit 5\"]\n");
    let _ = project.build("main");
    let _ = project.publish("staging", "web");
    let ran = project
        .shipit(&["kick", "web", "--stage", "staging"])
        .run()
        .exits(7);
    let ran = ran.says("here").says("exit code 9");
    assert_eq!(ran.line(), "web\there\tfailed");
}

#[test]
fn consul_that_is_down_or_a_payload_that_is_too_long() {
    let project = Project::new();
    let port = shipit_testbed::ports::Address::claim();
    let text = small::config(
        &project,
        &format!("[consul]\naddress = \"http://{}\"\n", port.socket()),
        "",
    );
    project.config(&text.replace("transport = \"exec\"", "transport = \"consul\""));
    project.repo.write("app.txt", "one\n").commit("one");
    let _ = project.build("main");
    let _ = project.publish("staging", "web");
    let _ = project
        .shipit(&["kick", "web", "--stage", "staging", "--no-wait"])
        .run()
        .exits(6)
        .says("cannot be reached");

    let long = format!("file://{}/{}", store(&project).display(), "long/".repeat(60));
    let text = text.replace(
        &format!("file://{}", store(&project).display()),
        long.trim_end_matches('/'),
    );
    project.config(&text.replace("transport = \"exec\"", "transport = \"consul\""));
    let _ = project.publish("staging", "web");
    let _ = project
        .shipit(&["kick", "web", "--stage", "staging", "--no-wait"])
        .run()
        .exits(6)
        .says("300");
}
