//! What is plain, and what is not.

use super::*;

const PLAIN: &str = r##"# frozen_string_literal: true
source "https://rubygems.org"
git_source(:github) { |repo| "https://github.com/#{repo}.git" }
git_source(:lab) do |name|
  name = "#{name}/#{name}" unless name.include?("/")
  "https://gitlab.com/#{name}.git"
end
ruby "3.1.2", engine: 'ruby'
gem 'rails', '~> 7.0.4', '>= 7.0.4.1' # `File.read("x")` in a comment
gem "pg", require: false, platforms: %i[mri mingw]
gem "tzinfo-data", platforms: %w(x y)
gem "a", :git => "https://example.org/a.git", :branch => 'main'
gem "b", path: "gems/b" if ENV["B"] == "1" && RUBY_VERSION >= "3"
rails = ENV.fetch("RAILS", "7.0")
gem "rails", rails if Gem::Version.new(RUBY_VERSION) < Gem::Version.new("3.2")
group :development, :test do
  gem "debug", platforms: [:mri, :mingw]
end
gemspec
"##;

#[test]
fn gemfiles_that_only_name_gems_read_nothing() {
    assert_eq!(ruby(PLAIN), Some(Vec::new()));
    assert_eq!(ruby(""), Some(Vec::new()));
}

#[test]
fn gemfiles_that_might_read_a_file_are_not_plain() {
    for line in [
        "gem 'x', YAML.load_file('x.yml')['v']",
        "require 'json'",
        "require_relative 'x'",
        "load 'x'",
        "instance_eval(File.read('x'))",
        "eval File.read(\"#{__dir__}/x\")",
        "eval_gemfile File.join(__dir__, 'x')",
        "eval_gemfile \"x#{ENV['Y']}\"",
        "eval_gemfile 'x' + y",
        "gem 'x', File.read('v'.sub('v', 'w'))",
        "gem 'x', File.read('v' 'w')",
        "each { |x = File.read('v')| gem x }",
        "x = 1 | File.read(v)",
        "gem 'x', `cat v`",
        "gem 'x', %x(cat v)",
        "gem 'x', \"#{IO.popen('cat v')}\"",
        "Dir['*'].each { |f| gem f }",
        "open('v') { |f| gem f.gets }",
        "gem 'x', <<~V\n1\nV\n",
        "gem 'x', $version",
        "gem 'x', \"#$version\"",
        "plugin 'x'",
        "Pathname.new('x').read",
        "gem 'x', ::File.expand_path('x')",
        "gem 'x', version",
        "gem 'x', \"open\".send(:open, 'x')",
        "gem 'unclosed",
        "File = 1",
        "def x; end",
        "ruby file: name",
    ] {
        assert_eq!(ruby(line), None, "{line}");
    }
}

#[test]
fn files_that_a_gemfile_names_are_known() {
    let file = |name: &str| Reads::File(name.to_owned());
    let text = "ruby File.read('.ruby-version').strip\nruby file: \".v\"\nruby :file => '.w'\n\
                eval_gemfile(\"gems/x.rb\")\neval_gemfile 'Gemfile.local' if File.exist?(\"Gemfile.local\")\n";
    let found = ruby(text).unwrap();
    assert_eq!(
        found,
        [
            file(".ruby-version"),
            file(".v"),
            file(".w"),
            Reads::Gemfile("gems/x.rb".to_owned()),
            Reads::Gemfile("Gemfile.local".to_owned()),
            file("Gemfile.local"),
        ]
    );
}

#[test]
fn cpanfiles_that_only_name_modules_are_plain() {
    let plain = "# `open` in a comment\nrequires 'Mojolicious', '>= 9.0, < 10';\nrequires perl => 5.010_001;\n\
                 requires Plack::Builder => 0;\non 'test' => sub { requires \"Test::More\", '0.98'; };\n\
                 on develop => sub {\n  recommends 'X' if $] >= 5.016 and $^O eq 'linux';\n};\n\
                 feature 'sqlite', 'SQLite support' => sub { requires 'DBD::SQLite' };\n\
                 requires qw(A::B 1.0);\n";
    assert!(perl_is_plain(plain));
    for line in [
        "do './more.pl';",
        "require './more.pl';",
        "use JSON; ",
        "open my $f, '<', 'x';",
        "requires 'X', `cat v`;",
        "requires 'X', \"$v\";",
        "requires $_ for qw(A B);",
        "requires 'X' if -e 'x';",
        "requires 'X', dist => 'x.tar.gz';",
        "requires 'X', url => 'file:///x.tar.gz';",
        "mirror 'file:///cpan';",
        "eval { 1 };",
        "__END__\nrequires 'X'",
        "requires 'X', <<V;\n1\nV\n",
        "requires 'X', qx(cat v);",
        "requires 'X",
    ] {
        assert!(!perl_is_plain(line), "{line}");
    }
}
