//! What a host remembers of the events that it was handed, so that a restarted watch, which hands its last one over again,
//! undoes nothing that was done since.
//!
//! The memory is the file `events` beside the role's marks, a line for each event's name: name, id, release, the release
//! that was in service before (`-` for none), and how it went. docs/hosts.md says what follows from it. Not here: the marks
//! by which the manifest's own commands know what is done.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use shipit_fleet::event::Heard;
use shipit_manifest::{Binding, Layout};

use crate::difference::write_whole;
use crate::error::Error;

/// How far the handling of an event came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It was begun; it failed, or was cut, or runs.
    Begun,
    /// It ended well.
    Well,
    /// It did not end well, and another release was applied since.
    Overtaken,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: String,
    id: String,
    release: String,
    before: Option<String>,
    state: State,
}

/// The memory of one role's dest, and what this apply is in it.
#[derive(Debug)]
pub(crate) struct Memory<'a> {
    file: PathBuf,
    service: Service,
    event: Option<&'a Heard>,
    release: &'a str,
}

/// Where it stands which release is in service.
#[derive(Debug)]
enum Service {
    Link(PathBuf),
    File(PathBuf),
}

impl<'a> Memory<'a> {
    /// Nothing for a manifest of another maker, or one that switches nothing.
    pub(crate) fn of(binding: &'a Binding, event: Option<&'a Heard>) -> Option<Self> {
        let dest = Some(Path::new(binding.dest.as_deref()?)).filter(|dest| dest.is_absolute())?;
        // A name of several words is none of shipit's, and would not come back from the file.
        let event = event.filter(|event| is_word(&event.name) && is_word(&event.id));
        let (state, service) = match binding.layout {
            Layout::Commands => return None,
            Layout::Releases => (dest.join(".shipit"), Service::Link(dest.join("current"))),
            // What `once` commands run in names this layout too; it knows its own replays.
            Layout::Plain if shipit_manifest::is_once_role(&binding.role) => return None,
            Layout::Plain => {
                let name = dest.file_name()?.to_str()?;
                let state = dest.parent()?.join(format!(".{name}.shipit"));
                let current = state.join("current");
                (state, Service::File(current))
            }
        };
        Some(Self {
            file: state.join("events"),
            service,
            event,
            release: &binding.release,
        })
    }

    /// Why the event is not handled again, when it is not.
    pub(crate) fn spent(&self) -> Option<&'static str> {
        let event = self.event?;
        let entries = self.read();
        let known = entries
            .iter()
            .find(|entry| entry.name == event.name && entry.id == event.id)?;
        match known.state {
            State::Well => Some("it was handled well before"),
            State::Overtaken => Some("another release was applied since"),
            State::Begun => {
                let now = self.in_service();
                let own = now.as_deref() == Some(known.release.as_str()) || now == known.before;
                (!own).then_some("another release came into service since")
            }
        }
    }

    /// Notes that the release is being applied.
    pub(crate) fn begin(&self) -> Result<(), Error> {
        let mut entries = self.read();
        let known = entries.clone();
        let mut before = self.in_service();
        for entry in &mut entries {
            if entry.state == State::Begun && entry.release != self.release {
                entry.state = State::Overtaken;
            }
        }
        if let Some(event) = self.event {
            // Of an event that is handled again, what was there before the first time counts.
            if let Some(at) = entries.iter().position(|entry| entry.name == event.name) {
                let old = entries.remove(at);
                if old.id == event.id {
                    before = old.before;
                }
            }
            entries.push(Entry {
                name: event.name.clone(),
                id: event.id.clone(),
                release: self.release.to_owned(),
                before,
                state: State::Begun,
            });
        }
        if entries == known {
            Ok(())
        } else {
            self.write(&entries)
        }
    }

    /// Notes that it ended well.
    pub(crate) fn end(&self) -> Result<(), Error> {
        let Some(event) = self.event else { return Ok(()) };
        let mut entries = self.read();
        for entry in &mut entries {
            if entry.name == event.name && entry.id == event.id {
                entry.state = State::Well;
            }
        }
        self.write(&entries)
    }

    fn in_service(&self) -> Option<String> {
        match &self.service {
            Service::Link(link) => {
                let target = fs::read_link(link).ok()?;
                Some(target.strip_prefix("releases").ok()?.to_str()?.to_owned())
            }
            Service::File(file) => {
                let text = fs::read_to_string(file).ok()?;
                Some(text.trim().to_owned()).filter(|text| !text.is_empty())
            }
        }
    }

    /// What cannot be read or understood is not remembered.
    fn read(&self) -> Vec<Entry> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        text.lines().filter_map(Entry::parse).collect()
    }

    fn write(&self, entries: &[Entry]) -> Result<(), Error> {
        if entries.is_empty() {
            return match fs::remove_file(&self.file) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    Err(Error::disk("removing", &self.file, error))
                }
                _ => Ok(()),
            };
        }
        let text: String = entries.iter().map(Entry::line).collect();
        write_whole(&self.file, text.as_bytes())
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|each| !each.is_whitespace() && !each.is_control())
}

impl Entry {
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [name, id, release, before, state] = words[..] else {
            return None;
        };
        Some(Self {
            name: name.to_owned(),
            id: id.to_owned(),
            release: release.to_owned(),
            before: (before != "-").then(|| before.to_owned()),
            state: match state {
                "begun" => State::Begun,
                "well" => State::Well,
                "overtaken" => State::Overtaken,
                _ => return None,
            },
        })
    }

    fn line(&self) -> String {
        let state = match self.state {
            State::Begun => "begun",
            State::Well => "well",
            State::Overtaken => "overtaken",
        };
        let before = self.before.as_deref().unwrap_or("-");
        format!("{} {} {} {before} {state}\n", self.name, self.id, self.release)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Dest(tempfile::TempDir);

    impl Dest {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn serve(&self, release: &str) {
            let link = self.0.path().join("current");
            let _ = fs::remove_file(&link);
            symlink(format!("releases/{release}"), link).unwrap();
        }

        fn binding(&self, release: &str) -> Binding {
            let text = format!(
                "src: file:///x\ndest: /y\nshipit: {{app: a, stage: s, role: web, release: {release}, dest: '{}', layout: releases}}",
                self.0.path().display()
            );
            shipit_manifest::parse(&text).unwrap().shipit.unwrap()
        }

        /// Applies a release, perhaps for an event; why not, when it is not.
        fn apply(&self, release: &str, event: Option<&str>, well: bool) -> Option<&'static str> {
            let heard = event.map(|id| Heard {
                name: "deploy".to_owned(),
                id: id.to_owned(),
            });
            let binding = self.binding(release);
            let memory = Memory::of(&binding, heard.as_ref()).unwrap();
            if let Some(why) = memory.spent() {
                return Some(why);
            }
            memory.begin().unwrap();
            if well {
                self.serve(release);
                memory.end().unwrap();
            }
            None
        }
    }

    #[test]
    fn what_was_handled_well_is_not_handled_again() {
        let dest = Dest::new();
        assert_eq!(dest.apply("r1", Some("1"), true), None);
        assert!(dest.apply("r1", Some("1"), true).is_some());
        // By hand, and back to what an event brought before: the event is another one.
        assert_eq!(dest.apply("r2", None, true), None);
        assert!(dest.apply("r1", Some("1"), true).is_some());
        assert_eq!(dest.apply("r1", Some("2"), true), None);
    }

    #[test]
    fn what_failed_is_tried_again_until_something_else_was_applied() {
        let dest = Dest::new();
        dest.serve("r0");
        assert_eq!(dest.apply("r1", Some("1"), false), None);
        assert_eq!(dest.apply("r1", Some("1"), false), None);
        // It was killed after the switch.
        dest.serve("r1");
        assert_eq!(dest.apply("r1", Some("1"), false), None);
        // Back to what was there before, by hand: that was meant.
        assert_eq!(dest.apply("r0", None, true), None);
        assert_eq!(
            dest.apply("r1", Some("1"), true),
            Some("another release was applied since")
        );
    }

    #[test]
    fn what_another_handler_put_in_service_stays() {
        let dest = Dest::new();
        assert_eq!(dest.apply("r1", Some("1"), false), None);
        dest.serve("r2");
        assert!(dest.apply("r1", Some("1"), true).is_some());
    }

    #[test]
    fn the_same_release_by_hand_overtakes_nothing() {
        let dest = Dest::new();
        assert_eq!(dest.apply("r1", Some("1"), false), None);
        assert_eq!(dest.apply("r1", None, true), None);
        assert_eq!(dest.apply("r1", Some("1"), true), None);
    }

    #[test]
    fn a_host_that_heard_no_event_keeps_no_memory() {
        let dest = Dest::new();
        assert_eq!(dest.apply("r1", None, true), None);
        assert!(!dest.0.path().join(".shipit").exists());
        fs::create_dir(dest.0.path().join(".shipit")).unwrap();
        fs::write(dest.0.path().join(".shipit/events"), "not \u{1}a line\n").unwrap();
        assert_eq!(dest.apply("r1", Some("1"), true), None);
        assert!(dest.apply("r1", Some("1"), true).is_some());
    }
}
