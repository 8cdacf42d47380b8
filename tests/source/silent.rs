//! Repositories that give nothing (moved, gone, unreadable, damaged on their side): the mirror is not taken for damaged, the
//! next remote is asked, and what the mirror has still builds.

use std::path::Path;

use shipit_source::{Error, ErrorKind, Event, Fetch, SourceOptions};
use shipit_testbed::{Cmd, Fault, FaultProxy, GitHttp, GitHttpOptions, Sshd, Tmp, git_env, random_hex};

use crate::remotes::fresh;
use crate::support::{Told, both, in_mirror, options, resolve, served};

fn file_url(path: &Path) -> String {
    format!("file://{}", path.display())
}

fn remade<T>(told: &Told<T>) -> bool {
    told.events
        .iter()
        .any(|event| matches!(event, Event::MirrorRemade { .. }))
}

/// With a remote that gives nothing now: the branch and the commits that the mirror has still build, what it does not have
/// fails as not to be had, and the mirror keeps its objects.
fn the_mirror_is_kept(options: &SourceOptions, ids: &[String], what: &str) {
    let told = resolve(options, "main");
    assert!(!remade(&told), "{what}: {:?}", told.events);
    let stale = told
        .events
        .iter()
        .any(|event| matches!(event, Event::StaleMirror { .. }));
    assert!(stale, "{what}: {:?}", told.events);
    assert_eq!(told.ok().id, ids[2], "{what}");
    assert_eq!(resolve(options, &ids[2]).ok().id, ids[2], "{what}");
    for unknown in [&ids[0], "v1", &ids[1][..9]] {
        let told = resolve(options, unknown);
        assert!(!remade(&told), "{what}: {:?}", told.events);
        let error = told.err();
        assert!(matches!(error, Error::Unreachable { .. }), "{what}: {error:?}");
        assert_eq!(resolve(options, &ids[2]).ok().id, ids[2], "{what}");
    }
    in_mirror(options, &["cat-file", "-e", &ids[2]]);
    in_mirror(options, &["fsck", "--connectivity-only"]);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_file_url_that_was_moved() {
    let tmp = Tmp::new("silent");
    let (_repo, ids) = served(&tmp);
    let there = tmp.join("served/shop.git");
    let base = options(&tmp, &[&file_url(&there)]);
    for (at, fetch) in [Fetch::Auto, Fetch::Libgit2, Fetch::Cli].into_iter().enumerate() {
        let mut options = SourceOptions {
            fetch,
            ..fresh(&base, &tmp, &format!("m{at}"))
        };
        // libgit2 knows no depth there: its mirror would hold every commit.
        if fetch == Fetch::Libgit2 {
            options.fetch = Fetch::Cli;
        }
        resolve(&options, "main").ok();
        options.fetch = fetch;
        std::fs::rename(&there, tmp.join("moved.git")).unwrap();
        the_mirror_is_kept(&options, &ids, &format!("{fetch:?}"));
        std::fs::rename(tmp.join("moved.git"), &there).unwrap();
        assert_eq!(resolve(&options, "v1").ok().id, ids[0]);
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn an_ssh_server_without_the_repository_or_without_a_word() {
    let tmp = Tmp::new("silent");
    let (_repo, ids) = served(&tmp);
    let there = tmp.join("served/shop.git");
    let sshd = Sshd::start();
    let mut base = options(&tmp, &[&sshd.url(&there)]);
    base.credentials.ssh_keys = vec![sshd.key()];
    base.credentials.known_hosts = vec![sshd.known_hosts()];
    let all = both(&base).map(|options| {
        let options = fresh(&options, &tmp, &format!("m{:?}", options.fetch));
        resolve(&options, "main").ok();
        options
    });
    std::fs::rename(&there, tmp.join("moved.git")).unwrap();
    for options in &all {
        the_mirror_is_kept(options, &ids, &format!("no repository, {:?}", options.fetch));
    }
    drop(sshd);
    for options in &all {
        the_mirror_is_kept(options, &ids, &format!("no server, {:?}", options.fetch));
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn an_http_server_that_answers_with_errors() {
    let tmp = Tmp::new("silent");
    let (_repo, ids) = served(&tmp);
    let http = GitHttp::start(&tmp.join("served"));
    for options in both(&options(&tmp, &[&http.url("shop.git")])) {
        let options = fresh(&options, &tmp, &format!("m{:?}", options.fetch));
        http.set_options(GitHttpOptions::default());
        resolve(&options, "main").ok();
        for code in [404, 500, 503] {
            http.set_options(GitHttpOptions {
                fail_with: Some(code),
                ..GitHttpOptions::default()
            });
            the_mirror_is_kept(&options, &ids, &format!("{code}, {:?}", options.fetch));
        }
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn the_next_of_a_list_is_asked() {
    let tmp = Tmp::new("silent");
    let (_repo, ids) = served(&tmp);
    let good = file_url(&tmp.join("served/shop.git"));
    std::fs::create_dir(tmp.join("empty")).unwrap();
    std::fs::write(tmp.join("a-file"), "").unwrap();
    for (at, gone) in ["gone", "empty", "a-file"].into_iter().enumerate() {
        let base = options(&tmp, &[&file_url(&tmp.join(gone)), &good]);
        for options in [both(&base).to_vec(), vec![base.clone()]].concat() {
            let options = fresh(&options, &tmp, &format!("m{at}{:?}", options.fetch));
            for (name, id) in [("main", &ids[2]), (&ids[0], &ids[0]), (&ids[1][..9], &ids[1])] {
                let told = resolve(&options, name);
                assert!(!remade(&told), "{gone}: {:?}", told.events);
                let failed = told
                    .events
                    .iter()
                    .any(|event| matches!(event, Event::RemoteFailed { .. }));
                assert!(failed || !told.fetched(), "{gone}: {:?}", told.events);
                assert_eq!(told.ok().id, *id, "{gone} {name}");
            }
        }
    }
}

/// A repository whose objects are damaged on the server: nothing that is wrong with the mirror.
#[test]
#[ignore = "needs the testbed; run make test"]
fn a_server_whose_repository_is_damaged() {
    let tmp = Tmp::new("silent");
    let (_repo, ids) = served(&tmp);
    let there = tmp.join("served/shop.git");
    let copy = tmp.join("second/shop.git");
    let _ = Cmd::new("git")
        .envs(git_env())
        .args(["clone", "--quiet", "--mirror"])
        .args([&there, &copy])
        .run()
        .ok();
    let http = GitHttp::start(&tmp.join("served"));
    let all: Vec<SourceOptions> = [http.url("shop.git"), file_url(&there)]
        .iter()
        .enumerate()
        .flat_map(|(at, url)| {
            both(&options(&tmp, &[url])).map(|made| {
                let mut made = fresh(&made, &tmp, &format!("m{at}{:?}", made.fetch));
                let fetch = std::mem::replace(&mut made.fetch, Fetch::Cli);
                resolve(&made, "main").ok();
                made.fetch = fetch;
                made
            })
        })
        .collect();
    // Every object but the branch's tip is gone: no fetch of another commit can succeed.
    let objects = there.join("objects");
    let _ = Cmd::new("sh")
        .args([
            "-c",
            "mv pack/*.pack .. && for p in ../*.pack; do git unpack-objects -q < $p; done",
        ])
        .envs(git_env())
        .env("GIT_DIR", &there)
        .cwd(&objects)
        .run()
        .ok();
    for item in std::fs::read_dir(objects.join("pack")).unwrap().flatten() {
        std::fs::remove_file(item.path()).unwrap();
    }
    for id in &ids[..2] {
        std::fs::remove_file(objects.join(&id[..2]).join(&id[2..])).unwrap();
    }
    for made in &all {
        let what = format!("{} {:?}", made.remotes[0], made.fetch);
        for unknown in [&ids[0], &ids[1][..9]] {
            let told = resolve(made, unknown);
            assert!(!remade(&told), "{what}: {:?}", told.events);
            assert!(told.result.is_err(), "{what}");
            assert_eq!(resolve(made, &ids[2]).ok().id, ids[2], "{what}");
            // A second remote has it whole.
            let mut with_second = SourceOptions {
                // libgit2 cannot fetch from a path into a shallow repository.
                fetch: Fetch::Auto,
                ..made.clone()
            };
            let second = shipit_source::Remote::parse(&file_url(&copy)).unwrap();
            with_second.remotes.push(second);
            with_second.mirror = tmp.join("with-second");
            let _ = std::fs::remove_dir_all(&with_second.mirror);
            let _ = Cmd::new("cp")
                .arg("-a")
                .args([&made.mirror, &with_second.mirror])
                .run()
                .ok();
            let told = resolve(&with_second, unknown);
            assert!(told.ok().id.starts_with(&unknown[..9]), "{what}");
        }
    }
}

/// Into a mirror with history, so that packs come against what is there.
#[test]
#[ignore = "needs the testbed; run make test"]
fn transfers_that_break_off_or_bring_rubbish() {
    let tmp = Tmp::new("silent");
    let (repo, ids) = served(&tmp);
    let http = GitHttp::start(&tmp.join("served"));
    let proxy = FaultProxy::start(http.addr());
    let url = format!("{}/shop.git", proxy.url());
    let all = both(&options(&tmp, &[&url])).map(|made| {
        let made = fresh(&made, &tmp, &format!("m{:?}", made.fetch));
        resolve(&made, &ids[0][..9]).ok();
        made
    });
    for (number, fault) in [
        Fault::cut_response(1),
        Fault::cut_response(100_000),
        Fault::status(200).body("0008NAK\nPACK and nothing else"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("f{number}");
        let id = repo.write("data/1", random_hex(150_000)).commit(&name);
        repo.push_to(&tmp.join("served/shop.git"));
        for made in &all {
            // git speaks version 2: its first POST asks for the refs.
            let fault = fault.clone().after(usize::from(made.fetch == Fetch::Cli));
            for fault in [fault.clone().times(1), fault.always()] {
                proxy.inject(fault.method("POST"));
                let told = resolve(made, &id);
                assert!(!remade(&told), "{name} {:?}: {:?}", made.fetch, told.events);
                if let Err(error) = told.result {
                    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error:?}");
                }
                proxy.heal();
            }
            assert_eq!(resolve(made, &ids[0]).ok().id, ids[0]);
            assert_eq!(resolve(made, &id).ok().id, id);
        }
    }
    for made in &all {
        in_mirror(made, &["fsck", "--connectivity-only"]);
    }
}

/// Takes a commit's object out of the mirror, with the pack that it is in.
fn lose(options: &SourceOptions, id: &str) {
    let objects = options.mirror.join("objects");
    let _ = std::fs::remove_file(objects.join(&id[..2]).join(&id[2..]));
    for item in std::fs::read_dir(objects.join("pack")).unwrap().flatten() {
        let path = item.path();
        if path.extension().is_some_and(|extension| extension == "idx") {
            let index = std::fs::read(&path).unwrap();
            let shown = Cmd::new("git").envs(git_env()).args(["show-index"]).stdin(index);
            if shown.run().ok().out().contains(id) {
                std::fs::remove_file(path.with_extension("pack")).unwrap();
            }
        }
    }
}

/// A mirror that is damaged while nobody answers is left as it is: what is whole in it still builds.
#[test]
#[ignore = "needs the testbed; run make test"]
fn a_damaged_mirror_is_put_back_when_it_cannot_be_fetched_anew() {
    let tmp = Tmp::new("silent");
    let (_repo, ids) = served(&tmp);
    let there = tmp.join("served/shop.git");
    let http = GitHttp::start(&tmp.join("served"));
    for made in both(&options(&tmp, &[&http.url("shop.git")])) {
        let made = fresh(&made, &tmp, &format!("m{:?}", made.fetch));
        http.set_options(GitHttpOptions::default());
        for id in [&ids[0], &ids[2]] {
            resolve(&made, id).ok();
        }
        lose(&made, &ids[2]);
        http.set_options(GitHttpOptions {
            fail_with: Some(503),
            ..GitHttpOptions::default()
        });
        let told = resolve(&made, &ids[2]);
        assert!(!remade(&told), "{:?}", told.events);
        assert!(matches!(told.err(), Error::Unreachable { .. }));
        assert_eq!(resolve(&made, &ids[0]).ok().id, ids[0]);
        // The server is back, and so is the mirror.
        http.set_options(GitHttpOptions::default());
        assert_eq!(resolve(&made, &ids[2]).ok().id, ids[2]);
        in_mirror(&made, &["fsck", "--connectivity-only"]);
    }
    assert!(there.exists());
}

/// Killed between moving the mirror aside and having it anew: the next build has the mirror again.
#[test]
#[ignore = "needs the testbed; run make test"]
fn a_mirror_that_a_killed_build_had_moved_aside_is_put_back() {
    let tmp = Tmp::new("silent");
    let (_repo, ids) = served(&tmp);
    let there = tmp.join("served/shop.git");
    let options = options(&tmp, &[&file_url(&there)]);
    resolve(&options, "main").ok();
    let aside = tmp.join("mirror.git.broken");
    std::fs::rename(&options.mirror, &aside).unwrap();
    std::fs::rename(&there, tmp.join("moved.git")).unwrap();
    the_mirror_is_kept(&options, &ids, "moved aside alone");
    assert!(!aside.exists());
    std::fs::rename(tmp.join("moved.git"), &there).unwrap();
    // The new one was there already, half filled.
    std::fs::rename(&options.mirror, &aside).unwrap();
    resolve_into_new(&options, &ids[0], &aside);
    assert_eq!(resolve(&options, &ids[2]).ok().id, ids[2]);
    assert!(!aside.exists());
}

/// Makes a mirror at the place, as a build does that has moved the old one aside.
fn resolve_into_new(options: &SourceOptions, revision: &str, aside: &Path) {
    let hidden = aside.with_extension("hidden");
    std::fs::rename(aside, &hidden).unwrap();
    resolve(options, revision).ok();
    std::fs::rename(&hidden, aside).unwrap();
}
