//! What git does to a file's bytes on their way to a work tree, on Linux without any configuration: `ident`, line ends,
//! `working-tree-encoding`, in git's order.

use crate::attributes::{Attributes, State};
use crate::encoding::{self, Encoding};

/// How a file's bytes change on the way out; nothing for most files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Conversion {
    ident: bool,
    crlf: Option<Crlf>,
    encoding: Option<String>,
    pub subst: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crlf {
    /// Each lone LF becomes CRLF.
    Always,
    /// The same, unless the file has CRs already or looks binary.
    Auto,
}

impl Conversion {
    pub(crate) fn of(attributes: &Attributes) -> Self {
        Self {
            ident: attributes.ident.is_set(),
            crlf: crlf(attributes),
            encoding: encoding_name(&attributes.encoding),
            subst: attributes.export_subst.is_set(),
        }
    }

    /// Whether the bytes stay what they are.
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Applies ident, line ends and encoding. The second value names an encoding that could not be applied.
    pub(crate) fn apply(&self, blob_id: &str, mut bytes: Vec<u8>) -> (Vec<u8>, Option<String>) {
        if self.ident {
            bytes = expand_ident(bytes, blob_id);
        }
        if let Some(crlf) = self.crlf {
            bytes = to_crlf(bytes, crlf);
        }
        let Some(name) = &self.encoding else {
            return (bytes, None);
        };
        if bytes.is_empty() {
            return (bytes, None);
        }
        match Encoding::named(name).and_then(|encoding| encoding::encode(&bytes, encoding)) {
            Some(encoded) => (encoded, None),
            None => (bytes, Some(name.clone())),
        }
    }
}

/// git's decision, with core.autocrlf and core.eol at their defaults on Linux: only an explicit `eol=crlf` (or the old
/// `crlf` attribute, which says nothing about the kind) makes CRLF.
fn crlf(attributes: &Attributes) -> Option<Crlf> {
    let text = if attributes.text == State::Unspecified {
        &attributes.crlf
    } else {
        &attributes.text
    };
    let wants_crlf = attributes.eol == State::Value(b"crlf".to_vec());
    match text {
        State::Unset => None,
        State::Value(value) if value == b"input" => wants_crlf.then_some(Crlf::Always),
        State::Value(value) if value == b"auto" => wants_crlf.then_some(Crlf::Auto),
        _ => wants_crlf.then_some(Crlf::Always),
    }
}

/// The encoding to apply: none for UTF-8, which is what git stores.
fn encoding_name(state: &State) -> Option<String> {
    let State::Value(value) = state else { return None };
    let name = String::from_utf8_lossy(value).into_owned();
    (!name.is_empty() && !matches!(name.to_ascii_lowercase().as_str(), "utf-8" | "utf8")).then_some(name)
}

/// `$Id$` and `$Id: anything $` become `$Id: <blob id> $`, but what another version control system put there (with a
/// space inside) stays.
fn expand_ident(bytes: Vec<u8>, blob_id: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some(dollar) = rest.iter().position(|byte| *byte == b'$') {
        out.extend_from_slice(&rest[..=dollar]);
        rest = &rest[dollar + 1..];
        let Some(after) = rest.strip_prefix(b"Id") else {
            continue;
        };
        let tail = match after.first() {
            Some(b'$') => &after[1..],
            Some(b':') => match foreign_end(after) {
                Some(end) => &after[end + 1..],
                None => continue,
            },
            _ => continue,
        };
        out.extend_from_slice(format!("Id: {blob_id} $").as_bytes());
        rest = tail;
    }
    if out.is_empty() {
        return bytes;
    }
    out.extend_from_slice(rest);
    out
}

/// Where the `$` stands that ends `: something $`, when that is git's own form.
fn foreign_end(after: &[u8]) -> Option<usize> {
    let end = after.iter().skip(1).position(|byte| *byte == b'$')? + 1;
    if after[..end].contains(&b'\n') {
        return None;
    }
    // A space inside, other than the one before the closing dollar, marks a foreign id.
    let space = after
        .get(2..)?
        .iter()
        .position(|byte| *byte == b' ')
        .map(|at| at + 2);
    match space {
        Some(space) if space < end.saturating_sub(1) => None,
        _ => Some(end),
    }
}

fn to_crlf(bytes: Vec<u8>, mode: Crlf) -> Vec<u8> {
    let stats = Stats::of(&bytes);
    let touched =
        stats.lone_lf > 0 && (mode == Crlf::Always || stats.lone_cr + stats.crlf == 0 && !stats.is_binary());
    if !touched {
        return bytes;
    }
    let mut out = Vec::with_capacity(bytes.len() + stats.lone_lf);
    let mut last = 0;
    for byte in bytes {
        if byte == b'\n' && last != b'\r' {
            out.push(b'\r');
        }
        out.push(byte);
        last = byte;
    }
    out
}

/// git's statistics of a file, from which it guesses whether the file is text.
#[derive(Default)]
struct Stats {
    nul: usize,
    lone_cr: usize,
    lone_lf: usize,
    crlf: usize,
    printable: usize,
    nonprintable: usize,
}

impl Stats {
    fn of(bytes: &[u8]) -> Self {
        let mut stats = Self::default();
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            at += 1;
            match byte {
                b'\r' if bytes.get(at) == Some(&b'\n') => {
                    stats.crlf += 1;
                    at += 1;
                }
                b'\r' => stats.lone_cr += 1,
                b'\n' => stats.lone_lf += 1,
                127 => stats.nonprintable += 1,
                8 | 9 | 27 | 12 => stats.printable += 1,
                0 => {
                    stats.nul += 1;
                    stats.nonprintable += 1;
                }
                byte if byte < 32 => stats.nonprintable += 1,
                _ => stats.printable += 1,
            }
        }
        // A DOS end-of-file mark does not make a file binary.
        if bytes.last() == Some(&26) {
            stats.nonprintable -= 1;
        }
        stats
    }

    fn is_binary(&self) -> bool {
        self.lone_cr > 0 || self.nul > 0 || (self.printable >> 7) < self.nonprintable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ident_as_git_expands_it() {
        let expand = |text: &str| String::from_utf8(expand_ident(text.into(), "ID")).unwrap();
        assert_eq!(expand("a $Id$ b"), "a $Id: ID $ b");
        assert_eq!(expand("$Id: old $"), "$Id: ID $");
        assert_eq!(expand("$Id:$ $Id$"), "$Id: ID $ $Id: ID $");
        assert_eq!(expand("$Id: foreign text $"), "$Id: foreign text $");
        assert_eq!(expand("$Id: open\n$"), "$Id: open\n$");
        assert_eq!(expand("$Idx$ $$Id$"), "$Idx$ $$Id: ID $");
        assert_eq!(expand("no dollar"), "no dollar");
    }

    #[test]
    fn line_ends() {
        assert_eq!(to_crlf(b"a\nb\r\nc".to_vec(), Crlf::Always), b"a\r\nb\r\nc");
        assert_eq!(to_crlf(b"a\nb\r\n".to_vec(), Crlf::Auto), b"a\nb\r\n");
        assert_eq!(to_crlf(b"a\nb\n".to_vec(), Crlf::Auto), b"a\r\nb\r\n");
        assert_eq!(to_crlf(b"a\n\0".to_vec(), Crlf::Auto), b"a\n\0");
        assert_eq!(to_crlf(b"a\n\x1a".to_vec(), Crlf::Auto), b"a\r\n\x1a");
    }

    #[test]
    fn decisions() {
        let value = |text: &str| State::Value(text.as_bytes().to_vec());
        let with = |text: State, eol: State| {
            crlf(&Attributes {
                text,
                eol,
                ..Attributes::default()
            })
        };
        assert_eq!(with(State::Unspecified, value("crlf")), Some(Crlf::Always));
        assert_eq!(with(State::Set, State::Unspecified), None);
        assert_eq!(with(State::Unset, value("crlf")), None);
        assert_eq!(with(value("auto"), value("crlf")), Some(Crlf::Auto));
        assert_eq!(with(State::Set, value("lf")), None);
    }
}
