//! A store: where it is, and its objects.

use std::num::NonZeroUsize;
use std::ops::Deref;
use std::sync::Arc;

use url::Url;

use crate::directory::Directory;
use crate::s3::{S3, S3Options};
use crate::{Error, Objects, OnEvent, StoreUrl};

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Needed for an `s3://` store.
    pub s3: Option<S3Options>,
    /// `https://…` under which hosts without credentials read what the store holds: the store's root there.
    /// The URLs in manifests, and those of manifests, then start with it.
    pub public_url: Option<String>,
    /// Where events go.
    pub on_event: OnEvent,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            s3: None,
            public_url: None,
            on_event: OnEvent::none(),
        }
    }
}

/// A store, opened. Cheap to clone. What it can do is in [`Objects`], which it dereferences to.
#[derive(Clone)]
pub struct Store {
    url: StoreUrl,
    public_url: Option<String>,
    objects: Arc<dyn Objects>,
    /// The same objects, of a bucket: what copies between two buckets needs.
    bucket: Option<S3>,
    on_event: OnEvent,
    at_once: NonZeroUsize,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("url", &self.url.to_string())
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store. Nothing is read or written yet, and a directory need not exist.
    pub fn open(url: &StoreUrl, options: StoreOptions) -> Result<Self, Error> {
        let StoreOptions {
            s3,
            public_url,
            on_event,
        } = options;
        let public_url = public_url.map(|url| check_public_url(&url)).transpose()?;
        // Of a disk nothing is gained by asking for many small files at once.
        let at_once = s3.as_ref().map_or(NonZeroUsize::MIN, |s3| s3.parallel);
        let mut opened = None;
        let objects: Arc<dyn Objects> = match url {
            StoreUrl::Directory { root } => Arc::new(Directory::new(root.clone(), on_event.clone())),
            StoreUrl::S3 { bucket, prefix } => {
                let options = s3.ok_or_else(|| Error::BadOptions {
                    why: format!("{url} needs the settings of S3, and none were given"),
                })?;
                let s3 = S3::open(bucket, prefix, options, on_event.clone())?;
                opened = Some(s3.clone());
                Arc::new(s3)
            }
        };
        Ok(Self {
            url: url.clone(),
            public_url,
            objects,
            bucket: opened,
            on_event,
            at_once,
        })
    }

    /// Where it is.
    pub fn url(&self) -> &StoreUrl {
        &self.url
    }

    /// Whether a publish has something to go to: a directory that is there. One that is not is made by a publish, and a bucket is
    /// taken to be there: each request to it tells else.
    ///
    /// # Errors
    /// [`Error::NoDirectory`] when there is something else; else the disk's.
    pub async fn is_there(&self) -> Result<bool, Error> {
        let StoreUrl::Directory { root } = &self.url else {
            return Ok(true);
        };
        match tokio::fs::metadata(root).await {
            Ok(found) if found.is_dir() => Ok(true),
            Ok(_) => Err(self.not_there("it is no directory")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
                Err(self.not_there("it would lie in something that is no directory"))
            }
            Err(source) => Err(Error::io("read", root, source)),
        }
    }

    /// For who reads what was published: what is not there holds nothing, which is not to be taken for an empty store.
    ///
    /// # Errors
    /// [`Error::NoDirectory`] when it is not there; else the disk's.
    pub async fn check_there(&self) -> Result<(), Error> {
        match self.is_there().await? {
            true => Ok(()),
            false => Err(self.not_there("the directory does not exist")),
        }
    }

    fn not_there(&self, why: &'static str) -> Error {
        Error::NoDirectory {
            store: self.url.to_string(),
            why,
        }
    }

    /// The URL from which hosts read the object: under the public URL when there is one, else the store's own.
    pub fn host_url_of(&self, key: &str) -> String {
        match &self.public_url {
            Some(base) => format!("{base}/{}", crate::key::escape(key)),
            None => self.objects.url_of(key),
        }
    }

    /// How many small objects are asked for at once: as many as parts are sent.
    pub fn at_once(&self) -> usize {
        self.at_once.get()
    }

    /// Whether both are one place: what is in one is in the other.
    pub fn is_same_place(&self, other: &Self) -> bool {
        let server = match (&self.bucket, &other.bucket) {
            (Some(a), Some(b)) => a.is_beside(b),
            _ => true,
        };
        self.url == other.url && server
    }

    /// Its bucket, when it is one.
    pub(crate) fn bucket(&self) -> Option<&S3> {
        self.bucket.as_ref()
    }

    pub(crate) fn on_event(&self) -> &OnEvent {
        &self.on_event
    }
}

impl Deref for Store {
    type Target = dyn Objects;

    fn deref(&self) -> &Self::Target {
        self.objects.as_ref()
    }
}

fn check_public_url(text: &str) -> Result<String, Error> {
    let bad = |why: &str| Error::BadOptions {
        why: format!("public_url {:?}: {why}", crate::redacted(text)),
    };
    let url = Url::parse(text).map_err(|error| bad(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("it starts with https:// (or http://)"));
    }
    if !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return Err(bad(
            "credentials, a query or a fragment would end up in every manifest",
        ));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(public_url: Option<&str>) -> Result<Store, Error> {
        let options = StoreOptions {
            public_url: public_url.map(str::to_owned),
            ..StoreOptions::default()
        };
        Store::open(&StoreUrl::parse("file:///srv/x y")?, options)
    }

    #[test]
    fn hosts_read_from_the_public_url() {
        let plain = open(None).unwrap();
        assert_eq!(plain.host_url_of("a/b c"), "file:///srv/x%20y/a/b%20c");
        let public = open(Some("https://cdn.example.com/deploy/")).unwrap();
        assert_eq!(
            public.host_url_of("a/b c"),
            "https://cdn.example.com/deploy/a/b%20c"
        );
        assert_eq!(public.url_of("a"), "file:///srv/x%20y/a");
    }

    #[test]
    fn a_public_url_with_secrets_is_refused_without_showing_them() {
        for bad in [
            "https://u:geheim@h/",
            "https://h/?token=geheim",
            "ftp://h/",
            "nonsense",
        ] {
            let error = open(Some(bad)).unwrap_err().to_string();
            assert!(!error.contains("geheim"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_directory_that_is_not_there_is_no_empty_store() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "x").unwrap();
        let at = |name: &str| {
            let url = format!("file://{}/{name}", dir.path().display());
            Store::open(&StoreUrl::parse(&url).unwrap(), StoreOptions::default()).unwrap()
        };
        for name in ["nothing", "nothing/below"] {
            assert!(!at(name).is_there().await.unwrap());
            let error = at(name).check_there().await.unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::NoBucket);
            assert!(error.to_string().contains("does not exist"), "{error}");
        }
        for name in ["file", "file/below"] {
            let error = at(name).is_there().await.unwrap_err();
            assert!(error.to_string().contains("no directory"), "{error}");
        }
        std::fs::create_dir(dir.path().join("empty")).unwrap();
        at("empty").check_there().await.unwrap();
    }

    #[test]
    fn s3_without_settings_is_refused() {
        let error = Store::open(
            &StoreUrl::parse("s3://bucket/p").unwrap(),
            StoreOptions::default(),
        )
        .unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Usage);
    }
}
