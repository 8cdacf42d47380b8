//! Commands with inputs and outputs.

use super::*;

pub(super) fn place() -> Place {
    let files = [
        ("web/in/a", "a"),
        ("web/in/deep/b", "b"),
        ("web/lock", "1"),
        ("web/other", "o"),
        ("in/a", "elsewhere"),
        ("lib/x", "x"),
    ];
    let command = Tool::Run {
        command: "make deps".to_owned(),
    };
    let mut place = Place::new(command, Some("web"), Vec::new(), &files);
    place.spec.inputs = vec!["lock".to_owned(), "in/**".to_owned()];
    place.spec.outputs = vec!["deps".to_owned(), "more".to_owned()];
    place
}

pub(super) fn layer(key: &str, owned: &[&str]) -> EarlierLayer {
    EarlierLayer {
        key: LayerKey {
            key: key.to_owned(),
            parts: Vec::new(),
        },
        owned: owned.iter().map(|name| path(name)).collect(),
    }
}

#[test]
fn what_makes_another_key_and_what_does_not() {
    check(
        place,
        &[
            ("the command", |p| {
                p.spec.tool = Tool::Run {
                    command: "make deps ".to_owned(),
                };
            }),
            ("an input's content", |p| p.write("web/in/deep/b", "B")),
            ("an input less", |p| p.remove("web/lock")),
            ("an input more", |p| p.write("web/in/c", "")),
            ("an input by another name", |p| {
                fs::rename(p.at("web/in/a"), p.at("web/in/A")).unwrap();
            }),
            ("an input with a name that is no UTF-8", |p| {
                p.write_bytes(b"web/in/\xff", b"");
            }),
            ("an input that is executable", |p| p.executable("web/lock")),
            ("an input that is a link", |p| {
                p.remove("web/in/a");
                p.link("deep/b", "web/in/a");
            }),
            ("other patterns", |p| p.spec.inputs.push("none".to_owned())),
            ("other outputs", |p| drop(p.spec.outputs.pop())),
            ("one output for two", |p| {
                p.spec.outputs = vec!["deps more".to_owned()];
            }),
            ("an earlier layer among the inputs", |p| {
                p.earlier.push(layer("k", &["web/in/made"]));
            }),
            ("the directory", |p| {
                p.spec.dir = Some(path("lib"));
            }),
        ],
        &[
            ("another file", |p| p.write("web/other", "O")),
            ("a file outside of the directory", |p| p.write("in/a", "A")),
            ("the order of the patterns", |p| p.spec.inputs.reverse()),
            ("the order of the outputs", |p| p.spec.outputs.reverse()),
            ("what it makes itself", |p| p.write("web/deps/x", "")),
            ("an earlier layer elsewhere", |p| {
                p.earlier.push(layer("k", &["web/other", "node_modules"]));
            }),
        ],
    );
}

#[test]
fn names_that_are_no_utf8_are_told_apart() {
    let place = place();
    place.write_bytes(b"web/in/\xff", b"");
    let one = place.keys().packed;
    fs::rename(
        place
            .dir
            .path()
            .join(Path::new(OsStr::from_bytes(b"web/in/\xff"))),
        place
            .dir
            .path()
            .join(Path::new(OsStr::from_bytes(b"web/in/\xfe"))),
    )
    .unwrap();
    let other = place.keys().packed;
    let said: Vec<_> = differences(&one, &other)
        .into_iter()
        .map(|one| one.part)
        .collect();
    assert_eq!(
        said,
        [
            "file web/in/\\xfe (of its inputs)",
            "file web/in/\\xff (of its inputs)"
        ]
    );
}

#[test]
fn a_link_among_the_inputs_counts_with_what_it_leads_to() {
    let place = place();
    place.link("../../lib/x", "web/in/link");
    let before = place.keys();
    place.write("lib/x", "X");
    assert_ne!(place.keys(), before);
}

#[test]
fn an_earlier_layer_counts_by_its_key_whether_its_files_are_there_or_not() {
    let with = |key: &str, inputs: &str, there: bool| {
        let mut place = place();
        place
            .earlier
            .push(layer(key, &["web/packages/a/node_modules", "web/node_modules"]));
        place.spec.inputs = vec![inputs.to_owned()];
        if there {
            place.write("web/node_modules/x.js", "");
        }
        place.keys().packed
    };
    for inputs in [
        "node_modules/**",
        "**/*.js",
        "node_modules/x.js",
        "*/x.js",
        "{lock,node_modules/x.js}",
        "./n*/**",
    ] {
        let one = with("1", inputs, false);
        assert_eq!(with("1", inputs, true), one, "{inputs}");
        let found = differences(&one, &with("2", inputs, true));
        let said: Vec<_> = found.iter().map(|one| one.part.as_str()).collect();
        assert_eq!(said, ["layer of web/node_modules"], "{inputs}");
    }
    for inputs in ["lock", "*.js", "in/**", "node_module/*", "node*"] {
        let counts = inputs == "node*";
        assert_eq!(
            with("1", inputs, true) != with("2", inputs, true),
            counts,
            "{inputs}"
        );
    }
}

#[test]
fn the_tools_of_presets_count() {
    let before = place().keys().packed;
    let parts = |tools: &[(&str, &str, Option<&str>)]| {
        let mut place = place();
        place.tools = tools
            .iter()
            .map(|(name, version, abi)| tool(name, version, *abi))
            .collect();
        let found = differences(&before, &place.keys().packed);
        found
            .into_iter()
            .map(|one| format!("{} = {}", one.part, one.new.unwrap()))
            .collect::<Vec<_>>()
    };
    let node = ("node", "20.1.0", Some("115 linux x64"));
    assert_eq!(
        parts(&[("npm", "10.2.0", None), node]),
        [
            "abi node = 115 linux x64",
            "tool node = 20.1.0",
            "tool npm = 10.2.0"
        ]
    );
    let other = ("node", "18.1.0", Some("108 linux x64"));
    let both = [
        "abi node = 108 linux x64, 115 linux x64",
        "tool node = 18.1.0, 20.1.0",
    ];
    assert_eq!(parts(&[node, other]), both);
    assert_eq!(parts(&[other, node, node]), both);
}

#[test]
fn many_files_are_one_part() {
    let place = place();
    for number in 0..70 {
        place.write(&format!("web/in/{number}"), "");
    }
    let one = place.keys().packed;
    place.write("web/in/69", "x");
    let found = differences(&one, &place.keys().packed);
    let [one] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(one.part, "files of its inputs");
    assert!(one.old.as_ref().unwrap().starts_with("73 files, "), "{one:?}");
}

#[test]
fn a_pattern_that_cannot_be_is_the_owners_mistake() {
    let mut place = place();
    let many = "{a,b}".repeat(10);
    for (pattern, said) in [
        ("../x", "`../x`"),
        ("{a,../x}", "it leaves `dir`"),
        ("a[", "`a[`, which is none"),
        ("", "empty pattern; `.` is all"),
        (many.as_str(), "more than 1000 others"),
    ] {
        place.spec.inputs = vec![pattern.to_owned()];
        let error = place.try_keys().unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Config);
        assert!(error.to_string().contains(said), "{error}");
    }
}
