//! Ruby's bundler. Facts: `man bundle-config`, bundler 2.3.15 run. A local config (`.bundle/config`) wins over the
//! environment, which wins over the user's; the first is therefore what decides, here as on the host.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Environment, Leftover, Needed, Preset, Program};
use crate::command::ToolCommand;
use crate::spec::Workspace;

/// Where gems go.
const PATH: &str = "vendor/bundle";
/// What tells bundler so on the host.
pub(crate) const CONFIG: &str = ".bundle/config";

pub(crate) static PRESET: Preset = Preset {
    name: "bundle",
    recipe: 1,
    programs: &[
        Program {
            name: "bundle",
            version_args: &["--version"],
            tells_abi: false,
            install: "install it (Debian: `apt-get install bundler`, elsewhere `gem install bundler`)",
        },
        Program {
            name: "ruby",
            // The description is what `ruby --version` prints.
            version_args: &[
                "--disable=gems",
                "-rrbconfig",
                "-e",
                "puts RUBY_DESCRIPTION, 'abi ' + RbConfig::CONFIG.values_at('arch', 'ruby_version').join(' ')",
            ],
            tells_abi: true,
            install: "install it (Debian: `apt-get install ruby`)",
        },
    ],
    needs: &[
        Needed {
            any_of: &["Gemfile", "gems.rb"],
            make: "make it with `bundle init`, and commit it",
        },
        Needed {
            any_of: &["Gemfile.lock", "gems.locked"],
            make: "make it with `bundle lock`, and commit it",
        },
    ],
    lockfiles: &["Gemfile.lock", "gems.locked"],
    vendored: &[PATH, CONFIG],
    leftovers: &[
        Leftover::new(
            "vendor/bundle/*/*/cache",
            "the downloaded gems, and clones of git sources",
        ),
        Leftover::new(
            "vendor/bundle/*/*/bundler/gems/*/.git",
            "the clone that a git source's gem came from",
        ),
        Leftover::new(
            "vendor/bundle/*/*/extensions/**/gem_make.out",
            "the output of a native extension's build",
        ),
        Leftover::new(
            "vendor/bundle/*/*/extensions/**/mkmf.log",
            "the log of a native extension's configuration",
        ),
        Leftover::beside(
            "vendor/bundle/**/Makefile",
            "extconf.rb",
            "a native extension's generated Makefile",
        ),
        Leftover::beside(
            "vendor/bundle/**/mkmf.log",
            "extconf.rb",
            "the log of a native extension's configuration",
        ),
        Leftover::beside(
            "vendor/bundle/**/*.o",
            "extconf.rb",
            "a native extension's object files",
        ),
        Leftover::new(".bundle/plugin", "bundler's plugins, with the workspace's path"),
    ],
    fixed_env: &[
        "BUNDLE_APP_CONFIG",
        "BUNDLE_GEMFILE",
        "BUNDLE_PATH",
        "BUNDLE_DEPLOYMENT",
        "BUNDLE_WITHOUT",
    ],
};

/// Settings that the config always holds; those of a tracked config with these names do not count in the build.
const OURS: &[&str] = &[
    "BUNDLE_PATH",
    "BUNDLE_PATH__SYSTEM",
    "BUNDLE_SYSTEM_BINDIR",
    "BUNDLE_DEPLOYMENT",
    "BUNDLE_FROZEN",
    "BUNDLE_WITHOUT",
];

/// `bundle install`: what it does is said by its config.
pub(crate) fn command(dir: &Path, env: Environment) -> ToolCommand {
    ToolCommand {
        program: "bundle".into(),
        args: vec!["install".into()],
        dir: dir.to_path_buf(),
        env: env.into_vec(),
    }
}

pub(crate) fn environment(
    env: Environment,
    workspace: &Workspace,
    dir: &Path,
    config: &Config,
) -> Environment {
    let gemfile = ["Gemfile", "gems.rb"]
        .map(|name| dir.join(name))
        .into_iter()
        .find(|file| file.is_file());
    let env = match gemfile {
        // Else bundler would look for one upwards, out of the tree.
        Some(gemfile) => env.set("BUNDLE_GEMFILE", gemfile),
        None => env,
    };
    env.set("BUNDLE_APP_CONFIG", &config.app_config)
        .or_set("BUNDLE_USER_CACHE", workspace.cache.join("bundle"))
        .or_set("BUNDLE_SILENCE_ROOT_WARNING", "true")
        .or_set("BUNDLE_DISABLE_VERSION_CHECK", "true")
        .or_set("BUNDLE_IGNORE_MESSAGES", "true")
}

/// The local config of a build.
pub(crate) struct Config {
    /// The directory that holds it.
    app_config: PathBuf,
    /// The file in the tree.
    in_tree: PathBuf,
    /// What the tree's file must hold when the step is done.
    content: Vec<u8>,
    /// Whether the tree had the file before the step. Then it is code, and stays as it is.
    pub(crate) tracked: bool,
}

impl Config {
    /// Writes the config before bundler runs: into the tree, where it is vendored; or, when the tree has one, aside,
    /// with the tree's own settings under ours.
    pub(crate) fn prepare(
        dir: &Path,
        aside: &Path,
        without: &[String],
    ) -> Result<Self, (PathBuf, io::Error)> {
        let in_tree = dir.join(CONFIG);
        let (app_config, content, tracked) = match fs::read(&in_tree) {
            Ok(content) => (aside.join("bundle-config"), content, true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (dir.join(".bundle"), own_config(without).into_bytes(), false)
            }
            Err(error) => return Err((in_tree, error)),
        };
        let file = app_config.join("config");
        let effective = if tracked {
            render(&String::from_utf8_lossy(&content), without).into_bytes()
        } else {
            content.clone()
        };
        fs::create_dir_all(&app_config).map_err(|error| (app_config.clone(), error))?;
        fs::write(&file, effective).map_err(|error| (file, error))?;
        Ok(Self {
            app_config,
            in_tree,
            content,
            tracked,
        })
    }

    /// Whether a tracked config makes `bundle exec` find the gems on a host.
    pub(crate) fn finds_gems(&self) -> bool {
        let text = String::from_utf8_lossy(&self.content);
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .any(|(name, value)| {
                name.trim() == "BUNDLE_PATH"
                    && value.trim().trim_matches(['"', '\'']).trim_start_matches("./") == PATH
            })
    }

    /// Puts the tree's file back as it has to be, whatever bundler or a plugin made of it. Returns whether it had to.
    pub(crate) fn restore(&self) -> Result<bool, (PathBuf, io::Error)> {
        if fs::read(&self.in_tree).is_ok_and(|content| content == self.content) {
            return Ok(false);
        }
        fs::write(&self.in_tree, &self.content).map_err(|error| (self.in_tree.clone(), error))?;
        Ok(true)
    }
}

/// What the step writes where the tree has no config.
pub(crate) fn own_config(without: &[String]) -> String {
    render("", without)
}

/// Bundler's config is YAML of a simple kind: a `NAME: "value"` a line, and lists under a name, indented or not.
fn render(own: &str, without: &[String]) -> String {
    let mut text = String::from("---\n");
    let mut kept = true;
    for line in own
        .lines()
        .filter(|line| *line != "---" && !line.trim().is_empty())
    {
        if !line.starts_with([' ', '-']) {
            let name = line.split(':').next().unwrap_or_default();
            // Groups left out by the tree's own config stay left out when the step names none.
            kept = !OURS.contains(&name) || (name == "BUNDLE_WITHOUT" && without.is_empty());
        }
        if kept {
            text.push_str(line);
            text.push('\n');
        }
    }
    text.push_str("BUNDLE_DEPLOYMENT: \"true\"\nBUNDLE_PATH: \"vendor/bundle\"\n");
    if !without.is_empty() {
        text.push_str(&format!("BUNDLE_WITHOUT: \"{}\"\n", without.join(":")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_of_a_tree_without_one_is_vendored() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::prepare(dir.path(), &dir.path().join("aside"), &["test".into()]).unwrap();
        let file = dir.path().join(CONFIG);
        let text =
            "---\nBUNDLE_DEPLOYMENT: \"true\"\nBUNDLE_PATH: \"vendor/bundle\"\nBUNDLE_WITHOUT: \"test\"\n";
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
        assert!(!config.tracked && config.finds_gems());
        fs::write(&file, "changed").unwrap();
        assert!(config.restore().unwrap());
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
        assert!(!config.restore().unwrap());
    }

    #[test]
    fn a_tracked_config_is_read_but_not_changed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(CONFIG);
        fs::create_dir(dir.path().join(".bundle")).unwrap();
        let own =
            "---\nBUNDLE_BUILD__PG: \"--with-pg\"\nBUNDLE_PATH: \"elsewhere\"\nBUNDLE_WITHOUT:\n- test\n";
        fs::write(&file, own).unwrap();
        let config = Config::prepare(dir.path(), &dir.path().join("aside"), &[]).unwrap();
        assert!(config.tracked && !config.finds_gems());
        assert_eq!(fs::read_to_string(&file).unwrap(), own);
        let effective = fs::read_to_string(dir.path().join("aside/bundle-config/config")).unwrap();
        assert_eq!(
            effective,
            "---\nBUNDLE_BUILD__PG: \"--with-pg\"\nBUNDLE_WITHOUT:\n- test\nBUNDLE_DEPLOYMENT: \"true\"\n\
             BUNDLE_PATH: \"vendor/bundle\"\n"
        );
        assert!(!render(own, &["doc".into()]).contains("- test"));
    }
}
