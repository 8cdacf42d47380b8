//! The hosts of a deploy: Consul's client, events, and the transports that reach hosts.
