//! Layout plain: a change that rsync's quick check would not see is refused before it is published.

use std::fs;

use crate::project::Project;
use crate::small::{self, store};

/// A commit of what is tracked, at the second of the project's first.
fn commit_in_the_same_second(project: &Project, message: &str) {
    let alias = "alias.again=!GIT_COMMITTER_DATE='1704067200 +0000' git commit -q -a --no-verify -m";
    let _ = project.repo.git(&["-c", alias, "again", message]);
    let _ = project.build("main");
}

/// A project with a role of layout plain and another one, published once, and then changed unseen.
fn changed_unseen() -> Project {
    let role = "layout = \"plain\"\n";
    let project = small::with("", role);
    let config = small::config(&project, "", role);
    let other =
        "[role.other]\ndest = \"/srv/other\"\n[role.other.exec]\nhosts = [\"here\"]\ncommand = \"true\"\n";
    project.config(&format!("{config}{other}"));
    let _ = project.build("main");
    let _ = project.publish("staging", "web");
    project.repo.write("app.txt", "two\n");
    commit_in_the_same_second(&project, "two");
    project
}

#[test]
fn a_change_that_rsync_would_not_see_is_refused() {
    let project = changed_unseen();
    let publish = || project.shipit(&["publish", "--stage", "staging"]).run();
    let _ = publish()
        .exits(12)
        .says("app.txt and 1 more changed")
        .says("role web");
    // The other role's hosts are not concerned, and its release does not hide what web's hosts have.
    let _ = project
        .shipit(&["publish", "--stage", "staging", "--role", "other"])
        .run()
        .ok();
    let _ = publish().exits(12).says("app.txt and 1 more changed");
    // The same content in another second.
    let _ = project.repo.commit("two, a minute later");
    let _ = project.build("main");
    let _ = publish().ok();
}

#[test]
fn a_record_that_is_gone_from_the_store_stops_no_publish_for_ever() {
    let project = changed_unseen();
    for entry in fs::read_dir(store(&project).join("artifacts/shop")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            fs::remove_file(path).unwrap();
        }
    }
    let publish = project.shipit(&["publish", "--stage", "staging"]).run();
    let _ = publish.ok().says("cannot tell whether a file changed unseen");
}
