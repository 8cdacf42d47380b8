//! Gathers the parts of one step's key: settings that every step has, and files of the tree.
//!
//! Paths of the step's own layer do not count: they are what it makes. Of what lies in an earlier layer it is that
//! layer's key that counts, whether or not its files are in the tree.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use globset::GlobSet;
use shipit_artifact::{EntryPath, Kind, Sha256Reader, TreeEntry, TreeError, with_causes};

use super::KeyRequest;
use super::inputs::{Search, is_revision};
use super::parts::{Parts, of_content};
use super::pattern::Pattern;
use crate::error::Error;
use crate::mask::Masker;
use crate::presets::{bundle, from_root};
use crate::spec::Tool;
use crate::test_run::globs;
use crate::tree_files::{End, TreeFiles};

/// Up to this many files of a group are parts of their own, so that a change is told by name.
const NAMED_FILES: usize = 64;

/// One step's key, while it is gathered.
#[derive(Clone)]
pub(super) struct Gather<'a> {
    pub request: &'a KeyRequest<'a>,
    pub files: &'a TreeFiles<'a>,
    /// What the step vendors.
    pub owned: &'a [EntryPath],
    pub parts: Parts,
    masker: &'a Masker,
    /// What is known of files that were read: one may be in several groups.
    values: BTreeMap<EntryPath, String>,
}

impl<'a> Gather<'a> {
    pub(super) fn new(
        request: &'a KeyRequest<'a>,
        files: &'a TreeFiles<'a>,
        owned: &'a [EntryPath],
        masker: &'a Masker,
    ) -> Result<Self, Error> {
        let mut gather = Self {
            request,
            files,
            owned,
            parts: Parts::new(),
            masker,
            values: BTreeMap::new(),
        };
        gather.common()?;
        Ok(gather)
    }

    /// What counts whatever the step is. Its name does not: it is in no vendored file.
    fn common(&mut self) -> Result<(), Error> {
        let KeyRequest { spec, root, .. } = self.request;
        self.parts.text("format", self.request.format);
        self.parts.text("platform", &self.request.platform.to_string());
        // A layer's paths count from the packed root, and begin with the step's directory.
        self.parts.text("dir", &place(spec.dir.as_ref()));
        self.parts.text("root", &place(*root));
        self.parts.env(&spec.env, self.masker);
        let Some(preset) = spec.tool.preset() else {
            self.tools_of_presets();
            return Ok(());
        };
        self.parts
            .set("preset", format!("{} {}", preset.name, preset.recipe));
        for program in preset.programs {
            let mut told = self.request.tools.iter().filter(|tool| tool.name == program.name);
            let (Some(tool), None) = (told.next(), told.next()) else {
                return Err(self.spec_error(format!("the version of `{}` is not known", program.name)));
            };
            self.parts.text(format!("tool {}", tool.name), &tool.version);
            if let Some(abi) = &tool.abi {
                self.parts.text(format!("abi {}", tool.name), abi);
            }
        }
        Ok(())
    }

    /// A command may call whatever there is: the tools of the build's presets count, for that is what such a command calls
    /// most often. Two steps may have two versions of one.
    fn tools_of_presets(&mut self) {
        let mut told: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for tool in self.request.tools {
            let mut tell = |what, value| {
                told.entry(format!("{what} {}", tool.name))
                    .or_default()
                    .insert(value)
            };
            tell("tool", tool.version.as_str());
            if let Some(abi) = &tool.abi {
                tell("abi", abi);
            }
        }
        for (name, values) in told {
            let values: Vec<&str> = values.into_iter().collect();
            self.parts.text(name, &values.join(", "));
        }
    }

    /// A text of the config, secrets masked.
    pub(super) fn setting(&mut self, name: &str, text: &str) {
        self.parts.text(name, &self.masker.mask(text));
    }

    /// Names of the config, whatever stands in them.
    pub(super) fn names(&mut self, part: &str, names: &[String]) {
        let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
        self.setting(part, &quoted.join(" "));
    }

    /// `name`, seen from the step's directory; `None` when it leaves the tree.
    pub(super) fn path(&self, name: &str) -> Option<EntryPath> {
        from_root(self.request.spec.dir.as_ref(), name)
    }

    /// The content of a file, when there is one that counts.
    pub(super) fn content(&mut self, path: &EntryPath) -> Result<Option<Vec<u8>>, Error> {
        if self.is_own(path) || self.in_earlier_layer(path) {
            return Ok(None);
        }
        self.files.read(path).map_err(|source| self.tree_error(source))
    }

    /// The file's bytes count, as `label path`, when there is one.
    pub(super) fn file(&mut self, label: &str, path: &EntryPath) -> Result<(), Error> {
        if let Some(bytes) = self.content(path)? {
            self.parts.set(format!("{label} {path}"), of_content(&bytes));
        }
        Ok(())
    }

    /// As [`Self::file`], for names below the step's directory.
    pub(super) fn known(&mut self, names: &[&str]) -> Result<(), Error> {
        let dir = self.request.spec.dir.as_ref();
        for path in names.iter().filter_map(|name| from_root(dir, name)) {
            self.file("file", &path)?;
        }
        Ok(())
    }

    /// All that is in a directory counts: contents, names, what is executable, where links lead. `None` is the whole tree,
    /// and what a link into another directory makes of any.
    pub(super) fn below(&mut self, dir: Option<&EntryPath>) -> Result<(), Error> {
        if dir.is_some_and(|dir| self.is_own(dir) || self.in_earlier_layer(dir)) {
            return Ok(());
        }
        let real = dir.and_then(|dir| self.files.real_dir(dir));
        let dir = real.as_ref();
        let leaves = |entry: &TreeEntry| match (&entry.kind, dir) {
            (Kind::Symlink { .. }, Some(dir)) => {
                self.files.is_dir(Some(&entry.path)) && !self.files.leads_into(&entry.path, dir)
            }
            _ => false,
        };
        let dir = if self.files.beneath(dir).iter().any(leaves) {
            None
        } else {
            dir
        };
        let earlier: Vec<EntryPath> = self
            .request
            .earlier
            .iter()
            .flat_map(|layer| layer.owned.clone())
            .collect();
        for path in earlier
            .iter()
            .filter(|path| dir.is_none_or(|dir| path.starts_with(dir)))
        {
            self.in_earlier_layer(path);
        }
        let label = dir.map_or_else(|| "in the tree".to_owned(), |dir| format!("in {dir}"));
        self.group(
            &label,
            self.files
                .beneath(dir)
                .iter()
                .filter(|entry| !is_revision(&entry.path)),
        )
    }

    /// The step's `inputs`: the files that match, and the layers that may hold some. Returns what cannot be known of them, in
    /// sentences: then the key cannot be relied on.
    pub(super) fn inputs(&mut self) -> Result<Vec<String>, Error> {
        let spec = self.request.spec;
        if spec.inputs.is_empty() {
            return Ok(Vec::new());
        }
        let mut texts = spec.inputs.clone();
        texts.sort();
        texts.dedup();
        self.names("inputs", &texts);
        let patterns: Result<Vec<_>, _> = texts.iter().map(|text| Pattern::parse(text)).collect();
        let patterns = patterns.map_err(|problem| self.spec_error(problem))?;
        let matched = Search::new(self.request, self.files, self.owned).run(&patterns);
        for path in &matched.layers {
            self.in_earlier_layer(path);
        }
        let files = self.files;
        self.group(
            "of its inputs",
            matched
                .entries
                .iter()
                .filter_map(|path| files.find(path.as_bytes())),
        )?;
        Ok(matched.unsure.iter().map(|text| self.masker.mask(text)).collect())
    }

    /// The files below the step's directory that match.
    pub(super) fn matching(&mut self, label: &str, patterns: &[&str]) -> Result<(), Error> {
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        let set = globs("patterns", &patterns).map_err(|problem| self.spec_error(problem))?;
        self.group_of(label, &set)
    }

    fn group_of(&mut self, label: &str, set: &GlobSet) -> Result<(), Error> {
        let dir = self.request.spec.dir.as_ref();
        let dir = dir.and_then(|dir| self.files.real_dir(dir));
        let matches = |entry: &&TreeEntry| {
            let below = match &dir {
                Some(dir) => entry.path.strip_prefix(dir),
                None => Some(entry.path.clone()),
            };
            !is_revision(&entry.path) && below.is_some_and(|path| set.is_match(path.as_path()))
        };
        self.group(label, self.files.beneath(dir.as_ref()).iter().filter(matches))
    }

    /// The files and links among `entries`, each as a part when they are few, else all as one.
    fn group<'e>(&mut self, label: &str, entries: impl Iterator<Item = &'e TreeEntry>) -> Result<(), Error> {
        let counts = |entry: &&TreeEntry| {
            let earlier = self.request.earlier.iter().flat_map(|layer| &layer.owned);
            entry.kind != Kind::Directory
                && !self.is_own(&entry.path)
                && !earlier.into_iter().any(|owned| entry.path.starts_with(owned))
        };
        let entries: Vec<&TreeEntry> = entries.filter(counts).collect();
        let mut all = Vec::new();
        for entry in &entries {
            let value = self.value(entry)?;
            if entries.len() <= NAMED_FILES {
                self.parts.set(format!("file {} ({label})", entry.path), value);
            } else {
                all.extend_from_slice(entry.path.as_bytes());
                all.push(0);
                all.extend_from_slice(value.as_bytes());
                all.push(0);
            }
        }
        if entries.len() > NAMED_FILES {
            let value = format!("{} files, {}", entries.len(), of_content(&all));
            self.parts.set(format!("files {label}"), value);
        }
        Ok(())
    }

    fn value(&mut self, entry: &TreeEntry) -> Result<String, Error> {
        if let Some(value) = self.values.get(&entry.path) {
            return Ok(value.clone());
        }
        let value = match &entry.kind {
            Kind::Directory => String::new(),
            Kind::File { executable: false } => self.digest(&entry.path)?,
            Kind::File { executable: true } => format!("executable {}", self.digest(&entry.path)?),
            Kind::Symlink { target } => match self.files.file(&entry.path) {
                // A program reads what the link leads to.
                Some(file) => format!("link {} {}", of_content(target), self.digest(&file.path)?),
                // What lies there counts by itself, if at all.
                None => match self.files.end(&entry.path) {
                    End::At(end) => format!("link {} to {end}", of_content(target)),
                    End::Root => format!("link {} to .", of_content(target)),
                    End::Outside => format!("link {}", of_content(target)),
                },
            },
        };
        self.values.insert(entry.path.clone(), value.clone());
        Ok(value)
    }

    fn digest(&self, path: &EntryPath) -> Result<String, Error> {
        let content = self
            .request
            .tree
            .open(path)
            .map_err(|source| self.tree_error(source))?;
        let mut content = Sha256Reader::new(content);
        io::copy(&mut content, &mut io::sink()).map_err(|source| {
            self.tree_error(TreeError::Io {
                action: "read",
                path: path.to_string(),
                source,
            })
        })?;
        Ok(format!("sha256:{}", content.finish().1))
    }

    /// Whether the step makes the path itself. A `.bundle/config` that git tracks is code.
    pub(super) fn is_own(&self, path: &EntryPath) -> bool {
        self.owned.iter().any(|owned| path.starts_with(owned))
    }

    /// Whether the path is an earlier layer's, whose key then counts. Named by its first path: a step's name decides
    /// nothing.
    fn in_earlier_layer(&mut self, path: &EntryPath) -> bool {
        for layer in self.request.earlier {
            if layer.owned.iter().any(|owned| path.starts_with(owned)) {
                let first = layer
                    .owned
                    .iter()
                    .min()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                self.parts.set(format!("layer of {first}"), layer.key.key.clone());
                return true;
            }
        }
        false
    }

    pub(super) fn spec_error(&self, problem: String) -> Error {
        Error::Spec {
            step: self.request.spec.name.clone(),
            problem,
        }
    }

    pub(super) fn tree_error(&self, source: TreeError) -> Error {
        Error::Tree {
            step: self.request.spec.name.clone(),
            source,
        }
    }

    /// Reads for those who take a sentence for an error.
    pub(super) fn read_for_presets(&self, path: &EntryPath) -> Result<Option<Vec<u8>>, String> {
        self.files.read(path).map_err(|error| with_causes(&error))
    }
}

/// A directory's name; `None` is the root.
pub(super) fn place(dir: Option<&EntryPath>) -> String {
    dir.map_or_else(|| ".".to_owned(), ToString::to_string)
}

/// What the step vendors, less a `.bundle/config` that is code: the step leaves such a one alone. It is code when git tracks
/// it, and when an earlier step made it; the step's own is known by what stands in it.
pub(super) fn owned(request: &KeyRequest<'_>, files: &TreeFiles<'_>) -> Result<Vec<EntryPath>, Error> {
    let spec = request.spec;
    let mut owned = spec.vendored_paths(files).map_err(|problem| Error::Spec {
        step: spec.name.clone(),
        problem,
    })?;
    if let (Tool::Bundle { without }, Some(config)) =
        (&spec.tool, from_root(spec.dir.as_ref(), bundle::CONFIG))
    {
        let content = files.read(&config).map_err(|source| Error::Tree {
            step: spec.name.clone(),
            source,
        })?;
        let is_own = content.is_none_or(|content| content == bundle::own_config(without).as_bytes());
        let is_code = request.tracked.contains(&config) || !is_own;
        owned.retain(|path| *path != config || !is_code);
    }
    Ok(owned)
}
