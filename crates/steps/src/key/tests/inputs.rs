//! What the patterns of `inputs` match, and what of that is not known.

use super::run::{layer, place};
use super::*;

/// The parts of the key that a change of the tree changed, and what the keys say of their inputs.
fn changed(
    inputs: &[&str],
    make: impl Fn(&mut Place),
    change: impl Fn(&mut Place),
) -> (Vec<String>, Vec<String>) {
    let keys = |change: Option<&dyn Fn(&mut Place)>| {
        let mut place = place();
        place.spec.inputs = inputs.iter().map(|text| (*text).to_owned()).collect();
        make(&mut place);
        if let Some(change) = change {
            change(&mut place);
        }
        place.keys()
    };
    let (before, after) = (keys(None), keys(Some(&change)));
    let found = differences(&before.packed, &after.packed);
    (found.into_iter().map(|one| one.part).collect(), after.unsure)
}

#[test]
fn what_matches_a_directory_is_all_below_it() {
    for inputs in [
        "in",
        "in/",
        "./in",
        "in/deep",
        "i*",
        "*/deep",
        "{in,lock}/deep",
        "{x,i}n",
        "**/deep",
        ".",
        "in/**/b",
        "[i]n/*/*",
        "{lock,{x,in}/deep/b}",
        "in/[d{]eep",
    ] {
        let (parts, unsure) = changed(&[inputs], |_| {}, |p| p.write("web/in/deep/b", "B"));
        assert_eq!(parts, ["file web/in/deep/b (of its inputs)"], "{inputs}");
        assert_eq!(unsure, [""; 0], "{inputs}");
    }
    for inputs in [
        "lock", "in/a", "in/*.b", "in/d", "in/a/**", "deep", "in/[!d]*", "i\\*",
    ] {
        let (parts, _) = changed(&[inputs], |_| {}, |p| p.write("web/in/deep/b", "B"));
        assert_eq!(parts, [""; 0], "{inputs}");
    }
}

#[test]
fn a_preset_counts_the_directory_too() {
    let key = |text: &str| {
        let mut place = carton::place();
        place.spec.inputs = vec!["patches".to_owned()];
        let dir = place
            .spec
            .dir
            .as_ref()
            .map_or_else(String::new, |dir| format!("{dir}/"));
        place.write(&format!("{dir}patches/deep/p"), text);
        let keys = place.keys();
        assert_eq!(keys.unsure, [""; 0]);
        keys.packed
    };
    assert_ne!(key("1"), key("2"));
    assert_eq!(key("1"), key("1"));
}

#[test]
fn links_to_directories_are_followed() {
    let linked = |p: &mut Place| {
        p.write("real/deep/x", "1");
        p.link("../real", "web/data");
        p.link("../web/data/deep", "web/short");
        p.link("..", "web/up");
    };
    for inputs in [
        "data",
        "data/**",
        "data/deep/x",
        "data/*/x",
        "short",
        "short/*",
        "d*/**",
        "**/x",
        "up/real/**",
        "up/web/data",
        "up/web/up/real/deep",
    ] {
        // Behind `up` lies `up` itself: that must come to an end.
        let (parts, unsure) = changed(&[inputs], linked, |p| p.write("real/deep/x", "2"));
        assert!(
            parts.contains(&"file real/deep/x (of its inputs)".to_owned()),
            "{inputs}: {parts:?}"
        );
        assert_eq!(unsure, [""; 0], "{inputs}");
    }
    // The same files, by another link.
    let (parts, _) = changed(&["data/**", "short/**"], linked, |p| {
        p.remove("web/data");
        p.link("../real/.", "web/data");
    });
    assert_eq!(parts, ["file web/data (of its inputs)"]);
    // The way leads on by a link that stayed.
    let (parts, _) = changed(
        &["one", "lib"],
        |p| {
            p.write("a/x", "");
            p.write("b/x", "");
            p.write("web/lib/x", "");
            p.link("a", "now");
            p.link("../now", "web/one");
        },
        |p| {
            p.remove("now");
            p.link("b", "now");
        },
    );
    let said: Vec<&str> = parts.iter().map(String::as_str).collect();
    assert_eq!(
        said,
        [
            "file a/x (of its inputs)",
            "file b/x (of its inputs)",
            "file web/one (of its inputs)"
        ]
    );
}

#[test]
fn an_earlier_layer_behind_a_link_counts_by_its_key() {
    for (target, inputs) in [
        ("../vend/or", "data/**"),
        ("../vend/or", "data"),
        ("../vend/or/x", "data"),
        ("../vend", "data/or/*"),
        ("../vend", "*/**"),
        ("..", "data/vend/or/x"),
    ] {
        let with = |key: &str| {
            let mut place = place();
            place.spec.inputs = vec![inputs.to_owned()];
            place.link(target, "web/data");
            place.earlier.push(layer(key, &["vend/or"]));
            let keys = place.keys();
            assert_eq!(keys.unsure, [""; 0], "{target} {inputs}");
            keys.packed
        };
        let found = differences(&with("1"), &with("2"));
        let said: Vec<_> = found.iter().map(|one| one.part.as_str()).collect();
        assert_eq!(said, ["layer of vend/or"], "{target} {inputs}");
    }
}

#[test]
fn inputs_that_the_tree_does_not_tell_are_said() {
    let unsure = |inputs: &[&str], make: fn(&mut Place)| changed(inputs, make, |_| {}).1;
    let none: fn(&mut Place) = |_| {};
    assert_eq!(
        unsure(&["lock", "dta", "in/**/c", "{x,y}", "in/*"], none),
        ["dta", "in/**/c", "{x,y}"].map(|pattern| format!("no file matches `{pattern}` of its `inputs`"))
    );
    assert_eq!(unsure(&["{x,lock}"], none), [""; 0]);
    // What the step makes itself is no input.
    assert_eq!(
        unsure(&["deps/**"], |p| p.write("web/deps/x", "")),
        ["no file matches `deps/**` of its `inputs`"]
    );
    let links: fn(&mut Place) = |p| {
        p.link("../../../elsewhere", "web/in/out");
        p.link("/etc", "web/in/etc");
        p.link("nothing", "web/in/gone");
        p.link("../deps", "web/in/own");
    };
    let told = [
        "web/in/etc is among its `inputs`, and is a link that leaves the tree",
        "web/in/gone is among its `inputs`, and is a link to what is not in the tree",
        "web/in/out is among its `inputs`, and is a link that leaves the tree",
    ];
    for inputs in ["in", "in/**", "in/*", "**", "in/**/*"] {
        assert_eq!(unsure(&[inputs], links), told, "{inputs}");
    }
    assert_eq!(unsure(&["in/etc/hosts"], links), told[..1]);
    assert_eq!(unsure(&["in/deep/*", "in/a", "in/**/b"], links), [""; 0]);
    let mut place = place();
    (place.spec.inputs, place.spec.env[2].value) = (vec!["hunter2/**".to_owned()], "hunter2".to_owned());
    assert_eq!(place.keys().unsure, ["no file matches `***/**` of its `inputs`"]);
}
