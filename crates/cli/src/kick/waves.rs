//! The waves of a kick: which of its hosts are told together, and by which events.

use shipit_fleet::consul::EventRequest;
use shipit_fleet::follow::Told;

use super::hosts::{Listed, events_for, unnamed};
use crate::config::{Batch, Role};
use crate::errors::Result;

/// One wave: who is told, and by which events.
#[derive(Debug, Clone)]
pub struct Wave {
    /// The hosts.
    pub told: Vec<Told>,
    /// How many, when they are not known by their names.
    pub count: Option<usize>,
    /// The events that tell them; none with the transport exec.
    pub events: Vec<EventRequest>,
}

/// The waves: hosts in their order, those that come first before the others, the living counted; dead ones are told with the last
/// wave.
pub fn waves(
    role: &Role,
    listed: &Listed,
    batch: Option<Batch>,
    event: Option<&EventRequest>,
) -> Result<Vec<Wave>> {
    if batch.is_some() && listed.told.is_empty() {
        return Err(unnamed(role, "waves need", "or have no batch"));
    }
    cut(listed, batch, event)
}

fn cut(listed: &Listed, batch: Option<Batch>, event: Option<&EventRequest>) -> Result<Vec<Wave>> {
    let alive: Vec<Told> = listed
        .told
        .iter()
        .filter(|told| told.dead.is_none())
        .cloned()
        .collect();
    let dead = listed.told.iter().filter(|told| told.dead.is_some()).cloned();
    let size = batch.map_or(alive.len(), |batch| batch.of(alive.len()));
    let (first, others): (Vec<Told>, Vec<Told>) = alive
        .into_iter()
        .partition(|told| listed.first.contains(&told.name));
    let in_waves = |hosts: &[Told]| hosts.chunks(size.max(1)).map(<[Told]>::to_vec).collect();
    let mut waves: Vec<Vec<Told>> = in_waves(&first);
    waves.append(&mut in_waves(&others));
    match waves.last_mut() {
        Some(last) => last.extend(dead),
        None => waves.push(dead.collect()),
    }
    let all_at_once = waves.len() == 1 && listed.whole;
    let events = |told: &[Told]| match event {
        None => Ok(Vec::new()),
        // The role's own filter reaches them, and whoever joins in this moment.
        Some(event) if all_at_once => Ok(vec![event.clone()]),
        Some(event) => events_for(
            event,
            &told.iter().map(|told| told.name.clone()).collect::<Vec<_>>(),
        ),
    };
    waves
        .into_iter()
        .map(|told| {
            Ok(Wave {
                events: events(&told)?,
                count: listed.count,
                told,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, dead: bool) -> Told {
        Told {
            name: name.to_owned(),
            dead: dead.then(|| "gone".to_owned()),
        }
    }

    fn names(waves: &[Wave]) -> Vec<Vec<&str>> {
        waves
            .iter()
            .map(|wave| wave.told.iter().map(|told| told.name.as_str()).collect())
            .collect()
    }

    fn split(hosts: &[(&str, bool)], batch: Option<&str>) -> Vec<Wave> {
        split_with(hosts, batch, &[])
    }

    fn split_with(hosts: &[(&str, bool)], batch: Option<&str>, first: &[&str]) -> Vec<Wave> {
        let listed = Listed {
            told: hosts.iter().map(|(name, dead)| told(name, *dead)).collect(),
            count: None,
            whole: true,
            first: first.iter().map(|&name| name.to_owned()).collect(),
        };
        let batch = batch.map(|batch| Batch::parse(batch).unwrap());
        let event = EventRequest {
            name: "e".to_owned(),
            payload: "p".to_owned(),
            service: Some("^shop$".to_owned()),
            ..EventRequest::default()
        };
        cut(&listed, batch, Some(&event)).unwrap()
    }

    #[test]
    fn a_batch_counts_the_living_and_the_dead_come_last() {
        let hosts = [("a", false), ("b", true), ("c", false), ("d", false)];
        assert_eq!(names(&split(&hosts, Some("2"))), [vec!["a", "c"], vec!["d", "b"]]);
        assert_eq!(
            names(&split(&hosts, Some("34%"))),
            [vec!["a", "c"], vec!["d", "b"]]
        );
        assert_eq!(names(&split(&[("b", true)], Some("1"))), [vec!["b"]]);
        let one = split(&hosts, None);
        assert_eq!(names(&one), [vec!["a", "c", "d", "b"]]);
        assert_eq!(one[0].events[0].service.as_deref(), Some("^shop$"));
        let two = split(&hosts, Some("2"));
        assert_eq!(two[0].events[0].node.as_deref(), Some("^[ac]$"));
        assert_eq!(two[0].events[0].service, None);
    }

    #[test]
    fn who_comes_first_has_waves_of_its_own() {
        let hosts = [
            ("a", false),
            ("b", true),
            ("c", false),
            ("d", false),
            ("e", false),
        ];
        let first = ["b", "d"];
        let waves = split_with(&hosts, Some("2"), &first);
        assert_eq!(names(&waves), [vec!["d"], vec!["a", "c"], vec!["e", "b"]]);
        let waves = split_with(&hosts, None, &first);
        assert_eq!(names(&waves), [vec!["d"], vec!["a", "c", "e", "b"]]);
        assert_eq!(waves[0].events[0].node.as_deref(), Some("^d$"));
        let all = ["a", "c", "d", "e"];
        assert_eq!(
            names(&split_with(&hosts, None, &all)),
            [vec!["a", "c", "d", "e", "b"]]
        );
    }
}
