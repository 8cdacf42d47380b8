//! The export is what `git archive` writes: byte for byte, mode for mode, second for second.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::AtomicBool;

use shipit_artifact::Tree;
use shipit_source::{Error, Event, Source, TreeOptions};
use shipit_testbed::{Cmd, Repo, Tmp};

use crate::support::{JOBS, archive, export, options, snapshot, told};

pub const PLAIN: TreeOptions = TreeOptions { revision_file: false };

/// Puts exactly these bytes into the index, whatever the attributes would make of them.
pub fn raw(repo: &Repo, name: &OsStr, content: &[u8], mode: &str) {
    raw_all(repo, &[(name.to_owned(), content.to_vec(), mode)]);
}

/// As `raw`, for many files with two runs of git in all.
pub fn raw_all(repo: &Repo, files: &[(OsString, Vec<u8>, &str)]) {
    let git = || {
        Cmd::new("git")
            .args(["-C"])
            .arg(repo.path())
            .envs(shipit_testbed::git_env())
    };
    let mut blobs = Vec::new();
    for (at, (_, content, _)) in files.iter().enumerate() {
        let mark = at + 1;
        blobs.extend(format!("blob\nmark :{mark}\ndata {}\n", content.len()).into_bytes());
        blobs.extend(content);
        blobs.extend(format!("\nget-mark :{mark}\n").into_bytes());
    }
    let import = git().args(["fast-import", "--quiet"]).stdin(blobs);
    let ids = import.run().ok().out();
    assert_eq!(ids.lines().count(), files.len());
    let mut lines = Vec::new();
    for ((name, _, mode), id) in files.iter().zip(ids.lines()) {
        lines.extend(format!("{mode} {id}\t").into_bytes());
        lines.extend(name.as_bytes());
        lines.push(0);
    }
    let index = git().args(["update-index", "-z", "--add", "--index-info"]);
    let _ = index.stdin(lines).run().ok();
}

/// Commits the index, not the work tree.
pub fn commit_index(repo: &Repo, message: &str) -> String {
    let commit = Cmd::new("git")
        .args(["-C"])
        .arg(repo.path())
        .envs(shipit_testbed::git_env());
    let commit = commit
        .env("GIT_AUTHOR_DATE", "1700000000 +0930")
        .env("GIT_COMMITTER_DATE", "1700000100 -0330");
    let _ = commit
        .args(["commit", "--quiet", "--no-verify", "-m", message])
        .run()
        .ok();
    repo.head()
}

pub fn compare(repo: &Repo, revision: &str) {
    let tmp = Tmp::new("archive");
    let (ours, theirs) = (tmp.join("ours"), tmp.join("theirs"));
    archive(repo, revision, &theirs);
    let told = export(
        &options(&tmp, &[repo.path().to_str().unwrap()]),
        revision,
        &ours,
        PLAIN,
    );
    let events = told.events.clone();
    told.ok();
    let (ours, theirs) = (snapshot(&ours), snapshot(&theirs));
    for (name, value) in &theirs {
        let shown = String::from_utf8_lossy(name);
        let other = ours
            .get(name)
            .unwrap_or_else(|| panic!("{shown} is missing\n{events:#?}"));
        assert_eq!((value.0, value.1), (other.0, other.1), "mode and time of {shown}");
        let text = (
            String::from_utf8_lossy(&value.2),
            String::from_utf8_lossy(&other.2),
        );
        assert!(
            value.2 == other.2,
            "{shown}\ngit archive: {}\nshipit:      {}",
            text.0,
            text.1
        );
    }
    let surplus: Vec<_> = ours.keys().filter(|name| !theirs.contains_key(*name)).collect();
    assert!(surplus.is_empty(), "{surplus:?}");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_rich_repository() {
    let repo = Repo::new();
    let top = "*.txt text\n*.auto text=auto\n*.bin binary\n*.crlf text eol=crlf\n*.autocrlf text=auto eol=crlf\n\
        *.only eol=crlf\n*.lf text eol=lf\n*.old crlf\n*.old2 -crlf\n*.id ident\n*.idcrlf ident eol=crlf\n\
        [attr]secretive export-ignore\n*.key secretive\nprivate/ export-ignore\n/only-here export-ignore\n\
        deep/**/gone export-ignore\n!negative export-ignore\n\"quoted name\" export-ignore\n*.un !text eol=crlf\n\
        version export-subst\n*.sub export-subst ident eol=crlf\nlink export-ignore\nlink -export-ignore\n";
    raw(&repo, OsStr::new(".gitattributes"), top.as_bytes(), "100644");
    raw(
        &repo,
        OsStr::new("sub/.gitattributes"),
        b"*.txt -text\n*.crlf !eol\nlocal export-ignore\n[attr]no ident\n",
        "100644",
    );
    raw(
        &repo,
        OsStr::new("sub/deeper/.gitattributes"),
        b"*.txt text eol=crlf\n* export-ignore\n*.txt -export-ignore\n",
        "100644",
    );
    let contents: [(&str, &[u8]); 8] = [
        ("lf", b"a\nb\n$Id$ $Id: x $\n"),
        ("crlf", b"a\r\nb\r\n"),
        ("mixed", b"a\r\nb\nc\rd\n"),
        ("nul", b"a\n\0b\n$Id$"),
        ("empty", b""),
        ("noeol", b"last line without end"),
        ("eof", b"dos\n\x1a"),
        (
            "ids",
            b"$Id$ $Id:$ $Id: old$ $Id: a b $ $Id\n$Id: open\n$ $$Id$$ $id$",
        ),
    ];
    let kinds = [
        "txt", "auto", "bin", "crlf", "autocrlf", "only", "lf", "old", "old2", "id", "idcrlf", "un", "plain",
        "sub",
    ];
    let mut files: Vec<(OsString, Vec<u8>, &str)> = Vec::new();
    for directory in ["", "sub/", "sub/deeper/"] {
        for (name, content) in contents {
            for kind in kinds {
                let path = format!("{directory}{name}.{kind}");
                files.push((path.into(), content.to_vec(), "100644"));
            }
        }
    }
    for name in [
        "a.key",
        "private/x/y",
        "only-here",
        "sub/only-here",
        "deep/gone",
        "deep/a/b/gone/x",
        "negative",
    ] {
        files.push((name.into(), b"x\n".to_vec(), "100644"));
    }
    for name in [
        "quoted name",
        "sub/local",
        "sub/sub/local/x",
        "only-ignored/a.key",
        "sub/x.key",
        "run.sh",
    ] {
        files.push((name.into(), b"#!/bin/sh\n".to_vec(), "100755"));
    }
    raw_all(&repo, &files);
    raw(&repo, OsStr::new("link"), b"../outside/\xff", "120000");
    raw(&repo, OsStr::new("linked.id"), b"$Id$", "120000");
    commit_index(&repo, "rich");
    compare(&repo, "HEAD");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn odd_names_and_long_ones() {
    let repo = Repo::new();
    let long = "d".repeat(200);
    let long = format!("{long}/{long}/{long}/file");
    let names: [&[u8]; 14] = [
        b"\xff\xfe.bin",
        b"new\nline",
        b"tab\there",
        b"quote\"'back\\slash",
        b" leading and trailing ",
        b"-dash",
        b"caf\xc3\xa9",
        b"caf\xe9/x",
        b"*?[glob]",
        b"#hash",
        b"...",
        b"a/b",
        b"a.b",
        b"a0b",
    ];
    let names = names.iter().copied().chain([long.as_bytes()]);
    let files: Vec<_> = names
        .map(|name| (OsStr::from_bytes(name).to_owned(), name.to_vec(), "100644"))
        .collect();
    raw_all(&repo, &files);
    commit_index(&repo, "odd");
    compare(&repo, "HEAD");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn working_tree_encodings() {
    let repo = Repo::new();
    let encodings = [
        "UTF-16",
        "UTF-16LE",
        "UTF-16BE",
        "UTF-16LE-BOM",
        "UTF-16BE-BOM",
        "UTF-32",
        "UTF-32LE",
        "UTF-32BE",
        "UTF-8",
        "utf8",
        "utf-16le",
        "Shift_JIS",
        "SHIFT-JIS",
        "EUC-JP",
        "ISO-8859-1",
        "ISO-8859-15",
        "CP1252",
        "KOI8-R",
        "GBK",
        "no-such-encoding",
        "latin-1",
    ];
    let mut attributes = String::new();
    for (at, encoding) in encodings.iter().enumerate() {
        attributes.push_str(&format!(
            "{at}.* working-tree-encoding={encoding}\n{at}.crlf eol=crlf\n"
        ));
    }
    raw(
        &repo,
        OsStr::new(".gitattributes"),
        attributes.as_bytes(),
        "100644",
    );
    let mut files: Vec<(OsString, Vec<u8>, &str)> = Vec::new();
    let texts: [(&str, &[u8]); 6] = [
        ("ascii", b"plain\n"),
        ("latin", "é\n".as_bytes()),
        ("japanese", "日本語のテキスト\n".as_bytes()),
        ("emoji", "\u{1F600}\n".as_bytes()),
        ("invalid", b"\xff\xfe\n"),
        ("crlf", b"one\ntwo\n"),
    ];
    for (at, encoding) in encodings.iter().enumerate() {
        for (name, text) in texts {
            // glibc writes it in JIS X 0212, which encoding_rs only reads: exported as git stores it, and said.
            if *encoding == "EUC-JP" && name == "latin" {
                continue;
            }
            files.push((format!("{at}.{name}").into(), text.to_vec(), "100644"));
        }
    }
    raw_all(&repo, &files);
    commit_index(&repo, "encodings");
    compare(&repo, "HEAD");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn the_users_and_the_repositorys_own_attributes_do_not_count() {
    let repo = Repo::new();
    repo.write("a.txt", "a\n").write("kept", "x").commit("first");
    let tmp = Tmp::new("archive");
    let theirs = tmp.join("theirs");
    archive(&repo, "HEAD", &theirs);
    std::fs::create_dir_all(repo.join(".git/info")).unwrap();
    std::fs::write(
        repo.join(".git/info/attributes"),
        "kept export-ignore\n*.txt eol=crlf\n",
    )
    .unwrap();
    repo.git(&["config", "core.autocrlf", "true"]);
    repo.git(&["config", "core.eol", "crlf"]);
    repo.write(".gitattributes", "* export-ignore\n");
    let ours = tmp.join("ours");
    export(
        &options(&tmp, &[repo.path().to_str().unwrap()]),
        "HEAD",
        &ours,
        PLAIN,
    )
    .ok();
    assert_eq!(snapshot(&ours), snapshot(&theirs));
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn the_tree_trait_gives_what_is_exported_and_revision_holds_the_id() {
    let repo = Repo::new();
    repo.write(".gitattributes", "*.crlf eol=crlf\nv export-subst\n")
        .write("a.crlf", "a\nb\n")
        .write("v", "$Format:%H$");
    repo.write("REVISION", "mine")
        .script("bin/run", "#!/bin/sh\n")
        .link("link", "bin/run")
        .commit("first");
    let tmp = Tmp::new("archive");
    let events = told(|on_event| {
        let never = AtomicBool::new(false);
        let source = Source::open(options(&tmp, &[repo.path().to_str().unwrap()]))?;
        let commit = source.resolve("main", &never, on_event)?;
        let tree = source.tree(&commit, TreeOptions::default(), &never, on_event)?;
        let exported = tree.export(&tmp.join("out"), JOBS, &never, on_event)?;
        let (mut files, mut bytes) = (0, 0);
        for entry in tree.entries().unwrap() {
            if entry.kind == shipit_artifact::Kind::Directory {
                continue;
            }
            let mut content = Vec::new();
            tree.open(&entry.path).unwrap().read_to_end(&mut content).unwrap();
            assert_eq!(content.len() as u64, entry.size, "{}", entry.path);
            let path = tmp.join("out").join(entry.path.as_path());
            if !path.is_symlink() {
                assert_eq!(content, std::fs::read(&path).unwrap(), "{}", entry.path);
            }
            files += 1;
            bytes += entry.size;
        }
        assert_eq!((exported.files, exported.bytes), (files, bytes));
        let revision = std::fs::read_to_string(tmp.join("out/REVISION")).unwrap();
        assert_eq!(revision, format!("{}\n", repo.head()));
        let tracked: Vec<String> = tree.tracked().iter().map(ToString::to_string).collect();
        assert_eq!(tracked, [".gitattributes", "a.crlf", "bin/run", "link", "v"]);
        // A second export does not mix with the first.
        let again = tree.export(&tmp.join("out"), JOBS, &never, on_event);
        assert!(matches!(again, Err(Error::DestinationInUse { .. })));
        Ok(())
    });
    assert!(events.events.contains(&Event::RevisionFileReplaced));
    events.ok();
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn paths_that_could_harm_are_refused() {
    for name in [".git", ".GIT", ".Git ", ".git.", "git~1", "..", "."] {
        let repo = Repo::new();
        repo.write("x", "x").commit("first");
        let blob = repo.git(&["rev-parse", "HEAD:x"]);
        let git = || {
            Cmd::new("git")
                .args(["-C"])
                .arg(repo.path())
                .envs(shipit_testbed::git_env())
        };
        let tree = git()
            .args(["mktree"])
            .stdin(format!("100644 blob {blob}\t{name}\n"))
            .run()
            .ok()
            .line();
        let tree = git()
            .args(["mktree"])
            .stdin(format!("040000 tree {tree}\tdir\n"))
            .run()
            .ok()
            .line();
        let commit = git().args(["commit-tree", "-m", "bad", &tree]).run().ok().line();
        let tmp = Tmp::new("archive");
        let told = export(
            &options(&tmp, &[repo.path().to_str().unwrap()]),
            &commit,
            &tmp.join("out"),
            PLAIN,
        );
        let error = told.err();
        assert!(
            matches!(error, Error::UnsafePath { .. } | Error::BadPath { .. }),
            "{name}: {error:?}"
        );
        assert!(!tmp.join("out").exists());
    }
}
