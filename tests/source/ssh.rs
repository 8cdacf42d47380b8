//! Repositories over ssh, against a real sshd: keys, the agent, known hosts.

use shipit_source::{Error, Event, Fetch, SourceOptions};
use shipit_testbed::{Cmd, Sshd, Tmp};

use crate::support::{both, commits, options, resolve, served};

fn with_key(tmp: &Tmp, sshd: &Sshd, name: &str) -> SourceOptions {
    let mut options = options(tmp, &[&sshd.url(&tmp.join("served/shop.git"))]);
    options.credentials.ssh_keys = vec![sshd.key()];
    options.credentials.known_hosts = vec![sshd.known_hosts()];
    options.mirror = tmp.join(name);
    options
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_key_that_is_let_in() {
    let tmp = Tmp::new("ssh");
    let (_repo, ids) = served(&tmp);
    let sshd = Sshd::start();
    for (at, options) in both(&with_key(&tmp, &sshd, "m")).into_iter().enumerate() {
        let options = SourceOptions {
            mirror: tmp.join(format!("m{at}")),
            ..options
        };
        assert_eq!(resolve(&options, &ids[2]).ok().id, ids[2], "{}", sshd.log());
        assert_eq!(commits(&options), 1);
        assert_eq!(resolve(&options, "v1").ok().id, ids[0]);
        assert_eq!(resolve(&options, &ids[1]).ok().id, ids[1]);
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn keys_that_are_not_let_in_and_none() {
    let tmp = Tmp::new("ssh");
    let (_repo, ids) = served(&tmp);
    let sshd = Sshd::start();
    for (at, mut options) in both(&with_key(&tmp, &sshd, "m")).into_iter().enumerate() {
        options.mirror = tmp.join(format!("m{at}"));
        options.credentials.ssh_keys = vec![sshd.stranger_key()];
        let error = resolve(&options, &ids[2]).err();
        assert!(matches!(error, Error::Auth { .. }), "{error:?}");
        options.credentials.ssh_keys = vec![sshd.stranger_key(), sshd.key()];
        assert_eq!(resolve(&options, &ids[2]).ok().id, ids[2]);
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn the_agent_and_keys_with_a_passphrase() {
    let tmp = Tmp::new("ssh");
    let (_repo, ids) = served(&tmp);
    let sshd = Sshd::start();
    let locked = tmp.join("locked_key");
    let keygen = Cmd::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "a passphrase", "-f"])
        .arg(&locked);
    let _ = keygen.run().ok();
    for (at, mut options) in both(&with_key(&tmp, &sshd, "m")).into_iter().enumerate() {
        options.mirror = tmp.join(format!("m{at}"));
        // An agent that is not there, and a key that cannot be read, stop nobody.
        options.credentials.ssh_agent = true;
        options.credentials.ssh_keys = vec![locked.clone(), sshd.key()];
        assert_eq!(resolve(&options, &ids[2]).ok().id, ids[2], "{}", sshd.log());
        options.credentials.ssh_keys = vec![locked.clone()];
        let error = resolve(&options, &ids[0]).err();
        assert!(matches!(error, Error::Auth { .. }), "{error:?}");
    }
    let agent = sshd.agent();
    let mut options = with_key(&tmp, &sshd, "by-agent");
    options.credentials.ssh_keys = Vec::new();
    options.credentials.ssh_agent = true;
    options.fetch = Fetch::Cli;
    options
        .git_env
        .push(("SSH_AUTH_SOCK".into(), agent.socket().into()));
    assert_eq!(resolve(&options, &ids[2]).ok().id, ids[2], "{}", sshd.log());
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn host_keys_that_are_wrong_or_unknown() {
    let tmp = Tmp::new("ssh");
    let (_repo, ids) = served(&tmp);
    let sshd = Sshd::start();
    let empty = tmp.write("empty_known_hosts", "");
    for (at, mut options) in both(&with_key(&tmp, &sshd, "m")).into_iter().enumerate() {
        options.mirror = tmp.join(format!("m{at}"));
        for known in [sshd.wrong_known_hosts(), empty.clone()] {
            options.credentials.known_hosts = vec![known];
            let error = resolve(&options, &ids[2]).err();
            assert!(matches!(error, Error::HostKey { .. }), "{error:?}");
            assert!(error.hint().unwrap().contains("ssh-key"), "{error:?}");
        }
        // Not even a second remote, or what the mirror has by name, is taken in silence.
        options.remotes.push(
            shipit_source::Remote::parse(&format!("file://{}", tmp.join("served/shop.git").display()))
                .unwrap(),
        );
        assert!(matches!(resolve(&options, "main").err(), Error::HostKey { .. }));
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn hashed_known_hosts() {
    let tmp = Tmp::new("ssh");
    let (_repo, ids) = served(&tmp);
    let sshd = Sshd::start();
    let known = tmp.write("known_hosts", std::fs::read(sshd.known_hosts()).unwrap());
    let hash = Cmd::new("ssh-keygen").args(["-H", "-f"]).arg(&known);
    let _ = hash.run().ok();
    assert!(std::fs::read_to_string(&known).unwrap().starts_with("|1|"));
    for (at, mut options) in both(&with_key(&tmp, &sshd, "m")).into_iter().enumerate() {
        options.mirror = tmp.join(format!("m{at}"));
        options.credentials.known_hosts = vec![known.clone()];
        assert_eq!(resolve(&options, &ids[2]).ok().id, ids[2]);
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn an_ssh_config_brings_the_git_program() {
    let tmp = Tmp::new("ssh");
    let (_repo, ids) = served(&tmp);
    let sshd = Sshd::start();
    let address = sshd.addr();
    let (ip, port) = (address.ip(), address.port());
    let config = tmp.write(
        "config",
        format!(
            "Host shop-git\n  HostName {ip}\n  Port {port}\n  User {}\n",
            sshd.user()
        ),
    );
    let mut options = with_key(&tmp, &sshd, "m");
    let url = format!(
        "{}@shop-git:{}",
        sshd.user(),
        tmp.join("served/shop.git").display()
    );
    options.remotes = vec![shipit_source::Remote::parse(&url).unwrap()];
    options.ssh_configs = vec![config.clone()];
    options.fetch = Fetch::Auto;
    options.git_env.push((
        "GIT_SSH_COMMAND".into(),
        format!("ssh -F {}", config.display()).into(),
    ));
    let told = resolve(&options, &ids[2]);
    assert!(
        told.events
            .iter()
            .all(|event| !matches!(event, Event::Fetching { with: "libgit2", .. })),
        "{:?}",
        told.events
    );
    assert_eq!(told.ok().id, ids[2], "{}", sshd.log());
}
