//! Perl's carton.

use super::*;

pub(super) fn place() -> Place {
    let tools = vec![
        tool("carton", "1.0.35", None),
        tool("perl", "5.36.0", Some("x86_64-linux-gnu-thread-multi 5.36.0")),
    ];
    let files = [
        (
            "cpanfile",
            "requires 'Mojolicious', '9.0';\non test => sub { requires 'Test::More' };\n",
        ),
        ("cpanfile.snapshot", "# carton snapshot format: version 1.0\n"),
        ("lib/App.pm", "1;"),
    ];
    Place::new(Tool::Carton, None, tools, &files)
}

#[test]
fn what_makes_another_key_and_what_does_not() {
    check(
        place,
        &[
            ("the snapshot", |p| p.edit("cpanfile.snapshot", "1.0", "1.1")),
            ("the cpanfile", |p| p.edit("cpanfile", "9.0", "9.1")),
            ("a vendor/cache", |p| {
                p.write("vendor/cache/modules/02packages.details.txt.gz", "");
            }),
            ("the metadata", |p| p.write("META.json", "{}")),
            ("inputs", |p| p.spec.inputs.push("lib/**".to_owned())),
            ("the directory", |p| {
                for name in ["cpanfile", "cpanfile.snapshot"] {
                    p.write(&format!("web/{name}"), &fs::read_to_string(p.at(name)).unwrap());
                }
                p.spec.dir = Some(path("web"));
            }),
        ],
        &[
            ("code", |p| p.write("lib/App.pm", "0;")),
            ("what it makes itself", |p| p.write("local/lib/perl5/X.pm", "")),
            ("another vendor directory", |p| p.write("vendor/other", "")),
        ],
    );
}

#[test]
fn each_file_of_vendor_cache_counts() {
    let place = place();
    place.write("vendor/cache/authors/id/A/AB/ABC/X-1.tar.gz", "1");
    let before = place.keys();
    place.write("vendor/cache/authors/id/A/AB/ABC/X-1.tar.gz", "2");
    assert_ne!(place.keys(), before);
}

#[test]
fn a_cpanfile_that_may_read_any_file_makes_all_files_count_unless_inputs_are_named() {
    let mut place = place();
    place.write("cpanfile", "do './deps.pl';\n");
    place.write("deps.pl", "requires 'X';");
    let before = place.keys();
    place.write("lib/App.pm", "0;");
    assert_ne!(place.keys(), before);
    place.spec.inputs = vec!["deps.pl".to_owned()];
    let before = place.keys();
    place.write("lib/App.pm", "1;");
    assert_eq!(place.keys(), before);
    place.write("deps.pl", "requires 'Y';");
    assert_ne!(place.keys(), before);
}
