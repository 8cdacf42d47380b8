//! A commit object's text: its headers and message, read from the raw object, so that the answer does not depend on
//! shallow grafts or replacements in the repository that holds it.

use crate::encoding;

/// A commit's text, in the encoding that it declares: `export-subst` gives it out like that, as git archive does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct CommitText {
    pub tree: String,
    pub parents: Vec<String>,
    pub author: Person,
    pub committer: Person,
    pub encoding: Option<String>,
    /// Everything after the headers' blank line.
    pub message: Vec<u8>,
}

/// Who, and when.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Person {
    pub name: Vec<u8>,
    pub mail: Vec<u8>,
    /// Unix seconds.
    pub time: i64,
    /// As it stands in the commit: `+0900` is 900.
    pub zone: i32,
}

impl CommitText {
    pub(crate) fn parse(raw: &[u8]) -> Self {
        let mut text = Self::default();
        let split = find(raw, b"\n\n");
        let head = split.map_or(raw, |at| &raw[..at]);
        let encoding = header(head, b"encoding").map(|name| String::from_utf8_lossy(name).into_owned());
        for line in head.split(|byte| *byte == b'\n') {
            let Some(space) = line.iter().position(|byte| *byte == b' ') else {
                continue;
            };
            let value = &line[space + 1..];
            match &line[..space] {
                b"tree" if text.tree.is_empty() => text.tree = String::from_utf8_lossy(value).into_owned(),
                b"parent" => text.parents.push(String::from_utf8_lossy(value).into_owned()),
                b"author" => text.author = Person::parse(value),
                b"committer" => text.committer = Person::parse(value),
                _ => {}
            }
        }
        text.message = split.map_or_else(Vec::new, |at| raw[at + 2..].to_vec());
        text.encoding = encoding;
        text
    }

    /// A part of the text for people: in UTF-8, by the declared encoding where it is known.
    pub(crate) fn readable(&self, part: &[u8]) -> String {
        let decoded = match self.encoding.as_deref() {
            Some(name) if !matches!(name.to_ascii_lowercase().as_str(), "utf-8" | "utf8") => {
                encoding::decode(part, name)
            }
            _ => part.to_vec(),
        };
        String::from_utf8_lossy(&decoded).into_owned()
    }

    /// The first paragraph on one line, and what follows it: git's subject and body.
    pub(crate) fn subject_and_body(&self) -> (Vec<u8>, &[u8]) {
        let mut rest = skip_blank_lines(&self.message);
        let mut subject = Vec::new();
        while !rest.is_empty() {
            let (line, tail) = split_line(rest);
            rest = tail;
            let line = trim_end(line);
            if line.is_empty() {
                break;
            }
            if !subject.is_empty() {
                subject.push(b' ');
            }
            subject.extend_from_slice(line);
        }
        (subject, skip_blank_lines(rest))
    }
}

impl Person {
    /// `Name <mail> 1700000000 +0900`.
    fn parse(line: &[u8]) -> Self {
        let Some(open) = line.iter().position(|byte| *byte == b'<') else {
            return Self::default();
        };
        let Some(close) = line[open..]
            .iter()
            .position(|byte| *byte == b'>')
            .map(|at| open + at)
        else {
            return Self::default();
        };
        // git looks for the date behind the last `>`.
        let last = line.iter().rposition(|byte| *byte == b'>').unwrap_or(close);
        let rest = String::from_utf8_lossy(&line[last + 1..]);
        let mut numbers = rest.split_ascii_whitespace();
        let time = numbers.next().and_then(|number| number.parse().ok()).unwrap_or(0);
        let zone = numbers.next().and_then(|number| number.parse().ok()).unwrap_or(0);
        Self {
            name: trim(&line[..open]).to_vec(),
            mail: line[open + 1..close].to_vec(),
            time,
            zone,
        }
    }
}

fn header<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    head.split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(b" "))
}

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &[]),
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [head @ .., last] = text {
        if !is_space(*last) {
            break;
        }
        text = head;
    }
    text
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, tail @ ..] = text {
        if !is_space(*first) {
            break;
        }
        text = tail;
    }
    trim_end(text)
}

fn skip_blank_lines(mut text: &[u8]) -> &[u8] {
    while !text.is_empty() {
        let (line, tail) = split_line(text);
        if !trim_end(line).is_empty() {
            break;
        }
        text = tail;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: &[u8] = b"tree 1111\nparent 2222\nparent 3333\nauthor A U <a@x> 1700000000 +0900\n\
        committer C <c@x> 1700000001 -0330\ngpgsig -----\n encoding inside\n\n\nOne\ntwo  \n\nBody\n\nMore\n";

    #[test]
    fn headers_and_message() {
        let text = CommitText::parse(RAW);
        assert_eq!(text.tree, "1111");
        assert_eq!(text.parents, ["2222", "3333"]);
        assert_eq!(text.author.name, b"A U");
        assert_eq!((text.author.time, text.author.zone), (1_700_000_000, 900));
        assert_eq!(text.committer.zone, -330);
        assert_eq!(text.encoding, None);
        let (subject, body) = text.subject_and_body();
        assert_eq!(subject, b"One two");
        assert_eq!(body, b"Body\n\nMore\n");
    }

    #[test]
    fn declared_encodings_are_read() {
        let text = CommitText::parse(b"tree 1\nauthor J\xe9 <a@x> 1 +0000\nencoding ISO-8859-1\n\n\xe9\n");
        assert_eq!(text.author.name, b"J\xe9");
        assert_eq!(text.readable(&text.author.name), "Jé");
        assert_eq!(text.message, b"\xe9\n");
    }
}
