//! Quoting of values for the places they come into: YAML, the shell, a Go template.
//!
//! The manifest passes through three readers on a host, in this order: Go's text/template, YAML, `sh -c`. Each has its
//! own quoting here; which of them a value needs is the template's business.

use crate::error::Error;

/// The text as a YAML double-quoted scalar, on one line, for YAML 1.1 and 1.2 alike.
pub fn yaml(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            other if printable(other) => out.push(other),
            other => {
                let code = u32::from(other);
                let escape = match code {
                    0..=0xff => format!("\\x{code:02x}"),
                    0x100..=0xffff => format!("\\u{code:04x}"),
                    _ => format!("\\U{code:08x}"),
                };
                out.push_str(&escape);
            }
        }
    }
    out.push('"');
    out
}

/// What both versions of YAML take as it is. Their line separators, and the byte order mark, are not among it: one
/// reader folds them where the other keeps them.
fn printable(character: char) -> bool {
    match character {
        '\u{2028}' | '\u{2029}' | '\u{feff}' => false,
        ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' => true,
        other => other >= '\u{10000}',
    }
}

/// The text as a YAML literal block for people to read, each line indented by `indent` spaces; a text that a block
/// cannot hold as it is becomes a double-quoted scalar. Line breaks at either end are dropped.
pub(crate) fn yaml_block(text: &str, indent: usize) -> String {
    let text = text.trim_matches('\n');
    let blockable = !text.is_empty()
        && !text.starts_with([' ', '\t'])
        && text
            .chars()
            .all(|character| matches!(character, '\n' | '\t') || printable(character));
    if !blockable {
        return yaml(text);
    }
    let mut out = String::from("|-");
    for line in text.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            out.extend(std::iter::repeat_n(' ', indent));
            out.push_str(line);
        }
    }
    out
}

/// The text as one word of a POSIX shell, in single quotes.
///
/// # Errors
/// [`Error::Value`] when it holds a NUL, which no shell word can.
pub fn sh(text: &str) -> Result<String, Error> {
    if text.contains('\0') {
        return Err(Error::value("shell word", text, "no NUL may stand in it"));
    }
    Ok(format!("'{}'", text.replace('\'', "'\\''")))
}

/// The text as a string of a Go template's action.
pub(crate) fn go_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            other if other.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(other))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// Writes `text` so that a Go template gives it back as it is.
pub(crate) fn go_literal(text: &str) -> String {
    text.replace("{{", "{{\"{{\"}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_escapes_what_readers_differ_about() {
        assert_eq!(yaml("a\"b\\c\nd\te\r"), r#""a\"b\\c\nd\te\r""#);
        assert_eq!(
            yaml("\0\u{7f}\u{85}\u{2028}\u{feff}é猫😀"),
            "\"\\x00\\x7f\\x85\\u2028\\ufeffé猫😀\""
        );
    }

    #[test]
    fn a_block_holds_lines_and_falls_back_to_quotes() {
        assert_eq!(
            yaml_block("\nset -eu\n\n  echo a\n", 6),
            "|-\n      set -eu\n\n        echo a"
        );
        assert_eq!(yaml_block("\n indented first", 6), "\" indented first\"");
        assert_eq!(yaml_block("a\rb", 6), "\"a\\rb\"");
        assert_eq!(yaml_block("", 6), "\"\"");
    }

    #[test]
    fn shell_words_are_single_quoted_and_hold_no_nul() {
        assert_eq!(sh("it's $HOME").unwrap(), r"'it'\''s $HOME'");
        assert_eq!(sh("").unwrap(), "''");
        assert!(sh("a\0b").unwrap_err().to_string().contains("NUL"));
    }

    #[test]
    fn go_literals_leave_single_braces_alone() {
        assert_eq!(go_literal("${x} {{ y }}"), "${x} {{\"{{\"}} y }}");
        assert_eq!(go_literal("{{{"), "{{\"{{\"}}{");
    }
}
