//! From an artifact's URL, as a manifest names it, to the URLs of what lies beside it in the store: its record and its
//! layers' indexes. Nothing is read here.

use crate::layout;

/// An artifact's URL that follows the store's layout: `<base>artifacts/<app>/<sha256>.<extension>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactUrl {
    /// What stands before `artifacts/`, with a slash at its end.
    base: String,
    app: String,
    sha256: String,
}

impl ArtifactUrl {
    /// Takes the URL apart. Nothing when it is of another form, or has a query: a presigned URL opens this one object alone, and
    /// what lies beside it cannot be read with it.
    pub fn parse(url: &str) -> Option<Self> {
        if url.contains(['?', '#']) || !url.contains("://") {
            return None;
        }
        let (rest, file) = url.rsplit_once('/')?;
        let (rest, app) = rest.rsplit_once('/')?;
        let base = rest
            .strip_suffix("artifacts")
            .filter(|base| base.ends_with('/'))?;
        let (sha256, extension) = file.split_once('.')?;
        layout::artifact_key(app, sha256, extension).ok()?;
        // What is left of `https://artifacts/…` is no place.
        (!base.ends_with("://")).then(|| Self {
            base: base.to_owned(),
            app: app.to_owned(),
            sha256: sha256.to_owned(),
        })
    }

    /// The app.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// SHA-256 of the artifact, as its name says.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The record's URL.
    pub fn record(&self) -> String {
        format!("{}artifacts/{}/{}.json", self.base, self.app, self.sha256)
    }

    /// The URL of a layer's index, by the SHA-256 that the record binds; nothing when that is no digest.
    pub fn index(&self, sha256: &str) -> Option<String> {
        let key = layout::index_key(&self.app, sha256).ok()?;
        Some(format!("{}{key}", self.base))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn what_lies_beside_is_named_in_every_kind_of_store() {
        for base in [
            "s3://bucket/",
            "s3://bucket/team/a%20b/",
            "file:///srv/store/",
            "https://cdn.example.com/x/",
            "https://cdn.example.com/",
            "https://cdn.example.com/artifacts/",
        ] {
            let url = ArtifactUrl::parse(&format!("{base}artifacts/shop/{SHA}.tar.zst")).unwrap();
            assert_eq!((url.app(), url.sha256()), ("shop", SHA));
            assert_eq!(url.record(), format!("{base}artifacts/shop/{SHA}.json"));
            assert_eq!(url.index(SHA).unwrap(), format!("{base}indexes/shop/{SHA}"));
            assert_eq!(url.index("../../x"), None);
        }
    }

    #[test]
    fn other_urls_are_none() {
        for url in [
            format!("https://h/artifacts/shop/{SHA}.tar.zst?X-Amz-Signature=x"),
            format!("https://h/artifacts/shop/{SHA}.zip"),
            format!("https://h/artifacts/shop/{}.tar.gz", &SHA[1..]),
            format!("https://h/my-artifacts/shop/{SHA}.tar.gz"),
            format!("https://artifacts/shop/{SHA}.tar.gz"),
            format!("https://h/artifacts/a%2fb/{SHA}.tar.gz"),
            format!("artifacts/shop/{SHA}.tar.gz"),
            "https://h/shop.tar.gz".to_owned(),
        ] {
            assert_eq!(ArtifactUrl::parse(&url), None, "{url}");
        }
    }
}
