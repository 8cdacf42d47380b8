//! Judges a manifest before it is uploaded: what would make stretcher, the shell or rsync fail on every host.
//!
//! It looks at the manifest alone: whether the artifact is there is for publish.

use std::fmt;

use serde::Serialize;

use crate::go_template::UNKNOWN;
use crate::model::{Commands, Manifest};

/// One thing that is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The manifest's key, such as `commands.post[1]`.
    pub field: String,
    /// What is wrong, as the rest of a sentence that the field begins.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} {}", self.field, self.reason)
    }
}

/// The kernel takes no longer single argument than this (MAX_ARG_STRLEN less its end), and a command is one.
const LONGEST_COMMAND: usize = 128 * 1024 - 1;

/// Finds all that is wrong with the manifest.
///
/// # Errors
/// The problems, at least one, in the order of the manifest's keys.
pub fn check(manifest: &Manifest) -> Result<(), Vec<Problem>> {
    let mut found = Found(Vec::new());
    found.source(manifest);
    found.dest(manifest);
    found.commands(&manifest.commands, manifest.src.is_none());
    for (at, pattern) in manifest.excludes.iter().enumerate() {
        found.text(&format!("excludes[{at}]"), pattern);
    }
    if let Some(file) = known(manifest.exclude_from.as_deref()) {
        found.text("exclude_from", file);
        if file.starts_with('/') || file.split('/').any(|part| part == "..") {
            found.add("exclude_from", "must lie in the artifact's tree");
        }
    }
    match known(manifest.sync_strategy.as_deref()) {
        None | Some("rsync" | "mv") => {}
        Some(other) => found.add(
            "sync_strategy",
            format!("is {other:?}; stretcher knows rsync and mv"),
        ),
    }
    if found.0.is_empty() { Ok(()) } else { Err(found.0) }
}

/// A value that the host's environment decides cannot be judged here.
fn known(value: Option<&str>) -> Option<&str> {
    value.filter(|value| !value.contains(UNKNOWN))
}

struct Found(Vec<Problem>);

impl Found {
    fn add(&mut self, field: &str, reason: impl Into<String>) {
        self.0.push(Problem {
            field: field.to_owned(),
            reason: reason.into(),
        });
    }

    fn text(&mut self, field: &str, value: &str) {
        if value.is_empty() {
            self.add(field, "is empty");
        }
        if value.contains('\0') {
            self.add(field, "holds a NUL, which no argument of a program can");
        }
    }

    fn source(&mut self, manifest: &Manifest) {
        if manifest.src.is_none() {
            if manifest.checksum.is_some() {
                self.add("checksum", "is given without a src");
            }
            return;
        }
        if let Some(src) = known(manifest.src.as_deref()) {
            self.url(src);
        }
        match manifest.checksum.as_deref() {
            None => self.add("checksum", "is missing; stretcher fetches nothing without one"),
            Some(sum) => {
                if let Some(sum) = known(Some(sum)) {
                    self.checksum(sum);
                }
            }
        }
    }

    fn checksum(&mut self, sum: &str) {
        if !matches!(sum.len(), 32 | 40 | 64 | 128) {
            let reason = format!(
                "has {} characters; MD5 has 32, SHA-1 40, SHA-256 64, SHA-512 128 hex digits",
                sum.len()
            );
            self.add("checksum", reason);
        } else if !sum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            self.add("checksum", "is not hexadecimal");
        }
    }

    fn url(&mut self, src: &str) {
        self.text("src", src);
        let Some((scheme, rest)) = src.split_once("://") else {
            return self.add(
                "src",
                format!("{src:?} is not a URL of s3, gs, http, https or file"),
            );
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        match scheme {
            "s3" | "gs" if authority.is_empty() || path.is_empty() => {
                self.add("src", format!("{src:?} names no bucket or no key"));
            }
            "http" | "https" if authority.is_empty() => self.add("src", format!("{src:?} names no host")),
            "file" if !authority.is_empty() => {
                self.add(
                    "src",
                    format!("{src:?} is not absolute: a file URL has three slashes"),
                );
            }
            "s3" | "gs" | "http" | "https" | "file" => {}
            other => self.add(
                "src",
                format!("has the scheme {other:?}; stretcher knows s3, gs, http, https, file"),
            ),
        }
        // stretcher logs the whole manifest. The URL is not repeated: it holds the secret.
        if authority
            .rsplit_once('@')
            .is_some_and(|(user, _)| user.contains(':'))
        {
            self.add(
                "src",
                "holds a password; hosts log their manifests, so give them credentials of their own",
            );
        }
        if src.contains("X-Amz-Signature=") || src.contains("X-Goog-Signature=") {
            self.add(
                "src",
                "is a presigned URL; hosts log their manifests, so give them credentials of their own",
            );
        }
    }

    fn dest(&mut self, manifest: &Manifest) {
        if let Some(dest) = known(manifest.dest.as_deref()) {
            self.text("dest", dest);
            if !dest.starts_with('/') {
                self.add("dest", format!("{dest:?} is not absolute"));
            } else if dest.split('/').all(|part| matches!(part, "" | ".")) {
                self.add("dest", "is the root directory, which rsync --delete would empty");
            }
            if dest.split('/').any(|part| part == "..") {
                self.add("dest", format!("{dest:?} has a '..' in it"));
            }
        }
        if manifest.dest_mode.is_some_and(|mode| mode > 0o7777) {
            self.add("dest_mode", "is not a file mode; write it in octal, such as 0755");
        }
    }

    fn commands(&mut self, commands: &Commands, needed: bool) {
        if needed && commands.is_empty() {
            self.add(
                "commands",
                "are empty and there is no src: the manifest would do nothing",
            );
        }
        for (name, list) in commands.lists() {
            for (at, command) in list.iter().enumerate() {
                let field = format!("commands.{name}[{at}]");
                if command.trim().is_empty() {
                    self.add(&field, "is empty");
                }
                if command.contains('\0') {
                    self.add(&field, "holds a NUL, which no argument of a program can");
                }
                if command.len() > LONGEST_COMMAND {
                    let reason = format!("has {} bytes; the kernel takes {LONGEST_COMMAND}", command.len());
                    self.add(&field, reason);
                }
            }
        }
    }
}
