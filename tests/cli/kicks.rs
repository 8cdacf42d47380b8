//! What a kick shows, and what it tells of one that did not come to its end.

use std::fs;
use std::time::Duration;

use shipit_testbed::{ConsulAgent, Signal, procs, until};

use crate::project::Project;
use crate::small::{self, dest};

/// A second role, kicked after the first.
const BATCH: &str =
    "[role.batch]\ndest = \"/srv/batch\"\n[role.batch.exec]\nhosts = [\"there\"]\ncommand = \"true\"\n";

/// A project with a release in the store; its config is made for its directories.
fn published(make: impl Fn(&Project) -> String) -> Project {
    let project = Project::new();
    let text = make(&project);
    project.config(&text);
    project.repo.write("app.txt", "one\n").commit("one");
    let _ = project.build("main");
    let _ = project.publish("staging", "web");
    project
}

#[test]
fn an_interrupted_kick_lets_hosts_clean_up_and_tells_which_were_not_done() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut project = published(|project| {
            let runs = project.tmp.join("runs");
            let hook = format!("touch {}; sleep 986", runs.display());
            let role = format!("before_switch = [{}]\n", small::quoted(&hook));
            let text = small::config(project, "", &role);
            text.replace("[\"here\"]", "[\"here\", \"later\"]\nlimit = 1")
                .replace("[stage.staging]", &format!("{BATCH}[stage.staging]"))
        });
        project.env([("KICKED".to_owned(), project.tmp.path().display().to_string())]);
        let runs = project.tmp.join("runs");
        let args = ["kick", "web", "batch", "--stage", "staging", "--output", "json"];
        let mut kick = project.shipit(&args).start("kick", project.tmp.join("kick.log"));
        kick.wait_ready(Duration::from_secs(30), || runs.exists());
        kick.signal(signal);
        let status = kick
            .wait(Duration::from_secs(100))
            .unwrap_or_else(|| panic!("{}", kick.log()));
        let log = kick.log();
        assert_eq!(status.code(), Some(code), "{log}");
        // What the host's apply had unpacked is gone, and nothing of it runs.
        let left = fs::read_dir(project.tmp.join("tmp"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        assert_eq!(left.collect::<Vec<_>>(), [""; 0], "{log}");
        let kicked = project.tmp.path().display().to_string();
        until("the host's processes to be gone", Duration::from_secs(10), || {
            procs::marked("KICKED", &kicked).is_empty()
        });
        for part in [
            "\"result\": \"interrupted\"",
            "\"not_told\": [",
            "here (was interrupted)",
            "not told: later",
            "not kicked: batch",
        ] {
            assert!(log.contains(part), "{part}: {log}");
        }
        assert!(!dest(&project).join("current").exists());
    }
}

#[test]
fn a_secret_of_the_exec_command_is_not_shown() {
    let secret = "planted-geheim-0815";
    let mut project = published(|project| {
        let text = small::config(project, "", "");
        let (before, _) = text.split_once("command = ").unwrap();
        let command =
            "echo it is $GIVEN; printf %s $GIVEN | cut -c1-9 | tr -d '\\\\n'; printf %s $GIVEN; false";
        format!(
            "{before}command = \"{command}\"\nenv = {{ GIVEN = {{ env = \"GIVEN\", secret = true }} }}\n[stage.staging]\n"
        )
    });
    project.env([("GIVEN".to_owned(), secret.to_owned())]);
    for output in ["text", "json"] {
        let args = ["kick", "web", "--stage", "staging", "--output", output];
        let ran = project.shipit(&args).run().exits(7).says("it is ***");
        assert!(
            !ran.out().contains(secret) && !ran.err().contains(secret),
            "{ran}"
        );
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn what_was_fired_is_told_though_a_later_role_is_denied() {
    let agent = ConsulAgent::with_acl();
    let rules = "event \"deploy_shop_web_staging\" { policy = \"write\" }\n\
        session_prefix \"\" { policy = \"write\" }\nkey_prefix \"shipit/\" { policy = \"write\" }\n\
        agent_prefix \"\" { policy = \"read\" }";
    let token = agent.create_token(rules);
    let mut project = published(|project| {
        small::config(project, &format!("[consul]\naddress = \"{}\"\n", agent.url()), "")
            .replace("transport = \"exec\"", "transport = \"consul\"")
            .replace("[stage.staging]", &format!("{BATCH}[stage.staging]"))
    });
    project.env([("CONSUL_HTTP_TOKEN".to_owned(), token)]);
    let kick = |roles: &[&str]| {
        let args = [
            &["kick", "--stage", "staging", "--no-wait", "--output", "json"][..],
            roles,
        ]
        .concat();
        project.shipit(&args).run().exits(6)
    };
    let ran = kick(&["web", "batch"]);
    let told: serde_json::Value = serde_json::from_str(&ran.out()).unwrap_or_else(|_| panic!("{ran}"));
    let roles = told["roles"].as_array().unwrap();
    assert_eq!(roles.len(), 2, "{ran}");
    assert_eq!(
        (&roles[0]["role"], &roles[0]["result"]),
        (&"web".into(), &"not_followed".into())
    );
    assert_eq!(roles[0]["events"][0]["id"].as_str().unwrap().len(), 36);
    assert_eq!(
        (&roles[1]["role"], &roles[1]["result"]),
        (&"batch".into(), &"error".into())
    );
    assert_eq!(roles[1]["events"], serde_json::json!([]));
    let ran = kick(&["batch", "web"]).says("not kicked: web");
    let told: serde_json::Value = serde_json::from_str(&ran.out()).unwrap_or_else(|_| panic!("{ran}"));
    assert_eq!(told["not_kicked"], serde_json::json!(["web"]), "{ran}");
}
