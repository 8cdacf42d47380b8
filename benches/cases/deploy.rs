//! Bringing an artifact to a store, what goes over the network, and how soon the program answers at all.

use shipit_testbed::{S3Server, Testbed};

use crate::compare::{Measured, ROUNDS, Took, in_turn};
use crate::inputs::{BUCKET, Inputs};
use crate::run::{program, run};
use crate::worker::{account, worker};

/// Starts per round where one takes milliseconds.
const STARTS: u32 = 50;

/// A file that does not compress, to an S3 server on this machine.
pub fn upload(inputs: &Inputs) -> Measured {
    let server = S3Server::start();
    server.create_bucket(BUCKET);
    let file = inputs.random(300 << 20);
    let measured = in_turn(
        ROUNDS,
        |round| {
            let mut command = worker("upload");
            command.arg(&file).arg(format!("s3://{BUCKET}/ours-{round}"));
            account(&mut command, &server);
            || run(command)
        },
        |round| {
            let mut command = program(Testbed::get().aws());
            command
                .args([
                    "--endpoint-url",
                    &server.endpoint(),
                    "s3",
                    "cp",
                    "--only-show-errors",
                ])
                .arg(&file)
                .arg(format!("s3://{BUCKET}/peer-{round}"))
                .envs(server.env());
            || run(command)
        },
    );
    let size = |key: &str| {
        std::fs::metadata(server.object_path(BUCKET, key))
            .expect("the object was uploaded")
            .len()
    };
    assert_eq!(size("ours-0"), size("peer-0"));
    measured
}

/// What a publish sends when one line was changed since the last.
pub fn sent_bytes(inputs: &Inputs) -> Measured {
    let (shop, commits) = (inputs.shop(), &inputs.repository().commits);
    let _ = shop.remote(&commits.main);
    let release = shop.remote(&commits.lines[0]);
    Measured::BytesWithin {
        ours: release.sent,
        peer: release.size,
        safe: release.code + (6 << 20),
        aim: release.code,
    }
}

/// What an apply gets when one line was changed since the release in service.
pub fn fetched_for_a_line(inputs: &Inputs) -> Measured {
    fetched(inputs, &inputs.repository().commits.lines[0])
}

/// What an apply gets when one dependency was bumped since the release in service.
pub fn fetched_for_a_bump(inputs: &Inputs) -> Measured {
    fetched(inputs, &inputs.repository().commits.bumped)
}

fn fetched(inputs: &Inputs, revision: &str) -> Measured {
    let (shop, commits) = (inputs.shop(), &inputs.repository().commits);
    let (before, release) = (shop.remote(&commits.main), shop.remote(revision));
    shop.empty_host("web");
    let first = shop.fetched(&before.urls["web"]);
    assert!(first >= before.size, "a host that has nothing gets all of it");
    Measured::Bytes(shop.fetched(&release.urls["web"]), release.size)
}

/// How soon the program is there.
pub fn help(_: &Inputs) -> Measured {
    let starts = |name: &'static str, word: &'static str| {
        move || {
            for _ in 0..STARTS {
                let mut command = program(name);
                command.arg(word);
                run(command);
            }
        }
    };
    let measured = in_turn(
        ROUNDS,
        |_| starts(env!("CARGO_BIN_EXE_shipit"), "--help"),
        |_| starts("git", "--version"),
    );
    match measured {
        Measured::Seconds(ours, peer) => {
            let starts = f64::from(STARTS);
            let one = |all: Took| Took {
                wall: all.wall / starts,
                cpu: all.cpu / starts,
            };
            let each = |times: Vec<Took>| times.into_iter().map(one).collect();
            Measured::Seconds(each(ours), each(peer))
        }
        bytes => bytes,
    }
}
