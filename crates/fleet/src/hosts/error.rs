//! Why it is not known which hosts a role has.

use crate::consul;

/// How many names an error shows.
const SHOWN: usize = 20;

/// Hosts that cannot be told by name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Consul did not say.
    #[error(transparent)]
    Consul(#[from] consul::Error),
    /// Neither a list nor a filter says which.
    #[error("{what}: nothing says which hosts it has")]
    Unfiltered {
        /// The role.
        what: String,
    },
    /// The list names what is no host.
    #[error("{what}: no host is named {}", names.join(", "))]
    Unknown {
        /// The role.
        what: String,
        /// These.
        names: Vec<String>,
        /// The ones that are most like them, or all when they are few.
        near: Vec<String>,
        /// How many hosts there are.
        known: usize,
    },
    /// No node matches the filter.
    #[error("{what}: no node of Consul's catalog matches {by}")]
    NoMatch {
        /// The role.
        what: String,
        /// The filter.
        by: String,
    },
}

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The config, or the flags.
    Usage,
    /// Consul, or the way to it.
    Consul,
}

impl Error {
    /// Who has to act. The kind of [`Error::Consul`] says more.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Unfiltered { .. } | Error::Unknown { .. } => ErrorKind::Usage,
            Error::Consul(_) | Error::NoMatch { .. } => ErrorKind::Consul,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Consul(error) => error.hint(),
            Error::Unfiltered { what } => {
                let table = what.replacen(' ', ".", 1);
                Some(format!(
                    "set [{table}.filter] (service, tag, node) or {table}.hosts (names, or their number)"
                ))
            }
            Error::Unknown { near, known, .. } => Some(match near.len() {
                0 => format!("none of the {known} hosts that there are has a name like it"),
                some if some == *known => format!("there are {}", near.join(", ")),
                _ => format!("there are {known}; those most like it: {}", near.join(", ")),
            }),
            Error::NoMatch { .. } => Some(
                "see `consul catalog nodes` and `consul catalog services`; where ACLs are on, the token's policy needs \
                 node_prefix \"\" { policy = \"read\" } and service_prefix \"\" { policy = \"read\" }"
                    .to_owned(),
            ),
        }
    }

    pub(super) fn unknown(what: &str, names: Vec<String>, known: &[String]) -> Self {
        let mut near: Vec<String> = known.to_vec();
        if known.len() > SHOWN {
            // A pattern is most like the names that begin as it does.
            let likeness = |node: &String| {
                let each = names.iter().map(|name| strsim::jaro_winkler(name, node));
                each.fold(0.0, f64::max)
            };
            let mut ranked: Vec<(f64, String)> = near
                .into_iter()
                .map(|node| (likeness(&node), node))
                .filter(|(likeness, _)| *likeness >= 0.8)
                .collect();
            ranked.sort_by(|one, other| other.0.total_cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
            ranked.truncate(3);
            near = ranked.into_iter().map(|(_, node)| node).collect();
        }
        Error::Unknown {
            what: what.to_owned(),
            names,
            near,
            known: known.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_hosts_are_all_named_and_of_many_the_nearest() {
        let few = ["db1".to_owned(), "web1".to_owned()];
        let error = Error::unknown("role web", vec!["web2".to_owned()], &few);
        assert_eq!(error.to_string(), "role web: no host is named web2");
        assert_eq!(error.hint().unwrap(), "there are db1, web1");
        let many: Vec<String> = (0..50).map(|at| format!("web{at:02}.example.com")).collect();
        let error = Error::unknown("role web", vec!["web7.example.com".to_owned()], &many);
        let hint = error.hint().unwrap();
        assert!(
            hint.contains("there are 50") && hint.contains("web07.example.com"),
            "{hint}"
        );
        let error = Error::unknown("role web", vec!["qqq".to_owned()], &many);
        assert!(error.hint().unwrap().contains("none of the 50"), "{error:?}");
    }
}
