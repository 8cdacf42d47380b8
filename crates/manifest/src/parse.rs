//! Reads a manifest's YAML as stretcher's go-yaml v2 does.
//!
//! The text is what [`crate::host_template`] gave. Unknown keys are tolerated, as stretcher tolerates them; whether the
//! manifest makes sense is for [`crate::check`].

use serde::Deserialize;
use serde_saphyr::options::DuplicateKeyPolicy;

use crate::error::Error;
use crate::model::{Binding, Commands, Manifest};

/// Reads the manifest. To go-yaml every scalar is good for a string (`checksum: 0123` keeps its zero), null stands for
/// the empty value, octal is written `0755`, and the later of two equal keys wins.
///
/// # Errors
/// [`Error::Yaml`] with the place when the text is not YAML or not of a manifest's shape, [`Error::NoDest`] when there
/// is a `src` without a `dest` (stretcher refuses to load that).
pub fn parse(text: &str) -> Result<Manifest, Error> {
    let raw: Option<Raw> = match serde_saphyr::from_str_with_options(text, options()) {
        // Of several documents, go-yaml reads the first.
        Err(serde_saphyr::Error::MultipleDocuments { .. }) => {
            serde_saphyr::read_with_options(&mut text.as_bytes(), options())
                .next()
                .transpose()
        }
        read => read,
    }
    .map_err(|error| yaml(&error))?;
    let raw = raw.unwrap_or_default();
    let commands = raw.commands.unwrap_or_default();
    let manifest = Manifest {
        src: filled(raw.src),
        checksum: filled(raw.checksum),
        dest: filled(raw.dest),
        dest_mode: raw.dest_mode.map(|mode| mode.0),
        commands: Commands {
            pre: list(commands.pre),
            post: list(commands.post),
            success: list(commands.success),
            failure: list(commands.failure),
        },
        excludes: list(raw.excludes),
        exclude_from: filled(raw.exclude_from),
        sync_strategy: filled(raw.sync_strategy),
        shipit: raw.shipit,
    };
    if manifest.src.is_some() && manifest.dest.is_none() {
        return Err(Error::NoDest);
    }
    Ok(manifest)
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        with_snippet: false,
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    src: Option<String>,
    checksum: Option<String>,
    dest: Option<String>,
    dest_mode: Option<FileMode>,
    commands: Option<RawCommands>,
    excludes: RawList,
    exclude_from: Option<String>,
    sync_strategy: Option<String>,
    shipit: Option<Binding>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawCommands {
    pre: RawList,
    post: RawList,
    success: RawList,
    failure: RawList,
}

/// A list, null for the empty one; a null in it is an empty string.
type RawList = Option<Vec<Option<String>>>;

fn list(raw: RawList) -> Vec<String> {
    raw.unwrap_or_default()
        .into_iter()
        .map(Option::unwrap_or_default)
        .collect()
}

fn filled(raw: Option<String>) -> Option<String> {
    raw.filter(|text| !text.is_empty())
}

/// Go's `os.FileMode` as go-yaml reads an unsigned integer of 32 bits.
struct FileMode(u32);

impl<'de> Deserialize<'de> for FileMode {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        go_integer(&text)
            .or_else(|| go_float(&text))
            .map(FileMode)
            .ok_or_else(|| {
                serde::de::Error::custom(format!(
                    "dest_mode {text:?} is not a number of a file mode, such as 0755"
                ))
            })
    }
}

/// Go's `ParseInt(s, 0, 64)` with underscores left out: 0755 and 0o755 octal, 0x hexadecimal, 0b binary.
fn go_integer(text: &str) -> Option<u32> {
    let plain = text.replace('_', "");
    let plain = plain.strip_prefix('+').unwrap_or(&plain);
    let lower = plain.to_ascii_lowercase();
    let (digits, radix) = if let Some(digits) = lower.strip_prefix("0x") {
        (digits, 16)
    } else if let Some(digits) = lower.strip_prefix("0b") {
        (digits, 2)
    } else if let Some(digits) = lower.strip_prefix("0o") {
        (digits, 8)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (&lower[1..], 8)
    } else {
        (lower.as_str(), 10)
    };
    if digits.starts_with(['+', '-']) {
        None
    } else {
        u32::from_str_radix(digits, radix).ok()
    }
}

/// Go's float, which go-yaml cuts down to the integer.
fn go_float(text: &str) -> Option<u32> {
    let (whole, fraction) = text.strip_prefix('+').unwrap_or(text).split_once('.')?;
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if digits(whole) && digits(fraction) {
        whole.parse().ok()
    } else {
        None
    }
}

fn yaml(error: &serde_saphyr::Error) -> Error {
    let place = error.location();
    let reason = error.without_snippet().to_string();
    Error::Yaml {
        line: place.map_or(0, |place| place.line()),
        column: place.map_or(0, |place| place.column()),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_texts_whatever_they_look_like() {
        let text = "src: s3://b/k\nchecksum: 00012345678901234567890123456789\ndest: 12\nexcludes: [1, yes, ~, 1e3]\n";
        let manifest = parse(text).unwrap();
        assert_eq!(
            manifest.checksum.as_deref(),
            Some("00012345678901234567890123456789")
        );
        assert_eq!(manifest.dest.as_deref(), Some("12"));
        assert_eq!(manifest.excludes, ["1", "yes", "", "1e3"]);
    }

    #[test]
    fn dest_mode_is_read_as_go_reads_it() {
        for (text, mode) in [
            ("0751", 0o751),
            ("0o751", 0o751),
            ("0x1e9", 0o751),
            ("489", 0o751),
            ("0b11", 3),
            ("\"0755\"", 0o755),
        ] {
            assert_eq!(
                parse(&format!("dest_mode: {text}")).unwrap().dest_mode,
                Some(mode),
                "{text}"
            );
        }
        assert_eq!(parse("dest_mode:\n").unwrap().dest_mode, None);
        for text in ["rwx", "-1", "0899", "[1]"] {
            assert!(parse(&format!("dest_mode: {text}")).is_err(), "{text}");
        }
    }

    #[test]
    fn anchors_blocks_comments_and_unknown_keys() {
        let text = "# a manifest\nx-common: &c\n  - |\n    a\n      b\n  - >-\n    c\n    d\ncommands:\n  pre: *c # here\n  \
                    post: &p [e]\n  success: *p\n  other: 1\nunknown: {a: [1, !odd 2]}\n";
        let manifest = parse(text).unwrap();
        assert_eq!(manifest.commands.pre, ["a\n  b\n", "c d"]);
        assert_eq!(manifest.commands.post, manifest.commands.success);
        let merged = parse("base: &b {src: file:///x, dest: /y}\n<<: *b\ndest: /z\n").unwrap();
        assert_eq!(
            (merged.src.as_deref(), merged.dest.as_deref()),
            (Some("file:///x"), Some("/z"))
        );
    }

    #[test]
    fn the_later_of_two_keys_wins_and_nothing_is_something() {
        assert_eq!(parse("dest: /a\ndest: /b").unwrap().dest.as_deref(), Some("/b"));
        assert_eq!(parse("").unwrap(), Manifest::default());
        assert_eq!(parse("commands:\n  pre:\n").unwrap(), Manifest::default());
        assert!(matches!(parse("src: file:///x").unwrap_err(), Error::NoDest));
    }

    #[test]
    fn what_is_no_manifest_is_refused_with_its_place() {
        for text in [
            "[1]",
            "src: [a]",
            "\ncommands: text",
            "\ncommands:\n  pre: text",
            "a: b: c",
            "shipit: {app: x}",
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                matches!(&error, Error::Yaml { line, reason, .. } if *line > 0 && !reason.is_empty()),
                "{text}: {error:?}"
            );
        }
    }
}
