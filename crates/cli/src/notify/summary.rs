//! What a notice says: the same facts as JSON and as a text for people.

use serde::Serialize;
use shipit_store::{Action, KickResult};

use crate::config::Outcome;

/// The version of the JSON.
const VERSION: u32 = 1;

/// So many failed hosts are named in a text; the JSON names all.
const NAMED: usize = 20;

/// One kick that ended. Its serialised form is in docs/json-output.md.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The kick's id.
    pub kick: String,
    /// The app.
    pub app: String,
    /// The stage.
    pub stage: String,
    /// The role.
    pub role: String,
    /// Why hosts were told.
    pub action: Action,
    /// The release.
    pub release: String,
    /// The full commit id.
    pub revision: String,
    /// `user@host`.
    pub who: String,
    /// What it was for, in the words of `--reason`.
    pub purpose: Option<String>,
    /// How it ended.
    pub result: KickResult,
    /// Why, when it did not succeed.
    pub reason: Option<String>,
    /// How long it took.
    pub seconds: f64,
    /// How many hosts stood where.
    pub hosts: Counts,
    /// The hosts that failed or stayed silent, sorted.
    pub failed: Vec<String>,
    /// The same with the reason of each, for the text.
    #[serde(skip)]
    pub bad: Vec<String>,
    /// The build's URL, in Jenkins.
    pub build: Option<String>,
}

/// How many hosts stood where at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All that were to be told.
    pub expected: usize,
    /// Those that succeeded.
    pub succeeded: usize,
    /// Those that failed.
    pub failed: usize,
    /// Those that said nothing in time, or not their last word.
    pub silent: usize,
    /// Those that were told and still at it when it ended: nobody waited for them.
    pub working: usize,
}

impl Summary {
    /// What the config's `on` is about.
    pub fn outcome(&self) -> Outcome {
        match self.result {
            KickResult::Succeeded | KickResult::NotFollowed => Outcome::Success,
            KickResult::Failed | KickResult::Interrupted | KickResult::LockLost | KickResult::Error => {
                Outcome::Failure
            }
        }
    }

    /// The JSON of a generic webhook and of a command, on one line.
    pub fn json(&self) -> String {
        #[derive(Serialize)]
        struct Document<'a> {
            version: u32,
            #[serde(flatten)]
            summary: &'a Summary,
            text: String,
        }
        let document = Document {
            version: VERSION,
            summary: self,
            text: self.text(),
        };
        // Texts and numbers alone: there is nothing that JSON cannot hold.
        serde_json::to_string(&document).unwrap_or_default()
    }

    /// The JSON of an incoming webhook as Slack has them.
    pub fn slack(&self) -> String {
        let text = self.text();
        let text = text
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        serde_json::json!({ "text": text }).to_string()
    }

    /// One line, and one for each host that failed.
    pub fn text(&self) -> String {
        let Self {
            app,
            role,
            stage,
            release,
            ..
        } = self;
        let action = match self.action {
            Action::Kick => "",
            Action::Repair => "repair: ",
            Action::Rollback => "rollback: ",
        };
        let mut text = format!(
            "{action}{app} {role} in {stage}: {release} {}, {} (by {}{}{})",
            self.how(),
            duration(self.seconds),
            self.who,
            self.build
                .as_ref()
                .map(|build| format!(", {build}"))
                .unwrap_or_default(),
            self.purpose
                .as_ref()
                .map(|purpose| format!(", {purpose}"))
                .unwrap_or_default()
        );
        // Of hosts that failed each has its line, with the reason.
        let hosts = match self.bad.is_empty() {
            true => &self.failed,
            false => &self.bad,
        };
        let lists_hosts = |reason: &&String| self.bad.first().is_some_and(|bad| reason.starts_with(bad));
        if let Some(reason) = self.reason.as_ref().filter(|reason| !lists_hosts(reason)) {
            text.push_str(&format!(": {reason}"));
        }
        for host in hosts.iter().take(NAMED) {
            text.push_str(&format!("\n• {host}"));
        }
        if hosts.len() > NAMED {
            text.push_str(&format!("\n• and {} more", hosts.len() - NAMED));
        }
        text
    }

    fn how(&self) -> String {
        let Counts {
            expected,
            succeeded,
            working,
            ..
        } = self.hosts;
        let working = match working {
            0 => String::new(),
            some => format!(", {some} still at it"),
        };
        let of = match expected {
            1 => "1 host".to_owned(),
            all => format!("{all} hosts"),
        };
        match self.result {
            KickResult::Succeeded if succeeded >= expected => format!("succeeded on {of}"),
            KickResult::Succeeded => format!("succeeded on {succeeded} of {of}"),
            KickResult::NotFollowed => "was fired and not followed".to_owned(),
            KickResult::Failed => format!("failed, good on {succeeded} of {of}{working}"),
            KickResult::Interrupted => format!("was interrupted, good on {succeeded} of {of}{working}"),
            KickResult::LockLost => format!("lost the lock, good on {succeeded} of {of}{working}"),
            KickResult::Error => format!("could not go on, good on {succeeded} of {of}{working}"),
        }
    }
}

/// `4s`, `1m12s`.
fn duration(seconds: f64) -> String {
    crate::config::Span::seconds(seconds.max(0.0).round() as u64).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        Summary {
            kick: "20261121T134515Z-5e1f00aa".to_owned(),
            app: "shop".to_owned(),
            stage: "production".to_owned(),
            role: "web".to_owned(),
            action: Action::Kick,
            release: "20261121T134515Z-3074f46".to_owned(),
            revision: "3074f46".repeat(6)[..40].to_owned(),
            who: "jenkins@ci".to_owned(),
            purpose: None,
            result: KickResult::Succeeded,
            reason: None,
            seconds: 71.6,
            hosts: Counts {
                expected: 12,
                succeeded: 12,
                ..Counts::default()
            },
            failed: Vec::new(),
            bad: Vec::new(),
            build: None,
        }
    }

    #[test]
    fn a_success_is_one_line() {
        assert_eq!(
            summary().text(),
            "shop web in production: 20261121T134515Z-3074f46 succeeded on 12 hosts, 1m12s (by jenkins@ci)"
        );
        assert_eq!(summary().outcome(), Outcome::Success);
        let told = Summary {
            purpose: Some("hotfix for #1234".to_owned()),
            ..summary()
        };
        assert!(
            told.text().ends_with("(by jenkins@ci, hotfix for #1234)"),
            "{}",
            told.text()
        );
    }

    #[test]
    fn a_failure_names_its_hosts_and_nothing_in_it_is_slacks_markup() {
        let failed = Summary {
            action: Action::Rollback,
            result: KickResult::Failed,
            reason: Some("2 hosts <failed> & more".to_owned()),
            hosts: Counts {
                expected: 12,
                succeeded: 10,
                failed: 1,
                silent: 1,
                working: 0,
            },
            failed: vec!["web03: check failed".to_owned(), "web07: silent".to_owned()],
            ..summary()
        };
        insta::assert_snapshot!(failed.text(), @r"
        rollback: shop web in production: 20261121T134515Z-3074f46 failed, good on 10 of 12 hosts, 1m12s (by jenkins@ci): 2 hosts <failed> & more
        • web03: check failed
        • web07: silent
        ");
        let early = Summary {
            hosts: Counts {
                expected: 4,
                failed: 1,
                working: 3,
                ..Counts::default()
            },
            ..failed.clone()
        };
        assert!(
            early
                .text()
                .contains("failed, good on 0 of 4 hosts, 3 still at it, "),
            "{}",
            early.text()
        );
        assert_eq!(failed.outcome(), Outcome::Failure);
        let slack: serde_json::Value = serde_json::from_str(&failed.slack()).unwrap();
        let text = slack["text"].as_str().unwrap();
        assert!(text.contains("2 hosts &lt;failed&gt; &amp; more"), "{text}");
    }

    #[test]
    fn a_host_that_failed_is_named_once_with_its_reason() {
        let bad = "web-2 (after_switch.1 failed)".to_owned();
        let failed = Summary {
            result: KickResult::Failed,
            reason: Some(bad.clone()),
            failed: vec!["web-2".to_owned()],
            bad: vec![bad],
            build: Some("https://ci.example.com/7/".to_owned()),
            ..summary()
        };
        insta::assert_snapshot!(failed.text(), @r"
        shop web in production: 20261121T134515Z-3074f46 failed, good on 12 of 12 hosts, 1m12s (by jenkins@ci, https://ci.example.com/7/)
        • web-2 (after_switch.1 failed)
        ");
        let checked = Summary {
            reason: Some("the check between waves failed".to_owned()),
            ..failed
        };
        assert!(
            checked
                .text()
                .contains("/7/): the check between waves failed\n• web-2 (")
        );
    }

    #[test]
    fn many_failed_hosts_are_counted() {
        let failed = Summary {
            result: KickResult::Failed,
            failed: (0..25).map(|at| format!("web{at:02}")).collect(),
            ..summary()
        };
        let text = failed.text();
        assert_eq!(text.lines().count(), 22);
        assert!(text.ends_with("• and 5 more"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&failed.json()).unwrap();
        assert_eq!(json["failed"].as_array().unwrap().len(), 25);
    }

    #[test]
    fn the_json_has_all_of_it() {
        let json: serde_json::Value = serde_json::from_str(&summary().json()).unwrap();
        for (key, value) in [
            ("version", serde_json::json!(1)),
            ("action", "kick".into()),
            ("result", "succeeded".into()),
            ("reason", serde_json::Value::Null),
            (
                "hosts",
                serde_json::json!({ "expected": 12, "succeeded": 12, "failed": 0, "silent": 0, "working": 0 }),
            ),
            ("text", summary().text().into()),
        ] {
            assert_eq!(json[key], value, "{key}");
        }
    }
}
