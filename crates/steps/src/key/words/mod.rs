//! Whether a Gemfile or a cpanfile does no more than name what is wanted. Both are programs, and a program may read any file;
//! most are plain, though, and a change of some other file must not cost an install.
//!
//! Nothing is parsed here: words and signs outside of strings are compared with those that are known to read nothing. What
//! is not known is not plain.

mod lexer;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use lexer::{Language, Lexer, Token};

/// A file that a Gemfile reads and names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reads {
    /// By `eval_gemfile`: another program of the kind.
    Gemfile(String),
    /// By `File.read` and the like.
    File(String),
}

/// Words of a Gemfile that read nothing. Gems that lie in the tree (`path`, `gemspec`) stand in the lockfile.
const RUBY: &str = "source gem group groups platform platforms ruby git github gist git_source path gemspec install_if do \
    end if unless else elsif then case when and or not in true false nil lambda proc env ENV RUBY_VERSION \
    RUBY_PLATFORM RUBY_ENGINE Gem";

/// Methods that look at their receiver alone.
const METHODS: &str = "new fetch key? include? start_with? end_with? match? empty? nil? any? none? to_s to_i to_sym to_a split \
    strip chomp downcase upcase sub gsub join first last map each select reject compact freeze dup local \
    satisfied_by? Version Requirement Platform";

/// What asks for a file by name.
const READ_METHODS: &str = "read exist? exists? file? readlines";

const PERL: &str = "requires recommends suggests conflicts test_requires configure_requires build_requires author_requires \
    on feature sub if unless else elsif eq ne lt gt le ge and or not undef";

/// The files that a Gemfile says it reads; `None` when it may read others.
pub(super) fn ruby(text: &str) -> Option<Vec<Reads>> {
    let tokens = Lexer::new(text, Language::Ruby).all()?;
    let mut known: BTreeSet<&str> = RUBY.split(' ').collect();
    let mut reads = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let after = |offset: usize| tokens.get(at + offset);
        let before = at.checked_sub(1).and_then(|at| tokens.get(at));
        match token {
            Token::Sign('|') if opens_block(before) => {
                at += 1;
                while tokens.get(at)? != &Token::Sign('|') {
                    match tokens.get(at)? {
                        Token::Word(word) => drop(known.insert(word)),
                        Token::Sign(',' | '*' | '&') => {}
                        _ => return None,
                    }
                    at += 1;
                }
            }
            Token::Word(word) if word == "eval_gemfile" => {
                let name = argument(&tokens, at + 1)?;
                reads.push(Reads::Gemfile(name));
            }
            Token::Word(word) if word == "File" || word == "IO" => {
                let Some(Token::Word(method)) = after(2) else {
                    return None;
                };
                if after(1) != Some(&Token::Sign('.')) || !is_one(READ_METHODS, method) {
                    return None;
                }
                reads.push(Reads::File(argument(&tokens, at + 3)?));
                at += 2;
            }
            Token::Word(_) if before == Some(&Token::Sign('.')) => {
                let Token::Word(method) = token else { return None };
                if !is_one(METHODS, method) {
                    return None;
                }
            }
            Token::Word(word) => {
                let assigned = after(1) == Some(&Token::Sign('=')) && after(2) != Some(&Token::Sign('='));
                if assigned && word.starts_with(|c: char| c.is_ascii_lowercase() || c == '_') {
                    known.insert(word);
                } else if !known.contains(word.as_str()) {
                    return None;
                }
            }
            Token::Label(label) if label == "file" => reads.push(Reads::File(argument(&tokens, at + 1)?)),
            Token::Label(_) | Token::Text(_) | Token::Dynamic | Token::Sign(_) => {}
        }
        at += 1;
    }
    Some(reads)
}

fn is_one(of: &str, word: &str) -> bool {
    of.split(' ').any(|one| one == word)
}

fn opens_block(token: Option<&Token>) -> bool {
    matches!(token, Some(Token::Word(word)) if word == "do") || token == Some(&Token::Sign('{'))
}

/// The one string that follows, in brackets or without.
fn argument(tokens: &[Token], at: usize) -> Option<String> {
    let at = if tokens.get(at) == Some(&Token::Sign('(')) {
        at + 1
    } else {
        at
    };
    let ends = match tokens.get(at + 1) {
        Some(Token::Sign(sign)) => !matches!(sign, '+' | '*' | '[' | '.'),
        Some(Token::Text(_) | Token::Dynamic) => false,
        _ => true,
    };
    match tokens.get(at) {
        Some(Token::Text(text)) if ends => Some(text.clone()),
        _ => None,
    }
}

/// Whether a cpanfile reads nothing.
pub(super) fn perl_is_plain(text: &str) -> bool {
    let Some(tokens) = Lexer::new(text, Language::Perl).all() else {
        return false;
    };
    tokens.iter().enumerate().all(|(at, token)| match token {
        // What stands before `=>` is a string.
        Token::Word(word) => {
            let arrow = [tokens.get(at + 1), tokens.get(at + 2)]
                == [Some(&Token::Sign('=')), Some(&Token::Sign('>'))];
            is_one(PERL, word) || (arrow && !["dist", "url", "mirror", "git"].contains(&word.as_str()))
        }
        Token::Text(text) => !text.contains("file:"),
        Token::Sign(_) => true,
        Token::Label(_) | Token::Dynamic => false,
    })
}
