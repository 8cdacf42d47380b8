//! The exec transport with real processes.

use std::future::pending;
use std::sync::Mutex;

use super::*;

fn request(hosts: &[&str], command: &str) -> ExecRequest {
    ExecRequest {
        hosts: hosts.iter().map(ToString::to_string).collect(),
        command: command.to_owned(),
        url: "file:///m.yml".to_owned(),
        limit: NonZeroUsize::new(4).unwrap(),
        timeout: Duration::from_secs(60),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        filters: Filters::none(),
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

fn outcomes(request: &ExecRequest) -> Vec<HostOutcome> {
    block_on(run(request, pending(), &|_| {})).unwrap()
}

#[test]
fn each_host_gets_the_url_and_has_its_own_outcome() {
    let command =
        "read url; echo {{ host }} got $url; case {{ host }} in bad) exit 3;; sig) kill -9 $$;; esac";
    let found = outcomes(&request(&["a", "bad", "it's;$(id)", "sig"], command));
    let results: Vec<_> = found.iter().map(|outcome| outcome.result.clone()).collect();
    assert_eq!(
        results,
        [
            HostResult::Succeeded,
            HostResult::Failed {
                code: Some(3),
                signal: None
            },
            HostResult::Succeeded,
            HostResult::Failed {
                code: None,
                signal: Some(9)
            },
        ]
    );
    assert_eq!(found[2].output_tail, "it's;$(id) got file:///m.yml\n");
}

#[test]
fn no_more_than_the_limit_run_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let hosts: Vec<String> = (0..6).map(|number| format!("h{number}")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let command = format!(
        "cd {}; : >on.{{{{ host }}}}; ls | grep -c on; sleep 0.2; rm on.{{{{ host }}}}",
        dir.path().display()
    );
    let found = outcomes(&ExecRequest {
        limit: NonZeroUsize::new(2).unwrap(),
        ..request(&hosts, &command)
    });
    let most = found
        .iter()
        .map(|outcome| outcome.output_tail.trim().parse::<u32>().unwrap())
        .max();
    assert!(most <= Some(2), "{found:?}");
}

#[test]
fn a_hung_command_is_ended_with_what_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    let command = format!(
        "echo begun; (trap '' TERM; sleep 300) & echo $! >{0}.new; mv {0}.new {0}; wait; sleep 300",
        pid.display()
    );
    // With more time where the machine is too busy for it to begin.
    let run = |millis| {
        outcomes(&ExecRequest {
            timeout: Duration::from_millis(millis),
            ..request(&["a"], &command)
        })
    };
    let tries = [500, 5000, 50_000].into_iter();
    let found = tries.map(run).find(|_| pid.exists()).unwrap();
    assert_eq!(
        (found[0].result.clone(), found[0].output_tail.as_str()),
        (HostResult::TimedOut, "begun\n")
    );
    assert!(gone(&pid));
}

#[test]
fn a_daemon_left_behind_does_not_hold_the_outcome() {
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    let command = format!(
        "printf 'no line end'; setsid sleep 50 & echo $! >{}; exit 0",
        pid.display()
    );
    let found = outcomes(&request(&["a"], &command));
    assert_eq!(found[0].result, HostResult::Succeeded);
    assert_eq!(found[0].output_tail, "no line end\n");
    assert!(found[0].seconds < 40.0, "{}", found[0].seconds);
    let pid = std::fs::read_to_string(pid).unwrap();
    let pid = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn dropping_the_future_ends_every_group() {
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    let command = format!(
        "sleep 300 & echo $! >{0}.new; mv {0}.new {0}; wait",
        pid.display()
    );
    let request = request(&["a"], &command);
    block_on(async {
        let running = run(&request, pending(), &|_| {});
        let begun = async {
            while !pid.exists() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! { _ = running => panic!("it ended"), () = begun => {} }
    });
    assert!(gone(&pid));
}

#[test]
fn a_stop_ends_what_runs_in_order_and_starts_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    // The shell ends at once, and what it waits for cleans up: it gets the time for it.
    let command = format!(
        "cd {at}; host={{{{ host }}}}; if [ $host = quick ]; then exit 0; fi; \
         sh -c 'echo $$ >'$host'.pid; trap \"sleep 1; echo cleaned >'$host'.clean; exit\" TERM; : >'$host'.on; \
         while :; do sleep 0.1; done'; true"
    );
    let hosts = ["quick", "a", "b", "never"];
    let request = ExecRequest {
        limit: NonZeroUsize::new(2).unwrap(),
        ..request(&hosts, &command)
    };
    let started = Mutex::new(Vec::new());
    let found = block_on(async {
        let stop = async {
            while !["a.on", "b.on"].iter().all(|name| dir.path().join(name).exists()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let note = |event| {
            if let Event::Started { host } = event {
                started.lock().unwrap().push(host);
            }
        };
        run(&request, stop, &note).await.unwrap()
    });
    let results: Vec<_> = found
        .iter()
        .map(|outcome| (outcome.host.as_str(), &outcome.result))
        .collect();
    assert_eq!(
        results[..3],
        [
            ("quick", &HostResult::Succeeded),
            ("a", &HostResult::Interrupted),
            ("b", &HostResult::Interrupted)
        ]
    );
    assert!(results[3] == ("never", &HostResult::NotBegun), "{results:?}");
    assert_eq!(*started.lock().unwrap(), ["quick", "a", "b"]);
    for host in ["a", "b"] {
        let cleaned = std::fs::read_to_string(dir.path().join(format!("{host}.clean")));
        assert_eq!(cleaned.unwrap(), "cleaned\n");
        assert!(gone(&dir.path().join(format!("{host}.pid"))));
    }
}

#[test]
fn output_goes_through_the_filter_before_anyone_sees_it() {
    // It holds back a byte, as a masker does.
    let filters = Filters::new(|| {
        let mut held = Vec::new();
        Box::new(move |bytes| {
            let Some(bytes) = bytes else {
                return std::mem::take(&mut held);
            };
            held.extend(bytes.iter().map(u8::to_ascii_uppercase));
            held.drain(..held.len() - 1).collect()
        })
    });
    let request = ExecRequest {
        filters,
        ..request(
            &["a"],
            "echo one; printf two; sleep 0.2; printf three; echo err >&2",
        )
    };
    let seen = Mutex::new(Vec::new());
    let note = |event| {
        if let Event::Output { line, .. } = event {
            seen.lock().unwrap().push(line);
        }
    };
    let found = block_on(run(&request, pending(), &note)).unwrap();
    let mut seen = seen.into_inner().unwrap();
    seen.sort();
    assert_eq!(seen, ["ERR", "ONE", "TWOTHREE"]);
    assert!(
        !found[0].output_tail.contains(|c: char| c.is_ascii_lowercase()),
        "{found:?}"
    );
}

/// Whether the process whose id the file holds is gone, or a zombie that waits for its reaper.
fn gone(pid: &std::path::Path) -> bool {
    let id = std::fs::read_to_string(pid).unwrap();
    for _ in 0..3000 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", id.trim())).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z ") {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

#[test]
fn output_streams_as_events_and_the_input_need_not_be_read() {
    let events = Mutex::new(Vec::new());
    let request = request(
        &["a"],
        "exec <&-; echo out; echo err >&2; head -c 100000 /dev/zero | tr '\\0' x",
    );
    let found = block_on(run(&request, pending(), &|event| {
        events.lock().unwrap().push(event);
    }))
    .unwrap();
    assert_eq!(found[0].result, HostResult::Succeeded);
    let events = events.into_inner().unwrap();
    let line = |wanted: &str| {
        events
            .iter()
            .any(|event| matches!(event, Event::Output { line, .. } if line == wanted))
    };
    assert!(line("out") && line("err"), "{events:?}");
    assert!(
        matches!(events.first(), Some(Event::Started { .. }))
            && matches!(events.last(), Some(Event::Ended { .. }))
    );
    assert!(found[0].output_tail.len() <= 16 * 1024);
}

#[test]
fn requests_that_cannot_be_used_run_nothing() {
    let refused = |request: &ExecRequest| {
        block_on(run(request, pending(), &|_| {}))
            .unwrap_err()
            .to_string()
    };
    assert!(refused(&request(&[], "true")).contains("there is none"));
    assert!(refused(&request(&["-oProxyCommand=x"], "true")).contains("starts with '-'"));
    assert!(refused(&request(&["a", "a"], "true")).contains("twice"));
    assert!(refused(&request(&["a b"], "true")).contains("not a host"));
    assert!(refused(&request(&["a"], "ssh {{ hosts }} x")).contains("cannot be rendered"));
    assert!(
        refused(&ExecRequest {
            url: "a\nb".to_owned(),
            ..request(&["a"], "true")
        })
        .contains("not one line")
    );
}
