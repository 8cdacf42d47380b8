//! `link = "symlink"` puts one directory of a layer into every release: a shared path cannot lie in it. Such a publish is
//! refused here, where hosts could only fail.

use shipit_artifact::{Artifact, EntryPath, LayerKind};

use crate::config::{Link, Role};
use crate::errors::{CliError, Kind, Result};

/// Looks for shared paths of roles with `link = "symlink"` in the artifact's dependency layers.
pub fn refuse_shared_in_layers<'a>(roles: impl Iterator<Item = &'a Role>, artifact: &Artifact) -> Result<()> {
    for role in roles.filter(|role| role.link == Link::Symlink && !role.shared.is_empty()) {
        for (number, layer) in artifact.record.layers.iter().enumerate() {
            if layer.kind != LayerKind::Dependencies {
                continue;
            }
            let index = artifact.index(number)?;
            let entries = index.entries().iter().map(|entry| &entry.path);
            if let Some((shared, top)) = inside(&role.shared, entries) {
                return Err(refused(&role.name, shared, &layer.name, top));
            }
        }
    }
    Ok(())
}

/// A shared path that lies at or in a topmost one of these sorted paths, and that path.
fn inside<'s, 'e>(
    shared: &'s [String],
    entries: impl Iterator<Item = &'e EntryPath>,
) -> Option<(&'s str, &'e EntryPath)> {
    let mut top: Option<&EntryPath> = None;
    for path in entries {
        if top.is_some_and(|top| path.starts_with(top)) {
            continue;
        }
        top = Some(path);
        let lies_in = |shared: &&String| {
            EntryPath::new(shared.trim_end_matches('/')).is_ok_and(|shared| shared.starts_with(path))
        };
        if let Some(shared) = shared.iter().find(lies_in) {
            return Some((shared, path));
        }
    }
    None
}

fn refused(role: &str, shared: &str, layer: &str, top: &EntryPath) -> CliError {
    let message = format!(
        "role.{role}.shared names {shared}, which lies in {top} of the layer {layer}: with link = \"symlink\" that is one \
         directory for all releases, and no path in it can be put in place of another"
    );
    CliError::new(Kind::Usage, message)
        .hint("take the path out of `shared`, or use link = \"auto\" or \"copy\" for the role")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_path_at_or_below_a_topmost_one_is_found() {
        let entries = [
            "node_modules",
            "node_modules/a",
            "vendor/bundle",
            "vendor/bundle/x",
        ];
        let entries = entries.map(|path| EntryPath::new(path).unwrap());
        let found =
            |shared: &str| inside(&[shared.to_owned()], entries.iter()).map(|(_, top)| top.to_string());
        assert_eq!(found("node_modules/a/log").as_deref(), Some("node_modules"));
        assert_eq!(found("vendor/bundle/").as_deref(), Some("vendor/bundle"));
        for beside in ["log", "vendor", "vendor/cache", "node_modules2"] {
            assert_eq!(found(beside), None, "{beside}");
        }
    }
}
