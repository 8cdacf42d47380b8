//! git's config syntax, for the files of it that lie in a commit (`.gitmodules`, `.lfsconfig`). Includes are not followed:
//! what stands in a commit must not make anybody read other files.

/// The entries: keys as `section.subsection.name`, section and name in lower case.
pub(crate) fn entries(text: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(text).replace("\r\n", "\n");
    let mut entries = Vec::new();
    let mut section = String::new();
    let mut rest = text.trim_start_matches('\u{feff}');
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else {
            return entries;
        };
        rest = match first {
            '#' | ';' => rest.split_once('\n').map_or("", |(_, rest)| rest),
            '[' => match header(&rest[1..]) {
                Some((name, tail)) => {
                    section = name;
                    tail
                }
                None => return entries,
            },
            _ => {
                let end = rest
                    .find(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
                    .unwrap_or(rest.len());
                if end == 0 {
                    return entries;
                }
                let (name, tail) = rest.split_at(end);
                let (value, tail) = value(tail);
                entries.push((format!("{section}.{}", name.to_ascii_lowercase()), value));
                tail
            }
        };
    }
}

/// `section]`, `section "sub"]`; `None` for bad syntax.
fn header(text: &str) -> Option<(String, &str)> {
    let end = text.find([']', '"', '\n'])?;
    let name = text[..end].trim().to_ascii_lowercase();
    if text[end..].starts_with(']') {
        return Some((name, &text[end + 1..]));
    }
    let mut sub = String::new();
    let mut chars = text[end..].strip_prefix('"')?.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => sub.push(chars.next()?.1),
            '"' => {
                let tail = text[end + 1 + at + 1..].trim_start();
                return Some((format!("{name}.{sub}"), tail.strip_prefix(']')?));
            }
            '\n' => return None,
            c => sub.push(c),
        }
    }
    None
}

/// What stands behind a name: ` = value` up to the line's end; a lone name means `true`.
fn value(text: &str) -> (String, &str) {
    let Some(text) = text.trim_start_matches([' ', '\t']).strip_prefix('=') else {
        let tail = text.split_once('\n').map_or("", |(_, rest)| rest);
        return ("true".to_owned(), tail);
    };
    let text = text.trim_start_matches([' ', '\t']);
    let (mut value, mut kept, mut quoted) = (String::new(), 0, false);
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\n' => {
                value.truncate(kept);
                return (value, &text[at + 1..]);
            }
            '"' => quoted = !quoted,
            '#' | ';' if !quoted => {
                value.truncate(kept);
                return (value, text[at..].split_once('\n').map_or("", |(_, rest)| rest));
            }
            '\\' => match chars.next() {
                Some((_, '\n')) | None => {}
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, other)) => value.push(other),
            },
            c => value.push(c),
        }
        // Blanks at the end do not count, unless quoted.
        if quoted || c == '"' || !c.is_whitespace() {
            kept = value.len();
        }
    }
    value.truncate(kept);
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gitmodules() {
        let text = b"# comment\n[submodule \"a/b \\\"c\\\"\"]\n\tpath = a/b\n\turl = \"../x.git\" ; why\n[Core]\n bare\n\
            Key = one \\\n two  \n[include]\npath=/etc/passwd";
        let found = entries(text);
        let expected = [
            ("submodule.a/b \"c\".path", "a/b"),
            ("submodule.a/b \"c\".url", "../x.git"),
            ("core.bare", "true"),
            ("core.key", "one  two"),
            ("include.path", "/etc/passwd"),
        ];
        assert_eq!(
            found,
            expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
        assert_eq!(entries(b"[broken\nx=1"), []);
        assert_eq!(entries(b""), []);
    }
}
