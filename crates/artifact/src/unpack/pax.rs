//! What extension headers say about the entry that follows: pax records and GNU tar's long names.

/// Extensions gathered before an entry. `None` where the entry's own header counts.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    pub(super) name: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) sparse: bool,
}

impl Extensions {
    /// A record of GNU tar: the bytes up to the NUL.
    pub(super) fn long(bytes: &[u8]) -> Vec<u8> {
        bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
    }

    /// A pax header's records. What is not known is passed over, as POSIX asks.
    pub(super) fn add_pax(&mut self, records: &[u8]) -> Result<(), String> {
        let mut rest = records;
        while !rest.is_empty() {
            let (key, value, after) = first_record(rest).ok_or("its pax header cannot be read")?;
            rest = after;
            let wrong = || format!("the pax record {} has a wrong value", crate::path::escape(key));
            match key {
                b"path" => self.name = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = Some(number(value).ok_or_else(wrong)?),
                b"uid" => self.uid = Some(number(value).ok_or_else(wrong)?),
                b"gid" => self.gid = Some(number(value).ok_or_else(wrong)?),
                b"mtime" => self.mtime = Some(time(value).ok_or_else(wrong)?),
                key if key.starts_with(b"GNU.sparse.") => self.sparse = true,
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether a global header says what only an entry's own may: then it would rule all that follow.
    pub(super) fn rules_entries(&self) -> bool {
        self.name.is_some() || self.link.is_some() || self.size.is_some() || self.sparse
    }
}

/// The first record, `<length> <key>=<value>\n`, and what follows it. Values may hold newlines, so the length counts.
fn first_record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = records.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(number(&records[..space])?).ok()?;
    let (record, after) = records.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], after))
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Decimal seconds with an optional fraction, as whole seconds (rounded down) and nanoseconds.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let negative = whole.starts_with('-');
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let nanoseconds = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = nanoseconds.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    if negative && nanoseconds > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds));
    }
    Some((seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(time(b"12"), Some((12, 0)));
        assert_eq!(time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(time(b"12.0000000019"), Some((12, 1)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"1.x"), None);
        assert_eq!(time(b""), None);
    }

    #[test]
    fn records() {
        let mut extensions = Extensions::default();
        let records = b"13 path=a\xff\nb\n14 size=12345\n11 other=x\n";
        extensions.add_pax(records).unwrap();
        assert_eq!(
            (extensions.name.as_deref(), extensions.size),
            (Some(&b"a\xff\nb"[..]), Some(12345))
        );
        assert!(extensions.rules_entries());
        let wrong: [&[u8]; 7] = [
            b"9 size=-1\n",
            b"99 a=b\n",
            b"6 a=b",
            b"0 a=b\n",
            b"x",
            b"6 abc\n",
            b"18446744073709551615 a=b\n",
        ];
        for records in wrong {
            assert!(Extensions::default().add_pax(records).is_err(), "{records:?}");
        }
        assert_eq!(Extensions::long(b"name\0\0\0"), b"name");
    }
}
