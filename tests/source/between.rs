//! The commits between two revisions: read from a repository on this machine, and from a mirror that gets its history then.

use std::sync::atomic::AtomicBool;

use shipit_source::{Between, Event, History, Side, Source, SourceOptions};
use shipit_testbed::{Cmd, GitHttp, Tmp, git_env};

use crate::support::{Told, both, commits, options, resolve, served, told};

fn between(options: &SourceOptions, from: &str, to: &str, limit: usize) -> Told<Between> {
    told(|on_event| {
        let source = Source::open(options.clone())?;
        source.between((from, to), limit, &AtomicBool::new(false), on_event)
    })
}

#[track_caller]
fn known(told: Told<Between>) -> History {
    match told.ok() {
        Between::Known(history) => history,
        Between::Unknown(why) => panic!("not known: {why}"),
    }
}

fn subjects(side: &Side) -> Vec<&str> {
    side.commits
        .iter()
        .map(|commit| commit.subject.as_str())
        .collect()
}

#[test]
fn a_repository_on_this_machine_tells_both_sides() {
    let tmp = Tmp::new("between");
    let (repo, ids) = served(&tmp);
    repo.switch("release/2024");
    let side = repo.write("other", "x").commit("beside\n\nmore");
    let options = options(&tmp, &[&repo.path().display().to_string()]);
    let forward = known(between(&options, &ids[0], &ids[2], 10));
    assert_eq!(subjects(&forward.added), ["commit 3", "commit 2"]);
    assert_eq!(forward.removed, Side::default());
    let back = known(between(&options, &ids[2], &ids[0], 1));
    assert_eq!(
        (subjects(&back.removed), back.removed.count),
        (vec!["commit 3"], 2)
    );
    assert_eq!(back.added, Side::default());
    repo.switch("main");
    let main = repo.commit("on main");
    let apart = known(between(&options, &main, &side, 10));
    assert_eq!(subjects(&apart.added), ["beside", "on a branch"]);
    assert_eq!(subjects(&apart.removed), ["on main"]);
    assert_eq!(known(between(&options, &main, &main, 10)), History::default());
    let source = Source::open(options).unwrap();
    let asked = [ids[0].clone(), "0".repeat(40), "nonsense".to_owned()];
    let found = source.subjects(&asked);
    assert_eq!(found.into_values().collect::<Vec<_>>(), ["commit 1"]);
}

#[test]
fn a_shallow_clone_and_a_repository_without_the_commit_say_so() {
    let tmp = Tmp::new("between");
    let (repo, ids) = served(&tmp);
    let clone = tmp.join("clone");
    let url = format!("file://{}", repo.path().display());
    let args = ["clone", "-q", "--depth", "2", &url];
    let _ = Cmd::new("git").envs(git_env()).args(args).arg(&clone).run().ok();
    let options = options(&tmp, &[&clone.display().to_string()]);
    assert_eq!(
        subjects(&known(between(&options, &ids[1], &ids[2], 10)).added),
        ["commit 3"]
    );
    let unknown = |from: &str, to: &str| match between(&options, from, to, 10).ok() {
        Between::Unknown(why) => why,
        Between::Known(history) => panic!("{history:?}"),
    };
    assert!(unknown(&ids[0], &ids[2]).contains("without the commit"));
    assert!(unknown("3074f46", &ids[2]).contains("without the commit") || !unknown("x", &ids[2]).is_empty());
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_mirror_of_single_commits_gets_its_history_when_it_is_asked() {
    let tmp = Tmp::new("between");
    let (_repo, ids) = served(&tmp);
    let http = GitHttp::start(&tmp.join("served"));
    for (at, options) in both(&options(&tmp, &[&http.url("shop.git")]))
        .into_iter()
        .enumerate()
    {
        let options = SourceOptions {
            mirror: tmp.join(format!("m{at}")),
            ..options
        };
        // Without a mirror nothing is fetched, and none is made.
        let none = between(&options, &ids[0], &ids[2], 10);
        assert!(!none.fetched() && !options.mirror.exists());
        assert!(matches!(none.ok(), Between::Unknown(_)));
        resolve(&options, &ids[2]).ok();
        assert_eq!(commits(&options), 1);
        let told = between(&options, &ids[0], &ids[2], 10);
        assert!(told.fetched());
        assert_eq!(subjects(&known(told).added), ["commit 3", "commit 2"]);
        let again = between(&options, &ids[0], &ids[2], 10);
        assert!(!again.fetched());
        assert_eq!(known(again).added.count, 2);
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_remote_that_is_gone_is_said_and_no_error() {
    let tmp = Tmp::new("between");
    let (_repo, ids) = served(&tmp);
    let http = GitHttp::start(&tmp.join("served"));
    let url = http.url("shop.git");
    let options = options(&tmp, &[&url]);
    resolve(&options, &ids[2]).ok();
    drop(http);
    let told = between(&options, &ids[0], &ids[2], 10);
    let tried = told
        .events
        .iter()
        .any(|event| matches!(event, Event::Fetching { .. }));
    assert!(tried, "{:?}", told.events);
    assert!(matches!(told.ok(), Between::Unknown(why) if why.starts_with(&url)));
}
