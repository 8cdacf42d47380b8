//! Reading a directory store: files, ranges, listings, etags.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::RESERVED;
use crate::download::{Head, Source};
use crate::{Download, Error, Meta};

/// Up to here an etag is made from the content: two writes within one tick of the clock, in a file whose number was
/// used again, are still told apart. Mutable objects are small.
const ETAG_OF_CONTENT: u64 = 1 << 20;

/// A local disk that gives nothing for so long (a dead NFS server) is an error.
const STALL: Duration = Duration::from_secs(60);

/// Opens a file, or the bytes of it that the range names.
pub(crate) async fn open_file(path: &Path, url: &str, range: Option<Range<u64>>) -> Result<Download, Error> {
    let (path, url) = (path.to_owned(), url.to_owned());
    let opened = tokio::task::spawn_blocking(move || open(&path, &url, range)).await;
    opened.map_err(|source| Error::Task { source })?
}

fn open(path: &Path, url: &str, range: Option<Range<u64>>) -> Result<Download, Error> {
    let mut file = open_regular(path)?.ok_or_else(|| Error::NotFound { url: url.to_owned() })?;
    let metadata = file
        .metadata()
        .map_err(|source| Error::io("read", path, source))?;
    let size = metadata.len();
    let etag = etag(&mut file, &metadata).map_err(|source| Error::io("read", path, source))?;
    let range = clamp(range, size, url)?;
    file.seek(SeekFrom::Start(range.start))
        .map_err(|source| Error::io("read", path, source))?;
    let head = Head {
        url: url.to_owned(),
        len: Some(range.end - range.start),
        total: Some(size),
        etag: Some(etag),
        stall: STALL,
    };
    Ok(Download::new(head, Source::File(file.into())))
}

/// The range within the object; one that starts at or beyond its end, or is empty, is an error.
pub(crate) fn clamp(range: Option<Range<u64>>, size: u64, url: &str) -> Result<Range<u64>, Error> {
    let Some(range) = range else {
        return Ok(0..size);
    };
    if range.start >= range.end || range.start >= size {
        let (url, size) = (url.to_owned(), format!("{size} bytes"));
        return Err(Error::OutOfRange {
            url,
            start: range.start,
            end: range.end,
            size,
        });
    }
    Ok(range.start..range.end.min(size))
}

/// The file, when there is one; a directory is no object.
pub(super) fn open_regular(path: &Path) -> Result<Option<File>, Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if absent(&error) => return Ok(None),
        Err(source) => return Err(Error::io("read", path, source)),
    };
    let metadata = file
        .metadata()
        .map_err(|source| Error::io("read", path, source))?;
    Ok(metadata.is_file().then_some(file))
}

fn absent(error: &io::Error) -> bool {
    // Below a file there is nothing either.
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

pub(super) fn meta(path: &Path, key: &str) -> Result<Option<Meta>, Error> {
    let Some(mut file) = open_regular(path)? else {
        return Ok(None);
    };
    let failed = |source| Error::io("read", path, source);
    let metadata = file.metadata().map_err(failed)?;
    let etag = etag(&mut file, &metadata).map_err(failed)?;
    Ok(Some(Meta {
        key: key.to_owned(),
        size: metadata.len(),
        etag,
        modified: metadata.mtime(),
    }))
}

fn etag(file: &mut File, metadata: &Metadata) -> io::Result<String> {
    if metadata.len() > ETAG_OF_CONTENT {
        return Ok(etag_of_file(metadata));
    }
    let mut content = Vec::new();
    file.take(ETAG_OF_CONTENT).read_to_end(&mut content)?;
    Ok(etag_of(&content))
}

fn etag_of_file(metadata: &Metadata) -> String {
    let (time, nanos) = (metadata.mtime(), metadata.mtime_nsec());
    format!("{time:x}.{nanos:x}-{:x}-{:x}", metadata.len(), metadata.ino())
}

/// The etag of small content.
pub(super) fn etag_of(content: &[u8]) -> String {
    shipit_artifact::sha256(content).to_string()
}

/// Every object below the prefix, sorted by key.
pub(super) fn list(root: &Path, prefix: &str, stop: &AtomicBool) -> Result<Vec<Meta>, Error> {
    let mut found = Vec::new();
    walk(root, prefix, &mut |path, key| {
        if let Some(meta) = meta(path, key)? {
            found.push(meta);
        }
        Ok(!stop.load(Ordering::Relaxed))
    })?;
    found.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}

/// The names of the directories directly below the prefix that hold an object somewhere.
pub(super) fn children(root: &Path, prefix: &str) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for (name, path) in entries(&root.join(prefix))? {
        let mut any = false;
        if path.is_dir() {
            walk(root, &format!("{prefix}{name}/"), &mut |_, _| {
                any = true;
                Ok(false)
            })?;
        }
        if any {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Calls `visit` for every file below the prefix until it says no.
fn walk(
    root: &Path,
    prefix: &str,
    visit: &mut dyn FnMut(&Path, &str) -> Result<bool, Error>,
) -> Result<(), Error> {
    let mut open = vec![prefix.to_owned()];
    while let Some(prefix) = open.pop() {
        for (name, path) in entries(&root.join(&prefix))? {
            let key = format!("{prefix}{name}");
            // What vanishes between the listing and the look was deleted: it is no object any more.
            let Ok(metadata) = path.metadata() else { continue };
            if metadata.is_dir() {
                open.push(format!("{key}/"));
            } else if metadata.is_file() && !visit(&path, &key)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The names in a directory that can be part of a key; none when there is no such directory.
fn entries(directory: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let failed = |source| Error::io("list", directory, source);
    let reader = match directory.read_dir() {
        Ok(reader) => reader,
        Err(error) if absent(&error) => return Ok(Vec::new()),
        Err(source) => return Err(failed(source)),
    };
    let mut found = Vec::new();
    for entry in reader {
        let entry = entry.map_err(failed)?;
        if let Ok(name) = entry.file_name().into_string()
            && !name.starts_with(RESERVED)
        {
            found.push((name, entry.path()));
        }
    }
    Ok(found)
}
