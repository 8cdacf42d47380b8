//! Node's npm.

use super::*;

const PACKAGE: &str = r#"{"name": "app", "version": "1.0.0", "description": "d", "main": "x.js",
    "scripts": {"test": "jest"}, "dependencies": {"a": "^1.0.0"}, "workspaces": ["packages/*"]}"#;
const LOCK: &str = r#"{"name": "app", "version": "1.0.0", "lockfileVersion": 3, "requires": true, "packages": {
    "": {"name": "app", "version": "1.0.0", "dependencies": {"a": "^1.0.0"}},
    "packages/w": {"version": "1.0.0"},
    "node_modules/w": {"resolved": "packages/w", "link": true},
    "../lib": {"version": "1.0.0"},
    "node_modules/lib": {"resolved": "../lib", "link": true},
    "node_modules/t": {"version": "1.0.0", "resolved": "file:vendor/t-1.0.0.tgz"},
    "node_modules/d": {"version": "1.0.0", "resolved": "file:vendor/d"},
    "node_modules/a": {"version": "1.0.0", "integrity": "sha512-x"}}}"#;

fn npm(production: bool) -> Place {
    let tools = vec![
        tool("npm", "9.2.0", None),
        tool("node", "20.20.2", Some("115 linux x64")),
    ];
    let files = [
        ("web/package.json", PACKAGE),
        ("web/package-lock.json", LOCK),
        (
            "web/packages/w/package.json",
            r#"{"name": "w", "version": "1.0.0", "scripts": {"test": "jest"}}"#,
        ),
        ("web/packages/w/index.js", "1"),
        ("web/vendor/t-1.0.0.tgz", "t"),
        ("web/vendor/d/index.js", "1"),
        ("web/src/code.js", "1"),
        ("lib/package.json", r#"{"name": "lib", "version": "1.0.0"}"#),
        ("lib/index.js", "1"),
        ("server/main.go", "1"),
    ];
    Place::new(Tool::Npm { production }, Some("web"), tools, &files)
}

const OTHER: &[Change] = &[
    ("a package in the lockfile", |p| {
        p.edit("web/package-lock.json", "sha512-x", "sha512-y");
    }),
    ("a workspace's version in it", |p| {
        p.edit(
            "web/package-lock.json",
            r#""packages/w": {"version": "1.0.0"}"#,
            r#""packages/w": {"version": "1.0.1"}"#,
        );
    }),
    ("a dependency", |p| p.edit("web/package.json", "^1.0.0", "^1.0.1")),
    ("overrides", |p| {
        p.edit(
            "web/package.json",
            r#""main""#,
            r#""overrides": {"a": "1.0.0"}, "main""#,
        );
    }),
    ("engines", |p| {
        p.edit(
            "web/package.json",
            r#""main""#,
            r#""engines": {"node": "20"}, "main""#,
        );
    }),
    ("the config of a tool", |p| {
        p.edit("web/package.json", r#""main""#, r#""config": {"x": "y"}, "main""#);
    }),
    ("an install script", |p| {
        p.edit("web/package.json", "\"test\"", "\"postinstall\"");
    }),
    ("an npm-shrinkwrap.json", |p| {
        p.write("web/npm-shrinkwrap.json", LOCK);
    }),
    ("an .npmrc", |p| p.write("web/.npmrc", "legacy-peer-deps=true")),
    ("an .npmrc above", |p| p.write(".npmrc", "legacy-peer-deps=true")),
    ("a package above that has workspaces", |p| {
        p.write("package.json", r#"{"workspaces": ["web"]}"#);
    }),
    ("a workspace's package.json", |p| {
        p.edit("web/packages/w/package.json", "1.0.0", "1.0.1");
    }),
    ("a linked package's package.json", |p| {
        p.edit("lib/package.json", "1.0.0", "1.0.1");
    }),
    ("a tarball in the tree", |p| {
        p.write("web/vendor/t-1.0.0.tgz", "T");
    }),
    ("a directory that is copied", |p| {
        p.write("web/vendor/d/index.js", "2");
    }),
    ("inputs", |p| p.spec.inputs.push("none".to_owned())),
];

const SAME: &[Change] = &[
    ("code", |p| p.write("web/src/code.js", "2")),
    ("code elsewhere", |p| p.write("server/main.go", "2")),
    ("code of a workspace", |p| p.write("web/packages/w/index.js", "2")),
    ("code of a linked package", |p| p.write("lib/index.js", "2")),
    ("the root's version", |p| {
        p.edit("web/package.json", "1.0.0", "1.0.1");
        p.edit(
            "web/package-lock.json",
            r#""version": "1.0.0", "lock"#,
            r#""version": "1.0.1", "lock"#,
        );
        p.edit(
            "web/package-lock.json",
            r#""app", "version": "1.0.0", "dep"#,
            r#""app", "version": "1.0.1", "dep"#,
        );
    }),
    ("the root's name", |p| {
        p.edit("web/package.json", r#""app""#, r#""shop""#);
        p.edit("web/package-lock.json", r#""name": "app""#, r#""name": "shop""#);
        p.edit("web/package-lock.json", r#"{"name": "app""#, r#"{"name": "shop""#);
    }),
    ("a script that is not run", |p| {
        p.edit("web/package.json", "jest", "vitest");
    }),
    ("a workspace's script that is not run", |p| {
        p.edit("web/packages/w/package.json", "jest", "vitest");
    }),
    ("a description", |p| {
        p.edit("web/package.json", r#""d""#, r#""e""#);
    }),
    ("spaces", |p| p.edit("web/package-lock.json", ": ", " :  ")),
    ("a package above without workspaces", |p| {
        p.write("package.json", "{}");
    }),
    ("what it makes itself", |p| {
        p.write("web/node_modules/a/package.json", "{}");
        p.write("web/packages/w/node_modules/a/package.json", "{}");
    }),
];

#[test]
fn what_makes_another_key_and_what_does_not() {
    check(|| npm(false), OTHER, SAME);
}

#[test]
fn what_makes_other_keys_of_both_trees_and_what_does_not() {
    check(|| npm(true), OTHER, SAME);
}

#[test]
fn the_two_trees_have_keys_of_their_own() {
    let usual = npm(false).keys();
    let keys = npm(true).keys();
    let full = keys.full.clone().unwrap();
    assert!(usual.full.is_none() && usual.seen() == &usual.packed && keys.seen() == &full);
    let mut all = [&usual.packed.key, &keys.packed.key, &full.key];
    all.sort();
    assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "{all:?}");
    let owned: Vec<_> = keys.owned.iter().map(ToString::to_string).collect();
    assert_eq!(
        owned,
        [
            "lib/node_modules",
            "web/node_modules",
            "web/packages/w/node_modules"
        ]
    );
    assert_eq!(keys.paths, keys.owned);
    let mut place = npm(true);
    place.root = Some(path("web"));
    let keys = place.keys();
    assert_eq!((keys.paths.len(), keys.owned.len()), (2, 3));
}

/// The key's answer to a change of a file below the step's directory, and of one elsewhere.
fn answers(place: &Place) -> [bool; 2] {
    let before = place.keys();
    place.write("web/src/code.js", &format!("{:?}", std::time::Instant::now()));
    let below = place.keys();
    place.write("server/main.go", &format!("{:?}", std::time::Instant::now()));
    [below != before, place.keys() != below]
}

#[test]
fn scripts_that_may_read_any_file_make_all_files_count() {
    type Case = (&'static str, [bool; 2], fn(&mut Place));
    let cases: &[Case] = &[
        ("none", [false, false], |_| {}),
        ("postinstall", [true, false], |p| {
            p.edit(
                "web/package.json",
                r#""test": "jest""#,
                r#""postinstall": "patch-package""#,
            );
        }),
        ("dependencies", [true, false], |p| {
            p.edit(
                "web/package.json",
                r#""test": "jest""#,
                r#""dependencies": "make""#,
            );
        }),
        ("prepare of a workspace", [true, false], |p| {
            p.edit(
                "web/packages/w/package.json",
                r#""test": "jest""#,
                r#""prepare": "tsc""#,
            );
        }),
        ("a script that looks above", [true, true], |p| {
            p.edit(
                "web/package.json",
                r#""test": "jest""#,
                r#""install": "node ../tools/x.js""#,
            );
        }),
        ("a native addon", [true, false], |p| {
            p.write("web/binding.gyp", "{}");
        }),
        ("no scripts run", [false, false], |p| {
            p.edit("web/package.json", r#""test": "jest""#, r#""postinstall": "x""#);
            p.spec.env.push(var("NPM_CONFIG_IGNORE_SCRIPTS", "true", false));
        }),
        ("inputs are named", [false, false], |p| {
            p.edit("web/package.json", r#""test": "jest""#, r#""postinstall": "x""#);
            p.spec.inputs.push("patches/**".to_owned());
        }),
        ("inputs that hold it", [true, false], |p| {
            p.edit("web/package.json", r#""test": "jest""#, r#""postinstall": "x""#);
            p.spec.inputs.push("src/**".to_owned());
        }),
    ];
    for (what, expected, change) in cases {
        let mut place = npm(false);
        change(&mut place);
        assert_eq!(answers(&place), *expected, "{what}");
    }
}

#[test]
fn prepare_is_not_run_in_the_packed_tree() {
    let place = npm(true);
    place.edit("web/package.json", r#""test": "jest""#, r#""prepare": "husky""#);
    let before = place.keys();
    place.write("web/src/code.js", "2");
    let after = place.keys();
    assert_eq!(after.packed, before.packed);
    assert_ne!(after.full, before.full);
}

#[test]
fn scripts_see_earlier_layers_by_their_keys() {
    let mut place = npm(false);
    place.edit("web/package.json", r#""test": "jest""#, r#""install": "make""#);
    let key = |key: &str| LayerKey {
        key: key.to_owned(),
        parts: Vec::new(),
    };
    place.earlier.push(EarlierLayer {
        key: key("1"),
        owned: vec![path("web/vendor/bundle")],
    });
    let before = place.keys().packed;
    place.write("web/vendor/bundle/x.rb", "");
    assert_eq!(place.keys().packed, before);
    place.earlier[0].key = key("2");
    let found = differences(&before, &place.keys().packed);
    assert_eq!(found[0].part, "layer of web/vendor/bundle");
}

#[test]
fn packages_whose_scripts_read_known_files() {
    let place = npm(false);
    place.write("web/prisma/schema.prisma", "1");
    let before = place.keys();
    place.edit(
        "web/package-lock.json",
        "node_modules/a\"",
        "node_modules/@prisma/client\"",
    );
    let with = place.keys();
    assert_ne!(with, before);
    place.write("web/prisma/schema.prisma", "2");
    assert_ne!(place.keys(), with);
}

#[test]
fn directories_are_copied_where_npm_is_told_so() {
    let mut place = npm(false);
    place
        .spec
        .env
        .push(var("npm_config_install_links", "true", false));
    let before = place.keys();
    place.write("lib/index.js", "2");
    assert_ne!(place.keys(), before);
}

#[test]
fn a_lockfile_of_version_1_names_what_lies_in_the_tree_elsewhere() {
    let place = npm(false);
    let lock = r#"{"lockfileVersion": 1, "dependencies": {"lib": {"version": "file:../lib"},
        "a": {"version": "1.0.0", "dependencies": {"t": {"version": "file:vendor/t-1.0.0.tgz"}}}}}"#;
    place.write("web/package-lock.json", lock);
    for name in ["lib/index.js", "web/vendor/t-1.0.0.tgz"] {
        let before = place.keys();
        place.write(name, "changed");
        assert_ne!(place.keys(), before, "{name}");
    }
}

#[test]
fn a_file_that_is_no_json_is_the_owners_mistake() {
    for name in [
        "web/package-lock.json",
        "web/package.json",
        "web/packages/w/package.json",
    ] {
        let place = npm(true);
        place.write(name, "{,}");
        let error = place.try_keys().unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Config, "{name}");
        assert!(
            error
                .to_string()
                .starts_with(&format!("step `step`: {name} is no JSON: ")),
            "{error}"
        );
    }
}

#[test]
fn what_differs_is_told_for_readers() {
    let place = npm(false);
    let before = place.keys().packed;
    place.edit("web/package-lock.json", "sha512-x", "sha512-y");
    let mut place = place;
    place.tools[1].version = "20.21.0".to_owned();
    place.platform.arch = "aarch64".to_owned();
    let found = differences(&before, &place.keys().packed);
    let said: Vec<_> = found.iter().map(|one| one.part.as_str()).collect();
    assert_eq!(said, ["lockfile web/package-lock.json", "platform", "tool node"]);
    assert_eq!(
        (found[2].old.as_deref(), found[2].new.as_deref()),
        (Some("20.20.2"), Some("20.21.0"))
    );
    assert_eq!(found[0].new.as_ref().unwrap().len(), 12);
}
