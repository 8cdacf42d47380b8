//! Meters of bytes: a bar on a terminal; in a Jenkins console a plain line every ten seconds, and none for what is quick.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{Output, bytes};

/// How often the bar is drawn anew while nothing comes.
const TICK: Duration = Duration::from_millis(500);
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// How far one transfer or one packing is.
#[derive(Debug)]
pub struct Meter {
    output: Output,
    bar: Option<ProgressBar>,
    lines: Mutex<Lines>,
}

#[derive(Debug)]
struct Lines {
    label: String,
    started: Instant,
    last: Instant,
    total: Option<u64>,
}

impl Meter {
    pub(super) fn new(
        output: Output,
        bars: Option<&MultiProgress>,
        label: String,
        total: Option<u64>,
    ) -> Self {
        let bar = bars.map(|bars| {
            let bar = bars.add(total.map_or_else(ProgressBar::no_length, ProgressBar::new));
            bar.set_style(style(total.is_some()));
            bar.set_message(label.clone());
            // The rate falls and the time grows also while nothing comes.
            bar.enable_steady_tick(TICK);
            bar
        });
        let now = Instant::now();
        Meter {
            output,
            bar,
            lines: Mutex::new(Lines {
                label,
                started: now,
                last: now,
                total,
            }),
        }
    }

    /// Bytes done so far.
    pub fn set(&self, done: u64, total: Option<u64>) {
        if let Some(bar) = &self.bar {
            if let Some(total) = total
                && bar.length() != Some(total)
            {
                bar.set_length(total);
                bar.set_style(style(true));
            }
            bar.set_position(done);
            return;
        }
        let Ok(mut lines) = self.lines.lock() else { return };
        lines.total = total.or(lines.total);
        if lines.last.elapsed() >= BETWEEN_LINES {
            lines.last = Instant::now();
            let rate = done as f64 / lines.started.elapsed().as_secs_f64().max(0.001);
            let of = lines
                .total
                .map(|total| format!(" of {}", bytes(total)))
                .unwrap_or_default();
            self.output.say(format!(
                "{}: {}{of} ({}/s)",
                lines.label,
                bytes(done),
                bytes(rate as u64)
            ));
        }
    }

    /// What the bytes are of, said anew: `fetching origin, 34 of 280 objects`.
    pub fn label(&self, label: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(label.clone());
        }
        if let Ok(mut lines) = self.lines.lock() {
            lines.label = label;
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.finish();
    }
}

fn style(has_length: bool) -> ProgressStyle {
    let template = if has_length {
        "{msg:20} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}"
    } else {
        "{msg:20} {spinner} {bytes} {bytes_per_sec} {elapsed}"
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use crate::output::screen::Screen;

    #[test]
    fn a_terminal_shows_bytes_total_and_rate() {
        let screen = Screen::new();
        let output = screen.output();
        let meter = output.meter("sending 4f2a9c1", Some(200 << 20));
        meter.set(50 << 20, None);
        screen.until("50.00 MiB/200.00 MiB");
        assert!(screen.text().contains("sending 4f2a9c1"), "{}", screen.text());
        assert!(screen.text().contains("/s"), "{}", screen.text());
        meter.label("sending the rest".to_owned());
        screen.until("sending the rest");
        drop(meter);
        assert_eq!(screen.text().trim(), "");
    }
}
