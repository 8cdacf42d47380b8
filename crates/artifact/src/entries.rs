//! A layer's listing: what of a tree is packed, and which paths a layer claims.

use std::collections::{HashMap, HashSet};

use crate::error::Error;
use crate::event::{Event, SkipReason};
use crate::layer::{LayerKind, LayerPlan, PackOptions};
use crate::path::EntryPath;
use crate::tree::{Kind, TreeEntry, check};

/// The checked listing of a layer's tree. The code leaves out what a running process left behind.
pub(crate) fn list(plan: &LayerPlan<'_>, options: &PackOptions<'_>) -> Result<Vec<TreeEntry>, Error> {
    let failed = |source| Error::Tree {
        layer: plan.name.clone(),
        source,
    };
    let skip = |path: &EntryPath, reason| {
        (options.on_event)(Event::Skipped {
            layer: plan.name.clone(),
            path: path.to_string(),
            reason,
        });
    };
    options.check_cancel()?;
    let mut entries = plan.tree.entries_by(options.jobs).map_err(failed)?;
    for path in plan.tree.skipped() {
        skip(&path, SkipReason::Special);
    }
    if plan.kind == LayerKind::Code {
        entries.retain(|entry| {
            let left_over = entry.kind != Kind::Directory && is_run_state(&entry.path);
            if left_over {
                skip(&entry.path, SkipReason::RunState);
            }
            !left_over
        });
    }
    for entry in &mut entries {
        if !matches!(entry.kind, Kind::File { .. }) {
            entry.size = 0;
        }
    }
    check(&entries).map_err(failed)?;
    Ok(entries)
}

fn is_run_state(path: &EntryPath) -> bool {
    path.file_name().ends_with(b".pid") || path.file_name().ends_with(b".socket")
}

/// The topmost of some sorted paths: those that lie beneath no other of them.
pub(crate) fn topmost<'a>(paths: impl Iterator<Item = &'a EntryPath>) -> Vec<EntryPath> {
    let topmost = topmost_by(paths, EntryPath::as_bytes);
    topmost.into_iter().cloned().collect()
}

/// The same of whatever has a path's bytes.
pub(crate) fn topmost_by<'a, P: Copy>(
    paths: impl Iterator<Item = P>,
    bytes: impl Fn(P) -> &'a [u8],
) -> Vec<P> {
    let mut claimed: HashSet<&[u8]> = HashSet::new();
    let mut topmost = Vec::new();
    let mut last: &[u8] = b"";
    for path in paths {
        let name = bytes(path);
        // Most lie beneath the one before; not all, for `a.b` stands between `a` and `a/b`.
        let beneath = |above: &[u8]| {
            name.strip_prefix(above)
                .is_some_and(|rest| rest.starts_with(b"/"))
        };
        if !last.is_empty() && beneath(last) {
            continue;
        }
        if !prefixes(name).any(|prefix| claimed.contains(prefix)) {
            claimed.insert(name);
            topmost.push(path);
            last = name;
        }
    }
    topmost
}

/// Refuses, by name, a path that two layers hold. `sealed` has each layer's name and its topmost paths.
pub(crate) fn check_claims(
    sealed: &[(&str, &[EntryPath])],
    code: &str,
    entries: &[TreeEntry],
) -> Result<(), Error> {
    let mut owners: HashMap<&[u8], &str> = HashMap::new();
    let twice = |path: &EntryPath, first: &str, second: &str| {
        Err(Error::ClaimedTwice {
            path: path.to_string(),
            first: first.to_owned(),
            second: second.to_owned(),
        })
    };
    for (name, claims) in sealed {
        for path in *claims {
            if let Some(first) = owners.insert(path.as_bytes(), name) {
                return twice(path, first, name);
            }
        }
    }
    let mut above: HashMap<&[u8], &str> = HashMap::new();
    for (name, claims) in sealed {
        for path in *claims {
            for parent in prefixes(path.as_bytes()).filter(|prefix| *prefix != path.as_bytes()) {
                if let Some(first) = owners.get(parent) {
                    return twice(path, first, name);
                }
                above.insert(parent, name);
            }
        }
    }
    for entry in entries {
        if let Some(first) = prefixes(entry.path.as_bytes()).find_map(|prefix| owners.get(prefix)) {
            return twice(&entry.path, first, code);
        }
        if entry.kind != Kind::Directory
            && let Some(first) = above.get(entry.path.as_bytes())
        {
            return twice(&entry.path, first, code);
        }
    }
    Ok(())
}

/// Adds the directories that hold the layers' paths to the code where nothing lists them yet, so that every directory
/// of the artifact has an entry with mode and time.
pub(crate) fn add_parents(entries: &mut Vec<TreeEntry>, sealed: &[(&str, &[EntryPath])]) {
    let listed: HashSet<&[u8]> = entries.iter().map(|entry| entry.path.as_bytes()).collect();
    let claims = sealed.iter().flat_map(|(_, claims)| *claims);
    let mut missing: HashSet<EntryPath> = HashSet::new();
    for path in claims.chain(entries.iter().map(|entry| &entry.path)) {
        let mut parent = path.parent();
        while let Some(directory) = parent {
            if listed.contains(directory.as_bytes()) || missing.contains(&directory) {
                break;
            }
            parent = directory.parent();
            missing.insert(directory);
        }
    }
    let directory = |path| TreeEntry {
        path,
        kind: Kind::Directory,
        size: 0,
    };
    entries.extend(missing.into_iter().map(directory));
    entries.sort_by(|a, b| a.path.cmp(&b.path));
}

/// `a/b/c` → `a`, `a/b`, `a/b/c`.
fn prefixes(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let cuts = path
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(at, _)| at);
    cuts.chain(std::iter::once(path.len())).map(|end| &path[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> EntryPath {
        EntryPath::new(text).unwrap()
    }

    fn file(text: &str) -> TreeEntry {
        TreeEntry {
            path: path(text),
            kind: Kind::File { executable: false },
            size: 0,
        }
    }

    fn directory(text: &str) -> TreeEntry {
        TreeEntry {
            path: path(text),
            kind: Kind::Directory,
            size: 0,
        }
    }

    #[test]
    fn topmost_paths() {
        let paths = ["a", "a.b", "a/b", "b/c", "b/c/d", "b/cd"].map(path);
        assert_eq!(topmost(paths.iter()), ["a", "a.b", "b/c", "b/cd"].map(path));
    }

    #[test]
    fn a_path_belongs_to_one_layer() {
        let paths = |list: &[&str]| list.iter().map(|text| path(text)).collect::<Vec<_>>();
        let refused = |a: &[&str], b: &[&str], code: &[TreeEntry]| {
            let (a, b) = (paths(a), paths(b));
            check_claims(&[("bundle", &a), ("npm", &b)], "code", code)
                .err()
                .map(|error| error.to_string())
        };
        assert_eq!(
            refused(&["vendor/a"], &["vendor/b"], &[directory("vendor"), file("x")]),
            None
        );
        let rule = "a path belongs to one layer";
        let expect = |path: &str, first: &str, second: &str| {
            Some(format!(
                "{path} belongs to the layer {first} and to the layer {second}; {rule}"
            ))
        };
        assert_eq!(refused(&["v"], &["v"], &[]), expect("v", "bundle", "npm"));
        assert_eq!(refused(&["v"], &["v/b"], &[]), expect("v/b", "bundle", "npm"));
        assert_eq!(refused(&["v/b"], &["v"], &[]), expect("v/b", "npm", "bundle"));
        assert_eq!(
            refused(&["v"], &[], &[file("v/tracked")]),
            expect("v/tracked", "bundle", "code")
        );
        assert_eq!(
            refused(&["v/b"], &[], &[file("v")]),
            expect("v", "bundle", "code")
        );
        assert_eq!(refused(&["v"], &[], &[file("v.rb"), file("vv/x")]), None);
    }

    #[test]
    fn parents_are_added_once() {
        let mut entries = vec![file("a/b/c"), directory("vendor")];
        add_parents(
            &mut entries,
            &[("npm", &[path("vendor/x/y")]), ("go", &[path("top")])],
        );
        let paths: Vec<_> = entries.iter().map(|entry| entry.path.to_string()).collect();
        assert_eq!(paths, ["a", "a/b", "a/b/c", "vendor", "vendor/x"]);
    }
}
