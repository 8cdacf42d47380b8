//! Keys and values, one request each. Several writes that belong together are a transaction's.
//!
//! Writes are repeated when an answer was lost: a conditional one that says `false` may then be one that was done by the
//! attempt before. Whoever needs to know looks at the key.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Deserializer};
use url::Url;

use super::call::{Answer, Call};
use super::client::Client;
use super::error::Error;

/// A key that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct KvEntry {
    /// The key.
    pub key: String,
    /// Its value; empty in what a transaction says of its writes.
    #[serde(default, deserialize_with = "decoded")]
    pub value: Vec<u8>,
    /// Grows with each write to the key.
    pub modify_index: u64,
    /// The session that holds it as a lock.
    #[serde(default)]
    pub session: Option<String>,
}

/// The keys under a prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KvList {
    /// Each of them, sorted by key.
    pub entries: Vec<KvEntry>,
    /// What to wait on for the next change.
    pub index: u64,
    /// How long it took to understand the answer once it was there.
    pub understood_in: Duration,
}

/// How fresh a read has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// As the leader has it; for moments after an election, what the one before had.
    Usual,
    /// The leader asks the other servers whether it still leads: for what decides about a lock.
    Consistent,
}

/// Until when an answer is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocking {
    /// Until something under the prefix has a greater index.
    pub index: u64,
    /// But no longer than this; ten minutes at most.
    pub wait: Duration,
}

impl Client {
    /// A key's value; none when it is not there.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Denied`], [`Error::Refused`], [`Error::NotConsul`].
    pub async fn kv_get(&self, key: &str, read: Read) -> Result<Option<KvEntry>, Error> {
        let mut url = self.key(key)?;
        if read == Read::Consistent {
            url.query_pairs_mut().append_key_only("consistent");
        }
        let call = Call::new(Method::GET, url, format!("reading the key {key}"))
            .rule(rule("key", key, "read"))
            .also(StatusCode::NOT_FOUND);
        let answer = self.send(&call).await?;
        if self.is_absent(&answer, &call)? {
            return Ok(None);
        }
        let found: Vec<KvEntry> = answer.json(self, &call)?;
        Ok(found.into_iter().next())
    }

    /// All keys under a prefix with their values; waits for a change when asked to.
    ///
    /// # Errors
    /// As [`Client::kv_get`].
    pub async fn kv_list(&self, prefix: &str, until: Option<Blocking>) -> Result<KvList, Error> {
        let mut url = self.key(prefix)?;
        url.query_pairs_mut().append_key_only("recurse");
        let mut call = Call::new(Method::GET, url, format!("reading the keys under {prefix}"))
            .rule(rule("key_prefix", prefix, "read"))
            .also(StatusCode::NOT_FOUND);
        // Waiting for index 0, or for no time, is to Consul not waiting and waiting five minutes.
        if let Some(Blocking { index, wait }) = until.filter(|until| !until.wait.is_zero()) {
            let wait = wait.max(Duration::from_millis(1));
            call.url
                .query_pairs_mut()
                .append_pair("index", &index.max(1).to_string())
                .append_pair("wait", &format!("{}ms", wait.as_millis()));
            // Consul adds up to a sixteenth, so that those who wait do not come back all at once.
            call.held = wait + wait / 16;
        }
        let answer = self.send(&call).await?;
        self.list(&answer, &call, prefix).await
    }

    async fn list(&self, answer: &Answer, call: &Call, prefix: &str) -> Result<KvList, Error> {
        let absent = self.is_absent(answer, call)?;
        if answer.is_filtered() {
            return Err(self.denied(call, "some keys were left out of the answer".to_owned()));
        }
        if absent {
            self.may_read(call, prefix).await?;
        }
        let begin = Instant::now();
        Ok(KvList {
            entries: if absent {
                Vec::new()
            } else {
                answer.json(self, call)?
            },
            index: answer.index().unwrap_or_default(),
            understood_in: begin.elapsed(),
        })
    }

    /// The names of all keys under a prefix, sorted.
    ///
    /// # Errors
    /// As [`Client::kv_get`].
    pub async fn kv_keys(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let mut url = self.key(prefix)?;
        url.query_pairs_mut().append_key_only("keys");
        let call = Call::new(Method::GET, url, format!("listing the keys under {prefix}"))
            .rule(rule("key_prefix", prefix, "read"))
            .also(StatusCode::NOT_FOUND);
        let answer = self.send(&call).await?;
        if self.is_absent(&answer, &call)? {
            self.may_read(&call, prefix).await?;
            return Ok(Vec::new());
        }
        answer.json(self, &call)
    }

    /// Sets a key. With `cas` only when its ModifyIndex is that one, or, with 0, when it is not there; whether it was set.
    ///
    /// # Errors
    /// As [`Client::kv_get`]; [`Error::Refused`] with 413 when the value has more than 512 KB.
    pub async fn kv_put(&self, key: &str, value: &[u8], cas: Option<u64>) -> Result<bool, Error> {
        let url = conditional(self.key(key)?, cas);
        let call = Call::new(Method::PUT, url, format!("writing the key {key}"))
            .rule(rule("key", key, "write"))
            .body(value.to_vec());
        self.send(&call).await?.json(self, &call)
    }

    /// Sets a key, and the number that Consul keeps beside its value.
    ///
    /// # Errors
    /// As [`Client::kv_put`].
    pub async fn kv_put_flags(&self, key: &str, value: &[u8], flags: u64) -> Result<bool, Error> {
        let mut url = self.key(key)?;
        url.query_pairs_mut().append_pair("flags", &flags.to_string());
        let call = Call::new(Method::PUT, url, format!("writing the key {key}"))
            .rule(rule("key", key, "write"))
            .body(value.to_vec());
        self.send(&call).await?.json(self, &call)
    }

    /// Deletes a key. With `cas` only when its ModifyIndex is that one; whether it is gone.
    ///
    /// # Errors
    /// As [`Client::kv_get`].
    pub async fn kv_delete(&self, key: &str, cas: Option<u64>) -> Result<bool, Error> {
        let url = conditional(self.key(key)?, cas);
        let call =
            Call::new(Method::DELETE, url, format!("deleting the key {key}")).rule(rule("key", key, "write"));
        self.send(&call).await?.json(self, &call)
    }

    fn key(&self, key: &str) -> Result<Url, Error> {
        let path: Vec<&str> = ["v1", "kv"].into_iter().chain(key.split('/')).collect();
        self.endpoint(&path)
    }

    /// A key that is not there is 404, as is a page that a web server does not have: Consul's has an index.
    fn is_absent(&self, answer: &Answer, call: &Call) -> Result<bool, Error> {
        if answer.status != StatusCode::NOT_FOUND {
            return Ok(false);
        }
        match answer.index() {
            Some(_) => Ok(true),
            None => Err(Error::NotConsul {
                doing: call.doing.clone(),
                address: self.address.clone(),
                reason: format!("it has no {} (404)", call.url.path()),
            }),
        }
    }

    /// Keys that a token may not read are left out of lists silently: an empty list may be a denial. One key that is read by
    /// its name is not.
    async fn may_read(&self, list: &Call, prefix: &str) -> Result<(), Error> {
        let url = self.key(&format!("{prefix}-"))?;
        let call = Call::new(Method::GET, url, list.doing.clone())
            .rule(list.rule.clone())
            .also(StatusCode::NOT_FOUND);
        self.send(&call).await.map(|_| ())
    }
}

/// The ACL rule for a key or a prefix.
pub(super) fn rule(kind: &str, key: &str, policy: &str) -> String {
    format!("{kind} \"{key}\" {{ policy = \"{policy}\" }}")
}

fn conditional(mut url: Url, cas: Option<u64>) -> Url {
    if let Some(index) = cas {
        url.query_pairs_mut().append_pair("cas", &index.to_string());
    }
    url
}

fn decoded<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text = Option::<std::borrow::Cow<'_, str>>::deserialize(from)?.unwrap_or_default();
    BASE64.decode(text.as_bytes()).map_err(serde::de::Error::custom)
}
