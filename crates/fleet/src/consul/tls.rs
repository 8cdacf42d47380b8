//! The certificates of `https`.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Certificate, Identity};
use url::Url;

use super::config::Tls;
use super::error::Error;

/// Puts the certificates in. A server name of its own becomes the URL's host, which TLS then asks for; the resolver
/// leads it to the real one.
pub(super) fn secured(
    mut builder: reqwest::ClientBuilder,
    url: &Url,
    tls: &Tls,
    setup: &dyn Fn(&str, Option<reqwest::Error>) -> Error,
) -> Result<(reqwest::ClientBuilder, Url), Error> {
    if let Some(path) = &tls.ca_file {
        let pem = read("CA file", path)?;
        let trusted = Certificate::from_pem_bundle(&pem)
            .map_err(|source| setup(&format!("the CA file {}", path.display()), Some(source)))?;
        if trusted.is_empty() {
            return Err(setup(
                &format!("the CA file {} (it holds no certificate)", path.display()),
                None,
            ));
        }
        builder = builder.tls_certs_only(trusted);
    }
    match (&tls.client_cert, &tls.client_key) {
        (Some(cert), Some(key)) => {
            let mut pem = read("client certificate", cert)?;
            pem.push(b'\n');
            pem.extend(read("client key", key)?);
            let what = format!(
                "the client certificate {} with the key {}",
                cert.display(),
                key.display()
            );
            builder =
                builder.identity(Identity::from_pem(&pem).map_err(|source| setup(&what, Some(source)))?);
        }
        (None, None) => {}
        _ => {
            return Err(setup(
                "a client certificate without its key, or a key without its certificate,",
                None,
            ));
        }
    }
    if !tls.verify {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    let mut base = url.clone();
    if let (Some(name), Some(host)) = (&tls.server_name, url.host_str()) {
        let host = host.trim_matches(['[', ']']).to_owned();
        base.set_host(Some(name))
            .map_err(|_| setup("the TLS server name", None))?;
        builder = builder.dns_resolver(Arc::new(Instead { host }));
    }
    Ok((builder, base))
}

fn read(what: &'static str, path: &std::path::Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::File {
        what,
        path: path.to_owned(),
        source,
    })
}

/// Resolves every name to one host.
struct Instead {
    host: String,
}

impl Resolve for Instead {
    fn resolve(&self, _: Name) -> Resolving {
        let host = self.host.clone();
        Box::pin(async move {
            // The port of the URL takes the place of 0.
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
