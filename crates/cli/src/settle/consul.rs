//! How Consul is reached.

use std::path::Path;

use shipit_fleet::Secret;
use shipit_fleet::consul::{Address, ConsulConfig, Tls};

use crate::config::Settled;
use crate::context::Context;
use crate::errors::{CliError, Result};

/// Everything that a client wants. The config has Consul's own environment variables laid over it already.
pub fn options(config: &Settled, context: &Context) -> Result<ConsulConfig> {
    let table = &config.consul;
    let value = |setting| Ok::<_, CliError>(context.value(setting)?.into_inner());
    let ssl = context.environment.text("CONSUL_HTTP_SSL");
    let ssl = ssl.is_some_and(|value| matches!(value.as_str(), "1" | "true" | "TRUE" | "True"));
    let mut options = ConsulConfig::new(Address::parse(&value(&table.address)?, ssl)?);
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
    Ok(options)
}

/// The token that a file holds.
pub(super) fn token_of(file: &Path) -> Result<Secret> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        CliError::disk(format!("reading Consul's token from {}", file.display()), error)
            .hint("name a readable file by consul.token_file or CONSUL_HTTP_TOKEN_FILE")
    })?;
    Ok(Secret::new(text.trim()))
}
