//! Submodules and LFS.

use std::path::Path;

use shipit_source::{Error, Event, Fetch, SourceOptions, Submodules, TreeOptions};
use shipit_testbed::{Cmd, GitHttp, Repo, Tmp, git_env};

use crate::support::{both, export, options};

const PLAIN: TreeOptions = TreeOptions { revision_file: false };

/// `app` with the submodule `vendor/lib` (by a relative URL), which has `deep` itself; all served bare.
fn family(tmp: &Tmp) -> (Repo, Repo) {
    let deep = Repo::new();
    deep.write("deep.txt", "deep\n").commit("deep");
    deep.bare_clone(&tmp.join("served/deep.git"));
    let lib = Repo::new();
    lib.write("lib.txt", "lib\n")
        .write(".gitattributes", "*.crlf eol=crlf\nhidden export-ignore\n");
    lib.write("a.crlf", "a\n").write("hidden", "x").commit("lib");
    link(&lib, "deep", "../deep.git", &deep.head());
    lib.bare_clone(&tmp.join("served/lib.git"));
    let app = Repo::new();
    app.write("app.txt", "app\n")
        .write(".gitattributes", "*.txt eol=crlf\n")
        .commit("app");
    link(&app, "vendor/lib", "../lib.git", &lib.head());
    app.bare_clone(&tmp.join("served/app.git"));
    (app, lib)
}

/// Commits a submodule without cloning it.
fn link(repo: &Repo, path: &str, url: &str, id: &str) {
    repo.write(
        ".gitmodules",
        format!("[submodule \"{path}\"]\n\tpath = {path}\n\turl = {url}\n"),
    );
    repo.git(&["add", ".gitmodules"]);
    repo.git(&[
        "update-index",
        "--add",
        "--cacheinfo",
        &format!("160000,{id},{path}"),
    ]);
    let commit = Cmd::new("git").envs(git_env()).arg("-C").arg(repo.path());
    let _ = commit.args(["commit", "--quiet", "-m", "submodule"]).run().ok();
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn submodules_are_left_out_and_said() {
    let tmp = Tmp::new("parts");
    let (app, _) = family(&tmp);
    let told = export(
        &options(&tmp, &[app.path().to_str().unwrap()]),
        "HEAD",
        &tmp.join("out"),
        PLAIN,
    );
    assert!(told.events.contains(&Event::SubmoduleSkipped {
        path: "vendor/lib".into()
    }));
    told.ok();
    assert_eq!(std::fs::read_dir(tmp.join("out/vendor/lib")).unwrap().count(), 0);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn submodules_come_recursively_with_their_own_attributes() {
    let tmp = Tmp::new("parts");
    let (app, _) = family(&tmp);
    let http = GitHttp::start(&tmp.join("served"));
    for (at, options) in both(&options(&tmp, &[&http.url("app.git")]))
        .into_iter()
        .enumerate()
    {
        let submodules = Submodules::On {
            allowed_hosts: vec![],
        };
        let options = SourceOptions {
            submodules,
            mirror: tmp.join(format!("m{at}")),
            ..options
        };
        let out = tmp.join(format!("out{at}"));
        export(&options, &app.head(), &out, TreeOptions::default()).ok();
        assert_eq!(read(&out.join("app.txt")), "app\r\n");
        assert_eq!(read(&out.join("vendor/lib/lib.txt")), "lib\n");
        assert_eq!(read(&out.join("vendor/lib/a.crlf")), "a\r\n");
        assert_eq!(read(&out.join("vendor/lib/deep/deep.txt")), "deep\n");
        assert!(!out.join("vendor/lib/hidden").exists());
        assert!(!out.join("vendor/lib/.git").exists() && !out.join("vendor/lib/REVISION").exists());
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn submodules_of_a_local_repository_come_from_beside_it_or_from_its_own_clone() {
    let tmp = Tmp::new("parts");
    let (app, lib) = family(&tmp);
    for name in ["app", "lib", "deep"] {
        // Else their URLs are relative to where they were cloned from, as for git.
        let bare = tmp.join(format!("served/{name}.git"));
        let git = Cmd::new("git").envs(git_env()).env("GIT_DIR", bare);
        let _ = git.args(["remote", "remove", "origin"]).run().ok();
    }
    let mut options = options(&tmp, &[tmp.join("served/app.git").to_str().unwrap()]);
    options.submodules = Submodules::On {
        allowed_hosts: vec![],
    };
    export(&options, &app.head(), &tmp.join("out"), PLAIN).ok();
    assert_eq!(read(&tmp.join("out/vendor/lib/deep/deep.txt")), "deep\n");
    // What git submodule has cloned already, while the servers are gone.
    let modules = app.join(".git/modules/vendor/lib");
    lib.bare_clone(&modules);
    std::fs::rename(tmp.join("served/deep.git"), tmp.mkdir("kept").join("deep")).unwrap();
    std::fs::create_dir_all(modules.join("modules")).unwrap();
    std::fs::rename(tmp.join("kept/deep"), modules.join("modules/deep")).unwrap();
    std::fs::remove_dir_all(tmp.join("served")).unwrap();
    options.remotes = vec![shipit_source::Remote::Path(app.path().to_path_buf())];
    let told = export(&options, "HEAD", &tmp.join("again"), PLAIN);
    assert!(
        told.events
            .iter()
            .all(|event| !matches!(event, Event::Fetching { .. }))
    );
    told.ok();
    assert_eq!(read(&tmp.join("again/vendor/lib/deep/deep.txt")), "deep\n");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn other_hosts_and_directories_must_be_allowed() {
    let tmp = Tmp::new("parts");
    let (_, lib) = family(&tmp);
    let http = GitHttp::start(&tmp.join("served"));
    let elsewhere = GitHttp::start(&tmp.join("served"));
    let app = Repo::new();
    link(&app, "lib", &elsewhere.url("lib.git"), &lib.head());
    app.bare_clone(&tmp.join("served/other.git"));
    let mut options = options(&tmp, &[&http.url("other.git")]);
    options.submodules = Submodules::On {
        allowed_hosts: vec![],
    };
    let error = export(&options, &app.head(), &tmp.join("out"), PLAIN).err();
    let host = elsewhere.addr().ip().to_string();
    assert!(
        matches!(&error, Error::SubmoduleHost { host: found, .. } if *found == host),
        "{error:?}"
    );
    options.submodules = Submodules::On {
        allowed_hosts: vec![host],
    };
    export(&options, &app.head(), &tmp.join("out"), PLAIN).ok();
    assert_eq!(read(&tmp.join("out/lib/deep/deep.txt")), "deep\n");
    for url in [
        "/etc",
        "file:///etc",
        "ext::sh -c id",
        "-u",
        "https://u:p@host.example/x.git",
    ] {
        let app = Repo::new();
        link(&app, "lib", url, &lib.head());
        app.bare_clone(&tmp.join("served/bad.git"));
        options.remotes = vec![shipit_source::Remote::parse(&http.url("bad.git")).unwrap()];
        options.mirror = tmp.join("bad-mirror");
        let error = export(&options, &app.head(), &tmp.join("bad"), PLAIN).err();
        assert!(
            matches!(
                error,
                Error::Submodule { .. } | Error::InSubmodule { .. } | Error::SubmoduleHost { .. }
            ),
            "{url}: {error:?}"
        );
        assert!(
            error.hint().is_some_and(|hint| !hint.is_empty()),
            "{url}: {error:?}"
        );
        std::fs::remove_dir_all(tmp.join("served/bad.git")).unwrap();
    }
}

/// A repository with an LFS file, made by the real git-lfs, and a bare clone with its objects.
fn with_lfs(tmp: &Tmp) -> Repo {
    let repo = Repo::new();
    repo.git(&["lfs", "install", "--local"]);
    repo.git(&["lfs", "track", "*.bin"]);
    repo.write("big.bin", vec![7; 300_000])
        .script("sub/run.bin", vec![8; 1000])
        .write("plain", "x\n")
        .commit("lfs");
    let bare = tmp.join("served/lfs.git");
    repo.bare_clone(&bare);
    repo.git(&["remote", "add", "origin", &format!("file://{}", bare.display())]);
    repo.git(&["lfs", "push", "--all", "origin"]);
    repo
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn lfs_pointers_are_refused_by_name_when_lfs_is_off() {
    let tmp = Tmp::new("parts");
    let repo = with_lfs(&tmp);
    let error = export(
        &options(&tmp, &[repo.path().to_str().unwrap()]),
        "HEAD",
        &tmp.join("out"),
        PLAIN,
    )
    .err();
    let named =
        matches!(&error, Error::LfsPointers { count: 2, paths, .. } if *paths == ["big.bin", "sub/run.bin"]);
    assert!(named, "{error:?}");
    assert!(!tmp.join("out").exists());
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn lfs_files_come_from_the_repository_itself_or_by_git_lfs() {
    let tmp = Tmp::new("parts");
    let repo = with_lfs(&tmp);
    let url = format!("file://{}", tmp.join("served/lfs.git").display());
    for (at, remote) in [repo.path().to_str().unwrap(), &url].into_iter().enumerate() {
        let mut options = options(&tmp, &[remote]);
        options.lfs = true;
        options.fetch = Fetch::Auto;
        options.mirror = tmp.join(format!("m{at}"));
        for again in 0..2 {
            let out = tmp.join(format!("out{at}.{again}"));
            let told = export(&options, &repo.head(), &out, PLAIN);
            let asked = told
                .events
                .iter()
                .any(|event| matches!(event, Event::LfsFetching { .. }));
            assert_eq!(asked, at == 1 && again == 0, "{:?}", told.events);
            told.ok();
            assert_eq!(std::fs::read(out.join("big.bin")).unwrap(), vec![7; 300_000]);
            assert_eq!(std::fs::read(out.join("sub/run.bin")).unwrap(), vec![8; 1000]);
            let mode =
                std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(out.join("sub/run.bin")).unwrap());
            assert_eq!(mode & 0o777, 0o755);
        }
    }
    // An object that nobody has any more.
    std::fs::remove_dir_all(tmp.join("served/lfs.git/lfs")).unwrap();
    let mut options = options(&tmp, &[&url]);
    options.lfs = true;
    options.mirror = tmp.join("gone");
    let error = export(&options, &repo.head(), &tmp.join("gone-out"), PLAIN).err();
    assert!(matches!(error, Error::LfsObject { .. }), "{error:?}");
}
