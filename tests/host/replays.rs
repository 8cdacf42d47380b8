//! A restarted watch hands its last event over again: what `shipit apply` makes of that.

use std::fs;
use std::time::Duration;

use base64::Engine;
use shipit_manifest::{Layout, RenderInput, render};
use shipit_testbed::{ConsulAgent, Ran, until};

use crate::binary::shipit;
use crate::releases::{RELEASES, input};
use crate::support::Sandbox;

fn publish(sandbox: &Sandbox, input: &RenderInput) -> String {
    let text = render(input, None).unwrap();
    format!(
        "file://{}",
        sandbox.write(&format!("{}.yml", input.release), text).display()
    )
}

/// As `consul watch` calls its handler.
fn event(sandbox: &Sandbox, id: &str, input: &RenderInput) -> Ran {
    let payload = base64::engine::general_purpose::STANDARD.encode(publish(sandbox, input));
    let list = format!(r#"[{{"ID":"{id}","Name":"deploy_shop_web_test","Payload":"{payload}","LTime":7}}]"#);
    shipit(sandbox).env("CONSUL_INDEX", "7").stdin(list).run().ok()
}

fn by_hand(sandbox: &Sandbox, input: &RenderInput) {
    shipit(sandbox).arg(publish(sandbox, input)).run().ok();
}

fn current(sandbox: &Sandbox, layout: Layout) -> String {
    match layout {
        Layout::Releases => {
            let target = fs::read_link(sandbox.join("dest/current")).unwrap();
            target.file_name().unwrap().to_str().unwrap().to_owned()
        }
        _ => fs::read_to_string(sandbox.join(".dest.shipit/current"))
            .unwrap()
            .trim()
            .to_owned(),
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_replay_downgrades_no_host_that_was_changed_since() {
    for layout in [Layout::Releases, Layout::Plain] {
        let sandbox = Sandbox::new("replay");
        let [one, two, _] = RELEASES.map(|release| input(&sandbox, release, layout));
        event(&sandbox, "a", &one);
        assert_eq!(current(&sandbox, layout), RELEASES[0]);
        // By exec, or at boot.
        by_hand(&sandbox, &two);
        event(&sandbox, "a", &one).says("nothing was done");
        assert_eq!(current(&sandbox, layout), RELEASES[1]);
        // Asked for anew, it is followed.
        event(&sandbox, "b", &one);
        assert_eq!(current(&sandbox, layout), RELEASES[0]);
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn an_event_that_went_badly_is_handled_again_until_somebody_else_sees_to_the_host() {
    let layout = Layout::Releases;
    let sandbox = Sandbox::new("replay");
    let [one, mut two, _] = RELEASES.map(|release| input(&sandbox, release, layout));
    by_hand(&sandbox, &one);
    let gate = sandbox.join("gate");
    two.hooks.before_switch = vec![format!("test -e '{}'", gate.display())];
    event(&sandbox, "a", &two).says("before_switch.1");
    event(&sandbox, "a", &two).says("before_switch.1");
    assert_eq!(current(&sandbox, layout), RELEASES[0]);
    // What failed may pass now.
    fs::write(&gate, "").unwrap();
    event(&sandbox, "a", &two);
    assert_eq!(current(&sandbox, layout), RELEASES[1]);

    fs::remove_file(&gate).unwrap();
    let mut three = input(&sandbox, RELEASES[2], layout);
    three.hooks.before_switch = two.hooks.before_switch.clone();
    event(&sandbox, "b", &three).says("before_switch.1");
    // Back to the first one, by hand; the cause of the failure passes; then the watch is restarted.
    by_hand(&sandbox, &one);
    fs::write(&gate, "").unwrap();
    event(&sandbox, "b", &three).says("nothing was done");
    assert_eq!(current(&sandbox, layout), RELEASES[0]);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_real_watch_that_is_restarted_hands_over_what_was_handled() {
    let agent = ConsulAgent::dev();
    let sandbox = Sandbox::new("replay");
    let [one, two, _] = RELEASES.map(|release| input(&sandbox, release, Layout::Releases));
    let url = publish(&sandbox, &one);
    let current = |release: &str| {
        fs::read_link(sandbox.join("dest/current")).is_ok_and(|target| target.ends_with(release))
    };
    let mut watch = agent.watch("deploy_shop_web_test", &shipit(&sandbox));
    until("the watch's first call", Duration::from_secs(30), || {
        watch.tail().contains("no event yet")
    });
    let _ = agent.fire("deploy_shop_web_test", url.as_bytes());
    until("the first release", Duration::from_secs(60), || {
        current(RELEASES[0])
    });
    until("its end", Duration::from_secs(30), || {
        fs::read_to_string(sandbox.join("dest/.shipit/events")).is_ok_and(|text| text.contains(" well"))
    });
    let _ = watch.stop();
    by_hand(&sandbox, &two);
    let again = agent.watch("deploy_shop_web_test", &shipit(&sandbox));
    until("the replay", Duration::from_secs(30), || {
        again.tail().contains("nothing was done")
    });
    assert!(current(RELEASES[1]), "{}", again.tail());
}
