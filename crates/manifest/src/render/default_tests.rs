//! What the default templates' commands say in a host's log.

use super::tests::input;
use super::*;

#[test]
fn each_default_command_begins_with_what_it_is_for() {
    for (layout, wanted) in [
        (
            Layout::Releases,
            &[
                "# shipit: make the directories",
                "# shipit: put release 20261121T010203Z-3074f46 in place and switch to it",
                "# shipit: remove old releases",
            ][..],
        ),
        (
            Layout::Plain,
            &[
                "# shipit: note that release 20261121T010203Z-3074f46 comes into dest",
                "# shipit: run the role's commands, and mark release 20261121T010203Z-3074f46 as done",
            ],
        ),
        (Layout::Commands, &["# shipit: run the role's commands"]),
    ] {
        let mut input = input();
        input.layout = layout;
        if layout != Layout::Releases {
            input.shared.clear();
        }
        if layout == Layout::Commands {
            (input.src, input.checksum, input.record_sha256) = (None, None, None);
        }
        let commands = parse(&trial(&render(&input, None).unwrap()).unwrap())
            .unwrap()
            .commands;
        let all = [commands.pre, commands.post, commands.success, commands.failure].concat();
        let first: Vec<_> = all
            .iter()
            .map(|command| command.lines().next().unwrap())
            .collect();
        assert_eq!(first, wanted);
    }
}
