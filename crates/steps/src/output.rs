//! A step's output on its way: secrets masked, written to the log, cut into lines, the last of them kept. It never
//! holds more than what came at once, a line, a secret and the tail in memory.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::event::{Event, OnEvent};
use crate::mask::Masker;

pub(crate) use crate::mask::MASK;

/// How many lines of output an error carries.
const TAIL_LINES: usize = 40;
/// How long a line may be in an event, in bytes; the log has it whole.
const LINE_BYTES: usize = 16 * 1024;

/// The log of one step and the events of its lines.
pub(crate) struct Output<'a> {
    step: &'a str,
    on_event: OnEvent<'a>,
    masker: Masker,
    file: File,
    path: PathBuf,
    lines: Lines,
    tail: VecDeque<String>,
    masked: Vec<u8>,
}

impl<'a> Output<'a> {
    /// Makes the log `<logs>/<step>.log`, or `<step>-2.log` and so on when that name is taken.
    pub(crate) fn create(
        logs: &Path,
        step: &'a str,
        masker: Masker,
        on_event: OnEvent<'a>,
    ) -> Result<Self, (PathBuf, io::Error)> {
        fs::create_dir_all(logs).map_err(|error| (logs.to_path_buf(), error))?;
        let (file, path) = create_new(logs, &file_name(step))?;
        let (lines, tail, masked) = (Lines::default(), VecDeque::new(), Vec::new());
        Ok(Self {
            step,
            on_event,
            masker,
            file,
            path,
            lines,
            tail,
            masked,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn tail(&self) -> Vec<String> {
        self.tail.iter().cloned().collect()
    }

    /// `text` with the step's secrets masked.
    pub(crate) fn mask(&self, text: &str) -> String {
        self.masker.mask(text)
    }

    /// Takes what a command printed.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.masked.clear();
        self.masker.push(bytes, &mut self.masked);
        self.pass_on(false)
    }

    /// Lets go of what was held back: a command has ended.
    pub(crate) fn end_of_command(&mut self) -> io::Result<()> {
        self.masked.clear();
        self.masker.finish(&mut self.masked);
        self.pass_on(true)
    }

    /// Writes a line of shipit's own to the log alone.
    pub(crate) fn note(&mut self, text: &str) -> io::Result<()> {
        let text = self.mask(text);
        writeln!(self.file, "{text}")
    }

    fn pass_on(&mut self, end: bool) -> io::Result<()> {
        self.file.write_all(&self.masked)?;
        let mut lines = Vec::new();
        let mut take = |line| lines.push(line);
        self.lines.push(&self.masked, &mut take);
        if end {
            self.lines.finish(&mut take);
        }
        if lines.is_empty() {
            return Ok(());
        }
        let newest = lines.len().saturating_sub(TAIL_LINES);
        self.tail.extend(lines[newest..].iter().cloned());
        let surplus = self.tail.len().saturating_sub(TAIL_LINES);
        self.tail.drain(..surplus);
        // One event for all that came at once: who shows it can do with one write.
        (self.on_event)(Event::Output {
            step: self.step.to_owned(),
            lines,
        });
        Ok(())
    }
}

/// A name for the step's files: what is not a letter, digit, `-`, `_` or `.` becomes `_`.
pub(crate) fn file_name(step: &str) -> String {
    let name: String = step
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '_'
            }
        })
        .take(100)
        .collect();
    match name.as_str() {
        "" | "." | ".." => "step".to_owned(),
        _ => name,
    }
}

fn create_new(logs: &Path, name: &str) -> Result<(File, PathBuf), (PathBuf, io::Error)> {
    let mut path = logs.join(format!("{name}.log"));
    let mut number = 2;
    loop {
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((file, path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                path = logs.join(format!("{name}-{number}.log"));
                number += 1;
            }
            Err(error) => return Err((path, error)),
        }
    }
}

/// Cuts bytes into lines. A carriage return that no newline follows starts the line anew, as on a terminal: of a
/// progress bar, its last state is left.
#[derive(Default)]
struct Lines {
    current: Vec<u8>,
    after_return: bool,
}

impl Lines {
    fn push(&mut self, bytes: &[u8], emit: &mut dyn FnMut(String)) {
        for &byte in bytes {
            match byte {
                b'\n' => {
                    emit(readable(&self.current));
                    self.current.clear();
                    self.after_return = false;
                }
                b'\r' => self.after_return = true,
                _ => {
                    if self.after_return {
                        self.current.clear();
                        self.after_return = false;
                    }
                    self.current.push(byte);
                    if self.current.len() >= LINE_BYTES {
                        let rest = self.current.split_off(boundary(&self.current));
                        emit(readable(&self.current));
                        self.current = rest;
                    }
                }
            }
        }
    }

    fn finish(&mut self, emit: &mut dyn FnMut(String)) {
        if !self.current.is_empty() {
            emit(readable(&self.current));
        }
        self.current.clear();
        self.after_return = false;
    }
}

/// Where to cut so that no UTF-8 character is cut in two.
fn boundary(bytes: &[u8]) -> usize {
    let least = bytes.len().saturating_sub(3);
    let start = (least..bytes.len()).rev().find(|&at| bytes[at] & 0xC0 != 0x80);
    match start {
        Some(at) if bytes[at] >= 0xC0 => at,
        _ => bytes.len(),
    }
}

/// A line as text: what is not UTF-8 replaced, terminal escape sequences and control characters left out. A step's
/// output must not move the cursor of the terminal it is shown on.
fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            skip_escape(&mut chars);
        } else if c == '\t' || !c.is_control() {
            clean.push(c);
        }
    }
    clean
}

fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.next() {
        Some('[') => {
            for c in chars.by_ref() {
                if ('\u{40}'..='\u{7e}').contains(&c) {
                    break;
                }
            }
        }
        Some(']') => {
            while let Some(c) = chars.next() {
                if c == '\u{7}' || (c == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                    break;
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let mut all = Vec::new();
        let mut lines = Lines::default();
        for piece in pieces {
            lines.push(piece, &mut |line| all.push(line));
        }
        lines.finish(&mut |line| all.push(line));
        all
    }

    #[test]
    fn lines_are_cut_wherever_the_chunks_are() {
        let text = b"one\ntwo\r\n\nth\xffree";
        for cut in 0..text.len() {
            let (left, right) = text.split_at(cut);
            assert_eq!(
                lines(&[left, right]),
                ["one", "two", "", "th\u{fffd}ree"],
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn of_a_progress_bar_the_last_state_is_left() {
        assert_eq!(lines(&[b"10 %\r20 %\r100 %\ndone\r\n"]), ["100 %", "done"]);
        assert_eq!(lines(&[b"10 %\r", b"20 %\r"]), ["20 %"]);
    }

    #[test]
    fn a_long_line_comes_in_pieces_of_whole_characters() {
        let text = "é".repeat(LINE_BYTES);
        let pieces = lines(&[b"x", text.as_bytes()]);
        assert!(pieces.len() >= 2);
        assert!(
            pieces
                .iter()
                .all(|piece| piece.len() <= LINE_BYTES && !piece.contains('\u{fffd}'))
        );
        assert_eq!(pieces.concat(), format!("x{text}"));
    }

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        let text = b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07plain\x1b]8;;http://x\x1b\\link\x08\tend\x1b";
        assert_eq!(lines(&[text]), ["red plainlink\tend"]);
    }

    #[test]
    fn names_of_logs_stay_in_the_directory() {
        assert_eq!(file_name("npm: frontend/app"), "npm__frontend_app");
        assert_eq!(file_name(".."), "step");
        let dir = tempfile::tempdir().unwrap();
        let (_, first) = create_new(dir.path(), "npm").unwrap();
        let (_, second) = create_new(dir.path(), "npm").unwrap();
        assert_eq!(first, dir.path().join("npm.log"));
        assert_eq!(second, dir.path().join("npm-2.log"));
    }
}
