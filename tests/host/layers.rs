//! What stands in `.layers`: who may get there, what was added to it, and what is no directory of layers.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use shipit_host::Event;
use shipit_manifest::Link;
use shipit_testbed::Cmd;

use crate::by_difference::{IDS, assert_current};
use crate::shop::{Shop, app, file};
use crate::support::{Outcome, Sandbox};

fn whole_instead(outcome: &Outcome) -> Option<&str> {
    outcome.events.iter().find_map(|event| match event {
        Event::WholeInstead { reason } => Some(reason.as_str()),
        _ => None,
    })
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn what_was_added_to_a_linked_layer_is_in_no_later_release() {
    let (shop, host) = (Shop::new(), Sandbox::new("layers"));
    let mut app = app();
    for (at, id) in IDS.iter().take(3).enumerate() {
        let mut published = shop.publish(&app, id, &host.join("dest"));
        published.input.link = Link::Symlink;
        published.input.shared = Vec::new();
        let outcome = host.apply(&published.manifest());
        assert_eq!(whole_instead(&outcome), None);
        let damaged = |event: &&Event| matches!(event, Event::LayerDamaged { .. });
        // The one after what was added, and not the one after that.
        assert_eq!(
            outcome.events.iter().filter(damaged).count(),
            usize::from(at == 1)
        );
        let _ = outcome.ok();
        assert_current(&host, &published);
        if at == 0 {
            let package = host.join("dest/current/node_modules/pkg-03/lib");
            fs::write(package.join("__cache__"), "x").unwrap();
        }
        app.time += 60;
    }
}

/// What may become of a file of a layer. All but the last two keep its time, as a crash of the machine may.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Harm {
    Truncated,
    Emptied,
    Grown,
    Mode,
    Removed,
    Rewritten,
}

impl Harm {
    fn to(self, path: &Path) {
        let open = || fs::File::options().write(true).open(path).unwrap();
        let meta = path.metadata().unwrap();
        match self {
            Self::Truncated => open().set_len(meta.len() / 2).unwrap(),
            Self::Emptied => open().set_len(0).unwrap(),
            Self::Grown => open().set_len(meta.len() + 1).unwrap(),
            Self::Mode => fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap(),
            Self::Removed => return fs::remove_file(path).unwrap(),
            // The same size, and a time of its own.
            Self::Rewritten => {
                let content = vec![b'x'; usize::try_from(meta.len()).unwrap()];
                return fs::write(path, content).unwrap();
            }
        }
        open().set_modified(meta.modified().unwrap()).unwrap();
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn what_became_of_a_layers_files_is_right_after_the_next_apply() {
    let harms = [
        Harm::Truncated,
        Harm::Emptied,
        Harm::Grown,
        Harm::Mode,
        Harm::Removed,
        Harm::Rewritten,
    ];
    for link in [Link::Symlink, Link::Auto] {
        let (shop, host) = (Shop::new(), Sandbox::new("layers"));
        let mut app = app();
        for at in 0..=harms.len() {
            let mut published = shop.publish(&app, &id(at), &host.join("dest"));
            published.input.link = link;
            published.input.shared = Vec::new();
            let outcome = host.apply(&published.manifest());
            assert_eq!(whole_instead(&outcome), None);
            let damaged = outcome.events.iter().find_map(|event| match event {
                Event::LayerDamaged { entries, .. } => Some(*entries),
                _ => None,
            });
            let before = at.checked_sub(1).map(|before| harms[before]);
            // Of one that is linked as a whole the directory is not the same either.
            let whole = link == Link::Symlink && before == Some(Harm::Removed);
            let wrong = before.map(|_| 1 + u64::from(whole));
            assert_eq!(damaged, wrong, "{link:?} {before:?}");
            let _ = outcome.ok();
            assert_current(&host, &published);
            if let Some(harm) = harms.get(at) {
                let layer = fs::read_dir(host.join("dest/.layers")).unwrap().flatten();
                let file = layer
                    .map(|layer| layer.path().join("files/node_modules/pkg-03/lib/file-3.js"))
                    .find(|file| file.exists());
                harm.to(&file.unwrap());
            }
            app.time += 60;
        }
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn what_a_damaged_layer_lost_is_taken_from_an_older_one() {
    let (shop, host) = (Shop::new(), Sandbox::new("layers"));
    let mut app = app();
    let large = "files/node_modules/pkg-05/large.node";
    let having = || {
        let layers = fs::read_dir(host.join("dest/.layers")).unwrap().flatten();
        layers
            .map(|layer| layer.path().join(large))
            .filter(|file| file.exists())
            .collect::<Vec<_>>()
    };
    let mut older = Vec::new();
    for at in 0..3 {
        let mut published = shop.publish(&app, &id(at), &host.join("dest"));
        published.input.link = Link::Symlink;
        published.input.shared = Vec::new();
        let outcome = host.apply(&published.manifest());
        let fetch = outcome.events.iter().find_map(|event| match event {
            Event::LayersFound { fetch_bytes, .. } => Some(*fetch_bytes),
            _ => None,
        });
        let said = outcome
            .events
            .iter()
            .any(|event| matches!(event, Event::LayerDamaged { .. }));
        assert_eq!(said, at == 2);
        let _ = outcome.ok();
        assert_current(&host, &published);
        match at {
            0 => {
                older = having();
                app.npm.insert("pkg-07/added.js".into(), file("added"));
            }
            1 => {
                let newer: Vec<_> = having().into_iter().filter(|at| !older.contains(at)).collect();
                assert_eq!((older.len(), newer.len()), (1, 1));
                fs::remove_file(&newer[0]).unwrap();
            }
            // The file is one of 3 MB.
            _ => assert!(fetch.is_some_and(|fetch| fetch < 1_000_000), "{fetch:?}"),
        }
        app.time += 60;
    }
}

fn id(at: usize) -> String {
    format!("20261122T10{at:02}00Z-aaaaaaa")
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_place_for_layers_that_cannot_be_trusted_is_said_with_what_to_do() {
    let shop = Shop::new();
    for (reason, spoil) in [
        ("is no directory; move it away", true),
        ("others may write to it; `chmod go-w`", false),
    ] {
        let host = Sandbox::new("layers");
        let published = shop.publish(&app(), IDS[0], &host.join("dest"));
        let layers = host.join("dest/.layers");
        fs::create_dir_all(host.join("dest")).unwrap();
        if spoil {
            fs::write(&layers, "").unwrap();
        } else {
            fs::create_dir(&layers).unwrap();
            fs::set_permissions(&layers, fs::Permissions::from_mode(0o777)).unwrap();
        }
        let outcome = host.apply(&published.manifest());
        let said = whole_instead(&outcome).unwrap_or_default();
        assert!(said.contains(reason), "{said}");
        let not_removed = |event: &Event| matches!(event, Event::NotRemoved { .. });
        assert!(!outcome.events.iter().any(not_removed), "{:?}", outcome.events);
        let _ = outcome.ok();
        assert_current(&host, &published);
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn an_app_gets_to_its_linked_layers_whatever_the_umask_is() {
    let (shop, host) = (Shop::new(), Sandbox::new("layers"));
    let mut published = shop.publish(&app(), IDS[0], &host.join("dest"));
    published.input.link = Link::Symlink;
    published.input.shared = Vec::new();
    let manifest = host.write("manifest.yml", published.manifest());
    let ran = Cmd::new("sh")
        .args([
            "-c",
            "umask 077; exec \"$0\" \"$@\"",
            env!("CARGO_BIN_EXE_shipit"),
            "apply",
        ])
        .arg(format!("file://{}", manifest.display()))
        .arg("--lock-dir")
        .arg(host.join("locks"))
        .envs(host.environment.iter().map(|(name, value)| (name, value)))
        .cwd(host.cwd())
        .run();
    assert_eq!(ran.code(), Some(0), "{ran}");
    assert_current(&host, &published);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let layers = host.join("dest/.layers");
    assert_eq!(mode(&layers), 0o755);
    let vendored = fs::canonicalize(host.join("dest/current/node_modules")).unwrap();
    for dir in vendored.ancestors().take_while(|dir| *dir != layers) {
        assert_eq!(mode(dir), 0o755, "{}", dir.display());
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_manifest_that_knows_nothing_of_links_gives_no_file_of_a_layer_away() {
    let (shop, host) = (Shop::new(), Sandbox::new("layers"));
    let mut app = app();
    for (at, id) in IDS.iter().take(3).enumerate() {
        let mut published = shop.publish(&app, id, &host.join("dest"));
        published.input.owner = rustix::process::geteuid().is_root().then(|| "1:1".to_owned());
        let mut text = published.manifest();
        if at == 1 {
            // As they were before there were layers on hosts.
            assert!(text.contains("\n  link: \"auto\"\n"), "{text}");
            text = text.replace("\n  link: \"auto\"\n", "\n");
            let give = r#"find "$r" \( -type d -o -links 1 \) -exec chown -h "$owner" {} +"#;
            text = text.replace(give, r#"chown -hR "$owner" "$r""#);
        }
        let outcome = host.apply(&text);
        let damaged = |event: &Event| matches!(event, Event::LayerDamaged { .. });
        assert!(!outcome.events.iter().any(damaged), "{id}: {:?}", outcome.events);
        let _ = outcome.ok();
        assert_current(&host, &published);
        if at == 1 {
            let file = host.join("dest/current/node_modules/pkg-03/lib/file-3.js");
            assert_eq!(file.metadata().unwrap().nlink(), 1);
        }
        app.time += 60;
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn what_another_apps_layers_hold_stays_when_a_link_leads_there() {
    let (shop, host, other) = (Shop::new(), Sandbox::new("layers"), Sandbox::new("layers"));
    let theirs = shop.publish(&app(), IDS[0], &other.join("dest"));
    let _ = other.apply(&theirs.manifest()).ok();
    let layers = other.join("dest/.layers");
    fs::create_dir(layers.join(".new")).unwrap();
    let names = || fs::read_dir(&layers).unwrap().count();
    let before = names();
    let mut app = app();
    app.time += 60;
    let ours = shop.publish(&app, IDS[1], &host.join("dest"));
    fs::create_dir_all(host.join("dest")).unwrap();
    symlink(&layers, host.join("dest/.layers")).unwrap();
    let outcome = host.apply(&ours.manifest());
    assert!(
        whole_instead(&outcome)
            .unwrap_or_default()
            .contains("is no directory")
    );
    let _ = outcome.ok();
    assert_eq!(names(), before);
}
