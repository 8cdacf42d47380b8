//! What a test asks an agent's HTTP API, independent of the product's own client: keys, events, services, tokens.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::{ConsulAgent, READY};
use crate::http::{self, Response};
use crate::wait::{until, wait_for};

impl ConsulAgent {
    /// Asks its HTTP API, with the management token when there is one. `target` begins with `/v1/`.
    ///
    /// # Panics
    /// When the agent does not answer at all.
    #[track_caller]
    #[must_use]
    pub fn api(&self, method: &str, target: &str, body: &[u8]) -> Response {
        self.api_as(self.token(), method, target, body)
    }

    /// The same with a given token, or with none.
    #[track_caller]
    #[must_use]
    pub fn api_as(&self, token: Option<&str>, method: &str, target: &str, body: &[u8]) -> Response {
        let header = token.map(|token| ("X-Consul-Token", token));
        http::request(self.http, method, target, header.as_slice(), body).unwrap_or_else(|err| {
            panic!(
                "Consul's node {} does not answer {method} {target}: {err}",
                self.node
            )
        })
    }

    /// A key's value.
    #[track_caller]
    #[must_use]
    pub fn kv_get(&self, key: &str) -> Option<Vec<u8>> {
        let found = self.api("GET", &format!("/v1/kv/{key}?raw"), b"");
        match found.status {
            200 => Some(found.body),
            404 => None,
            status => panic!("Consul answers {status} for the key {key}: {}", found.text()),
        }
    }

    /// Sets a key.
    #[track_caller]
    pub fn kv_put(&self, key: &str, value: &[u8]) {
        let put = self.api("PUT", &format!("/v1/kv/{key}"), value);
        assert_eq!((put.status, put.text().trim()), (200, "true"), "cannot set {key}");
    }

    /// The keys under a prefix, sorted.
    #[track_caller]
    #[must_use]
    pub fn kv_keys(&self, prefix: &str) -> Vec<String> {
        let found = self.api("GET", &format!("/v1/kv/{prefix}?keys"), b"");
        if found.status == 404 {
            return Vec::new();
        }
        serde_json::from_value(json_of(&found)).expect("Consul answers with a list of keys")
    }

    /// Fires an event in the test's own name and returns its id.
    #[track_caller]
    pub fn fire(&self, event: &str, payload: &[u8]) -> String {
        let fired = self.api("PUT", &format!("/v1/event/fire/{event}"), payload);
        assert_eq!(fired.status, 200, "cannot fire {event}: {}", fired.text());
        text_of(&json_of(&fired), "ID")
    }

    /// The payloads of the events of a name that this agent has seen, oldest first.
    #[track_caller]
    #[must_use]
    pub fn events(&self, name: &str) -> Vec<Vec<u8>> {
        let list = json_of(&self.api("GET", &format!("/v1/event/list?name={name}"), b""));
        let events = list
            .as_array()
            .expect("Consul answers with a list of events")
            .iter();
        let payload = |event: &Value| BASE64.decode(event["Payload"].as_str().unwrap_or_default());
        events
            .map(|event| payload(event).expect("Consul's payloads are base64"))
            .collect()
    }

    /// Registers a service at this agent, for filters by service and tag.
    #[track_caller]
    pub fn register_service(&self, name: &str, tags: &[&str]) {
        let body = json!({ "Name": name, "Tags": tags }).to_string();
        let done = self.api("PUT", "/v1/agent/service/register", body.as_bytes());
        assert_eq!(done.status, 200, "cannot register {name}: {}", done.text());
    }

    pub(super) fn bootstrap_acl(&self) {
        // A leader is there before its ACL system is; until then it answers 500.
        let token = wait_for("Consul's ACL bootstrap", READY, || {
            let done = self.api_as(None, "PUT", "/v1/acl/bootstrap", b"");
            (done.status == 200).then(|| text_of(&json_of(&done), "SecretID"))
        });
        self.give_token(&token);
    }

    /// Gives the agent a management token, which it needs itself to register its node.
    pub(super) fn give_token(&self, token: &str) {
        let body = json!({ "Token": token }).to_string();
        // A server that follows another knows of a new token a moment later.
        until("Consul's agent to take its token", READY, || {
            let given = self.api_as(Some(token), "PUT", "/v1/agent/token/agent", body.as_bytes());
            given.status == 200
        });
        self.token.set(token.to_owned()).expect("bootstrapped once");
    }

    /// Makes a token that is allowed what `rules` (Consul's policy language) say, and returns it.
    #[track_caller]
    #[must_use]
    pub fn create_token(&self, rules: &str) -> String {
        let name = format!("testbed-{}", crate::random_hex(6));
        let policy = json!({ "Name": name, "Rules": rules }).to_string();
        let made = self.api("PUT", "/v1/acl/policy", policy.as_bytes());
        assert_eq!(made.status, 200, "cannot make a policy: {}", made.text());
        let token = json!({ "Policies": [{ "Name": name }] }).to_string();
        let made = self.api("PUT", "/v1/acl/token", token.as_bytes());
        assert_eq!(made.status, 200, "cannot make a token: {}", made.text());
        text_of(&json_of(&made), "SecretID")
    }

    pub(super) fn alive_members(&self) -> usize {
        const ALIVE: u64 = 1;
        let members = json_of(&self.api("GET", "/v1/agent/members", b""));
        let members = members.as_array().map(Vec::as_slice).unwrap_or_default();
        members
            .iter()
            .filter(|member| member["Status"].as_u64() == Some(ALIVE))
            .count()
    }
}

fn json_of(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap_or_else(|err| {
        panic!(
            "Consul answered {} with no JSON ({err}): {}",
            response.status,
            response.text()
        )
    })
}

fn text_of(value: &Value, key: &str) -> String {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("Consul's answer has no {key}: {value}"))
        .to_owned()
}
