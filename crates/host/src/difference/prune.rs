//! Removes the layers that no release uses, after all else.

use std::fs;
use std::path::Path;

use super::places::{Places, is_digest};
use crate::error::Error;
use crate::event::Event;
use crate::log::Recorder;

/// Removes marks of releases that are gone, and each layer without marks. The caller holds dest's lock.
pub(crate) fn prune(places: &Places, recorder: &Recorder) {
    if !places.are_ours() {
        return;
    }
    let layers = places.layers();
    let names = fs::read_dir(&layers)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    for name in names.filter(|name| is_digest(name)) {
        let path = places.layer(&name);
        match unused(&path, places) {
            Ok(false) => {}
            Ok(true) => remove(&path, &name, places, recorder),
            Err(error) => recorder.say(Event::NotRemoved {
                path,
                reason: error.to_string(),
            }),
        }
    }
    if let Err(error) = places.clear() {
        recorder.say(Event::NotRemoved {
            path: places.new_dir(),
            reason: error.with_causes(),
        });
    }
}

/// Whether no release uses the layer; marks of releases that are gone go.
fn unused(layer: &Path, places: &Places) -> std::io::Result<bool> {
    let mut unused = true;
    let marks = match fs::read_dir(layer.join("used")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        marks => marks?,
    };
    for mark in marks {
        let mark = mark?;
        let name = mark.file_name();
        let uses = [places.dest.join("releases"), places.dest.join(".incoming")]
            .iter()
            .any(|dir| dir.join(&name).symlink_metadata().is_ok());
        if uses || name == places.release.as_str() {
            unused = false;
        } else {
            fs::remove_file(mark.path())?;
        }
    }
    Ok(unused)
}

/// By a rename first, so that no half of a layer ever stands in its place.
fn remove(path: &Path, name: &str, places: &Places, recorder: &Recorder) {
    let new = places.new_dir();
    let removed = fs::create_dir_all(&new)
        .and_then(|()| fs::rename(path, new.join(format!("{name}.old"))))
        .map_err(|error| Error::disk("removing", path, error));
    recorder.say(match removed {
        Ok(()) => Event::LayerRemoved {
            path: path.to_owned(),
        },
        Err(error) => Event::NotRemoved {
            path: path.to_owned(),
            reason: error.with_causes(),
        },
    });
}
