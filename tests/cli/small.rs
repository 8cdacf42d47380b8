//! A small project that needs no server: one step, a directory as the store, one role.

use std::path::PathBuf;

use crate::project::Project;

/// What the step does when a test does not say otherwise.
pub const STEP: &str = "mkdir -p made && echo made >made/it";

/// A project whose one step is this command.
pub fn with_step(command: &str) -> Project {
    with(
        &format!(
            "[[build.step]]\nname = \"make\"\nrun = {}\ntimeout = \"20s\"\n",
            quoted(command)
        ),
        "",
    )
}

/// A project with these lines for its build, and these further ones for its role.
pub fn with(build: &str, role: &str) -> Project {
    let project = Project::new();
    project.config(&config(&project, build, role));
    project.repo.write("app.txt", "one\n");
    project.repo.commit("one");
    project
}

/// The config's text.
pub fn config(project: &Project, build: &str, role: &str) -> String {
    format!(
        "app = \"shop\"\n{build}\n[store]\nurl = \"file://{store}\"\n[kick]\ntransport = \"exec\"\n[role.web]\n\
         dest = \"{dest}\"\n{role}\n[role.web.exec]\nhosts = [\"here\"]\ncommand = \"{shipit} apply --lock-dir {locks}\"\n\
         [stage.staging]\n",
        store = store(project).display(),
        dest = dest(project).display(),
        shipit = crate::project::binary().display(),
        locks = project.tmp.join("locks").display(),
    )
}

/// The store's directory.
pub fn store(project: &Project) -> PathBuf {
    project.tmp.join("store")
}

/// The host's directory.
pub fn dest(project: &Project) -> PathBuf {
    project.tmp.join("dest")
}

/// A TOML string.
pub fn quoted(text: &str) -> String {
    format!("'''{text}'''")
}

/// The files of `.shipit/artifacts`, by name.
pub fn artifacts(project: &Project) -> Vec<String> {
    let dir = project.repo.join(".shipit/artifacts");
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
