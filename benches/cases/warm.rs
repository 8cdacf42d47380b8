//! A build whose dependencies are cached, against one with the same bytes of dependencies in a tenth of the files.

use std::path::{Path, PathBuf};
use std::process::Command;

use shipit_testbed::Repo;

use crate::compare::{Measured, ROUNDS, in_turn};
use crate::inputs::Inputs;
use crate::run::{program, run};

/// The files of the smaller side.
const FILES: u32 = 4_000;
/// The lines of all of its files together, of some twenty bytes each.
const LINES: u32 = 4_000_000;

/// The dependencies: the same lines, in as many files as are asked for.
const VENDOR: &str = r#"perl -e '
    my ($files, $lines) = @ARGV;
    my ($line, $state) = (0, 1);
    mkdir "vendor" or die $!;
    for my $file (0 .. $files - 1) {
        my $dir = "vendor/" . int($file / 100);
        mkdir $dir;
        open my $out, ">", "$dir/$file" or die $!;
        for (1 .. $lines / $files) {
            $state = ($state * 1103515245 + 12345) % 2147483648;
            printf $out "%d value %x\n", $line++ % 1000, $state >> 12;
        }
        close $out or die $!;
    }'"#;

/// One changed line of code, with ten times the files of dependencies.
pub fn ten_times_the_files(inputs: &Inputs) -> Measured {
    let dir = inputs.dir("warm");
    let [ours, peer] =
        [("many", FILES * 10), ("few", FILES)].map(|(name, files)| Project::new(&dir.join(name), files));
    in_turn(
        ROUNDS,
        |round| {
            let command = ours.build(round + 1);
            || run(command)
        },
        |round| {
            let command = peer.build(round + 1);
            || run(command)
        },
    )
}

struct Project {
    dir: PathBuf,
    commits: Vec<String>,
}

impl Project {
    /// Makes the repository, and builds once: the layer is cached then.
    fn new(dir: &Path, files: u32) -> Self {
        let repo = Repo::init_at(dir);
        let config = format!(
            "app = \"warm\"\n[[build.step]]\nname = \"vendor\"\nrun = \"\"\"{} {files} {LINES}\"\"\"\n\
             inputs = [\"lock\"]\noutputs = [\"vendor\"]\n",
            VENDOR.replace('\\', "\\\\")
        );
        repo.write("shipit.toml", config).write("lock", "");
        repo.write(".gitignore", "/.shipit/\n/cache/\n");
        let commits =
            (0..=ROUNDS + 1).map(|number| repo.write("code", format!("{number}\n")).commit("a line"));
        let project = Self {
            commits: commits.collect(),
            dir: dir.to_owned(),
        };
        run(project.build(0));
        project
    }

    fn build(&self, number: usize) -> Command {
        let mut command = program(env!("CARGO_BIN_EXE_shipit"));
        command
            .args(["--jobs", "2", "build", "--rev", &self.commits[number]])
            .env("SHIPIT_CACHE_DIR", self.dir.join("cache"))
            .env("HOME", &self.dir)
            .current_dir(&self.dir);
        command
    }
}
