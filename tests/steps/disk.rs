//! Disks that fill up while `shipit build` writes: whose fault it was is told by the exit code.

use std::path::Path;

use shipit_testbed::{Cmd, Ran, Repo, Tmp, Tmpfs};

use crate::bench::Bench;

// Each test takes its turn: the others of this process adopt and end what they find, and a `mount` would be among it.

/// `shipit build` of a repository in `place`, with the cache in `cache`.
fn build(place: &Path, cache: &Path, step: &str, big: usize) -> Ran {
    let home = Tmp::new("home");
    let repo = Repo::init_at(&place.join("shop"));
    let config = format!(
        "app = \"shop\"\n[store]\nurl = \"file:///nowhere\"\n[[build.step]]\nname = \"loud\"\nrun = '{step}'\n"
    );
    repo.write("shipit.toml", config)
        .write("big", vec![b'x'; big])
        .commit("first");
    Cmd::new(env!("CARGO_BIN_EXE_shipit"))
        .args(["build", "--quiet"])
        .cwd(repo.path())
        .env("HOME", home.path())
        .env("SHIPIT_CACHE_DIR", cache)
        .run()
}

#[track_caller]
fn full(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!(ran.code(), Some(code), "{ran}");
    for word in words {
        assert!(ran.err().contains(word), "{word}\n{ran}");
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn the_disk_of_the_export() {
    let _turn = Bench::new();
    let (tmp, small) = (Tmp::new("disk"), Tmpfs::mount(4 << 20));
    let ran = build(tmp.path(), small.path(), "true", 8 << 20);
    full(
        &ran,
        10,
        &[
            "/big failed",
            "No space left",
            "hint: free some space",
            "SHIPIT_CACHE_DIR",
        ],
    );
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn the_disk_of_the_log() {
    let _turn = Bench::new();
    for end in ["", "; exit 3"] {
        let (tmp, small) = (Tmp::new("disk"), Tmpfs::mount(4 << 20));
        let step = format!("yes | head -c 9000000{end}");
        let ran = build(small.path(), &tmp.join("cache"), &step, 10);
        full(
            &ran,
            10,
            &[
                "cannot write the log",
                "loud.log",
                "No space left",
                "hint: free some space",
            ],
        );
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn the_disk_that_a_command_fills() {
    let _turn = Bench::new();
    let (tmp, small) = (Tmp::new("disk"), Tmpfs::mount(4 << 20));
    let ran = build(tmp.path(), small.path(), "head -c 9000000 /dev/zero > made", 10);
    full(&ran, 4, &["step `loud` failed with exit code 1", "No space left"]);
}
