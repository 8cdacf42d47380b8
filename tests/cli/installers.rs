//! A history with the real package managers: what is cached, and that it has the bytes of a build from nothing.

use std::fs;
use std::path::PathBuf;

use shipit_testbed::fixtures::{gems::GemSource, npm, registry_env};

use crate::project::Project;
use crate::small;
use crate::trees::{differences, untar};

/// Five commits with the real package managers; which layers have to be cached at each.
#[test]
#[ignore = "needs the testbed; run make test"]
fn real_installers_give_the_bytes_of_a_clean_build() {
    let gems = GemSource::build();
    let project = Project::new();
    let registry: Vec<String> = registry_env()
        .iter()
        .map(|(name, value)| format!("{name} = {value:?}"))
        .collect();
    let build = format!(
        "[[build.step]]\nuse = \"bundle\"\n[[build.step]]\nuse = \"npm\"\nproduction = true\nenv = {{ {} }}\n\
         [[build.step]]\nname = \"made\"\nrun = \"ls node_modules >made; bundle exec ruby -e 'require %q(testbed_native); puts TestbedNative.answer' >>made\"\n",
        registry.join(", ")
    );
    project.config(&small::config(&project, &build, ""));
    let repo = &project.repo;
    gems.write_app(repo.path());
    npm::write_app(repo.path());
    repo.write(".gitignore", "/.shipit/\n/shipit.toml\n")
        .write("code", "one\n");
    let edit = |path: &str, from: &str, to: &str| {
        let text = fs::read_to_string(repo.join(path)).unwrap();
        assert!(text.contains(from), "{path} has no {from:?}\n{text}");
        repo.write(path, text.replace(from, to));
    };
    let commits = [
        (repo.commit("first"), [false, false]),
        (repo.write("code", "two\n").commit("code alone"), [true, true]),
        {
            edit("package.json", "\"version\": \"1.0.0\"", "\"version\": \"1.0.1\"");
            edit(
                "package-lock.json",
                "\"version\": \"1.0.0\"",
                "\"version\": \"1.0.1\"",
            );
            (repo.commit("npm's own version"), [true, true])
        },
        {
            gems.add_hello("1.1.0");
            gems.write_app(repo.path());
            (repo.commit("another gem"), [false, true])
        },
        {
            npm::write_app(repo.path());
            (repo.commit("npm's version back"), [true, true])
        },
    ];
    for (number, (id, cached)) in commits.iter().enumerate() {
        let warm = project.shipit(&["build", "--rev", id]).run().ok();
        for ((step, packages), cached) in [("bundle", 2), ("npm", 2)].iter().zip(cached) {
            let lines = warm.err();
            let line = lines
                .lines()
                .find(|line| line.starts_with(&format!("{step}: cached (layer ")));
            assert_eq!(line.is_some(), *cached, "{step} at commit {number}\n{warm}");
            let counted = line.is_none_or(|line| line.ends_with(&format!(", {packages} packages)")));
            assert!(counted, "{step} at commit {number}\n{warm}");
        }
        // At the same place: native extensions record where they were built.
        let clean = project.shipit(&["build", "--clean", "--rev", id]).run().ok();
        let (warm, clean) = (PathBuf::from(warm.line()), PathBuf::from(clean.line()));
        let differ = || differences(&untar(&warm), &untar(&clean));
        assert!(warm == clean, "commit {number}: {:?}", differ());
    }
}
