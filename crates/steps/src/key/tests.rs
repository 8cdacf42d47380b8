//! For each preset: changes that make another key, and changes that do not.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use shipit_artifact::DirTree;

use super::*;
use crate::spec::EnvVar;

mod bundle;
mod carton;
mod inputs;
mod npm;
mod run;

/// All that a key is made from, on disk.
struct Place {
    dir: tempfile::TempDir,
    spec: StepSpec,
    tracked: Vec<EntryPath>,
    tools: Vec<ToolVersion>,
    platform: Platform,
    format: String,
    root: Option<EntryPath>,
    earlier: Vec<EarlierLayer>,
}

/// A change of it, by name.
type Change = (&'static str, fn(&mut Place));

fn path(name: &str) -> EntryPath {
    EntryPath::new(name).unwrap()
}

fn tool(name: &str, version: &str, abi: Option<&str>) -> ToolVersion {
    ToolVersion {
        name: name.to_owned(),
        version: version.to_owned(),
        abi: abi.map(str::to_owned),
    }
}

fn var(name: &str, value: &str, secret: bool) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: value.to_owned(),
        secret,
    }
}

impl Place {
    fn new(tool: Tool, dir: Option<&str>, tools: Vec<ToolVersion>, files: &[(&str, &str)]) -> Self {
        let spec = StepSpec {
            name: "step".to_owned(),
            tool,
            dir: dir.map(path),
            env: vec![
                var("A", "1", false),
                var("B", "2", false),
                var("TOKEN", "hunter2", true),
            ],
            timeout: None,
            idle_timeout: None,
            layer: true,
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
            spec,
            tracked: Vec::new(),
            tools,
            platform: Platform {
                os: "linux debian 12".to_owned(),
                arch: "x86_64".to_owned(),
                libc: "glibc 2.36".to_owned(),
            },
            format: "1 zstd 9".to_owned(),
            root: None,
            earlier: Vec::new(),
        };
        for (name, text) in files {
            place.write(name, text);
        }
        place
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        self.write_bytes(name.as_bytes(), text.as_bytes());
    }

    fn write_bytes(&self, name: &[u8], content: &[u8]) {
        let file = self.dir.path().join(Path::new(OsStr::from_bytes(name)));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }

    /// Puts `with` where `what` stands in a file.
    fn edit(&self, name: &str, what: &str, with: &str) {
        let text = fs::read_to_string(self.at(name)).unwrap();
        assert!(text.contains(what), "{name} has no {what}");
        self.write(name, &text.replacen(what, with, 1));
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.at(name)).unwrap();
    }

    fn link(&self, target: &str, name: &str) {
        symlink(target, self.at(name)).unwrap();
    }

    fn executable(&self, name: &str) {
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn track(&mut self, name: &str) {
        self.tracked.push(path(name));
    }

    fn try_keys(&self) -> Result<Option<StepKeys>, Error> {
        let tree = DirTree::new(self.dir.path()).unwrap();
        layer_keys(&KeyRequest {
            spec: &self.spec,
            tree: &tree,
            tracked: &self.tracked,
            tools: &self.tools,
            platform: &self.platform,
            format: &self.format,
            root: self.root.as_ref(),
            earlier: &self.earlier,
        })
    }

    fn keys(&self) -> StepKeys {
        self.try_keys().unwrap().unwrap()
    }
}

/// The changes that each step's key answers to.
const COMMON: &[Change] = &[
    ("format", |p| p.format = "1 gzip 9".to_owned()),
    ("os", |p| p.platform.os = "linux debian 13".to_owned()),
    ("arch", |p| p.platform.arch = "aarch64".to_owned()),
    ("libc", |p| p.platform.libc = "glibc 2.41".to_owned()),
    ("a variable's value", |p| p.spec.env[0].value = "3".to_owned()),
    ("another variable", |p| p.spec.env.push(var("C", "", false))),
    ("one variable less", |p| drop(p.spec.env.remove(0))),
    ("the values of two swapped", |p| {
        (p.spec.env[0].value, p.spec.env[1].value) = ("2".to_owned(), "1".to_owned());
    }),
    ("a secret less", |p| drop(p.spec.env.remove(2))),
    ("a secret that is none", |p| p.spec.env[2].secret = false),
    ("the packed root", |p| p.root = Some(path("web"))),
];

/// The changes that no step's key answers to.
const COMMON_SAME: &[Change] = &[
    ("nothing", |_| {}),
    ("the order of the variables", |p| p.spec.env.reverse()),
    ("a secret's value", |p| p.spec.env[2].value = "hunter3".to_owned()),
    ("the step's name", |p| p.spec.name = "other".to_owned()),
    ("its limits", |p| {
        p.spec.timeout = Some(std::time::Duration::from_secs(1));
    }),
    ("shipit's own file", |p| p.write("REVISION", "abc\n")),
];

fn values(key: &LayerKey) -> Vec<String> {
    key.parts
        .iter()
        .map(|part| format!("{} = {}", part.name, part.value))
        .collect()
}

/// Runs a preset's tables, with those of all steps.
fn check(make: fn() -> Place, other: &[Change], same: &[Change]) {
    let before = make().keys();
    for (what, change) in COMMON.iter().chain(other) {
        let mut place = make();
        change(&mut place);
        let after = place.keys();
        assert_ne!(after.packed.key, before.packed.key, "{what} made no other key");
        assert!(!differences(&before.packed, &after.packed).is_empty(), "{what}");
        if let (Some(before), Some(after)) = (&before.full, &after.full) {
            assert_ne!(after.key, before.key, "{what} made no other key of the full tree");
        }
    }
    // Of a preset. A command may call any tool.
    let of_another: &[Change] = match make().spec.tool {
        Tool::Run { .. } => &[],
        _ => &[("a tool of another step", |p| {
            p.tools.push(tool("go", "1.27.3", None));
        })],
    };
    for (what, change) in COMMON_SAME.iter().chain(of_another).chain(same) {
        let mut place = make();
        change(&mut place);
        let after = place.keys();
        assert_eq!(values(&after.packed), values(&before.packed), "{what}");
        assert_eq!(after, before, "{what}");
    }
    for (program, at) in make().tools.iter().zip(0..) {
        let mut place = make();
        place.tools[at].version = "99.1".to_owned();
        let found = differences(&before.packed, &place.keys().packed);
        let said: Vec<_> = found.iter().map(|one| one.part.as_str()).collect();
        assert_eq!(said, [format!("tool {}", program.name)]);
        if program.abi.is_some() {
            place.tools[at].abi = Some("other".to_owned());
            assert_eq!(differences(&before.packed, &place.keys().packed).len(), 2);
        }
        place.tools.remove(at);
        let error = place.try_keys().unwrap_err();
        assert!(error.to_string().contains("is not known"), "{error}");
    }
    secrets_stay_out(make);
}

fn secrets_stay_out(make: fn() -> Place) {
    let mut place = make();
    place.spec.env.push(var("COPY", "x-hunter2-y", false));
    place
        .spec
        .env
        .push(var("PROXY", "http://me:pass1@proxy:80", false));
    if let Tool::Run { command } = &mut place.spec.tool {
        command.push_str(" --token hunter2");
    }
    let keys = place.keys();
    for key in [Some(&keys.packed), keys.full.as_ref()].into_iter().flatten() {
        let said = values(key);
        assert!(said.contains(&"env TOKEN = (secret)".to_owned()), "{said:?}");
        assert!(
            said.contains(&"env PROXY = http://proxy:80".to_owned()),
            "{said:?}"
        );
        let digest = shipit_artifact::sha256(b"hunter2").to_string();
        for secret in ["hunter2", "pass1", digest.as_str()] {
            assert!(
                !said.iter().any(|part| part.contains(secret)),
                "{secret} in {said:?}"
            );
        }
    }
}

#[test]
fn steps_whose_result_is_code_have_no_key() {
    let make = || {
        let mut place = Place::new(
            Tool::Run {
                command: "make".to_owned(),
            },
            None,
            Vec::new(),
            &[("in", "")],
        );
        (place.spec.inputs, place.spec.outputs) = (vec!["in".to_owned()], vec!["out".to_owned()]);
        place
    };
    assert!(make().try_keys().unwrap().is_some());
    let code: &[Change] = &[
        ("no inputs", |p| p.spec.inputs.clear()),
        ("layer = false", |p| p.spec.layer = false),
        ("go", |p| p.spec.tool = Tool::Go { packages: Vec::new() }),
    ];
    for (what, change) in code {
        let mut place = make();
        change(&mut place);
        assert_eq!(place.try_keys().unwrap(), None, "{what}");
    }
}

#[test]
fn keys_are_written_and_read() {
    let place = run::place();
    let key = place.keys().packed;
    let text = serde_json::to_string(&key).unwrap();
    assert_eq!(serde_json::from_str::<LayerKey>(&text).unwrap(), key);
}

/// What the presets run and remove decides what is vendored, and the recipe stands for it in the key: whoever changes the
/// one must count up the other, and write the new digest here.
#[test]
fn a_changed_preset_has_another_recipe() {
    use crate::presets::{Environment, bundle, carton, npm};
    let workspace = crate::Workspace {
        root: "/w/tree".into(),
        logs: "/w/logs".into(),
        cache: "/w/cache".into(),
        aside: "/w/aside".into(),
        base_env: Vec::new(),
        jobs: std::num::NonZeroUsize::MIN,
    };
    let env = || Environment::base(&workspace).isolated(&workspace);
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let config = bundle::Config::prepare(&tree, dir.path(), &["test".to_owned()]).unwrap();
    let with = carton::command(&tree, carton::environment(env(), &workspace));
    fs::create_dir_all(tree.join("vendor/cache")).unwrap();
    let commands = [
        vec![
            with,
            carton::command(&tree, carton::environment(env(), &workspace)),
        ],
        vec![bundle::command(
            &tree,
            bundle::environment(env(), &workspace, &tree, &config),
        )],
        [npm::Which::Usual, npm::Which::All, npm::Which::Production]
            .map(|which| npm::command(&tree, which, &npm::environment(env(), &workspace)))
            .into(),
    ];
    let place = tree.to_str().unwrap();
    let config = fs::read_to_string(tree.join(bundle::CONFIG)).unwrap();
    let presets = [
        (&carton::PRESET, ""),
        (&bundle::PRESET, config.as_str()),
        (&npm::PRESET, ""),
    ];
    let digests = presets
        .into_iter()
        .zip(commands)
        .map(|((preset, more), commands)| {
            let removed: Vec<_> = preset.leftovers.iter().map(|l| (l.pattern, l.beside)).collect();
            let mut text = format!("{} {:?} {removed:?} {more}", preset.recipe, preset.vendored);
            for command in commands {
                text.push_str(&format!(" {} {:?}", command.shown(), command.env));
            }
            let digest = shipit_artifact::sha256(text.replace(place, "/w/tree").as_bytes()).to_string();
            format!("{} {}", preset.name, &digest[..12])
        });
    let digests: Vec<String> = digests.collect();
    let pinned = ["carton 73687d89013c", "bundle a1e3d079728c", "npm f851528e7d3a"];
    assert_eq!(digests, pinned, "count up the recipe");
}
