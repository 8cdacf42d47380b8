//! The cases: what is compared with what, and which ratio has to hold.

mod deploy;
mod git;
mod pack;

use crate::compare::Measured;
use crate::inputs::Inputs;

/// One comparison.
pub struct Case {
    pub name: &'static str,
    /// What it is compared with.
    pub peer: &'static str,
    /// The ratio that has to hold, ours by the peer's.
    pub safe: f64,
    /// The ratio that is aimed at.
    pub aim: f64,
    pub measure: fn(&Inputs) -> Measured,
}

/// All of them, in the order of the pipeline.
pub fn all() -> Vec<Case> {
    let case = |name, peer, [safe, aim]: [f64; 2], measure| Case {
        name,
        peer,
        safe,
        aim,
        measure,
    };
    vec![
        case(
            "first fetch at a sha (smart HTTP)",
            "git clone --mirror",
            [0.15, 0.05],
            git::first_fetch,
        ),
        case("next fetch", "git fetch", [1.15, 1.0], git::next_fetch),
        case(
            "export of a tree",
            "git archive | tar x",
            [0.75, 0.60],
            git::export,
        ),
        case(
            "full pack, code and dependencies at level 3",
            "tar | zstd -T2 -3 | tee | sha256sum",
            [0.75, 0.62],
            pack::full_pack,
        ),
        case(
            "artifact's size at the default levels",
            "zstd -3 of the same tar",
            [0.95, 0.88],
            pack::size,
        ),
        case(
            "upload of 300 MiB to the test server",
            "aws s3 cp",
            [0.8, 0.66],
            deploy::upload,
        ),
        case(
            "first apply",
            "tar xf + rsync -a --delete",
            [0.60, 0.35],
            deploy::first_apply,
        ),
        case("shipit --help", "git --version", [3.0, 1.5], deploy::help),
    ]
}
