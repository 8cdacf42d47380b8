//! What is known of the tree from one build to the next, in `state/` beside it.
//!
//! | file | what |
//! |---|---|
//! | `tree` | the planned files as the last update left them |
//! | `layer-<key>` | a layer that stands in the tree, as it was left |
//! | `parked-<key>` | a layer that is parked, as it lies there |
//! | `updating` | an update has begun to change the tree, and has not ended: nothing else here counts |

use std::fs;
use std::io;
use std::path::PathBuf;

use super::codec::{Recorded, TreeState, decode_layer, decode_tree, encode_layer, encode_tree};
use super::error::KeptError;
use super::layer::Layer;
use super::standing::{Time, let_clock_pass};

const TREE: &str = "tree";
const UPDATING: &str = "updating";

/// Where a layer is that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lies {
    InTree,
    Parked,
}

/// Tells one start of the machine from another. Where it is missing all count as one.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Why nothing is known of the tree that was found, so that the next update makes all of it anew; what lies in `keep`
/// survives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Distrust {
    /// An update did not come to its end.
    Interrupted,
    /// The state cannot be used: why, as in "its state is damaged".
    Damaged(String),
    /// The machine was started anew since: what was written before may not have reached the disk.
    Rebooted,
}

/// The directory of the state.
#[derive(Debug)]
pub(super) struct State {
    dir: PathBuf,
    boot: String,
}

impl State {
    /// Opens it and reads what is known of the planned files: `None` when nothing is, and why when something should be.
    /// What cannot be trusted is removed.
    #[expect(
        clippy::type_complexity,
        reason = "two independent answers, taken apart at once"
    )]
    pub(super) fn open(dir: PathBuf) -> Result<(Self, Option<Vec<Recorded>>, Option<Distrust>), KeptError> {
        fs::create_dir_all(&dir).map_err(|error| KeptError::io("make the directory", &dir, error))?;
        let boot = fs::read_to_string(BOOT_ID).unwrap_or_default();
        let state = Self {
            dir,
            boot: boot.trim().to_owned(),
        };
        let (known, distrust) = match state.read_tree()? {
            None => (None, None),
            Some(Ok(known)) => (Some(known), None),
            Some(Err(distrust)) => (None, Some(distrust)),
        };
        if known.is_none() {
            state.forget()?;
        }
        Ok((state, known, distrust))
    }

    fn read_tree(&self) -> Result<Option<Result<Vec<Recorded>, Distrust>>, KeptError> {
        if self.is_begun() {
            return Ok(Some(Err(Distrust::Interrupted)));
        }
        let Some(stored) = self.read(TREE)? else {
            return Ok(None);
        };
        Ok(Some(match decode_tree(&stored) {
            Ok(state) if state.boot == self.boot => Ok(state.files),
            Ok(_) => Err(Distrust::Rebooted),
            Err(why) => Err(Distrust::Damaged(why)),
        }))
    }

    /// Removes all that is known: the mark of an update last, since it alone says that the rest does not count.
    pub(super) fn forget(&self) -> Result<(), KeptError> {
        self.remove(TREE)?;
        for lies in [Lies::InTree, Lies::Parked] {
            for key in self.layers(lies)? {
                self.remove_layer(lies, &key)?;
            }
        }
        self.remove(UPDATING)
    }

    /// Says that the tree is being changed, until [`State::ends`].
    pub(super) fn begins(&self) -> Result<(), KeptError> {
        let path = self.path(UPDATING);
        fs::write(&path, []).map_err(|error| KeptError::io("write", &path, error))
    }

    /// Whether the tree is being changed.
    pub(super) fn is_begun(&self) -> bool {
        self.path(UPDATING).exists()
    }

    /// Says that the tree is whole.
    pub(super) fn ends(&self) -> Result<(), KeptError> {
        self.remove(UPDATING)
    }

    pub(super) fn write_tree(&self, files: Vec<Recorded>) -> Result<Vec<Recorded>, KeptError> {
        let state = TreeState {
            boot: self.boot.clone(),
            files,
        };
        self.write(TREE, &encode_tree(&state))?;
        Ok(state.files)
    }

    /// The keys of the layers there, sorted.
    pub(super) fn layers(&self, lies: Lies) -> Result<Vec<String>, KeptError> {
        let failed = |error| KeptError::io("list", &self.dir, error);
        let mut keys = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if let Some(key) = name.to_str().and_then(|name| name.strip_prefix(lies.prefix())) {
                keys.push(key.to_owned());
            }
        }
        keys.sort();
        Ok(keys)
    }

    /// The layer as it was left; `None` when it is not there, or what is known of it cannot be used.
    pub(super) fn read_layer(&self, lies: Lies, key: &str) -> Result<Option<Layer>, KeptError> {
        check_key(key)?;
        let stored = self.read(&lies.name(key))?;
        let layer = stored.and_then(|stored| decode_layer(&stored).ok());
        Ok(layer.filter(|layer| layer.key == key))
    }

    pub(super) fn write_layer(&self, lies: Lies, layer: &Layer) -> Result<(), KeptError> {
        check_key(&layer.key)?;
        self.write(&lies.name(&layer.key), &encode_layer(layer))
    }

    pub(super) fn remove_layer(&self, lies: Lies, key: &str) -> Result<(), KeptError> {
        self.remove(&lies.name(key))
    }

    /// Returns when no change that is made from now on can have the time `newest`.
    pub(super) fn let_clock_pass(&self, newest: Time) -> Result<(), KeptError> {
        let probe = self.path("clock");
        let_clock_pass(&probe, newest).map_err(|error| KeptError::io("write", &probe, error))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, KeptError> {
        let path = self.path(name);
        match fs::read(&path) {
            Ok(stored) => Ok(Some(stored)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            // Whatever put it there, it is no state: as one that is empty.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => Ok(Some(Vec::new())),
            Err(error) => Err(KeptError::io("read", &path, error)),
        }
    }

    /// No sync: after a crash of the machine nothing of it is used. What was there is removed first, since some file
    /// systems bring a file to the disk that is renamed over another.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), KeptError> {
        self.remove(name)?;
        let (aside, path) = (self.path("new"), self.path(name));
        let written = fs::write(&aside, bytes).and_then(|()| fs::rename(&aside, &path));
        written.map_err(|error| {
            let _ = fs::remove_file(&aside);
            KeptError::io("write", &path, error)
        })
    }

    fn remove(&self, name: &str) -> Result<(), KeptError> {
        let path = self.path(name);
        let removed = match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => fs::remove_dir_all(&path),
            other => other,
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(KeptError::io("remove", &path, error))
            }
            _ => Ok(()),
        }
    }
}

impl Lies {
    /// What its files are called, the key behind it.
    fn prefix(self) -> &'static str {
        match self {
            Self::InTree => "layer-",
            Self::Parked => "parked-",
        }
    }

    fn name(self, key: &str) -> String {
        format!("{}{key}", self.prefix())
    }
}

/// A key names a file.
fn check_key(key: &str) -> Result<(), KeptError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if (1..=128).contains(&key.len()) && key.bytes().all(fits) {
        return Ok(());
    }
    Err(KeptError::Key { key: key.to_owned() })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_directory_in_a_state_files_place_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("tree/inner")).unwrap();
        let (state, known, distrust) = State::open(dir.path().to_path_buf()).unwrap();
        assert!(
            known.is_none() && matches!(distrust, Some(Distrust::Damaged(_))),
            "{distrust:?}"
        );
        state.write_tree(Vec::new()).unwrap();
        let (_, known, distrust) = State::open(dir.path().to_path_buf()).unwrap();
        assert!(known.is_some() && distrust.is_none());
    }

    use super::super::standing::Standing;
    use super::*;

    fn known() -> Vec<Recorded> {
        vec![Recorded {
            path: b"a".to_vec(),
            identity: [1; 32],
            standing: Standing::directory(0o040_755),
        }]
    }

    fn layer(key: &str) -> Layer {
        Layer {
            key: key.to_owned(),
            owned: Vec::new(),
            tops: Vec::new(),
            directories: Vec::new(),
        }
    }

    #[test]
    fn what_is_known_is_there_at_the_next_opening_until_something_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let open = || State::open(dir.path().join("state")).unwrap();
        let file = |name: &str| dir.path().join("state").join(name);
        assert_eq!((open().1, open().2), (None, None));
        let fill = || {
            let (state, ..) = open();
            state.write_tree(known()).unwrap();
            state.write_layer(Lies::InTree, &layer("k-1")).unwrap();
            state
        };
        fill();
        let (state, found, distrust) = open();
        assert_eq!((found, distrust), (Some(known()), None));
        assert_eq!(state.layers(Lies::InTree).unwrap(), ["k-1"]);
        assert_eq!(state.read_layer(Lies::InTree, "k-1").unwrap(), Some(layer("k-1")));
        assert_eq!(state.read_layer(Lies::InTree, "k-2").unwrap(), None);

        let is_distrusted = |expected: &Distrust| {
            let (state, found, distrust) = open();
            assert_eq!((found, distrust.as_ref()), (None, Some(expected)));
            assert_eq!(state.layers(Lies::InTree).unwrap(), [""; 0]);
            assert_eq!((open().1, open().2), (None, None));
        };
        fill().begins().unwrap();
        is_distrusted(&Distrust::Interrupted);
        let state = fill();
        state.begins().unwrap();
        state.ends().unwrap();
        assert_eq!(open().1, Some(known()));
        let other = State {
            boot: "an earlier one".to_owned(),
            ..fill()
        };
        other.write_tree(known()).unwrap();
        is_distrusted(&Distrust::Rebooted);
        fill();
        fs::write(file(TREE), "no state whatsoever, but long enough for one").unwrap();
        is_distrusted(&Distrust::Damaged(
            "its state is of another version of shipit, or none at all".to_owned(),
        ));
    }

    #[test]
    fn a_layer_whose_state_is_damaged_or_anothers_does_not_stand() {
        let dir = tempfile::tempdir().unwrap();
        let (state, ..) = State::open(dir.path().join("state")).unwrap();
        state.write_layer(Lies::InTree, &layer("a")).unwrap();
        fs::copy(state.path("layer-a"), state.path("layer-b")).unwrap();
        assert_eq!(state.read_layer(Lies::InTree, "b").unwrap(), None);
        fs::write(state.path("layer-a"), "x").unwrap();
        assert_eq!(state.read_layer(Lies::InTree, "a").unwrap(), None);
        for key in ["", "../x", "a/b", &"x".repeat(129)] {
            assert!(matches!(
                state.read_layer(Lies::InTree, key),
                Err(KeptError::Key { .. })
            ));
        }
    }
}
