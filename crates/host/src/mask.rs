//! Keeps secrets that a manifest takes from the host's environment out of what is said about its commands.
//!
//! A manifest's template is evaluated before its commands are known, so `{{ must_env "API_TOKEN" }}` puts the value
//! into the command's text. What a command itself prints is not looked at.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};

/// Parts of a variable's name by which its value is taken for a secret.
const SECRET_NAMES: [&str; 8] = [
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "PRIVATE",
    "API_KEY",
];

/// The values to hide.
#[derive(Debug, Default)]
pub(crate) struct Mask {
    values: Vec<String>,
}

impl Mask {
    /// The text with each secret's value replaced.
    pub(crate) fn hide(&self, text: &str) -> String {
        self.values
            .iter()
            .fold(text.to_owned(), |text, value| text.replace(value, "***"))
    }
}

/// The host's environment as a manifest's template sees it; remembers the secrets that were asked for.
pub(crate) struct Environment<'a> {
    variables: &'a [(OsString, OsString)],
    secrets: RefCell<Vec<String>>,
}

impl<'a> Environment<'a> {
    pub(crate) fn new(variables: &'a [(OsString, OsString)]) -> Self {
        Self {
            variables,
            secrets: RefCell::default(),
        }
    }

    /// The variable's value; what is not UTF-8 has its odd bytes replaced.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let (_, value) = self
            .variables
            .iter()
            .find(|(known, _)| known == OsStr::new(name))?;
        let value = value.to_string_lossy().into_owned();
        let upper = name.to_ascii_uppercase();
        if !value.is_empty() && SECRET_NAMES.iter().any(|part| upper.contains(part)) {
            self.secrets.borrow_mut().push(value.clone());
        }
        Some(value)
    }

    /// What is to be hidden from now on.
    pub(crate) fn into_mask(self) -> Mask {
        let mut values = self.secrets.into_inner();
        // A longer value may hold a shorter one.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Mask { values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_of_secret_variables_are_hidden_once_they_were_asked_for() {
        let variables = [
            ("DEPLOY_TOKEN".into(), "s3cr3t".into()),
            ("DEST".into(), "/srv/app".into()),
        ];
        let environment = Environment::new(&variables);
        assert_eq!(environment.get("DEPLOY_TOKEN").as_deref(), Some("s3cr3t"));
        assert_eq!(environment.get("DEST").as_deref(), Some("/srv/app"));
        assert_eq!(environment.get("NONE"), None);
        assert_eq!(
            environment.into_mask().hide("notify s3cr3t /srv/app"),
            "notify *** /srv/app"
        );
    }
}
