//! Where each thing lies in a store: the keys. Nothing here does I/O.

use crate::{Error, ReleaseId};

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

/// `artifacts/<app>/`: the prefix of all artifacts and their records.
pub fn artifacts_prefix(app: &str) -> Result<String, Error> {
    Ok(format!("artifacts/{}/", name("the app", app)?))
}

/// `indexes/<app>/`: the prefix of all layers' indexes.
pub fn indexes_prefix(app: &str) -> Result<String, Error> {
    Ok(format!("indexes/{}/", name("the app", app)?))
}

/// `layers/<app>/`: the prefix of all shared layers.
pub fn layers_prefix(app: &str) -> Result<String, Error> {
    Ok(format!("layers/{}/", name("the app", app)?))
}

/// `live/<app>/`: the prefix of what is live in all stages.
pub fn lives_prefix(app: &str) -> Result<String, Error> {
    Ok(format!("live/{}/", name("the app", app)?))
}

/// `live/<app>/<stage>/`: the prefix of what is live in a stage.
pub fn live_prefix(app: &str, stage: &str) -> Result<String, Error> {
    Ok(format!(
        "live/{}/{}/",
        name("the app", app)?,
        name("the stage", stage)?
    ))
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

/// `kicks/<app>/<stage>/`: the prefix of a stage's history.
pub fn kicks_prefix(app: &str, stage: &str) -> Result<String, Error> {
    Ok(format!(
        "kicks/{}/{}/",
        name("the app", app)?,
        name("the stage", stage)?
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

pub(crate) fn bad(what: &'static str, name: &str, why: &str) -> Error {
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
}
