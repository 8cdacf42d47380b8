//! A small file system of its own, to run out of space on.

use std::path::Path;
use std::time::Duration;

use crate::{Cmd, Testbed, Tmp, tools};

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
        if let Err(why) = as_root(&args, dir.path()) {
            panic!(
                "needs to mount a small tmpfs, to fill it up: run the tests as root, or let sudo work without a \
                 password\n{why}"
            );
        }
        Self { dir }
    }

    /// Lets nobody write to it any more, root neither.
    ///
    /// # Panics
    /// When it cannot.
    #[track_caller]
    pub fn read_only(&self) {
        if let Err(why) = as_root(&["mount", "-o", "remount,ro"], self.path()) {
            panic!("cannot make {} read-only\n{why}", self.path().display());
        }
    }

    /// Gives it another size.
    ///
    /// # Panics
    /// When it cannot.
    #[track_caller]
    pub fn resize(&self, bytes: u64) {
        let options = format!("remount,size={bytes}");
        if let Err(why) = as_root(&["mount", "-o", &options], self.path()) {
            panic!("cannot resize {}\n{why}", self.path().display());
        }
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
        if let Err(why) = as_root(&["umount", "--lazy"], self.dir.path()) {
            eprintln!("testbed: cannot unmount {}\n{why}", self.dir.path().display());
        }
    }
}

fn as_root(words: &[&str], dir: &Path) -> Result<(), String> {
    let root = rustix::process::geteuid().is_root();
    if !root && tools::find("sudo", Testbed::get().path()).is_none() {
        return Err("this user is not root, and there is no sudo".to_owned());
    }
    let sudo: &[&str] = if root { &[] } else { &["sudo", "-n"] };
    let words: Vec<_> = sudo.iter().chain(words).collect();
    let ran = Cmd::new(words[0])
        .args(&words[1..])
        .arg(dir)
        .timeout(Duration::from_secs(20))
        .run();
    if ran.code() == Some(0) {
        Ok(())
    } else {
        Err(ran.to_string())
    }
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
        tmpfs.resize(4 * 1024 * 1024);
        fs::write(path.join("big"), vec![1; 1024 * 1024]).unwrap();
        drop(tmpfs);
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(path.to_str().unwrap()));
        assert!(!path.exists());
    }
}
