//! The attributes of a commit's paths, from the `.gitattributes` files of that commit alone: no `info/attributes`, no
//! user's or system's file. What an attribute does is not decided here.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use gix_attributes::search::{MetadataCollection, Outcome};
use gix_attributes::{Search, StateRef, glob};

/// The attributes that the export looks at.
const NAMES: [&str; 8] = [
    "export-ignore",
    "export-subst",
    "text",
    "crlf",
    "eol",
    "ident",
    "working-tree-encoding",
    "filter",
];

/// An attribute's state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum State {
    /// `name`
    Set,
    /// `-name`
    Unset,
    /// `name=value`
    Value(Vec<u8>),
    /// Not mentioned, or `!name`.
    #[default]
    Unspecified,
}

impl State {
    pub(crate) fn is_set(&self) -> bool {
        *self == Self::Set
    }
}

/// The attributes of one path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Attributes {
    pub export_ignore: State,
    pub export_subst: State,
    pub text: State,
    pub crlf: State,
    pub eol: State,
    pub ident: State,
    pub encoding: State,
    pub filter: State,
}

/// The `.gitattributes` files from the top down to one directory; a walk pushes and pops them.
pub(crate) struct Stack {
    search: Search,
    collection: MetadataCollection,
    outcome: Outcome,
    /// How many files were entered and not left.
    depth: usize,
}

impl Stack {
    /// With git's built-in macro `binary` alone.
    pub(crate) fn new() -> Self {
        let mut collection = MetadataCollection::default();
        let mut search = Search::default();
        // Parsing cannot fail: the buffer is in memory, and lines that are no patterns are skipped as git does.
        let _ = search.add_patterns_buffer(
            b"[attr]binary -diff -merge -text",
            "[builtin]".into(),
            None,
            &mut collection,
            true,
        );
        let mut stack = Self {
            search,
            collection,
            outcome: Outcome::default(),
            depth: 0,
        };
        stack.restart();
        stack
    }

    /// Enters a directory (its path without a slash at the end, empty at the top) that has this `.gitattributes`.
    pub(crate) fn push(&mut self, directory: &[u8], content: &[u8]) {
        let root = Path::new("/");
        let source: PathBuf = root.join(OsStr::from_bytes(directory)).join(".gitattributes");
        let macros = directory.is_empty();
        let _ = self
            .search
            .add_patterns_buffer(content, source, Some(root), &mut self.collection, macros);
        self.depth += 1;
        self.restart();
    }

    /// Leaves the directory that was entered last.
    pub(crate) fn pop(&mut self) {
        self.search.pop_pattern_list();
        self.depth -= 1;
    }

    fn restart(&mut self) {
        self.outcome = Outcome::default();
        self.outcome.initialize_with_selection(&self.collection, NAMES);
    }

    /// The attributes of a path from the top.
    pub(crate) fn of(&mut self, path: &[u8], is_dir: bool) -> Attributes {
        if self.depth == 0 {
            return Attributes::default();
        }
        self.outcome.reset();
        let case = glob::pattern::Case::Sensitive;
        self.search
            .pattern_matching_relative_path(path.into(), case, Some(is_dir), &mut self.outcome);
        let mut states = self
            .outcome
            .iter_selected()
            .map(|found| match found.assignment.state {
                StateRef::Set => State::Set,
                StateRef::Unset => State::Unset,
                StateRef::Value(value) => State::Value(value.as_bstr().to_vec()),
                StateRef::Unspecified => State::Unspecified,
            });
        let mut next = || states.next().unwrap_or_default();
        Attributes {
            export_ignore: next(),
            export_subst: next(),
            text: next(),
            crlf: next(),
            eol: next(),
            ident: next(),
            encoding: next(),
            filter: next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearer_files_win_and_macros_unfold() {
        let mut stack = Stack::new();
        stack.push(b"", b"[attr]mine ident -text\n*.c text\n*.bin binary\ndoc/ export-ignore\na/*.m mine\n*.x filter=lfs\n");
        assert!(stack.of(b"a/x.c", false).text.is_set());
        assert_eq!(stack.of(b"a/x.bin", false).text, State::Unset);
        assert!(stack.of(b"a/doc", true).export_ignore.is_set());
        assert!(!stack.of(b"a/doc", false).export_ignore.is_set());
        assert!(stack.of(b"a/x.m", false).ident.is_set());
        assert!(!stack.of(b"x.m", false).ident.is_set());
        assert_eq!(stack.of(b"x.x", false).filter, State::Value(b"lfs".to_vec()));
        stack.push(b"a", b"*.c !text eol=crlf\n[attr]other ident\n");
        assert_eq!(stack.of(b"a/x.c", false).text, State::Unspecified);
        assert_eq!(stack.of(b"a/x.c", false).eol, State::Value(b"crlf".to_vec()));
        assert!(stack.of(b"b/x.c", false).text.is_set());
        stack.pop();
        assert!(stack.of(b"a/x.c", false).text.is_set());
    }

    #[test]
    fn names_that_are_not_utf8() {
        let mut stack = Stack::new();
        stack.push(b"d\xff", b"*.c ident\n");
        assert!(stack.of(b"d\xff/\xfe.c", false).ident.is_set());
        assert!(!stack.of(b"d/\xfe.c", false).ident.is_set());
    }
}
