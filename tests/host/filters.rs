//! Random trees and random patterns: what `apply` makes of dest against what the real rsync makes of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use shipit_testbed::Tmp;

use crate::support::{Sandbox, difference, holds, pack, program, sum};

/// How many trees with patterns `make test` goes through; each is another one, and the same in every run.
const ROUNDS: std::ops::Range<u64> = 0..20;
/// And `make soak`.
const SOAK: std::ops::Range<u64> = 20..2000;

/// A small generator of the same numbers in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn hits(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

const NAMES: [&str; 12] = [
    "a", "b", "ab", "abc", "x.pid", "a.b", "[a]", "a*b", "tmp", "log", "A", "b\\c",
];
const PIECES: [&str; 27] = [
    "a",
    "b",
    "ab",
    "abc",
    "*",
    "**",
    "***",
    "?",
    "[ab]",
    "[!a]",
    "[^b]",
    "[a-c]*",
    "*.pid",
    "x.*",
    "tmp",
    "log",
    "[[:upper:]]",
    "[[:alpha:]b]",
    "\\*",
    "\\[a]",
    "a\\*b",
    "b\\c",
    "[]a]",
    "[a",
    "a**b",
    "*b*",
    "[\\]a-b]",
];

/// A pattern of one to four pieces with every kind of decoration.
fn pattern(dice: &mut Dice) -> String {
    let mut text = String::new();
    if dice.hits(15) {
        text.push_str(dice.one(&["- ", "+ ", "+ ", "-", "+"]));
    }
    if dice.hits(35) {
        text.push('/');
    }
    let pieces = 1 + dice.below(4);
    for at in 0..pieces {
        if at > 0 && dice.hits(75) {
            text.push('/');
        }
        text.push_str(dice.one(&PIECES));
    }
    if dice.hits(25) {
        text.push('/');
    }
    match dice.below(60) {
        0 => "!".to_owned(),
        1 => "!a".to_owned(),
        2 => "/".to_owned(),
        3 => String::new(),
        4 => " a".to_owned(),
        5 => text + " ",
        6 => text + "//",
        _ => text,
    }
}

/// A tree of files, links and directories, three deep, with few names so that patterns hit.
fn grow(dice: &mut Dice, dir: &Path, depth: usize) {
    fs::create_dir_all(dir).unwrap();
    for name in NAMES {
        if !dice.hits(45) {
            continue;
        }
        let path = dir.join(name);
        match dice.below(10) {
            0..5 if depth < 3 => grow(dice, &path, depth + 1),
            9 => symlink(dice.one(&["a", "../b", "/nowhere"]), &path).unwrap(),
            _ => {
                fs::write(&path, dice.one(&["one", "two", "three"])).unwrap();
                let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + dice.below(2) as u64);
                fs::File::options()
                    .write(true)
                    .open(&path)
                    .unwrap()
                    .set_modified(time)
                    .unwrap();
            }
        }
    }
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_100_000_000);
    fs::File::open(dir).unwrap().set_modified(time).unwrap();
}

fn yaml(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

struct Round {
    sandbox: Sandbox,
    excludes: Vec<String>,
    from: Option<String>,
}

impl Round {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // Seeds that are alike give first numbers that are alike.
        (0..5).for_each(|_| _ = dice.below(2));
        let sandbox = Sandbox::new("filter");
        grow(&mut dice, &sandbox.join("tree"), 0);
        if dice.hits(90) {
            grow(&mut dice, &sandbox.join("dest"), 0);
        }
        let excludes = (0..1 + dice.below(4)).map(|_| pattern(&mut dice)).collect();
        let from = dice.hits(30).then(|| {
            let lines: Vec<_> = (0..1 + dice.below(4)).map(|_| pattern(&mut dice)).collect();
            format!("# rules\n\n{}\n; end\n", lines.join("\n"))
        });
        if let Some(text) = &from {
            sandbox.write("tree/rules", text);
        }
        Self {
            sandbox,
            excludes,
            from,
        }
    }

    fn with_rsync(&self, dest: &Path) -> bool {
        if self.sandbox.join("dest").exists() {
            assert!(
                program("cp")
                    .arg("-a")
                    .arg(self.sandbox.join("dest"))
                    .arg(dest)
                    .status()
                    .unwrap()
                    .success()
            );
        }
        let mut tree = self.sandbox.join("tree").into_os_string();
        tree.push("/");
        let mut cmd = program("rsync");
        cmd.args(["-a", "--delete"]);
        if self.from.is_some() {
            cmd.arg("--exclude-from").arg(self.sandbox.join("tree/rules"));
        }
        for rule in &self.excludes {
            cmd.arg("--exclude").arg(rule);
        }
        let mut to = dest.as_os_str().to_owned();
        to.push("/");
        cmd.arg(tree).arg(to).output().unwrap().status.success()
    }

    fn with_apply(&self) -> Result<(), String> {
        let archive = pack(&self.sandbox, "tree.tar", &self.sandbox.join("tree"));
        let rules: Vec<_> = self.excludes.iter().map(|rule| yaml(rule)).collect();
        let mut manifest = format!(
            "src: 'file://{}'\nchecksum: '{}'\ndest: '{}'\nexcludes: [{}]\n",
            archive.display(),
            sum("md5sum", &archive),
            self.sandbox.join("dest").display(),
            rules.join(", ")
        );
        if self.from.is_some() {
            manifest.push_str("exclude_from: rules\n");
        }
        let outcome = self.sandbox.apply(&manifest);
        outcome
            .result
            .map(drop)
            .map_err(|error| crate::support::shown(&error))
    }
}

/// Modes of directories that were not there come from the archive in one case and from the tree in the other; both are
/// the same here but for dest's own, which stretcher sets.
fn without_root(root: &Path) -> std::collections::BTreeMap<PathBuf, crate::support::Seen> {
    let mut all = holds(root);
    all.remove(Path::new(""));
    all
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn random_patterns_leave_what_rsync_leaves() {
    compare(ROUNDS);
}

#[test]
#[ignore = "takes minutes; run make soak"]
fn soak_random_patterns_leave_what_rsync_leaves() {
    compare(SOAK);
}

fn compare(seeds: std::ops::Range<u64>) {
    let rounds = seeds.end - seeds.start;
    let mut agreed = 0;
    for seed in seeds {
        let round = Round::new(seed);
        let theirs = Tmp::new("rsync");
        let dest = theirs.join("dest");
        let rsync_ok = round.with_rsync(&dest);
        let ours = round.with_apply();
        let what = format!(
            "seed {seed}: excludes {:?}, from {:?}",
            round.excludes, round.from
        );
        assert_eq!(rsync_ok, ours.is_ok(), "{what}: {ours:?}");
        if !rsync_ok {
            continue;
        }
        let differs = difference(&without_root(&dest), &without_root(&round.sandbox.join("dest")));
        assert!(
            differs.is_empty(),
            "{what}: rsync / apply\n{}",
            differs.join("\n")
        );
        agreed += 1;
    }
    assert!(
        agreed > rounds / 2,
        "only {agreed} of {rounds} rounds went through"
    );
}
