//! What the default templates' commands say in a host's log.

use super::tests::input;
use super::*;
use crate::{ReportInput, ReportWith, is_report_command};

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

/// By their marks they are taken out of the log that a report keeps.
#[test]
fn each_default_command_ends_with_a_mark() {
    let reporting = RenderInput {
        once: vec!["true".to_owned()],
        ..reporting(ReportWith::Curl)
    };
    let mut plain = reporting.clone();
    plain.layout = Layout::Plain;
    plain.shared.clear();
    let mut commands = plain.clone();
    commands.layout = Layout::Commands;
    commands.once.clear();
    (commands.src, commands.checksum, commands.record_sha256) = (None, None, None);
    for text in [
        render(&reporting, None),
        render_once(&reporting),
        render(&plain, None),
        render_once(&plain),
        render(&commands, None),
    ] {
        let manifest = read(&text.unwrap());
        for (name, list) in manifest.commands.lists() {
            for command in list {
                assert!(command.starts_with("# shipit: "), "{name}: {command}");
                assert!(command.ends_with("\n# shipit: end"), "{name}: {command}");
                assert_eq!(command.matches("\n# shipit: end").count(), 1, "{name}: {command}");
            }
        }
    }
}

fn reporting(with: ReportWith) -> RenderInput {
    RenderInput {
        report: Some(ReportInput {
            with,
            dashboard: Some("deploys".to_owned()),
        }),
        ..input()
    }
}

fn read(text: &str) -> Manifest {
    parse(&trial(text).unwrap()).unwrap()
}

#[test]
fn reports_come_first_in_each_list_and_leave_nothing_when_they_are_off() {
    let off = render(&input(), None).unwrap();
    assert!(!off.contains("report") && !off.contains("CONSUL_"), "{off}");
    let manifest = read(&render(&reporting(ReportWith::Curl), None).unwrap());
    for (name, list) in manifest.commands.lists() {
        assert!(is_report_command(&list[0]), "{name}: {}", list[0]);
        let reports = list.iter().filter(|command| is_report_command(command));
        assert_eq!(reports.count(), 1, "{name}");
    }
    let binding = manifest.shipit.unwrap();
    assert!(binding.reports_to_consul());
    assert_eq!(binding.dashboard.as_deref(), Some("deploys"));
    assert!(!read(&off).shipit.unwrap().reports_to_consul());
}

#[test]
fn a_report_command_is_short_and_holds_no_value_of_the_environment() {
    for with in [ReportWith::Curl, ReportWith::Consul] {
        let manifest = read(&render(&reporting(with), None).unwrap());
        for (name, list) in manifest.commands.lists() {
            // stretcher logs each one in full on the host.
            let most = if matches!(name, "pre" | "post") {
                3000
            } else {
                4300
            };
            assert!(list[0].len() < most, "{name}: {} bytes", list[0].len());
            assert!(!list[0].contains("{{") && !list[0].contains("-H "), "{}", list[0]);
        }
    }
}

#[test]
fn once_has_a_manifest_of_its_own_that_switches_nothing() {
    let input = RenderInput {
        once: vec!["bin/rails db:migrate {{ x }}".to_owned()],
        ..reporting(ReportWith::Curl)
    };
    let manifest = read(&render_once(&input).unwrap());
    let binding = manifest.shipit.unwrap();
    assert_eq!(
        (binding.role, binding.layout),
        ("web.once".to_owned(), Layout::Plain)
    );
    assert_eq!(
        manifest.dest.unwrap(),
        "/srv/shop/.once/20261121T010203Z-3074f46.web.once"
    );
    let post = manifest.commands.post.concat();
    assert!(
        post.contains("'bin/rails db:migrate {{ x }}'") && !post.contains("current"),
        "{post}"
    );
    assert!(!render(&input, None).unwrap().contains("db:migrate"));
    let refused = render_once(&reporting(ReportWith::Curl)).unwrap_err();
    assert!(refused.to_string().contains("no command"), "{refused}");
}
