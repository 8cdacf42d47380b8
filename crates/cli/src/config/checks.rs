//! The checks of single texts, by the names that the file's schema gives them (`x-check`, `x-names`).

mod dest;

use globset::Glob;

use super::batch::Batch;
use super::duration::Span;
use super::size::Size;

/// What is wrong with a text, as the end of a sentence, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The reason.
    pub why: String,
    /// What to write instead.
    pub help: Option<String>,
}

type Checked = Result<(), Wrong>;

/// Runs a check by its name.
pub fn run(check: &str, text: &str) -> Checked {
    if text.contains('\0') {
        return wrong("a NUL stands in it", None);
    }
    match check {
        "name" => name(text),
        "variable" => variable(text),
        "command" => filled(text),
        "duration" => duration(text),
        "pause" => pause(text),
        "batch" => batch(text),
        "size" => size(text),
        "glob" => glob(text),
        "relative-path" => relative(text),
        "dest" => dest::dest(text),
        "owner" => owner(text),
        "remote" => single_line(text),
        "store-url" => store_url(text),
        "http-url" => url(text, &["http://", "https://"]),
        "http-url-with-query" => url(text.split('?').next().unwrap_or(text), &["http://", "https://"]),
        "public-url" => url(text, &["http://", "https://", "s3://", "file:///"]),
        "consul-address" => url(text, &["http://", "https://", "unix:///"]),
        "event-name" => single_line(text),
        _ => single_line(text),
    }
}

/// Checks a table's key that the user chose: of a `role`, a `stage` or a `variable`.
pub fn name_of(kind: &str, text: &str) -> Checked {
    match kind {
        "variable" => variable(text),
        "stage" => stage_pattern(text),
        "header" => header(text),
        "role" if text.ends_with(".once") => wrong(
            "it ends with `.once`: under such a name hosts report the once commands of a role",
            None,
        ),
        _ => name(text),
    }
}

/// A name that is a component of keys, paths and event names.
pub fn name(text: &str) -> Checked {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let starts = text
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    if starts && text.len() <= 64 && text.bytes().all(fits) {
        return Ok(());
    }
    let why = if text.is_empty() {
        "it is empty"
    } else if text.len() > 64 {
        "it is longer than 64 characters"
    } else if starts {
        "it has a character that no name has"
    } else {
        "it does not start with a letter or a digit"
    };
    wrong(
        why,
        Some("letters, digits, `.`, `_` and `-`, starting with a letter or a digit, make a name"),
    )
}

/// A stage's name, or a pattern in which `*` stands for any characters.
fn stage_pattern(text: &str) -> Checked {
    if text == "publish" {
        return wrong("the stage's lock would be that of publishing", None);
    }
    if text.contains('*') {
        let filled: String = text.replace('*', "x");
        if text.contains("**") {
            return wrong("it has two `*` side by side, of which one does", None);
        }
        return name(&filled);
    }
    if text.contains(['?', '[', '{']) {
        return wrong(
            "of pattern characters only `*` is known",
            Some("write a pattern like \"pr-*\""),
        );
    }
    name(text)
}

fn variable(text: &str) -> Checked {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if text.is_empty() || text.as_bytes()[0].is_ascii_digit() || !text.bytes().all(fits) {
        let help = text
            .strip_prefix('$')
            .map(|name| format!("write the name alone: \"{}\"", name.trim_matches(['{', '}'])));
        return Err(Wrong {
            why: format!("{text:?} cannot be the name of an environment variable"),
            help,
        });
    }
    Ok(())
}

fn filled(text: &str) -> Checked {
    if text.trim().is_empty() {
        wrong("it is empty", None)
    } else {
        Ok(())
    }
}

fn single_line(text: &str) -> Checked {
    filled(text)?;
    if text.contains(['\n', '\r']) {
        wrong("a line break stands in it", None)
    } else {
        Ok(())
    }
}

fn duration(text: &str) -> Checked {
    match Span::parse(text) {
        Ok(span) if span.get().is_zero() => {
            wrong("it must be longer than nothing", Some("write one like \"10m\""))
        }
        Ok(_) => Ok(()),
        Err(why) => wrong(why, Some("write one like \"90s\", \"10m\" or \"1h30m\"")),
    }
}

/// A duration that may be nothing.
fn pause(text: &str) -> Checked {
    match Span::parse(text) {
        Ok(_) => Ok(()),
        Err(why) => wrong(why, Some("write one like \"30s\", \"10m\" or \"0s\"")),
    }
}

fn batch(text: &str) -> Checked {
    match Batch::parse(text) {
        Ok(_) => Ok(()),
        Err(why) => wrong(why, Some("write a part like \"25%\", or a number like 5")),
    }
}

/// The name of an HTTP header.
fn header(text: &str) -> Checked {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || !text.bytes().all(fits) {
        return wrong(format!("{text:?} cannot be the name of a header"), None);
    }
    Ok(())
}

fn size(text: &str) -> Checked {
    match Size::parse(text) {
        Ok(size) if size.get() == 0 => wrong("it must be more than nothing", Some("write one like \"20G\"")),
        Ok(_) => Ok(()),
        Err(why) => wrong(why, Some("write one like \"500M\" or \"20G\"")),
    }
}

fn glob(text: &str) -> Checked {
    single_line(text)?;
    if text.starts_with('!') {
        return wrong(
            "a pattern that takes back (`!`) is not known here",
            Some("list what stays out, and nothing else"),
        );
    }
    match Glob::new(text) {
        Ok(_) => Ok(()),
        Err(error) => wrong(format!("the pattern does not compile: {}", error.kind()), None),
    }
}

fn relative(text: &str) -> Checked {
    single_line(text)?;
    if text.starts_with('/') {
        return wrong(
            "it must be relative, and starts with `/`",
            Some(&format!("write \"{}\"", text.trim_matches('/'))),
        );
    }
    if text.starts_with('-') {
        return wrong(
            "it must not start with `-`: a tool would take it for an option",
            None,
        );
    }
    let inner = text.strip_prefix("./").unwrap_or(text);
    for part in inner.strip_suffix('/').unwrap_or(inner).split('/') {
        match part {
            ".." => return wrong("it leaves the tree by `..`", None),
            "" | "." => return wrong("a part of the path is empty or `.`", None),
            _ => {}
        }
    }
    Ok(())
}

fn owner(text: &str) -> Checked {
    let part = |part: &str| {
        !part.starts_with('-')
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'$' | b'@'))
    };
    let (user, group) = text
        .split_once(':')
        .map_or((text, None), |(user, group)| (user, Some(group)));
    let ends_open = group.is_some_and(str::is_empty);
    if (user.is_empty() && group.is_none()) || ends_open || !part(user) || !part(group.unwrap_or_default()) {
        return wrong(
            "it must be user, user:group or :group",
            Some("write one like \"shop:shop\""),
        );
    }
    Ok(())
}

fn store_url(text: &str) -> Checked {
    url(text, &["s3://", "file:///"])?;
    if let Some(rest) = text.strip_prefix("s3://") {
        let bucket = rest.split('/').next().unwrap_or_default();
        if bucket.is_empty() {
            return wrong(
                "it names no bucket",
                Some("write one like \"s3://bucket/prefix\""),
            );
        }
    }
    Ok(())
}

/// A URL of one of the schemes, without user, query or fragment.
fn url(text: &str, schemes: &[&str]) -> Checked {
    single_line(text)?;
    let Some(rest) = schemes.iter().find_map(|scheme| text.strip_prefix(scheme)) else {
        let help = format!("it takes {}", schemes.join("…, ") + "…");
        return wrong("its scheme is not one that can be used here", Some(&help));
    };
    if rest.is_empty()
        || (rest.starts_with('/') && !text.starts_with("file:///") && !text.starts_with("unix:///"))
    {
        return wrong("nothing stands after the scheme", None);
    }
    if text.contains(char::is_whitespace) || text.contains(['?', '#']) {
        return wrong("a space, `?` or `#` stands in it", None);
    }
    Ok(())
}

fn wrong(why: impl Into<String>, help: Option<&str>) -> Checked {
    Err(Wrong {
        why: why.into(),
        help: help.map(ToOwned::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::{name_of, run};

    #[test]
    fn takes_what_is_right_and_refuses_the_rest() {
        let cases: [(&str, &[&str], &[&str]); 13] = [
            (
                "name",
                &["shop", "shop-2", "a.b_c"],
                &["", "-shop", "shöp", "a b", "a/b", ".."],
            ),
            (
                "dest",
                &["/srv/shop", "/srv/shop/", "/opt/a b"],
                &["/", "/etc", "/usr/", "srv", "/srv/../etc", "/proc/x", "//srv"],
            ),
            (
                "owner",
                &["shop", "shop:shop", ":shop", "1000:1000"],
                &["", ":", "shop:", "-x", "a b", "a:b:c"],
            ),
            (
                "relative-path",
                &["log", "./log", "tmp/pids/"],
                &["/log", "../log", "a/../b", "a//b", "", "-x"],
            ),
            ("glob", &["*.pid", "docs/**", "[ab]"], &["[a", "!x", ""]),
            ("duration", &["1s", "1h30m"], &["0s", "10", "", "-1s", "1.5h"]),
            ("pause", &["0s", "30s"], &["", "30", "x"]),
            ("batch", &["25%", "5"], &["", "0", "0%", "101%", "x"]),
            (
                "http-url-with-query",
                &["https://h/x?y=1"],
                &["h", "ftp://h", "https://h#x", "https://?x"],
            ),
            ("size", &["20G", "500MB"], &["0G", "20", "", "1.5G"]),
            (
                "store-url",
                &["s3://b/p", "s3://b", "file:///x"],
                &["s3://", "s3:///p", "http://b", "file://x", "gs://b"],
            ),
            (
                "consul-address",
                &["http://h:1", "unix:///run/c"],
                &["h:1", "tcp://h", "http://"],
            ),
            ("variable", &["A_1", "_x"], &["", "1A", "$A", "a-b", "A B"]),
        ];
        for (check, right, wrong) in cases {
            for text in right {
                assert_eq!(run(check, text), Ok(()), "{check} {text:?}");
            }
            for text in wrong {
                assert!(run(check, text).is_err(), "{check} {text:?}");
            }
        }
    }

    #[test]
    fn a_stage_may_be_a_pattern() {
        for right in ["production", "pr-*", "*", "*-eu"] {
            assert_eq!(name_of("stage", right), Ok(()), "{right}");
        }
        for wrong in ["pr-?", "a**", "pr/*", "", "publish"] {
            assert!(name_of("stage", wrong).is_err(), "{wrong}");
        }
        assert_eq!(name_of("role", "web.onces"), Ok(()));
        assert!(name_of("role", "web.once").is_err());
    }
}
