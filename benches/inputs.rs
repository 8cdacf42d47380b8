//! What the cases work on, made here when a case first asks for it: a repository, a tree with its dependencies, an
//! artifact of it. All but the installed packages is gone after the run.

mod history;
mod packages;
mod shop;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use shipit_testbed::Tmp;

use crate::run::{git, pipeline, printed, run};
use crate::worker::{VENDORED, worker};

pub use history::Commits;
pub use shop::{BUCKET, Shop};

/// The bare repository's name under the root that is served.
pub const SERVED: &str = "shop.git";

/// The generated repository.
#[derive(Debug)]
pub struct Repository {
    /// The directory to serve.
    pub root: PathBuf,
    /// What is deployed of it.
    pub commits: Commits,
}

impl Repository {
    /// The repository itself.
    pub fn bare(&self) -> PathBuf {
        self.root.join(SERVED)
    }

    /// Lets the served branch name this commit.
    pub fn show(&self, commit: &str) {
        run(git(&self.bare(), &["update-ref", "refs/heads/main", commit]));
    }
}

/// The inputs of one run.
pub struct Inputs {
    work: Tmp,
    repository: OnceLock<Repository>,
    tree: OnceLock<PathBuf>,
    artifact: OnceLock<PathBuf>,
    shop: OnceLock<Shop>,
}

impl Inputs {
    /// Nothing is made yet. `parent` lies on the file system that is measured.
    pub fn new(parent: &Path) -> Self {
        Self {
            work: Tmp::within(parent, "bench"),
            repository: OnceLock::new(),
            tree: OnceLock::new(),
            artifact: OnceLock::new(),
            shop: OnceLock::new(),
        }
    }

    /// A fresh directory of one case.
    pub fn dir(&self, name: &str) -> PathBuf {
        self.work.mkdir(name)
    }

    /// The repository, packed as a forge keeps it.
    pub fn repository(&self) -> &Repository {
        self.repository.get_or_init(|| {
            eprintln!("  making the repository …");
            let root = self.work.mkdir("served");
            let commits = history::make(&root.join(SERVED));
            Repository { root, commits }
        })
    }

    /// What a build packs: the commit's files and the packages that its step vendors.
    pub fn tree(&self) -> PathBuf {
        let make = || {
            let packages = packages::installed();
            eprintln!("  making the tree …");
            let repository = self.repository();
            let tree = self.work.mkdir("tree");
            let script = r#"git --git-dir "$REPOSITORY" archive "$REVISION" | tar x -C "$TREE"; cp -a "$PACKAGES" "$TREE/""#;
            run(pipeline(
                script,
                &[
                    ("REPOSITORY", repository.bare().as_os_str()),
                    ("REVISION", repository.commits.main.as_ref()),
                    ("TREE", tree.as_os_str()),
                    ("PACKAGES", packages.join(VENDORED).as_os_str()),
                ],
            ));
            tree
        };
        self.tree.get_or_init(make).clone()
    }

    /// The tree's artifact at the levels that `shipit build` packs with.
    pub fn artifact(&self) -> PathBuf {
        let make = || printed(self.packing(&self.dir("artifact"), [9, 3])).into();
        self.artifact.get_or_init(make).clone()
    }

    /// The project that is built, published and applied as a whole.
    pub fn shop(&self) -> &Shop {
        self.shop.get_or_init(|| {
            let packages = [packages::installed(), packages::bumped()];
            Shop::new(self.repository(), &self.work.mkdir("shop"), &packages)
        })
    }

    /// A command that packs the tree, its dependencies and its code at these levels.
    pub fn packing(&self, out: &Path, levels: [i32; 2]) -> Command {
        let mut command = worker("pack");
        command
            .arg(self.tree())
            .arg(out)
            .args(levels.map(|level| level.to_string()));
        command
    }

    /// A file of random bytes.
    pub fn random(&self, bytes: u64) -> PathBuf {
        let path = self.work.join("random");
        let script = r#"head -c "$BYTES" /dev/urandom >"$FILE""#;
        let bytes = bytes.to_string();
        run(pipeline(
            script,
            &[("BYTES", bytes.as_ref()), ("FILE", path.as_os_str())],
        ));
        path
    }

    /// Removes all that was made, millions of files, with as many hands as there are cores.
    pub fn remove(self) {
        eprintln!("removing what was made …");
        // The servers go first: they write below it.
        drop(self.shop);
        let script = r#"find "$WORK" -mindepth 2 -maxdepth 2 -print0 >"$WORK/list"; xargs -0 -r -a "$WORK/list" -n 2 -P 2 rm -rf"#;
        run(pipeline(script, &[("WORK", self.work.path().as_os_str())]));
    }

    /// What the cases worked on.
    pub fn summary(&self) -> String {
        let mut lines = Vec::new();
        if let Some(repository) = self.repository.get() {
            let bare = repository.bare();
            let main = &repository.commits.main;
            let count = |args: &[&str]| printed(git(&bare, args)).lines().count();
            lines.push(format!(
                "repository: {} files, {} commits",
                count(&["ls-tree", "-r", "--name-only", main]),
                count(&["rev-list", main])
            ));
        }
        if let Some(tree) = self.tree.get() {
            let script = r#"find "$TREE" -type f -printf '%s\n' | awk '{ bytes += $1 } END { printf "%d files, %.0f MB", NR, bytes / 1e6 }'"#;
            let all = printed(pipeline(script, &[("TREE", tree.as_os_str())]));
            let vendored = printed(pipeline(script, &[("TREE", tree.join(VENDORED).as_os_str())]));
            lines.push(format!("tree: {all}; of them vendored: {vendored}"));
        }
        lines.join("\n")
    }
}
