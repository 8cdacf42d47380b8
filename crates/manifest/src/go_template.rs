//! Evaluates the part of Go's text/template that a manifest may use, as kayac/go-config gives it to stretcher.
//!
//! That is text, comments, trim markers, string constants, pipelines and parentheses, and the functions `env`,
//! `must_env` and `json_escape`. Control structures, variables and Go's other functions are not here: they are refused
//! by name rather than passed over, for the same text would mean something else to stretcher.

mod action;

use crate::error::Error;

/// Stands for a value that only the host knows, where a manifest is read back on the producing side.
pub(crate) const UNKNOWN: char = '\u{10fffc}';

/// Where a template's values come from.
#[derive(Clone, Copy)]
enum Environment<'a> {
    /// A host's environment.
    Host(&'a dyn Fn(&str) -> Option<String>),
    /// None: defaults are taken, and what has no default is [`UNKNOWN`].
    Trial,
}

/// Evaluates a manifest's text with the host's environment. `env "A" "B" "x"` is the first of the variables A, B and x
/// that is set and not empty, else the last of the words itself; `must_env "A"` is A, which must be set.
///
/// # Errors
/// [`Error::HostTemplate`] with the line and the action when the text uses more than the functions above, and
/// [`Error::MissingEnv`].
pub fn host_template(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, Error> {
    evaluate(text, Environment::Host(env))
}

/// Evaluates a manifest's text where no host is at hand.
pub(crate) fn trial(text: &str) -> Result<String, Error> {
    evaluate(text, Environment::Trial)
}

fn evaluate(text: &str, env: Environment<'_>) -> Result<String, Error> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut trim = false;
    while let Some(at) = rest.find("{{") {
        let (before, from) = rest.split_at(at);
        let line = 1 + text[..text.len() - from.len()].matches('\n').count();
        let action = action::Action::read(from, line)?;
        let mut piece = before;
        if trim {
            piece = piece.trim_start_matches(SPACES);
        }
        if action.trims_before {
            piece = piece.trim_end_matches(SPACES);
        }
        out.push_str(piece);
        if let Some(pipeline) = &action.pipeline {
            out.push_str(&action::value(pipeline, env, &action)?);
        }
        trim = action.trims_after;
        rest = &from[action.length..];
    }
    out.push_str(if trim {
        rest.trim_start_matches(SPACES)
    } else {
        rest
    });
    Ok(out)
}

/// What Go's template trims and takes as space between words.
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Result<String, Error> {
        host_template(text, &|name| match name {
            "SET" => Some("value".to_owned()),
            "EMPTY" => Some(String::new()),
            "QUOTE" => Some("a\"<b>\n".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn env_takes_the_first_variable_that_is_set_else_the_last_word() {
        assert_eq!(with(r#"a {{ env "SET" "d" }} b"#).unwrap(), "a value b");
        assert_eq!(with(r#"{{env "NO" "SET" "d"}}"#).unwrap(), "value");
        assert_eq!(with(r#"{{ env "EMPTY" "d" }}"#).unwrap(), "d");
        assert_eq!(with(r#"{{ env "NO" "" }}"#).unwrap(), "");
        assert_eq!(with(r#"{{ env "NO" }}"#).unwrap(), "NO");
        assert_eq!(with(r#"{{ env "NO" "SET" }}"#).unwrap(), "value");
        assert_eq!(with("{{ env }}").unwrap(), "");
    }

    #[test]
    fn must_env_needs_the_variable_but_not_a_value() {
        assert_eq!(with(r#"[{{ must_env "EMPTY" }}]"#).unwrap(), "[]");
        let error = with("a\nb {{ must_env \"NO\" }}").unwrap_err();
        assert_eq!(
            error.to_string(),
            "manifest, line 2: the environment variable NO is not defined on this host"
        );
    }

    #[test]
    fn constants_pipelines_and_trims() {
        assert_eq!(with(r#"{{"{{"}} x }} {{`}}`}}"#).unwrap(), "{{ x }} }}");
        assert_eq!(
            with(r#"{{ env "QUOTE" | json_escape }}"#).unwrap(),
            "a\\\"\\u003cb\\u003e\\n"
        );
        assert_eq!(with(r#"{{ json_escape (env "SET") }}"#).unwrap(), "value");
        assert_eq!(with("a \n {{- \"x\" -}} \n b").unwrap(), "axb");
        assert_eq!(
            with("a {{/* no }} end */}} b {{- /* c */ -}} d").unwrap(),
            "a  bd"
        );
        assert_eq!(with(r#"{{ "\x41\u00e9\101\n\"" }}"#).unwrap(), "AéA\n\"");
    }

    #[test]
    fn the_rest_of_go_templates_is_refused_by_name() {
        for (text, part) in [
            ("{{ if true }}x{{ end }}", "if"),
            ("{{ printf \"%s\" \"a\" }}", "printf"),
            ("{{ .Name }}", "."),
            ("{{ $x := 1 }}", "$"),
            ("{{ env \"A\"", "closed"),
            ("{{ }}", "empty"),
            ("{{ \"a\" \"b\" }}", "not a function"),
            ("{{ env \"a\nb\" }}", "line"),
            ("{{ must_env }}", "one word"),
            ("{{ env 1 }}", "1"),
            ("{{ env (\"A\" }}", ")"),
            ("{{ \"\\q\" }}", "\\q"),
            ("{{/*/}}", "closed"),
        ] {
            let error = with(text).unwrap_err().to_string();
            assert!(
                error.contains(part) && error.starts_with("manifest, line 1"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn parentheses_have_a_depth() {
        let nested = |depth: usize| format!("{{{{ {}\"x\"{} }}}}", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(with(&nested(50)).unwrap(), "x");
        assert!(
            with(&nested(100_000))
                .unwrap_err()
                .to_string()
                .contains("too deep")
        );
    }

    #[test]
    fn a_trial_marks_what_only_the_host_knows() {
        assert_eq!(
            trial(r#"{{ env "A" "d" }} {{ must_env "B" }}"#).unwrap(),
            format!("d {UNKNOWN}B{UNKNOWN}")
        );
        assert_eq!(trial(r#"{{ env "A" }}"#).unwrap(), format!("{UNKNOWN}A{UNKNOWN}"));
    }
}
