//! The store, opened, and the reader of URLs; AWS's own configuration is loaded here, by its standard chain.

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::{BehaviorVersion, SdkConfig};
use shipit_store::{Fetcher, FetcherOptions, OnEvent, S3Options, Sse, Store, StoreOptions, StoreUrl};

use crate::config::{self, Settled};
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};

/// Opens the config's store; events go to `on_event`.
pub fn open(config: &Settled, context: &Context, on_event: OnEvent) -> Result<Store> {
    let table = config.store()?;
    let value = |setting| Ok::<_, CliError>(context.value(setting)?.into_inner());
    let url = StoreUrl::parse(&value(&table.url)?)?;
    let s3 = match &url {
        StoreUrl::S3 { .. } => {
            let mut options = S3Options::new(context.block_on(async { Ok(aws(true).await) })?);
            options.parallel = context.transfers();
            options.region = table.region.clone();
            options.endpoint = table.endpoint.as_ref().map(value).transpose()?;
            options.path_style = table.path_style.then_some(true);
            options.sse = sse(table)?;
            Some(options)
        }
        _ => None,
    };
    let public_url = table.public_url.as_ref().map(value).transpose()?;
    Ok(Store::open(
        &url,
        StoreOptions {
            s3,
            public_url,
            on_event,
        },
    )?)
}

/// A reader for a host: no config there, AWS's standard chain alone.
pub fn fetcher(manifest_url: &str, context: &Context, on_event: OnEvent) -> Result<Fetcher> {
    // Without a region in the environment or a profile, AWS's full chain asks the instance metadata service, which takes seconds
    // to fail where there is none: only for who is going to read from S3 for sure.
    let full = manifest_url.starts_with("s3://");
    let sdk = context.block_on(async { Ok(aws(full).await) })?;
    Ok(Fetcher::new(FetcherOptions {
        s3: Some(S3Options::new(sdk)),
        on_event,
        ..FetcherOptions::default()
    })?)
}

async fn aws(ask_the_instance: bool) -> SdkConfig {
    let loader = aws_config::defaults(BehaviorVersion::latest());
    if ask_the_instance {
        return loader.load().await;
    }
    let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new());
    loader.region(region).load().await
}

fn sse(table: &config::Store) -> Result<Option<Sse>> {
    Ok(match table.sse.as_deref() {
        None => None,
        Some("AES256") => Some(Sse::Aes256),
        Some("aws:kms") => Some(Sse::Kms {
            key_id: table.sse_kms_key_id.clone(),
        }),
        Some(other) => {
            return Err(
                CliError::new(Kind::Usage, format!("store.sse = {other:?} is not supported"))
                    .hint("use AES256 or aws:kms"),
            );
        }
    })
}
