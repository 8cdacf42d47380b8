//! Revisions that a repository has no commit for: what is said of the reason, and of the way out.

use shipit_source::{Error, SourceOptions};
use shipit_testbed::{GitHttp, Repo, Tmp};

use crate::remotes::fresh;
use crate::support::{both, options, resolve, served};

/// The message and the hint.
fn refused(options: &SourceOptions, revision: &str) -> (String, String) {
    let error = resolve(options, revision).err();
    assert!(matches!(error, Error::NotFound { .. }), "{revision}: {error:?}");
    (error.to_string(), error.hint().unwrap())
}

/// The repository itself, and both ways to fetch from its bare clone.
fn everywhere(tmp: &Tmp, repo: &Repo, http: &GitHttp) -> Vec<SourceOptions> {
    repo.bare_clone(&tmp.join("served/shop.git"));
    let mut all = vec![options(tmp, &[repo.path().to_str().unwrap()])];
    let fetched = both(&options(tmp, &[&http.url("shop.git")]));
    all.extend(fetched.map(|made| fresh(&made, tmp, &format!("m{:?}", made.fetch))));
    all
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn what_is_no_commit() {
    let tmp = Tmp::new("lacks");
    let repo = Repo::new();
    repo.write("file", "x").write("dir/file", "y").commit("first");
    let blob = repo.git(&["rev-parse", "HEAD:file"]);
    repo.git(&["tag", "blobtag", &blob]);
    repo.git(&["tag", "-a", "-m", "of a tree", "treetag", "HEAD:dir"]);
    std::fs::create_dir(tmp.join("served")).unwrap();
    let http = GitHttp::start(&tmp.join("served"));
    for options in everywhere(&tmp, &repo, &http) {
        for (name, what) in [
            ("blobtag", "refs/tags/blobtag is a blob there"),
            ("refs/tags/treetag", "refs/tags/treetag is a tree there"),
            ("blobtag~1", "refs/tags/blobtag is a blob there"),
            (blob.as_str(), "is a blob there"),
            (&blob[..9], "is a blob there"),
        ] {
            let (message, hint) = refused(&options, name);
            assert!(message.contains(what), "{:?} {name}: {message}", options.fetch);
            assert!(hint.contains("a tag of a commit"), "{name}: {hint}");
        }
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn ancestors_that_are_not_there() {
    let tmp = Tmp::new("lacks");
    let repo = Repo::new();
    let id = repo.write("file", "x").commit("first");
    std::fs::create_dir(tmp.join("served")).unwrap();
    let http = GitHttp::start(&tmp.join("served"));
    for options in everywhere(&tmp, &repo, &http) {
        for base in ["main", "HEAD", &id] {
            let (message, hint) = refused(&options, &format!("{base}~7"));
            let expected = format!("({base} is there, but has no ~7)");
            assert!(message.ends_with(&expected), "{:?}: {message}", options.fetch);
            assert!(hint.starts_with("go back by fewer commits"), "{hint}");
        }
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_shallow_clone_says_that_it_is_one() {
    let tmp = Tmp::new("lacks");
    let (repo, ids) = served(&tmp);
    let shallow = tmp.join("shallow");
    let url = format!("file://{}", repo.path().display());
    repo.git(&["clone", "--quiet", "--depth=1", &url, shallow.to_str().unwrap()]);
    let options = options(&tmp, &[shallow.to_str().unwrap()]);
    for revision in ["HEAD~1", "main~", &ids[0], &ids[1][..9]] {
        let (message, hint) = refused(&options, revision);
        assert!(message.contains("a shallow clone"), "{revision}: {message}");
        let way_out = format!("git -C {} fetch --unshallow", shallow.display());
        assert!(hint.contains(&way_out), "{revision}: {hint}");
        assert!(!hint.contains("did you mean"), "{revision}: {hint}");
    }
    let (message, hint) = refused(&options, "mian");
    assert!(message.ends_with("(a shallow clone)"), "{message}");
    assert!(hint.starts_with("did you mean main"), "{hint}");
    // The way out is one.
    repo.git(&["-C", shallow.to_str().unwrap(), "fetch", "--quiet", "--unshallow"]);
    assert_eq!(resolve(&options, &ids[0]).ok().id, ids[0]);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_repository_without_a_commit_says_so() {
    let tmp = Tmp::new("lacks");
    let repo = Repo::new();
    std::fs::create_dir(tmp.join("served")).unwrap();
    let http = GitHttp::start(&tmp.join("served"));
    for options in everywhere(&tmp, &repo, &http) {
        for revision in ["HEAD", "main", "main~1"] {
            let (message, hint) = refused(&options, revision);
            assert!(
                message.ends_with("(it has no commit yet)"),
                "{:?}: {message}",
                options.fetch
            );
            assert!(hint.contains("first commit"), "{hint}");
        }
    }
    // Others have commits, the one that is checked out has none.
    repo.write("file", "x").commit("first");
    repo.git(&["symbolic-ref", "HEAD", "refs/heads/unborn"]);
    let options = options(&tmp, &[repo.path().to_str().unwrap()]);
    let (message, hint) = refused(&options, "HEAD");
    assert!(
        message.contains("the branch that is checked out has no commit yet"),
        "{message}"
    );
    assert!(hint.contains("another branch"), "{hint}");
}
