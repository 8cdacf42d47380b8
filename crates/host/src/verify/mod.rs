//! Whether the release in service is still what its record and indexes say: `shipit apply --verify`.
//!
//! Reads every file. What differs is [`Drift`], named path by path; what is there besides is [`Verified::added`], which is no drift:
//! hooks and the app itself add files. Shared paths are not looked at. Owners and times are not compared: the manifest
//! sets the ones, and who copies a file back loses the others.
//!
//! Not done here: putting anything right, which applying another release does, or the same one after its
//! `.shipit/<release>.complete` was removed.

mod added;
mod compare;
mod kept;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::Serialize;
use shipit_manifest::Manifest;
use shipit_store::Fetcher;

use crate::apply::{Loaded, blocking, load, or_cancelled, retry};
use crate::difference::{Bound, Difference, Lack, Places, of_releases, places_of};
use crate::error::Error;
use crate::filter::Filter;
use crate::log::{OnEvent, Recorder};
use crate::plan::{Plan, rules};
use crate::request::ApplyRequest;

/// Which release is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerifyTarget {
    /// The release of the manifest at the request's URL, which has to be the one in service.
    Manifest,
    /// Whatever is in service in this role's dest, by the record that was kept there.
    Dest(PathBuf),
}

/// How a path differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "how", rename_all = "snake_case")]
#[non_exhaustive]
pub enum DriftKind {
    /// It is not there.
    Missing,
    /// It is something else: "a symlink", "a directory".
    Type {
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// Its content is another.
    Content,
    /// Its mode is another.
    Mode {
        /// In octal.
        expected: String,
        /// In octal.
        found: String,
    },
    /// It links elsewhere.
    Target {
        /// Where to, printable.
        found: String,
    },
    /// `current` leads to another release.
    Release {
        /// The one in service; none when there is none.
        found: Option<String>,
    },
    /// It could not be read.
    Unreadable {
        /// Why.
        reason: String,
    },
}

/// One path that is not what the index says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Drift {
    /// The path in the release, printable.
    pub path: String,
    /// How it differs.
    #[serde(flatten)]
    pub kind: DriftKind,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Verified {
    /// The release.
    pub release: String,
    /// Where it stands.
    pub path: PathBuf,
    /// Entries that were compared.
    pub entries: u64,
    /// Bytes of files that were read.
    pub bytes: u64,
    /// What differs, by path.
    pub drift: Vec<Drift>,
    /// Paths that the indexes do not name, printable, a directory for all in it: what hooks and the app added.
    pub added: Vec<String>,
    /// Shared paths, which were not looked at.
    pub shared: Vec<String>,
}

/// Compares the release in service with its indexes. Writes nothing but what a manifest's reading does: nothing.
///
/// # Errors
/// What [`crate::apply()`] has for the manifest; [`Error::NotVerifiable`] when no record says what should be there;
/// [`Error::Cancelled`]. A difference is no error but [`Verified::drift`].
pub async fn verify(
    request: ApplyRequest,
    target: VerifyTarget,
    fetcher: &Fetcher,
    cancel: Arc<AtomicBool>,
    on_event: OnEvent,
) -> Result<Verified, Error> {
    let recorder = Recorder::new(on_event);
    let (places, bound, filter) = match target {
        VerifyTarget::Dest(dest) => blocking(move || kept::find(dest)).await?,
        VerifyTarget::Manifest => {
            let Loaded { manifest, .. } = or_cancelled(&cancel, load(&request, fetcher, &recorder)).await?;
            let found = async { find(&manifest, &request, fetcher).await };
            or_cancelled(&cancel, found).await?
        }
    };
    blocking(move || {
        let in_service = places.in_service();
        if in_service.as_deref() != Some(places.release.as_str()) {
            return Ok(other_release(&places, in_service));
        }
        let verified = compare::compare(&places, &bound, &filter, request.jobs, &cancel)?;
        if places.in_service() == in_service {
            Ok(verified)
        } else {
            Err(Error::NotVerifiable {
                dest: places.dest,
                why: "another release was switched to meanwhile".to_owned(),
            })
        }
    })
    .await
}

fn other_release(places: &Places, found: Option<String>) -> Verified {
    Verified {
        release: places.release.clone(),
        path: places.release_dir(&places.release),
        entries: 0,
        bytes: 0,
        drift: vec![Drift {
            path: "current".to_owned(),
            kind: DriftKind::Release { found },
        }],
        added: Vec::new(),
        shared: Vec::new(),
    }
}

/// What the manifest's release should hold.
async fn find(
    manifest: &Manifest,
    request: &ApplyRequest,
    fetcher: &Fetcher,
) -> Result<(Places, Bound, Filter), Error> {
    let not_verifiable = |why: &str| Error::NotVerifiable {
        dest: manifest.dest.clone().unwrap_or_default().into(),
        why: why.to_owned(),
    };
    let Plan::Whole(whole) = Plan::of(manifest)? else {
        return Err(not_verifiable("the manifest has commands alone"));
    };
    let places = of_releases(manifest, &whole)
        .or_else(|| places_of(manifest))
        .ok_or_else(|| not_verifiable("the manifest is not one of shipit's own with layout releases"))?;
    let lacking = |lack| match lack {
        Lack::Ends(error) => error,
        Lack::Whole(why) => not_verifiable(&why),
    };
    let filter = rules(Filter::default(), &manifest.excludes)?;
    let difference = Difference::of(manifest, &whole, places).map_err(lacking)?;
    let bound = difference.find_all(fetcher, retry(request), request.limits).await;
    let bound = bound.map_err(lacking)?;
    Ok((difference.places, bound, filter))
}
