//! Text encodings: UTF-8 into what `working-tree-encoding` names, and commit messages into UTF-8. The Unicode encodings
//! follow glibc's iconv (which git uses on Linux) in byte order and mark; the legacy ones come from encoding_rs.

/// An encoding that git's `working-tree-encoding` may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Utf16 { big: bool, mark: bool },
    Utf32 { big: bool, mark: bool },
    Latin1,
    Legacy(&'static encoding_rs::Encoding),
}

impl Encoding {
    /// By the name that stands in the attribute; `None` for an unknown one.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let plain = name.to_ascii_uppercase().replace('_', "-");
        let plain = plain.strip_prefix("UTF").map_or(plain.clone(), |rest| {
            format!("UTF-{}", rest.trim_start_matches('-'))
        });
        Some(match plain.as_str() {
            "UTF-16" | "UTF-16LE-BOM" => Self::Utf16 {
                big: false,
                mark: true,
            },
            "UTF-16BE-BOM" => Self::Utf16 {
                big: true,
                mark: true,
            },
            "UTF-16LE" => Self::Utf16 {
                big: false,
                mark: false,
            },
            "UTF-16BE" => Self::Utf16 {
                big: true,
                mark: false,
            },
            "UTF-32" => Self::Utf32 {
                big: false,
                mark: true,
            },
            "UTF-32LE" => Self::Utf32 {
                big: false,
                mark: false,
            },
            "UTF-32BE" => Self::Utf32 {
                big: true,
                mark: false,
            },
            // encoding_rs takes windows-1252 for Latin-1, as browsers do.
            "ISO-8859-1" | "ISO8859-1" | "LATIN1" | "LATIN-1" | "L1" => Self::Latin1,
            _ => Self::Legacy(legacy(&plain)?),
        })
    }
}

fn legacy(name: &str) -> Option<&'static encoding_rs::Encoding> {
    let known = match name {
        "CP932" | "WINDOWS-31J" | "SJIS" | "SHIFT-JIS" | "MS932" => "shift_jis",
        "EUCJP" | "EUC-JP" => "euc-jp",
        "EUCKR" | "EUC-KR" => "euc-kr",
        "CP936" => "gbk",
        "CP949" => "euc-kr",
        "CP950" => "big5",
        "KOI8-R" => "koi8-r",
        other => match other.strip_prefix("CP125") {
            Some(rest) => return encoding_rs::Encoding::for_label(format!("windows-125{rest}").as_bytes()),
            None => other,
        },
    };
    // A browser's label for ASCII means windows-1252, and its "replacement" encoding means nothing here.
    let found = encoding_rs::Encoding::for_label(known.as_bytes()).or_else(|| {
        let underscored = known.replace('-', "_");
        encoding_rs::Encoding::for_label(underscored.as_bytes())
    })?;
    (found != encoding_rs::REPLACEMENT && !known.contains("ASCII")).then_some(found)
}

/// UTF-8 in that encoding; `None` when the bytes are no UTF-8 or a character has no place in it.
pub(crate) fn encode(bytes: &[u8], encoding: Encoding) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(bytes).ok()?;
    match encoding {
        Encoding::Utf16 { big, mark } => Some(utf16(text, big, mark)),
        Encoding::Utf32 { big, mark } => Some(utf32(text, big, mark)),
        Encoding::Latin1 => text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect(),
        Encoding::Legacy(encoding) => {
            let (encoded, used, unmappable) = encoding.encode(text);
            (!unmappable && used == encoding).then(|| encoded.into_owned())
        }
    }
}

fn utf16(text: &str, big: bool, mark: bool) -> Vec<u8> {
    let units = mark.then_some(0xFEFF).into_iter().chain(text.encode_utf16());
    units
        .flat_map(|unit| {
            if big {
                unit.to_be_bytes()
            } else {
                unit.to_le_bytes()
            }
        })
        .collect()
}

fn utf32(text: &str, big: bool, mark: bool) -> Vec<u8> {
    let units = mark
        .then_some(0xFEFF)
        .into_iter()
        .chain(text.chars().map(u32::from));
    units
        .flat_map(|unit| {
            if big {
                unit.to_be_bytes()
            } else {
                unit.to_le_bytes()
            }
        })
        .collect()
}

/// Bytes in a commit's declared encoding as UTF-8; left as they are when the encoding is unknown or they are not in it.
pub(crate) fn decode(bytes: &[u8], name: &str) -> Vec<u8> {
    match Encoding::named(name) {
        Some(Encoding::Latin1) => bytes
            .iter()
            .map(|byte| char::from(*byte))
            .collect::<String>()
            .into_bytes(),
        Some(Encoding::Legacy(encoding)) => encoding
            .decode_without_bom_handling_and_without_replacement(bytes)
            .map_or_else(|| bytes.to_vec(), |text| text.into_owned().into_bytes()),
        _ => bytes.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &str, name: &str) -> Option<Vec<u8>> {
        encode(text.as_bytes(), Encoding::named(name)?)
    }

    #[test]
    fn unicode_forms() {
        assert_eq!(encoded("a", "UTF-16LE-BOM").unwrap(), b"\xff\xfea\0");
        assert_eq!(encoded("a", "utf16le").unwrap(), b"a\0");
        assert_eq!(encoded("a", "UTF-16BE").unwrap(), b"\0a");
        assert_eq!(encoded("a", "UTF-32BE").unwrap(), b"\0\0\0a");
        assert_eq!(encoded("\u{1F600}", "UTF-16BE").unwrap(), b"\xd8\x3d\xde\x00");
    }

    #[test]
    fn legacy_forms() {
        assert_eq!(encoded("あ", "Shift_JIS").unwrap(), b"\x82\xa0");
        assert_eq!(encoded("あ", "SHIFT-JIS").unwrap(), b"\x82\xa0");
        assert_eq!(encoded("あ", "EUC-JP").unwrap(), b"\xa4\xa2");
        assert_eq!(encoded("é", "ISO-8859-1").unwrap(), b"\xe9");
        assert_eq!(encoded("é", "CP1252").unwrap(), b"\xe9");
        assert_eq!(encoded("あ", "ISO-8859-1"), None);
        assert_eq!(encoded("あ", "no-such-thing"), None);
        assert_eq!(encoded("a", "US-ASCII"), None);
        assert_eq!(decode(b"\xe9", "ISO-8859-1"), "é".as_bytes());
        assert_eq!(decode(b"\xe9", "unknown"), b"\xe9");
    }
}
