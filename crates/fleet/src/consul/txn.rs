//! Transactions: writes that happen together or not at all.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::call::Call;
use super::client::Client;
use super::error::Error;
use super::kv::{KvEntry, rule};

/// The most operations of one transaction.
const MOST_OPERATIONS: usize = 64;
/// The largest body in bytes: Consul's limit is 512 KiB unless it is set lower, which shipit does not allow for.
const LARGEST_BODY: usize = 500 * 1000;

/// One operation on a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Sets a key.
    Set {
        /// The key.
        key: String,
        /// Its value.
        value: Vec<u8>,
    },
    /// Deletes a key; one that is not there is success.
    Delete {
        /// The key.
        key: String,
    },
    /// Fails when the key is there.
    CheckAbsent {
        /// The key.
        key: String,
    },
    /// Sets a key and makes a session its holder; fails when another session holds it.
    Lock {
        /// The key.
        key: String,
        /// Its value.
        value: Vec<u8>,
        /// The session's id.
        session: String,
    },
    /// Sets a key and ends its session's hold; fails when that session does not hold it.
    Unlock {
        /// The key.
        key: String,
        /// Its value.
        value: Vec<u8>,
        /// The session's id.
        session: String,
    },
}

/// What came of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Txn {
    /// All of it was done; the keys that were set, without their values.
    Done(Vec<KvEntry>),
    /// Nothing was done, for an operation failed: Consul's words.
    Failed(String),
}

impl Client {
    /// Does operations together. Repeated when the answer was lost: a failure may then come from its own first attempt.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Denied`], [`Error::Refused`], [`Error::NotConsul`].
    pub async fn txn(&self, doing: &str, ops: &[Op]) -> Result<Txn, Error> {
        let url = self.endpoint(&["v1", "txn"])?;
        let body: Vec<Wire<'_>> = ops.iter().map(Op::wire).collect();
        let call = Call::new(Method::PUT, url, doing.to_owned())
            .rule(rules(ops))
            .body(serde_json::to_vec(&body).unwrap_or_default())
            .also(StatusCode::CONFLICT);
        let answer: Answered = self.send(&call).await?.json(self, &call)?;
        let errors = answer.errors.unwrap_or_default();
        let Some(first) = errors.first() else {
            let results = answer.results.unwrap_or_default();
            return Ok(Txn::Done(
                results.into_iter().filter_map(|result| result.kv).collect(),
            ));
        };
        // A denial is an operation's failure as well.
        if errors
            .iter()
            .any(|error| error.what.contains("Permission denied"))
        {
            return Err(self.denied(&call, first.what.clone()));
        }
        Ok(Txn::Failed(first.what.clone()))
    }

    /// Does any number of operations that do not fail by themselves ([`Op::Set`], [`Op::Delete`]), in as many transactions as
    /// Consul's limits make of them; the greatest index that a key got, 0 when none was set.
    ///
    /// # Errors
    /// As [`Client::txn`]; what was done before stays.
    pub async fn write_all(&self, doing: &str, ops: &[Op]) -> Result<u64, Error> {
        let mut newest = 0;
        for part in split(ops) {
            match self.txn(doing, part).await? {
                Txn::Done(entries) => {
                    let indexes = entries.iter().map(|entry| entry.modify_index);
                    newest = indexes.fold(newest, u64::max);
                }
                Txn::Failed(reason) => {
                    return Err(Error::Refused {
                        doing: doing.to_owned(),
                        address: self.address.clone(),
                        status: StatusCode::CONFLICT.as_u16(),
                        reason,
                    });
                }
            }
        }
        Ok(newest)
    }
}

/// Cuts operations so that each part is within Consul's limits.
fn split(ops: &[Op]) -> Vec<&[Op]> {
    let mut parts = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (at, op) in ops.iter().enumerate() {
        let size = op.size();
        if at > from && (at - from == MOST_OPERATIONS || bytes + size > LARGEST_BODY) {
            parts.push(&ops[from..at]);
            (from, bytes) = (at, 0);
        }
        bytes += size;
    }
    if from < ops.len() {
        parts.push(&ops[from..]);
    }
    parts
}

/// The rules that allow operations, each once.
fn rules(ops: &[Op]) -> String {
    let mut rules: Vec<String> = Vec::new();
    let sessions = ops
        .iter()
        .any(|op| matches!(op, Op::Lock { .. } | Op::Unlock { .. }));
    if sessions {
        rules.push("session_prefix \"\" { policy = \"write\" }".to_owned());
    }
    for op in ops {
        let key = op.key();
        // The parts after app and stage differ from host to host; the rule is about all of them.
        let prefix: String = key.split_inclusive('/').take(4).collect();
        let rule = match prefix == key {
            true => rule("key", key, "write"),
            false => rule("key_prefix", &prefix, "write"),
        };
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    rules.join(", ")
}

impl Op {
    /// Its key.
    fn key(&self) -> &str {
        match self {
            Op::Set { key, .. }
            | Op::Delete { key }
            | Op::CheckAbsent { key }
            | Op::Lock { key, .. }
            | Op::Unlock { key, .. } => key,
        }
    }

    /// Its length in a body, or a little more.
    fn size(&self) -> usize {
        // Around the key and the value stand the verb, the names of fields and a session's id.
        const AROUND: usize = 160;
        let value = match self {
            Op::Set { value, .. } | Op::Lock { value, .. } | Op::Unlock { value, .. } => value.len(),
            Op::Delete { .. } | Op::CheckAbsent { .. } => 0,
        };
        // A character of a key may be escaped as \u0000, and base64 makes four bytes of three.
        AROUND + 6 * self.key().len() + value.div_ceil(3) * 4
    }

    fn wire(&self) -> Wire<'_> {
        let (verb, value, session) = match self {
            Op::Set { value, .. } => ("set", Some(value), None),
            Op::Delete { .. } => ("delete", None, None),
            Op::CheckAbsent { .. } => ("check-not-exists", None, None),
            Op::Lock { value, session, .. } => ("lock", Some(value), Some(session)),
            Op::Unlock { value, session, .. } => ("unlock", Some(value), Some(session)),
        };
        Wire {
            kv: WireKv {
                verb,
                key: self.key(),
                value: value.map(|value| BASE64.encode(value)),
                session: session.map(String::as_str),
            },
        }
    }
}

#[derive(Serialize)]
struct Wire<'a> {
    #[serde(rename = "KV")]
    kv: WireKv<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct WireKv<'a> {
    verb: &'static str,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answered {
    #[serde(default)]
    results: Option<Vec<Outcome>>,
    #[serde(default)]
    errors: Option<Vec<Failure>>,
}

#[derive(Deserialize)]
struct Outcome {
    #[serde(rename = "KV")]
    kv: Option<KvEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    what: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: &str, bytes: usize) -> Op {
        Op::Set {
            key: key.to_owned(),
            value: vec![b'x'; bytes],
        }
    }

    #[test]
    fn operations_are_cut_by_number_and_by_size() {
        let lengths = |ops: &[Op]| split(ops).iter().map(|part| part.len()).collect::<Vec<_>>();
        assert_eq!(lengths(&[]), [0_usize; 0]);
        assert_eq!(lengths(&vec![set("k", 1); 64]), [64]);
        assert_eq!(lengths(&vec![set("k", 1); 130]), [64, 64, 2]);
        assert_eq!(lengths(&vec![set("k", 200_000); 3]), [1, 1, 1]);
        assert_eq!(lengths(&vec![set("k", 16_384); 64]), [22, 22, 20]);
        for part in split(&vec![set("a\u{1}\"", 16_384); 64]) {
            let body: Vec<Wire<'_>> = part.iter().map(Op::wire).collect();
            assert!(serde_json::to_vec(&body).unwrap().len() <= LARGEST_BODY);
        }
    }

    #[test]
    fn the_rules_of_many_hosts_are_one() {
        let ops = [
            set("shipit/asks/shop/production/web/a", 1),
            set("shipit/asks/shop/production/web/b", 1),
        ];
        assert_eq!(
            rules(&ops),
            "key_prefix \"shipit/asks/shop/production/\" { policy = \"write\" }"
        );
    }
}
