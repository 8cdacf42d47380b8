//! Ruby's bundler.

use super::*;

const LOCK: &str = "PATH\n  remote: gems/own\n  specs:\n    own (0.1.0)\n\nGEM\n  remote: https://rubygems.org/\n  specs:\n    \
                    rack (3.0.0)\n\nDEPENDENCIES\n  own!\n  rack\n\nBUNDLED WITH\n   2.3.15\n";

fn place() -> Place {
    let tools = vec![
        tool("bundle", "2.3.15", None),
        tool("ruby", "3.1.2p20", Some("x86_64-linux-gnu 3.1.0")),
    ];
    let files = [
        (
            "Gemfile",
            "source 'https://rubygems.org'\ngem 'rack'\ngem 'own', path: 'gems/own'\neval_gemfile 'more/Gemfile.own'\n",
        ),
        (
            "more/Gemfile.own",
            "gem 'x', File.read('x-version').strip\neval_gemfile 'third.rb'\n",
        ),
        ("more/third.rb", "gem 'third'\n"),
        ("x-version", "1"),
        ("Gemfile.lock", LOCK),
        ("gems/own/own.gemspec", "Gem::Specification.new"),
        ("gems/own/lib/own.rb", ""),
        ("app/code.rb", "1"),
    ];
    Place::new(Tool::Bundle { without: Vec::new() }, None, tools, &files)
}

#[test]
fn what_makes_another_key_and_what_does_not() {
    check(
        place,
        &[
            ("the lockfile", |p| {
                p.edit("Gemfile.lock", "rack (3.0.0)", "rack (3.0.1)");
            }),
            ("bundler's version in it", |p| {
                p.edit("Gemfile.lock", "2.3.15", "2.3.16");
            }),
            ("the Gemfile", |p| {
                p.edit("Gemfile", "gem 'rack'", "gem 'rack', require: false");
            }),
            ("a Gemfile that is taken in", |p| {
                p.edit("more/Gemfile.own", "'x'", "'y'");
            }),
            ("one that is taken in by that", |p| {
                p.edit("more/third.rb", "third", "fourth");
            }),
            ("a file that is read", |p| p.write("x-version", "2")),
            ("a gems.rb", |p| p.write("gems.rb", "")),
            ("a gems.locked", |p| p.write("gems.locked", "")),
            ("settings", |p| {
                p.write(".bundle/config", "---\nBUNDLE_BUILD__PG: \"--with-pg\"\n");
                p.track(".bundle/config");
            }),
            ("settings that an earlier step made", |p| {
                p.write(".bundle/config", "---\nBUNDLE_BUILD__PG: \"--with-pg\"\n");
            }),
            ("a .ruby-version", |p| p.write(".ruby-version", "3.1.2")),
            ("a .tool-versions", |p| p.write(".tool-versions", "ruby 3.1.2")),
            ("a gemspec", |p| p.write("app.gemspec", "")),
            ("a gem in the tree", |p| p.write("gems/own/lib/own.rb", "1")),
            ("a file more in it", |p| p.write("gems/own/ext/extconf.rb", "")),
            ("vendor/cache", |p| p.write("vendor/cache/rack-3.0.0.gem", "")),
            ("without", |p| {
                p.spec.tool = Tool::Bundle {
                    without: vec!["test".to_owned()],
                };
            }),
            ("inputs", |p| p.spec.inputs.push("app/*".to_owned())),
        ],
        &[
            ("code", |p| p.write("app/code.rb", "2")),
            ("another directory's lockfile", |p| {
                p.write("app/Gemfile.lock", "");
            }),
            ("its own config", |p| {
                p.write(".bundle/config", &crate::presets::bundle::own_config(&[]));
            }),
            ("what it makes itself", |p| {
                p.write("vendor/bundle/ruby/3.1.0/gems/x.rb", "");
            }),
        ],
    );
}

#[test]
fn a_tracked_config_is_code() {
    let mut place = place();
    place.write(".bundle/config", &crate::presets::bundle::own_config(&[]));
    let names = |keys: &StepKeys| keys.owned.iter().map(ToString::to_string).collect::<Vec<_>>();
    let before = place.keys();
    assert_eq!(names(&before), [".bundle/config", "vendor/bundle"]);
    place.track(".bundle/config");
    let after = place.keys();
    assert_eq!(names(&after), ["vendor/bundle"]);
    assert_ne!(after.packed.key, before.packed.key);
}

#[test]
fn a_gemfile_and_a_cache_that_the_config_names_count() {
    let mut place = place();
    place.write(
        ".bundle/config",
        "---\nBUNDLE_GEMFILE: \"gemfiles/a.rb\"\nBUNDLE_CACHE_PATH: \"gems-cache\"\nBUNDLE_LOCAL__RACK: clone\n",
    );
    place.track(".bundle/config");
    for name in [
        "gemfiles/a.rb",
        "gemfiles/a.rb.lock",
        "gems-cache/x.gem",
        "clone/lib/rack.rb",
    ] {
        let before = place.keys();
        place.write(name, "");
        assert_ne!(place.keys(), before, "{name}");
    }
}

#[test]
fn a_gemfile_that_may_read_any_file_makes_all_files_count_unless_inputs_are_named() {
    let risky: &[Change] = &[
        ("code in the Gemfile", |p| {
            p.edit(
                "Gemfile",
                "gem 'rack'",
                "gem 'rack', YAML.load_file('v.yml')['rack']",
            );
        }),
        ("code in what is taken in", |p| {
            p.write("more/third.rb", "require 'json'");
        }),
        ("an app that is a gem", |p| {
            p.edit("Gemfile.lock", "remote: gems/own", "remote: .");
        }),
    ];
    for (what, change) in risky {
        let mut place = place();
        change(&mut place);
        let before = place.keys();
        place.write("app/code.rb", "2");
        assert_ne!(place.keys(), before, "{what}");
        place.spec.inputs = vec!["v.yml".to_owned()];
        let before = place.keys();
        place.write("app/code.rb", "3");
        assert_eq!(place.keys(), before, "{what}");
        place.write("v.yml", "rack: 3");
        assert_ne!(place.keys(), before, "{what}");
    }
}

#[test]
fn a_gem_beside_the_steps_directory_counts() {
    let mut place = place();
    for name in ["Gemfile", "Gemfile.lock"] {
        place.write(
            &format!("web/{name}"),
            &fs::read_to_string(place.at(name)).unwrap(),
        );
    }
    place.edit("web/Gemfile.lock", "remote: gems/own", "remote: ../gems/own");
    place.edit("web/Gemfile", "eval_gemfile 'more/Gemfile.own'", "");
    place.spec.dir = Some(path("web"));
    let before = place.keys();
    place.write("app/code.rb", "2");
    assert_eq!(place.keys(), before);
    place.write("gems/own/lib/own.rb", "2");
    assert_ne!(place.keys(), before);
    // A gem that is a link into another directory leads anywhere.
    place.link("../../app", "gems/own/app");
    let before = place.keys();
    place.write("app/code.rb", "3");
    assert_ne!(place.keys(), before);
}
