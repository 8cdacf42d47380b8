//! Properties over all texts: what is quoted comes back, and no reader panics.

use proptest::prelude::*;

use crate::go_template::trial;
use crate::quote::{go_literal, go_string, yaml, yaml_block};
use crate::{check, host_template, parse};

/// Texts made of what the readers give a meaning to.
fn texts() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "{{",
        "}}",
        "{",
        "}",
        "- ",
        ": ",
        "\n",
        "\n  ",
        "\"",
        "'",
        "`",
        "\\",
        "|",
        ">",
        "#",
        "&a",
        "*a",
        "!!str",
        "env",
        "must_env",
        "json_escape",
        " ",
        "\t",
        "/*",
        "*/",
        "(",
        ")",
        "src",
        "commands:",
        "post:",
        "[",
        "]",
        ",",
        "~",
        "0755",
        "é",
        "\u{2028}",
        "\r",
        "%",
        "$x",
        ":=",
        "-}}",
        "{{-",
        "\\x4",
        "<<",
        "---",
        "...",
        "?",
        "@",
        "\u{feff}",
        "\u{7f}",
    ]);
    prop_oneof![
        prop::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat()),
        any::<String>()
    ]
}

proptest! {
    #[test]
    fn quoted_texts_come_back(text in texts()) {
        let one = format!("excludes:\n  - {}\n", go_literal(&yaml(&text)));
        prop_assert_eq!(&parse(&trial(&one).unwrap()).unwrap().excludes, std::slice::from_ref(&text));
        let block = format!("excludes:\n  - {}\n", go_literal(&yaml_block(&text, 4)));
        prop_assert_eq!(&parse(&trial(&block).unwrap()).unwrap().excludes, &[text.trim_matches('\n')]);
    }

    #[test]
    fn go_strings_come_back(text in texts()) {
        prop_assert_eq!(trial(&format!("a{{{{ {} }}}}b", go_string(&text))).unwrap(), format!("a{text}b"));
    }

    #[test]
    fn no_reader_panics(text in texts()) {
        let _ = host_template(&text, &|name| (name.len() > 3).then(|| name.to_owned()));
        for text in [text.clone(), format!("commands:\n  post:\n    - {text}"), format!("{{{{{text}}}}}")] {
            if let Ok(manifest) = trial(&text).and_then(|text| parse(&text)) {
                let _ = check(&manifest);
            }
        }
    }
}
