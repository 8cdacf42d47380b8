//! Bringing an artifact to a store and onto a host, and how soon the program answers at all.

use std::path::Path;
use std::process::Command;

use shipit_testbed::{S3Server, Testbed};

use crate::compare::{Measured, ROUNDS, Took, in_turn};
use crate::inputs::Inputs;
use crate::run::{pipeline, program, run};
use crate::worker::{account, worker};

const BUCKET: &str = "bench";
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

/// An artifact onto a host that has nothing yet; both sides read the same file and run one command at the end.
pub fn first_apply(inputs: &Inputs) -> Measured {
    let artifact = inputs.artifact();
    let dir = inputs.dir("first-apply");
    let measured = in_turn(
        ROUNDS,
        |round| {
            let host = dir.join(format!("ours-{round}"));
            let command = apply(&artifact, &host);
            || run(command)
        },
        |round| {
            let host = dir.join(format!("peer-{round}"));
            let (temp, dest) = (host.join("tmp"), host.join("dest"));
            std::fs::create_dir_all(&temp).expect("a directory of ours");
            let command = pipeline(
                r#"tar xf "$ARTIFACT" -C "$TEMP"; rsync -a --delete "$TEMP/" "$DEST/"; true"#,
                &[
                    ("ARTIFACT", artifact.as_os_str()),
                    ("TEMP", temp.as_os_str()),
                    ("DEST", dest.as_os_str()),
                ],
            );
            || run(command)
        },
    );
    let count = |host: &str| {
        let dest = dir.join(host).join("dest");
        crate::run::printed(pipeline(r#"find "$DEST" | wc -l"#, &[("DEST", dest.as_os_str())]))
    };
    assert_eq!(count("ours-0"), count("peer-0"), "both hosts hold the same tree");
    measured
}

fn apply(artifact: &Path, host: &Path) -> Command {
    let temp = host.join("tmp");
    std::fs::create_dir_all(&temp).expect("a directory of ours");
    let sha256 = artifact
        .file_name()
        .and_then(|name| name.to_str())
        .and_then(|name| name.split('.').next())
        .expect("an artifact is named by its checksum");
    let manifest = format!(
        "src: 'file://{}'\nchecksum: '{sha256}'\ndest: '{}'\ncommands: {{post: ['true']}}\n",
        artifact.display(),
        host.join("dest").display()
    );
    let path = host.join("manifest.yml");
    std::fs::write(&path, manifest).expect("a file of ours");
    let mut command = program(env!("CARGO_BIN_EXE_shipit"));
    command
        .arg("apply")
        .arg(format!("file://{}", path.display()))
        .arg("--temp-dir")
        .arg(&temp)
        .arg("--lock-dir")
        .arg(host.join("locks"))
        .current_dir(host);
    command
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
        bytes @ Measured::Bytes(..) => bytes,
    }
}
