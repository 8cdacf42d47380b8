//! How a host reaches its own Consul agent: by the environment alone, in Consul's own names, for a host has no config.

use std::time::Duration;

use shipit_fleet::consul::{Address, ConsulConfig, Tls};

use super::consul::{token_of, truth};
use crate::context::Context;
use crate::errors::Result;

/// An agent that does not answer for so long does not answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The agent's settings.
pub fn agent(context: &Context) -> Result<ConsulConfig> {
    let environment = &context.environment;
    let over_tls = truth(context, "CONSUL_HTTP_SSL").unwrap_or(false);
    let address = environment.text("CONSUL_HTTP_ADDR");
    let address = Address::parse(address.as_deref().unwrap_or("127.0.0.1:8500"), over_tls)?;
    let mut config = ConsulConfig::new(address);
    // As Consul's own client: the file goes before the variable.
    config.token = match environment.path("CONSUL_HTTP_TOKEN_FILE") {
        Some(file) => Some(token_of(&file)?),
        None => environment
            .text("CONSUL_HTTP_TOKEN")
            .map(shipit_fleet::Secret::new),
    };
    config.tls = Tls {
        ca_file: environment.path("CONSUL_CACERT"),
        client_cert: environment.path("CONSUL_CLIENT_CERT"),
        client_key: environment.path("CONSUL_CLIENT_KEY"),
        server_name: environment.text("CONSUL_TLS_SERVER_NAME"),
        verify: truth(context, "CONSUL_HTTP_SSL_VERIFY").unwrap_or(true),
    };
    config.namespace = environment.text("CONSUL_NAMESPACE");
    config.timeout = TIMEOUT;
    config.attempts = 1;
    Ok(config)
}
