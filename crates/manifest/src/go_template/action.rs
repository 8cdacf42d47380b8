//! One `{{ … }}` of a manifest: its words, its pipeline, its value.

use super::{Environment, SPACES, UNKNOWN};
use crate::error::Error;

/// An action as it stands in the text.
pub(super) struct Action<'a> {
    /// Bytes from `{{` to behind `}}`.
    pub(super) length: usize,
    pub(super) trims_before: bool,
    pub(super) trims_after: bool,
    /// `None` for a comment.
    pub(super) pipeline: Option<Vec<Token>>,
    text: &'a str,
    line: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Word(String),
    Text(String),
    Open,
    Close,
    Pipe,
}

impl<'a> Action<'a> {
    /// Reads the action that `from` begins with.
    pub(super) fn read(from: &'a str, line: usize) -> Result<Self, Error> {
        let mut at = 2;
        let trims_before = from[at..]
            .strip_prefix('-')
            .is_some_and(|rest| rest.starts_with(SPACES));
        if trims_before {
            at += 2;
        }
        let inner = from[at..].trim_start_matches(SPACES);
        if inner.starts_with("/*") && (trims_before || inner.len() == from.len() - at) {
            return Self::comment(from, from.len() - inner.len(), trims_before, line);
        }
        let mut words = Words { from, at, line };
        let mut tokens = Vec::new();
        let trims_after = loop {
            match words.next(tokens.is_empty())? {
                Next::Token(token) => tokens.push(token),
                Next::End { trims } => break trims,
            }
        };
        let text = words.shown();
        Ok(Action {
            length: words.at,
            trims_before,
            trims_after,
            pipeline: Some(tokens),
            text,
            line,
        })
    }

    fn comment(from: &'a str, at: usize, trims_before: bool, line: usize) -> Result<Self, Error> {
        let shown = from.lines().next().unwrap_or_default();
        let refused = |reason: &str| refuse(line, shown, reason);
        let begin = at + 2;
        let end = from[begin..]
            .find("*/")
            .ok_or_else(|| refused("the comment is not closed"))?
            + begin
            + 2;
        let after = from[end..].trim_start_matches(SPACES);
        let trims_after = after.len() < from.len() - end && after.starts_with("-}}");
        let close = if trims_after { 3 } else { 2 };
        if !trims_after && !from[end..].starts_with("}}") {
            return Err(refused("a comment ends right before the closing braces"));
        }
        let length = if trims_after {
            from.len() - after.len() + close
        } else {
            end + close
        };
        Ok(Action {
            length,
            trims_before,
            trims_after,
            pipeline: None,
            text: shown,
            line,
        })
    }

    fn refuse(&self, reason: impl Into<String>) -> Error {
        refuse(self.line, self.text, reason)
    }
}

fn refuse(line: usize, action: &str, reason: impl Into<String>) -> Error {
    let action = action
        .trim_start_matches("{{")
        .trim_end_matches("}}")
        .trim()
        .to_owned();
    Error::HostTemplate {
        line,
        action,
        reason: reason.into(),
    }
}

enum Next {
    Token(Token),
    End { trims: bool },
}

/// Takes an action's words one by one.
struct Words<'a> {
    from: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Words<'a> {
    /// The action as far as it was read, for messages.
    fn shown(&self) -> &'a str {
        &self.from[..self.at]
    }

    fn refuse(&self, reason: impl Into<String>) -> Error {
        let end = self.from.find('\n').unwrap_or(self.from.len()).max(self.at);
        let shown = &self.from[..end];
        refuse(
            self.line,
            shown.split_once("}}").map_or(shown, |(inside, _)| inside),
            reason,
        )
    }

    fn next(&mut self, first: bool) -> Result<Next, Error> {
        let rest = &self.from[self.at..];
        let trimmed = rest.trim_start_matches(SPACES);
        let spaced = trimmed.len() < rest.len();
        self.at += rest.len() - trimmed.len();
        if trimmed.starts_with("}}") || (spaced && trimmed.starts_with("-}}")) {
            if first {
                return Err(self.refuse("the action is empty"));
            }
            let trims = trimmed.starts_with('-');
            self.at += if trims { 3 } else { 2 };
            return Ok(Next::End { trims });
        }
        let Some(character) = trimmed.chars().next() else {
            return Err(self.refuse("the action is not closed by }}"));
        };
        let token = match character {
            '(' => self.take(1, Token::Open),
            ')' => self.take(1, Token::Close),
            '|' => self.take(1, Token::Pipe),
            '"' => self.interpreted(trimmed)?,
            '`' => {
                let Some(end) = trimmed[1..].find('`') else {
                    return Err(self.refuse("the string is not closed by `"));
                };
                // Go drops carriage returns from raw strings.
                self.take(end + 2, Token::Text(trimmed[1..=end].replace('\r', "")))
            }
            letter if letter.is_alphabetic() || letter == '_' => {
                let end = trimmed
                    .find(|c: char| !c.is_alphanumeric() && c != '_')
                    .unwrap_or(trimmed.len());
                self.take(end, Token::Word(trimmed[..end].to_owned()))
            }
            _ => {
                let end = trimmed.find(SPACES).unwrap_or(trimmed.len());
                let word = trimmed[..end].split("}}").next().unwrap_or_default();
                return Err(self.refuse(format!("{word} is more of Go's templates than shipit evaluates")));
            }
        };
        Ok(Next::Token(token))
    }

    fn take(&mut self, length: usize, token: Token) -> Token {
        self.at += length;
        token
    }

    /// A Go string constant in double quotes.
    fn interpreted(&mut self, from: &str) -> Result<Token, Error> {
        let mut bytes = Vec::new();
        let mut rest = &from[1..];
        loop {
            let Some(character) = rest.chars().next() else {
                return Err(self.refuse("the string is not closed by \""));
            };
            rest = &rest[character.len_utf8()..];
            match character {
                '"' => break,
                '\n' => return Err(self.refuse("a string in double quotes ends on its line")),
                '\\' => rest = self.escape(rest, &mut bytes)?,
                other => bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        let text = String::from_utf8(bytes).map_err(|_| self.refuse("the string is not UTF-8"))?;
        Ok(self.take(from.len() - rest.len(), Token::Text(text)))
    }

    fn escape<'b>(&self, rest: &'b str, bytes: &mut Vec<u8>) -> Result<&'b str, Error> {
        let kind = rest.chars().next().unwrap_or(' ');
        let wrong = || self.refuse(format!("Go knows no escape \\{kind} like this"));
        let simple = match kind {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' => b'\\',
            '"' => b'"',
            _ => 0,
        };
        if simple != 0 {
            bytes.push(simple);
            return Ok(&rest[1..]);
        }
        let (skip, digits, radix) = match kind {
            'x' => (1, 2, 16),
            'u' => (1, 4, 16),
            'U' => (1, 8, 16),
            '0'..='7' => (0, 3, 8),
            _ => return Err(wrong()),
        };
        let text = rest.get(skip..skip + digits).ok_or_else(wrong)?;
        if !text.chars().all(|digit| digit.is_digit(radix)) {
            return Err(wrong());
        }
        let code = u32::from_str_radix(text, radix).map_err(|_| wrong())?;
        if matches!(kind, 'u' | 'U') {
            let character = char::from_u32(code).ok_or_else(wrong)?;
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            bytes.push(u8::try_from(code).map_err(|_| wrong())?);
        }
        Ok(&rest[skip + digits..])
    }
}

/// Each open parenthesis takes some of the stack.
const DEEPEST: usize = 50;

/// The value of an action's words.
pub(super) fn value(tokens: &[Token], env: Environment<'_>, action: &Action<'_>) -> Result<String, Error> {
    let mut evaluation = Evaluation {
        tokens,
        at: 0,
        depth: 0,
        env,
        action,
    };
    let value = evaluation.pipeline()?;
    match evaluation.peek() {
        None => Ok(value),
        Some(_) => Err(action.refuse("a ) has no ( before it")),
    }
}

struct Evaluation<'a> {
    tokens: &'a [Token],
    at: usize,
    /// How many parentheses are open.
    depth: usize,
    env: Environment<'a>,
    action: &'a Action<'a>,
}

impl Evaluation<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn pipeline(&mut self) -> Result<String, Error> {
        let mut value = self.command(None)?;
        while self.peek() == Some(&Token::Pipe) {
            self.at += 1;
            value = self.command(Some(value))?;
        }
        Ok(value)
    }

    /// A function with its words, or one text. `piped` is the last word that a pipe brings.
    fn command(&mut self, piped: Option<String>) -> Result<String, Error> {
        let function = match self.peek().cloned() {
            Some(Token::Word(name)) => {
                self.at += 1;
                Some(name)
            }
            _ => None,
        };
        let mut words = Vec::new();
        loop {
            match self.peek().cloned() {
                Some(Token::Text(text)) => {
                    self.at += 1;
                    words.push(text);
                }
                Some(Token::Open) if self.depth == DEEPEST => {
                    return Err(self.action.refuse("its parentheses are too deep"));
                }
                Some(Token::Open) => {
                    self.at += 1;
                    self.depth += 1;
                    words.push(self.pipeline()?);
                    self.depth -= 1;
                    if self.peek() != Some(&Token::Close) {
                        return Err(self.action.refuse("a ( is not closed by )"));
                    }
                    self.at += 1;
                }
                Some(Token::Word(name)) => {
                    return Err(self
                        .action
                        .refuse(format!("{name} stands where a text in quotes must stand")));
                }
                Some(Token::Close | Token::Pipe) | None => break,
            }
        }
        let piped_in = piped.is_some();
        words.extend(piped);
        match function {
            Some(name) => self.call(&name, words),
            None if words.is_empty() => Err(self.action.refuse("a part of the pipeline is empty")),
            None if piped_in || words.len() > 1 => Err(self
                .action
                .refuse(format!("{:?} is not a function that could take words", words[0]))),
            None => Ok(words.swap_remove(0)),
        }
    }

    fn call(&self, name: &str, mut words: Vec<String>) -> Result<String, Error> {
        match name {
            "env" => Ok(self.env(words)),
            "must_env" | "json_escape" if words.len() != 1 => Err(self
                .action
                .refuse(format!("{name} takes one word, not {}", words.len()))),
            "must_env" => self.must_env(words.swap_remove(0)),
            "json_escape" => Ok(json_escape(&words[0])),
            other => Err(self
                .action
                .refuse(format!("{other} is more of Go's templates than shipit evaluates"))),
        }
    }

    fn env(&self, mut words: Vec<String>) -> String {
        match self.env {
            Environment::Trial if words.len() == 1 => format!("{UNKNOWN}{}{UNKNOWN}", words[0]),
            Environment::Trial => words.pop().unwrap_or_default(),
            Environment::Host(env) => words
                .iter()
                .find_map(|word| env(word).filter(|value| !value.is_empty()))
                .unwrap_or_else(|| words.pop().unwrap_or_default()),
        }
    }

    fn must_env(&self, name: String) -> Result<String, Error> {
        match self.env {
            Environment::Trial => Ok(format!("{UNKNOWN}{name}{UNKNOWN}")),
            Environment::Host(env) => env(&name).ok_or(Error::MissingEnv {
                line: self.action.line,
                name,
            }),
        }
    }
}

/// JSON's escapes as Go's encoder writes them (it makes JSON safe inside HTML), without the quotes around.
fn json_escape(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    let mut out = String::with_capacity(json.len());
    for character in json[1..json.len() - 1].chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => out.push(other),
        }
    }
    out
}
