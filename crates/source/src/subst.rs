//! `export-subst`: `$Format:…$` in a file becomes the commit's data, in git's words. Placeholders whose value does not
//! depend on the commit alone (refs, notes, mailmap, the clock, a signature's trust) are refused by name. Abbreviated
//! ids have twelve digits, always.

use crate::commit_text::{CommitText, find};
use crate::date;

/// How many digits `%h`, `%t` and `%p` have: git's own choice grows with the repository, so it would not be reproducible.
const ABBREVIATION: usize = 12;

/// A placeholder that cannot be expanded, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub placeholder: String,
    pub reason: &'static str,
}

/// What is substituted from.
#[derive(Debug)]
pub(crate) struct Values {
    pub id: String,
    pub text: CommitText,
}

/// The bytes with every `$Format:…$` expanded.
pub(crate) fn expand(bytes: &[u8], values: &Values) -> Result<Vec<u8>, Refused> {
    const OPEN: &[u8] = b"$Format:";
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(start) = find(rest, OPEN) {
        let inside = &rest[start + OPEN.len()..];
        let Some(end) = inside.iter().position(|byte| *byte == b'$') else {
            break;
        };
        out.extend_from_slice(&rest[..start]);
        // git formats a C string.
        let format = inside[..end].split(|byte| *byte == 0).next().unwrap_or_default();
        out.extend_from_slice(&expand_format(format, values)?);
        rest = &inside[end + 1..];
    }
    out.extend_from_slice(rest);
    Ok(out)
}

fn expand_format(format: &[u8], values: &Values) -> Result<Vec<u8>, Refused> {
    let mut out = Vec::new();
    let mut rest = format;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            out.push(byte);
        } else if let Some(tail) = rest.strip_prefix(b"%") {
            out.push(b'%');
            rest = tail;
        } else {
            let used = expand_with_magic(rest, values, &mut out)?;
            if used == 0 {
                out.push(b'%');
            }
            rest = &rest[used..];
        }
    }
    Ok(out)
}

/// `%+x`, `%-x` and `% x` put a line end or space before what is not empty, or take line ends away before what is.
/// Returns how many bytes were used up; 0 when it is no placeholder.
fn expand_with_magic(rest: &[u8], values: &Values, out: &mut Vec<u8>) -> Result<usize, Refused> {
    let Some(&magic) = rest.first().filter(|byte| matches!(byte, b'+' | b'-' | b' ')) else {
        let mut expanded = Vec::new();
        let used = expand_one(rest, values, &mut expanded)?;
        out.append(&mut expanded);
        return Ok(used);
    };
    let mut expanded = Vec::new();
    let used = expand_one(&rest[1..], values, &mut expanded)?;
    if expanded.is_empty() && magic == b'-' {
        while out.last() == Some(&b'\n') {
            out.pop();
        }
    }
    if !expanded.is_empty() && magic != b'-' {
        out.push(if magic == b'+' { b'\n' } else { b' ' });
    }
    out.append(&mut expanded);
    Ok(used + 1)
}

fn expand_one(rest: &[u8], values: &Values, out: &mut Vec<u8>) -> Result<usize, Refused> {
    let text = &values.text;
    let Some(&letter) = rest.first() else { return Ok(0) };
    refuse(rest)?;
    match letter {
        b'n' => out.push(b'\n'),
        b'x' => return Ok(expand_hex(rest, out)),
        b'H' => out.extend_from_slice(values.id.as_bytes()),
        b'h' => out.extend_from_slice(short(&values.id).as_bytes()),
        b'T' => out.extend_from_slice(text.tree.as_bytes()),
        b't' => out.extend_from_slice(short(&text.tree).as_bytes()),
        b'P' => out.extend_from_slice(text.parents.join(" ").as_bytes()),
        b'p' => {
            let parents: Vec<&str> = text.parents.iter().map(|parent| short(parent)).collect();
            out.extend_from_slice(parents.join(" ").as_bytes());
        }
        b'e' => out.extend_from_slice(text.encoding.as_deref().unwrap_or_default().as_bytes()),
        b's' => out.extend_from_slice(&text.subject_and_body().0),
        b'f' => out.extend_from_slice(&sanitized(text)),
        b'b' => out.extend_from_slice(text.subject_and_body().1),
        b'B' => out.extend_from_slice(&text.message),
        b'a' | b'c' => return Ok(expand_person(rest, text, out)),
        _ => return Ok(0),
    }
    Ok(1)
}

/// `%x41`.
fn expand_hex(rest: &[u8], out: &mut Vec<u8>) -> usize {
    let digit = |at: usize| rest.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    match (digit(1), digit(2)) {
        (Some(high), Some(low)) => {
            out.extend(u8::try_from(high * 16 + low));
            3
        }
        _ => 0,
    }
}

fn expand_person(rest: &[u8], text: &CommitText, out: &mut Vec<u8>) -> usize {
    let person = if rest[0] == b'a' {
        &text.author
    } else {
        &text.committer
    };
    let (time, zone) = (person.time, person.zone);
    match rest.get(1) {
        Some(b'n') => out.extend_from_slice(&person.name),
        Some(b'e') => out.extend_from_slice(&person.mail),
        Some(b'l') => out.extend(person.mail.split(|byte| *byte == b'@').next().unwrap_or_default()),
        Some(b't') => out.extend_from_slice(time.to_string().as_bytes()),
        Some(b'd') => out.extend_from_slice(date::normal(time, zone).as_bytes()),
        Some(b'D') => out.extend_from_slice(date::rfc2822(time, zone).as_bytes()),
        Some(b'i') => out.extend_from_slice(date::iso(time, zone).as_bytes()),
        Some(b'I') => out.extend_from_slice(date::iso_strict(time, zone).as_bytes()),
        Some(b's') => out.extend_from_slice(date::short(time, zone).as_bytes()),
        _ => return 0,
    }
    2
}

/// Refuses what git would expand from more than the commit.
fn refuse(rest: &[u8]) -> Result<(), Refused> {
    let named = |length: usize, reason| {
        let name = String::from_utf8_lossy(&rest[..length.min(rest.len())]).into_owned();
        Err(Refused {
            placeholder: format!("%{name}"),
            reason,
        })
    };
    match (rest[0], rest.get(1)) {
        (b'd' | b'D', _) => named(1, "it lists the refs that point at the commit, which change"),
        (b'S', _) => named(1, "it names the ref that the commit was reached by"),
        (b'N', _) => named(1, "notes are not part of the commit"),
        (b'm', _) => named(1, "it is a mark of a range of commits"),
        (b'G', _) => named(2, "a signature's check depends on the keys at hand"),
        (b'g', _) => named(2, "reflogs are not part of the commit"),
        (b'C', _) => named(1, "colours depend on the terminal"),
        (b'a' | b'c', Some(b'N' | b'E' | b'L')) => named(2, "the mailmap is applied by configuration"),
        (b'a' | b'c', Some(b'r' | b'h')) => named(2, "it depends on the time of the build"),
        (b'(', _) => {
            let end = rest
                .iter()
                .position(|byte| *byte == b')')
                .map_or(rest.len(), |at| at + 1);
            let reason = if rest.starts_with(b"(describe") {
                "it depends on the tags and the history at hand"
            } else {
                "it is not offered"
            };
            named(end, reason)
        }
        (b'w' | b'<' | b'>', Some(b'(' | b'|' | b'>' | b'<')) => {
            named(1, "wrapping and padding are not offered")
        }
        _ => Ok(()),
    }
}

fn short(id: &str) -> &str {
    id.get(..ABBREVIATION).unwrap_or(id)
}

/// git's `%f`: the subject's first line as a file name.
fn sanitized(text: &CommitText) -> Vec<u8> {
    let message = &text.message;
    let start = message
        .iter()
        .position(|byte| !byte.is_ascii_whitespace())
        .unwrap_or(message.len());
    let line_start = message[..start]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let line = message[line_start..]
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let mut out = Vec::new();
    let mut gap = false;
    for (at, &byte) in line.iter().enumerate() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_') {
            if byte == b'.' && at > 0 && line[at - 1] == b'.' {
                continue;
            }
            if gap && !out.is_empty() {
                out.push(b'-');
            }
            gap = false;
            out.push(byte);
        } else {
            gap = true;
        }
    }
    while matches!(out.last(), Some(b'.' | b'-')) {
        out.pop();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Values {
        let raw = b"tree 1111111111111111111111111111111111111111\nparent 2222222222222222222222222222222222222222\n\
            author A U <a.u@x.example> 1700000000 +0900\ncommitter C <c@x> 1700000001 -0330\n\n\
            Fix: the thing..\nagain\n\nBody\n";
        Values {
            id: "3074f46aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".into(),
            text: CommitText::parse(raw),
        }
    }

    fn expanded(text: &str) -> Result<String, String> {
        expand(text.as_bytes(), &values())
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .map_err(|refused| refused.placeholder)
    }

    #[test]
    fn placeholders_of_the_commit() {
        assert_eq!(
            expanded("v=$Format:%H$;").unwrap(),
            "v=3074f46aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa;"
        );
        assert_eq!(
            expanded("$Format:%h %t %p$").unwrap(),
            "3074f46aaaaa 111111111111 222222222222"
        );
        assert_eq!(
            expanded("$Format:%an|%ae|%al|%at|%cn$").unwrap(),
            "A U|a.u@x.example|a.u|1700000000|C"
        );
        assert_eq!(
            expanded("$Format:%s|%f|%b$").unwrap(),
            "Fix: the thing.. again|Fix-the-thing|Body\n"
        );
        assert_eq!(
            expanded("$Format:%ai|%as|%ci$").unwrap(),
            "2023-11-15 07:13:20 +0900|2023-11-15|2023-11-14 18:43:21 -0330"
        );
        assert_eq!(expanded("$Format:100%% %x41%n%z%$").unwrap(), "100% A\n%z%");
        assert_eq!(
            expanded("$Format:a%n%-e% s%+e$").unwrap(),
            "a Fix: the thing.. again"
        );
        assert_eq!(expanded("open $Format:%H").unwrap(), "open $Format:%H");
    }

    #[test]
    fn placeholders_of_more_than_the_commit_are_refused_by_name() {
        for (text, name) in [
            ("$Format:%d$", "%d"),
            ("$Format:%D$", "%D"),
            ("$Format:% d$", "%d"),
            ("$Format:%(describe:tags)$", "%(describe:tags)"),
            ("$Format:%N$", "%N"),
            ("$Format:%G?$", "%G?"),
            ("$Format:%aN$", "%aN"),
            ("$Format:%cr$", "%cr"),
            ("$Format:%w(0,0,9)$", "%w"),
        ] {
            assert_eq!(expanded(text).unwrap_err(), name);
        }
    }
}
