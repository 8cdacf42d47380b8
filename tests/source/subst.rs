//! `export-subst`, against `git archive`.

use std::ffi::OsStr;

use shipit_source::Error;
use shipit_testbed::{Repo, Tmp};

use crate::archive::{PLAIN, commit_index, compare, raw};
use crate::support::{export, options};

#[test]
#[ignore = "needs the testbed; run make test"]
fn export_subst() {
    let repo = Repo::new();
    repo.write("other", "x").commit("first");
    raw(
        &repo,
        OsStr::new(".gitattributes"),
        b"v* export-subst\nv2 ident eol=crlf\n",
        "100644",
    );
    let all =
        b"$Format:%H$|$Format:%h$|$Format:%T %t$|$Format:%P %p$|$Format:%an %ae %al$|$Format:%cn %ce %cl$\n\
        $Format:%ad|%aD|%ai|%aI|%as|%at$\n$Format:%cd|%cD|%ci|%cI|%cs|%ct$\n$Format:%s$|$Format:%f$\n\
        $Format:%b$\n$Format:%B$\n$Format:%e$|$Format:%n%%%x41%x0z%z%$|$Format:%+s%-e% s$|$Format:a%n%n%-e$\n\
        $Format:multi\nline %h$ $Format:$ $Format:open %H\n";
    raw(&repo, OsStr::new("v1"), all, "100644");
    raw(&repo, OsStr::new("v2"), all, "100644");
    raw(&repo, OsStr::new("v3"), b"$Format:%H%x00%h$\n", "100644");
    commit_index(
        &repo,
        "Subject: of the commit... \nsecond line\n\n\nbody \u{e9}\n\nmore\n",
    );
    compare(&repo, "HEAD");
    compare(&repo, "HEAD~1");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn export_subst_of_a_merge_and_of_another_encoding() {
    let repo = Repo::new();
    repo.write(".gitattributes", "v export-subst\n")
        .write("v", "$Format:%P|%p|%an|%s|%b|%e|%B$\n")
        .commit("first");
    repo.branch("side").write("a", "1").commit("side");
    repo.switch("main").write("b", "1").commit("main");
    repo.git(&["merge", "--quiet", "--no-ff", "-m", "merged", "side"]);
    compare(&repo, "HEAD");
    let message = repo.join("../message");
    std::fs::write(&message, b"caf\xe9\n\nd\xe9j\xe0 vu\n").unwrap();
    let encoding = "i18n.commitEncoding=ISO-8859-1";
    repo.git(&[
        "-c",
        encoding,
        "commit",
        "--quiet",
        "--allow-empty",
        "-F",
        message.to_str().unwrap(),
    ]);
    compare(&repo, "HEAD");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn placeholders_of_more_than_the_commit_are_refused() {
    for placeholder in ["%d", "%D", "%(describe)", "%N", "%G?", "%aN", "%ar"] {
        let repo = Repo::new();
        repo.write(".gitattributes", "v export-subst\n")
            .write("v", format!("$Format:x{placeholder}$\n"))
            .commit("x");
        let tmp = Tmp::new("archive");
        let told = export(
            &options(&tmp, &[repo.path().to_str().unwrap()]),
            "HEAD",
            &tmp.join("out"),
            PLAIN,
        );
        let error = told.err();
        let named = matches!(&error, Error::Placeholder { path, placeholder: found, .. } if path == "v" && found == placeholder);
        assert!(named, "{error:?}");
        assert!(!tmp.join("out").exists());
    }
}
