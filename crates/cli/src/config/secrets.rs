//! Secrets that stand in the config: found in every text of the file, refused with the reason, and masked in what is shown of
//! the file. Also the lint on `$NAME` where nothing replaces it.

use std::ops::Range;

use super::error::{Lint, Problem};
use super::setting::Origin;
use super::text::{Node, Part, Value, bare, dotted};

/// What the search found.
#[derive(Debug, Default)]
pub struct Found {
    /// A refusal for each inline secret.
    pub problems: Vec<Problem>,
    /// The bytes of the secrets, for masking.
    pub spans: Vec<Range<usize>>,
    /// `$NAME` in texts that nothing expands.
    pub lints: Vec<Lint>,
}

/// Keys of the config whose names sound secret and whose values are not.
const NOT_SECRET: [&str; 4] = ["ssh_key", "client_key", "sse_kms_key_id", "token_file"];

/// Words in a name that make its value secret.
const SECRET_WORDS: [&str; 7] = [
    "token",
    "password",
    "passwd",
    "passphrase",
    "secret",
    "credential",
    "apikey",
];

/// Last words of a name which say that the value is only about a secret.
const ABOUT: [&str; 12] = [
    "file", "path", "dir", "url", "name", "id", "ttl", "timeout", "length", "type", "method", "user",
];

/// Starts of tokens as their makers write them, with the least length of the rest.
const PREFIXES: [(&str, usize, &str); 11] = [
    ("AKIA", 16, "an AWS access key"),
    ("ASIA", 16, "an AWS access key"),
    ("ghp_", 20, "a GitHub token"),
    ("gho_", 20, "a GitHub token"),
    ("ghs_", 20, "a GitHub token"),
    ("github_pat_", 20, "a GitHub token"),
    ("glpat-", 16, "a GitLab token"),
    ("npm_", 30, "an npm token"),
    ("xoxb-", 16, "a Slack token"),
    ("xoxp-", 16, "a Slack token"),
    ("hvs.", 20, "a Vault token"),
];

/// Whether a name says that its value is secret.
pub fn sounds_secret(name: &str) -> bool {
    let folded = name.to_lowercase().replace(['-', '.'], "_");
    let words: Vec<&str> = folded.split('_').filter(|word| !word.is_empty()).collect();
    if words.last().is_some_and(|last| ABOUT.contains(last)) || words.contains(&"public") {
        return false;
    }
    let is_key = words.len() > 1 && words.last() == Some(&"key");
    let camel = name.to_lowercase();
    is_key
        || words
            .iter()
            .any(|word| SECRET_WORDS.contains(&word.trim_end_matches('s')))
        || ["password", "secretkey", "apikey", "accesstoken"]
            .iter()
            .any(|word| camel.contains(word))
}

/// Searches a whole file.
pub fn search(root: &Node) -> Found {
    let mut found = Found::default();
    walk(root, &mut Vec::new(), &mut found);
    found
}

fn walk(node: &Node, path: &mut Vec<Part>, found: &mut Found) {
    match &node.value {
        Value::Text(text) => text_at(text, node, path, found),
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                path.push(Part::Item(at));
                walk(item, path, found);
                path.pop();
            }
        }
        Value::Table(entries) => {
            secret_with_default(node, path, found);
            for entry in entries {
                path.push(Part::Key(entry.key.clone()));
                walk(&entry.node, path, found);
                path.pop();
            }
        }
        _ => {}
    }
}

fn text_at(text: &str, node: &Node, path: &[Part], found: &mut Found) {
    let keys: Vec<&str> = path
        .iter()
        .filter_map(|part| {
            if let Part::Key(key) = part {
                Some(key.as_str())
            } else {
                None
            }
        })
        .collect();
    let Some(key) = keys.last().copied() else { return };
    if let Some(kind) = kind_of(text) {
        refuse(format!("`{}` holds {kind}", dotted(path)), key, node, path, found);
    } else if is_value_of_secret(key, text) {
        refuse(
            format!("`{}` holds a secret, by its name", dotted(path)),
            key,
            node,
            path,
            found,
        );
    } else if in_environment(&keys) && mentions_variable(text) {
        let Origin::File { line } = node.origin else {
            return;
        };
        found.lints.push(Lint {
            message: format!(
                "`{}` is taken as it stands: nothing replaces the variable in {text:?}",
                dotted(path)
            ),
            line,
            help: format!("to read one write {} = {{ env = \"NAME\" }}", bare(key)),
        });
    }
}

/// Whether the name makes this text a secret. A name that ends in `key` may be that of a cache: the text decides.
fn is_value_of_secret(key: &str, text: &str) -> bool {
    if text.is_empty() || NOT_SECRET.contains(&key) || !sounds_secret(key) {
        return false;
    }
    let folded = key.to_lowercase();
    let by_word = SECRET_WORDS.iter().any(|word| folded.contains(word));
    let looks_random =
        text.len() >= 12 && !text.contains([' ', '/']) && text.contains(|c: char| c.is_ascii_digit());
    by_word || looks_random
}

/// Whether the path is that of a variable in an `env` table.
fn in_environment(keys: &[&str]) -> bool {
    keys.len() >= 2 && keys[keys.len() - 2] == "env"
}

fn refuse(message: String, key: &str, node: &Node, path: &[Part], found: &mut Found) {
    let reason = "the config is kept with the code, and everyone who has the one has the other";
    let problem = Problem::at(
        node.span.clone(),
        message,
        "a secret must not stand in the config",
    );
    found
        .problems
        .push(problem.help(format!("{}; {reason}", instead(key, path))));
    found.spans.push(node.span.clone());
}

/// What to write instead.
fn instead(key: &str, path: &[Part]) -> String {
    let keys = dotted(path);
    let folded = key.to_lowercase();
    if folded.contains("access_key") || (folded == "secret_key" && keys.contains("store")) {
        return "AWS credentials come from AWS's own chain: the environment, a profile, the machine's role"
            .to_owned();
    }
    if keys.contains(".vars.") {
        return "hosts log the manifest: read the secret on the host, in the command that needs it"
            .to_owned();
    }
    if keys == "repo" || keys.starts_with("repo[") {
        return "write the URL without it, and [source] token = { env = \"GIT_TOKEN\" }".to_owned();
    }
    let name = match keys.as_str() {
        "source.token" => "GIT_TOKEN".to_owned(),
        _ if keys.ends_with("consul.token") => "CONSUL_HTTP_TOKEN".to_owned(),
        _ => key
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_uppercase()
                } else {
                    '_'
                }
            })
            .collect(),
    };
    format!("write {} = {{ env = \"{name}\", secret = true }}", bare(key))
}

/// `{ env = "X", secret = true, default = "…" }` is an inline secret by the back door.
fn secret_with_default(node: &Node, path: &[Part], found: &mut Found) {
    let (Some(_), Some(default)) = (node.get("env").and_then(Node::as_text), node.get("default")) else {
        return;
    };
    let key = path.iter().rev().find_map(|part| {
        if let Part::Key(key) = part {
            Some(key.as_str())
        } else {
            None
        }
    });
    let marked = match node.get("secret").map(|secret| &secret.value) {
        Some(Value::Bool(marked)) => *marked,
        _ => key.is_some_and(sounds_secret),
    };
    if marked && default.as_text().is_some_and(|text| !text.is_empty()) {
        let message = format!("`{}` is secret and has a default", dotted(path));
        let problem = Problem::at(
            default.span.clone(),
            message,
            "a secret must not stand in the config",
        );
        found
            .problems
            .push(problem.help("leave `default` away: the variable must be set"));
        found.spans.push(default.span.clone());
    }
}

/// What a text is by its looks.
fn kind_of(text: &str) -> Option<&'static str> {
    if text.contains("-----BEGIN ") && text.contains("PRIVATE KEY-----") {
        return Some("a private key");
    }
    if credentials_in_url(text).is_some() {
        return Some("a URL with a password");
    }
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    text.split(|c: char| !word(c)).find_map(|part| {
        PREFIXES
            .iter()
            .find(|(prefix, least, _)| part.strip_prefix(prefix).is_some_and(|rest| rest.len() >= *least))
            .map(|(_, _, kind)| *kind)
    })
}

/// The bytes of `user:password` in a URL of the text. A password that is a shell's or a template's variable is none.
fn credentials_in_url(text: &str) -> Option<Range<usize>> {
    let mut from = 0;
    while let Some(at) = text[from..].find("://") {
        let start = from + at + 3;
        let end = text[start..]
            .find(['/', ' ', '"', '\'', '\n', '?', '#'])
            .map_or(text.len(), |end| start + end);
        if let Some(user) = text[start..end].rfind('@').map(|at| &text[start..start + at])
            && let Some((_, password)) = user.split_once(':')
            && !password.is_empty()
            && !password.starts_with(['$', '{'])
        {
            return Some(start..start + user.len());
        }
        from = start;
    }
    None
}

fn mentions_variable(text: &str) -> bool {
    text.match_indices('$').any(|(at, _)| {
        let next = text[at + 1..].trim_start_matches('{').bytes().next();
        next.is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
    })
}

/// The file's text with the secrets' bytes replaced, so that an error can show the lines.
pub fn masked(text: &str, spans: &[Range<usize>]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for span in spans {
        for byte in bytes.iter_mut().take(span.end).skip(span.start) {
            // Quotes and line breaks keep the lines readable and the spans where they are.
            if !matches!(byte, b'\n' | b'\r' | b'"' | b'\'') {
                *byte = b'*';
            }
        }
    }
    // A span covers whole characters, so what is left is text.
    String::from_utf8(bytes).unwrap_or_default()
}

/// For a text that does not parse: the values, line by line, that a secret may be.
pub fn suspects(text: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if let Some((key, value)) = line.split_once('=') {
            let key = key
                .rsplit(['.', '{', ','])
                .next()
                .unwrap_or(key)
                .trim()
                .trim_matches(['"', '\'']);
            let secret = sounds_secret(key) || value.split('=').any(|part| kind_of(part).is_some());
            if secret || key.split_whitespace().any(sounds_secret) {
                let from = start + line.len() - value.trim_start().len();
                if value.trim_start().starts_with('[') || value.contains("\"\"\"") || value.contains("'''") {
                    // Where a value of several lines ends, nobody knows.
                    spans.push(from..text.len());
                    break;
                }
                spans.push(from..start + line.len());
            }
        } else if kind_of(line).is_some() {
            spans.push(start..start + line.len());
        }
        start += line.len();
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::{credentials_in_url, is_value_of_secret, kind_of, masked, sounds_secret, suspects};

    #[test]
    fn names_that_sound_secret() {
        for name in [
            "NPM_TOKEN",
            "token",
            "DB_PASSWORD",
            "api-key",
            "SECRET_KEY_BASE",
            "deploy_key",
            "dbPassword",
            "SECRETS",
        ] {
            assert!(sounds_secret(name), "{name}");
        }
        for name in [
            "PATH",
            "TOKEN_FILE",
            "AWS_ACCESS_KEY_ID",
            "SSH_KEY_PATH",
            "PUBLIC_KEY",
            "NODE_ENV",
            "keyboard",
            "PWD",
        ] {
            assert!(!sounds_secret(name), "{name}");
        }
        assert!(!is_value_of_secret("CACHE_KEY", "v1"));
        assert!(is_value_of_secret("SIGNING_KEY", "d41d8cd98f00b204"));
    }

    #[test]
    fn texts_that_look_secret() {
        assert_eq!(kind_of("AKIAIOSFODNN7EXAMPLE"), Some("an AWS access key"));
        assert_eq!(
            kind_of("curl -H 'Authorization: ghp_0123456789abcdefghijABCDEFGHIJ'"),
            Some("a GitHub token")
        );
        assert_eq!(
            kind_of("https://user:pass@example.com/x.git"),
            Some("a URL with a password")
        );
        for plain in [
            "https://example.com:8080/a@b",
            "git@github.com:a/b.git",
            "https://$U:$P@h/",
            "https://u@h/",
            "ghp_",
        ] {
            assert_eq!(kind_of(plain), None, "{plain}");
        }
        assert_eq!(credentials_in_url("x http://a/ http://u:p@h"), Some(19..22));
    }

    #[test]
    fn masking_keeps_every_byte_in_its_place() {
        let text = "a = \"geheimnis ü\"\nb = 1\n";
        let shown = masked(text, std::slice::from_ref(&(4..18)));
        assert_eq!(shown.len(), text.len());
        assert_eq!(shown, "a = \"************\"\nb = 1\n");
    }

    #[test]
    fn a_text_that_does_not_parse_is_masked_by_lines() {
        let text =
            "app = \"x\"\ntoken = \"hunter2\nurl = \"https://u:pw12@h/\"\nenv = { NPM_TOKEN = \"x\" }\n";
        let shown = masked(text, &suspects(text));
        assert!(!shown.contains("hunter2") && !shown.contains("pw12"), "{shown}");
        assert!(shown.contains("app = \"x\""));
    }
}
