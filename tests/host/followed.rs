//! Hosts that follow random histories by difference, some of them killed (kill -9) on the way: they have what the whole artifact
//! of each release holds.

use shipit_host::Event;
use shipit_manifest::Link;

use crate::by_difference::assert_current;
use crate::kills::{Moments, start_child};
use crate::shop::{App, Model, Node, Shop, app, file, noise};
use crate::support::Sandbox;

/// A number of its own for each call, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// One random edit: added, changed, deleted, renamed (by case too), mode, file to directory or link and back.
fn edit(tree: &mut Model, dice: &mut Dice) {
    let at = dice.below(tree.len());
    let Some((path, node)) = tree
        .iter()
        .nth(at)
        .map(|(path, node)| (path.clone(), node.clone()))
    else {
        return;
    };
    let seed = dice.0;
    let dir = path.rsplit_once('/').map_or("top", |(dir, _)| dir).to_owned();
    match dice.below(9) {
        0 => drop(tree.insert(
            format!("{dir}/new-{}", seed % 10_000),
            file(noise(seed, dice.below(40_000))),
        )),
        1 | 2 => drop(tree.insert(path, file(noise(seed, 1 + dice.below(9000))))),
        3 if tree.len() > 20 => drop(tree.remove(&path)),
        4 => {
            tree.remove(&path);
            tree.insert(format!("{dir}/moved-{}", seed % 10_000), node);
        }
        5 => {
            if let Node::File(content, executable) = node {
                tree.insert(path, Node::File(content, !executable));
            }
        }
        6 => {
            tree.remove(&path);
            tree.insert(format!("{path}/inside"), file("was a file"));
        }
        7 => drop(tree.insert(path, Node::Link("somewhere/else".to_owned()))),
        _ => {
            tree.remove(&path);
            let name = path.rsplit('/').next().unwrap_or_default().to_uppercase();
            tree.insert(format!("{dir}/{name}"), node);
        }
    }
}

fn edit_app(app: &mut App, dice: &mut Dice) {
    app.time += 60;
    for _ in 0..=dice.below(6) {
        edit(&mut app.code, dice);
    }
    // Most commits leave the dependencies alone.
    if dice.below(3) == 0 {
        for _ in 0..=dice.below(10) {
            edit(&mut app.npm, dice);
        }
    }
    // A file where a directory has to be is no tree.
    for tree in [&mut app.code, &mut app.npm, &mut app.bundle] {
        let paths: Vec<_> = tree.keys().cloned().collect();
        tree.retain(|path, node| {
            *node == Node::Dir || !paths.iter().any(|other| other.starts_with(&format!("{path}/")))
        });
    }
}

fn id(step: usize) -> String {
    format!("20261121T{:02}{:02}00Z-abcdef0", step / 60, step % 60)
}

fn follow(steps: usize, seed: u64, link: Link) {
    let (shop, host) = (Shop::new(), Sandbox::new("followed"));
    let (mut app, mut dice) = (app(), Dice(seed));
    for step in 0..steps {
        let mut published = shop.publish(&app, &id(step), &host.join("dest"));
        published.input.link = link;
        let outcome = host.apply(&published.manifest());
        let whole = outcome
            .events
            .iter()
            .find(|event| matches!(event, Event::WholeInstead { .. }));
        assert!(whole.is_none(), "step {step} of {seed}: {whole:?}");
        let _ = outcome.ok();
        assert_current(&host, &published);
        edit_app(&mut app, &mut dice);
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn random_histories_are_followed() {
    follow(8, 1, Link::Auto);
    follow(5, 2, Link::Copy);
    follow(5, 3, Link::Symlink);
}

#[test]
#[ignore = "takes minutes; run make soak"]
fn soak_random_histories_are_followed() {
    for seed in 10..16 {
        follow(
            50,
            seed,
            [Link::Auto, Link::Copy, Link::Symlink][seed as usize % 3],
        );
    }
}

/// Kills each release's first apply, and lets a second one finish.
fn killed(rounds: usize) {
    let (shop, host) = (Shop::new(), Sandbox::new("followed"));
    let (mut app, mut dice) = (app(), Dice(rounds as u64));
    let mut moments = Moments::default();
    for round in 0..rounds {
        let mut published = shop.publish(&app, &id(round), &host.join("dest"));
        published.input.link = [Link::Auto, Link::Symlink, Link::Copy][round % 3];
        let text = published.manifest();
        let mut child = start_child(&host, &text);
        moments.kill(&mut child, round);
        let _ = host.apply(&text).ok();
        assert_current(&host, &published);
        edit_app(&mut app, &mut dice);
        edit(&mut app.npm, &mut dice);
        edit_app(&mut app, &mut dice);
    }
    moments.assert_killed(rounds);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_host_that_is_killed_anywhere_goes_on_from_there() {
    killed(10);
}

#[test]
#[ignore = "takes minutes; run make soak"]
fn soak_a_host_that_is_killed_anywhere_goes_on_from_there() {
    killed(100);
}
