//! `shipit policy`.

mod consul;
mod iam;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};
use serde::Serialize;
use shipit_store::StoreUrl;

use crate::args::StageArg;
use crate::config::{Role, Settled, StageChoice};
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};
use crate::settle;

/// Stands for a node's name where none is given.
const ANY_NODE: &str = "NODE";

/// Print what the tokens and keys of hosts and jobs must be allowed, and no more.
///
/// Consul's ACL rules (HCL) for `consul acl policy create -rules @FILE`, or with --store an IAM policy for the bucket. A host's rules
/// are for one node: its own reports and logs, what is asked of it, its events, its agent's name.
#[derive(Debug, Args)]
pub struct PolicyArgs {
    /// Who is to be allowed
    #[arg(value_enum, value_name = "WHO")]
    who: Who,
    #[command(flatten)]
    stage: StageArg,
    /// The roles; may be given several times [default: all of the config]
    #[arg(long = "role", value_name = "ROLE", value_parser = NonEmptyStringValueParser::new())]
    roles: Vec<String>,
    /// The node: of `host`, the host itself; of the others, the node whose agent they ask
    #[arg(long, value_name = "NODE", value_parser = NonEmptyStringValueParser::new())]
    node: Option<String>,
    /// The policy for the bucket, in place of that for Consul
    #[arg(long)]
    store: bool,
}

/// Who is to be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Who {
    /// A host: its watch, its reports
    Host,
    /// Who kicks, repairs, rolls back, locks and looks at the status
    Kicker,
    /// Who publishes and promotes
    Publisher,
    /// Who prunes
    Pruner,
}

/// What a policy is made from.
struct Subject<'a> {
    who: Who,
    config: &'a Settled,
    roles: Vec<&'a Role>,
    /// Whether those are not all of the config's.
    some_roles: bool,
    node: Option<&'a str>,
}

/// The document of `--output json`, of Consul's rules.
#[derive(Debug, Serialize)]
struct Document<'a> {
    who: Who,
    app: &'a str,
    stage: &'a str,
    roles: Vec<&'a str>,
    node: Option<&'a str>,
    rules: String,
}

pub fn run(args: &PolicyArgs, context: &Context) -> Result<()> {
    let stage = args.stage.name(&context.environment);
    let config = settle::config(context, StageChoice::Of(stage.as_deref()))?;
    let subject = subject(args, &config)?;
    if args.store {
        return store(&subject, context);
    }
    if !config.uses_consul() {
        return Err(CliError::new(
            Kind::Usage,
            "this config has no Consul: locks and reports stand in the store",
        )
        .hint("--store prints the policy for the bucket"));
    }
    let Some(rules) = consul::rules(&subject)? else {
        return Err(CliError::new(Kind::Usage, "who publishes asks nothing of Consul")
            .hint("--store prints the policy for the bucket"));
    };
    if subject.who == Who::Host && subject.node.is_none() {
        context.output.say(format!(
            "the rules are for one node: put its name in place of {ANY_NODE}, or give --node"
        ));
    }
    context.output.json(&Document {
        who: subject.who,
        app: &config.app,
        stage: config.stage(),
        roles: subject.roles.iter().map(|role| role.name.as_str()).collect(),
        node: subject.node,
        rules: rules.clone(),
    })?;
    context.output.data(rules.trim_end())
}

fn subject<'a>(args: &'a PolicyArgs, config: &'a Settled) -> Result<Subject<'a>> {
    let roles = if args.roles.is_empty() {
        config.roles.iter().collect()
    } else {
        let named = args.roles.iter().map(|name| Ok(config.role(name)?));
        named.collect::<Result<Vec<_>>>()?
    };
    if roles.is_empty() {
        return Err(CliError::new(
            Kind::Usage,
            "the config has no role that anything could be allowed for",
        )
        .hint("add a table [role.web]"));
    }
    Ok(Subject {
        who: args.who,
        config,
        roles,
        some_roles: !args.roles.is_empty(),
        node: args.node.as_deref(),
    })
}

/// An IAM policy is JSON in both forms of output.
fn store(subject: &Subject<'_>, context: &Context) -> Result<()> {
    let table = subject.config.store()?;
    let url = StoreUrl::parse(&context.value(&table.url)?.into_inner())?;
    let StoreUrl::S3 { bucket, prefix } = &url else {
        return Err(CliError::new(
            Kind::Usage,
            format!("the store {url} is a directory, which has no policy"),
        )
        .hint("its rights are those of files: publishers and kickers write, hosts read"));
    };
    let policy = iam::policy(subject, table, bucket, prefix);
    let mut text = serde_json::to_vec_pretty(&policy)
        .map_err(|error| CliError::from_source(Kind::Internal, error).context("writing the policy"))?;
    text.push(b'\n');
    context.output.raw(&text)
}

#[cfg(test)]
mod tests {
    use super::{Subject, Who};
    use crate::config::{Config, ConfigRequest, StageChoice};

    /// Does something with the role web of a config with these tables, on a node whose name needs escaping.
    pub(super) fn subject_of<T>(who: Who, tables: &str, work: impl FnOnce(&Subject<'_>) -> T) -> T {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "app = \"shop\"\n{tables}\n[role.web]\ndest = \"/srv/shop\"\nonce = \"true\"\n\
             exec = {{ command = \"true\", hosts = [\"a\"] }}\n[stage.production]\n"
        );
        std::fs::write(dir.path().join("shipit.toml"), text).unwrap();
        let config = Config::load(&ConfigRequest {
            path: None,
            cwd: dir.path().to_owned(),
            stage: StageChoice::Of(Some("production")),
            env: &|_| None,
        })
        .unwrap();
        work(&Subject {
            who,
            config: &config,
            roles: config.roles.iter().collect(),
            some_roles: false,
            node: Some("web-\"1"),
        })
    }
}
