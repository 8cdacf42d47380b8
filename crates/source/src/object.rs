//! Reading objects of git's, checked against damage.
//!
//! libgit2 would hash each object again while it reads it, with a SHA-1 that looks for collisions and takes as long as all of
//! the reading. That is switched off for the process ([`leave_checks_to_us`]). What comes from a remote is hashed when it
//! comes, by libgit2's indexer or the git program; afterwards only damage is to be found out. Commits, directories and what
//! else decides the tree are hashed here, with the processor's own SHA-1 instructions. Of files, which are nearly all of the
//! bytes, zlib's checksum, the length and the kind are checked, as git does: a test of `origin` flips each bit of a pack. What
//! that leaves is a pack's index whose damage leads to the very beginning of another file: that one's content is taken. To hash
//! files as well would take 0.6 ms a megabyte, a twentieth of what reading and packing them takes.

use std::sync::Once;

use git2::{ErrorClass, ErrorCode, ObjectType, Odb, OdbObject, Oid, Repository, Tree};
use sha1::{Digest, Sha1};

/// Has libgit2 read objects without hashing them again. For the whole process, as libgit2 has it.
pub(crate) fn leave_checks_to_us() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| git2::opts::strict_hash_verification(false));
}

/// The object, which is of this kind and has this id.
pub(crate) fn read<'a>(odb: &'a Odb<'_>, id: Oid, kind: ObjectType) -> Result<OdbObject<'a>, git2::Error> {
    let object = read_kind(odb, id, kind)?;
    let mut hash = Sha1::new();
    hash.update(format!("{kind} {}\0", object.len()));
    hash.update(object.data());
    if hash.finalize()[..] != *id.as_bytes() {
        return Err(damaged(format!(
            "the content of {kind} {id} does not have that id"
        )));
    }
    Ok(object)
}

/// A file's object. Its id is not computed again.
pub(crate) fn read_file<'a>(odb: &'a Odb<'_>, id: Oid) -> Result<OdbObject<'a>, git2::Error> {
    read_kind(odb, id, ObjectType::Blob)
}

fn read_kind<'a>(odb: &'a Odb<'_>, id: Oid, kind: ObjectType) -> Result<OdbObject<'a>, git2::Error> {
    let object = odb.read(id)?;
    let found = object.kind();
    if found != kind {
        return Err(damaged(format!("{id} is a {found}, not a {kind}")));
    }
    Ok(object)
}

/// A directory, its id checked.
pub(crate) fn find_tree(repository: &Repository, id: Oid) -> Result<Tree<'_>, git2::Error> {
    // libgit2 keeps what is small: most directories are not read twice.
    let _ = read(&repository.odb()?, id, ObjectType::Tree)?;
    repository.find_tree(id)
}

/// libgit2's error for an object that is not what it should be.
pub(crate) fn damaged(message: String) -> git2::Error {
    git2::Error::new(ErrorCode::Invalid, ErrorClass::Odb, message)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn another_content_under_an_id_and_another_kind_are_found_out() {
        leave_checks_to_us();
        let dir = tempfile::tempdir().unwrap();
        let repository = Repository::init_bare(dir.path()).unwrap();
        let (one, two) = (repository.blob(b"one").unwrap(), repository.blob(b"two").unwrap());
        let path = |id: Oid| {
            let id = id.to_string();
            dir.path().join("objects").join(&id[..2]).join(&id[2..])
        };
        let fresh = || Repository::open_bare(dir.path()).unwrap();
        let read = |id, kind| {
            let repository = fresh();
            let odb = repository.odb().unwrap();
            read(&odb, id, kind).map(|object| object.data().to_vec())
        };
        assert_eq!(read(one, ObjectType::Blob).unwrap(), b"one");
        assert!(
            read(one, ObjectType::Tree)
                .unwrap_err()
                .message()
                .contains("is a blob")
        );
        // Whole in itself, at the wrong place: zlib's own sum does not find this out.
        fs::remove_file(path(two)).unwrap();
        fs::copy(path(one), path(two)).unwrap();
        assert!(fresh().odb().unwrap().read(two).is_ok(), "libgit2 does not check");
        assert!(
            read(two, ObjectType::Blob)
                .unwrap_err()
                .message()
                .contains("does not have that id")
        );
    }
}
