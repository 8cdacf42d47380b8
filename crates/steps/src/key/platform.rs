//! The machine that a step runs on, as far as compiled code depends on it.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

/// The machine that a step runs on, as far as compiled code depends on it. Displayed as `linux debian 12, x86_64, glibc 2.36`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// The kernel and the distribution: `linux debian 12`. Two distributions with one libc have other libraries beside it.
    pub os: String,
    /// The processor: `x86_64`.
    pub arch: String,
    /// The C library and its version: `glibc 2.36`, `musl 1.2.4`; `unknown` where neither is found.
    pub libc: String,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {}", self.os, self.arch, self.libc)
    }
}

/// The platform of this machine. The C library is the system's, whatever this program itself is linked to.
#[must_use]
pub fn platform() -> Platform {
    let arch = std::env::consts::ARCH;
    let release = ["/etc/os-release", "/usr/lib/os-release"]
        .iter()
        .find_map(|file| fs::read_to_string(file).ok())
        .unwrap_or_default();
    let os = format!("{} {}", std::env::consts::OS, distribution(&release));
    Platform {
        os: os.trim().to_owned(),
        arch: arch.to_owned(),
        libc: glibc(arch)
            .or_else(|| musl(arch))
            .unwrap_or_else(|| "unknown".to_owned()),
    }
}

/// `debian 12`: what os-release says of name and version.
fn distribution(release: &str) -> String {
    let value = |name: &str| {
        let found = release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        found.map(|value| value.trim().trim_matches(['"', '\'']).to_owned())
    };
    let parts = [value("ID"), value("VERSION_ID")];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// glibc says its release in the library itself, where it lies on the distributions that there are.
fn glibc(arch: &str) -> Option<String> {
    let places = [
        format!("/lib/{arch}-linux-gnu/libc.so.6"),
        "/lib64/libc.so.6".to_owned(),
        "/usr/lib64/libc.so.6".to_owned(),
        "/usr/lib/libc.so.6".to_owned(),
        "/lib/libc.so.6".to_owned(),
    ];
    let bytes = places.iter().find_map(|place| fs::read(place).ok())?;
    release_in(&bytes).map(|version| format!("glibc {version}"))
}

/// The version in `GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.`
fn release_in(library: &[u8]) -> Option<String> {
    const BEFORE: &[u8] = b" release version ";
    let at = library
        .windows(BEFORE.len())
        .position(|window| window == BEFORE)?
        + BEFORE.len();
    let version: String = library
        .get(at..)?
        .iter()
        .map(|byte| char::from(*byte))
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    let version = version.trim_end_matches('.');
    (!version.is_empty()).then(|| version.to_owned())
}

/// musl's loader tells its version when it is run with nothing to load.
fn musl(arch: &str) -> Option<String> {
    let loader = format!("/lib/ld-musl-{arch}.so.1");
    if !Path::new(&loader).exists() {
        return None;
    }
    let output = Command::new(&loader)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let version = text.lines().find_map(|line| line.strip_prefix("Version "))?;
    Some(format!("musl {}", version.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_and_the_library_are_found_in_their_files() {
        let release = "NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nVERSION=\"12 (bookworm)\"\nID=debian\n";
        assert_eq!(distribution(release), "debian 12");
        assert_eq!(distribution("ID=arch\nID_LIKE='x'\n"), "arch");
        let library = b"\0\x01GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.\nCopyright";
        assert_eq!(release_in(library).as_deref(), Some("2.36"));
        assert_eq!(release_in(b"nothing of the kind"), None);
    }

    #[test]
    fn this_machine_has_a_libc_with_a_version() {
        let here = platform();
        let (name, version) = here.libc.split_once(' ').unwrap();
        assert!(["glibc", "musl"].contains(&name), "{here}");
        assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{here}");
        assert_eq!(here, platform());
    }
}
