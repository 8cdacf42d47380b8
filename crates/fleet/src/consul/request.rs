//! An event before it is fired: its parts, its filters, its size.

use std::fmt;

use serde::Serialize;

/// The largest payload in bytes: Consul 1.22 refuses a larger one.
const PAYLOAD_LIMIT: usize = 300;
/// The largest sum of name, filters and payload in bytes.
const TOTAL_LIMIT: usize = 370;
/// The largest event as agents send it, as far as shipit can count it. Measured with Consul 1.8: 512 bytes once encoded,
/// of which 98 to 104 go for what is in each event; the rest leaves room for its clock, which grows.
const SENT_LIMIT: usize = 400;
/// What a filter adds beside its text.
const PER_FILTER: usize = 4;

/// An event to fire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventRequest {
    /// The event's name.
    pub name: String,
    /// What the handlers get: a manifest's URL.
    pub payload: String,
    /// A regular expression that the node's name must match, anywhere in it: see [`exact`].
    pub node: Option<String>,
    /// The same of a service that the node has.
    pub service: Option<String>,
    /// The same of a tag of that service; needs `service`.
    pub tag: Option<String>,
    /// The datacenter, when it is not the client's.
    pub datacenter: Option<String>,
}

/// The id that Consul gave an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct EventId(pub String);

impl fmt::Display for EventId {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

/// A filter that matches this name alone: agents match filters anywhere in a name, so that `web1` would match `web10`.
pub fn exact(name: &str) -> String {
    format!("^{}$", escape(name))
}

/// Escapes what Go's regular expressions give a meaning to.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if r"\.+*?()|[]{}^$".contains(character) {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

/// An event that Consul would refuse, or drop, for its size; lengths in bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the event is too long for Consul: payload {payload} bytes (limit {PAYLOAD_LIMIT}), name {name}, filters {filters}, \
     together {} (limit {TOTAL_LIMIT}); as sent, with the name twice, {sent} (limit {SENT_LIMIT})", payload + name + filters
)]
pub struct TooLong {
    /// The payload's length.
    pub payload: usize,
    /// The name's length.
    pub name: usize,
    /// The length of the node, service and tag filters together.
    pub filters: usize,
    /// What Consul makes of them: the name stands in an event twice, each filter has a head.
    pub sent: usize,
}

impl TooLong {
    /// Which part to shorten, and how.
    pub fn hint(&self) -> String {
        let name = 2 * self.name;
        if self.payload > PAYLOAD_LIMIT || self.payload >= name.max(self.filters) {
            "the payload is the manifest's URL: shorten the prefix in store.url, or the names of app, stage and role"
                .to_owned()
        } else if self.filters >= name {
            "the filters are the longest part: fire one event per node, or filter by a service or tag with a short name"
                .to_owned()
        } else {
            "the event's name is the longest part: shorten its template in the config, or the names of app, stage and role"
                .to_owned()
        }
    }
}

/// Measures an event before anything is sent.
///
/// # Errors
/// [`TooLong`] with the lengths of the parts.
pub fn preflight(event: &EventRequest) -> Result<(), TooLong> {
    let filters = [&event.node, &event.service, &event.tag];
    let lengths = filters
        .iter()
        .filter_map(|filter| filter.as_ref().map(String::len));
    let (count, filters) = lengths.fold((0, 0), |(count, sum), length| (count + 1, sum + length));
    let (payload, name) = (event.payload.len(), event.name.len());
    let sizes = TooLong {
        payload,
        name,
        filters,
        sent: 2 * name + payload + filters + count * PER_FILTER,
    };
    if payload > PAYLOAD_LIMIT || payload + name + filters > TOTAL_LIMIT || sizes.sent > SENT_LIMIT {
        return Err(sizes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sized(name: usize, payload: usize, node: usize) -> Result<(), TooLong> {
        let node = (node > 0).then(|| "n".repeat(node));
        preflight(&EventRequest {
            name: "e".repeat(name),
            payload: "p".repeat(payload),
            node,
            ..Default::default()
        })
    }

    #[test]
    fn filters_match_whole_names() {
        assert_eq!(exact("web1.example.com"), r"^web1\.example\.com$");
        assert_eq!(exact("a+b"), r"^a\+b$");
    }

    #[test]
    fn the_long_part_is_named() {
        sized(30, 300, 0).unwrap();
        sized(30, 300, 36).unwrap();
        assert!(
            sized(30, 300, 37)
                .unwrap_err()
                .to_string()
                .contains("as sent, with the name twice, 401 (limit 400)")
        );
        let long = sized(10, 301, 0).unwrap_err();
        assert!(
            long.to_string().contains("payload 301 bytes (limit 300)") && long.hint().contains("store.url")
        );
        let filters = sized(20, 170, 181).unwrap_err();
        assert!(
            filters.to_string().contains("together 371 (limit 370)") && filters.hint().contains("filters")
        );
        assert!(sized(200, 171, 0).unwrap_err().hint().contains("event's name"));
    }
}
