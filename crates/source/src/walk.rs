//! The listing of a commit's tree: attributes, conversions, submodules, LFS pointers and unsafe paths are decided here,
//! once, before anything is written.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use git2::{ObjectType, Oid};
use shipit_artifact::{Digest, EntryPath, Kind, TreeEntry, sha256};

use crate::attributes::{Attributes, Stack, State};
use crate::commit::Commit;
use crate::commit_text::CommitText;
use crate::convert::Conversion;
use crate::error::Error;
use crate::event::Event;
use crate::level::{Level, blob_size, check_name, mounted, read_blob, read_blob_at, unsafe_path};
use crate::lfs::{self, Pointer};
use crate::object;
use crate::options::{SourceOptions, Submodules, TreeOptions};
use crate::origin::Origin;
use crate::repository;
use crate::revision_file;
use crate::submodule;
use crate::subst::Values;
use crate::tree::{CommitTree, Content, Node};

/// Submodules within submodules, at most.
const DEEPEST: usize = 16;
const MODE_SYMLINK: i32 = 0o120_000;
const MODE_GITLINK: i32 = 0o160_000;
/// How many LFS files an error names.
const EXAMPLES: usize = 5;

pub(crate) fn walk(
    source: &SourceOptions,
    commit: &Commit,
    options: TreeOptions,
    cancel: &AtomicBool,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<CommitTree, Error> {
    let mut walk = Walk {
        source,
        cancel,
        on_event,
        origins: vec![],
        nodes: vec![],
        lfs: vec![],
        filters: BTreeSet::new(),
    };
    walk.commit(commit, Vec::new(), 0)?;
    walk.fetch_lfs()?;
    let mut nodes = walk.nodes;
    nodes.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
    if options.revision_file {
        revision_file::add(&mut nodes, commit, on_event)?;
    }
    if let Some(pair) = nodes
        .windows(2)
        .find(|pair| pair[0].entry.path == pair[1].entry.path)
    {
        return Err(unsafe_path(
            &commit.id,
            pair[0].entry.path.as_bytes(),
            "it stands there twice",
        ));
    }
    Ok(CommitTree {
        id: commit.id.clone(),
        time: commit.time,
        origins: walk.origins,
        nodes,
    })
}

struct Walk<'a> {
    source: &'a SourceOptions,
    cancel: &'a AtomicBool,
    on_event: &'a (dyn Fn(Event) + Sync),
    origins: Vec<Origin>,
    nodes: Vec<Node>,
    lfs: Vec<(usize, Pointer, Commit)>,
    filters: BTreeSet<String>,
}

impl Walk<'_> {
    fn commit(&mut self, commit: &Commit, mount: Vec<u8>, depth: usize) -> Result<(), Error> {
        let repository = repository::open_git_dir(&commit.git_dir)?;
        let damaged = |source| Error::Damaged {
            git_dir: commit.git_dir.clone(),
            what: format!("commit {}", commit.id),
            source,
        };
        let id = Oid::from_str(&commit.id).map_err(damaged)?;
        let tree = Oid::from_str(&commit.tree_id).map_err(damaged)?;
        let text = repository
            .odb()
            .and_then(|odb| {
                Ok(CommitText::parse(
                    object::read(&odb, id, ObjectType::Commit)?.data(),
                ))
            })
            .map_err(damaged)?;
        let values = Values {
            id: commit.id.clone(),
            text,
        };
        self.origins.push(Origin::new(&commit.git_dir, values));
        let origin = self.origins.len() - 1;
        let gitmodules = object::find_tree(&repository, tree)
            .and_then(|top| read_blob_at(&repository, &top, b".gitmodules"))
            .map_err(damaged)?;
        let mut level = Level {
            repository: &repository,
            commit,
            origin,
            mount,
            depth,
            stack: Stack::new(),
            gitmodules,
        };
        self.directory(&mut level, tree, &[])?;
        Ok(())
    }

    /// Walks a directory, given by its path within the commit; says whether git archive writes the directory: it does as
    /// soon as it comes to a file in it, also to one that it leaves out.
    fn directory(&mut self, level: &mut Level<'_>, tree: Oid, path: &[u8]) -> Result<bool, Error> {
        let damaged = |source| Error::Damaged {
            git_dir: level.commit.git_dir.clone(),
            what: format!("directory {:?} ({tree})", String::from_utf8_lossy(path)),
            source,
        };
        let tree_object = object::find_tree(level.repository, tree).map_err(damaged)?;
        let attributes = read_blob_at(level.repository, &tree_object, b".gitattributes").map_err(damaged)?;
        if let Some(content) = &attributes {
            level.stack.push(path, content);
        }
        let mut written = false;
        for item in &tree_object {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(Error::Cancelled);
            }
            let name = item.name_bytes();
            let mut full = path.to_vec();
            if !full.is_empty() {
                full.push(b'/');
            }
            full.extend_from_slice(name);
            check_name(level, name, &full)?;
            written |= self.item(level, item.filemode_raw(), item.id(), &full)?;
        }
        if attributes.is_some() {
            level.stack.pop();
        }
        Ok(written)
    }

    fn item(&mut self, level: &mut Level<'_>, mode: i32, id: Oid, path: &[u8]) -> Result<bool, Error> {
        let is_dir = mode & 0o170_000 == 0o040_000;
        let attributes = level.stack.of(path, is_dir || mode == MODE_GITLINK);
        if attributes.export_ignore.is_set() {
            return Ok(!is_dir);
        }
        let entry_path = mounted(level, path)?;
        if is_dir {
            self.nodes.push(directory_node(entry_path));
            let written = self.directory(level, id, path)?;
            if !written {
                self.nodes.pop();
            }
            return Ok(written);
        }
        match mode {
            MODE_GITLINK => self.submodule(level, &entry_path, path, id)?,
            MODE_SYMLINK => self.symlink(level, entry_path, id)?,
            mode => self.file(level, entry_path, id, mode & 0o100 != 0, &attributes)?,
        }
        Ok(true)
    }

    fn symlink(&mut self, level: &Level<'_>, path: EntryPath, id: Oid) -> Result<(), Error> {
        let target = read_blob(level, id, &path)?;
        if target.is_empty() || target.contains(&0) || target.len() > 4095 {
            return Err(unsafe_path(
                &level.commit.id,
                path.as_bytes(),
                "its link target is empty, has a NUL or is too long",
            ));
        }
        let entry = TreeEntry {
            path,
            kind: Kind::Symlink { target },
            size: 0,
        };
        self.nodes.push(Node {
            entry,
            content: Content::None,
        });
        Ok(())
    }

    fn file(
        &mut self,
        level: &Level<'_>,
        path: EntryPath,
        id: Oid,
        executable: bool,
        attributes: &Attributes,
    ) -> Result<(), Error> {
        let conversion = Conversion::of(attributes);
        let stored = blob_size(level, id, &path)?;
        let mut entry = TreeEntry {
            path,
            kind: Kind::File { executable },
            size: stored,
        };
        if let State::Value(filter) = &attributes.filter {
            let filter = String::from_utf8_lossy(filter).into_owned();
            if filter != "lfs" {
                self.ignore_filter(&entry.path, filter);
            } else if let Some(pointer) = self.pointer(level, &entry.path, id, stored)? {
                entry.size = pointer.size;
                self.lfs.push((self.nodes.len(), pointer, level.commit.clone()));
                self.nodes.push(Node {
                    entry,
                    content: Content::None,
                });
                return Ok(());
            }
        }
        let mut content = Content::Blob {
            origin: level.origin,
            id,
        };
        if !conversion.is_none()
            && let Some((written, size)) = self.converted(level, &entry.path, id, &conversion)?
        {
            entry.size = size;
            content = Content::Converted {
                origin: level.origin,
                id,
                conversion,
                written,
            };
        }
        self.nodes.push(Node { entry, content });
        Ok(())
    }

    /// The digest and size of what is written in place of the blob; `None` when the conversion leaves it as it is stored.
    fn converted(
        &self,
        level: &Level<'_>,
        path: &EntryPath,
        id: Oid,
        conversion: &Conversion,
    ) -> Result<Option<(Digest, u64)>, Error> {
        let stored = read_blob(level, id, path)?;
        let before = sha256(&stored);
        let Some(origin) = self.origins.get(level.origin) else {
            return Ok(None);
        };
        let (bytes, not_encoded) = origin.convert(stored, id, conversion, path)?;
        if let Some(encoding) = not_encoded {
            (self.on_event)(Event::NotEncoded {
                path: path.to_string(),
                encoding,
            });
        }
        let written = sha256(&bytes);
        Ok((written != before).then_some((written, bytes.len() as u64)))
    }

    fn ignore_filter(&mut self, path: &EntryPath, filter: String) {
        if self.filters.insert(filter.clone()) {
            (self.on_event)(Event::FilterIgnored {
                path: path.to_string(),
                filter,
            });
        }
    }

    fn pointer(
        &self,
        level: &Level<'_>,
        path: &EntryPath,
        id: Oid,
        size: u64,
    ) -> Result<Option<Pointer>, Error> {
        if size > lfs::LARGEST_POINTER {
            return Ok(None);
        }
        Ok(Pointer::parse(&read_blob(level, id, path)?))
    }

    fn submodule(
        &mut self,
        level: &mut Level<'_>,
        entry_path: &EntryPath,
        path: &[u8],
        id: Oid,
    ) -> Result<(), Error> {
        self.nodes.push(directory_node(entry_path.clone()));
        let Submodules::On { allowed_hosts } = &self.source.submodules else {
            (self.on_event)(Event::SubmoduleSkipped {
                path: entry_path.to_string(),
            });
            return Ok(());
        };
        if level.depth >= DEEPEST {
            let reason = "submodules lie within submodules too deep".to_owned();
            return Err(Error::Submodule {
                path: entry_path.to_string(),
                reason,
                advice: "see whether they lie within each other in a circle, or set `submodules = false`",
            });
        }
        let wanted = submodule::Wanted {
            path,
            shown: entry_path.to_string(),
            id: id.to_string(),
            gitmodules: level.gitmodules.as_deref(),
        };
        let commit = submodule::fetch(
            self.source,
            allowed_hosts,
            level.commit,
            &wanted,
            self.cancel,
            self.on_event,
        )?;
        let mut mount = entry_path.as_bytes().to_vec();
        mount.push(b'/');
        self.commit(&commit, mount, level.depth + 1)
    }

    /// Turns the pointers into files, or refuses them.
    fn fetch_lfs(&mut self) -> Result<(), Error> {
        if let Some((_, _, commit)) = self.lfs.first()
            && !self.source.lfs
        {
            let path = |at: usize| self.nodes.get(at).map(|node| node.entry.path.to_string());
            let paths = self
                .lfs
                .iter()
                .take(EXAMPLES)
                .filter_map(|(at, _, _)| path(*at))
                .collect();
            return Err(Error::LfsPointers {
                commit: commit.id.clone(),
                count: self.lfs.len(),
                paths,
            });
        }
        for (at, pointer, commit) in std::mem::take(&mut self.lfs) {
            let Some(node) = self.nodes.get_mut(at) else {
                continue;
            };
            let path = node.entry.path.clone();
            let file = lfs::object(self.source, &commit, &path, &pointer, self.cancel, self.on_event)?;
            let content = pointer.oid;
            node.content = Content::Lfs { file, content };
        }
        Ok(())
    }
}

fn directory_node(path: EntryPath) -> Node {
    Node {
        entry: TreeEntry {
            path,
            kind: Kind::Directory,
            size: 0,
        },
        content: Content::None,
    }
}
