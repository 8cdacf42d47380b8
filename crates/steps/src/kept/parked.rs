//! Layers out of the tree: a step may have to run before it is known whether the build wants them, and must not see them.
//! They are renamed out of the tree and back, so that neither costs in proportion to their files.
//!
//! A layer lies in `parked-<key>` beside the tree, its own paths under numbers. What is known of it goes first and comes last:
//! files that nothing is known of are old ones.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, Mode, RenameFlags, mkdirat, renameat, renameat_with, unlinkat};
use rustix::io::Errno;
use shipit_artifact::EntryPath;

use super::Kept;
use super::aside::{Aside, clear};
use super::descent::{Descent, Root, ancestors, is_within, split, standing};
use super::error::KeptError;
use super::layer::{Check, Layer, Top, sorted, stands};
use super::request::InPlace;
use super::scan::{DIRECTORY_MODE, restore_mode};
use super::standing::Standing;
use super::state::Lies;

/// What the directories of parked layers are called, the key behind it.
const PREFIX: &str = "parked-";

/// Parks a layer that stands in the tree, as far as its own paths are as they were left; of another one nothing is known
/// then. During an update.
pub(super) fn park(kept: &Kept, root: &Root, mut layer: Layer) -> Result<(), KeptError> {
    forget_others(kept, &layer)?;
    if take_out(kept, root, &mut layer)? {
        kept.state.write_layer(Lies::Parked, &layer)?;
    }
    kept.state.remove_layer(Lies::InTree, &layer.key)
}

/// Puts a parked layer back into the tree, and notes that it stands there. `false` when it is not there as it was left: then
/// nothing of it is.
pub(super) fn unpark(kept: &Kept, wanted: &InPlace) -> Result<bool, KeptError> {
    let known = kept.state.read_layer(Lies::Parked, &wanted.key)?;
    kept.state.remove_layer(Lies::Parked, &wanted.key)?;
    let Some(mut layer) = known.filter(|known| known.owned == sorted(&wanted.owned)) else {
        return Ok(false);
    };
    let root = Root::open(&kept.root)?;
    if !put_back(kept, &root, &mut layer)? {
        return Ok(false);
    }
    kept.state.write_layer(Lies::InTree, &layer)?;
    kept.state.let_clock_pass(layer.newest())?;
    Ok(true)
}

/// Forgets parked layers other than these, so that they are removed as old files.
pub(super) fn forget_except(kept: &Kept, wanted: &[String]) -> Result<(), KeptError> {
    for key in kept.state.layers(Lies::Parked)? {
        if !wanted.contains(&key) {
            kept.state.remove_layer(Lies::Parked, &key)?;
        }
    }
    Ok(())
}

/// Whether a directory beside the tree, by its name, is that of a layer that nobody knows of.
pub(super) fn is_forgotten(name: &str, parked: &[String]) -> bool {
    name.strip_prefix(PREFIX)
        .is_some_and(|key| !parked.iter().any(|parked| parked == key))
}

/// Of one path no two layers are parked: builds that fail one after the other would leave more and more of them.
fn forget_others(kept: &Kept, layer: &Layer) -> Result<(), KeptError> {
    for key in kept.state.layers(Lies::Parked)? {
        let other = kept.state.read_layer(Lies::Parked, &key)?;
        let meets = |own: &[u8]| {
            let mut owned = layer.owned.iter().map(EntryPath::as_bytes);
            owned.any(|path| is_within(path, own) || is_within(own, path))
        };
        if other.is_none_or(|other| key == layer.key || other.owned.iter().any(|own| meets(own.as_bytes()))) {
            kept.state.remove_layer(Lies::Parked, &key)?;
        }
    }
    Ok(())
}

fn directory(kept: &Kept, key: &str) -> PathBuf {
    kept.dir.join(format!("{PREFIX}{key}"))
}

/// Renames a layer's own paths out of the tree, and notes how they stand then: a rename changes a file's time of change.
fn take_out(kept: &Kept, root: &Root, layer: &mut Layer) -> Result<bool, KeptError> {
    let to = directory(kept, &layer.key);
    if to.symlink_metadata().is_ok() {
        Aside::create(&kept.dir)?.take_path(&to)?;
    }
    let mut aside = Aside::at(&to)?;
    let out = Root::open(&to)?;
    let mut descent = Descent::new(root);
    for (number, top) in layer.tops.iter_mut().enumerate() {
        let (directory, name) = split(&top.path);
        let Ok(open) = descent.enter(directory) else {
            return Ok(false);
        };
        if !matches!(standing(open, name), Ok(Some(found)) if found == top.standing) {
            return Ok(false);
        }
        aside.take(root, (directory, open), name)?;
        match standing(out.as_fd(), number.to_string().as_bytes()) {
            Ok(Some(found)) if is_renamed(found, top.standing) => top.standing = found,
            // It had to be deleted, or be given another mode.
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// Whether a file differs by no more than a rename makes it differ.
fn is_renamed(found: Standing, before: Standing) -> bool {
    let changed = before.changed;
    Standing { changed, ..found } == before
}

fn put_back(kept: &Kept, root: &Root, layer: &mut Layer) -> Result<bool, KeptError> {
    // Somebody removed it.
    let Ok(from) = Root::open(&directory(kept, &layer.key)) else {
        return Ok(false);
    };
    let (mut put, mut made) = (Vec::new(), Vec::new());
    let mut whole = true;
    for (number, top) in layer.tops.iter_mut().enumerate() {
        // Somebody changed it there, or something is in its way: the layer's files are had from elsewhere.
        whole = put_top(root, &from, (number, top), &mut made) == Ok(true);
        if !whole {
            break;
        }
        put.push(top.path.clone());
        let found = stands(&mut Descent::new(root), &top.path);
        match found.map_err(|error| root.failed("look at", &top.path, error))? {
            Some(found) if is_renamed(found, top.standing) => top.standing = found,
            _ => whole = false,
        }
    }
    if whole && let Check::Whole { extra } = layer.check(root, kept.jobs, &|_| false)? {
        clear(&kept.dir, root, extra.iter().map(Vec::as_slice))?;
        return Ok(true);
    }
    clear(&kept.dir, root, put.iter().map(Vec::as_slice))?;
    for path in made.iter().rev() {
        let (directory, name) = split(path);
        let mut descent = Descent::new(root);
        // One that is not empty stays.
        let _ = descent
            .enter(directory)
            .and_then(|open| unlinkat(open, name, AtFlags::REMOVEDIR));
    }
    Ok(false)
}

/// Puts one of a layer's paths back, in directories that are `made` for it; `false` when it does not lie there as it was left.
fn put_top(
    root: &Root,
    from: &Root,
    (number, top): (usize, &Top),
    made: &mut Vec<Vec<u8>>,
) -> Result<bool, Errno> {
    let lies = number.to_string();
    if standing(from.as_fd(), lies.as_bytes())? != Some(top.standing) {
        return Ok(false);
    }
    make_directories(root, &top.path, made)?;
    let (directory, name) = split(&top.path);
    let mut descent = Descent::new(root);
    rename(from.as_fd(), &lies, descent.enter(directory)?, name)?;
    Ok(true)
}

/// Never over anything.
fn rename(from: BorrowedFd<'_>, lies: &str, open: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match renameat_with(from, lies, open, name, RenameFlags::NOREPLACE) {
        Err(Errno::NOSYS | Errno::INVAL) if standing(open, name)?.is_none() => {
            renameat(from, lies, open, name)
        }
        result => result,
    }
}

/// Makes the directories that lead to a path, as an extraction does.
fn make_directories(root: &Root, path: &[u8], made: &mut Vec<Vec<u8>>) -> Result<(), Errno> {
    let mut missing: Vec<&[u8]> = ancestors(path).collect();
    missing.reverse();
    let mut descent = Descent::new(root);
    for directory in missing {
        let (parent, name) = split(directory);
        let parent = descent.enter(parent)?;
        match mkdirat(parent, name, Mode::from_raw_mode(DIRECTORY_MODE)) {
            Ok(()) => {
                made.push(directory.to_vec());
                restore_mode(parent, name)?;
            }
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
