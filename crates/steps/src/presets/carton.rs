//! Perl's carton. Facts: carton 1.0.35 (`perldoc carton`, `Carton::CLI`, `Carton::Builder`) and cpanm 1.7046, run.

use std::path::Path;

use super::{Environment, Leftover, Needed, Preset, Program};
use crate::command::ToolCommand;
use crate::spec::Workspace;

pub(crate) static PRESET: Preset = Preset {
    name: "carton",
    recipe: 1,
    programs: &[
        Program {
            name: "carton",
            version_args: &["--version"],
            tells_abi: false,
            install: "install it (Debian: `apt-get install carton`)",
        },
        Program {
            name: "perl",
            version_args: &[
                "-MConfig",
                "-e",
                "printf qq(%vd\\nabi %s %s\\n), $^V, $Config{archname}, $Config{version}",
            ],
            tells_abi: true,
            install: "install it (Debian: `apt-get install perl`)",
        },
    ],
    needs: &[
        Needed {
            any_of: &["cpanfile"],
            make: "write one, and commit it",
        },
        Needed {
            any_of: &["cpanfile.snapshot"],
            make: "make it with `carton install`, and commit it",
        },
    ],
    lockfiles: &["cpanfile.snapshot"],
    vendored: &["local"],
    leftovers: &[
        Leftover::new(
            "local/cache",
            "the downloads and their index, with the workspace's path",
        ),
        Leftover::new(
            "local/lib/perl5/**/perllocal.pod",
            "the log of installations, with times and paths",
        ),
        Leftover::new(
            "local/lib/perl5/**/.packlist",
            "the list of installed files, with the workspace's path",
        ),
        Leftover::new(
            "local/lib/perl5/**/.meta",
            "cpanm's notes on each distribution, in no fixed order",
        ),
    ],
    // `carton exec` on a host looks for `local`. That is the default too, as an absolute path: set to a relative one,
    // carton 1.0.35 does not find vendor/cache.
    fixed_env: &["PERL_CARTON_PATH", "PERL_CARTON_CPANFILE"],
};

/// `carton install --deployment`; from vendor/cache alone when `carton bundle` made one.
pub(crate) fn command(dir: &Path, env: Environment) -> ToolCommand {
    let mut args = vec!["install".into(), "--deployment".into()];
    if dir.join("vendor/cache").is_dir() {
        args.push("--cached".into());
    }
    ToolCommand {
        program: "carton".into(),
        args,
        dir: dir.to_path_buf(),
        env: env.into_vec(),
    }
}

/// What carton finds by itself (PERL_CARTON_MIRROR, PERL_CPANM_OPT) is listed in the step's `env`.
pub(crate) fn environment(env: Environment, workspace: &Workspace) -> Environment {
    // Else cpanm fills ~/.cpanm with its work directories.
    env.or_set("PERL_CPANM_HOME", workspace.cache.join("cpanm"))
        // Makefile.PL files that ask take their default.
        .or_set("PERL_MM_USE_DEFAULT", "1")
        // Perl's order of hash keys, which generated files follow, is the same in each run.
        .or_set("PERL_HASH_SEED", "0")
        .or_set("PERL_PERTURB_KEYS", "0")
}
