//! What a revision may be called, in repositories that are read directly.

use shipit_source::{Error, Event, Remote, TreeOptions};
use shipit_testbed::{Cmd, Repo, Tmp, git_env};

use crate::support::{export, options, resolve, served};

#[test]
#[ignore = "needs the testbed; run make test"]
fn every_kind_of_name() {
    let tmp = Tmp::new("names");
    let (repo, ids) = served(&tmp);
    let options = options(&tmp, &[repo.path().to_str().unwrap()]);
    for (name, id) in [
        (ids[0].as_str(), &ids[0]),
        (&ids[1][..9], &ids[1]),
        (&ids[1].to_uppercase(), &ids[1]),
        ("main", &ids[2]),
        ("HEAD", &ids[2]),
        ("@", &ids[2]),
        ("HEAD~1", &ids[1]),
        ("main^^", &ids[0]),
        ("v1", &ids[0]),
        ("v1^{}", &ids[0]),
        ("refs/tags/v1", &ids[0]),
        ("tags/v3", &ids[2]),
        ("release/2024", &ids[3]),
        ("refs/heads/release/2024", &ids[3]),
    ] {
        let told = resolve(&options, name);
        assert!(!told.fetched());
        assert_eq!(told.ok().id, *id, "{name}");
    }
    assert!(
        !options.mirror.exists(),
        "a repository that is read directly needs no mirror"
    );
    let commit = resolve(&options, "v1").ok();
    assert_eq!(commit.subject, "commit 1");
    assert_eq!(commit.author, "A. Author <author@example.com>");
    assert_eq!(commit.time, 1_704_067_200);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn unknown_ones_are_answered_with_similar_ones() {
    let tmp = Tmp::new("names");
    let (repo, _) = served(&tmp);
    let options = options(&tmp, &[repo.path().to_str().unwrap()]);
    let error = resolve(&options, "relaese/2024").err();
    assert!(error.hint().unwrap().contains("release/2024"), "{error:?}");
    let error = resolve(&options, &"ab".repeat(20)).err();
    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
    assert!(matches!(
        resolve(&options, "main..v1").err(),
        Error::BadRevision { .. }
    ));
    let missing = crate::support::options(&tmp, &["/nonexistent/repo"]);
    assert!(matches!(
        resolve(&missing, "main").err(),
        Error::Repository { .. }
    ));
}

/// Commits until two of them begin with the same four digits.
pub fn ambiguous(repo: &Repo) -> String {
    let tree = repo.git(&["rev-parse", "HEAD^{tree}"]);
    let mut seen = std::collections::HashMap::new();
    let mut script = String::new();
    for number in 0..2000 {
        script.push_str(&format!(
            "commit refs/heads/many\ncommitter C <c@example.com> {} +0000\ndata 4\n{number:04}\n",
            1_704_067_200 + number
        ));
    }
    let import = Cmd::new("git").args(["-C"]).arg(repo.path()).envs(git_env());
    let _ = import.args(["fast-import", "--quiet"]).stdin(script).run().ok();
    assert!(!tree.is_empty());
    for id in repo.git(&["rev-list", "--all"]).lines() {
        if seen.insert(id[..4].to_owned(), id.to_owned()).is_some() {
            return id[..4].to_owned();
        }
    }
    panic!("2000 commits and no two begin alike");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn ambiguous_ones_are_refused_with_the_candidates() {
    let tmp = Tmp::new("names");
    let (repo, ids) = served(&tmp);
    let short = ambiguous(&repo);
    let options = options(&tmp, &[repo.path().to_str().unwrap()]);
    let Error::Ambiguous { candidates, .. } = resolve(&options, &short).err() else {
        panic!("{short}")
    };
    assert!(
        candidates.len() > 1 && candidates.iter().all(|text| text.starts_with(&short)),
        "{candidates:?}"
    );
    // A tag and a branch of one name on two commits.
    repo.git(&["tag", "main", &ids[0]]);
    let Error::Ambiguous { candidates, .. } = resolve(&options, "main").err() else {
        panic!()
    };
    assert_eq!(candidates.len(), 2);
    assert_eq!(resolve(&options, "refs/heads/main").ok().id, ids[2]);
    // A branch that looks like the beginning of another commit.
    repo.git(&["branch", &ids[1][..8], &ids[0]]);
    assert!(matches!(
        resolve(&options, &ids[1][..8]).err(),
        Error::Ambiguous { .. }
    ));
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn changes_in_the_work_tree_are_said_and_not_exported() {
    let tmp = Tmp::new("names");
    let (repo, ids) = served(&tmp);
    repo.write("file", "changed\n")
        .write("new", "x")
        .write(".gitignore", "ignored\n")
        .write("ignored", "x");
    let remote = Remote::containing(&repo.join("data")).unwrap();
    assert_eq!(remote, Remote::Path(repo.path().to_path_buf()));
    let mut options = options(&tmp, &["x"]);
    options.remotes = vec![remote];
    let told = export(&options, "HEAD", &tmp.join("out"), TreeOptions::default());
    let dirty = told.events.iter().find_map(|event| match event {
        Event::DirtyWorkTree {
            changed, examples, ..
        } => Some((*changed, examples.clone())),
        _ => None,
    });
    assert_eq!(
        dirty.unwrap(),
        (
            3,
            vec![".gitignore".to_owned(), "file".to_owned(), "new".to_owned()]
        )
    );
    assert_eq!(told.ok().id, ids[2]);
    assert_eq!(std::fs::read_to_string(tmp.join("out/file")).unwrap(), "3\n");
    assert!(!tmp.join("out/new").exists());
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn linked_worktrees_shallow_clones_and_bare_repositories() {
    let tmp = Tmp::new("names");
    let (repo, ids) = served(&tmp);
    repo.git(&[
        "worktree",
        "add",
        "--quiet",
        "--detach",
        tmp.join("linked").to_str().unwrap(),
        &ids[1],
    ]);
    let linked = options(&tmp, &[tmp.join("linked").to_str().unwrap()]);
    assert_eq!(
        export(&linked, "HEAD", &tmp.join("from-linked"), TreeOptions::default())
            .ok()
            .id,
        ids[1]
    );
    let url = format!("file://{}", repo.path().display());
    repo.git(&[
        "clone",
        "--quiet",
        "--depth=1",
        &url,
        tmp.join("shallow").to_str().unwrap(),
    ]);
    let shallow = options(&tmp, &[tmp.join("shallow").to_str().unwrap()]);
    assert_eq!(
        export(
            &shallow,
            "main",
            &tmp.join("from-shallow"),
            TreeOptions::default()
        )
        .ok()
        .id,
        ids[2]
    );
    assert!(matches!(resolve(&shallow, &ids[0]).err(), Error::NotFound { .. }));
    let bare = options(&tmp, &[tmp.join("served/shop.git").to_str().unwrap()]);
    assert_eq!(resolve(&bare, "v1").ok().id, ids[0]);
    let without_suffix = options(&tmp, &[tmp.join("served/shop").to_str().unwrap()]);
    assert_eq!(resolve(&without_suffix, "v1").ok().id, ids[0]);
}
