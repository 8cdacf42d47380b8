//! Patterns of what is left out, as in a `.gitignore`: a name alone matches at any depth, a pattern with a slash from the
//! packed root, a slash at the end directories only, `*` and `?` within a name, `**` across directories.
//!
//! Not done here: negation, which is refused.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::path::EntryPath;

/// A pattern that is none.
#[derive(Debug, thiserror::Error)]
#[error("the exclude pattern {pattern:?} cannot be used: {why}")]
pub struct GlobError {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub why: String,
}

/// Compiled patterns.
#[derive(Debug, Clone, Default)]
pub(crate) struct Globs {
    /// Whether there is any pattern.
    any: bool,
    names: GlobSet,
    directory_names: GlobSet,
    paths: GlobSet,
    directory_paths: GlobSet,
}

impl Globs {
    pub(crate) fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, GlobError> {
        let mut builders = [(); 4].map(|()| GlobSetBuilder::new());
        for pattern in patterns {
            let pattern = pattern.as_ref();
            let wrong = |why: String| GlobError {
                pattern: pattern.to_owned(),
                why,
            };
            if pattern.starts_with('!') {
                return Err(wrong("negated patterns are not known".to_owned()));
            }
            let (body, directory) = match pattern.strip_suffix('/') {
                Some(body) => (body, true),
                None => (pattern, false),
            };
            let from_root = body.contains('/');
            let body = body.strip_prefix('/').unwrap_or(body);
            if body.is_empty() || body.split('/').any(|part| matches!(part, "" | "." | "..")) {
                return Err(wrong("it has an empty, `.` or `..` part".to_owned()));
            }
            let glob = GlobBuilder::new(body)
                .literal_separator(true)
                .backslash_escape(true)
                .build();
            let glob = glob.map_err(|error| wrong(error.kind().to_string()))?;
            builders[usize::from(directory) + 2 * usize::from(from_root)].add(glob);
        }
        let build = |builder: &GlobSetBuilder| {
            builder.build().map_err(|error| GlobError {
                pattern: error.glob().unwrap_or_default().to_owned(),
                why: error.kind().to_string(),
            })
        };
        let [names, directory_names, paths, directory_paths] = &builders;
        Ok(Self {
            any: !patterns.is_empty(),
            names: build(names)?,
            directory_names: build(directory_names)?,
            paths: build(paths)?,
            directory_paths: build(directory_paths)?,
        })
    }

    /// Whether a path is left out. What lies beneath a directory that is left out is not asked for.
    pub(crate) fn matches(&self, path: &EntryPath, directory: bool) -> bool {
        use std::os::unix::ffi::OsStrExt;
        if !self.any {
            return false;
        }
        let name = std::ffi::OsStr::from_bytes(path.file_name());
        self.names.is_match(name)
            || self.paths.is_match(path.as_path())
            || directory
                && (self.directory_names.is_match(name) || self.directory_paths.is_match(path.as_path()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_in_a_gitignore() {
        let excluded = |pattern: &str, path: &[u8], directory| {
            Globs::new(&[pattern])
                .unwrap()
                .matches(&EntryPath::new(path).unwrap(), directory)
        };
        assert!(excluded("spec", b"spec", true) && excluded("spec", b"a/spec", false));
        assert!(!excluded("spec", b"a/spec.rb", false));
        assert!(excluded("*.log", b"a/b/x.log", false) && !excluded("*.log", b"a.log/x", false));
        assert!(excluded("/docs", b"docs", true) && !excluded("/docs", b"a/docs", true));
        assert!(excluded("a/*.md", b"a/x.md", false) && !excluded("a/*.md", b"a/b/x.md", false));
        assert!(excluded("a/**/x", b"a/b/c/x", false) && excluded("tmp/", b"tmp", true));
        assert!(!excluded("tmp/", b"tmp", false));
        assert!(excluded("*.log", b"\xff.log", false));
        assert!(excluded("[ab]?", b"bx", false));
    }

    #[test]
    fn wrong_patterns_are_named() {
        for pattern in ["!a", "", "/", "a//b", "../a", "[a"] {
            let error = Globs::new(&["fine", pattern]).unwrap_err();
            assert_eq!(error.pattern, pattern);
        }
    }
}
