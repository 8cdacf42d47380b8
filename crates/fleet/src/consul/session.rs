//! Sessions: what makes a lock end when its holder does.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::call::Call;
use super::client::Client;
use super::error::Error;

/// What a token needs for any of this; a session belongs to the agent's node, whose name the kicker need not know.
const RULE: &str = "session_prefix \"\" { policy = \"write\" }";

impl Client {
    /// Makes a session that ends when it is not renewed for `ttl` (ten seconds at least; Consul takes up to twice as long to
    /// notice), and its id. Keys that it holds are deleted with it, and are free at once. No health check ends it: a lock is
    /// not lost because an agent on the kicker's machine was slow for a moment.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Denied`], [`Error::Refused`], [`Error::NotConsul`].
    pub async fn session_create(&self, name: &str, ttl: Duration) -> Result<String, Error> {
        let wanted = Wanted {
            name,
            ttl: format!("{}s", ttl.as_secs()),
            lock_delay: "0s",
            behavior: "delete",
            checks: [],
            node_checks: [],
        };
        let url = self.endpoint(&["v1", "session", "create"])?;
        // A session that is made twice, because an answer was lost, ends by itself.
        let call = Call::new(Method::PUT, url, format!("making the session {name}"))
            .rule(RULE.to_owned())
            .body(serde_json::to_vec(&wanted).unwrap_or_default());
        let made: Made = self.send(&call).await?.json(self, &call)?;
        Ok(made.id)
    }

    /// Renews a session; false when it is no more.
    ///
    /// # Errors
    /// As [`Client::session_create`].
    pub async fn session_renew(&self, id: &str) -> Result<bool, Error> {
        let url = self.endpoint(&["v1", "session", "renew", id])?;
        let call = Call::new(Method::PUT, url, format!("renewing the session {id}"))
            .rule(RULE.to_owned())
            .also(StatusCode::NOT_FOUND);
        let answer = self.send(&call).await?;
        if answer.status == StatusCode::OK {
            return Ok(true);
        }
        // Another program's 404 says nothing about sessions.
        if String::from_utf8_lossy(&answer.body).contains(id) {
            return Ok(false);
        }
        Err(Error::NotConsul {
            doing: call.doing,
            address: self.address.clone(),
            reason: format!("it has no {} (404)", call.url.path()),
        })
    }

    /// Ends a session, and with it the locks that it holds; one that is no more is success.
    ///
    /// # Errors
    /// As [`Client::session_create`].
    pub async fn session_destroy(&self, id: &str) -> Result<(), Error> {
        let url = self.endpoint(&["v1", "session", "destroy", id])?;
        let call = Call::new(Method::PUT, url, format!("ending the session {id}")).rule(RULE.to_owned());
        let _: bool = self.send(&call).await?.json(self, &call)?;
        Ok(())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Wanted<'a> {
    name: &'a str,
    #[serde(rename = "TTL")]
    ttl: String,
    lock_delay: &'static str,
    behavior: &'static str,
    // Empty lists, for without them Consul takes the node's health check.
    checks: [String; 0],
    node_checks: [String; 0],
}

#[derive(Deserialize)]
struct Made {
    #[serde(rename = "ID")]
    id: String,
}
