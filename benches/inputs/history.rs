//! The repository: 5,000 source files and 2,000 commits, each of which edits some of them and replaces a picture, so
//! that the history outweighs the newest tree many times over. On top of them the commits that the cases deploy: each one line
//! further, and one that bumps a dependency. The same commits each time.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Stdio;

use crate::run::{git, printed, program, run};

const FILES: u32 = 5_000;
const COMMITS: u32 = 2_000;
/// Commits beyond those of the branch that is deployed.
const NEWER: u32 = 20;
/// Commits of one changed line each.
const LINES: u32 = 16;
/// The file that says which version of a dependency is vendored.
pub const BUMPED: &str = "bumped";
const PICTURES: u32 = 24;
const PICTURE_BYTES: usize = 110_000;
/// Files that one commit edits.
const EDITS: u32 = 3;
/// The first commit's time; each further one is an hour later.
const FIRST: u32 = 1_700_000_000;

/// What is deployed of it.
#[derive(Debug)]
pub struct Commits {
    /// The branch.
    pub main: String,
    /// 20 commits on.
    pub newer: String,
    /// From the branch on, one line changed in each.
    pub lines: Vec<String>,
    /// The branch with one dependency in another version.
    pub bumped: String,
}

/// Makes the bare repository.
pub fn make(bare: &Path) -> Commits {
    let mut init = program("git");
    init.args(["init", "--quiet", "--bare", "--initial-branch=main"])
        .arg(bare);
    run(init);
    let stream = bare.with_extension("import");
    let mut out = BufWriter::new(File::create(&stream).expect("a file of ours"));
    write_stream(&mut out).expect("the import's stream is written");
    drop(out);
    let mut import = git(bare, &["fast-import", "--quiet"]);
    import
        .stdin(File::open(&stream).expect("written just now"))
        .stdout(Stdio::null());
    assert!(
        import.status().expect("git starts").success(),
        "git fast-import failed"
    );
    // One pack with bitmaps, as a server keeps it: else each clone would pay for the search for deltas. Pictures
    // have none.
    run(git(
        bare,
        &[
            "-c",
            "core.bigFileThreshold=64k",
            "repack",
            "-a",
            "-d",
            "-f",
            "-q",
            "--write-bitmap-index",
        ],
    ));
    std::fs::remove_file(&stream).expect("the stream is ours");
    let id = |name: &str| printed(git(bare, &["rev-parse", name]));
    let lines = git(
        bare,
        &["rev-list", "--reverse", "refs/heads/main..refs/heads/lines"],
    );
    let commits = Commits {
        main: id("refs/heads/main"),
        newer: id("refs/heads/newer"),
        lines: printed(lines).lines().map(str::to_owned).collect(),
        bumped: id("refs/heads/bumped"),
    };
    // Served by their numbers alone, until a case moves the branch to one; what keeps them are no branches.
    for name in ["newer", "lines", "bumped"] {
        let (from, to) = (format!("refs/heads/{name}"), format!("refs/keep/{name}"));
        run(git(bare, &["update-ref", &to, &id(&from)]));
        run(git(bare, &["update-ref", "-d", &from]));
    }
    run(git(bare, &["config", "transfer.hideRefs", "refs/keep"]));
    commits
}

fn write_stream(out: &mut impl Write) -> std::io::Result<()> {
    let mut noise = Noise(1);
    for number in 0..COMMITS + NEWER {
        let branch = if number < COMMITS { "main" } else { "newer" };
        write_commit(out, branch, number, number == COMMITS)?;
        if number == 0 {
            write_file(out, BUMPED, b"no\n")?;
            for file in 0..FILES {
                write_file(out, &source_path(file), &source(file, 0))?;
            }
            for picture in 0..PICTURES {
                write_file(out, &picture_path(picture), &noise.bytes(PICTURE_BYTES))?;
            }
        } else {
            for edit in 0..EDITS {
                let file = (number * 7 + edit * 1_663) % FILES;
                write_file(out, &source_path(file), &source(file, number))?;
            }
            write_file(out, &picture_path(number % PICTURES), &noise.bytes(PICTURE_BYTES))?;
        }
        writeln!(out)?;
    }
    for line in 0..LINES {
        write_commit(out, "lines", COMMITS + line, line == 0)?;
        // Edits of a file differ in one line.
        write_file(out, &source_path(0), &source(0, 1_000_000 + line))?;
    }
    write_commit(out, "bumped", COMMITS, true)?;
    write_file(out, BUMPED, b"yes\n")?;
    out.flush()
}

/// A commit's head; the first one of a branch comes after the one that is deployed.
fn write_commit(out: &mut impl Write, branch: &str, number: u32, first: bool) -> std::io::Result<()> {
    writeln!(out, "commit refs/heads/{branch}")?;
    let time = FIRST + number * 3600;
    writeln!(out, "committer A. Author <author@example.com> {time} +0000")?;
    let message = format!("Change {number}");
    write!(out, "data {}\n{message}\n", message.len())?;
    if first {
        writeln!(out, "from refs/heads/main")?;
    }
    Ok(())
}

fn write_file(out: &mut impl Write, path: &str, content: &[u8]) -> std::io::Result<()> {
    write!(out, "M 100644 inline {path}\ndata {}\n", content.len())?;
    out.write_all(content)?;
    writeln!(out)
}

fn source_path(file: u32) -> String {
    format!(
        "src/part-{:02}/module-{:02}/file-{file:04}.js",
        file % 20,
        file / 20 % 10
    )
}

fn picture_path(picture: u32) -> String {
    format!("public/pictures/{picture:02}.webp")
}

/// A source file's text: 1 to 8 KB of plausible words, one line of which depends on the edit.
fn source(file: u32, edit: u32) -> Vec<u8> {
    const WORDS: [&str; 24] = [
        "const", "return", "function", "await", "order", "customer", "price", "basket", "update", "render",
        "if", "else", "null", "items", "map", "filter", "state", "props", "request", "response", "error",
        "import", "export", "value",
    ];
    let mut noise = Noise(u64::from(file) + 1_000);
    let mut text = Vec::new();
    let lines = 20 + noise.next() % 180;
    let edited = u64::from(edit) % lines;
    for line in 0..lines {
        if line == edited && edit > 0 {
            text.extend_from_slice(format!("  // changed in {edit}\n").as_bytes());
        }
        text.extend_from_slice(b"  ");
        for _ in 0..2 + noise.next() % 6 {
            let word = WORDS[(noise.next() % 24) as usize];
            text.extend_from_slice(word.as_bytes());
            text.push(b" (.;,{}=x"[(noise.next() % 9) as usize]);
        }
        text.extend_from_slice(format!("{:x}\n", noise.next() % 65_536).as_bytes());
    }
    text
}

/// A generator of bytes that do not compress, the same in each run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.next().to_le_bytes())
            .flatten()
            .take(length)
            .collect()
    }
}
