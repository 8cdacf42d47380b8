//! Takes a Gemfile or a cpanfile apart into words, strings and signs.

use std::iter::Peekable;
use std::str::Chars;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Word(String),
    /// A word that names a member: `require:`.
    Label(String),
    /// A string, as it is.
    Text(String),
    /// A string with a program in it, whose tokens stand before.
    Dynamic,
    Sign(char),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Ruby,
    Perl,
}

/// Takes a program apart into words, strings and signs; gives up at whatever is rare in these files: here documents,
/// regular expressions, commands, variables with a sigil.
pub(super) struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
    language: Language,
    tokens: Vec<Token>,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str, language: Language) -> Self {
        Self {
            rest: text.chars().peekable(),
            language,
            tokens: Vec::new(),
        }
    }

    pub(super) fn all(mut self) -> Option<Vec<Token>> {
        self.code(None)?;
        Some(self.tokens)
    }

    /// Takes code, up to the brace that closes it when it stands in a string.
    fn code(&mut self, until: Option<char>) -> Option<()> {
        let mut depth = 0;
        while let Some(c) = self.rest.next() {
            match c {
                _ if c.is_whitespace() => {}
                '#' => while self.rest.next_if(|c| *c != '\n').is_some() {},
                '\'' | '"' => self.string(c)?,
                _ if c.is_ascii_digit() => {
                    while self
                        .rest
                        .next_if(|c| c.is_ascii_alphanumeric() || *c == '_')
                        .is_some()
                    {}
                }
                _ if c.is_alphabetic() || c == '_' => self.word(c)?,
                '}' if until.is_some() && depth == 0 => return Some(()),
                ':' if self.language == Language::Ruby => self.colon()?,
                '%' if self.language == Language::Ruby => self.words()?,
                '$' if self.language == Language::Perl => {
                    // The version of perl and the name of the system.
                    let first = self.rest.next()?;
                    if first != ']' && !(first == '^' && self.rest.next() == Some('O')) {
                        return None;
                    }
                }
                '<' if self.rest.peek() == Some(&'<') => return None,
                '{' | '}' => {
                    depth += if c == '{' { 1 } else { -1 };
                    self.tokens.push(Token::Sign(c));
                }
                '(' | ')' | '[' | ']' | ',' | ';' | '.' | '=' | '<' | '>' | '!' | '&' | '|' | '?' | ':'
                | '+' | '-' | '*' | '~' => self.tokens.push(Token::Sign(c)),
                _ => return None,
            }
        }
        until.is_none().then_some(())
    }

    fn word(&mut self, first: char) -> Option<()> {
        let perl = self.language == Language::Perl;
        let mut word = String::from(first);
        while let Some(c) = self
            .rest
            .next_if(|c| c.is_alphanumeric() || *c == '_' || (perl && *c == ':'))
        {
            word.push(c);
        }
        if perl {
            if ["qw", "q"].contains(&word.as_str()) {
                return self.bracketed(false);
            }
            if ["qq", "qx", "m", "s", "y", "tr", "qr", "__END__", "__DATA__"].contains(&word.as_str()) {
                return None;
            }
            self.tokens.push(Token::Word(word));
            return Some(());
        }
        if let Some(c) = self.rest.next_if(|c| matches!(c, '?' | '!')) {
            word.push(c);
        }
        let mut ahead = self.rest.clone();
        if ahead.next() == Some(':') && ahead.next() != Some(':') && !word.ends_with(['?', '!']) {
            self.rest.next();
            self.tokens.push(Token::Label(word));
        } else {
            self.tokens.push(Token::Word(word));
        }
        Some(())
    }

    /// Ruby's `:symbol`, `::`, or the colon of a condition.
    fn colon(&mut self) -> Option<()> {
        if self.rest.next_if_eq(&':').is_some() {
            self.tokens.push(Token::Sign('.'));
            return Some(());
        }
        let mut symbol = String::new();
        while let Some(c) = self.rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
            symbol.push(c);
        }
        // `:file => ".ruby-version"` says the same as `file: ".ruby-version"`.
        if !symbol.is_empty() {
            let mut ahead = self.rest.clone().skip_while(|c| c.is_whitespace());
            if ahead.next() == Some('=') && ahead.next() == Some('>') {
                while self.rest.next() != Some('>') {}
                self.tokens.push(Token::Label(symbol));
            } else {
                self.tokens.push(Token::Sign(':'));
            }
        }
        Some(())
    }

    /// Ruby's `%w[a b]` and `%i[a b]`.
    fn words(&mut self) -> Option<()> {
        match self.rest.next()? {
            'w' | 'i' => self.bracketed(false),
            'W' | 'I' => self.bracketed(true),
            _ => None,
        }
    }

    /// What stands between two brackets is text. `live` when a program may stand in it.
    fn bracketed(&mut self, live: bool) -> Option<()> {
        while self.rest.next_if(|c| c.is_whitespace()).is_some() {}
        let close = match self.rest.next()? {
            '[' => ']',
            '(' => ')',
            '{' => '}',
            '<' => '>',
            other if other.is_ascii_punctuation() && other != '#' && other != ',' => other,
            _ => return None,
        };
        let mut text = String::new();
        loop {
            match self.rest.next()? {
                c if c == close => break,
                '\\' => text.extend(self.rest.next()),
                '#' if live => return None,
                c => text.push(c),
            }
        }
        self.tokens.push(Token::Text(text));
        Some(())
    }

    fn string(&mut self, quote: char) -> Option<()> {
        let mut text = String::new();
        let mut dynamic = false;
        loop {
            match self.rest.next()? {
                c if c == quote => break,
                '\\' => text.extend(self.rest.next()),
                '#' if quote == '"' && self.language == Language::Ruby => match self.rest.peek() {
                    Some('{') => {
                        self.rest.next();
                        self.code(Some('}'))?;
                        dynamic = true;
                    }
                    Some('$' | '@') => return None,
                    _ => text.push('#'),
                },
                '$' | '@' if quote == '"' && self.language == Language::Perl => return None,
                c => text.push(c),
            }
        }
        self.tokens.push(if dynamic {
            Token::Dynamic
        } else {
            Token::Text(text)
        });
        Some(())
    }
}
