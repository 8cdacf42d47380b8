//! Packing, against the pipeline that scripts use.

use std::path::Path;

use crate::compare::{Measured, ROUNDS, in_turn};
use crate::inputs::Inputs;
use crate::run::{pipeline, printed, run};
use crate::worker::worker;

/// The whole tree into an artifact, from nothing, its dependencies at level 3 as the peer has them.
pub fn full_pack(inputs: &Inputs) -> Measured {
    let tree = inputs.tree();
    let dir = inputs.dir("full-pack");
    let measured = in_turn(
        ROUNDS,
        |round| {
            let command = inputs.packing(&dir.join(format!("ours-{round}")), [3, 3]);
            || run(command)
        },
        |round| {
            let command = tarball(&tree, &dir.join(format!("peer-{round}")));
            || run(command)
        },
    );
    let ours = printed(inputs.packing(&dir.join("ours"), [3, 3]));
    let count = |archive: &Path| {
        // Directories aside: the peer's archive has one of the root.
        printed(pipeline(
            r#"tar tf "$ARCHIVE" | grep -vc '/$'"#,
            &[("ARCHIVE", archive.as_os_str())],
        ))
    };
    assert_eq!(
        count(Path::new(&ours)),
        count(&dir.join("peer-0")),
        "both hold the same files"
    );
    measured
}

/// The vendored layer lies there sealed, as the cache keeps it: the code is packed, and the artifact assembled of both.
pub fn unchanged(inputs: &Inputs) -> Measured {
    let tree = inputs.tree();
    let dir = inputs.dir("pack-unchanged");
    let sealed = dir.join("sealed");
    let mut command = worker("seal");
    command.arg(&tree).arg(&sealed);
    run(command);
    in_turn(
        ROUNDS,
        |round| {
            let mut command = worker("assemble");
            command
                .arg(&tree)
                .arg(&sealed)
                .arg(dir.join(format!("ours-{round}")));
            || run(command)
        },
        |round| {
            let command = tarball(&tree, &dir.join(format!("peer-{round}")));
            || run(command)
        },
    )
}

/// The artifact that `shipit build` makes: dependencies at level 9, code at level 3.
pub fn size(inputs: &Inputs) -> Measured {
    let peer = inputs.dir("size").join("peer");
    run(tarball(&inputs.tree(), &peer));
    let bytes = |path: &Path| std::fs::metadata(path).expect("it was made just now").len();
    Measured::Bytes(bytes(&inputs.artifact()), bytes(&peer))
}

fn tarball(tree: &Path, out: &Path) -> std::process::Command {
    pipeline(
        r#"cd "$TREE"; tar --sort=name -cf - . | zstd -q -T2 -3 | tee "$OUT" | sha256sum"#,
        &[("TREE", tree.as_os_str()), ("OUT", out.as_os_str())],
    )
}
