//! Tarballs made header by header, and a place to unpack them.

mod hostile;
mod ordinary;

use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use super::*;
use crate::error::ErrorKind;

/// A tar stream under construction.
#[derive(Default, Clone)]
struct Maker(Vec<u8>);

impl Maker {
    fn raw(mut self, flag: u8, name: &[u8], link: &[u8], content: &[u8], mode: u32) -> Self {
        let mut header = tar::Header::new_gnu();
        {
            let fields = header.as_gnu_mut().unwrap();
            fields.name[..name.len()].copy_from_slice(name);
            fields.linkname[..link.len()].copy_from_slice(link);
            fields.typeflag = [flag];
        }
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &[u8]) -> Self {
        self.raw(b'0', name.as_bytes(), b"", content, 0o644)
    }

    fn link(self, flag: u8, name: &str, target: &str) -> Self {
        self.raw(flag, name.as_bytes(), target.as_bytes(), b"", 0o777)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

/// A directory `d` to unpack into, with something beside it that must stay as it is.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.dest()).unwrap();
        fs::create_dir(place.0.path().join("outside")).unwrap();
        fs::write(place.0.path().join("outside/file"), "untouched").unwrap();
        place
    }

    fn dest(&self) -> PathBuf {
        self.0.path().join("d")
    }

    fn unpack(&self, bytes: &[u8]) -> Result<Unpacked, Error> {
        self.unpack_with(bytes, |_| {})
    }

    fn unpack_with(&self, bytes: &[u8], change: impl Fn(&mut UnpackOptions<'_>)) -> Result<Unpacked, Error> {
        let cancel = AtomicBool::new(false);
        let mut options = UnpackOptions::new(&cancel, &|_| {});
        change(&mut options);
        let result = unpack(bytes, &self.dest(), &options);
        let outside: Vec<_> = fs::read_dir(self.0.path().join("outside")).unwrap().collect();
        assert_eq!(outside.len(), 1);
        assert_eq!(
            fs::read(self.0.path().join("outside/file")).unwrap(),
            b"untouched"
        );
        assert_eq!(
            fs::metadata(self.0.path().join("outside/file")).unwrap().nlink(),
            1
        );
        assert_eq!(fs::read_dir(self.0.path()).unwrap().count(), 2);
        result
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dest().join(name)).unwrap()
    }
}

/// A pax record with its length.
fn pax(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let length = (rest.len()..)
        .find(|length| length.to_string().len() + rest.len() == *length)
        .unwrap();
    format!("{length}{rest}").into_bytes()
}

fn fails(bytes: &[u8]) -> Error {
    Place::new().unpack(bytes).unwrap_err()
}
