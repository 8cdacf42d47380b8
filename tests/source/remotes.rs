//! Repositories over HTTP and `file://`: what is fetched, how deep, from which remote, and what the mirror is good for
//! when nobody answers.

use std::path::Path;

use shipit_source::{Error, Event, Fetch, SourceOptions, TreeOptions};
use shipit_testbed::{Cmd, GitHttp, GitHttpOptions, Tmp, git_env};

use crate::names::ambiguous;
use crate::support::{both, commits, export, in_mirror, options, resolve, served};

fn is_shallow(options: &SourceOptions) -> bool {
    in_mirror(options, &["rev-parse", "--is-shallow-repository"]) == "true"
}

/// The same options with a mirror that is not there yet.
pub fn fresh(options: &SourceOptions, tmp: &Tmp, name: &str) -> SourceOptions {
    SourceOptions {
        mirror: tmp.join(name),
        ..options.clone()
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_full_id_comes_alone_at_depth_one() {
    let tmp = Tmp::new("remotes");
    let (_repo, ids) = served(&tmp);
    let http = GitHttp::start(&tmp.join("served"));
    for (at, options) in both(&options(&tmp, &[&http.url("shop.git")]))
        .into_iter()
        .enumerate()
    {
        let options = fresh(&options, &tmp, &format!("m{at}"));
        let told = export(
            &options,
            &ids[1],
            &tmp.join(format!("out{at}")),
            TreeOptions::default(),
        );
        let shallow = told
            .events
            .iter()
            .any(|event| matches!(event, Event::Fetching { shallow: true, .. }));
        assert!(shallow, "{:?}", told.events);
        told.ok();
        assert_eq!(commits(&options), 1);
        assert!(is_shallow(&options));
        assert_eq!(
            std::fs::read_to_string(tmp.join(format!("out{at}/file"))).unwrap(),
            "2\n"
        );
        // A second one adds itself; one that is there asks nobody.
        resolve(&options, &ids[2]).ok();
        assert_eq!(commits(&options), 2);
        let again = resolve(&options, &ids[1]);
        assert!(!again.fetched());
        again.ok();
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn names_come_alone_too_and_short_ids_bring_the_history() {
    let tmp = Tmp::new("remotes");
    let (_repo, ids) = served(&tmp);
    let bare = tmp.join("served/shop.git");
    let pull = ["update-ref", "refs/pull/7/head", &ids[3]];
    let _ = Cmd::new("git")
        .envs(git_env())
        .env("GIT_DIR", &bare)
        .args(pull)
        .run()
        .ok();
    let http = GitHttp::start(&tmp.join("served"));
    for (at, options) in both(&options(&tmp, &[&http.url("shop.git")]))
        .into_iter()
        .enumerate()
    {
        let options = fresh(&options, &tmp, &format!("m{at}"));
        for (name, id, count) in [
            ("main", &ids[2], 1),
            ("v1", &ids[0], 2),
            ("release/2024", &ids[3], 3),
            ("refs/pull/7/head", &ids[3], 3),
            ("pull/7/head", &ids[3], 3),
            ("HEAD", &ids[2], 3),
        ] {
            assert_eq!(resolve(&options, name).ok().id, *id, "{name}");
            assert_eq!(commits(&options), count, "{name}");
        }
        assert_eq!(resolve(&options, &ids[1][..10]).ok().id, ids[1]);
        assert!(!is_shallow(&options));
        assert_eq!(commits(&options), 4);
        assert_eq!(resolve(&options, "main~2").ok().id, ids[0]);
        assert_eq!(resolve(&options, "pull/7/head~1").ok().id, ids[2]);
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_mirror_with_history_is_fetched_incrementally_and_stays_whole() {
    let tmp = Tmp::new("remotes");
    let (repo, ids) = served(&tmp);
    let http = GitHttp::start(&tmp.join("served"));
    for (at, options) in both(&options(&tmp, &[&http.url("shop.git")]))
        .into_iter()
        .enumerate()
    {
        let options = fresh(&options, &tmp, &format!("m{at}"));
        assert_eq!(resolve(&options, &ids[0][..10]).ok().id, ids[0]);
        repo.write("more", format!("{at}")).commit("more");
        let newer = repo.commit("and more");
        repo.push_to(&tmp.join("served/shop.git"));
        assert_eq!(resolve(&options, &newer).ok().id, newer);
        assert!(!is_shallow(&options));
        assert_eq!(
            in_mirror(&options, &["rev-list", "--count", &newer]),
            (5 + 2 * at).to_string()
        );
        // A branch that becomes a directory of branches.
        repo.git(&["branch", "topic"]);
        repo.push_to(&tmp.join("served/shop.git"));
        resolve(&options, &newer[..10]).ok();
        repo.git(&["branch", "-D", "topic"]);
        repo.git(&["branch", "topic/one"]);
        repo.push_to(&tmp.join("served/shop.git"));
        let _ = Cmd::new("git")
            .envs(git_env())
            .env("GIT_DIR", tmp.join("served/shop.git"))
            .args(["fsck"])
            .run()
            .ok();
        assert_eq!(resolve(&options, &newer[..11]).ok().id, newer);
        assert_eq!(resolve(&options, "topic/one").ok().id, newer);
        repo.git(&["branch", "-D", "topic/one"]);
        repo.push_to(&tmp.join("served/shop.git"));
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_server_that_hands_out_no_hidden_commits() {
    let tmp = Tmp::new("remotes");
    let (_repo, ids) = served(&tmp);
    let http = GitHttp::start_with(
        &tmp.join("served"),
        GitHttpOptions {
            any_sha: false,
            ..GitHttpOptions::default()
        },
    );
    let base = options(&tmp, &[&http.url("shop.git")]);
    for (at, fetch) in [Fetch::Auto, Fetch::Libgit2, Fetch::Cli].into_iter().enumerate() {
        let options = SourceOptions {
            fetch,
            ..fresh(&base, &tmp, &format!("m{at}"))
        };
        assert_eq!(resolve(&options, &ids[2]).ok().id, ids[2]);
        assert_eq!(commits(&options), 1, "a branch's tip comes alone");
        assert_eq!(resolve(&options, &ids[1]).ok().id, ids[1]);
        assert_eq!(resolve(&options, "v1").ok().id, ids[0]);
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn unknown_and_ambiguous_revisions() {
    let tmp = Tmp::new("remotes");
    let (repo, _) = served(&tmp);
    let short = ambiguous(&repo);
    repo.push_to(&tmp.join("served/shop.git"));
    let http = GitHttp::start(&tmp.join("served"));
    for (at, options) in both(&options(&tmp, &[&http.url("shop.git")]))
        .into_iter()
        .enumerate()
    {
        let options = fresh(&options, &tmp, &format!("m{at}"));
        let error = resolve(&options, "mian").err();
        assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
        assert!(
            error.hint().unwrap().starts_with("did you mean main"),
            "{error:?}"
        );
        let error = resolve(&options, &"ab".repeat(20)).err();
        assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
        let error = resolve(&options, "abcdef0123").err();
        assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
        let Error::Ambiguous { candidates, .. } = resolve(&options, &short).err() else {
            panic!("{short}")
        };
        assert!(candidates.len() > 1);
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn file_urls_go_through_the_mirror() {
    let tmp = Tmp::new("remotes");
    let (_repo, ids) = served(&tmp);
    let url = format!("file://{}", tmp.join("served/shop.git").display());
    let base = options(&tmp, &[&url]);
    for (at, fetch) in [Fetch::Auto, Fetch::Libgit2, Fetch::Cli].into_iter().enumerate() {
        let options = SourceOptions {
            fetch,
            ..fresh(&base, &tmp, &format!("m{at}"))
        };
        assert_eq!(resolve(&options, &ids[2]).ok().id, ids[2]);
        // libgit2 knows no depth there.
        assert_eq!(
            commits(&options),
            if fetch == Fetch::Libgit2 { 4 } else { 1 },
            "{fetch:?}"
        );
        assert_eq!(resolve(&options, &ids[0][..8]).ok().id, ids[0]);
        assert_eq!(resolve(&options, "release/2024").ok().id, ids[3]);
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn remotes_are_tried_in_order() {
    let tmp = Tmp::new("remotes");
    let (repo, ids) = served(&tmp);
    let first = GitHttp::start(&tmp.join("served"));
    let newer = repo.write("newer", "x").commit("newer");
    repo.bare_clone(&tmp.join("second/shop.git"));
    let second = GitHttp::start(&tmp.join("second"));
    let base = options(&tmp, &[&first.url("shop.git"), &second.url("shop.git")]);
    for (at, options) in both(&base).into_iter().enumerate() {
        let options = fresh(&options, &tmp, &format!("m{at}"));
        assert_eq!(
            resolve(&options, "main").ok().id,
            ids[2],
            "the first one's word counts"
        );
        let told = resolve(&options, &newer);
        let lacks = told.events.iter().any(
            |event| matches!(event, Event::RemoteLacks { remote, .. } if *remote == first.url("shop.git")),
        );
        assert!(lacks, "{:?}", told.events);
        assert_eq!(told.ok().id, newer);
        assert!(
            matches!(resolve(&options, "no-such").err(), Error::NotFound { searched, .. } if searched.len() == 2)
        );
    }
    first.set_options(GitHttpOptions {
        fail_with: Some(503),
        ..GitHttpOptions::default()
    });
    for (at, options) in both(&base).into_iter().enumerate() {
        let options = fresh(&options, &tmp, &format!("down{at}"));
        let told = resolve(&options, "main");
        let failed = told
            .events
            .iter()
            .any(|event| matches!(event, Event::RemoteFailed { reason, .. } if reason.contains("503")));
        assert!(failed, "{:?}", told.events);
        assert_eq!(told.ok().id, newer);
        let error = resolve(&options, "no-such").err();
        assert!(
            matches!(&error, Error::NotFound { unreached, .. } if unreached.len() == 1),
            "{error:?}"
        );
    }
    // A path in the list is read directly.
    let mixed = options_with_path(&tmp, repo.path(), &first);
    assert_eq!(resolve(&mixed, &newer).ok().id, newer);
}

fn options_with_path(tmp: &Tmp, path: &Path, http: &GitHttp) -> SourceOptions {
    fresh(
        &options(tmp, &[path.to_str().unwrap(), &http.url("shop.git")]),
        tmp,
        "mixed",
    )
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn the_mirror_serves_when_nobody_answers() {
    let tmp = Tmp::new("remotes");
    let (_repo, ids) = served(&tmp);
    for (at, fetch) in [Fetch::Libgit2, Fetch::Cli].into_iter().enumerate() {
        let http = GitHttp::start(&tmp.join("served"));
        let options = SourceOptions {
            fetch,
            ..fresh(&options(&tmp, &[&http.url("shop.git")]), &tmp, &format!("m{at}"))
        };
        resolve(&options, "main").ok();
        drop(http);
        assert_eq!(resolve(&options, &ids[2]).ok().id, ids[2]);
        let told = resolve(&options, "main");
        let stale = told.events.iter().find_map(|event| match event {
            Event::StaleMirror { id, seen, .. } => Some((id.clone(), seen.unwrap())),
            _ => None,
        });
        let (id, seen) = stale.expect("a warning");
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs().cast_signed();
        assert!(id == ids[2] && (now - 120..=now).contains(&seen));
        assert_eq!(told.ok().id, ids[2]);
        assert!(matches!(resolve(&options, "v1").err(), Error::Unreachable { .. }));
        assert!(matches!(
            resolve(&options, &ids[0]).err(),
            Error::Unreachable { .. }
        ));
        assert_eq!(resolve(&options, &ids[2][..9]).ok().id, ids[2]);
    }
}
