//! One rsync pattern, compiled, and matching a path of the tree against it.
//!
//! The language is rsync's: `*` and `?` stop at slashes, `**` does not, `[...]` with ranges, negation and POSIX
//! classes, backslash escapes in a pattern that has wildcards and is literal in one that has none. Paths are bytes, relative
//! to the tree, without a leading slash. Which rule wins is for [`crate::filter`].

/// A pattern, ready to match.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    dir_only: bool,
    /// `dir/***` matches the directory too: it is shown to the matcher with a slash behind it.
    dir_with_slash: bool,
    /// A pattern that begins with `**` sees the path with a slash before it, so that `**/x` matches `x`.
    slash_before: bool,
    subject: Subject,
    body: Body,
}

/// Which part of a path is held against the pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Whole,
    /// The last so many components; 1 is the name alone.
    Last(usize),
    /// The whole path, and what follows each of its slashes.
    AfterAnySlash,
}

#[derive(Debug, Clone)]
enum Body {
    Literal(Vec<u8>),
    Wild(Vec<Token>),
}

#[derive(Debug, Clone)]
enum Token {
    Byte(u8),
    /// Any byte but a slash.
    Any,
    Class(Box<[bool; 256]>),
    Star,
    StarStar,
    /// A broken class: nothing matches.
    Never,
}

impl Pattern {
    /// Compiles a pattern, which is not empty.
    pub(crate) fn new(text: &[u8]) -> Self {
        let wild = text.iter().any(|byte| b"*[?".contains(byte));
        let double = wild
            .then(|| text.windows(2).position(|pair| pair == b"**"))
            .flatten();
        let dir_only = text.len() > 1 && text.ends_with(b"/");
        let text = if dir_only { &text[..text.len() - 1] } else { text };
        // The slash of a pattern for directories alone does not count here.
        let dir_with_slash = wild && text.ends_with(b"***");
        let slashes = text.iter().filter(|byte| **byte == b'/').count();
        let anchored = text.first() == Some(&b'/');
        let subject = match (anchored, slashes, double) {
            (_, 0, None) => Subject::Last(1),
            (false, _, None) => Subject::Last(slashes + 1),
            (false, _, Some(at)) if at > 0 => Subject::AfterAnySlash,
            _ => Subject::Whole,
        };
        let text = if anchored { &text[1..] } else { text };
        Self {
            dir_only,
            dir_with_slash,
            slash_before: double == Some(0),
            subject,
            body: if wild {
                Body::Wild(tokens(text))
            } else {
                Body::Literal(text.to_vec())
            },
        }
    }

    /// Whether the pattern matches the entry at `path`.
    pub(crate) fn matches(&self, path: &[u8], is_dir: bool) -> bool {
        if self.dir_only && !is_dir {
            return false;
        }
        let with_slash = is_dir && self.dir_with_slash;
        if !self.slash_before && !with_slash {
            return self.matches_subject(path);
        }
        let mut subject = Vec::with_capacity(path.len() + 2);
        if self.slash_before {
            subject.push(b'/');
        }
        subject.extend_from_slice(path);
        if with_slash {
            subject.push(b'/');
        }
        self.matches_subject(&subject)
    }

    fn matches_subject(&self, path: &[u8]) -> bool {
        match self.subject {
            Subject::Whole => self.body.matches(path),
            Subject::Last(count) => last_components(path, count).is_some_and(|tail| self.body.matches(tail)),
            Subject::AfterAnySlash => {
                self.body.matches(path)
                    || (0..path.len()).any(|at| path[at] == b'/' && self.body.matches(&path[at + 1..]))
            }
        }
    }
}

/// The last `count` components, or nothing when there are fewer.
fn last_components(path: &[u8], count: usize) -> Option<&[u8]> {
    let mut slashes = path
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(at, _)| at);
    match slashes.nth(count - 1) {
        Some(at) => Some(&path[at + 1..]),
        None => (path.iter().filter(|byte| **byte == b'/').count() + 1 == count).then_some(path),
    }
}

impl Body {
    fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Literal(literal) => literal == text,
            Self::Wild(tokens) => wild_matches(tokens, text),
        }
    }
}

/// Runs all ways to match at once: a set of places in the pattern, moved on by each byte. Time is linear in both.
fn wild_matches(tokens: &[Token], text: &[u8]) -> bool {
    let mut places = vec![false; tokens.len() + 1];
    places[0] = true;
    skip_stars(tokens, &mut places);
    for byte in text {
        let mut next = vec![false; tokens.len() + 1];
        for (at, token) in tokens.iter().enumerate() {
            if !places[at] {
                continue;
            }
            match token {
                Token::Star if *byte == b'/' => {}
                Token::Star | Token::StarStar => next[at] = true,
                Token::Byte(wanted) => next[at + 1] |= wanted == byte,
                Token::Any => next[at + 1] |= *byte != b'/',
                Token::Class(class) => next[at + 1] |= class[usize::from(*byte)],
                Token::Never => {}
            }
        }
        skip_stars(tokens, &mut next);
        places = next;
    }
    places[tokens.len()]
}

/// A star matches nothing too: where one stands, the place behind it is reached as well.
fn skip_stars(tokens: &[Token], places: &mut [bool]) {
    for (at, token) in tokens.iter().enumerate() {
        if places[at] && matches!(token, Token::Star | Token::StarStar) {
            places[at + 1] = true;
        }
    }
}

fn tokens(mut text: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::new();
    while let Some((first, rest)) = text.split_first() {
        text = rest;
        tokens.push(match first {
            b'*' => {
                let more = text.iter().take_while(|byte| **byte == b'*').count();
                text = &text[more..];
                if more > 0 { Token::StarStar } else { Token::Star }
            }
            b'?' => Token::Any,
            b'\\' => match text.split_first() {
                Some((escaped, rest)) => {
                    text = rest;
                    Token::Byte(*escaped)
                }
                None => Token::Never,
            },
            b'[' => match class(text) {
                Some((class, rest)) => {
                    text = rest;
                    Token::Class(class)
                }
                None => {
                    text = &[];
                    Token::Never
                }
            },
            other => Token::Byte(*other),
        });
    }
    tokens
}

/// Reads a class behind its opening bracket; nothing when it is broken. A `]` that stands first is a member.
fn class(text: &[u8]) -> Option<(Box<[bool; 256]>, &[u8])> {
    let mut members = Box::new([false; 256]);
    let negated = matches!(text.first(), Some(b'!' | b'^'));
    let mut at = usize::from(negated);
    let begin = at;
    // The start of a range: the member before, unless that was a range or a named class itself.
    let mut from: Option<u8> = None;
    loop {
        let byte = *text.get(at)?;
        if byte == b']' && at > begin {
            break;
        }
        let next = text.get(at + 1).copied();
        match (byte, from) {
            (b'-', Some(low)) if next.is_some_and(|next| next != b']') => {
                at += 1;
                if text[at] == b'\\' {
                    at += 1;
                }
                let high = *text.get(at)?;
                (low..=high).for_each(|member| members[usize::from(member)] = true);
                from = None;
            }
            (b'\\', _) => {
                at += 1;
                let escaped = *text.get(at)?;
                members[usize::from(escaped)] = true;
                from = Some(escaped);
            }
            (b'[', _) if next == Some(b':') => {
                let inner = &text[at + 2..];
                let end = inner.iter().position(|byte| *byte == b']')?;
                match inner[..end].strip_suffix(b":") {
                    Some(name) => {
                        let named = named_class(name)?;
                        (0..=255)
                            .filter(named)
                            .for_each(|member| members[usize::from(member)] = true);
                        at += 2 + end;
                        from = None;
                    }
                    None => {
                        members[usize::from(b'[')] = true;
                        from = Some(b'[');
                    }
                }
            }
            _ => {
                members[usize::from(byte)] = true;
                from = Some(byte);
            }
        }
        at += 1;
    }
    if negated {
        members.iter_mut().for_each(|member| *member = !*member);
    }
    members[usize::from(b'/')] = false;
    Some((members, &text[at + 1..]))
}

fn named_class(name: &[u8]) -> Option<fn(&u8) -> bool> {
    Some(match name {
        b"alnum" => u8::is_ascii_alphanumeric,
        b"alpha" => u8::is_ascii_alphabetic,
        b"blank" => |byte| matches!(byte, b' ' | b'\t'),
        b"cntrl" => u8::is_ascii_control,
        b"digit" => u8::is_ascii_digit,
        b"graph" => u8::is_ascii_graphic,
        b"lower" => u8::is_ascii_lowercase,
        b"print" => |byte| matches!(byte, b' '..=b'~'),
        b"punct" => u8::is_ascii_punctuation,
        b"space" => |byte| matches!(byte, b' ' | b'\t'..=b'\r'),
        b"upper" => u8::is_ascii_uppercase,
        b"xdigit" => u8::is_ascii_hexdigit,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(pattern: &str, path: &str) -> bool {
        Pattern::new(pattern.as_bytes()).matches(path.as_bytes(), false)
    }

    fn is_dir(pattern: &str, path: &str) -> bool {
        Pattern::new(pattern.as_bytes()).matches(path.as_bytes(), true)
    }

    #[test]
    fn a_name_matches_anywhere_and_an_anchored_one_at_the_top() {
        assert!(is("foo", "foo") && is("foo", "a/foo") && !is("foo", "a/xfoo") && !is("foo", "foo/a"));
        assert!(is("/foo", "foo") && !is("/foo", "a/foo"));
        assert!(is("a/foo", "b/a/foo") && is("a/foo", "a/foo") && !is("a/foo", "xa/foo"));
    }

    #[test]
    fn stars_stop_at_slashes_and_double_stars_do_not() {
        assert!(is("*.pid", "tmp/x.pid") && !is("tmp/*.pid", "tmp/a/x.pid"));
        assert!(is("/tmp/**.pid", "tmp/a/b/x.pid") && is("tmp/**.pid", "x/tmp/a/x.pid"));
        assert!(is("**/x", "x") && is("**/x", "a/b/x") && !is("a/**/b", "a/b") && is("a/**/b", "a/c/b"));
        assert!(is("a*/b?d", "ax/bcd") && !is("a*/b?d", "ax/b/d"));
    }

    #[test]
    fn directories_alone_and_with_all_below_them() {
        assert!(is_dir("foo/", "a/foo") && !is("foo/", "a/foo"));
        assert!(is_dir("foo/***", "foo") && is("foo/***", "foo/a/b") && !is("foo/***", "foo"));
        assert!(is_dir("foo/***/", "foo") && is_dir("foo/***/", "foo/a") && !is("foo/***/", "foo/a"));
        assert!(is_dir("a/**/***/", "x/a/b") && !is("a/**/***/", "x/a/b"));
    }

    #[test]
    fn classes() {
        assert!(is("[a-c]x", "bx") && !is("[!a-c]x", "bx") && is("[^a-c]x", "dx"));
        assert!(is("[]x]", "]") && is("[[:digit:]]", "7") && !is("[[:nope:]]", "7") && !is("[ab", "a"));
        assert!(is("[a\\]]", "]") && is("[\\a-c]", "b") && !is("a[/]b", "a/b"));
    }

    #[test]
    fn a_backslash_is_literal_without_wildcards_and_an_escape_with_them() {
        assert!(is("a\\b", "a\\b") && !is("a\\b*", "a\\bc") && is("a\\b*", "abc") && is("\\*?", "*x"));
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = "a*".repeat(60) + "b";
        assert!(!is(&pattern, &"a".repeat(4000)));
    }
}
