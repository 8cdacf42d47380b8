//! Random histories, built one commit after the other with all that earlier builds kept: each artifact has the bytes of a build
//! from nothing. Hosts that follow by difference hold what the artifact holds.
//!
//! A seed decides a history; a failure names it, with the commit and its edits.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use shipit_testbed::Ran;

use crate::commits::{Step, commit_all};
use crate::edits::{Editor, State, file};
use crate::project::{Project, release_of};
use crate::small::{self, dest};
use crate::trees::{Entry, differences, tree, untar};

/// Makes what `deps.lock` names. It fails where an older build's files are left.
const VENDOR: &str = r#"
mkdir vendor vendor/deps
grep -v '^#' deps.lock | while read -r name version; do
  mkdir "vendor/deps/$name" "vendor/deps/$name/lib"
  echo "$name $version" >"vendor/deps/$name/lib/main"
  printf '#!/bin/sh\necho %s\n' "$name" >"vendor/deps/$name/run"
  chmod 755 "vendor/deps/$name/run"
  ln -s lib/main "vendor/deps/$name/link"
  head -c $((version * 40000)) /dev/zero | tr '\0' "${version}" >"vendor/deps/$name/same size"
done
"#;

/// Writes down the whole tree, as this command finds it: what is where, with modes, times, links and contents. Vendored files
/// have the time at which they were vendored.
const LIST: &str = r#"
export LC_ALL=C
{
  find . ! -path ./listing -printf '%p %y %m %l\0' | sort -z
  find . -type f ! -path ./listing ! -path './vendor/*' -printf '%p %T@\0' | sort -z
  find . -type f ! -path ./listing -print0 | sort -z | xargs -0 cksum
} >listing
"#;

fn vendor_step() -> String {
    format!(
        "[[build.step]]\nname = \"deps\"\nrun = {}\ninputs = [\"deps.lock\"]\noutputs = [\"vendor/deps\"]\n",
        small::quoted(VENDOR)
    )
}

fn list_step() -> String {
    format!("[[build.step]]\nname = \"list\"\nrun = {}\n", small::quoted(LIST))
}

/// A lockfile over some of the packages; every other time with a line that changes nothing.
fn lockfile(editor: &mut Editor) -> String {
    let mut text = format!("# written {}\n", editor.below(2));
    for name in ["alpha", "beta", "gamma", "Beta", "delta"] {
        let version = editor.below(4);
        if version > 0 {
            text += &format!("{name} {version}\n");
        }
    }
    text
}

/// A history of so many commits with so many edits each; a third of them touch the lockfile.
fn history(seed: u64, commits: usize, edits: usize) -> Vec<Step> {
    let lock = ("deps.lock", "alpha 1\nbeta 2\n");
    let start = State::from([(lock.0.into(), file(lock.1.into()))]);
    let mut editor = Editor::new(seed, start);
    (0..commits)
        .map(|number| {
            let mut done = editor.edits(if number == 0 { 30 } else { edits });
            if editor.below(3) == 0 {
                let text = lockfile(&mut editor);
                editor.put("deps.lock", &text);
                done.push("another lockfile".to_owned());
            }
            Step {
                state: editor.state(),
                edits: done,
            }
        })
        .collect()
}

/// A project over a history, and where in it a test is.
struct Walk {
    project: Project,
    steps: Vec<Step>,
    ids: Vec<String>,
    seed: u64,
}

impl Walk {
    fn new(seed: u64, steps: Vec<Step>, build: &str, more: &str) -> Self {
        let project = Project::new();
        project.config(&format!(
            "{}{more}",
            small::config(&project, build, "keep_releases = 2\n")
        ));
        let ids = commit_all(&project.repo, &steps);
        Walk {
            project,
            steps,
            ids,
            seed,
        }
    }

    fn at(&self, number: usize) -> String {
        format!(
            "seed {}, commit {number}: {}",
            self.seed,
            self.steps[number].edits.join("; ")
        )
    }

    /// Runs it; a failure says where in the history.
    #[track_caller]
    fn shipit(&self, number: usize, args: &[&str]) -> Ran {
        let ran = self.project.shipit(args).run();
        assert_eq!(ran.code(), Some(0), "{}\n{ran}", self.at(number));
        ran
    }

    #[track_caller]
    fn build(&self, number: usize) -> PathBuf {
        self.shipit(number, &["build", "--rev", &self.ids[number]])
            .line()
            .into()
    }

    /// A build from nothing, beside a cache of its own: it must not put in order what the warm builds left in disorder.
    #[track_caller]
    fn build_clean(&self, number: usize) -> PathBuf {
        let cache = self.project.tmp.join("clean").display().to_string();
        let args = [
            "build",
            "--clean",
            "--cache-dir",
            &cache,
            "--rev",
            &self.ids[number],
        ];
        self.shipit(number, &args).line().into()
    }

    fn every_build_is_as_a_clean_one(&self) {
        for number in 0..self.steps.len() {
            let warm = self.build(number);
            let record = fs::read(record_of(&warm)).unwrap();
            let clean = self.build_clean(number);
            let at = self.at(number);
            if warm != clean {
                let differ = differences(&untar(&warm), &untar(&clean));
                panic!(
                    "{at}\n{} and, clean, {}: {differ:?}",
                    warm.display(),
                    clean.display()
                );
            }
            assert_eq!(record, fs::read(record_of(&clean)).unwrap(), "{at}");
        }
    }
}

fn record_of(artifact: &Path) -> PathBuf {
    let name = artifact.file_name().unwrap().to_str().unwrap();
    artifact.with_file_name(format!("{}.json", name.split('.').next().unwrap()))
}

fn straight_from_git(seed: u64, commits: usize) {
    Walk::new(seed, history(seed, commits, 3), &vendor_step(), "").every_build_is_as_a_clean_one();
}

fn with_a_command_that_sees_the_tree(seed: u64, commits: usize) {
    let build = [vendor_step(), list_step()].concat();
    Walk::new(seed, history(seed, commits, 3), &build, "").every_build_is_as_a_clean_one();
}

/// The first command must not see the layer that the second one reads.
fn with_commands_before_and_behind_the_layer(seed: u64, commits: usize) {
    let behind = "find vendor -printf '%p %y %m %l\\n' | LC_ALL=C sort >vendored";
    let build = [
        list_step(),
        vendor_step(),
        format!(
            "[[build.step]]\nname = \"behind\"\nrun = {}\n",
            small::quoted(behind)
        ),
    ];
    Walk::new(seed, history(seed, commits, 3), &build.concat(), "").every_build_is_as_a_clean_one();
}

#[test]
fn a_build_that_runs_nothing_has_the_bytes_of_a_clean_one() {
    straight_from_git(1, 45);
}

#[test]
fn a_kept_workspace_looks_like_a_fresh_one() {
    with_a_command_that_sees_the_tree(2, 45);
}

#[test]
fn a_command_sees_no_layer_of_the_last_build() {
    with_commands_before_and_behind_the_layer(3, 20);
}

#[test]
#[ignore = "takes minutes; run make soak"]
fn soak_histories() {
    for seed in 100..120 {
        straight_from_git(seed, 60);
        with_a_command_that_sees_the_tree(seed, 60);
        with_commands_before_and_behind_the_layer(seed, 60);
        with_a_kept_directory(seed, 40);
        hosts_follow(seed, 30);
    }
}

/// What make does by times alone: an object for each source, all of them in one file.
const MAKEFILE: &str = "OBJECTS := $(patsubst src/%.in,target/%.out,$(sort $(wildcard src/*.in)))\n\
    built: $(OBJECTS)\n\tcat $(OBJECTS) /dev/null >$@\n\
    target/%.out: src/%.in\n\tmkdir -p target\n\ttr a-z A-Z <$< >$@\n";

fn with_a_kept_directory(seed: u64, commits: usize) {
    let sources = (0..6).map(|number| format!("src/{number}.in"));
    let mut start: State = sources
        .map(|path| (path.into(), file(b"zero\n".to_vec())))
        .collect();
    start.insert("build.mk".into(), file(MAKEFILE.into()));
    let mut editor = Editor::new(seed, start);
    let steps = (0..commits).map(|_| {
        let mut edits = editor.edits(1);
        // Of one size, and often what a source was before: its time alone tells make.
        for _ in 0..2 {
            let (source, word) = (editor.below(6), ["some", "many", "less"][editor.below(3)]);
            editor.put(&format!("src/{source}.in"), &format!("{word}\n"));
            edits.push(format!("src/{source}.in says {word}"));
        }
        Step {
            state: editor.state(),
            edits,
        }
    });
    let build = "[build]\nexclude = [\"target\"]\n[[build.step]]\nname = \"compile\"\nrun = \"make -s -f build.mk\"\nkeep = [\"target\"]\n";
    let walk = Walk::new(seed, steps.collect(), build, "");
    walk.every_build_is_as_a_clean_one();
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn what_a_step_keeps_goes_by_times_that_tell_what_changed() {
    with_a_kept_directory(3, 15);
}

/// Roles with a dest of their own each: one for each way of linking, and one whose host has never anything.
const ROLES: [(&str, &str); 4] = [
    ("web", ""),
    ("copied", "copy"),
    ("linked", "symlink"),
    ("fresh", ""),
];

fn hosts_follow(seed: u64, commits: usize) {
    let walk = {
        let mut more = String::new();
        let steps = history(seed, commits, 6);
        let walk = Walk::new(seed, steps, &vendor_step(), "");
        for (role, link) in &ROLES[1..] {
            let place = dest(&walk.project).with_file_name(role);
            more += &format!(
                "[role.{role}]\ndest = {:?}\nkeep_releases = 2\n",
                place.display().to_string()
            );
            if !link.is_empty() {
                more += &format!("link = \"{link}\"\n");
            }
            more += &format!("[role.{role}.exec]\nhosts = [\"here\"]\ncommand = \"true\"\n");
        }
        let text = fs::read_to_string(walk.project.repo.join("shipit.toml")).unwrap();
        walk.project.config(&format!("{text}{more}"));
        walk
    };
    let place = |role: &str| match role {
        "web" => dest(&walk.project),
        other => dest(&walk.project).with_file_name(other),
    };
    let mut wanted = BTreeMap::new();
    for number in 0..commits {
        let artifact = walk.build(number);
        let urls = published(&walk.shipit(number, &["publish", "--stage", "staging"]));
        let release = release_of(&urls["web"]);
        let _ = fs::remove_dir_all(place("fresh"));
        for (role, _) in ROLES {
            let locks = walk.project.tmp.join("locks").display().to_string();
            let ran = walk.shipit(number, &["apply", &urls[role], "--lock-dir", &locks]);
            let current = fs::read_link(place(role).join("current")).unwrap();
            assert_eq!(current, Path::new("releases").join(&release), "{role}\n{ran}");
        }
        wanted.insert(release, untar(&artifact));
        // The releases that a host still has are what they were, whatever was done beside them since.
        for (role, _) in ROLES {
            let mut found = 0;
            for (release, wanted) in &wanted {
                let root = place(role).join("releases").join(release);
                if root.exists() {
                    found += 1;
                    let differ = differences(wanted, &through_layers(&place(role), &root));
                    assert_eq!(
                        differ,
                        Vec::<PathBuf>::new(),
                        "{role} {release} after {}",
                        walk.at(number)
                    );
                }
            }
            assert!((1..=3).contains(&found), "{role} keeps {found} releases");
        }
    }
}

/// The release's tree, with what lies in a layer in place of the link to it.
fn through_layers(dest: &Path, root: &Path) -> BTreeMap<PathBuf, Entry> {
    let layers = dest.join(".layers");
    let mut found = tree(root);
    let links: Vec<PathBuf> = found
        .iter()
        .filter(|(_, entry)| matches!(entry, Entry::Link(_)))
        .map(|(path, _)| path.clone())
        .collect();
    for path in links {
        let target = fs::canonicalize(root.join(&path)).unwrap_or_default();
        if !target.starts_with(&layers) {
            continue;
        }
        found.remove(&path);
        let parent = target.parent().unwrap();
        let inner = tree(parent)
            .into_iter()
            .filter(|(inner, _)| parent.join(inner).starts_with(&target));
        let name = target.file_name().unwrap();
        assert_eq!(path.file_name(), Some(name), "a link goes to its own name");
        let base = path.parent().unwrap().to_owned();
        found.extend(inner.map(|(inner, entry)| (base.join(inner), entry)));
    }
    found
}

/// The manifests' URLs by their roles.
fn published(ran: &Ran) -> BTreeMap<String, String> {
    let pairs = ran.out();
    let pairs = pairs.lines().filter_map(|line| line.split_once('\t'));
    pairs
        .map(|(role, url)| (role.to_owned(), url.to_owned()))
        .collect()
}

#[test]
fn hosts_that_follow_by_difference_hold_what_the_artifact_holds() {
    hosts_follow(4, 20);
}
