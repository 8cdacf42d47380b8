//! The values that tables are made of. Each carries in its schema, beside what editors understand, the name of the check
//! (`x-check`) that `checks` runs on it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

/// One value, or a list of them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// One.
    One(T),
    /// Several, in order.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// The values in order.
    pub fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// A text, or the environment variable that holds it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TextOrEnv {
    /// A text, taken as it stands: `$NAME` in it is not replaced.
    Text(String),
    /// An environment variable, read when a command needs the value.
    Env(EnvTable),
}

/// An environment variable, read when a command needs the value.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvTable {
    /// The variable's name.
    #[schemars(extend("x-check" = "variable"))]
    pub env: String,
    /// Whether the value is kept out of everything that is shown. It is by itself where the key's name or the variable's says that it is
    /// secret (`token`, `password`, …).
    pub secret: Option<bool>,
    /// The value when the variable is not set; a secret cannot have one.
    pub default: Option<String>,
}

/// Declares a text type for schemas alone: its name, what checks it, and a pattern for editors.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $check:literal $(, $pattern:literal)?) => {
        $(#[$doc])*
        pub enum $name {}

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "x-check": $check $(, "pattern": $pattern)? })
            }
        }
    };
}

text!(
    /// Any text that is not empty.
    Text, "text"
);
text!(
    /// The name of an app: a component of store keys and event names.
    Name, "name", "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
);
text!(
    /// A command for `sh -c`.
    Command, "command"
);
text!(
    /// A duration.
    DurationText, "duration", "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$"
);
text!(
    /// A duration that may be `0s`.
    PauseText, "pause", "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$"
);
text!(
    /// A part of a role's hosts.
    BatchText, "batch", "^[0-9]+%?$"
);
text!(
    /// A size.
    SizeText, "size", "^[0-9]+ ?[KMGTkmgt][Bb]?$"
);
text!(
    /// A glob.
    GlobText, "glob"
);
text!(
    /// A relative path inside of a tree.
    RelativePath, "relative-path", "^[^/]"
);
text!(
    /// The directory of a role on its hosts.
    Dest, "dest", "^/."
);
text!(
    /// `user`, `user:group` or `:group`.
    Owner, "owner", "^([A-Za-z0-9_][A-Za-z0-9_.-]*)?(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$"
);
