//! What a manifest asks for, decided before anything is fetched or run: the plan of an apply.
//!
//! What can be refused from the manifest alone is refused here. Today there are two plans; how the artifact gets to
//! dest (whole) is one variant, so that another way can stand beside it.

use std::path::{Path, PathBuf};

use shipit_manifest::{Layout, Manifest};

use crate::checksum::Checksum;
use crate::error::Error;
use crate::filter::{BadRule, Filter};

/// The mode of dest when the manifest names none.
const DEST_MODE: u32 = 0o755;

/// How the manifest is followed.
#[derive(Debug)]
pub(crate) enum Plan {
    /// There is no `src`: `pre` and `post` alone.
    Commands,
    /// The whole artifact is fetched, unpacked and brought to dest.
    Whole(Box<Whole>),
}

/// A whole artifact's way to dest.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) src: String,
    pub(crate) checksum: Checksum,
    /// Lower-case hex.
    pub(crate) expected: String,
    pub(crate) dest: PathBuf,
    /// Permission bits; the others of a mode mean nothing to stretcher.
    pub(crate) dest_mode: u32,
    /// Whether dest is where a release of shipit's waits until it is switched to: nobody misses half of one.
    pub(crate) incoming: bool,
    pub(crate) strategy: Strategy,
}

/// How the unpacked tree gets to dest.
#[derive(Debug)]
pub(crate) enum Strategy {
    /// As `rsync -a --delete` does.
    Rsync {
        /// `excludes`, each known to be a rule.
        excludes: Vec<String>,
        /// `exclude_from`: a file of the unpacked tree, whose rules come before these.
        exclude_from: Option<String>,
    },
    /// By one rename, to where nothing is.
    Mv,
}

impl Plan {
    pub(crate) fn of(manifest: &Manifest) -> Result<Self, Error> {
        let Some(src) = &manifest.src else {
            return Ok(Self::Commands);
        };
        let strategy = strategy(manifest)?;
        let expected = manifest.checksum.clone().unwrap_or_default();
        let checksum = Checksum::for_expected(&expected).ok_or_else(|| {
            refused(
                "checksum",
                &expected,
                "checksum must be md5, sha1, sha256, sha512 hex string",
            )
        })?;
        let dest = dest(manifest)?;
        Ok(Self::Whole(Box::new(Whole {
            src: src.clone(),
            checksum,
            expected: expected.to_lowercase(),
            incoming: is_incoming(manifest, &dest),
            dest,
            dest_mode: manifest.dest_mode.unwrap_or(DEST_MODE) & 0o777,
            strategy,
        })))
    }
}

/// What the lock guards: the role's dest of a manifest of shipit's, whose own dest is another one for each release.
pub(crate) fn guarded(manifest: &Manifest) -> Option<PathBuf> {
    let dest = PathBuf::from(manifest.dest.as_deref()?);
    let role_dest = manifest
        .shipit
        .as_ref()
        .and_then(|binding| binding.dest.as_deref())
        .map(PathBuf::from);
    Some(
        role_dest
            .filter(|role_dest| role_dest.is_absolute() && dest.starts_with(role_dest))
            .unwrap_or(dest),
    )
}

fn is_incoming(manifest: &Manifest, dest: &Path) -> bool {
    manifest.shipit.as_ref().is_some_and(|binding| {
        let role_dest = binding.dest.as_deref().map(Path::new);
        binding.layout == Layout::Releases
            && role_dest.is_some_and(|role_dest| dest.parent() == Some(&role_dest.join(".incoming")))
    })
}

fn dest(manifest: &Manifest) -> Result<PathBuf, Error> {
    let text = manifest.dest.clone().unwrap_or_default();
    let dest = PathBuf::from(&text);
    if !dest.is_absolute() {
        return Err(refused(
            "dest",
            &text,
            "it is not absolute, so the tree would go into the temporary directory",
        ));
    }
    if dest
        .components()
        .any(|part| part == std::path::Component::ParentDir)
    {
        return Err(refused(
            "dest",
            &text,
            "it holds `..`, so where it leads depends on the links on its way",
        ));
    }
    if dest == Path::new("/") {
        return Err(refused(
            "dest",
            &text,
            "everything on this host that is not in the archive would be deleted",
        ));
    }
    if let Some(binding) = manifest
        .shipit
        .as_ref()
        .and_then(|binding| binding.dest.as_deref())
        && !dest.starts_with(binding)
    {
        return Err(refused(
            "dest",
            &text,
            &format!("it is not in the role's dest {binding} that `shipit:` names"),
        ));
    }
    Ok(dest)
}

fn strategy(manifest: &Manifest) -> Result<Strategy, Error> {
    match manifest.sync_strategy.as_deref().unwrap_or_default() {
        "" | "rsync" => {
            rules(Filter::default(), &manifest.excludes)?;
            Ok(Strategy::Rsync {
                excludes: manifest.excludes.clone(),
                exclude_from: manifest.exclude_from.clone(),
            })
        }
        "mv" => Ok(Strategy::Mv),
        other => Err(refused(
            "sync_strategy",
            other,
            &format!("invalid strategy name: {other}; there are rsync and mv"),
        )),
    }
}

/// The manifest's `excludes` behind rules that come before them, which a `!` among them drops too.
pub(crate) fn rules(mut first: Filter, excludes: &[String]) -> Result<Filter, Error> {
    for rule in excludes {
        first
            .add(rule.as_bytes())
            .map_err(|bad| bad_rule("excludes", &bad))?;
    }
    Ok(first)
}

/// The error for a rule of the manifest's `key`.
pub(crate) fn bad_rule(key: &'static str, bad: &BadRule) -> Error {
    refused(key, &bad.rule, bad.reason)
}

fn refused(key: &'static str, value: &str, reason: &str) -> Error {
    Error::Refused {
        key,
        value: value.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(yaml: &str) -> Result<Plan, Error> {
        Plan::of(&shipit_manifest::parse(yaml).unwrap())
    }

    fn reason(yaml: &str) -> String {
        plan(yaml).unwrap_err().to_string()
    }

    const SUM: &str = "checksum: 900150983cd24fb0d6963f7d28e17f72";

    #[test]
    fn a_manifest_without_src_is_commands_alone_whatever_else_it_says() {
        assert!(matches!(
            plan("sync_strategy: dummy\nchecksum: x"),
            Ok(Plan::Commands)
        ));
    }

    #[test]
    fn what_the_manifest_alone_shows_to_be_wrong_is_refused_before_anything_is_fetched() {
        assert!(reason("src: file:///a\ndest: /d").contains("checksum must be md5"));
        assert!(reason(&format!("src: file:///a\ndest: d\n{SUM}")).contains("not absolute"));
        assert!(reason(&format!("src: file:///a\ndest: /a/../d\n{SUM}")).contains("`..`"));
        assert!(reason(&format!("src: file:///a\ndest: //\n{SUM}")).contains("deleted"));
        let dummy = format!("src: file:///a\ndest: /d\n{SUM}\nsync_strategy: dummy");
        assert!(reason(&dummy).contains("invalid strategy name: dummy"));
        assert!(reason(&format!("src: file:///a\ndest: /d\n{SUM}\nexcludes: ['- ']")).contains("no pattern"));
    }

    #[test]
    fn the_mode_keeps_its_permission_bits() {
        let yaml = format!("src: file:///a\ndest: /d\n{SUM}\ndest_mode: 02751");
        assert!(matches!(
            plan(&yaml),
            Ok(Plan::Whole(whole)) if whole.dest_mode == 0o751
        ));
        let yaml = format!("src: file:///a\ndest: /d\n{SUM}");
        assert!(matches!(
            plan(&yaml),
            Ok(Plan::Whole(whole)) if whole.dest_mode == 0o755
        ));
    }

    #[test]
    fn a_release_that_waits_is_known_by_its_place_and_layout() {
        let whole = |dest: &str, layout: &str| {
            let yaml = format!(
                "src: file:///a\ndest: {dest}\n{SUM}\nshipit: {{app: shop, stage: s, role: web, release: '1', dest: /srv, layout: {layout}}}"
            );
            match plan(&yaml) {
                Ok(Plan::Whole(whole)) => whole.incoming,
                other => panic!("{other:?}"),
            }
        };
        assert!(whole("/srv/.incoming/1", "releases"));
        assert!(!whole("/srv/.incoming/1", "plain"));
        assert!(!whole("/srv/.incoming", "releases"));
        assert!(!whole("/srv/releases/1", "releases"));
    }

    #[test]
    fn shipits_own_manifests_share_the_lock_of_the_roles_dest() {
        let yaml = "dest: /srv/shop/.incoming/1\nshipit: {app: shop, stage: s, role: web, release: '1', dest: /srv/shop, layout: releases}";
        let manifest = shipit_manifest::parse(yaml).unwrap();
        assert_eq!(guarded(&manifest), Some(PathBuf::from("/srv/shop")));
        let manifest = shipit_manifest::parse("dest: /srv/shop/x").unwrap();
        assert_eq!(guarded(&manifest), Some(PathBuf::from("/srv/shop/x")));
    }
}
