//! A command's output: cut into lines as it comes, its end kept.

/// A line that is longer comes in pieces, so that a program that prints no line end fills no memory.
const LONGEST_LINE: usize = 8 * 1024;
/// What is kept of the output's end.
const TAIL: usize = 16 * 1024;

/// Cuts one stream into lines.
#[derive(Default)]
pub(super) struct Lines {
    open: Vec<u8>,
}

impl Lines {
    /// Takes what was read; gives the lines that are complete now.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.open.extend_from_slice(piece);
            while self.open.len() > LONGEST_LINE && !self.open[..LONGEST_LINE].contains(&b'\n') {
                let rest = self.open.split_off(LONGEST_LINE);
                lines.extend(self.end());
                self.open = rest;
            }
            if self.open.ends_with(b"\n") {
                lines.extend(self.end());
            }
        }
        lines
    }

    /// What is left when the stream ends.
    pub(super) fn end(&mut self) -> Option<String> {
        if self.open.is_empty() {
            return None;
        }
        let line = String::from_utf8_lossy(&self.open);
        let line = line.strip_suffix('\n').unwrap_or(&line);
        let line = line.strip_suffix('\r').unwrap_or(line).to_owned();
        self.open.clear();
        Some(line)
    }
}

/// Keeps the last lines.
#[derive(Default)]
pub(super) struct Tail(String);

impl Tail {
    pub(super) fn push(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
        if self.0.len() > TAIL {
            let from = self.0.len() - TAIL;
            let cut = self.0.as_bytes()[from..]
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(from, |at| from + at + 1);
            self.0.drain(..cut);
        }
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_wherever_the_reads_fall() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"a"), Vec::<String>::new());
        assert_eq!(lines.push(b"b\r\nc\n\nd"), ["ab", "c", ""]);
        assert_eq!(lines.end().as_deref(), Some("d"));
        assert_eq!(lines.end(), None);
        let long = lines.push(&[b'x'; LONGEST_LINE * 2 + 1]);
        assert_eq!(
            long.iter().map(String::len).collect::<Vec<_>>(),
            [LONGEST_LINE, LONGEST_LINE]
        );
    }

    #[test]
    fn the_tail_keeps_whole_last_lines() {
        let mut tail = Tail::default();
        for number in 0..5000 {
            tail.push(&format!("line {number} é"));
        }
        let text = tail.into_text();
        assert!(
            text.len() <= TAIL && text.starts_with("line ") && text.ends_with("line 4999 é\n"),
            "{}",
            text.len()
        );
    }
}
