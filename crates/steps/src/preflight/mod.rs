//! Finds out before anything runs whether the steps can: all that is missing or in the way, in one error. The tree is asked,
//! not a disk: nothing needs to be exported for it.

mod ask;
mod scratch;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use shipit_artifact::{EntryPath, Tree};

use crate::error::{Error, Problem};
use crate::key::Pattern;
use crate::presets::{Needed, env_value, from_root};
use crate::spec::{StepSpec, Tool, Workspace};
use crate::tree_files::TreeFiles;

pub use ask::{ToolVersion, Tools};

/// How many tracked files are named.
const NAMED: usize = 5;

/// Checks that the steps can run in the tree: each tool is on its step's PATH and tells its version, each lockfile and
/// directory is in the tree, and git tracks nothing (`tracked`, all files of the commit) where a step vendors, but for
/// `.bundle/config`. Of the steps nothing is run, and of the workspace neither the root nor the cache is touched: the
/// tools are asked, several at once, in a directory of their own in `aside` that holds the tree's files which say what
/// version is wanted (`.ruby-version` and the like), and that is removed again.
///
/// # Errors
/// [`Error::Preflight`] with all that was found, [`Error::Cancelled`], or [`Error::Tree`] and [`Error::Io`] when the tree
/// cannot be read or that directory cannot be written.
pub fn preflight(
    steps: &[StepSpec],
    tree: &dyn Tree,
    tracked: &[EntryPath],
    workspace: &Workspace,
    cancel: &AtomicBool,
) -> Result<Tools, Error> {
    let first = || steps.first().map(|step| step.name.clone()).unwrap_or_default();
    let failed = |source| Error::Tree {
        step: first(),
        source,
    };
    let files = TreeFiles::new(tree).map_err(failed)?;
    let mut check = Check {
        files: &files,
        tracked,
        problems: Vec::new(),
        owners: BTreeMap::new(),
        may_make_dirs: false,
    };
    for step in steps {
        check.spec(step);
        check.files(step);
        check.vendored(step);
    }
    let (tools, broken) = ask::ask_all(steps, &files, workspace, cancel)?;
    check.problems.extend(broken);
    if cancel.load(Ordering::Relaxed) {
        return Err(Error::Cancelled { step: first() });
    }
    if !check.problems.is_empty() {
        return Err(Error::Preflight(check.problems));
    }
    Ok(tools)
}

struct Check<'a> {
    files: &'a TreeFiles<'a>,
    tracked: &'a [EntryPath],
    problems: Vec<Problem>,
    /// Which step vendors a path.
    owners: BTreeMap<EntryPath, String>,
    /// Whether an earlier step is a command, which may make any directory.
    may_make_dirs: bool,
}

impl Check<'_> {
    fn spec(&mut self, step: &StepSpec) {
        let mut problem = |problem: String| {
            self.problems.push(Problem::Spec {
                step: step.name.clone(),
                problem,
            });
        };
        for name in step.tool.preset().into_iter().flat_map(|preset| preset.fixed_env) {
            if env_value(&step.env, name).is_some() {
                problem(format!(
                    "`env` lists {name}, which the preset sets itself; use `run` to have your own"
                ));
            }
        }
        for wrong in step.inputs.iter().filter_map(|text| Pattern::parse(text).err()) {
            problem(wrong);
        }
        match &step.tool {
            Tool::Npm { production: true } if !step.layer => problem(
                "`production = true` packs another tree than later steps build with, which needs a layer; remove \
                 `layer = false`"
                    .to_owned(),
            ),
            Tool::Go { packages } if packages.is_empty() => {
                problem("no packages to build; name them in `packages`".to_owned());
            }
            Tool::Run { .. } if step.layer && !step.inputs.is_empty() && step.outputs.is_empty() => {
                problem("`inputs` without `outputs`: name the paths that it makes".to_owned());
            }
            _ => {}
        }
    }

    fn files(&mut self, step: &StepSpec) {
        let is_command = matches!(step.tool, Tool::Run { .. });
        let may_come = is_command && self.may_make_dirs;
        match &step.dir {
            Some(name) if !may_come && !self.files.is_dir(Some(name)) => {
                self.problems.push(Problem::MissingDir {
                    step: step.name.clone(),
                    dir: name.clone(),
                });
            }
            _ => {
                let needs = step.tool.preset().into_iter().flat_map(|preset| preset.needs);
                for needed in needs.filter(|needed| !is_there(self.files, step.dir.as_ref(), needed)) {
                    let place = |name: &&str| {
                        from_root(step.dir.as_ref(), name)
                            .map_or_else(|| (*name).to_owned(), |p| p.to_string())
                    };
                    self.problems.push(Problem::MissingLockfile {
                        step: step.name.clone(),
                        any_of: needed.any_of.iter().map(place).collect(),
                        make: needed.make.to_owned(),
                    });
                }
            }
        }
        self.may_make_dirs |= is_command;
    }

    fn vendored(&mut self, step: &StepSpec) {
        let paths = match step.vendored_paths(self.files) {
            Ok(paths) => paths,
            Err(problem) => {
                self.problems.push(Problem::Spec {
                    step: step.name.clone(),
                    problem,
                });
                return;
            }
        };
        let config = from_root(step.dir.as_ref(), crate::presets::bundle::CONFIG);
        for vendored in paths {
            let overlaps = |other: &EntryPath| other.starts_with(&vendored) || vendored.starts_with(other);
            if let Some((_, other)) = self.owners.iter().find(|(path, _)| overlaps(path)) {
                let other = other.clone();
                let step = step.name.clone();
                self.problems.push(Problem::VendoredTwice {
                    step,
                    other,
                    vendored,
                });
                continue;
            }
            // A tracked .bundle/config is code, and the step leaves it alone.
            let code = matches!(step.tool, Tool::Bundle { .. }) && config.as_ref() == Some(&vendored);
            let files: Vec<&EntryPath> = self
                .tracked
                .iter()
                .filter(|file| !code && file.starts_with(&vendored))
                .collect();
            if !files.is_empty() {
                self.problems.push(Problem::VendoredTracked {
                    step: step.name.clone(),
                    vendored: vendored.clone(),
                    files: files.iter().take(NAMED).map(|file| (*file).clone()).collect(),
                    count: files.len(),
                });
            }
            self.owners.insert(vendored, step.name.clone());
        }
    }
}

fn is_there(files: &TreeFiles<'_>, dir: Option<&EntryPath>, needed: &Needed) -> bool {
    let mut paths = needed.any_of.iter().filter_map(|name| from_root(dir, name));
    paths.any(|path| files.file(&path).is_some())
}
