//! Meters of bytes: a bar on a terminal; in a Jenkins console a plain line every ten seconds, and none for what is quick.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{Output, bytes};

const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// How far one transfer or one packing is.
#[derive(Debug)]
pub struct Meter {
    output: Output,
    label: String,
    bar: Option<ProgressBar>,
    lines: Mutex<Lines>,
}

#[derive(Debug)]
struct Lines {
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
            bar
        });
        let now = Instant::now();
        Meter {
            output,
            label,
            bar,
            lines: Mutex::new(Lines {
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
                self.label,
                bytes(done),
                bytes(rate as u64)
            ));
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
        "{msg:20} {spinner} {bytes} {bytes_per_sec}"
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
