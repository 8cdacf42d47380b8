//! How Consul is reached.

use std::path::Path;

use shipit_fleet::Secret;
use shipit_fleet::consul::{Address, Client, ConsulConfig, OnWait, Tls, Waiting};

use crate::config::Settled;
use crate::context::Context;
use crate::errors::{CliError, Result};

/// Everything that a client wants. The config has Consul's own environment variables laid over it already.
pub fn options(config: &Settled, context: &Context) -> Result<ConsulConfig> {
    let table = &config.consul;
    let value = |setting| Ok::<_, CliError>(context.value(setting)?.into_inner());
    let over_tls = truth(context, "CONSUL_HTTP_SSL").unwrap_or(false);
    let mut options = ConsulConfig::new(Address::parse(&value(&table.address)?, over_tls)?);
    options.token = match (&table.token, &table.token_file) {
        (Some(token), _) => Some(Secret::new(value(token)?)),
        (None, Some(file)) => Some(token_of(file)?),
        (None, None) => None,
    };
    options.tls = Tls {
        ca_file: table.ca_cert.clone(),
        client_cert: table.client_cert.clone(),
        client_key: table.client_key.clone(),
        server_name: table.tls_server_name.clone(),
        verify: table.verify,
    };
    options.namespace = table.namespace.clone();
    options.datacenter = table.datacenter.clone();
    options.on_wait = said(context);
    Ok(options)
}

/// What an agent that is long in answering is waited for is said.
fn said(context: &Context) -> OnWait {
    let output = context.output.clone();
    OnWait::new(move |Waiting { doing, address, left }| {
        output.say(format!(
            "waiting for Consul at {address}, up to {} s more: {doing}",
            left.as_secs()
        ));
    })
}

/// A client, where the config uses Consul. One is enough for a run: it keeps its connections.
pub fn client(config: &Settled, context: &Context) -> Result<Option<Client>> {
    match config.uses_consul() {
        true => Ok(Some(Client::new(&options(config, context)?)?)),
        false => Ok(None),
    }
}

/// What one of Consul's variables that are true or false says; nothing when it is absent, or says neither.
pub(super) fn truth(context: &Context, name: &str) -> Option<bool> {
    truth_of(&context.environment.text(name)?)
}

/// The words that Consul's own client takes.
fn truth_of(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The token that a file holds.
pub(super) fn token_of(file: &Path) -> Result<Secret> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        CliError::disk(format!("reading Consul's token from {}", file.display()), error)
            .hint("name a readable file by consul.token_file or CONSUL_HTTP_TOKEN_FILE")
    })?;
    Ok(Secret::new(text.trim()))
}

#[cfg(test)]
mod tests {
    use super::truth_of;

    #[test]
    fn a_variable_says_what_it_says_to_consuls_own_client() {
        for text in ["1", "t", "T", "true", "TRUE", "True"] {
            assert_eq!(truth_of(text), Some(true), "{text}");
        }
        for text in ["0", "f", "F", "false", "FALSE", "False"] {
            assert_eq!(truth_of(text), Some(false), "{text}");
        }
        for text in ["yes", "tRUE", "", "2"] {
            assert_eq!(truth_of(text), None, "{text}");
        }
    }
}
