//! The words of a report: why it failed in one line, and the end of the log.

use shipit_fleet::report::LOG_LIMIT;

use crate::error::Error;
use crate::mask::Mask;

/// The longest message in bytes: with it a report stays below its limit whatever has to be escaped.
const MESSAGE_LIMIT: usize = 400;
/// As long as `2026/11/21 13:45:15Z `, which begins a line of the log.
const STAMP: usize = 21;

/// Why it failed. Of a command that is the last line that it wrote: what it was is the manifest's business.
pub(super) fn why(error: &Error, mask: &Mask) -> Option<String> {
    let text = match error {
        Error::Cancelled => "stopped by a signal".to_owned(),
        Error::Command { output_tail, .. } => match output_tail.lines().rfind(|line| !line.trim().is_empty())
        {
            Some(line) => line.to_owned(),
            None => error.with_causes(),
        },
        error => error.with_causes(),
    };
    one_line(&mask.hide(&text))
}

/// The log's last line that says something, without its time.
pub(super) fn last_line(log: &[u8]) -> Option<String> {
    let tail = tail(log);
    let text = String::from_utf8_lossy(&tail);
    let line = text.lines().rfind(|line| !line.trim().is_empty())?;
    let stamped = line.get(..STAMP).is_some_and(|stamp| stamp.ends_with("Z "));
    one_line(if stamped { &line[STAMP..] } else { line })
}

/// The log's end, as much of it as is kept.
pub(super) fn tail(log: &[u8]) -> Vec<u8> {
    log[log.len().saturating_sub(LOG_LIMIT)..].to_vec()
}

fn one_line(text: &str) -> Option<String> {
    let plain = text.chars().map(|each| match each {
        each if each.is_control() => ' ',
        '"' => '\'',
        '\\' => '/',
        each => each,
    });
    let mut line = String::new();
    for each in plain {
        if line.len() + each.len_utf8() > MESSAGE_LIMIT {
            break;
        }
        line.push(each);
    }
    let line = line.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Phase;

    #[test]
    fn a_message_is_one_short_line_whatever_was_written() {
        let error = |tail: &str| Error::Command {
            phase: Phase::Post,
            index: 1,
            of: 1,
            command: "# shipit: put".to_owned(),
            status: "exit status 9".to_owned(),
            output_tail: tail.to_owned(),
        };
        let why = |tail: &str| why(&error(tail), &Mask::default()).unwrap();
        assert_eq!(why("first\nno \"room\"\u{1b}[0m\\\n \n"), "no 'room' [0m/");
        assert!(why("").contains("post command 1 of 1 failed"));
        assert!(why(&"猫".repeat(1000)).len() <= MESSAGE_LIMIT);
    }

    #[test]
    fn the_log_leaves_its_end() {
        let mut log = vec![b'x'; 100_000];
        log.extend(b"\n2026/11/21 13:45:15Z Deploy manifest succeeded.\n\n");
        assert_eq!(last_line(&log).as_deref(), Some("Deploy manifest succeeded."));
        assert_eq!(tail(&log).len(), LOG_LIMIT);
        assert_eq!(last_line(b""), None);
    }
}
