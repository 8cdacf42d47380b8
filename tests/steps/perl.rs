//! carton.

use std::fs;

use shipit_steps::Tool;
use shipit_testbed::fixtures::cpan::CpanMirror;
use shipit_testbed::{Cmd, Tmp};

use crate::bench::{Bench, assert_same_files, listed, names, step, vendor};

const XS: &str = "#include \"EXTERN.h\"\n#include \"perl.h\"\n#include \"XSUB.h\"\n\
    MODULE = Testbed::XS  PACKAGE = Testbed::XS\nint\nanswer()\n  CODE:\n    RETVAL = 42;\n  OUTPUT:\n    RETVAL\n";
const PM: &str = "package Testbed::XS;\n\nour $VERSION = '0.01';\n\nrequire XSLoader;\n\
    XSLoader::load('Testbed::XS', $VERSION);\n\n1;\n";

/// A mirror with one distribution, compiled by the C compiler.
fn xs_mirror() -> Tmp {
    let mirror = Tmp::new("xs");
    let name = "Testbed-XS-0.01";
    let makefile = "use ExtUtils::MakeMaker;\nWriteMakefile(NAME => 'Testbed::XS', VERSION_FROM => 'lib/Testbed/XS.pm');\n";
    let meta = r#"{"name": "Testbed-XS", "version": "0.01", "abstract": "x", "author": ["x"], "license": ["perl_5"],
        "generated_by": "x", "dynamic_config": 0, "release_status": "stable", "meta-spec": {"version": 2},
        "provides": {"Testbed::XS": {"file": "lib/Testbed/XS.pm", "version": "0.01"}}}"#;
    let manifest = "MANIFEST\nMETA.json\nMakefile.PL\nXS.xs\nlib/Testbed/XS.pm\n";
    let files = [
        ("MANIFEST", manifest),
        ("META.json", meta),
        ("Makefile.PL", makefile),
        ("XS.xs", XS),
        ("lib/Testbed/XS.pm", PM),
    ];
    for (file, text) in files {
        mirror.write(format!("{name}/{file}"), text);
    }
    let dir = mirror.mkdir("authors/id/T/TE/TESTBED");
    let tar = Cmd::new("tar")
        .arg("-czf")
        .arg(dir.join(format!("{name}.tar.gz")))
        .arg(name);
    let _ = tar.cwd(mirror.path()).run().ok();
    let header = "File: 02packages.details.txt\n".repeat(9);
    let index = mirror.write(
        "modules/02packages.details.txt",
        format!("{header}\nTestbed::XS 0.01 T/TE/TESTBED/{name}.tar.gz\n"),
    );
    let _ = Cmd::new("gzip").arg(index).run().ok();
    mirror
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn carton_vendors_the_same_twice_and_a_host_can_use_it() {
    let bench = Bench::new();
    let mirror = CpanMirror::build();
    let other = bench.elsewhere();
    mirror.write_app(bench.root());
    mirror.write_app(&other.root);
    let mut carton = step(Tool::Carton);
    carton.env = listed(mirror.env());
    let (one, _) = vendor(&carton, &bench.workspace);
    let (two, _) = vendor(&carton, &other);
    assert_eq!(names(&one.paths), ["local"]);
    assert_same_files(&one, &two);

    let host = Tmp::new("host");
    let moved = host.join("release");
    fs::rename(bench.root(), &moved).unwrap();
    let exec = [
        "exec",
        "perl",
        "-MAcme::Hello",
        "-e",
        "print Acme::Hello::hello()",
    ];
    let ran = Cmd::new("carton")
        .args(exec)
        .home(host.path())
        .cwd(&moved)
        .run()
        .ok();
    assert_eq!(ran.out(), "hello 0.01");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn what_carton_compiles_does_not_hold_the_workspace() {
    let bench = Bench::new();
    let (mirror, other) = (xs_mirror(), bench.elsewhere());
    let url = format!("file://{}", mirror.path().display());
    let mirror_env = vec![("PERL_CARTON_MIRROR".to_owned(), url)];
    let work = Tmp::new("snapshot");
    work.write("cpanfile", "requires 'Testbed::XS';\n");
    let install = Cmd::new("carton")
        .arg("install")
        .envs(mirror_env.clone())
        .home(work.path());
    let _ = install.cwd(work.path()).run().ok();
    for root in [bench.root(), &other.root] {
        for name in ["cpanfile", "cpanfile.snapshot"] {
            fs::copy(work.join(name), root.join(name)).unwrap();
        }
    }
    let mut carton = step(Tool::Carton);
    carton.env = listed(mirror_env);
    let (one, _) = vendor(&carton, &bench.workspace);
    let (two, _) = vendor(&carton, &other);
    let files = crate::bench::files(&one);
    assert!(
        files.keys().any(|path| path.ends_with("XS.so")),
        "{:?}",
        files.keys()
    );
    assert_same_files(&one, &two);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn carton_takes_vendor_cache_when_it_is_there() {
    let bench = Bench::new();
    let mirror = CpanMirror::build();
    mirror.write_app(bench.root());
    let home = Tmp::new("home");
    for args in [&["install"][..], &["bundle"]] {
        let cmd = Cmd::new("carton")
            .args(args)
            .envs(mirror.env())
            .home(home.path())
            .cwd(bench.root());
        let _ = cmd.run().ok();
    }
    fs::remove_dir_all(bench.root().join("local")).unwrap();
    drop(mirror);
    let (vendored, events) = vendor(&step(Tool::Carton), &bench.workspace);
    assert_eq!(names(&vendored.paths), ["local"]);
    let text = format!("{events:?}");
    assert!(text.contains("carton install --deployment --cached"), "{text}");
    assert!(bench.root().join("local/lib/perl5/Acme/Hello.pm").is_file());
}
