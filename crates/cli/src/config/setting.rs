//! One value of the config that may come from an environment variable, where it stands, and how it is kept out of
//! what is shown.

use std::fmt;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::error::ConfigError;

/// What is shown in a secret's place.
pub const MASK: &str = "***";

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Origin {
    /// The config, outside of every stage.
    File {
        /// Line, from 1.
        line: usize,
    },
    /// A stage's table in the config.
    Stage {
        /// The stage's name or pattern as the table has it.
        stage: String,
        /// Line, from 1.
        line: usize,
    },
    /// An environment variable that completes or overrides the config by its standard name (`CONSUL_HTTP_ADDR`).
    Environment {
        /// The variable's name.
        name: String,
    },
    /// Nobody said anything: what shipit does by itself.
    Default,
}

/// A value that is taken from the environment when a command needs it.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvRef {
    /// The variable's name.
    pub name: String,
    /// Whether the value is kept out of everything that is shown.
    pub secret: bool,
    /// Used when the variable is not set; never there together with `secret`.
    pub default: Option<String>,
}

/// A text that stands in the config or is to be read from the environment.
///
/// The environment is asked by [`Setting::resolve`] alone, so that a command which does not need the value does not
/// need the variable either.
#[derive(Clone, PartialEq, Eq)]
pub struct Setting {
    key: String,
    place: String,
    value: Value,
}

#[derive(Clone, PartialEq, Eq)]
enum Value {
    Text(String),
    Env(EnvRef),
}

/// A [`Setting`]'s value. Debug and serde mask it when it is secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Resolved {
    value: String,
    secret: bool,
}

impl Setting {
    /// A text as it stands. `key` is the dotted key, `place` is `file:line` or where else it came from.
    pub fn text(key: impl Into<String>, place: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            place: place.into(),
            value: Value::Text(text.into()),
        }
    }

    /// A value to be read from the environment.
    pub fn env(key: impl Into<String>, place: impl Into<String>, env: EnvRef) -> Self {
        Self {
            key: key.into(),
            place: place.into(),
            value: Value::Env(env),
        }
    }

    /// The value, from the config or the environment.
    ///
    /// # Errors
    /// The variable is not set (and there is no default), or set to nothing while it is a secret.
    pub fn resolve(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<Resolved, ConfigError> {
        match &self.value {
            Value::Text(text) => Ok(Resolved {
                value: text.clone(),
                secret: false,
            }),
            Value::Env(from) => {
                let value = env(&from.name).filter(|value| !(from.secret && value.is_empty()));
                match value.or_else(|| from.default.clone()) {
                    Some(value) => Ok(Resolved {
                        value,
                        secret: from.secret,
                    }),
                    None => Err(ConfigError::MissingVariable {
                        key: self.key.clone(),
                        place: self.place.clone(),
                        name: from.name.clone(),
                    }),
                }
            }
        }
    }

    /// The text when it stands in the config itself.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Env(_) => None,
        }
    }

    /// The variable when it comes from one.
    #[cfg(test)]
    pub fn as_env(&self) -> Option<&EnvRef> {
        match &self.value {
            Value::Text(_) => None,
            Value::Env(env) => Some(env),
        }
    }
}

impl Resolved {
    /// The value itself, for the one place that uses it.
    pub fn into_inner(self) -> String {
        self.value
    }

    /// Whether the value must not be shown.
    pub fn is_secret(&self) -> bool {
        self.secret
    }

    /// The value, or `***` when it is secret.
    pub fn shown(&self) -> &str {
        if self.secret { MASK } else { &self.value }
    }
}

impl fmt::Debug for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.shown(), f)
    }
}

impl Serialize for Resolved {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

impl fmt::Debug for EnvRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvRef")
            .field("name", &self.name)
            .field("secret", &self.secret)
            .field(
                "default",
                &self
                    .default
                    .as_deref()
                    .map(|text| if self.secret { MASK } else { text }),
            )
            .finish()
    }
}

impl Serialize for EnvRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("env", &self.name)?;
        if self.secret {
            map.serialize_entry("secret", &true)?;
        }
        if let Some(default) = &self.default {
            map.serialize_entry("default", if self.secret { MASK } else { default })?;
        }
        map.end()
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Text(text) => fmt::Debug::fmt(text, f),
            Value::Env(env) => fmt::Debug::fmt(env, f),
        }
    }
}

impl Serialize for Setting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            Value::Text(text) => text.serialize(serializer),
            Value::Env(env) => env.serialize(serializer),
        }
    }
}
