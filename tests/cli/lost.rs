//! A cache directory without room, closed to the user that builds, or removed under a build: it is said, and nothing wrong comes
//! of it.

use std::fs;
use std::path::{Path, PathBuf};

use shipit_testbed::{Cmd, Ran, Tmpfs};

use crate::cached::{Shop, files};
use crate::project::binary;
use crate::small;

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_disk_that_is_full_when_the_layer_is_kept_leaves_nothing_half_written() {
    // The tree and what the step makes of it have room, the packed layer has not.
    let shop = Shop::with("mkdir vendor; head -c 6000000 /dev/urandom >vendor/noise", "");
    let disk = Tmpfs::mount(9 << 20);
    let cache = disk.path().join("cache");
    let args = ["build", "--cache-dir", cache.to_str().unwrap()];
    let ran = shop.project.shipit(&args).run().exits(10).says("room");
    let left: Vec<_> = files(&cache.join("layers"))
        .into_iter()
        .filter(|path| fs::metadata(path).unwrap().len() > 4096)
        .collect();
    assert_eq!(left, Vec::<PathBuf>::new(), "{ran}");
    assert_eq!(
        small::artifacts(&shop.project)
            .iter()
            .filter(|name| name.ends_with(".json"))
            .count(),
        0
    );
    let _ = shop.build();
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_cache_that_may_not_be_written_to_is_said_and_the_build_goes_on() {
    let shop = Shop::new("");
    let artifact = shop.build();
    let _ = fs::remove_dir_all(shop.cache());
    let cache = shop.project.tmp.mkdir("cache");
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o555);
    fs::set_permissions(&cache, closed).unwrap();
    let ran = as_nobody_special(&shop).says(cache.to_str().unwrap());
    assert_eq!(Path::new(&ran.line()), artifact, "{ran}");
    assert_eq!(files(&cache), Vec::<PathBuf>::new());
}

/// Builds without the rights of root, who may write everywhere.
#[track_caller]
fn as_nobody_special(shop: &Shop) -> Ran {
    let script =
        "[ $(id -u) = 0 ] && set -- setpriv --bounding-set -all --inh-caps -all -- \"$@\"; exec \"$@\"";
    let cmd = Cmd::new("sh")
        .args(["-c", script, "sh"])
        .arg(binary())
        .arg("build");
    shop.project.surround(cmd).run().ok()
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_part_of_the_cache_that_may_not_be_written_to_is_said_and_the_build_goes_on() {
    use std::os::unix::fs::PermissionsExt as _;
    let shop = Shop::new("[[build.step]]\nname = \"free\"\nrun = \"cat vendor/1 >seen\"\n");
    let text = fs::read_to_string(shop.project.repo.join("shipit.toml")).unwrap();
    let repo = format!("repo = \"file://{}\"\napp", shop.project.repo.path().display());
    let _ = shop.project.config(&text.replacen("app", &repo, 1));
    let _ = shop.build();
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for part in ["work", "mirrors", "tools", "layers"] {
        let top = shop.cache().join(part);
        // As the parts of another user: the app's workspace, its mirror, the layers whose key begins with two digits.
        let mut closed = vec![top.clone()];
        if part == "layers" {
            closed = (0..256).map(|n| top.join(format!("{n:02x}"))).collect();
        } else if part != "tools" {
            let entries = fs::read_dir(&top).unwrap().map(|entry| entry.unwrap().path());
            closed = entries.filter(|path| path.is_dir()).collect();
        }
        for path in &closed {
            fs::create_dir_all(path).unwrap();
            set(path, 0o555);
        }
        shop.project.repo.write("lock", format!("{}\n", 20 + part.len()));
        shop.edit(part);
        let ran = as_nobody_special(&shop)
            .says("cannot")
            .says(top.to_str().unwrap());
        assert!(ran.err().contains("for the next"), "{ran}");
        for path in &closed {
            set(path, 0o755);
        }
        let clean = shop.project.tmp.join("clean").display().to_string();
        let clean = shop
            .project
            .shipit(&["build", "--clean", "--cache-dir", &clean])
            .run()
            .ok();
        assert_eq!(ran.line(), clean.line(), "{ran}");
    }
}

/// A free command after the layer that does this once, and tells by the file that `done` names that it did.
fn once(shop: &Shop, command: &str) {
    let done = shop.project.tmp.join("done").display().to_string();
    let text = fs::read_to_string(shop.project.repo.join("shipit.toml")).unwrap();
    let run = format!("[ -e {done} ] || {{ : >{done}; {command}; }}; cat vendor/1 >seen");
    let step = format!(
        "[[build.step]]\nname = \"free\"\nrun = {}\n[store]",
        small::quoted(&run)
    );
    let _ = shop.project.config(&text.replacen("[store]", &step, 1));
}

#[test]
fn layers_that_somebody_removes_while_a_build_uses_them_are_made_again() {
    for what in ["/layers/??", "/layers"] {
        let shop = Shop::new("");
        let cache = shop.cache().display().to_string();
        once(&shop, &format!("rm -rf {cache}{what}"));
        let ran = shop.project.shipit(&["build"]).run().ok();
        let ran =
            ran.says("deps: the cached layer is not used: something removed it while the build used it");
        assert_eq!(shop.ran(), 2, "{ran}");
        assert_eq!(shop.build(), Path::new(&ran.line()), "{ran}");
        assert_eq!(shop.ran(), 2, "it is kept again");
    }
}

#[test]
fn a_cache_that_somebody_removes_while_a_build_uses_it_is_said() {
    // The step sees it, and the step does not.
    for end in ["", "; exit 0"] {
        let shop = Shop::new("");
        once(&shop, &format!("rm -rf {}{end}", shop.cache().display()));
        let ran = shop.project.shipit(&["build"]).run().exits(10);
        let ran = ran.says("something removed ").says("run the build again");
        assert!(!ran.err().contains("a later step changed"), "{ran}");
        let _ = shop.build();
    }
}
