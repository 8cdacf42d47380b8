//! What a user may type as a revision, without looking at any repository.

use git2::{Oid, Reference};

use crate::error::Error;

/// A revision as it was typed, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Revision {
    /// As it was typed.
    pub given: String,
    pub base: Base,
    /// `~2`, `^`, `^{}` … behind the base; empty for most.
    pub suffix: String,
}

/// The part of a revision before `~` and `^`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Base {
    /// A full commit (or tag object) id.
    Id(Oid),
    /// Hex digits that could begin an id; may be a ref's name as well.
    Prefix(String),
    /// A ref's name.
    Name(String),
}

impl Revision {
    pub(crate) fn parse(given: &str) -> Result<Self, Error> {
        let bad = |reason| {
            Err(Error::BadRevision {
                revision: given.to_owned(),
                reason,
            })
        };
        if given.is_empty() {
            return bad("it is empty");
        }
        if given.starts_with('-') {
            return bad("it begins with a dash");
        }
        if given.contains("..") {
            return bad("it names a range, not a commit");
        }
        if given.contains("@{") {
            return bad("reflogs (@{…}) are not part of a repository that others see");
        }
        let split = given.find(['~', '^']).unwrap_or(given.len());
        let (base, suffix) = given.split_at(split);
        if !suffix
            .replace("^{}", "")
            .replace("^{commit}", "")
            .chars()
            .all(|c| c.is_ascii_digit() || "~^".contains(c))
        {
            return bad("only ~n, ^n, ^{} and ^{commit} may stand behind a name");
        }
        let base = match base {
            "@" => Base::Name("HEAD".to_owned()),
            base if is_hex(base) && base.len() == 40 => match Oid::from_str(&base.to_ascii_lowercase()) {
                Ok(id) => Base::Id(id),
                Err(_) => return bad("it is no commit id"),
            },
            base if is_hex(base) && (4..40).contains(&base.len()) => Base::Prefix(base.to_owned()),
            base if Reference::is_valid_name(&format!("refs/heads/{base}")) => Base::Name(base.to_owned()),
            _ => return bad("no branch or tag can have such a name"),
        };
        Ok(Self {
            given: given.to_owned(),
            base,
            suffix: suffix.to_owned(),
        })
    }

    /// The refs that the base may mean. `pull/1/head` is `refs/pull/1/head`.
    pub(crate) fn refs(&self) -> Vec<String> {
        let name = match &self.base {
            Base::Id(_) => return Vec::new(),
            Base::Prefix(name) | Base::Name(name) => name,
        };
        if name == "HEAD" || name.starts_with("refs/") {
            return vec![name.clone()];
        }
        vec![
            format!("refs/{name}"),
            format!("refs/tags/{name}"),
            format!("refs/heads/{name}"),
        ]
    }

    /// The digits, when the base could be a short id.
    pub(crate) fn prefix(&self) -> Option<String> {
        match &self.base {
            Base::Prefix(digits) => Some(digits.to_ascii_lowercase()),
            _ => None,
        }
    }
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        let base = |given: &str| Revision::parse(given).unwrap().base;
        assert_eq!(base("3074F46"), Base::Prefix("3074F46".into()));
        assert!(matches!(
            base("3074f46aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
            Base::Id(_)
        ));
        assert_eq!(base("main~2^"), Base::Name("main".into()));
        assert_eq!(base("@"), Base::Name("HEAD".into()));
        assert_eq!(base("abc"), Base::Name("abc".into()));
        let pull = Revision::parse("pull/7/head").unwrap();
        assert!(pull.refs().contains(&"refs/pull/7/head".to_owned()));
        assert_eq!(Revision::parse("refs/tags/v1").unwrap().refs(), ["refs/tags/v1"]);
    }

    #[test]
    fn what_cannot_be_one() {
        for given in [
            "",
            "-x",
            "a..b",
            "main@{1}",
            "a b",
            "main^{/text}",
            "a:b",
            "x.lock",
            "a?",
        ] {
            assert!(Revision::parse(given).is_err(), "{given:?}");
        }
    }
}
