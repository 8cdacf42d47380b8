//! Hosts that are waited for: on a terminal a bar of how many are done, and a line for each that is not; elsewhere nothing but a line
//! now and then while nothing is heard.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{Output, Wait};

/// How many hosts have a line at a time: the rest of a screen is for what else is said.
const LINES: usize = 16;

/// How often the bar's clock moves.
const TICK: Duration = Duration::from_millis(500);

/// Hosts that are waited for, until this is dropped.
#[derive(Debug)]
pub struct Hosts {
    bars: Option<Bars>,
    wait: Option<Wait>,
}

#[derive(Debug)]
struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    hosts: Mutex<BTreeMap<String, Line>>,
}

#[derive(Debug)]
struct Line {
    text: String,
    bar: Option<ProgressBar>,
}

impl Hosts {
    pub(super) fn new(output: &Output, bars: Option<&MultiProgress>, label: &str, total: usize) -> Self {
        let Some(all) = bars else {
            return Hosts {
                bars: None,
                wait: Some(output.waiting(label)),
            };
        };
        let bar = all.add(ProgressBar::new(total as u64));
        bar.set_style(style("{msg} {bar:30} {pos}/{len} {elapsed}"));
        bar.set_message(label.to_owned());
        bar.enable_steady_tick(TICK);
        Hosts {
            bars: Some(Bars {
                all: all.clone(),
                total: bar,
                hosts: Mutex::default(),
            }),
            wait: None,
        }
    }

    /// What a host does now.
    pub fn set(&self, host: &str, text: &str) {
        if let Some(wait) = &self.wait {
            wait.heard("");
        }
        let Some(bars) = &self.bars else { return };
        let Ok(mut hosts) = bars.hosts.lock() else {
            return;
        };
        let shown = hosts.values().filter(|line| line.bar.is_some()).count();
        let line = hosts.entry(host.to_owned()).or_insert_with(|| Line {
            text: String::new(),
            bar: None,
        });
        line.text = text.to_owned();
        if line.bar.is_none() && shown < LINES {
            line.bar = Some(bars.line(host));
        }
        if let Some(bar) = &line.bar {
            bar.set_message(text.to_owned());
        }
    }

    /// A host said its last word: its line goes, and another host's may come.
    pub fn done(&self, host: &str) {
        if let Some(wait) = &self.wait {
            wait.heard("");
        }
        let Some(bars) = &self.bars else { return };
        let Ok(mut hosts) = bars.hosts.lock() else {
            return;
        };
        bars.total.inc(1);
        if let Some(bar) = hosts.remove(host).and_then(|line| line.bar) {
            bar.finish_and_clear();
        }
        let next = hosts.iter_mut().find(|(_, line)| line.bar.is_none());
        if let Some((host, line)) = next {
            let bar = bars.line(host);
            bar.set_message(line.text.clone());
            line.bar = Some(bar);
        }
    }
}

impl Bars {
    fn line(&self, host: &str) -> ProgressBar {
        let bar = self.all.add(ProgressBar::new_spinner());
        bar.set_style(style("  {prefix} {wide_msg}"));
        bar.set_prefix(host.to_owned());
        bar
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let Some(bars) = &self.bars else { return };
        if let Ok(mut hosts) = bars.hosts.lock() {
            for line in std::mem::take(&mut *hosts).into_values() {
                if let Some(bar) = line.bar {
                    bar.finish_and_clear();
                }
            }
        }
        bars.total.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use crate::output::screen::Screen;

    #[test]
    fn a_terminal_shows_a_bar_and_the_hosts_that_are_not_done() {
        let screen = Screen::new();
        let output = screen.output();
        let hosts = output.hosts("web, wave 1 of 2", 18);
        for number in 0..18 {
            hosts.set(&format!("web{number:02}"), "asked");
        }
        screen.until("0/18");
        screen.until("web15 asked");
        assert!(!screen.text().contains("web16"), "{}", screen.text());
        hosts.set("web16", "started: unpacked");
        hosts.done("web03");
        screen.until("web16 started: unpacked");
        screen.until("1/18");
        drop(hosts);
        assert_eq!(screen.text().trim(), "");
    }
}
