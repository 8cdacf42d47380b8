//! `[store]`, `[consul]`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::texts::{Text, TextOrEnv};

/// Where artifacts and releases live.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StoreTable {
    /// A bucket with a prefix (`s3://bucket/prefix`), or a directory (`file:///dir`).
    #[schemars(extend("x-check" = "store-url", "examples" = ["s3://shop-deploy/shipit", "file:///var/lib/shipit"]))]
    pub url: Option<TextOrEnv>,
    /// The bucket's region. Without it, what AWS's own config says (AWS_REGION, the profile).
    #[schemars(with = "Option<Text>", extend("examples" = ["ap-northeast-1"]))]
    pub region: Option<String>,
    /// The endpoint of an S3-compatible server.
    #[schemars(extend("x-check" = "http-url", "examples" = ["https://minio.example.com:9000"]))]
    pub endpoint: Option<TextOrEnv>,
    /// Whether the bucket's name stands in the path of requests instead of in the host name; most S3-compatible servers need
    /// it.
    #[schemars(extend("default" = false, "examples" = [true]))]
    pub path_style: Option<bool>,
    /// Server-side encryption that is asked for with each object. Without it, the bucket's own default.
    #[schemars(extend("examples" = ["aws:kms"]))]
    pub sse: Option<SseName>,
    /// The KMS key for `aws:kms` and `aws:kms:dsse`: its id, ARN or alias.
    #[schemars(with = "Option<Text>", extend("examples" = ["alias/shop-deploy"]))]
    pub sse_kms_key_id: Option<String>,
    /// The URL under which hosts read what lies under `url`, when it is another one: that of a CDN or a web server.
    #[schemars(extend("x-check" = "public-url", "examples" = ["https://deploy.example.com/shipit"]))]
    pub public_url: Option<TextOrEnv>,
}

/// Server-side encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum SseName {
    /// Keys of S3's own.
    AES256,
    /// Keys of KMS.
    #[serde(rename = "aws:kms")]
    Kms,
    /// Keys of KMS, two layers.
    #[serde(rename = "aws:kms:dsse")]
    KmsDsse,
}

impl SseName {
    /// As S3 has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AES256 => "AES256",
            Self::Kms => "aws:kms",
            Self::KmsDsse => "aws:kms:dsse",
        }
    }
}

/// How Consul is reached and what its events are called.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConsulTable {
    /// The agent's address: `http://host:port`, `https://host:port` or `unix:///path`. CONSUL_HTTP_ADDR, with CONSUL_HTTP_SSL,
    /// goes before it.
    #[schemars(extend("x-check" = "consul-address", "default" = "http://127.0.0.1:8500", "examples" = ["https://consul.example.com:8501", {"env": "SHOP_CONSUL"}]))]
    pub address: Option<TextOrEnv>,
    /// The ACL token. Always secret. CONSUL_HTTP_TOKEN and CONSUL_HTTP_TOKEN_FILE go before it.
    #[schemars(extend("x-secret" = true, "examples" = [{"env": "SHOP_CONSUL_TOKEN"}]))]
    pub token: Option<TextOrEnv>,
    /// A file that holds the ACL token. CONSUL_HTTP_TOKEN_FILE and CONSUL_HTTP_TOKEN go before it.
    #[schemars(with = "Option<Text>", extend("examples" = ["/run/secrets/consul-token"]))]
    pub token_file: Option<String>,
    /// A PEM file of the authorities that the agent's certificate must come from. Without it, the system's. CONSUL_CACERT goes
    /// before it.
    #[schemars(with = "Option<Text>", extend("examples" = ["/etc/consul/ca.pem"]))]
    pub ca_cert: Option<String>,
    /// The client's certificate, a PEM file. CONSUL_CLIENT_CERT goes before it.
    #[schemars(with = "Option<Text>", extend("examples" = ["/etc/consul/client.pem"]))]
    pub client_cert: Option<String>,
    /// The client's key, a PEM file. CONSUL_CLIENT_KEY goes before it.
    #[schemars(with = "Option<Text>", extend("examples" = ["/etc/consul/client-key.pem"]))]
    pub client_key: Option<String>,
    /// The name that the agent's certificate must carry. Without it, the host of `address`. CONSUL_TLS_SERVER_NAME goes before
    /// it.
    #[schemars(with = "Option<Text>", extend("examples" = ["server.dc1.consul"]))]
    pub tls_server_name: Option<String>,
    /// Whether the agent's certificate is verified. CONSUL_HTTP_SSL_VERIFY goes before it.
    #[schemars(extend("default" = true, "examples" = [false]))]
    pub verify: Option<bool>,
    /// The namespace (Consul Enterprise). CONSUL_NAMESPACE goes before it.
    #[schemars(with = "Option<Text>", extend("examples" = ["shop"]))]
    pub namespace: Option<String>,
    /// The datacenter that events go to. Without it, the agent's own.
    #[schemars(with = "Option<Text>", extend("examples" = ["tokyo"]))]
    pub datacenter: Option<String>,
    /// The event's name: a template of `app`, `role` and `stage`. Two apps, roles or stages must not share a name, for hosts
    /// keep only the newest event of one.
    #[schemars(extend("x-check" = "event-name", "default" = "deploy_{{ app }}_{{ role }}_{{ stage }}", "examples" = ["deploy_{{ role }}_{{ stage }}"]))]
    pub event_name: Option<String>,
}
