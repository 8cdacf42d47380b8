//! What a release should hold, by what `shipit apply` kept on the host.

use std::fs;
use std::path::PathBuf;

use shipit_artifact::Record;

use crate::difference::{Bound, Lack, Places, kept_bound};
use crate::error::Error;
use crate::filter::Filter;
use crate::plan::rules;

/// Of the release in service in `dest`.
pub(super) fn find(dest: PathBuf) -> Result<(Places, Bound, Filter), Error> {
    let mut places = Places {
        dest,
        release: String::new(),
    };
    let not_verifiable = |why: String| Error::NotVerifiable {
        dest: places.dest.clone(),
        why,
    };
    let release = places
        .in_service()
        .ok_or_else(|| not_verifiable("its `current` leads to no release".to_owned()))?;
    let path = places.record(&release);
    let bytes = fs::read(&path).map_err(|error| {
        not_verifiable(format!(
            "no record of the release {release} is kept: {}: {error}",
            path.display()
        ))
    })?;
    let record =
        Record::parse(&bytes).map_err(|error| not_verifiable(format!("{}: {error}", path.display())))?;
    let bound = kept_bound(&places, record, bytes).map_err(|lack| match lack {
        Lack::Ends(error) => error,
        Lack::Whole(why) => not_verifiable(why),
    })?;
    let excludes = fs::read(places.excludes(&release)).unwrap_or_default();
    let excludes: Vec<_> = excludes
        .split(|byte| *byte == 0)
        .filter(|rule| !rule.is_empty())
        .map(|rule| String::from_utf8_lossy(rule).into_owned())
        .collect();
    let filter = rules(Filter::default(), &excludes)?;
    places.release = release;
    Ok((places, bound, filter))
}
