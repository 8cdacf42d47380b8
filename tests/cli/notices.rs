//! Who is told how a kick ended: webhooks and commands get the truth, and none of them changes how it ends.

use std::io::{BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use shipit_testbed::http::Head;
use shipit_testbed::{Signal, until};

use crate::fleet::Fleet;

const SECRET: &str = "s3cret-t0ken";

/// A server that keeps what is posted to it, and gives everybody the same answer.
struct Inbox {
    addr: SocketAddr,
    got: Arc<Mutex<Vec<(Head, Value)>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Inbox {
    fn new(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let got = Arc::new(Mutex::new(Vec::new()));
        let ended = Arc::new(AtomicBool::new(false));
        let (into, until) = (Arc::clone(&got), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if until.load(Ordering::SeqCst) {
                    return;
                }
                if let Some(post) = stream.ok().and_then(|stream| receive(&stream, answer)) {
                    into.lock().unwrap().push(post);
                }
            }
        });
        Inbox {
            addr,
            got,
            ended,
            thread: Some(thread),
        }
    }

    fn url(&self) -> String {
        format!("http://{}/hook/{SECRET}", self.addr)
    }

    fn take(&self) -> Vec<(Head, Value)> {
        std::mem::take(&mut self.got.lock().unwrap())
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.addr);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn receive(mut stream: &TcpStream, answer: &str) -> Option<(Head, Value)> {
    let mut from = BufReader::new(stream);
    let head = Head::read(&mut from).ok()??;
    let mut body = vec![0; head.header("content-length")?.parse().ok()?];
    from.read_exact(&mut body).ok()?;
    let length = answer.len();
    let status = if answer.is_empty() { "200 OK" } else { "500 Oh No" };
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{answer}");
    stream.write_all(text.as_bytes()).ok()?;
    Some((head, serde_json::from_slice(&body).ok()?))
}

fn secrets(slack: &Inbox, hook: &Inbox) -> [(String, String); 3] {
    [
        ("TEST_SLACK".to_owned(), slack.url()),
        ("TEST_HOOK".to_owned(), hook.url()),
        ("TEST_AUTH".to_owned(), format!("Bearer {SECRET}")),
    ]
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn each_is_told_what_it_asked_for() {
    let (slack, hook) = (Inbox::new(""), Inbox::new(""));
    let notify = "[[notify]]\nslack = { env = \"TEST_SLACK\" }\non = [\"failure\"]\n\
                  [[notify]]\nwebhook = { env = \"TEST_HOOK\" }\nheaders = { Authorization = { env = \"TEST_AUTH\" } }\n\
                  [[notify]]\ncommand = \"cat >>notice.json\"\n";
    let mut fleet = Fleet::new(&["a", "b"], notify, "");
    fleet.project.env(secrets(&slack, &hook));
    let release = fleet.release("one");
    let ran = fleet.shipit("kick", &["--reason", "because"]).ok();
    assert!(!ran.err().contains("warning"), "{ran}");
    assert!(slack.take().is_empty(), "a success is none of its business");
    let [(head, summary)] = <[_; 1]>::try_from(hook.take()).unwrap();
    assert_eq!(head.request_line().0, "POST");
    let expected = format!("Bearer {SECRET}");
    assert_eq!(head.header("authorization"), Some(expected.as_str()));
    for (key, value) in [
        ("version", serde_json::json!(1)),
        ("app", "shop".into()),
        ("stage", "staging".into()),
        ("role", "web".into()),
        ("action", "kick".into()),
        ("release", release.clone().into()),
        ("result", "succeeded".into()),
        ("failed", serde_json::json!([])),
    ] {
        assert_eq!(summary[key], value, "{key} in {summary}");
    }
    assert_eq!(summary["hosts"]["succeeded"], 2);
    // The command ran in the config's directory, and got the same.
    let file = fleet.project.repo.path().join("notice.json");
    let text = std::fs::read_to_string(file).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), summary);

    fleet.fails("b", true);
    let _ = fleet.release("two");
    let _ = fleet.shipit("kick", &[]).exits(7);
    let [(_, message)] = <[_; 1]>::try_from(slack.take()).unwrap();
    let text = message["text"].as_str().unwrap();
    assert!(
        text.contains("good on 1 of 2 hosts") && text.contains("\n• b"),
        "{text}"
    );
    let [(_, summary)] = <[_; 1]>::try_from(hook.take()).unwrap();
    assert_eq!(summary["result"], "failed");
    assert_eq!(summary["failed"].as_array().unwrap().len(), 1);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn one_that_fails_is_a_warning_without_a_secret() {
    let (slack, hook) = (Inbox::new(""), Inbox::new("no hook at /hook/s3cret-t0ken"));
    let notify = "[[notify]]\nslack = { env = \"TEST_MISSING\" }\n\
                  [[notify]]\nwebhook = { env = \"TEST_HOOK\" }\nheaders = { Authorization = { env = \"TEST_AUTH\" } }\n\
                  [[notify]]\ncommand = \"echo out of paper >&2; exit 3\"\n";
    let mut fleet = Fleet::new(&["a"], notify, "");
    fleet.project.env(secrets(&slack, &hook));
    let _ = fleet.release("one");
    let ran = fleet.shipit("kick", &[]).ok();
    let said = ran.err();
    for part in [
        "TEST_MISSING",
        "the webhook of notify.webhook was not told how the kick ended: the server answered 500: no hook at /***",
        "code 3: out of paper",
    ] {
        assert!(said.contains(part), "{part}: {ran}");
    }
    assert!(!said.contains(SECRET) && !ran.out().contains(SECRET), "{ran}");
}

/// A webhook to which somebody comes and gets no answer; and the config that names it.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    let notify = format!("[[notify]]\nwebhook = \"http://{addr}/hook\"\non = [\"failure\"]\n");
    (listener, notify)
}

/// Waits for who comes to it, and keeps them waiting.
fn somebody(listener: &TcpListener) -> TcpStream {
    let mut came = None;
    until("the webhook to be told", SOON, || match listener.accept() {
        Ok((stream, _)) => {
            came = Some(stream);
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
            false
        }
    });
    came.unwrap()
}

const SOON: Duration = Duration::from_secs(60);

#[test]
fn a_webhook_that_does_not_answer_keeps_neither_the_rollback_nor_the_next_kick() {
    let (hook, notify) = silent();
    let fleet = Fleet::new(&["a"], &format!("rollback_on_failure = true\n{notify}"), "");
    let one = fleet.release("one");
    let _ = fleet.shipit("kick", &[]).ok();
    let two = fleet.release("two");
    fleet.fails("a", true);
    let mut kick = fleet.start("kick", &[]);
    let waiting = somebody(&hook);
    // The host was told to go back, the history has both ends, and the stage is free.
    assert_eq!(fleet.releases("a"), [one.clone(), two.clone(), one]);
    assert!(fleet.history().iter().all(|(_, ended)| ended.is_some()));
    assert!(!fleet.locked());
    fleet.fails("a", false);
    let _ = fleet.shipit("kick", &["--release", &two]).ok();
    drop((waiting, hook));
    assert_eq!(kick.wait(SOON).unwrap().code(), Some(7), "{}", kick.log());
    assert!(
        kick.log().contains("was not told how the kick ended"),
        "{}",
        kick.log()
    );
}

#[test]
fn a_kick_that_is_stopped_gives_its_lock_back_and_then_tells_a_slow_webhook() {
    let (hook, notify) = silent();
    let fleet = Fleet::new(&["a"], &notify, "");
    let _ = fleet.release("one");
    fleet.hangs("a", true);
    let mut kick = fleet.start("kick", &[]);
    fleet.wait_told("a", 1);
    kick.signal(Signal::INT);
    let waiting = somebody(&hook);
    assert!(!fleet.locked());
    assert_eq!(fleet.history()[0].1.as_ref().unwrap()["result"], "interrupted");
    drop((waiting, hook));
    assert_eq!(kick.wait(SOON).unwrap().code(), Some(130), "{}", kick.log());
}

#[test]
fn how_a_role_went_is_told_while_the_next_one_is_kicked() {
    let fleet = Fleet::new(&["a"], "[[notify]]\ncommand = \"cat >>notices.json\"\n", "");
    let config = fleet.project.repo.join("shipit.toml");
    let text = std::fs::read_to_string(config).unwrap();
    let db = "[role.db]\ndest = \"/srv/db\"\n[role.db.exec]\nhosts = [\"d\"]\ncommand = \"true\"\n";
    let text = text.replace("[stage.staging]", &format!("{db}[stage.staging]"));
    fleet.project.config(&text);
    let _ = fleet.release("one");
    fleet.hangs("a", true);
    let log = fleet.project.tmp.join("both.log");
    let args = ["kick", "db", "web", "--stage", "staging"];
    let mut kick = fleet.project.shipit(&args).start("both", log);
    fleet.wait_told("a", 1);
    let file = fleet.project.repo.join("notices.json");
    let told = || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let notices = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
        let roles = notices.map_while(Result::ok).map(|notice| notice["role"].clone());
        roles.collect::<Vec<_>>()
    };
    until("the notice of db", SOON, || told() == ["db"]);
    assert!(fleet.locked(), "web is still at it");
    fleet.hangs("a", false);
    assert_eq!(kick.wait(SOON).unwrap().code(), Some(0), "{}", kick.log());
    assert_eq!(told(), ["db", "web"]);
}
