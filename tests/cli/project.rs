//! A project of a user: a repository with a shipit.toml, a cache of its own, and `shipit` run in it.

use std::path::{Path, PathBuf};

use shipit_testbed::{Cmd, Ran, Repo, Tmp};

/// A repository, and the surroundings that its commands get.
pub struct Project {
    pub repo: Repo,
    pub tmp: Tmp,
    env: Vec<(String, String)>,
}

impl Project {
    /// An empty repository. Nothing of the machine's user gets in: HOME and the cache are the test's own.
    pub fn new() -> Self {
        let tmp = Tmp::new("project");
        let home = tmp.mkdir("home");
        let env = [
            ("HOME", home),
            ("SHIPIT_CACHE_DIR", tmp.join("cache")),
            ("TMPDIR", tmp.mkdir("tmp")),
        ];
        let env = env
            .map(|(name, path)| (name.to_owned(), path.display().to_string()))
            .to_vec();
        Project {
            repo: Repo::init_at(&tmp.join("shop")),
            tmp,
            env,
        }
    }

    /// Adds variables to what each command gets.
    pub fn env(&mut self, pairs: impl IntoIterator<Item = (String, String)>) {
        self.env.extend(pairs);
    }

    /// Writes shipit.toml.
    pub fn config(&self, text: &str) -> &Self {
        self.repo.write("shipit.toml", text);
        self
    }

    /// `shipit` in the repository.
    pub fn shipit(&self, args: &[&str]) -> Cmd {
        shipit().args(args).cwd(self.repo.path()).envs(self.env.clone())
    }

    /// As `shipit`, started by another program.
    pub fn shipit_under(&self, program: &str, args: &[&str]) -> Cmd {
        let cmd = Cmd::new(program).arg(binary()).args(args);
        cmd.cwd(self.repo.path()).envs(self.env.clone())
    }

    /// Any command with the surroundings that `shipit` gets.
    pub fn surround(&self, cmd: Cmd) -> Cmd {
        cmd.cwd(self.repo.path()).envs(self.env.clone())
    }

    /// Builds a revision and gives the artifact's path.
    #[track_caller]
    pub fn build(&self, rev: &str) -> PathBuf {
        let ran = self.shipit(&["build", "--rev", rev]).run().ok();
        PathBuf::from(ran.line())
    }

    /// Publishes to a stage and gives the role's manifest URL.
    #[track_caller]
    pub fn publish(&self, stage: &str, role: &str) -> String {
        let ran: Ran = self.shipit(&["publish", "--stage", stage]).run().ok();
        let out = ran.out();
        let line = out
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{role}\t")));
        line.unwrap_or_else(|| panic!("no line for {role}\n{ran}"))
            .to_owned()
    }
}

/// The built binary.
pub fn shipit() -> Cmd {
    Cmd::new(binary())
}

/// Its path.
pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_shipit"))
}

/// The release id in a manifest's URL.
pub fn release_of(manifest_url: &str) -> String {
    let mut parts = manifest_url.rsplit('/');
    parts.next();
    parts.next().expect("a manifest's URL has a release").to_owned()
}
