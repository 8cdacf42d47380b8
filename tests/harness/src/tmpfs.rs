//! A small file system of its own, to run out of space on.

use std::path::Path;
use std::time::Duration;

use crate::{Cmd, Ran, Tmp};

/// A mounted tmpfs, unmounted on drop.
#[derive(Debug)]
pub struct Tmpfs {
    dir: Tmp,
}

impl Tmpfs {
    /// Mounts one that holds `bytes`.
    ///
    /// # Panics
    /// When it cannot: mounting takes root, or sudo without a password.
    #[track_caller]
    #[must_use]
    pub fn mount(bytes: u64) -> Self {
        let dir = Tmp::new("tmpfs");
        let options = format!("size={bytes},mode=0777");
        let args = ["mount", "-t", "tmpfs", "-o", &options, "tmpfs"];
        let ran = as_root(&args, dir.path());
        assert!(
            ran.code() == Some(0),
            "needs to mount a small tmpfs, to fill it up: run the tests as root, or let sudo work without a \
             password\n{ran}"
        );
        Self { dir }
    }

    /// Its root directory, which anybody may write to.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a process of the test that is about to end may still have its working directory in it.
        let ran = as_root(&["umount", "--lazy"], self.dir.path());
        if ran.code() != Some(0) {
            eprintln!("testbed: cannot unmount {}\n{ran}", self.dir.path().display());
        }
    }
}

fn as_root(words: &[&str], dir: &Path) -> Ran {
    let sudo: &[&str] = if rustix::process::geteuid().is_root() {
        &[]
    } else {
        &["sudo", "-n"]
    };
    let words: Vec<_> = sudo.iter().chain(words).collect();
    Cmd::new(words[0])
        .args(&words[1..])
        .arg(dir)
        .timeout(Duration::from_secs(20))
        .run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io};

    #[test]
    #[ignore = "needs the testbed; run make test"]
    fn it_fills_up_and_is_gone_after_drop() {
        let tmpfs = Tmpfs::mount(64 * 1024);
        let path = tmpfs.path().to_owned();
        let err = fs::write(path.join("big"), vec![1; 1024 * 1024]).unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::StorageFull);
        drop(tmpfs);
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(path.to_str().unwrap()));
        assert!(!path.exists());
    }
}
