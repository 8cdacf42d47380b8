//! Trees in memory as commits: a whole history by one run of `git fast-import`, without a work tree.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use shipit_testbed::{Cmd, Repo, git_env};

use crate::edits::{Node, State};

/// One commit: its tree, and in words what was edited.
#[derive(Debug)]
pub struct Step {
    pub state: State,
    pub edits: Vec<String>,
}

/// Commits each state after the other on `main`, in one run of git; returns the commits' ids.
pub fn commit_all(repo: &Repo, steps: &[Step]) -> Vec<String> {
    let mut stream = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let time = 1_704_067_200 + 60 * number;
        let message = step.edits.join("; ");
        stream.extend_from_slice(
            format!(
                "commit refs/heads/main\nmark :{}\ncommitter A. Author <author@example.com> {time} +0000\ndata {}\n{message}\ndeleteall\n",
                number + 1,
                message.len()
            )
            .as_bytes(),
        );
        for (path, node) in &step.state {
            let (mode, content) = match node {
                Node::File { content, executable } => (if *executable { 755 } else { 644 }, content),
                Node::Link(target) => (0, target),
            };
            let kind = if mode == 0 {
                "120000".to_owned()
            } else {
                format!("100{mode}")
            };
            let head = format!("M {kind} inline {}\ndata {}\n", quoted(path), content.len());
            stream.extend_from_slice(head.as_bytes());
            stream.extend_from_slice(content);
            stream.push(b'\n');
        }
    }
    let marks = repo.join(".git/marks");
    let import = Cmd::new("git").args(["fast-import", "--quiet", "--force"]);
    let import = import.arg(format!("--export-marks={}", marks.display()));
    let _ = import.envs(git_env()).cwd(repo.path()).stdin(stream).run().ok();
    ids(&marks, steps.len())
}

fn ids(marks: &Path, count: usize) -> Vec<String> {
    let text = std::fs::read_to_string(marks).unwrap();
    let by_mark: BTreeMap<usize, String> = text
        .lines()
        .map(|line| {
            let (mark, id) = line.split_once(' ').unwrap();
            (mark[1..].parse().unwrap(), id.to_owned())
        })
        .collect();
    (1..=count).map(|mark| by_mark[&mark].clone()).collect()
}

/// A path as fast-import reads it: in quotes, what is not plain in octal.
fn quoted(path: &[u8]) -> String {
    let mut text = String::from("\"");
    for byte in path {
        match byte {
            b' ' | b'-' | b'.' | b'/' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                text.push(char::from(*byte));
            }
            other => write!(text, "\\{other:03o}").unwrap(),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edits::{Editor, file};

    #[test]
    fn a_seed_gives_the_same_history_each_time_and_git_takes_it_as_it_is() {
        let history = || {
            let mut editor = Editor::new(7, State::from([(b"lock".to_vec(), file(b"1".to_vec()))]));
            let steps: Vec<Step> = (0..40)
                .map(|_| Step {
                    edits: editor.edits(5),
                    state: editor.state(),
                })
                .collect();
            steps
        };
        let steps = history();
        let again = history();
        assert!(
            steps
                .iter()
                .zip(&again)
                .all(|(a, b)| a.state == b.state && a.edits == b.edits)
        );
        assert!(steps.iter().all(|step| step.state.contains_key(&b"lock"[..])));
        let repo = Repo::new();
        let ids = commit_all(&repo, &steps);
        for (id, step) in ids.iter().zip(&steps) {
            let ran = Cmd::new("git").args(["ls-tree", "-r", "-z", "--name-only", id]);
            let ran = ran.envs(git_env()).cwd(repo.path()).run().ok();
            let mut names: Vec<&[u8]> = ran.stdout.split(|byte| *byte == 0).collect();
            names.pop();
            names.sort_unstable();
            let wanted: Vec<&[u8]> = step.state.keys().map(Vec::as_slice).collect();
            assert_eq!(names, wanted, "{:?}", step.edits);
        }
        let all: String = steps.iter().flat_map(|step| step.edits.clone()).collect();
        for word in [
            "add",
            "change",
            "flip",
            "remove",
            "rename",
            "other case",
            "mode",
            "becomes a directory",
            "becomes a file",
            "becomes a link",
            "back to",
        ] {
            assert!(all.contains(word), "no `{word}` in 200 edits");
        }
    }
}
