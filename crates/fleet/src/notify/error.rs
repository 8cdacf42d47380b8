//! Why a notice was not given.

/// A notice that failed. No URL stands in it, and no header's value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL or a header cannot be sent.
    #[error("{what} cannot be used")]
    Unusable {
        /// What it is: the URL, or a header by its name.
        what: String,
    },
    /// No answer came.
    #[error("no answer came")]
    Send(#[source] reqwest::Error),
    /// The server did not take it.
    #[error("the server answered {status}{}", quoted(.said))]
    Refused {
        /// The answer's status.
        status: u16,
        /// The start of what it said, on one line.
        said: String,
    },
    /// The command cannot be started.
    #[error("the command cannot be started")]
    Start(#[source] std::io::Error),
    /// The command ended badly.
    #[error("the command ended with {ended}{}", quoted(.said))]
    Failed {
        /// `code 3`, `signal 9`.
        ended: String,
        /// Its last line.
        said: String,
    },
    /// The time was over.
    #[error("it was not done within {seconds} s")]
    TooLong {
        /// The limit.
        seconds: u64,
    },
}

fn quoted(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}

/// The most characters of what another program said that an error repeats.
const MOST: usize = 200;

/// One line of another program's text: without control characters, and not long.
pub(super) fn one_line(text: &str) -> String {
    let words: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    }
}
