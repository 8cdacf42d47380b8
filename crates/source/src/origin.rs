//! A commit whose files are in a tree: reading its objects, by several threads at once.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use git2::{Oid, Repository};

use crate::convert::Conversion;
use crate::error::Error;
use crate::object;
use crate::repository;
use crate::subst::{self, Values};

/// A commit whose files are in the tree: the one asked for, or a submodule's.
pub(crate) struct Origin {
    git_dir: PathBuf,
    values: Values,
    /// libgit2 serves one thread a handle: each reader takes one, and the next one finds it here.
    idle: Mutex<Vec<Repository>>,
}

impl Origin {
    pub(crate) fn new(git_dir: &Path, values: Values) -> Self {
        Self {
            git_dir: git_dir.to_path_buf(),
            values,
            idle: Mutex::default(),
        }
    }

    /// The repository's git directory.
    pub(crate) fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// Hands a blob's bytes to `take` as git stores them, without a copy. `path` is for an error.
    pub(crate) fn stored<T>(
        &self,
        id: Oid,
        path: &dyn std::fmt::Display,
        take: impl FnOnce(&[u8]) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let repository = self.handle()?;
        let damaged = |source| Error::Damaged {
            git_dir: self.git_dir.clone(),
            what: format!("{path} ({id})"),
            source,
        };
        let taken = {
            let odb = repository.odb().map_err(damaged)?;
            let object = object::read_file(&odb, id).map_err(damaged)?;
            take(object.data())
        };
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(repository);
        taken
    }

    fn handle(&self) -> Result<Repository, Error> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(repository) => Ok(repository),
            None => repository::open_git_dir(&self.git_dir),
        }
    }

    /// A blob's bytes as they are exported, and the name of an encoding that could not be applied.
    pub(crate) fn convert(
        &self,
        bytes: Vec<u8>,
        id: Oid,
        conversion: &Conversion,
        path: &dyn std::fmt::Display,
    ) -> Result<(Vec<u8>, Option<String>), Error> {
        let (bytes, not_encoded) = conversion.apply(&id.to_string(), bytes);
        if !conversion.subst {
            return Ok((bytes, not_encoded));
        }
        let expanded = subst::expand(&bytes, &self.values).map_err(|refused| Error::Placeholder {
            path: path.to_string(),
            placeholder: refused.placeholder,
            reason: refused.reason,
        })?;
        Ok((expanded, not_encoded))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::commit_text::CommitText;

    fn origin(git_dir: &Path) -> Origin {
        let values = Values {
            id: String::new(),
            text: CommitText::parse(b""),
        };
        Origin::new(git_dir, values)
    }

    /// Every bit of a pack in turn is wrong: a blob is what it was, or an error.
    #[test]
    fn damage_is_an_error_and_never_another_content() {
        object::leave_checks_to_us();
        let dir = tempfile::tempdir().unwrap();
        let repository = Repository::init_bare(dir.path()).unwrap();
        let lines = |last: &str| (0..40).map(|n| format!("line {}\n", n * n)).collect::<String>() + last;
        let contents = [lines("a"), lines("b"), "short".to_owned(), "shirt".to_owned()];
        let ids = contents
            .each_ref()
            .map(|content| repository.blob(content.as_bytes()).unwrap());
        let mut builder = repository.packbuilder().unwrap();
        for id in ids {
            builder.insert_object(id, None).unwrap();
        }
        let packs = dir.path().join("objects/pack");
        builder.write(&packs, 0).unwrap();
        drop(builder);
        drop(repository);
        for id in ids.map(|id| id.to_string()) {
            fs::remove_file(dir.path().join("objects").join(&id[..2]).join(&id[2..])).unwrap();
        }
        let read = |id: Oid| origin(dir.path()).stored(id, &"it", |bytes| Ok(bytes.to_vec()));
        assert_eq!(read(ids[1]).unwrap(), contents[1].as_bytes());
        let mut wrong = Vec::new();
        let mut errors = 0;
        let file = fs::read_dir(&packs)
            .unwrap()
            .map(|item| item.unwrap().path())
            .find(|path| path.extension().unwrap() == "pack")
            .unwrap();
        let whole = fs::read(&file).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // A new file: libgit2 may still have the old one mapped.
            fs::remove_file(&file).unwrap();
            fs::write(&file, damaged).unwrap();
            for (id, content) in ids.iter().zip(&contents) {
                match read(*id) {
                    Ok(bytes) if bytes == content.as_bytes() => {}
                    Ok(_) => wrong.push(bit),
                    Err(_) => errors += 1,
                }
            }
        }
        assert!(errors > 1_000, "{errors}");
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn a_reader_does_not_wait_for_another() {
        let dir = tempfile::tempdir().unwrap();
        let repository = Repository::init_bare(dir.path()).unwrap();
        let (one, two) = (repository.blob(b"one").unwrap(), repository.blob(b"two").unwrap());
        let origin = origin(dir.path());
        let (to, from) = mpsc::channel();
        std::thread::scope(|scope| {
            let read = origin.stored(one, &"one", |bytes| {
                assert_eq!(bytes, b"one");
                // While the first one still has its bytes.
                scope.spawn(|| to.send(origin.stored(two, &"two", |bytes| Ok(bytes.to_vec()))));
                Ok(from.recv_timeout(Duration::from_secs(60)).unwrap())
            });
            assert_eq!(read.unwrap().unwrap(), b"two");
        });
        // Both handles wait for the next readers.
        assert_eq!(origin.idle.lock().unwrap().len(), 2);
    }
}
