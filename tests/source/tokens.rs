//! Tokens and credential helpers over HTTP, and that no secret is left anywhere.

use std::path::Path;

use shipit_source::{Credentials, Error, Secret, Token};
use shipit_testbed::{Cmd, Fault, FaultProxy, GitHttp, GitHttpOptions, Tmp, random_hex};

use crate::remotes::fresh;
use crate::support::{both, options, resolve, served, snapshot};

/// Every file under a directory that holds the text.
fn holding(root: &Path, text: &str) -> Vec<String> {
    let files = snapshot(root).into_iter();
    let found = files.filter(|(_, (_, _, content))| {
        content
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    });
    found
        .map(|(name, _)| String::from_utf8_lossy(&name).into_owned())
        .collect()
}

/// A server of what was [`served`] that wants a token, and the token.
fn guarded(tmp: &Tmp) -> (GitHttp, String) {
    let secret = random_hex(16);
    let auth = Some(("robot".to_owned(), secret.clone()));
    let http = GitHttp::start_with(
        &tmp.join("served"),
        GitHttpOptions {
            auth,
            ..GitHttpOptions::default()
        },
    );
    (http, secret)
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn tokens_open_and_are_nowhere_afterwards() {
    let tmp = Tmp::new("remotes");
    let (_repo, ids) = served(&tmp);
    let (http, secret) = guarded(&tmp);
    // A git that writes down what it was called with.
    let shim = tmp.write(
        "bin/git",
        format!(
            "#!/bin/sh\nprintf '%s\\n' \"$*\" >> {}\nexec git \"$@\"\n",
            tmp.join("argv").display()
        ),
    );
    let _ = Cmd::new("chmod").args(["+x"]).arg(&shim).run().ok();
    let base = options(&tmp, &[&http.url("shop.git")]);
    for (at, options) in both(&base).into_iter().enumerate() {
        let mut options = fresh(&options, &tmp, &format!("mirrors/m{at}"));
        options.git_program = shim.clone();
        let denied = resolve(&options, &ids[2]).err();
        assert!(matches!(denied, Error::Auth { .. }), "{denied:?}");
        let token = |secret: &str| {
            Some(Token {
                username: "robot".into(),
                secret: Secret::new(secret),
                hosts: vec![],
            })
        };
        options.credentials = Credentials {
            token: token("wr0ng-t0ken"),
            ..Credentials::default()
        };
        let told = resolve(&options, &ids[2]);
        let text = format!("{:?}", told.events);
        let denied = told.err();
        assert!(matches!(denied, Error::Auth { .. }), "{denied:?}");
        assert!(
            !format!("{text} {denied:?} {denied}").contains("wr0ng"),
            "{text} {denied:?}"
        );
        options.credentials.token = token(&secret);
        let told = resolve(&options, &ids[2]);
        assert!(!format!("{:?}", told.events).contains(&secret));
        told.ok();
        let missing = resolve(&options, "no-such").err();
        assert!(!format!("{missing:?} {missing} {options:?}").contains(&secret));
    }
    assert_eq!(holding(&tmp.join("mirrors"), &secret), [""; 0]);
    let argv = std::fs::read_to_string(tmp.join("argv")).unwrap();
    assert!(argv.contains("fetch") && !argv.contains(&secret) && !argv.contains("wr0ng"));
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn credential_helpers_are_asked_when_they_may_be() {
    let tmp = Tmp::new("remotes");
    let (_repo, ids) = served(&tmp);
    let (http, secret) = guarded(&tmp);
    let config = tmp.write(
        "gitconfig",
        format!("[credential]\n\thelper = \"!f() {{ echo username=robot; echo password={secret}; }}; f\"\n"),
    );
    for (at, options) in both(&options(&tmp, &[&http.url("shop.git")]))
        .into_iter()
        .enumerate()
    {
        let mut options = fresh(&options, &tmp, &format!("m{at}"));
        options.git_env.retain(|(name, _)| name != "GIT_CONFIG_GLOBAL");
        options
            .git_env
            .push(("GIT_CONFIG_GLOBAL".into(), config.clone().into()));
        assert!(matches!(resolve(&options, &ids[2]).err(), Error::Auth { .. }));
        options.credentials.helper = true;
        assert_eq!(resolve(&options, &ids[2]).ok().id, ids[2]);
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn tokens_are_not_sent_in_the_open() {
    let tmp = Tmp::new("remotes");
    let mut options = options(&tmp, &["http://192.0.2.1/shop.git"]);
    let token = Token {
        username: "x".into(),
        secret: Secret::new("s"),
        hosts: vec![],
    };
    options.credentials.token = Some(token);
    let error = resolve(&options, "main").err();
    assert!(matches!(error, Error::PlainToken { .. }), "{error:?}");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_redirect_does_not_take_the_token_to_another_host() {
    let tmp = Tmp::new("remotes");
    let (_repo, ids) = served(&tmp);
    let http = GitHttp::start(&tmp.join("served"));
    let elsewhere = GitHttp::start(&tmp.join("served"));
    let proxy = FaultProxy::start(http.addr());
    let location = format!("{}/info/refs?service=git-upload-pack", elsewhere.url("shop.git"));
    proxy.inject(
        Fault::status(302)
            .header("Location", &location)
            .path("/info/refs")
            .always(),
    );
    for (at, options) in both(&options(&tmp, &[&format!("{}/shop.git", proxy.url())]))
        .into_iter()
        .enumerate()
    {
        let mut options = fresh(&options, &tmp, &format!("m{at}"));
        let token = Token {
            username: "robot".into(),
            secret: Secret::new("t0ken"),
            hosts: vec![],
        };
        options.credentials.token = Some(token);
        for name in [ids[2].as_str(), "main"] {
            let error = resolve(&options, name).err();
            assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        }
    }
    assert_eq!(elsewhere.requests(), []);
}
