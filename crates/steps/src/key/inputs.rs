//! What a step's `inputs` match in a tree. Symlinks to directories of the tree are followed, as a program would.
//!
//! Not done here: what the files that match are worth in a key (`gather`).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use shipit_artifact::{EntryPath, Kind};

use super::KeyRequest;
use super::pattern::{Part, Pattern, as_path};
use crate::tree_files::{End, TreeFiles};

/// What the patterns of one step match.
#[derive(Default)]
pub(super) struct Matched {
    /// Files and links of the tree, also links on the way.
    pub entries: BTreeSet<EntryPath>,
    /// Paths of earlier layers.
    pub layers: BTreeSet<EntryPath>,
    /// What cannot be known from the tree, in sentences.
    pub unsure: Vec<String>,
}

/// Looks for what patterns match.
pub(super) struct Search<'a> {
    files: &'a TreeFiles<'a>,
    dir: Option<EntryPath>,
    /// What the step itself makes, and what earlier layers own, by their names and by where these lead.
    own: Vec<EntryPath>,
    earlier: Vec<EntryPath>,
    with_revision: bool,
    links: BTreeMap<EntryPath, &'static str>,
    found: Matched,
}

/// A directory (`None` is the root), and how many parts of the pattern led there.
type Place = (Option<EntryPath>, usize);

/// How a pattern led to a path.
#[derive(Clone, Copy)]
struct Arrival {
    /// How many of its parts led there.
    parts: usize,
    /// Whether these are all.
    ends: bool,
    /// Whether the path was named, and is not just one of all that a `**` before further parts goes through.
    named: bool,
}

impl<'a> Search<'a> {
    pub(super) fn new(request: &KeyRequest<'_>, files: &'a TreeFiles<'a>, own: &[EntryPath]) -> Self {
        let also_real = |paths: &[EntryPath]| -> Vec<EntryPath> {
            let real = paths.iter().filter_map(|path| match files.end(path) {
                End::At(real) => Some(real),
                End::Root | End::Outside => None,
            });
            paths.iter().cloned().chain(real).collect()
        };
        let earlier = request.earlier.iter().flat_map(|layer| also_real(&layer.owned));
        Self {
            files,
            dir: request.spec.dir.clone(),
            own: also_real(own),
            earlier: earlier.collect(),
            with_revision: false,
            links: BTreeMap::new(),
            found: Matched::default(),
        }
    }

    pub(super) fn run(mut self, patterns: &[Pattern]) -> Matched {
        // shipit's own file counts when it is asked for by name.
        self.with_revision = patterns
            .iter()
            .any(|pattern| pattern.text.trim_start_matches("./") == "REVISION");
        for pattern in patterns {
            let mut any = false;
            for way in &pattern.ways {
                any |= self.follow(way);
            }
            if !any {
                self.found
                    .unsure
                    .push(format!("no file matches `{}` of its `inputs`", pattern.text));
            }
        }
        for (link, why) in &self.links {
            self.found
                .unsure
                .push(format!("{link} is among its `inputs`, and is a link {why}"));
        }
        self.found
    }

    /// Returns whether anything matched.
    fn follow(&mut self, way: &[Part]) -> bool {
        let start = match self.dir.clone() {
            None => None,
            Some(dir) if is_in(&self.earlier, &dir) => {
                self.found.layers.insert(dir);
                return true;
            }
            Some(dir) => match self.files.end(&dir) {
                End::At(real) => Some(real),
                End::Root => None,
                End::Outside => return false,
            },
        };
        let mut any = false;
        let mut seen: HashSet<Place> = HashSet::new();
        let mut pending: Vec<Place> = vec![(start, 0)];
        while let Some(place) = pending.pop() {
            if !seen.insert(place.clone()) {
                continue;
            }
            let (dir, at) = place;
            let part = way.get(at);
            if matches!(part, Some(Part::Any)) {
                pending.push((dir.clone(), at + 1));
            }
            for (path, kind) in self.children(dir.as_ref()) {
                let parts = match part {
                    // `None`: all below a directory that matched.
                    None | Some(Part::Any) => at,
                    Some(Part::Name(glob)) if glob.is_match(as_path(name_of(&path))) => at + 1,
                    Some(Part::Name(_)) => continue,
                };
                let arrival = Arrival {
                    parts,
                    ends: parts == way.len(),
                    named: !matches!(part, Some(Part::Any)),
                };
                any |= self.arrive(&path, kind.as_ref(), arrival, &mut pending);
            }
        }
        any
    }

    /// Takes what lies at a path that the pattern led to. Returns whether that is a match.
    fn arrive(
        &mut self,
        path: &EntryPath,
        kind: Option<&Kind>,
        arrival: Arrival,
        pending: &mut Vec<Place>,
    ) -> bool {
        if is_in(&self.own, path) {
            return false;
        }
        if is_in(&self.earlier, path) {
            self.found.layers.insert(path.clone());
            return true;
        }
        match kind {
            // `None` is a directory that only an earlier layer has.
            None | Some(Kind::Directory) => {
                pending.push((Some(path.clone()), arrival.parts));
                false
            }
            Some(Kind::File { .. }) => {
                let counts = arrival.ends && (self.with_revision || !is_revision(path));
                if counts {
                    self.found.entries.insert(path.clone());
                }
                counts
            }
            Some(Kind::Symlink { .. }) => self.link(path, arrival, pending),
        }
    }

    fn link(&mut self, path: &EntryPath, arrival: Arrival, pending: &mut Vec<Place>) -> bool {
        let end = match self.files.end(path) {
            End::Root => None,
            End::At(real) if is_in(&self.own, &real) => return false,
            End::At(real) if is_in(&self.earlier, &real) => {
                self.found.entries.insert(path.clone());
                self.found.layers.insert(real);
                return true;
            }
            End::At(real) if self.files.file(&real).is_some() => {
                if arrival.ends {
                    self.found.entries.insert(path.clone());
                }
                return arrival.ends;
            }
            End::At(real) if self.is_dir(&real) => Some(real),
            // `**` before further parts goes through whatever directory there is, not through one that nobody named.
            End::At(_) | End::Outside if !arrival.named => return false,
            End::At(_) => {
                self.links.insert(path.clone(), "to what is not in the tree");
                return true;
            }
            End::Outside => {
                self.links.insert(path.clone(), "that leaves the tree");
                return true;
            }
        };
        self.found.entries.insert(path.clone());
        pending.push((end, arrival.parts));
        false
    }

    /// Whether there is such a directory in the tree, or one that only an earlier layer has.
    fn is_dir(&self, path: &EntryPath) -> bool {
        self.files.is_dir(Some(path)) || self.earlier.iter().any(|owned| owned.starts_with(path))
    }

    /// What is in a directory; without a kind, the directories on the way to what earlier layers own and the tree lacks.
    fn children(&self, dir: Option<&EntryPath>) -> Vec<(EntryPath, Option<Kind>)> {
        let mut children: Vec<_> = self
            .files
            .children(dir)
            .map(|entry| (entry.path.clone(), Some(entry.kind.clone())))
            .collect();
        for owned in &self.earlier {
            let below = match dir {
                Some(dir) => owned.strip_prefix(dir),
                None => Some(owned.clone()),
            };
            let Some(below) = below else { continue };
            let name = below.as_bytes().split(|b| *b == b'/').next().unwrap_or_default();
            let path = match dir {
                Some(dir) => dir.join_bytes(name),
                None => EntryPath::new(name),
            };
            if let Ok(path) = path
                && !children.iter().any(|(known, _)| *known == path)
            {
                children.push((path, None));
            }
        }
        children
    }
}

fn is_in(dirs: &[EntryPath], path: &EntryPath) -> bool {
    dirs.iter().any(|dir| path.starts_with(dir))
}

fn name_of(path: &EntryPath) -> &[u8] {
    path.as_bytes().rsplit(|b| *b == b'/').next().unwrap_or_default()
}

/// shipit's own file holds the commit's id: it changes with each commit, and no install asks for it.
pub(super) fn is_revision(path: &EntryPath) -> bool {
    path.as_bytes() == b"REVISION"
}
