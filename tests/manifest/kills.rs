//! kill -9 of stretcher, alone or with its whole process tree, at each named point and at random ones.

use std::collections::BTreeSet;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use shipit_manifest::{Layout, default_template};
use shipit_testbed::{Signal, random_hex};

use crate::host::{Host, SEEDED};

/// How a deploy is cut.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// stretcher alone: the command that it ran goes on as an orphan.
    Alone,
    /// With all that it started.
    Tree,
}

/// Waits at the point that POINT names, once: for the test's word, or its kill.
fn pause_at(point: &str) -> String {
    format!(
        "if [ \"${{POINT:-}}\" = {point} ] && mkdir \"$POINT_DIR/hit\" 2>/dev/null; \
         then while [ ! -e \"$POINT_DIR/go\" ]; do sleep 0.02; done; fi"
    )
}

/// A template with its named points made real, and their names.
fn with_points(layout: Layout) -> (String, Vec<String>) {
    let mut text = String::new();
    let mut points = Vec::new();
    for line in default_template(layout).text.lines() {
        let point = line
            .trim()
            .strip_prefix("{# point: ")
            .and_then(|rest| rest.strip_suffix(" #}"));
        match point {
            Some(point) => {
                points.push(point.to_owned());
                text.push_str(&pause_at(point));
            }
            None => text.push_str(line),
        }
        text.push('\n');
    }
    (text, points)
}

fn at_every_point(cut: Cut) {
    let (text, points) = with_points(Layout::Releases);
    let distinct: BTreeSet<_> = points.iter().collect();
    assert!(points.len() >= 19 && distinct.len() == points.len(), "{points:?}");
    let host = Host::with_template(text);
    for id in ["r100", "r101", "r102"] {
        host.deploy(&host.release(id)).ok();
    }
    for (number, point) in points.iter().enumerate() {
        let release = host.release(&format!("r{}", 200 + number));
        // Each comes by the copy of its own file.
        fs::remove_file(host.at("shared").join(SEEDED)).unwrap();
        let dir = host.tmp.mkdir(format!("points/{point}"));
        *host.env.borrow_mut() = vec![
            ("POINT".to_owned(), point.clone()),
            ("POINT_DIR".to_owned(), dir.display().to_string()),
        ];
        let mut deploy = host.start(&release);
        deploy.wait_ready(Duration::from_secs(60), || dir.join("hit").exists());
        match cut {
            Cut::Alone => deploy.signal(Signal::KILL),
            Cut::Tree => host.kill_all(),
        }
        // The shared file was taken away under the release in service: it is not there yet, or whole.
        if host.at("shared").join(SEEDED).exists() {
            host.assert_in_service();
        }
        fs::write(dir.join("go"), "").unwrap();
        host.env.borrow_mut().clear();
        // The watch hands the event over again. An orphan may still be at work: the handler's lock is its.
        host.deploy(&release).ok();
        host.assert_deployed(&release);
        assert_eq!(host.events().last(), Some(&format!("after {}", release.release)));
        drop(deploy);
    }
    // `previous` came from what was in service, never from a release that had not been good.
    assert_eq!(
        host.read(".shipit/previous").trim(),
        format!("r{}", 200 + points.len() - 2)
    );
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn killed_alone_at_every_named_point() {
    at_every_point(Cut::Alone);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn killed_with_its_tree_at_every_named_point() {
    at_every_point(Cut::Tree);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_rollback_that_was_killed_is_not_taken_for_done() {
    let (text, _) = with_points(Layout::Releases);
    let host = Host::with_template(text);
    let releases = ["r1", "r2"].map(|id| host.release(id));
    releases.iter().for_each(|release| {
        host.deploy(release).ok();
    });
    for (number, point) in ["previous", "undone", "linking", "switched", "restarted"]
        .iter()
        .enumerate()
    {
        let back = &releases[number % 2];
        let before = host.events().len();
        let dir = host.tmp.mkdir(format!("points/{point}"));
        *host.env.borrow_mut() = vec![
            ("POINT".to_owned(), (*point).to_owned()),
            ("POINT_DIR".to_owned(), dir.display().to_string()),
        ];
        let mut deploy = host.start(back);
        deploy.wait_ready(Duration::from_secs(60), || dir.join("hit").exists());
        host.kill_all();
        drop(deploy);
        host.env.borrow_mut().clear();
        host.deploy(back).ok();
        host.assert_deployed(back);
        assert_eq!(
            host.events()[before..].last(),
            Some(&format!("after {}", back.release)),
            "at {point}"
        );
        assert_eq!(
            host.read(".shipit/previous").trim(),
            releases[1 - number % 2].release,
            "at {point}"
        );
    }
}

/// How often it is killed at random however slow the machine is.
const LEAST: usize = 5;

/// Kills at random, some with a second handler that brings another release; ends after `time`.
fn at_random(rounds: usize, time: Duration) -> usize {
    let seed = u64::from_str_radix(&random_hex(8), 16).unwrap();
    eprintln!("kills at random: seed {seed:#x}");
    let mut random = Random(seed | 1);
    let host = Host::new();
    let begin = Instant::now();
    host.deploy(&host.release("r100")).ok();
    let whole = begin.elapsed();
    let mut last = 100;
    for round in 0..rounds {
        if begin.elapsed() > time && round >= LEAST {
            return round;
        }
        // Mostly a new release, else the same again or one back.
        let id = match random.below(4) {
            0 => last,
            1 => (last - 1).max(100),
            _ => last + 1,
        };
        last = last.max(id);
        let release = host.release(&format!("r{id}"));
        let second = (random.below(4) == 0).then(|| host.release(&format!("r{last}")));
        let cut = if random.below(2) == 0 {
            Cut::Alone
        } else {
            Cut::Tree
        };
        let at = whole.mul_f64(random.below(1300) as f64 / 1000.0);
        eprintln!(
            "round {round}: {id}, {cut:?} after {at:?}, second: {}",
            second.is_some()
        );
        let deploy = host.start(&release);
        let other = second.as_ref().map(|input| host.start(input));
        sleep(at);
        match cut {
            Cut::Alone => deploy.signal(Signal::KILL),
            Cut::Tree => host.kill_all(),
        }
        host.assert_in_service();
        host.deploy(&release).ok();
        if second.is_none() {
            host.assert_deployed(&release);
        }
        drop((deploy, other));
        host.assert_in_service();
        let settled = host.release(&format!("r{last}"));
        host.deploy(&settled).ok();
        host.assert_deployed(&settled);
        assert_eq!(host.events().last(), Some(&format!("after r{last}")));
    }
    rounds
}

/// xorshift: a seed that a failed run printed gives the same choices again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn killed_at_random() {
    assert!(at_random(12, Duration::from_secs(90)) >= LEAST);
}

#[test]
#[ignore = "soak: run make soak"]
fn soak_kills_at_random() {
    let kills = std::env::var("SHIPIT_SOAK_KILLS").map_or(400, |text| text.parse().unwrap());
    assert_eq!(at_random(kills, Duration::from_secs(4 * 3600)), kills);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_plain_dest_is_right_again_after_a_kill_at_every_named_point() {
    let (text, points) = with_points(Layout::Plain);
    assert!(points.len() >= 4, "{points:?}");
    let host = Host::with_template(text);
    for (number, point) in points.iter().enumerate() {
        for cut in [Cut::Alone, Cut::Tree] {
            let release = host.plain(&format!("r{number}{cut:?}"));
            let dir = host.tmp.mkdir(format!("points/{point}{cut:?}"));
            *host.env.borrow_mut() = vec![
                ("POINT".to_owned(), point.clone()),
                ("POINT_DIR".to_owned(), dir.display().to_string()),
            ];
            let mut deploy = host.start(&release);
            deploy.wait_ready(Duration::from_secs(60), || dir.join("hit").exists());
            match cut {
                Cut::Alone => deploy.signal(Signal::KILL),
                Cut::Tree => host.kill_all(),
            }
            fs::write(dir.join("go"), "").unwrap();
            host.env.borrow_mut().clear();
            host.deploy(&release).ok();
            host.assert_plain(&release);
            drop(deploy);
        }
    }
}
