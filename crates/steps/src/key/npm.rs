//! What `npm ci` goes by: the lockfile, the package.json of each package of the tree itself, .npmrc, what is depended on by
//! `file:`, and, when scripts of the tree's own packages run, all that those may read.

use std::collections::BTreeSet;

use serde_json::Value;
use shipit_artifact::EntryPath;

use super::LayerKey;
use super::gather::{Gather, place};
use super::json;
use crate::error::Error;
use crate::presets::{from_root, npm_tree};
use crate::spec::EnvVar;

/// Members of the package.json in the step's directory that say nothing to an install, nor to the packages in it. Those of
/// workspaces npm notes in node_modules.
const SAYS_NOTHING: &[&str] = &[
    "name",
    "version",
    "description",
    "keywords",
    "homepage",
    "bugs",
    "license",
    "author",
    "contributors",
    "funding",
    "repository",
    "main",
    "module",
    "browser",
    "types",
    "typings",
    "exports",
    "imports",
    "files",
    "private",
    "publishConfig",
    "sideEffects",
];

/// Scripts of the tree's own packages that `npm ci` runs.
const INSTALL: &[&str] = &[
    "preinstall",
    "install",
    "postinstall",
    // Whenever node_modules changed; with `npm ci` it always does.
    "predependencies",
    "dependencies",
    "postdependencies",
];

/// Packages whose own install scripts read files of the app, and which.
const READERS: &[(&str, &[&str])] = &[
    (
        "@prisma/client",
        &["**/*.prisma", "**/prisma.config.*", "**/.env"],
    ),
    ("puppeteer", &["**/.puppeteerrc*", "**/puppeteer.config.*"]),
];

/// The key of the packed tree, and with `production` that of the full one.
pub(super) fn keys(mut gather: Gather<'_>, production: bool) -> Result<(LayerKey, Option<LayerKey>), Error> {
    let mut packages = Vec::new();
    lockfiles(&mut gather)?;
    above(&mut gather)?;
    let own = npm_tree::own_packages(
        &|path| gather.read_for_presets(path),
        gather.request.spec.dir.as_ref(),
    );
    for dir in own.map_err(|problem| gather.spec_error(problem))? {
        packages.push(package(&mut gather, dir)?);
    }
    if copies_links(&mut gather)? {
        for package in packages
            .iter()
            .filter(|package| package.dir != gather.request.spec.dir)
        {
            gather.below(package.dir.as_ref())?;
        }
    }
    gather.setting("option production", if production { "true" } else { "false" });
    if !production {
        scripts(&mut gather, &packages, &[INSTALL, npm_tree::PREPARE])?;
        return Ok((gather.parts.finish(), None));
    }
    let mut full = gather.clone();
    full.parts.set("tree", "full");
    scripts(&mut full, &packages, &[INSTALL, npm_tree::PREPARE])?;
    gather.parts.set("tree", "production");
    scripts(&mut gather, &packages, &[INSTALL])?;
    Ok((gather.parts.finish(), Some(full.parts.finish())))
}

/// The lockfiles, less name and version of the package that they lock: npm takes them from package.json, and what it
/// writes of them into node_modules is removed.
fn lockfiles(gather: &mut Gather<'_>) -> Result<(), Error> {
    for name in ["npm-shrinkwrap.json", "package-lock.json"] {
        let Some(path) = gather.path(name) else { continue };
        let Some(mut lock) = document(gather, &path)? else {
            continue;
        };
        local_packages(gather, &lock)?;
        known_readers(gather, &lock)?;
        forget_root(&mut lock);
        gather.parts.set(format!("lockfile {path}"), json::digest(&lock));
    }
    Ok(())
}

fn forget_root(lock: &mut Value) {
    let root = lock.get_mut("packages").and_then(|packages| packages.get_mut(""));
    if let Some(package) = root.and_then(Value::as_object_mut) {
        package.remove("name");
        package.remove("version");
    }
    if let Some(lock) = lock.as_object_mut() {
        lock.remove("name");
        lock.remove("version");
    }
}

/// Dependencies by `file:` that are installed as copies: tarballs, and directories where npm was told so. What is linked
/// is a package of the tree.
fn local_packages(gather: &mut Gather<'_>, lock: &Value) -> Result<(), Error> {
    let mut targets = BTreeSet::new();
    let packages = lock.get("packages").and_then(Value::as_object);
    for package in packages.into_iter().flat_map(|packages| packages.values()) {
        let linked = package.get("link").and_then(Value::as_bool).unwrap_or_default();
        let resolved = package.get("resolved").and_then(Value::as_str);
        targets.extend(
            resolved
                .filter(|_| !linked)
                .and_then(|resolved| resolved.strip_prefix("file:")),
        );
    }
    // A lockfile of version 1 says so in another place.
    let mut pending: Vec<&Value> = lock
        .get("dependencies")
        .filter(|_| packages.is_none())
        .into_iter()
        .collect();
    while let Some(dependencies) = pending.pop() {
        for package in dependencies
            .as_object()
            .into_iter()
            .flat_map(|object| object.values())
        {
            let version = package.get("version").and_then(Value::as_str);
            targets.extend(version.and_then(|version| version.strip_prefix("file:")));
            pending.extend(package.get("dependencies"));
        }
    }
    for target in targets {
        let path = gather.path(target);
        match path {
            Some(path) if gather.files.file(&path).is_some() => gather.file("file", &path)?,
            Some(path) if gather.files.is_dir(Some(&path)) => gather.below(Some(&path))?,
            // Not where it is looked for: an escape in its name, or a file that an earlier step makes.
            _ => gather.below(None)?,
        }
    }
    Ok(())
}

fn known_readers(gather: &mut Gather<'_>, lock: &Value) -> Result<(), Error> {
    let packages = lock.get("packages").and_then(Value::as_object);
    let names: Vec<&String> = packages
        .into_iter()
        .flat_map(|packages| packages.keys())
        .collect();
    for (reader, patterns) in READERS {
        let suffix = format!("node_modules/{reader}");
        if names.iter().any(|name| name.ends_with(&suffix)) {
            gather.matching(&format!("read by {reader}"), patterns)?;
        }
    }
    Ok(())
}

/// .npmrc in the step's directory and above it; and what is above when the package is a workspace of another, which npm
/// then installs in.
fn above(gather: &mut Gather<'_>) -> Result<(), Error> {
    let mut dir = gather.request.spec.dir.clone();
    loop {
        if let Some(path) = from_root(dir.as_ref(), ".npmrc") {
            gather.file("file", &path)?;
        }
        let Some(below) = dir else { return Ok(()) };
        dir = below.parent();
        let at = |name| from_root(dir.as_ref(), name);
        let Some(path) = at("package.json") else { continue };
        // It need not be one that npm could read: it may be another program's.
        let content = gather.content(&path)?.unwrap_or_default();
        let parsed = npm_tree::parse_json(&path.to_string(), &content);
        if parsed.is_ok_and(|package| package.get("workspaces").is_some()) {
            for path in [Some(path), at("package-lock.json"), at("npm-shrinkwrap.json")]
                .into_iter()
                .flatten()
            {
                gather.file("file", &path)?;
            }
        }
    }
}

/// A package of the tree itself.
struct Package {
    dir: Option<EntryPath>,
    scripts: Value,
    /// With it, and without an `install` or `preinstall` script, npm runs node-gyp.
    binding: bool,
}

fn package(gather: &mut Gather<'_>, dir: Option<EntryPath>) -> Result<Package, Error> {
    let mut scripts = Value::Null;
    if let Some(path) = from_root(dir.as_ref(), "package.json")
        && let Some(mut package) = document(gather, &path)?
    {
        scripts = package.get("scripts").cloned().unwrap_or_default();
        if let Some(members) = package.as_object_mut() {
            if dir == gather.request.spec.dir {
                members.retain(|name, _| !SAYS_NOTHING.contains(&name.as_str()));
            }
            if let Some(scripts) = members.get_mut("scripts").and_then(Value::as_object_mut) {
                let at_install =
                    |name: &String| INSTALL.iter().chain(npm_tree::PREPARE).any(|known| name == known);
                scripts.retain(|name, _| at_install(name));
            }
        }
        gather.parts.set(format!("file {path}"), json::digest(&package));
    }
    let binding =
        from_root(dir.as_ref(), "binding.gyp").is_some_and(|path| gather.files.file(&path).is_some());
    Ok(Package {
        dir,
        scripts,
        binding,
    })
}

/// With `install-links`, what is depended on by `file:` is copied, not linked.
fn copies_links(gather: &mut Gather<'_>) -> Result<bool, Error> {
    if env(&gather.request.spec.env, "npm_config_install_links").is_some() {
        return Ok(true);
    }
    let Some(path) = gather.path(".npmrc") else {
        return Ok(false);
    };
    let settings = gather.content(&path)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&settings).contains("install-links"))
}

/// Scripts of the tree's own packages may read any file: then all below the step's directory and below the packages
/// counts, and all of the tree when a script looks above. The step's `inputs` take the place of that.
fn scripts(gather: &mut Gather<'_>, packages: &[Package], names: &[&[&str]]) -> Result<(), Error> {
    let spec = gather.request.spec;
    let ignored = env(&spec.env, "npm_config_ignore_scripts").is_some_and(|value| value.trim() == "true");
    let names: Vec<&str> = names.iter().copied().flatten().copied().collect();
    let run =
        |package: &&Package| package.binding || names.iter().any(|name| package.scripts.get(*name).is_some());
    let running: Vec<&Package> = packages.iter().filter(run).collect();
    if ignored || running.is_empty() {
        return Ok(());
    }
    for package in &running {
        let name = format!("scripts of {}", place(package.dir.as_ref()));
        gather.parts.set(name, json::digest(&package.scripts));
    }
    if !spec.inputs.is_empty() {
        return Ok(());
    }
    if running
        .iter()
        .any(|package| package.scripts.to_string().contains(".."))
    {
        return gather.below(None);
    }
    gather.below(spec.dir.as_ref())?;
    for package in running {
        gather.below(package.dir.as_ref())?;
    }
    Ok(())
}

/// The variable as npm finds it, which takes its names in any case.
fn env<'a>(env: &'a [EnvVar], name: &str) -> Option<&'a str> {
    let found = env.iter().rev().find(|var| var.name.eq_ignore_ascii_case(name));
    found.map(|var| var.value.as_str())
}

fn document(gather: &mut Gather<'_>, path: &EntryPath) -> Result<Option<Value>, Error> {
    let Some(bytes) = gather.content(path)? else {
        return Ok(None);
    };
    let parsed = npm_tree::parse_json(&path.to_string(), &bytes);
    parsed.map(Some).map_err(|problem| gather.spec_error(problem))
}
