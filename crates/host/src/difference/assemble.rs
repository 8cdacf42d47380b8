//! Puts the files of a layer into the release's tree, as the role's `link` has it.

use std::os::fd::AsFd;
use std::path::Path;

use shipit_artifact::{EntryPath, Index, IndexKind};
use shipit_manifest::Link;

use super::Setting;
use super::bound::{BoundLayer, StoredLayer};
use super::hand::{DIRECTORY, Hand, groups, parallel, root};
use super::layer::make_directories;
use super::take::{Ways, put, settle, symlink};
use crate::error::Error;
use crate::filter::Filter;

/// The entries of an index that the manifest's `excludes` leave.
pub(crate) fn kept(index: &Index, filter: &Filter) -> Vec<usize> {
    let all = 0..index.entries().len();
    if filter.is_empty() {
        return all.collect();
    }
    all.filter(|number| {
        let entry = &index.entries()[*number];
        let bytes = entry.path.as_bytes();
        let slashes = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let above = slashes.map(|(at, _)| &bytes[..at]);
        !above.into_iter().any(|dir| filter.excludes(dir, true))
            && !filter.excludes(bytes, entry.kind == IndexKind::Directory)
    })
    .collect()
}

/// Whether a release gets all of a layer: what is excluded below a directory cannot be left out of a link to it.
fn is_whole(layer: &BoundLayer, filter: &Filter) -> bool {
    filter.is_empty() || kept(&layer.index, filter).len() == layer.index.entries().len()
}

/// Whether a release gets a layer by links to its directories.
pub(crate) fn is_linked(link: Link, layer: &BoundLayer, filter: &Filter) -> bool {
    link == Link::Symlink && is_whole(layer, filter)
}

/// Puts the layer into `tree`.
pub(crate) fn place(
    layer: &BoundLayer,
    link: Link,
    filter: &Filter,
    tree: &Path,
    setting: &Setting<'_>,
) -> Result<(), Error> {
    let files = setting.places.layer(&layer.stored.row.index_sha256).join("files");
    if is_linked(link, layer, filter) {
        return by_symlink(layer, &files, tree, setting);
    }
    let kept = kept(&layer.index, filter);
    let ways = ways(link, setting.reflink, rustix::process::geteuid().is_root());
    entry_by_entry(&layer.index, &kept, &files, tree, ways, setting)
}

/// A hard-linked file is kept from the app by being root's. Where another user applies, hooks and mostly the app run as that user, and
/// would write through it into the layer and every other release.
fn ways(link: Link, reflink: bool, root: bool) -> Ways {
    Ways {
        reflink,
        hard: link != Link::Copy && root,
    }
}

fn entry_by_entry(
    index: &Index,
    numbers: &[usize],
    files: &Path,
    tree: &Path,
    ways: Ways,
    setting: &Setting<'_>,
) -> Result<(), Error> {
    let groups = groups(index, numbers);
    make_directories(&groups, tree, setting)?;
    let (from, to) = (root(files)?, root(tree)?);
    parallel(
        setting.jobs,
        setting.cancel,
        &groups,
        || (),
        |(), group| {
            let path = |path: Option<&EntryPath>| {
                path.map_or_else(|| tree.to_owned(), |path| tree.join(path.as_path()))
            };
            let opening = |error| Error::disk("opening the directory", path(group.dir.as_ref()), error);
            let to = to.open_at(group.dir.as_ref(), DIRECTORY).map_err(opening)?;
            // A directory of an excluded entry alone may be missing in neither.
            let from = from.open_at(group.dir.as_ref(), DIRECTORY).map_err(opening)?;
            for number in &group.entries {
                let entry = &index.entries()[*number];
                let done = match &entry.kind {
                    IndexKind::Symlink { target } => symlink(to.as_fd(), entry, target),
                    _ => put(from.as_fd(), entry.path.file_name(), to.as_fd(), entry, ways),
                };
                done.map_err(|error| Error::disk("putting in place", path(Some(&entry.path)), error))?;
            }
            match group.own {
                Some(own) => settle(to.as_fd(), &index.entries()[own]).map_err(opening),
                None => Ok(()),
            }
        },
    )
}

/// A link to each topmost directory of the layer; topmost files by themselves.
fn by_symlink(layer: &BoundLayer, files: &Path, tree: &Path, setting: &Setting<'_>) -> Result<(), Error> {
    let index = &layer.index;
    let is_directory = |number: &usize| index.entries()[*number].kind == IndexKind::Directory;
    let (directories, rest): (Vec<_>, Vec<_>) = topmost(index).into_iter().partition(is_directory);
    let directories = directories.iter().map(|number| &index.entries()[*number].path);
    link_to(&layer.stored, directories, tree)?;
    let ways = ways(
        Link::Symlink,
        setting.reflink,
        rustix::process::geteuid().is_root(),
    );
    entry_by_entry(index, &rest, files, tree, ways, setting)
}

/// Puts links to these directories of the layer into `tree`.
pub(crate) fn link_to<'a>(
    layer: &StoredLayer,
    directories: impl IntoIterator<Item = &'a EntryPath>,
    tree: &Path,
) -> Result<(), Error> {
    let root = root(tree)?;
    let mut hand = Hand::new(&root);
    for path in directories {
        let failed = |error| Error::disk("linking", tree.join(path.as_path()), error);
        if let Some(parent) = path.parent() {
            hand.make_directory(&parent, false).map_err(failed)?;
        }
        let to = hand.parent(path).map_err(failed)?;
        rustix::fs::symlinkat(
            target(&layer.row.index_sha256, path).as_slice(),
            to,
            path.file_name(),
        )
        .map_err(|error| failed(error.into()))?;
    }
    Ok(())
}

/// The entries that lie below no other entry.
pub(crate) fn topmost(index: &Index) -> Vec<usize> {
    let mut found: Vec<usize> = Vec::new();
    for (number, entry) in index.entries().iter().enumerate() {
        let below = found
            .iter()
            .rev()
            .any(|top| entry.path.starts_with(&index.entries()[*top].path));
        if !below {
            found.push(number);
        }
    }
    found
}

/// From where the entry stands in `releases/<id>` to where it stands in the layer, whatever leads to the role's dest.
pub(crate) fn target(index_sha256: &str, path: &EntryPath) -> Vec<u8> {
    let depth = path.as_bytes().iter().filter(|byte| **byte == b'/').count();
    let mut target = "../".repeat(depth + 2).into_bytes();
    target.extend_from_slice(format!(".layers/{index_sha256}/files/").as_bytes());
    target.extend_from_slice(path.as_bytes());
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_links_are_roots_alone() {
        assert!(ways(Link::Auto, false, true).hard);
        assert!(!ways(Link::Auto, false, false).hard && !ways(Link::Symlink, false, false).hard);
        assert!(!ways(Link::Copy, true, true).hard);
    }

    #[test]
    fn a_link_leads_from_the_release_to_the_layer() {
        let path = EntryPath::new("web/node_modules").unwrap();
        assert_eq!(target("ab", &path), b"../../../.layers/ab/files/web/node_modules");
    }
}
