//! `[build]`: the steps' names, and which keys go with which preset.

use super::super::Compression;
use super::super::duration::Span;
use super::super::file::{self, OneOrMany, StepTable, TestTable, Use};
use super::super::settled::{Build, Step, Test, Tool};
use super::super::text::Part;
use super::{Settler, key, under};

/// The longest that a step or a test may run when it does not say.
const TIMEOUT: Span = Span::seconds(3600);

/// The longest that a step or a test may stay silent when it does not say.
const IDLE_TIMEOUT: Span = Span::seconds(900);

/// How many artifacts are kept when the config does not say.
const KEEP: u32 = 10;

impl Settler<'_> {
    pub(super) fn build(&mut self, table: file::BuildTable) -> Build {
        let mut names = Vec::new();
        let steps = table.step.unwrap_or_default().into_iter().enumerate();
        let steps = steps
            .filter_map(|(at, step)| self.step(at, step, &mut names))
            .collect();
        let mut names = Vec::new();
        let tests = table.test.unwrap_or_default().into_iter().enumerate();
        let tests = tests
            .filter_map(|(at, test)| self.test(at, test, &mut names))
            .collect();
        Build {
            exclude: table.exclude.unwrap_or_default(),
            compression: match table.compression {
                None | Some(file::Packer::Zstd) => Compression::Zstd,
                Some(file::Packer::Gzip) => Compression::Gzip,
            },
            root: table.root.as_deref().and_then(plain_dir),
            keep: table.keep.unwrap_or(KEEP),
            steps,
            tests,
        }
    }

    fn step(&mut self, at: usize, table: StepTable, names: &mut Vec<String>) -> Option<Step> {
        let path = [key("build"), key("step"), Part::Item(at)];
        self.fitting_keys(&path, &table);
        let env = self.variables(&path, table.env);
        let inputs = table.inputs.unwrap_or_default();
        let plain = |paths: Option<Vec<String>>| -> Vec<String> {
            let paths = paths.unwrap_or_default();
            paths.iter().filter_map(|path| plain_dir(path)).collect()
        };
        let (outputs, keep) = (plain(table.outputs), plain(table.keep));
        let (tool, layer) = match (table.r#use, table.run) {
            (Some(_), Some(_)) => {
                self.problem(
                    &under(&path, "run"),
                    "a step has either `use` or `run`, not both",
                    "",
                    "make two steps of them",
                );
                return None;
            }
            (None, None) => {
                self.problem(
                    &path,
                    "the step runs nothing: it has neither `use` nor `run`",
                    "",
                    "add use = \"npm\" (carton, bundle, npm, go), or run = \"a command\"",
                );
                return None;
            }
            (Some(Use::Carton), None) => (Tool::Carton, true),
            (Some(Use::Bundle), None) => (
                Tool::Bundle {
                    without: table.without.unwrap_or_default(),
                },
                true,
            ),
            (Some(Use::Npm), None) => (
                Tool::Npm {
                    production: table.production.unwrap_or(false),
                },
                true,
            ),
            (Some(Use::Go), None) => {
                let packages = table.packages.unwrap_or_default();
                if packages.is_empty() {
                    self.problem(
                        &path,
                        "the preset `go` needs `packages`",
                        "",
                        "add packages = { \"./cmd/server\" = \"bin/server\" }",
                    );
                }
                (Tool::Go { packages }, false)
            }
            // Who says what a command reads and makes has said what its layer is.
            (None, Some(command)) => (Tool::Run { command }, !inputs.is_empty() || !outputs.is_empty()),
        };
        let layer = table.layer.unwrap_or(layer);
        self.layer_of(&path, &tool, layer, &inputs, &outputs);
        let name = self.name(
            &path,
            table.name,
            || step_name(&tool, table.dir.as_deref()),
            names,
        );
        Some(Step {
            name,
            tool,
            dir: table.dir.as_deref().and_then(plain_dir),
            env,
            timeout: table.timeout.unwrap_or(TIMEOUT),
            idle_timeout: table.idle_timeout.unwrap_or(IDLE_TIMEOUT),
            layer,
            inputs,
            outputs,
            keep,
        })
    }

    /// Refuses keys that belong to another preset.
    fn fitting_keys(&mut self, path: &[Part], table: &StepTable) {
        let given = [
            ("production", table.production.is_some(), Some(Use::Npm), "npm"),
            ("without", table.without.is_some(), Some(Use::Bundle), "bundle"),
            ("packages", table.packages.is_some(), Some(Use::Go), "go"),
            ("outputs", table.outputs.is_some(), None, "run"),
        ];
        for (name, there, preset, belongs) in given {
            if there && table.r#use != preset {
                let what = if preset.is_some() {
                    format!("use = \"{belongs}\"")
                } else {
                    "run".to_owned()
                };
                let message = format!("`{name}` goes with {what} alone");
                self.problem(&under(path, name), message, "", "");
            }
        }
        if table.inputs.is_some() && table.r#use == Some(Use::Go) {
            let message = "`inputs` has no meaning for `go`, which always runs";
            self.problem(&under(path, "inputs"), message, "", "leave it away");
        }
    }

    fn layer_of(&mut self, path: &[Part], tool: &Tool, layer: bool, inputs: &[String], outputs: &[String]) {
        let at = under(path, "layer");
        let given = match (inputs.is_empty(), outputs.is_empty()) {
            (false, _) => under(path, "inputs"),
            (true, false) => under(path, "outputs"),
            (true, true) => under(path, "layer"),
        };
        match tool {
            Tool::Go { .. } if layer => {
                self.problem(&at, "what `go` builds is code, never a layer", "", "leave `layer` away");
            }
            Tool::Run { .. } if layer && (inputs.is_empty() || outputs.is_empty()) => self.problem(
                &given,
                "a command's layer needs `inputs` and `outputs`",
                "",
                "inputs are the files that decide whether the layer is built anew, outputs the paths it vendors",
            ),
            _ => {}
        }
    }

    fn test(&mut self, at: usize, table: TestTable, names: &mut Vec<String>) -> Option<Test> {
        let path = [key("build"), key("test"), Part::Item(at)];
        let env = self.variables(&path, table.env);
        let Some(run) = table.run else {
            self.problem(&path, "the test has no `run`", "", "add run = \"a command\"");
            return None;
        };
        let name = self.name(&path, table.name, || slug(&run), names);
        Some(Test {
            name,
            run,
            junit: table.junit.map(OneOrMany::into_vec).unwrap_or_default(),
            dir: table.dir.as_deref().and_then(plain_dir),
            env,
            timeout: table.timeout.unwrap_or(TIMEOUT),
            idle_timeout: table.idle_timeout.unwrap_or(IDLE_TIMEOUT),
        })
    }

    /// The given name, which must be new, or one that is made and numbered until it is.
    fn name(
        &mut self,
        path: &[Part],
        given: Option<String>,
        made: impl FnOnce() -> String,
        names: &mut Vec<String>,
    ) -> String {
        let name = match given {
            Some(name) => {
                if names.contains(&name) {
                    let message = format!("the name `{name}` is taken by one before");
                    self.problem(
                        &under(path, "name"),
                        message,
                        "",
                        "names are layers' and logs' names: each its own",
                    );
                }
                name
            }
            None => {
                let made = made();
                let numbered = (2..).map(|number| format!("{made}-{number}"));
                let mut all = std::iter::once(made.clone()).chain(numbered);
                all.find(|name| !names.contains(name)).unwrap_or(made)
            }
        };
        names.push(name.clone());
        name
    }
}

/// The root has no name of its own.
fn plain_dir(dir: &str) -> Option<String> {
    let inner = dir.strip_prefix("./").unwrap_or(dir).trim_end_matches('/');
    (!inner.is_empty()).then(|| inner.to_owned())
}

fn step_name(tool: &Tool, dir: Option<&str>) -> String {
    let base = match tool {
        Tool::Carton => "carton".to_owned(),
        Tool::Bundle { .. } => "bundle".to_owned(),
        Tool::Npm { .. } => "npm".to_owned(),
        Tool::Go { .. } => "go".to_owned(),
        Tool::Run { command } => slug(command),
    };
    match dir {
        Some(dir) => slug(&format!("{dir} {base}")),
        None => base,
    }
}

/// A name made of a text: its letters and digits, at most 32.
fn slug(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
        if name.len() >= 32 {
            break;
        }
    }
    let name = name.trim_end_matches('-');
    if name.is_empty() {
        "command".to_owned()
    } else {
        name.to_owned()
    }
}
