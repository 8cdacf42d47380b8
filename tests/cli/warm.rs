//! Warm builds that must not differ from one made from nothing, each for a way in which they did or might.

use std::path::Path;

use crate::project::Project;
use crate::small;
use crate::trees::{Entry, untar};

/// Builds warm twice, then from nothing with a cache of its own: the same artifact each time.
fn same_from_nothing(project: &Project) -> String {
    let path = |args: &[&str]| project.shipit(&[&["build"], args].concat()).run().ok().line();
    let first = path(&[]);
    assert_eq!(path(&[]), first, "warm");
    let cache = project.tmp.join("another-cache").display().to_string();
    assert_eq!(path(&["--clean", "--cache-dir", &cache]), first, "from nothing");
    first
}

#[test]
fn a_step_that_changes_another_layer_runs_each_time() {
    let build = "[[build.step]]\nname = \"a\"\nrun = \"mkdir g; echo A >g/in\"\ninputs = [\"app.txt\"]\noutputs = [\"g\"]\n\
        [[build.step]]\nname = \"b\"\nrun = \"mkdir o; echo more >>g/in; cat g/in >o/x\"\ninputs = [\"g/**\"]\noutputs = [\"o\"]\n\
        [[build.step]]\nname = \"c\"\nrun = \"cat g/in o/x >fin\"\n";
    let project = small::with(build, "");
    let first = same_from_nothing(&project);
    let entries = untar(Path::new(&first));
    let Some(Entry::File { content, .. }) = entries.get(Path::new("fin")) else {
        panic!("{:?}", entries.keys())
    };
    assert_eq!(content, b"A\nmore\nA\nmore\n");
    let _ = project
        .shipit(&["build"])
        .run()
        .ok()
        .says("a: cached (layer ")
        .says("b: the step changed g/in outside of what it vendors");
}

#[test]
fn a_step_that_writes_code_beside_its_layer_runs_each_time() {
    let build = "[[build.step]]\nname = \"a\"\nrun = \"mkdir g; cp app.txt g/in; cp app.txt generated\"\ninputs = [\"*.lock\"]\n\
        outputs = [\"g\"]\n";
    let project = small::with(build, "");
    let first = same_from_nothing(&project);
    assert!(untar(Path::new(&first)).contains_key(Path::new("generated")));
    project.repo.write("app.txt", "two\n");
    project.repo.commit("two");
    let entries = untar(Path::new(&same_from_nothing(&project)));
    assert!(
        matches!(entries.get(Path::new("generated")), Some(Entry::File { content, .. }) if content == b"two\n")
    );
}

#[test]
fn a_root_that_is_a_layer_or_lies_in_one_is_packed() {
    for (root, expected) in [
        ("o", ["REVISION", "s", "s/x"].as_slice()),
        ("o/s", &["REVISION", "x"]),
    ] {
        for further in ["", "[[build.step]]\nname = \"c\"\nrun = \"ls o/s >seen\"\n"] {
            let build = format!(
                "[build]\nroot = \"{root}\"\n[[build.step]]\nname = \"b\"\nrun = \"mkdir -p o/s; cp app.txt o/s/x\"\n\
                 inputs = [\"app.txt\"]\noutputs = [\"o\"]\n{further}"
            );
            let project = small::with(&build, "");
            let names: Vec<_> = untar(Path::new(&same_from_nothing(&project)))
                .into_keys()
                .collect();
            let expected: Vec<_> = expected.iter().map(std::path::PathBuf::from).collect();
            assert_eq!(names, expected, "{root} {further}");
        }
    }
}

/// The inode of a file in the kept workspace, of which there is one.
fn inode_in_workspace(project: &Project, name: &str) -> u64 {
    let work = project.tmp.join("cache/work");
    let app = std::fs::read_dir(work).unwrap().next().unwrap().unwrap();
    let file = app.path().join("tree").join(name);
    std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(file).unwrap())
}

#[test]
fn a_layer_behind_a_free_command_stays_in_the_workspace_and_the_command_does_not_see_it() {
    let build = "[[build.step]]\nname = \"free\"\nrun = \"ls >seen; date >/dev/null\"\n\
        [[build.step]]\nname = \"deps\"\nrun = \"mkdir -p web/o; cp app.lock web/o/x\"\ninputs = [\"app.lock\"]\noutputs = [\"web/o\"]\n\
        [[build.step]]\nname = \"last\"\nrun = \"cp web/o/x made\"\n";
    let project = small::with(build, "");
    project.repo.write("app.lock", "1\n");
    project.repo.commit("lock");
    let first = same_from_nothing(&project);
    assert_eq!(content(&first, "made"), "1\n");
    assert!(
        !content(&first, "seen").contains("web"),
        "{}",
        content(&first, "seen")
    );
    let before = inode_in_workspace(&project, "web/o/x");
    project.repo.write("app.txt", "two\n");
    project.repo.commit("code alone");
    let ran = project.shipit(&["build"]).run().ok().says("deps: cached (layer ");
    assert_eq!(content(&ran.line(), "made"), "1\n");
    assert_eq!(inode_in_workspace(&project, "web/o/x"), before, "{ran}");
    project.repo.write("app.lock", "2\n");
    project.repo.commit("another lock");
    assert_eq!(content(&same_from_nothing(&project), "made"), "2\n");
    let names = |at: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(at).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    let work = project.tmp.join("cache/work");
    let app = work.join(&names(&work)[0]);
    assert!(
        !names(&app).iter().any(|name| name.starts_with("parked-")),
        "{:?}",
        names(&app)
    );
}

#[test]
fn what_is_kept_is_not_packed_and_said() {
    let build = "[[build.step]]\nname = \"make\"\nrun = \"echo run >>target/runs; cp app.txt app\"\nkeep = [\"target\"]\n";
    let project = small::with(&build.replace("echo", "mkdir -p target; echo"), "");
    let ran = project
        .shipit(&["build"])
        .run()
        .ok()
        .says("target is kept for the next build, and is not packed");
    let names: Vec<_> = untar(Path::new(&ran.line())).into_keys().collect();
    assert_eq!(
        names,
        ["REVISION", "app", "app.txt", "shipit.toml"].map(std::path::PathBuf::from)
    );
    assert_eq!(same_from_nothing(&project), ran.line());

    project.repo.write("target/tracked", "mine\n");
    project.repo.commit("tracked");
    let _ = project
        .shipit(&["build"])
        .run()
        .exits(2)
        .says("git tracks files in target");
}

#[test]
fn a_layer_that_became_too_old_is_explained_as_that() {
    let build = "[cache]\nmax_age = \"1s\"\n[[build.step]]\nname = \"a\"\nrun = \"mkdir g; cp app.txt g/in\"\ninputs = [\"app.txt\"]\n\
        outputs = [\"g\"]\n";
    let project = small::with(build, "");
    let _ = project.build("main");
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let ran = project.shipit(&["build", "--explain"]).run().ok();
    let ran = ran.says("a: miss: its key is the same: it was made ");
    assert!(!ran.err().contains("warning"), "{ran}");
}

#[test]
fn later_steps_see_a_layer_as_it_is_packed() {
    let build = "[[build.step]]\nname = \"b\"\ninputs = [\"app.txt\"]\noutputs = [\"o/in\"]\nrun = '''\numask 077; mkdir -p o/in/d; \
        cp app.txt o/in/x; ln o/in/x o/in/y; cp app.txt o/in/s; chmod 4755 o/in/s; mkfifo o/in/f; cp app.txt o/in/d/r; \
        chmod 444 o/in/d/r; chmod 555 o/in/d\n'''\n\
        [[build.step]]\nname = \"look\"\nrun = '''\n(find o -type d -printf '%p %m\\n'; find o ! -type d -printf '%p %y %m %n\\n') \
        | sort >ls.txt\n'''\n";
    let project = small::with(build, "");
    let ran = project.shipit(&["build"]).run().ok();
    let ran = ran.says("b: o/in/f is a socket, fifo or device and is not packed");
    let entries = untar(Path::new(&ran.line()));
    let Some(Entry::File { content, .. }) = entries.get(Path::new("ls.txt")) else {
        panic!("{:?}", entries.keys())
    };
    let seen =
        "o 755\no/in 755\no/in/d 755\no/in/d/r f 644 1\no/in/s f 755 1\no/in/x f 644 1\no/in/y f 644 1\n";
    assert_eq!(String::from_utf8_lossy(content), seen);
    // Put there from the cache.
    std::fs::remove_dir_all(project.tmp.join("cache/work")).unwrap();
    assert_eq!(same_from_nothing(&project), ran.line());
}

#[test]
fn what_an_earlier_step_put_where_a_layer_goes_is_no_silent_part_of_it() {
    let build = "[[build.step]]\nname = \"first\"\nrun = \"mkdir -p dist; cp conf dist/conf\"\n\
        [[build.step]]\nname = \"pack\"\nrun = \"cp app.txt dist/out\"\ninputs = [\"app.txt\"]\noutputs = [\"dist\"]\n";
    let project = small::with(build, "");
    for conf in ["old", "new"] {
        project.repo.write("conf", conf);
        project.repo.commit(conf);
        let path = same_from_nothing(&project);
        let entries = untar(Path::new(&path));
        assert!(
            matches!(entries.get(Path::new("dist/conf")), Some(Entry::File { content, .. }) if content == conf.as_bytes()),
            "{conf}"
        );
    }
    let ran = project.shipit(&["build"]).run().ok();
    let _ = ran.says("pack: an earlier step made dist, which is this step's alone");
}

#[test]
fn a_layer_made_from_another_that_a_step_patched_follows_the_patch() {
    let build = "[[build.step]]\nname = \"deps\"\nrun = \"mkdir mods; echo dep >mods/a\"\ninputs = [\"app.txt\"]\n\
        outputs = [\"mods\"]\n[[build.step]]\nname = \"patch\"\nrun = \"cat patch >>mods/a\"\n\
        [[build.step]]\nname = \"bundle\"\nrun = \"mkdir dist; cp mods/a dist/a\"\ninputs = [\"mods/**\"]\noutputs = [\"dist\"]\n";
    let project = small::with(build, "");
    for patch in ["one\n", "two\n"] {
        project.repo.write("patch", patch);
        project.repo.commit(patch);
        let entries = untar(Path::new(&same_from_nothing(&project)));
        let Some(Entry::File { content, .. }) = entries.get(Path::new("dist/a")) else {
            panic!("{:?}", entries.keys())
        };
        assert_eq!(content, format!("dep\n{patch}").as_bytes());
    }
    let _ = project
        .shipit(&["build"])
        .run()
        .ok()
        .says("bundle: cached (layer ");
}

#[test]
fn two_builds_of_one_app_do_not_wait_for_each_other_for_ever() {
    let step = |name: &str, lock: &str| {
        format!(
            "[[build.step]]\nname = \"{name}\"\nrun = \"sleep 1; mkdir {name}; cp {lock} {name}/it\"\ninputs = [\"{lock}\"]\n\
             outputs = [\"{name}\"]\n"
        )
    };
    let project = small::with(&[step("one", "lock1"), step("two", "lock2")].concat(), "");
    let commit = |lock1: &str, lock2: &str| {
        project.repo.write("lock1", lock1).write("lock2", lock2);
        project.repo.commit(&format!("{lock1} {lock2}"))
    };
    let _ = commit("1", "1");
    let _ = project.build("main");
    let (only_two, both) = (commit("1", "2"), commit("2", "2"));
    let start = |rev: &str, log: &str| {
        let build = project.shipit(&["build", "--rev", rev]);
        build.start(log, project.tmp.join(log))
    };
    let mut first = start(&both, "both");
    std::thread::sleep(std::time::Duration::from_millis(500));
    let mut second = start(&only_two, "two");
    for process in [&mut first, &mut second] {
        let status = process
            .wait(std::time::Duration::from_secs(100))
            .expect("it ends");
        assert_eq!(status.code(), Some(0), "{}", process.log());
    }
}

#[test]
fn a_build_from_nothing_replaces_the_cached_layer() {
    let project = small::with("", "");
    let hidden = project.tmp.join("hidden");
    let step = format!(
        "[[build.step]]\nname = \"v\"\nrun = \"mkdir v; cat app.txt {} >v/x\"\ninputs = [\"app.txt\"]\noutputs = [\"v\"]\n",
        hidden.display()
    );
    project.config(&small::config(&project, &step, ""));
    let build = |args: &[&str]| project.shipit(&[&["build"], args].concat()).run().ok();
    std::fs::write(&hidden, "one").unwrap();
    let first = build(&[]).line();
    std::fs::write(&hidden, "two").unwrap();
    assert_eq!(build(&[]).line(), first);
    let clean = build(&["--clean"]).line();
    assert_ne!(clean, first);
    assert_eq!(build(&[]).says("v: cached (layer ").line(), clean);
}

/// The content of a file of the artifact.
fn content(artifact: &str, name: &str) -> String {
    match untar(Path::new(artifact)).get(Path::new(name)) {
        Some(Entry::File { content, .. }) => String::from_utf8_lossy(content).into_owned(),
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn a_directory_among_the_inputs_is_all_below_it_also_behind_a_link() {
    let build = "[[build.step]]\nname = \"a\"\nrun = \"mkdir o; cat data/deep/x link/deep/y >o/x\"\n\
                 inputs = [\"data\", \"link/**\"]\noutputs = [\"o\"]\n";
    let project = small::with(build, "");
    project.repo.write("data/deep/x", "one\n");
    project.repo.write("real/deep/y", "two\n");
    std::os::unix::fs::symlink("real", project.repo.join("link")).unwrap();
    project.repo.commit("data");
    assert_eq!(content(&same_from_nothing(&project), "o/x"), "one\ntwo\n");
    project.repo.write("data/deep/x", "ONE\n");
    project.repo.commit("a directory that is named");
    assert_eq!(content(&same_from_nothing(&project), "o/x"), "ONE\ntwo\n");
    project.repo.write("real/deep/y", "TWO\n");
    project.repo.commit("a directory behind a link");
    assert_eq!(content(&same_from_nothing(&project), "o/x"), "ONE\nTWO\n");
    let _ = project.shipit(&["build"]).run().ok().says("a: cached (layer ");
}

#[test]
fn inputs_that_match_nothing_keep_no_layer_nor_those_that_read_it() {
    let build = "[[build.step]]\nname = \"a\"\nrun = \"mkdir g; cp data/x g/in\"\ninputs = [\"dta/**\", \"*.lock\"]\n\
                 outputs = [\"g\"]\n\
                 [[build.step]]\nname = \"b\"\nrun = \"mkdir o; cp g/in o/x\"\ninputs = [\"g/**\"]\noutputs = [\"o\"]\n";
    let project = small::with(build, "");
    for text in ["one\n", "two\n"] {
        project.repo.write("data/x", text);
        project.repo.write("a.lock", "the same\n");
        project.repo.commit(text.trim());
        let artifact = same_from_nothing(&project);
        assert_eq!(
            [content(&artifact, "g/in"), content(&artifact, "o/x")],
            [text, text]
        );
        let ran = project.shipit(&["build"]).run().ok();
        let ran = ran.says("a: no file matches `dta/**` of its `inputs`, so no layer is looked for nor kept");
        // What reads it goes by its files.
        let ran = ran.says("b: cached (layer ");
        assert!(!ran.err().contains("a: cached"), "{ran}");
    }
}

#[test]
fn inputs_below_a_kept_directory_are_refused() {
    let build = "[[build.step]]\nname = \"a\"\nrun = \"mkdir -p target; cp app.txt target/x\"\nkeep = [\"target\"]\n\
                 [[build.step]]\nname = \"b\"\nrun = \"mkdir o; cp target/x o/x\"\ninputs = [\"target/**\"]\noutputs = [\"o\"]\n";
    let _ = small::with(build, "")
        .shipit(&["build"])
        .run()
        .exits(2)
        .says("`inputs` has the pattern `target/**`, which may match in target, that a `keep` names");
}

#[test]
fn a_shared_path_in_a_layer_that_is_linked_as_a_whole_is_refused_before_hosts_meet_it() {
    let build = "[[build.step]]\nname = \"deps\"\nrun = \"mkdir -p vendor/d1; cp app.txt vendor/x\"\ninputs = [\"app.txt\"]\n\
        outputs = [\"vendor\"]\n";
    let project = small::with(build, "link = \"symlink\"\nshared = [\"log\", \"vendor/d1\"]\n");
    let _ = project.build("main");
    let publish = || project.shipit(&["publish", "--stage", "staging"]).run();
    let ran = publish().exits(2);
    let _ = ran.says("role.web.shared names vendor/d1, which lies in vendor of the layer deps");
    assert!(!small::store(&project).exists());
    project.config(&small::config(
        &project,
        build,
        "link = \"symlink\"\nshared = [\"log\"]\n",
    ));
    let _ = publish().ok();
}
