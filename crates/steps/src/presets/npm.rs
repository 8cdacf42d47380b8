//! Node's npm. Facts: `npm help ci`, `npm help config`, npm 9 and 11 run.

use std::path::Path;

use super::{Environment, Leftover, Needed, Preset, Program};
use crate::command::ToolCommand;
use crate::spec::Workspace;

pub(crate) static PRESET: Preset = Preset {
    name: "npm",
    recipe: 1,
    programs: &[
        Program {
            name: "npm",
            version_args: &["--version"],
            tells_abi: false,
            install: "install Node (Debian: `apt-get install npm`)",
        },
        Program {
            name: "node",
            version_args: &[
                "-p",
                "process.version + '\\nabi ' + [process.versions.modules, process.platform, process.arch].join(' ')",
            ],
            tells_abi: true,
            install: "install Node (Debian: `apt-get install nodejs`)",
        },
    ],
    needs: &[
        Needed {
            any_of: &["package.json"],
            make: "make it with `npm init`, and commit it",
        },
        Needed {
            any_of: &["package-lock.json", "npm-shrinkwrap.json"],
            make: "make it with `npm install --package-lock-only`, and commit it",
        },
    ],
    lockfiles: &["package-lock.json", "npm-shrinkwrap.json"],
    vendored: &["node_modules"],
    leftovers: &[
        Leftover::new("**/node_modules/.cache", "what build tools cache"),
        Leftover::beside(
            "**/build/Makefile",
            "config.gypi",
            "node-gyp's generated Makefile",
        ),
        Leftover::beside(
            "**/build/*.Makefile",
            "config.gypi",
            "node-gyp's generated Makefile",
        ),
        Leftover::beside("**/build/*.mk", "config.gypi", "node-gyp's generated Makefile"),
        Leftover::beside(
            "**/build/node_gyp_bins",
            "config.gypi",
            "node-gyp's link to the machine's python",
        ),
        Leftover::beside(
            "**/build/config.gypi",
            "Makefile",
            "node-gyp's settings, with paths of the machine",
        ),
        Leftover::new("**/build/*/obj.target", "node-gyp's object files"),
        Leftover::new("**/build/*/.deps", "node-gyp's dependency files"),
    ],
    fixed_env: &[
        "npm_config_prefix",
        "NPM_CONFIG_PREFIX",
        "npm_config_cache",
        "NPM_CONFIG_CACHE",
    ],
};

/// Which of the dependencies are installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// What npm takes by itself: all, or, with NODE_ENV=production among the step's `env`, all but dev.
    Usual,
    /// All, whatever NODE_ENV says: later steps build with them.
    All,
    /// All but dev.
    Production,
}

/// `npm ci`, without questions to the registry that the install does not need. Install scripts do run: packages with
/// native parts need them; who does not want that lists `npm_config_ignore_scripts` in the step's `env`.
pub(crate) fn command(dir: &Path, which: Which, env: &Environment) -> ToolCommand {
    let mut args: Vec<_> = ["ci", "--no-audit", "--no-fund", "--no-progress"]
        .map(Into::into)
        .into();
    match which {
        Which::Usual => {}
        Which::All => args.push("--include=dev".into()),
        Which::Production => args.push("--omit=dev".into()),
    }
    ToolCommand {
        program: "npm".into(),
        args,
        dir: dir.to_path_buf(),
        env: env.clone().into_vec(),
    }
}

pub(crate) fn environment(env: Environment, workspace: &Workspace) -> Environment {
    env.set("npm_config_cache", workspace.cache.join("npm"))
        .or_set("npm_config_update_notifier", "false")
}
