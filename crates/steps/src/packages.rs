//! How many packages a lockfile names: for people, who recognise their dependencies by it.

use shipit_artifact::{EntryPath, Tree};

use crate::presets::from_root;
use crate::spec::{StepSpec, Tool};

/// The packages that the step's lockfile names; `None` where it has none, or one that cannot be read.
#[must_use]
pub fn packages(spec: &StepSpec, tree: &dyn Tree) -> Option<u64> {
    let lockfiles = spec.tool.preset()?.lockfiles;
    let text = lockfiles
        .iter()
        .filter_map(|name| from_root(spec.dir.as_ref(), name))
        .find_map(|path| read(tree, &path))?;
    match spec.tool {
        Tool::Npm { .. } => npm(&text),
        Tool::Bundle { .. } => Some(bundle(&text)),
        Tool::Carton => Some(carton(&text)),
        Tool::Go { .. } | Tool::Run { .. } => None,
    }
}

fn read(tree: &dyn Tree, path: &EntryPath) -> Option<String> {
    let mut text = String::new();
    let mut file = tree.open(path).ok()?;
    std::io::Read::read_to_string(&mut file, &mut text).ok()?;
    Some(text)
}

/// The key "" of `packages` is the project itself, and a linked workspace stands there twice. Version 1 has `dependencies`.
fn npm(text: &str) -> Option<u64> {
    let lock: serde_json::Value = serde_json::from_str(text).ok()?;
    let count = match lock.get("packages").and_then(serde_json::Value::as_object) {
        Some(packages) => packages
            .keys()
            .filter(|path| path.contains("node_modules/"))
            .count(),
        None => lock.get("dependencies")?.as_object()?.len(),
    };
    Some(count as u64)
}

/// `    rake (13.0.6)`: four spaces; what a gem depends on has six.
fn bundle(text: &str) -> u64 {
    let is_gem = |line: &&str| {
        line.strip_prefix("    ")
            .is_some_and(|rest| !rest.starts_with(' ') && rest.ends_with(')'))
    };
    text.lines().filter(is_gem).count() as u64
}

/// `  Mojolicious-9.31`: two spaces; what belongs to a distribution has more.
fn carton(text: &str) -> u64 {
    let is_distribution = |line: &&str| {
        line.strip_prefix("  ")
            .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(' '))
    };
    text.lines().filter(is_distribution).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lockfile_is_counted_as_its_tool_writes_it() {
        let lock = r#"{"packages":{"":{},"packages/a":{},"node_modules/a":{"link":true},"node_modules/b":{},
            "node_modules/b/node_modules/c":{}}}"#;
        assert_eq!(npm(lock), Some(3));
        assert_eq!(npm(r#"{"dependencies":{"a":{},"b":{}}}"#), Some(2));
        assert_eq!(npm("no json"), None);
        let gems = "GEM\n  remote: https://rubygems.org/\n  specs:\n    rack (2.2.4)\n    rails (7.0.4)\n      \
                    rack (~> 2.2)\n\nPLATFORMS\n  ruby\n\nDEPENDENCIES\n  rails (= 7.0.4)\n";
        assert_eq!(bundle(gems), 2);
        let snapshot = "# carton snapshot format: version 1.0\nDISTRIBUTIONS\n  Acme-Hello-0.01\n    pathname: \
                        X/XX\n    provides:\n      Acme::Hello 0.01\n  Acme-Two-1\n";
        assert_eq!(carton(snapshot), 2);
    }
}
