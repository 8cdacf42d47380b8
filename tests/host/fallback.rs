//! What is missing or wrong when a release is applied by its difference: the whole artifact is fetched, said why; and what lies is
//! refused before the switch.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use shipit_host::{Applied, Drift, DriftKind, Error, ErrorKind, Event, Method, Verified, VerifyTarget};
use shipit_testbed::FileServer;

use crate::by_difference::{IDS, assert_current};
use crate::shop::{Published, Shop, app, file, seen};
use crate::support::{Outcome, Sandbox, difference};

/// The host fell back to the whole artifact, and for this reason.
#[track_caller]
fn whole(outcome: Outcome, reason: &str) -> Applied {
    let said: Vec<_> = outcome
        .events
        .iter()
        .filter_map(|event| match event {
            Event::WholeInstead { reason } => Some(reason.clone()),
            _ => None,
        })
        .collect();
    assert!(said.len() == 1 && said[0].contains(reason), "{said:?}");
    let applied = outcome.ok();
    assert_eq!(
        (applied.layers, applied.artifact_bytes),
        (None, Some(applied.fetched_bytes))
    );
    applied
}

/// A store with two releases and a host on the first.
struct Base {
    shop: Shop,
    host: Sandbox,
    second: Published,
}

fn base() -> Base {
    let (shop, host) = (Shop::new(), Sandbox::new("fallback"));
    let mut app = app();
    let first = shop.publish(&app, IDS[0], &host.join("dest"));
    let _ = host.apply(&first.manifest()).ok();
    app.time += 60;
    app.code.insert("REVISION".into(), file("second\n"));
    app.npm.insert("pkg-03/lib/file-3.js".into(), file("changed"));
    let second = shop.publish(&app, IDS[1], &host.join("dest"));
    Base { shop, host, second }
}

type Spoil = dyn Fn(&Base);

#[test]
#[ignore = "needs the testbed; run make test"]
fn what_is_missing_or_wrong_in_the_store_is_made_up_for_by_the_whole_artifact() {
    let cases: [(&str, &str, &Spoil); 6] = [
        ("no record", "", &|base| {
            fs::remove_file(base.second.record(&base.shop)).unwrap();
        }),
        ("another record", "not the one that the manifest binds", &|base| {
            fs::write(base.second.record(&base.shop), "{}").unwrap();
        }),
        ("no index", "", &|base| {
            fs::remove_file(base.second.index(&base.shop, 2)).unwrap();
        }),
        ("another index", "its digest is not the one", &|base| {
            fs::copy(base.second.index(&base.shop, 1), base.second.index(&base.shop, 0)).unwrap();
        }),
        ("a cut index", "its digest is not the one", &|base| {
            let path = base.second.index(&base.shop, 2);
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("layers that others may write to", "others may write", &|base| {
            let mode = fs::Permissions::from_mode(0o777);
            fs::set_permissions(base.host.join("dest/.layers"), mode).unwrap();
        }),
    ];
    for (what, reason, spoil) in cases {
        let base = base();
        spoil(&base);
        let applied = whole(base.host.apply(&base.second.manifest()), reason);
        assert_eq!(applied.fetched_bytes, base.second.artifact.record.size, "{what}");
        if what != "layers that others may write to" {
            assert_current(&base.host, &base.second);
        }
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn an_artifact_that_lies_is_refused_before_the_switch() {
    let base = base();
    let before = seen(&base.host.join("dest/releases"));
    // A bit of each frame: whichever is needed, it is one of them.
    let mut bytes = fs::read(&base.second.stored).unwrap();
    for at in (0..bytes.len()).step_by(1000) {
        bytes[at] ^= 1;
    }
    fs::write(&base.second.stored, bytes).unwrap();
    let outcome = base.host.apply(&base.second.manifest());
    assert!(
        outcome
            .events
            .iter()
            .any(|event| matches!(event, Event::WholeInstead { .. }))
    );
    assert!(
        matches!(outcome.error(), Error::Checksum { .. }),
        "{:?}",
        outcome.error()
    );
    let current = fs::read_link(base.host.join("dest/current")).unwrap();
    assert!(current.ends_with(IDS[0]));
    let lines = difference(&before, &seen(&base.host.join("dest/releases")));
    assert!(lines.is_empty(), "{}", lines.join("\n"));
    base.host.assert_clean();
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_url_that_opens_one_object_alone_and_a_plain_server() {
    let base = base();
    let server = FileServer::start(&base.shop.store());
    let name = base
        .second
        .stored
        .strip_prefix(base.shop.store())
        .unwrap()
        .display()
        .to_string();
    // publish refuses to make such a manifest; others may.
    let src = format!("file://{}", base.second.stored.display());
    let presigned = format!("{}?X-Amz-Signature=secret", server.url(&name));
    let text = base.second.manifest().replace(&src, &presigned);
    let _ = whole(base.host.apply(&text), "not the URL of an artifact");
    // The next release from the same server, by ranges.
    let mut app = app();
    app.code.insert("REVISION".into(), file("third\n"));
    let mut third = base.shop.publish(&app, IDS[2], &base.host.join("dest"));
    let name = third
        .stored
        .strip_prefix(base.shop.store())
        .unwrap()
        .display()
        .to_string();
    third.input.src = Some(server.url(&name));
    let mut request = base.host.request(&third.manifest());
    request.max_bandwidth = Some(1 << 30);
    let applied = base.host.apply_request(request).ok();
    assert_eq!(applied.synced.unwrap().method, Method::Assembled);
    assert!(applied.fetched_bytes < third.artifact.record.size / 2);
    assert_current(&base.host, &third);
}

/// Answers every GET with the whole file, as servers do that know no ranges.
fn without_ranges(root: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            let text = String::from_utf8_lossy(&head).into_owned();
            let Some(name) = text.split(' ').nth(1) else {
                continue;
            };
            let (status, body) = match fs::read(root.join(name.trim_start_matches('/'))) {
                Ok(body) => ("200 OK", body),
                Err(_) => ("404 Not Found", Vec::new()),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            // Who does not want all of it goes away.
            let _ = stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(&body));
        }
    });
    format!("http://{address}")
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_server_without_ranges_gives_the_whole_artifact() {
    let base = base();
    let server = without_ranges(base.shop.store());
    let name = base
        .second
        .stored
        .strip_prefix(base.shop.store())
        .unwrap()
        .display()
        .to_string();
    let mut second = base.second;
    second.input.src = Some(format!("{server}/{name}"));
    let applied = whole(base.host.apply(&second.manifest()), "");
    assert_eq!(applied.fetched_bytes, second.artifact.record.size);
    assert_current(&base.host, &second);
}

fn verify(host: &Sandbox, target: VerifyTarget, manifest: &str) -> Result<Verified, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let request = host.request(manifest);
    runtime.block_on(async {
        let fetcher = shipit_store::Fetcher::new(shipit_store::FetcherOptions::default());
        let cancel = std::sync::Arc::default();
        shipit_host::verify(request, target, &fetcher, cancel, std::sync::Arc::new(|_| {})).await
    })
}

fn paths(drift: &[Drift]) -> Vec<(&str, &DriftKind)> {
    drift
        .iter()
        .map(|drift| (drift.path.as_str(), &drift.kind))
        .collect()
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn verifying_names_what_differs_file_by_file() {
    use shipit_manifest::Link;
    for link in [Link::Auto, Link::Copy, Link::Symlink] {
        let (shop, host) = (Shop::new(), Sandbox::new("verify"));
        let mut published = shop.publish(&app(), IDS[0], &host.join("dest"));
        published.input.link = link;
        published.input.shared = vec!["log".into(), "tmp/pids".into()];
        published.input.hooks.before_switch =
            vec!["mkdir -p public/assets && echo x >public/assets/all.css".into()];
        published.input.excludes = vec!["/app/part-6/".into()];
        let text = published.manifest();
        let _ = host.apply(&text).ok();
        for target in [VerifyTarget::Manifest, VerifyTarget::Dest(host.join("dest"))] {
            let verified = verify(&host, target, &text).unwrap();
            assert_eq!(verified.drift, []);
            assert_eq!(
                verified.added,
                ["public/assets", "tmp"].map(str::to_owned).to_vec(),
                "{link:?}"
            );
            assert_eq!(verified.shared, ["log"]);
            assert!(verified.bytes > 3_000_000 && verified.entries > 200);
        }
        let current = fs::canonicalize(host.join("dest/current")).unwrap();
        let silent = current.join("node_modules/pkg-04/lib/file-4.js");
        let time = silent.metadata().unwrap().modified().unwrap();
        let mut bytes = fs::read(&silent).unwrap();
        bytes[7] ^= 1;
        fs::write(&silent, bytes).unwrap();
        fs::File::options()
            .write(true)
            .open(&silent)
            .unwrap()
            .set_modified(time)
            .unwrap();
        fs::remove_file(current.join("app/part-1/source-1.rb")).unwrap();
        fs::remove_dir_all(current.join("app/part-2")).unwrap();
        fs::remove_file(current.join("public/current")).unwrap();
        symlink("/etc", current.join("public/current")).unwrap();
        fs::set_permissions(current.join("bin/app"), fs::Permissions::from_mode(0o644)).unwrap();
        fs::remove_file(current.join("REVISION")).unwrap();
        fs::create_dir(current.join("REVISION")).unwrap();
        fs::write(current.join("app/hotfix.rb"), "x").unwrap();
        let verified = verify(&host, VerifyTarget::Manifest, &text).unwrap();
        let found = paths(&verified.drift);
        let has = |path: &str, kind: &DriftKind| found.contains(&(path, kind));
        assert!(
            has("node_modules/pkg-04/lib/file-4.js", &DriftKind::Content),
            "{found:?}"
        );
        assert!(has("app/part-1/source-1.rb", &DriftKind::Missing));
        assert!(has("app/part-2/source-2.rb", &DriftKind::Missing) && has("app/part-2", &DriftKind::Missing));
        assert!(has("public/current", &DriftKind::Target { found: "/etc".into() }));
        let mode = |text: &str| text.to_owned();
        assert!(has(
            "bin/app",
            &DriftKind::Mode {
                expected: mode("0755"),
                found: mode("0644")
            }
        ));
        let kind = DriftKind::Type {
            expected: "a file",
            found: "a directory",
        };
        assert!(has("REVISION", &kind));
        // All of part-2, and the six others above.
        assert_eq!(found.len(), 6 + 9, "{found:?}");
        assert!(verified.added.contains(&"app/hotfix.rb".to_owned()));
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn what_cannot_be_verified_is_said() {
    let base = base();
    // The manifest of another release than the one in service.
    let verified = verify(&base.host, VerifyTarget::Manifest, &base.second.manifest()).unwrap();
    let found = Some(IDS[0].to_owned());
    assert_eq!(
        paths(&verified.drift),
        [("current", &DriftKind::Release { found })]
    );
    // What stretcher brought has no record on the host; by its manifest it is found in the store.
    let ran = base.host.stretcher(&base.second.manifest(), &[]);
    assert_eq!(ran.code(), Some(0), "{ran}");
    let dest = VerifyTarget::Dest(base.host.join("dest"));
    let error = verify(&base.host, dest, "").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Manifest);
    assert!(error.hint().is_some_and(|hint| hint.contains("manifest's URL")));
    let verified = verify(&base.host, VerifyTarget::Manifest, &base.second.manifest()).unwrap();
    assert_eq!((verified.drift, verified.added), (Vec::new(), Vec::new()));
    let nowhere = VerifyTarget::Dest(Path::new("/nonexistent").into());
    assert!(matches!(
        verify(&base.host, nowhere, ""),
        Err(Error::NotVerifiable { .. })
    ));
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn from_s3_by_ranges() {
    let server = shipit_testbed::S3Server::start();
    server.create_bucket("deploys");
    let (shop, host) = (Shop::new(), Sandbox::new("difference").with_s3(&server));
    let mut app = app();
    for (id, release) in IDS.iter().take(2).enumerate() {
        let mut published = shop.publish(&app, release, &host.join("dest"));
        let name = published.stored.strip_prefix(shop.store()).unwrap().to_owned();
        copy_to(&shop.store(), &server.object_path("deploys", "x"));
        published.input.src = Some(format!("s3://deploys/{}", name.display()));
        let applied = host.apply(&published.manifest()).ok();
        let share = applied.fetched_bytes as f64 / published.artifact.record.size as f64;
        assert_eq!(applied.synced.unwrap().method, Method::Assembled);
        assert!(id == 0 || share < 0.1, "{share}");
        assert_current(&host, &published);
        app.code.insert("REVISION".into(), file("next\n"));
    }
}

/// Puts what a directory holds beside `there`, as objects.
fn copy_to(from: &Path, there: &Path) {
    let target = there.parent().unwrap();
    let ran = crate::support::program("cp")
        .arg("-R")
        .arg(from.join("."))
        .arg(target)
        .status();
    assert!(ran.unwrap().success());
}
