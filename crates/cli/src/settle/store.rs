//! The store, opened, and the reader of URLs; AWS's own configuration is loaded here, by its standard chain.

use aws_config::{BehaviorVersion, SdkConfig};
use shipit_store::{
    Fetcher, FetcherOptions, OnEvent, S3Options, S3Settings, Sse, Store, StoreOptions, StoreUrl,
};

use crate::config::{self, Settled};
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};

/// As `open`, for who reads what was published: a directory that is not there (not mounted, say) is an error.
pub fn existing(config: &Settled, context: &Context, on_event: OnEvent) -> Result<Store> {
    let store = open(config, context, on_event)?;
    context.block_on(async { Ok(store.check_there().await?) })?;
    Ok(store)
}

/// As `open`, for who publishes: a directory that is not there will be made.
pub fn to_publish(config: &Settled, context: &Context, on_event: OnEvent) -> Result<Store> {
    let store = open(config, context, on_event)?;
    context.block_on(async { Ok(store.is_there().await?) })?;
    Ok(store)
}

/// Opens the config's store; events go to `on_event`.
pub fn open(config: &Settled, context: &Context, on_event: OnEvent) -> Result<Store> {
    let table = config.store()?;
    let value = |setting| Ok::<_, CliError>(context.value(setting)?.into_inner());
    let url = StoreUrl::parse(&value(&table.url)?)?;
    let s3 = match &url {
        StoreUrl::S3 { .. } => {
            let mut options = S3Options::new(context.block_on(async { Ok(aws().await) })?);
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

/// A reader for a host: no config there, AWS's standard chain alone. The chain ends at the instance metadata service, which takes
/// seconds to fail where there is none: it is asked only for who reads from S3.
pub fn fetcher(on_event: OnEvent) -> Fetcher {
    Fetcher::new(FetcherOptions {
        s3: Some(S3Settings::when_needed(|| async { S3Options::new(aws().await) })),
        on_event,
        ..FetcherOptions::default()
    })
}

async fn aws() -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest()).load().await
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
