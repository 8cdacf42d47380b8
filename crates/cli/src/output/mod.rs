//! stdout carries data, stderr everything else. Nothing else in the project prints.

mod hosts;
mod progress;
#[cfg(test)]
mod screen;
mod table;
mod wait;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use indicatif::{MultiProgress, ProgressDrawTarget};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;

pub use hosts::Hosts;
pub use progress::Meter;
pub use table::Column;
pub use wait::Wait;

use crate::args::{Color, Format, Global};
use crate::environment::Environment;
use crate::errors::{CliError, Kind, Result};

/// Where messages, bars and data go. Clones share one terminal.
#[derive(Debug, Clone)]
pub struct Output {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    format: Format,
    quiet: bool,
    colors: bool,
    bars: Option<MultiProgress>,
    // What was warned of once.
    warned: Mutex<BTreeSet<String>>,
}

impl Output {
    /// Settles colours and bars: on a terminal, unless NO_COLOR is set or the terminal is dumb.
    pub fn new(global: &Global, environment: &Environment) -> Self {
        let dumb = environment.text("TERM").is_none_or(|term| term == "dumb");
        let terminal = std::io::stderr().is_terminal() && !dumb;
        let colors = match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && environment.text("NO_COLOR").is_none(),
        };
        let plain = match global.color {
            Color::Always => false,
            Color::Never => true,
            Color::Auto => environment.text("NO_COLOR").is_some(),
        };
        let bars = (terminal && !plain && !global.quiet)
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)));
        Output {
            inner: Arc::new(Inner {
                format: global.output,
                quiet: global.quiet,
                colors,
                bars,
                warned: Mutex::default(),
            }),
        }
    }

    /// Whether stdout is to carry one JSON document.
    pub fn is_json(&self) -> bool {
        self.inner.format == Format::Json
    }

    /// Whether news are not said.
    pub fn is_quiet(&self) -> bool {
        self.inner.quiet
    }

    /// Whether messages may be coloured.
    pub fn colors(&self) -> bool {
        self.inner.colors
    }

    /// A line of news on stderr; silent with --quiet.
    pub fn say(&self, message: impl AsRef<str>) {
        if !self.inner.quiet {
            self.line(message.as_ref());
        }
    }

    /// A warning on stderr.
    pub fn warn(&self, message: impl AsRef<str>) {
        self.line(&format!(
            "{} {}",
            self.paint("33;1", "warning:"),
            message.as_ref()
        ));
    }

    /// As [`Output::warn`], of what is met anew each time that something is read: the second time it is no news.
    pub fn warn_once(&self, message: impl AsRef<str>) {
        let message = message.as_ref();
        let news = self
            .inner
            .warned
            .lock()
            .map_or(true, |mut warned| warned.insert(message.to_owned()));
        if news {
            self.warn(message);
        }
    }

    /// An error, its causes and what to do next.
    pub fn error(&self, error: &CliError) {
        if let Some(text) = error.rendered_text() {
            // Nothing is to be said of what ended as it was meant to.
            if !text.is_empty() {
                self.line(text.trim_end());
            }
        } else {
            let chain = error.chain();
            let (first, causes) = match chain.split_first() {
                Some((first, causes)) => (first.as_str(), causes),
                None => ("unknown error", &[][..]),
            };
            self.line(&format!("{} {first}", self.paint("31;1", "error:")));
            for cause in causes {
                self.line(&format!(
                    "  because: {}",
                    cause.trim_end().replace('\n', "\n    ")
                ));
            }
        }
        for hint in error.hints() {
            self.line(&format!(
                "  {} {}",
                self.paint("36;1", "hint:"),
                hint.replace('\n', "\n    ")
            ));
        }
    }

    /// A line of a child's output, prefixed with where it comes from; silent with --quiet.
    pub fn prefixed(&self, prefix: &str, line: &str) {
        if !self.inner.quiet {
            self.quoted(prefix, line);
        }
    }

    /// As `prefixed`, for lines that came together: one write for all of them.
    pub fn prefixed_all(&self, prefix: &str, lines: &[String]) {
        if self.inner.quiet {
            return;
        }
        let prefix = self.paint("2", &format!("{prefix} |"));
        let text: String = lines.iter().flat_map(|line| [&prefix, " ", line, "\n"]).collect();
        self.pass_on(text.as_bytes());
    }

    /// As `prefixed`, but with --quiet too: what belongs to an error.
    pub fn quoted(&self, prefix: &str, line: &str) {
        self.line(&format!("{} {line}", self.paint("2", &format!("{prefix} |"))));
    }

    /// Data for text output: exactly these bytes and a newline, on stdout. Nothing in JSON mode.
    pub fn data(&self, line: impl AsRef<str>) -> Result<()> {
        if self.is_json() {
            Ok(())
        } else {
            write_stdout(format!("{}\n", line.as_ref()).as_bytes())
        }
    }

    /// Rows under headings, for text output, as wide as the terminal at most. Nothing in JSON mode, and without rows.
    pub fn table(&self, columns: &[Column], rows: &[Vec<String>]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        for line in table::lines(columns, rows, table::terminal_width()) {
            self.data(line)?;
        }
        Ok(())
    }

    /// A path as data for text output, byte for byte. Nothing in JSON mode.
    pub fn path(&self, path: &Path) -> Result<()> {
        if self.is_json() {
            return Ok(());
        }
        write_stdout(&[path.as_os_str().as_bytes(), b"\n"].concat())
    }

    /// The document of JSON output. Nothing in text mode.
    pub fn json(&self, document: &impl Serialize) -> Result<()> {
        if !self.is_json() {
            return Ok(());
        }
        let mut text = serde_json::to_vec_pretty(document).map_err(|error| {
            CliError::from_source(Kind::Internal, error).context("writing the JSON document")
        })?;
        text.push(b'\n');
        write_stdout(&text)
    }

    /// One document of several, on a line of its own. Nothing in text mode.
    pub fn json_line(&self, document: &impl Serialize) -> Result<()> {
        if !self.is_json() {
            return Ok(());
        }
        let mut text = serde_json::to_vec(document).map_err(|error| {
            CliError::from_source(Kind::Internal, error).context("writing a JSON document")
        })?;
        text.push(b'\n');
        write_stdout(&text)
    }

    /// Whether what is shown again and again takes the place of what was shown before: text on a terminal.
    pub fn redraws(&self) -> bool {
        !self.is_json() && std::io::stdout().is_terminal() && self.inner.colors
    }

    /// Clears the terminal, and shows rows as the next picture: each is one line, cut where the terminal ends.
    pub fn picture(&self, columns: &[Column], rows: &[Vec<String>]) -> Result<()> {
        let width = table::terminal_width();
        let lines = match rows.is_empty() {
            true => Vec::new(),
            false => table::cut(table::lines(columns, rows, width), width),
        };
        let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
        write_stdout(format!("\x1b[H\x1b[2J{text}").as_bytes())
    }

    /// Whether whoever read stdout is gone, as `head -1` is after a line. Who writes seldom has to ask.
    pub fn is_unread(&self) -> bool {
        let stdout = std::io::stdout();
        let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
        let gone = PollFlags::ERR | PollFlags::HUP;
        poll(&mut polled, Some(&Timespec::default())).is_ok() && polled[0].revents().intersects(gone)
    }

    /// Data that is the same in both modes: a manifest, a man page, a schema.
    pub fn raw(&self, bytes: &[u8]) -> Result<()> {
        write_stdout(bytes)
    }

    /// A child's stdout and stderr, passed on as they are.
    pub fn pass_on(&self, bytes: &[u8]) {
        self.suspended(|| {
            // Whoever reads us may be gone; there is nobody left to tell.
            let _ = std::io::stderr().lock().write_all(bytes);
        });
    }

    /// A meter of bytes: a bar on a terminal, a line now and then elsewhere.
    pub fn meter(&self, label: impl Into<String>, total: Option<u64>) -> Meter {
        Meter::new(self.clone(), self.inner.bars.as_ref(), label.into(), total)
    }

    /// Something that is waited for until the result is dropped: on a terminal it is shown, elsewhere a line now and then.
    pub fn waiting(&self, label: impl Into<String>) -> Wait {
        Wait::new(self, self.inner.bars.as_ref(), self.inner.quiet, label.into())
    }

    /// Hosts that are waited for until the result is dropped, so many of them.
    pub fn hosts(&self, label: &str, total: usize) -> Hosts {
        Hosts::new(self, self.inner.bars.as_ref(), label, total)
    }

    /// One write a line: stderr has no buffer, and steps can print a million lines.
    fn line(&self, text: &str) {
        let line = format!("{text}\n");
        self.suspended(|| {
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        });
    }

    fn suspended(&self, write: impl FnOnce()) {
        match &self.inner.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }

    fn paint(&self, style: &str, text: &str) -> String {
        if self.inner.colors {
            format!("\u{1b}[{style}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Text of a host's without what moves a terminal's cursor, clears its screen or names its window: line breaks and tabs stay.
pub fn printable(text: &str) -> String {
    let shown = |character: char| match character {
        '\n' | '\t' => character,
        other if other.is_control() => ' ',
        other => other,
    };
    text.chars().map(shown).collect()
}

/// Prints what clap has to say and gives its exit code: help and version 0, a usage error 2.
pub fn usage(error: &clap::Error) -> ExitCode {
    // A closed pipe (`shipit --help | head -1`) is no failure.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() {
        Kind::Usage.row().0
    } else {
        0
    })
}

fn write_stdout(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(CliError::disk("writing to stdout", error)),
    }
}

/// A number of things for people: `1 layer`, `3 layers`.
pub fn counted<N: Copy + Display + PartialEq + From<u8>>(count: N, one: &str, many: &str) -> String {
    let what = if count == N::from(1) { one } else { many };
    format!("{count} {what}")
}

/// A number of bytes for people: `6.1 MB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::{bytes, printable};

    #[test]
    fn a_hosts_text_does_nothing_to_a_terminal() {
        assert_eq!(
            printable("one\ttwo\n\u{1b}[2Jthree\r\u{9b}x"),
            "one\ttwo\n [2Jthree  x"
        );
    }

    #[test]
    fn bytes_read_as_people_write_them() {
        assert_eq!(
            [0, 999, 1000, 6_100_000, 999_999, 151_900_000_000].map(bytes),
            ["0 B", "999 B", "1.0 kB", "6.1 MB", "1.0 MB", "151.9 GB"]
        );
    }
}
