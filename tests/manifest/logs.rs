//! What a report keeps of stretcher's log: all that a reader wants, and none of the texts of shipit's own commands.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use shipit_manifest::RenderInput;
use shipit_testbed::{Cmd, ConsulAgent, Ran};

use crate::host::Host;
use crate::reports::{key, report_of};

/// Commands of the role's own, one of which begins as shipit's do.
const OWN: &str = r##"{% extends "shipit/manifest.yml.j2" %}
{% block post %}
    - |
      echo "an own command's text"
      echo "what it" "prints"
    - |
      # shipit: not one of shipit's
      echo "its text" >/dev/null
      echo "and what" "it prints"
{% endblock %}
"##;

/// What a report keeps of the log.
fn kept(agent: &ConsulAgent, release: &str) -> String {
    let log = agent.kv_get(&key("logs", agent.node(), release)).unwrap();
    assert!(log.len() <= 16 * 1024, "{}", log.len());
    String::from_utf8(log).unwrap()
}

/// The lines that say something, without their times.
fn lines(log: &str) -> Vec<&str> {
    let stamped = |line: &str| {
        line.split_once(' ')
            .is_some_and(|(day, _)| day.len() == 10 && day.matches('/').count() == 2)
    };
    log.lines()
        .map(|line| if stamped(line) { &line[20..] } else { line })
        .filter(|line| !line.is_empty())
        .collect()
}

/// No line of a script of shipit's own stands in it.
#[track_caller]
fn assert_brief(kept: &str, ran: &Ran) {
    // The host's own log has them, whole.
    for word in ["flock -w 3600 8", "X-Consul-Token", "stretcher.Manifest{"] {
        assert!(ran.err().contains(word), "{word}: {ran}");
    }
    for word in [
        "flock",
        "Consul",
        "stretcher.Manifest",
        "shipit: end",
        "case ",
        "printf",
    ] {
        assert!(!kept.contains(word), "{word}: {kept}");
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn the_log_of_a_deploy_has_what_happened_and_no_script() {
    let (host, agent) = (Host::with_template(OWN.to_owned()), ConsulAgent::dev());
    let mut one = host.reporting("r1", &agent.http_addr());
    one.hooks.after_switch.push("echo restarted the app".to_owned());
    let ran = host.deploy(&one).ok();
    let kept = kept(&agent, "r1");
    assert_brief(&kept, &ran);
    let lines = lines(&kept);
    // rsync names each file; between that and the start stand numbers that differ.
    let from = lines.iter().position(|line| line.contains("sent ")).unwrap();
    let told: Vec<&str> = lines[from + 2..].to_vec();
    assert_eq!(
        told,
        [
            "invoking command: # shipit: report started",
            "invoking command: # shipit: put release r1 in place and switch to it",
            "shared/config/database.yml was not there: the file that release r1 has is its first",
            "restarted the app",
            "invoking command: echo \"an own command's text\"",
            "echo \"what it\" \"prints\"",
            "an own command's text",
            "what it prints",
            "invoking command: # shipit: not one of shipit's",
            "echo \"its text\" >/dev/null",
            "echo \"and what\" \"it prints\"",
            "and what it prints",
            "Deploy manifest succeeded.",
        ]
    );
    let begun = lines.iter().filter(|line| {
        line.starts_with("Executing manifest") || line.starts_with("invoking command: # shipit")
    });
    assert_eq!(
        begun.take(3).copied().collect::<Vec<_>>(),
        [
            "Executing manifest",
            "invoking command: # shipit: report started",
            "invoking command: # shipit: make the directories",
        ]
    );
    // Of what the host logs it is a small part.
    assert!(
        kept.len() * 4 < ran.err().len(),
        "{} of {}",
        kept.len(),
        ran.err().len()
    );
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn the_log_of_a_failure_ends_with_how_the_command_ended() {
    let (host, agent) = (Host::new(), ConsulAgent::dev());
    let mut one = host.reporting("r1", &agent.http_addr());
    one.hooks.before_switch = vec!["echo the reason; exit 9".to_owned()];
    let ran = host.deploy(&one);
    let kept = kept(&agent, "r1");
    assert_brief(&kept, &ran);
    let lines = lines(&kept);
    assert_eq!(
        lines[lines.len() - 4..],
        [
            "the reason",
            "before_switch.1 of r1: exit code 9",
            "Deploy manifest failed: failed: # shipit: put release r1 in place and switch to it",
            "exit status 9",
        ]
    );
    let said = report_of(&agent, &key("reports", agent.node(), "r1"));
    assert_eq!(said["message"], "before_switch.1 of r1: exit code 9");
}

/// What a hook prints stays whatever it looks like, and a log of megabytes is read to its end.
#[test]
#[ignore = "needs the testbed; run make test"]
fn what_looks_like_a_mark_hides_nothing() {
    let (host, agent) = (Host::new(), ConsulAgent::dev());
    let stamp = "2026/11/21 13:45:15";
    let printed = format!(
        "# shipit: end\n{stamp} invoking command: # shipit: report started\nstays\n{stamp} Deploy manifest failed: failed: # shipit: x\n\
         stays, too\n# shipit: ended\nExecuting manifest &stays\nlast\n"
    );
    let file = host.tmp.write("printed", &printed);
    let mut one = host.reporting("r1", &agent.http_addr());
    one.hooks.after_switch = vec![format!(
        "seq 1000000 2000000 | head -c 6000000; cat '{}'",
        file.display()
    )];
    // A hook's output is cut to its last 64 KiB; that of a command of the manifest's own is not.
    let block = "{% extends \"shipit/manifest.yml.j2\" %}\n{% block post %}\n    - \"seq 1000000 1800000; cat {{ vars.file }}\"\n{% endblock %}\n";
    let whole = Host::with_template(block.to_owned());
    let two = RenderInput {
        vars: [("file".to_owned(), file.display().to_string().into())].into(),
        ..whole.reporting("r2", &agent.http_addr())
    };
    for (host, input) in [(&host, &one), (&whole, &two)] {
        let ran = host.deploy(input).ok();
        let kept = kept(&agent, &input.release);
        assert!(kept.len() > 15 * 1024, "{}", kept.len());
        assert!(kept.contains(&printed), "{kept}");
        assert!(ran.took < Duration::from_secs(60), "{ran}");
    }
}

/// The filter alone, under every awk that there is, with logs that no stretcher writes.
#[test]
#[ignore = "needs the testbed; run make test"]
fn each_awk_leaves_the_same() {
    let host = Host::new();
    let script = filter(&host);
    let begin = "2026/11/21 13:45:15 invoking command: # shipit: report started\n";
    let end = "# shipit: end\n";
    let next = "2026/11/21 13:45:16 next\n";
    for (log, wanted) in [
        (String::new(), String::new()),
        // Whole, and at the end of a failure.
        (format!("{begin}text\n{end}{next}"), format!("{begin}{next}")),
        (
            "2026/11/21 13:45:15 Deploy manifest failed: failed: # shipit: x\ntext\n# shipit: end signal: killed\n".to_owned(),
            "2026/11/21 13:45:15 Deploy manifest failed: failed: # shipit: x\nsignal: killed\n".to_owned(),
        ),
        // The end is cut, or was never there; the beginning is cut.
        (format!("{begin}text\nmore\n"), format!("{begin}text\nmore\n")),
        (
            format!("{begin}text\n{next}{end}"),
            format!("{begin}text\n{next}{end}"),
        ),
        (format!("text\n{end}{next}"), format!("text\n{end}{next}")),
        // One after the other, and each its own.
        (
            format!("{begin}a\n{begin}b\n{end}c\n"),
            format!("{begin}a\n{begin}c\n"),
        ),
        (
            "2026/11/21 13:45:15 Executing manifest &stretcher.Manifest{Src:\"x\"}\nno stamp &x\n".to_owned(),
            "2026/11/21 13:45:15 Executing manifest\nno stamp &x\n".to_owned(),
        ),
    ] {
        for awk in awks(&host) {
            let found = Cmd::new("sh")
                .args(["-c", &script])
                .path_first(&awk)
                .stdin(log.clone())
                .run()
                .ok();
            assert_eq!(found.out(), wanted, "{}", awk.display());
        }
    }
}

/// The function as it stands in a manifest, called.
fn filter(host: &Host) -> String {
    let text = fs::read_to_string(
        host.publish(&host.reporting("r1", "127.0.0.1:1"))
            .trim_start_matches("file://"),
    )
    .unwrap();
    let lines = text.lines().map(|line| line.trim_start_matches("      "));
    let mut function = String::new();
    for line in lines.skip_while(|line| *line != "brief() {") {
        let _ = writeln!(function, "{line}");
        if line == "}" {
            break;
        }
    }
    assert!(function.contains("awk"), "{text}");
    format!("{function}brief")
}

/// A directory for each awk of this machine, where it is called `awk`.
fn awks(host: &Host) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (name, call) in [
        ("mawk", "mawk"),
        ("gawk", "gawk"),
        ("original-awk", "original-awk"),
        ("busybox", "busybox awk"),
    ] {
        let there = Cmd::new("sh").args(["-c", &format!("command -v {name}")]).run();
        if there.code() == Some(0) {
            let path = host.tmp.write(
                format!("awks/{name}/awk"),
                format!("#!/bin/sh\nexec {call} \"$@\"\n"),
            );
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            found.push(host.tmp.join("awks").join(name));
        }
    }
    assert!(!found.is_empty(), "there is no awk");
    found
}
