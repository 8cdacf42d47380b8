//! The manifest's `excludes` and `exclude_from`: rules as rsync reads them from `--exclude` and `--exclude-from`.
//!
//! The first rule that matches decides. An excluded entry of the tree is not copied, one in dest is not deleted. Rules
//! of `exclude_from` come first, as stretcher hands them to rsync. What rsync would end on is refused by name.

use crate::pattern::Pattern;

/// rsync reads no longer rule.
const MAX_RULE: usize = 4095;

/// The rules, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    include: bool,
    pattern: Pattern,
}

/// A rule that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadRule {
    pub(crate) rule: String,
    pub(crate) reason: &'static str,
}

impl Filter {
    /// Adds one `--exclude`: a pattern, `- pattern`, `+ pattern`, or `!`, which drops the rules so far.
    pub(crate) fn add(&mut self, rule: &[u8]) -> Result<(), BadRule> {
        let bad = |reason| BadRule {
            rule: String::from_utf8_lossy(rule).into_owned(),
            reason,
        };
        if rule.is_empty() {
            return Ok(());
        }
        if rule == b"!" {
            self.rules.clear();
            return Ok(());
        }
        let (include, pattern) = match (rule.strip_prefix(b"+ "), rule.strip_prefix(b"- ")) {
            (Some(pattern), _) => (true, pattern),
            (None, Some(pattern)) => (false, pattern),
            (None, None) => (false, rule),
        };
        if pattern.is_empty() {
            return Err(bad("there is no pattern behind the prefix"));
        }
        if pattern.len() > MAX_RULE {
            return Err(bad("it is longer than 4095 bytes"));
        }
        if pattern.contains(&0) {
            return Err(bad("it holds a NUL"));
        }
        self.rules.push(Rule {
            include,
            pattern: Pattern::new(pattern),
        });
        Ok(())
    }

    /// Adds the rules of an `--exclude-from` file: one a line; empty lines and those that begin with `#` or `;` are
    /// comments.
    pub(crate) fn add_file(&mut self, text: &[u8]) -> Result<(), BadRule> {
        for line in text.split(|byte| matches!(byte, b'\n' | b'\r')) {
            if !matches!(line.first(), None | Some(b'#' | b';')) {
                self.add(line)?;
            }
        }
        Ok(())
    }

    /// Whether there is no rule.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether the entry at `path` is left alone.
    pub(crate) fn excludes(&self, path: &[u8], is_dir: bool) -> bool {
        self.rules
            .iter()
            .find(|rule| rule.pattern.matches(path, is_dir))
            .is_some_and(|rule| !rule.include)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(rules: &[&str]) -> Filter {
        let mut filter = Filter::default();
        for rule in rules {
            filter.add(rule.as_bytes()).unwrap();
        }
        filter
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let filter = filter(&["+ keep.log", "*.log", "- tmp/"]);
        assert!(!filter.excludes(b"a/keep.log", false));
        assert!(filter.excludes(b"a/other.log", false));
        assert!(filter.excludes(b"tmp", true) && !filter.excludes(b"tmp", false));
    }

    #[test]
    fn a_bang_drops_the_rules_before_it_and_a_longer_one_is_a_pattern() {
        assert!(filter(&["a", "!"]).is_empty());
        assert!(filter(&["!a"]).excludes(b"!a", false));
    }

    #[test]
    fn a_file_has_comments_and_blank_lines() {
        let mut filter = Filter::default();
        filter
            .add_file(b"# comment\n; another\n\r\n*.pid\r\n+ x\n")
            .unwrap();
        assert_eq!(filter.rules.len(), 2);
        assert!(filter.excludes(b"a.pid", false));
    }

    #[test]
    fn what_rsync_ends_on_is_refused() {
        let mut filter = Filter::default();
        assert_eq!(
            filter.add(b"- ").unwrap_err().reason,
            "there is no pattern behind the prefix"
        );
        assert!(filter.add(&[b'a'; 5000]).is_err());
        assert!(filter.add(b"").is_ok() && filter.is_empty());
    }
}
