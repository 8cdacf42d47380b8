//! What a pattern of `inputs` is: a glob, taken apart at its slashes. What matches a directory stands for all below it, as in
//! a .gitignore.
//!
//! Not done here: looking for what matches (`inputs`).

use globset::{GlobBuilder, GlobMatcher};
use shipit_artifact::EntryPath;

use crate::error::{Error, Problem};
use crate::spec::StepSpec;
use crate::test_run::globs;

/// How many patterns one with alternatives (`{a,b}`) may stand for.
const MOST_ALTERNATIVES: usize = 1000;

/// One pattern of `inputs`.
pub(crate) struct Pattern {
    /// As it stands in the config.
    pub(super) text: String,
    /// Without alternatives: one of these has to match.
    pub(super) ways: Vec<Vec<Part>>,
}

/// What stands between two slashes.
pub(super) enum Part {
    /// `**`: any number of directories, also none.
    Any,
    Name(GlobMatcher),
}

impl Pattern {
    /// Takes a pattern apart, or says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("`inputs` has an empty pattern; `.` is all that is in `dir`".to_owned());
        }
        globs("inputs", &[text.to_owned()])?;
        let Some(alternatives) = alternatives(text) else {
            return Err(format!(
                "`inputs` has the pattern `{text}`, which stands for more than {MOST_ALTERNATIVES} others; list several"
            ));
        };
        // Now that the braces are gone, a `..` within them is seen.
        globs("inputs", &alternatives)?;
        let ways: Result<Vec<_>, _> = alternatives.iter().map(|way| parts(way)).collect();
        let ways = ways.map_err(|error| {
            format!(
                "`inputs` has the pattern `{text}`, which cannot be taken apart at its slashes: {}",
                error.kind()
            )
        })?;
        Ok(Self {
            text: text.to_owned(),
            ways,
        })
    }

    /// Whether it may match `path`, something in it, or a directory that `path` lies in. Both count from the step's
    /// directory.
    fn may_reach(&self, path: &EntryPath) -> bool {
        self.ways.iter().any(|way| {
            let mut way = way.iter();
            for name in path.as_bytes().split(|b| *b == b'/') {
                match way.next() {
                    None | Some(Part::Any) => return true,
                    Some(Part::Name(glob)) if !glob.is_match(as_path(name)) => return false,
                    Some(Part::Name(_)) => {}
                }
            }
            true
        })
    }
}

/// Refuses patterns of `inputs` that may match what a step keeps in the workspace: that is not the same in each build, and
/// is no part of a key.
///
/// # Errors
/// [`Error::Preflight`] with each such pattern.
pub fn refuse_kept_inputs(steps: &[StepSpec], kept: &[EntryPath]) -> Result<(), Error> {
    let mut problems = Vec::new();
    for step in steps.iter().filter(|step| step.layer) {
        // What is wrong with one that cannot be read, the preflight says.
        for pattern in step.inputs.iter().filter_map(|text| Pattern::parse(text).ok()) {
            let reaches = |kept: &&EntryPath| match &step.dir {
                Some(dir) if dir.starts_with(kept) => true,
                Some(dir) => kept
                    .strip_prefix(dir)
                    .is_some_and(|below| pattern.may_reach(&below)),
                None => pattern.may_reach(kept),
            };
            if let Some(kept) = kept.iter().find(reaches) {
                problems.push(Problem::Spec {
                    step: step.name.clone(),
                    problem: format!(
                        "`inputs` has the pattern `{}`, which may match in {kept}, that a `keep` names: what is kept there \
                         differs from build to build, and cannot decide whether a layer is built anew; use patterns that \
                         do not reach it",
                        pattern.text
                    ),
                });
            }
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::Preflight(problems))
}

/// A name as globs take it.
pub(super) fn as_path(name: &[u8]) -> &std::path::Path {
    use std::os::unix::ffi::OsStrExt as _;
    std::path::Path::new(std::ffi::OsStr::from_bytes(name))
}

fn parts(way: &str) -> Result<Vec<Part>, globset::Error> {
    let names = way.split('/').filter(|name| !matches!(*name, "" | "."));
    names
        .map(|name| {
            if name == "**" {
                return Ok(Part::Any);
            }
            let glob = GlobBuilder::new(name).literal_separator(true).build()?;
            Ok(Part::Name(glob.compile_matcher()))
        })
        .collect()
}

/// The patterns that one with braces stands for; `None` when there are too many.
fn alternatives(pattern: &str) -> Option<Vec<String>> {
    let mut pending = vec![pattern.to_owned()];
    let mut done = Vec::new();
    while let Some(pattern) = pending.pop() {
        match first_braces(&pattern) {
            Some((before, choices, after)) => {
                pending.extend(choices.iter().map(|choice| format!("{before}{choice}{after}")));
            }
            None => done.push(pattern),
        }
        if pending.len() + done.len() > MOST_ALTERNATIVES {
            return None;
        }
    }
    Some(done)
}

/// What stands before the first pair of braces, in it, between its commas, and after it.
fn first_braces(pattern: &str) -> Option<(&str, Vec<&str>, &str)> {
    let mut depth = 0_usize;
    let (mut open, mut from) = (0, 0);
    let mut choices = Vec::new();
    let mut rest = pattern.char_indices();
    while let Some((at, letter)) = rest.next() {
        match letter {
            '\\' => drop(rest.next()),
            '[' => skip_class(&mut rest),
            '{' => {
                depth += 1;
                if depth == 1 {
                    (open, from) = (at, at + 1);
                }
            }
            ',' if depth == 1 => {
                choices.extend(pattern.get(from..at));
                from = at + 1;
            }
            '}' if depth == 1 => {
                choices.extend(pattern.get(from..at));
                return Some((pattern.get(..open)?, choices, pattern.get(at + 1..)?));
            }
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// Goes behind a class of letters (`[a-z]`, `[!]]`), in which braces and commas are letters.
fn skip_class(rest: &mut std::str::CharIndices<'_>) {
    let mut first = true;
    if rest.as_str().starts_with(['!', '^']) {
        rest.next();
    }
    for (_, letter) in rest.by_ref() {
        if letter == ']' && !first {
            return;
        }
        first = false;
    }
}
