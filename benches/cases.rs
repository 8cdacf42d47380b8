//! The cases: what is compared with what, and which ratio has to hold.

mod deploy;
mod git;
mod hosts;
mod kick;
mod kicked;
mod pack;
mod reporters;
mod warm;

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
            "next fetch, mirror of single commits",
            "git fetch --depth=1",
            [1.15, 1.0],
            git::next_fetch_alone,
        ),
        case(
            "export of a tree",
            "git archive | tar x",
            [0.75, 0.60],
            git::export,
        ),
        case(
            "code layer straight from git",
            "git archive | zstd -T2 -3 | sha256sum",
            [0.75, 0.60],
            git::code,
        ),
        case(
            "full pack, code and dependencies at level 3",
            TARBALL,
            [0.75, 0.62],
            pack::full_pack,
        ),
        case(
            "pack with dependencies unchanged",
            TARBALL,
            [0.15, 0.08],
            pack::unchanged,
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
        // What has to hold follows from the code layer's size: see the case.
        case(
            "bytes sent by a publish, one line changed",
            "the artifact",
            [1.0, 1.0],
            deploy::sent_bytes,
        ),
        case(
            "bytes fetched by apply, one line changed",
            "the artifact",
            [0.02, 0.005],
            deploy::fetched_for_a_line,
        ),
        case(
            "bytes fetched by apply, one dependency bumped",
            "the artifact",
            [0.25, 0.05],
            deploy::fetched_for_a_bump,
        ),
        case("first apply", UNPACKED, [0.60, 0.35], hosts::first_apply),
        case(
            "apply with dependencies unchanged",
            UNPACKED,
            [0.25, 0.14],
            hosts::unchanged,
        ),
        case(
            "the same, link = \"symlink\"",
            UNPACKED,
            [0.05, 0.02],
            hosts::unchanged_linked,
        ),
        case(
            "whole loop, one line changed",
            "the shell pipeline",
            [0.2, 0.05],
            hosts::whole_loop,
        ),
        case(
            "warm build, dependencies in 10 times the files, same bytes",
            "itself",
            [1.5, 1.2],
            warm::ten_times_the_files,
        ),
        case(
            "kick to all reports, 20 agents",
            "consul event + a loop that waits for the keys",
            [1.1, 0.9],
            kick::to_all_reports,
        ),
        case(
            "following 1,000 hosts that report within 10 s, cpu",
            LIMIT,
            [1.0, 0.5],
            reporters::following,
        ),
        case(
            "status --watch of 1,000 hosts that report within 10 s, cpu",
            LIMIT,
            [1.0, 0.5],
            reporters::watching,
        ),
        case(
            "status --watch of 1,000 hosts, the latest shown report",
            LIMIT,
            [1.0, 0.7],
            reporters::shown,
        ),
        case("shipit --help", "git --version", [3.0, 1.5], deploy::help),
    ]
}

/// What has no peer.
const LIMIT: &str = "the limit";
/// What scripts pack with.
const TARBALL: &str = "tar | zstd -T2 -3 | tee | sha256sum";
/// What scripts bring an artifact to a host with.
const UNPACKED: &str = "tar xf + rsync -a --delete";
