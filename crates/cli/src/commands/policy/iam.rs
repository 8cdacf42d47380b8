//! IAM policies for the bucket: who reads and writes which part of the store's layout.

use serde_json::{Value as Json, json};

use super::{Subject, Who};
use crate::config::Store;

/// What is there without a condition on the prefix: with one, S3 answers 403 and not 404 for an object that is not there.
const LIST: &str = "s3:ListBucket";

/// The policy.
pub fn policy(subject: &Subject<'_>, table: &Store, bucket: &str, prefix: &str) -> Json {
    let place = Place {
        partition: partition(table.region.as_deref()),
        bucket,
        prefix,
    };
    let rights = rights(subject);
    let mut statements = Vec::new();
    if !rights.bucket.is_empty() {
        statements.push(place.statement("TheBucket", &rights.bucket, &[place.bucket()]));
    }
    let objects = [
        ("Reads", &["s3:GetObject"][..], &rights.read),
        (
            "Makes",
            &["s3:PutObject", "s3:AbortMultipartUpload"][..],
            &rights.write,
        ),
        ("Removes", &["s3:DeleteObject"][..], &rights.delete),
    ];
    for (name, actions, keys) in objects {
        if !keys.is_empty() {
            let resources: Vec<String> = keys.iter().map(|key| place.object(key)).collect();
            statements.push(place.statement(name, actions, &resources));
        }
    }
    if let Some(key) = table
        .sse
        .as_deref()
        .filter(|sse| sse.starts_with("aws:kms"))
        .map(|_| table.sse_kms_key_id.as_deref())
    {
        statements.push(place.kms(key, !rights.write.is_empty()));
    }
    json!({ "Version": "2012-10-17", "Statement": statements })
}

/// What somebody may do: actions on the bucket, keys that are read, made and removed.
#[derive(Default)]
struct Rights {
    bucket: Vec<&'static str>,
    read: Vec<String>,
    write: Vec<String>,
    delete: Vec<String>,
}

fn rights(subject: &Subject<'_>) -> Rights {
    let app = subject.config.app.as_str();
    let stage = subject.config.stage();
    let of_app = |area: &str| format!("{area}/{app}/*");
    let of_stage = |area: &str| format!("{area}/{app}/{stage}/*");
    let publishing = format!("locks/{app}/publish");
    match subject.who {
        Who::Host => Rights {
            read: vec![
                of_app("artifacts"),
                of_app("indexes"),
                of_stage("releases"),
                of_stage("live"),
            ],
            ..Rights::default()
        },
        Who::Publisher => {
            let made = vec![
                of_app("artifacts"),
                of_app("indexes"),
                of_app("layers"),
                of_stage("releases"),
                publishing.clone(),
            ];
            Rights {
                bucket: vec![LIST, "s3:ListBucketMultipartUploads"],
                // A promotion reads the stage that it comes from, and how its kicks ended.
                read: vec![
                    of_app("artifacts"),
                    of_app("indexes"),
                    of_app("layers"),
                    of_app("releases"),
                    of_app("live"),
                    of_app("kicks"),
                    publishing.clone(),
                ],
                write: made,
                delete: vec![publishing],
            }
        }
        Who::Kicker => {
            let mut rights = Rights {
                bucket: vec![LIST],
                read: vec![
                    of_app("artifacts"),
                    of_app("indexes"),
                    of_stage("releases"),
                    of_stage("live"),
                    of_stage("kicks"),
                ],
                write: vec![of_stage("live"), of_stage("kicks")],
                delete: Vec::new(),
            };
            // Hosts that can be told by exec can be told while Consul is down (`--without-consul`).
            let by_exec = subject.roles.iter().any(|role| role.exec.is_some());
            if by_exec || !subject.config.uses_consul() {
                let lock = format!("locks/{app}/{stage}");
                rights.read.push(lock.clone());
                rights.write.push(lock.clone());
                rights.delete.push(lock);
            }
            rights
        }
        Who::Pruner => Rights {
            bucket: vec![LIST],
            read: [
                "artifacts",
                "indexes",
                "layers",
                "releases",
                "live",
                "kicks",
                "locks",
            ]
            .map(of_app)
            .to_vec(),
            // A release that is kicked while it is to go is put back.
            write: vec![of_app("releases"), publishing.clone()],
            delete: vec![
                of_app("artifacts"),
                of_app("indexes"),
                of_app("layers"),
                of_app("releases"),
                of_app("kicks"),
                publishing,
            ],
        },
    }
}

/// Where the store is.
struct Place<'a> {
    partition: &'static str,
    bucket: &'a str,
    prefix: &'a str,
}

impl Place<'_> {
    fn bucket(&self) -> String {
        format!("arn:{}:s3:::{}", self.partition, self.bucket)
    }

    fn object(&self, key: &str) -> String {
        match self.prefix {
            "" => format!("{}/{key}", self.bucket()),
            prefix => format!("{}/{prefix}/{key}", self.bucket()),
        }
    }

    fn statement(&self, name: &str, actions: &[&str], resources: &[String]) -> Json {
        json!({ "Sid": name, "Effect": "Allow", "Action": actions, "Resource": resources })
    }

    /// The key that objects are encrypted with: by its ARN, its id, or an alias.
    fn kms(&self, key: Option<&str>, writes: bool) -> Json {
        let actions: &[&str] = if writes {
            &["kms:GenerateDataKey", "kms:Decrypt"]
        } else {
            &["kms:Decrypt"]
        };
        let partition = self.partition;
        let any = format!("arn:{partition}:kms:*:*:key/*");
        let (resource, alias) = match key {
            None => (any, Some("alias/aws/s3")),
            Some(arn) if arn.starts_with("arn:") && arn.contains(":key/") => (arn.to_owned(), None),
            Some(alias) if alias.contains("alias/") => {
                let start = alias.find("alias/").unwrap_or_default();
                (any, Some(&alias[start..]))
            }
            Some(id) => (format!("arn:{partition}:kms:*:*:key/{id}"), None),
        };
        let mut statement = self.statement("TheKey", actions, &[resource]);
        if let Some(alias) = alias {
            statement["Condition"] = json!({ "ForAnyValue:StringEquals": { "kms:ResourceAliases": alias } });
        }
        statement
    }
}

/// The part of AWS that a region belongs to.
fn partition(region: Option<&str>) -> &'static str {
    match region {
        Some(region) if region.starts_with("cn-") => "aws-cn",
        Some(region) if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::subject_of;
    use super::*;

    fn policy_of(who: Who, store: &str) -> Json {
        let text = format!("[store]\nurl = \"s3://shop-deploy/shipit\"\n{store}");
        subject_of(who, &text, |subject| {
            let table = subject.config.store().unwrap();
            policy(subject, table, "shop-deploy", "shipit")
        })
    }

    fn resources<'p>(policy: &'p Json, sid: &str) -> Vec<&'p str> {
        let statements = policy["Statement"].as_array().unwrap();
        let found = statements.iter().find(|statement| statement["Sid"] == sid);
        let resources = found.and_then(|statement| statement["Resource"].as_array());
        resources.into_iter().flatten().filter_map(Json::as_str).collect()
    }

    #[test]
    fn a_host_reads_and_no_more() {
        let policy = policy_of(Who::Host, "");
        assert_eq!(policy["Statement"].as_array().unwrap().len(), 1);
        assert_eq!(policy["Statement"][0]["Action"], json!(["s3:GetObject"]));
        assert_eq!(
            resources(&policy, "Reads"),
            [
                "arn:aws:s3:::shop-deploy/shipit/artifacts/shop/*",
                "arn:aws:s3:::shop-deploy/shipit/indexes/shop/*",
                "arn:aws:s3:::shop-deploy/shipit/releases/shop/production/*",
                "arn:aws:s3:::shop-deploy/shipit/live/shop/production/*",
            ]
        );
    }

    #[test]
    fn a_kicker_removes_nothing_but_its_lock_where_the_store_has_it() {
        let by_events_alone = |subject: &Subject<'_>| {
            let mut role = subject.roles[0].clone();
            role.exec = None;
            let subject = Subject {
                roles: vec![&role],
                ..*subject
            };
            policy(&subject, subject.config.store().unwrap(), "shop-deploy", "shipit")
        };
        let store = "[store]\nurl = \"s3://shop-deploy/shipit\"\n";
        let with = subject_of(Who::Kicker, store, by_events_alone);
        assert!(resources(&with, "Removes").is_empty(), "{with}");
        let without = policy_of(Who::Kicker, "[kick]\ntransport = \"exec\"\n");
        assert_eq!(
            resources(&without, "Removes"),
            ["arn:aws:s3:::shop-deploy/shipit/locks/shop/production"]
        );
        // In an outage of Consul the store has it.
        let outage = policy_of(Who::Kicker, "");
        assert_eq!(resources(&outage, "Removes"), resources(&without, "Removes"));
        for policy in [&with, &without, &outage] {
            let made = resources(policy, "Makes").join(" ");
            assert!(
                !made.contains("artifacts") && !made.contains("releases"),
                "{made}"
            );
        }
    }

    #[test]
    fn the_key_and_the_partition_follow_the_config() {
        for (store, resource, alias) in [
            ("sse = \"aws:kms\"", "arn:aws:kms:*:*:key/*", Some("alias/aws/s3")),
            (
                "sse = \"aws:kms\"\nsse_kms_key_id = \"alias/shop\"",
                "arn:aws:kms:*:*:key/*",
                Some("alias/shop"),
            ),
            (
                "sse = \"aws:kms\"\nsse_kms_key_id = \"1234-5678\"\nregion = \"cn-north-1\"",
                "arn:aws-cn:kms:*:*:key/1234-5678",
                None,
            ),
            (
                "sse = \"aws:kms\"\nsse_kms_key_id = \"arn:aws:kms:eu-west-1:1:key/12\"",
                "arn:aws:kms:eu-west-1:1:key/12",
                None,
            ),
        ] {
            let policy = policy_of(Who::Host, store);
            assert_eq!(resources(&policy, "TheKey"), [resource], "{store}");
            let statement = &policy["Statement"][1];
            assert_eq!(statement["Action"], json!(["kms:Decrypt"]));
            let condition = &statement["Condition"]["ForAnyValue:StringEquals"]["kms:ResourceAliases"];
            assert_eq!(condition.as_str(), alias, "{store}");
        }
    }
}
