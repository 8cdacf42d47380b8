//! Where each thing lies in a store: the keys, and the release's id. Nothing here does I/O.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::Error;

/// The longest app, stage or role name: four of them and a digest stay under S3's and a file system's limits.
const LONGEST_NAME: usize = 100;

/// What a store's keys begin with; nothing else in its bucket is its own.
pub(crate) const AREAS: [&str; 7] = [
    "artifacts/",
    "indexes/",
    "layers/",
    "releases/",
    "live/",
    "kicks/",
    "locks/",
];

/// `artifacts/<app>/<sha256>.<extension>`; the extension is `tar.zst` or `tar.gz`.
pub fn artifact_key(app: &str, sha256: &str, extension: &str) -> Result<String, Error> {
    if !matches!(extension, "tar.zst" | "tar.gz") {
        return Err(bad(
            "the artifact's extension",
            extension,
            "it is tar.zst or tar.gz",
        ));
    }
    Ok(format!(
        "artifacts/{}/{}.{extension}",
        name("the app", app)?,
        digest(sha256)?
    ))
}

/// `artifacts/<app>/<sha256>.json`: the artifact's record.
pub fn record_key(app: &str, sha256: &str) -> Result<String, Error> {
    Ok(format!(
        "artifacts/{}/{}.json",
        name("the app", app)?,
        digest(sha256)?
    ))
}

/// `indexes/<app>/<sha256>`: a layer's index, by the digest of its bytes.
pub fn index_key(app: &str, sha256: &str) -> Result<String, Error> {
    Ok(format!("indexes/{}/{}", name("the app", app)?, digest(sha256)?))
}

/// `layers/<app>/<layer key>/<file>`: a dependency layer's frames, for other builders.
pub fn layer_key(app: &str, layer: &str, file: &str) -> Result<String, Error> {
    Ok(format!(
        "layers/{}/{}/{}",
        name("the app", app)?,
        name("the layer key", layer)?,
        name("the file", file)?
    ))
}

/// `layers/<app>/<layer key>/layer.json`: what a shared layer is; it is there when this is.
pub fn shared_layer_key(app: &str, layer: &str) -> Result<String, Error> {
    layer_key(app, layer, "layer.json")
}

/// `layers/<app>/<layer key>/<sha256>.frames`: a shared layer's frames, by the digest of their bytes.
pub fn shared_frames_key(app: &str, layer: &str, sha256: &str) -> Result<String, Error> {
    layer_key(app, layer, &format!("{}.frames", digest(sha256)?))
}

/// `releases/<app>/`: the prefix of all stages' releases.
pub fn stages_prefix(app: &str) -> Result<String, Error> {
    Ok(format!("releases/{}/", name("the app", app)?))
}

/// `releases/<app>/<stage>/`: the prefix of a stage's releases.
pub fn releases_prefix(app: &str, stage: &str) -> Result<String, Error> {
    Ok(format!(
        "releases/{}/{}/",
        name("the app", app)?,
        name("the stage", stage)?
    ))
}

/// `releases/<app>/<stage>/<release id>/release.json`.
pub fn release_key(app: &str, stage: &str, release: &ReleaseId) -> Result<String, Error> {
    Ok(format!("{}{release}/release.json", releases_prefix(app, stage)?))
}

/// `releases/<app>/<stage>/<release id>/<role>.yml`: a role's manifest.
pub fn manifest_key(app: &str, stage: &str, release: &ReleaseId, role: &str) -> Result<String, Error> {
    Ok(format!(
        "{}{release}/{}.yml",
        releases_prefix(app, stage)?,
        role_name(role)?
    ))
}

/// `releases/<app>/<stage>/<release id>/<role>.once.yml`: the manifest that is applied to one host at a time.
pub fn once_manifest_key(app: &str, stage: &str, release: &ReleaseId, role: &str) -> Result<String, Error> {
    Ok(format!(
        "{}{release}/{}.once.yml",
        releases_prefix(app, stage)?,
        role_name(role)?
    ))
}

/// `live/<app>/<stage>/<role>.yml`: the manifest that a new host boots with. Mutable, by conditional writes.
pub fn live_key(app: &str, stage: &str, role: &str) -> Result<String, Error> {
    Ok(format!(
        "live/{}/{}/{}.yml",
        name("the app", app)?,
        name("the stage", stage)?,
        role_name(role)?
    ))
}

/// `kicks/<app>/<stage>/<kick id>/<file>`: a kick's history (`started.json`, `ended.json`).
pub fn kick_key(app: &str, stage: &str, kick: &str, file: &str) -> Result<String, Error> {
    Ok(format!(
        "kicks/{}/{}/{}/{}",
        name("the app", app)?,
        name("the stage", stage)?,
        name("the kick id", kick)?,
        name("the file", file)?
    ))
}

/// `locks/<app>/publish`. Mutable, by conditional writes.
pub fn publish_lock_key(app: &str) -> Result<String, Error> {
    Ok(format!("locks/{}/publish", name("the app", app)?))
}

/// `locks/<app>/<stage>`. Mutable, by conditional writes; a stage cannot be called `publish`.
pub fn stage_lock_key(app: &str, stage: &str) -> Result<String, Error> {
    if stage == "publish" {
        return Err(bad("the stage", stage, "it would be the lock of publishing"));
    }
    Ok(format!(
        "locks/{}/{}",
        name("the app", app)?,
        name("the stage", stage)?
    ))
}

/// `<UTC yyyymmddThhmmssZ>-<first 7 of the revision>`. Sorted as text, ids are sorted by time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReleaseId(String);

impl ReleaseId {
    /// The id at `time` (unix seconds) of a revision (at least seven hexadecimal digits).
    pub fn new(time: i64, revision: &str) -> Result<Self, Error> {
        let short = revision.get(..7).unwrap_or(revision);
        let stamp = stamp(time).ok_or_else(|| bad("the time", &time.to_string(), "it is out of range"))?;
        Self::parse(&format!("{stamp}-{short}"))
    }

    /// Reads an id, strictly.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let why = "an id looks like 20261121T134515Z-3074f46";
        let (time, revision) = text
            .split_once('-')
            .ok_or_else(|| bad("the release id", text, why))?;
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if revision.len() != 7 || !revision.bytes().all(hex) {
            return Err(bad("the release id", text, why));
        }
        // Only what is written again in the same way is an id: one release, one spelling.
        let seconds = parse_stamp(time).ok_or_else(|| bad("the release id", text, why))?;
        if stamp(seconds).as_deref() != Some(time) {
            return Err(bad("the release id", text, why));
        }
        Ok(Self(text.to_owned()))
    }

    /// The same revision, a second later.
    pub fn next_second(&self) -> Result<Self, Error> {
        Self::new(self.time() + 1, &self.0[self.0.len() - 7..])
    }

    /// Its time in unix seconds.
    pub fn time(&self) -> i64 {
        self.0
            .split_once('-')
            .and_then(|(time, _)| parse_stamp(time))
            .unwrap_or_default()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ReleaseId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl TryFrom<String> for ReleaseId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse(&text)
    }
}

impl From<ReleaseId> for String {
    fn from(id: ReleaseId) -> Self {
        id.0
    }
}

fn stamp(seconds: i64) -> Option<String> {
    let time = Timestamp::from_second(seconds).ok()?.to_zoned(TimeZone::UTC);
    // Four digits of the year, or ids would no longer sort by time.
    (1970..=9999)
        .contains(&time.year())
        .then(|| time.strftime("%Y%m%dT%H%M%SZ").to_string())
}

fn parse_stamp(text: &str) -> Option<i64> {
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

/// App, stage, role and the like: one component of a key, safe in a URL, a file system and Consul's event names.
fn name<'a>(what: &'static str, text: &'a str) -> Result<&'a str, Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if text.is_empty() || text.len() > LONGEST_NAME {
        return Err(bad(what, text, "it has 1 to 100 characters"));
    }
    if !text.chars().all(allowed) || !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(bad(
            what,
            text,
            "letters, digits, `-`, `_` and `.` are allowed, a letter or digit first",
        ));
    }
    Ok(text)
}

fn role_name(role: &str) -> Result<&str, Error> {
    if role.ends_with(".once") {
        return Err(bad(
            "the role",
            role,
            "its manifest would be taken for another role's",
        ));
    }
    name("the role", role)
}

fn digest(text: &str) -> Result<&str, Error> {
    if text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    {
        return Ok(text);
    }
    Err(bad(
        "the SHA-256",
        text,
        "it has 64 lower-case hexadecimal digits",
    ))
}

fn bad(what: &'static str, name: &str, why: &str) -> Error {
    Error::BadName {
        what,
        name: name.to_owned(),
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn keys_are_those_of_the_layout() {
        let id = ReleaseId::parse("20261121T134515Z-3074f46").unwrap();
        assert_eq!(
            artifact_key("shop", SHA, "tar.zst").unwrap(),
            format!("artifacts/shop/{SHA}.tar.zst")
        );
        assert_eq!(
            record_key("shop", SHA).unwrap(),
            format!("artifacts/shop/{SHA}.json")
        );
        assert_eq!(index_key("shop", SHA).unwrap(), format!("indexes/shop/{SHA}"));
        assert_eq!(
            layer_key("shop", "k1", "frames").unwrap(),
            "layers/shop/k1/frames"
        );
        assert_eq!(
            shared_layer_key("shop", "k1").unwrap(),
            "layers/shop/k1/layer.json"
        );
        assert_eq!(
            shared_frames_key("shop", "k1", SHA).unwrap(),
            format!("layers/shop/k1/{SHA}.frames")
        );
        assert_eq!(stages_prefix("shop").unwrap(), "releases/shop/");
        assert_eq!(
            release_key("shop", "production", &id).unwrap(),
            "releases/shop/production/20261121T134515Z-3074f46/release.json"
        );
        assert_eq!(
            manifest_key("shop", "pr-1", &id, "web").unwrap(),
            "releases/shop/pr-1/20261121T134515Z-3074f46/web.yml"
        );
        assert_eq!(
            once_manifest_key("shop", "pr-1", &id, "web").unwrap(),
            "releases/shop/pr-1/20261121T134515Z-3074f46/web.once.yml"
        );
        assert_eq!(
            live_key("shop", "production", "web").unwrap(),
            "live/shop/production/web.yml"
        );
        assert_eq!(
            kick_key("shop", "p", "k", "started.json").unwrap(),
            "kicks/shop/p/k/started.json"
        );
        assert_eq!(publish_lock_key("shop").unwrap(), "locks/shop/publish");
        assert_eq!(
            stage_lock_key("shop", "production").unwrap(),
            "locks/shop/production"
        );
    }

    #[test]
    fn names_that_would_leave_their_place_are_refused() {
        for app in ["", "..", "a/b", ".a", "a b", "é", "-a", &"a".repeat(101)] {
            assert!(record_key(app, SHA).is_err(), "{app:?}");
        }
        assert!(record_key("shop", &SHA.to_uppercase()).is_err());
        assert!(record_key("shop", "../../x").is_err());
        assert!(artifact_key("shop", SHA, "zip").is_err());
        assert!(stage_lock_key("shop", "publish").is_err());
        assert!(live_key("shop", "production", "web.once").is_err());
    }

    #[test]
    fn an_id_is_the_utc_second_and_the_revision() {
        let id = ReleaseId::new(1_795_268_715, "3074f4622d1bc2b6b7de1fae7f0e2f8c4f3c3f6d").unwrap();
        assert_eq!(id.as_str(), "20261121T134515Z-3074f46");
        assert_eq!(id.time(), 1_795_268_715);
        assert_eq!(id.next_second().unwrap().as_str(), "20261121T134516Z-3074f46");
        let end = ReleaseId::parse("20261231T235959Z-3074f46").unwrap();
        assert_eq!(end.next_second().unwrap().as_str(), "20270101T000000Z-3074f46");
        assert!(id < end);
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "latest",
            "20261121T134515Z",
            "20261121T134515Z-3074F46",
            "20261121T134515Z-3074f4",
            "20261321T134515Z-3074f46",
            "20261121T134560Z-3074f46",
            "2026112T134515Z-3074f46",
            "20261121T134515Z-3074f46 ",
            "../x-3074f46",
        ] {
            assert!(ReleaseId::parse(text).is_err(), "{text:?}");
        }
        assert!(ReleaseId::new(0, "abc").is_err());
        assert!(ReleaseId::new(i64::MAX, "3074f46").is_err());
    }

    #[test]
    fn an_id_is_text_in_json_and_checked_when_read() {
        let id = ReleaseId::parse("20261121T134515Z-3074f46").unwrap();
        assert_eq!(
            serde_json::to_string(&id).unwrap(),
            "\"20261121T134515Z-3074f46\""
        );
        assert!(serde_json::from_str::<ReleaseId>("\"x\"").is_err());
    }
}
