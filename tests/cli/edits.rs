//! Random edits of a tree in memory: a seed decides them. What becomes of the tree is `commits`' business.

use std::collections::BTreeMap;

use fastrand::Rng;

/// Names that a path is made of: other cases of each other, not UTF-8, with spaces, quotes and leading dashes.
const NAMES: [&[u8]; 18] = [
    b"app",
    b"App",
    b"APP",
    b"lib",
    b"Lib",
    b"a b",
    b"-n",
    b"x.rb",
    b"X.rb",
    b"caf\xe9",
    "caf\u{e9}".as_bytes(),
    b"\xff\xfe",
    b"q\"uote",
    b"back\\slash",
    b"nl\nname",
    b"very-long-name-that-needs-an-extension-header-when-it-is-joined-with-others-like-itself-in-one-path",
    b"z",
    b"0",
];

/// What may lie at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    File { content: Vec<u8>, executable: bool },
    Link(Vec<u8>),
}

/// A tree that can be committed: its files and links by their paths. Directories are what paths imply.
pub type State = BTreeMap<Vec<u8>, Node>;

/// Edits a tree at random. What lies under `fixed` paths stays as it is.
pub struct Editor {
    rng: Rng,
    state: State,
    past: Vec<State>,
    fixed: Vec<Vec<u8>>,
}

impl Editor {
    /// Starts from these files.
    pub fn new(seed: u64, start: State) -> Self {
        Editor {
            rng: Rng::with_seed(seed),
            fixed: start.keys().cloned().collect(),
            state: start,
            past: Vec::new(),
        }
    }

    /// Makes so many edits, which become one commit.
    pub fn edits(&mut self, count: usize) -> Vec<String> {
        self.past.push(self.state.clone());
        (0..count).map(|_| self.edit()).collect()
    }

    /// Puts a file at a fixed path.
    pub fn put(&mut self, path: &str, content: &str) {
        self.state.insert(path.into(), file(content.as_bytes().to_vec()));
    }

    /// The tree as it is now.
    pub fn state(&self) -> State {
        self.state.clone()
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.rng.usize(..end)
    }

    fn edit(&mut self) -> String {
        let nodes: Vec<Vec<u8>> = self.own().cloned().collect();
        if nodes.len() < 6 {
            return self.add();
        }
        let path = nodes[self.rng.usize(..nodes.len())].clone();
        match self.rng.u8(..20) {
            0..=3 => self.add(),
            4..=6 => self.change(&path),
            7 => self.flip(&path),
            8 | 9 => self.remove(&path),
            10 => self.remove(&parent_of(&path)),
            11 => self.rename(&path),
            12 => self.rename(&parent_of(&path)),
            13 => self.recase(&path),
            14 => self.mode(&path),
            15 => self.become_directory(&path),
            16 => self.become_file(&parent_of(&path)),
            17 => self.become_link(&path),
            18 => self.become_link(&parent_of(&path)),
            _ => self.back(),
        }
    }

    fn own(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.state.keys().filter(|path| !self.fixed.contains(path))
    }

    fn add(&mut self) -> String {
        let path = self.free_path();
        let node = self.node();
        let what = format!("add {}", shown(&path));
        self.state.insert(path, node);
        what
    }

    fn change(&mut self, path: &[u8]) -> String {
        let content = self.content();
        if let Some(Node::File { content: old, .. }) = self.state.get_mut(path) {
            *old = content;
        }
        format!("change {}", shown(path))
    }

    /// The same size, one byte changed: what a comparison by size and second would not see.
    fn flip(&mut self, path: &[u8]) -> String {
        let at = self.rng.usize(..);
        if let Some(Node::File { content, .. }) = self.state.get_mut(path)
            && !content.is_empty()
        {
            let at = at % content.len();
            content[at] ^= 1;
        }
        format!("flip a bit of {}", shown(path))
    }

    fn remove(&mut self, path: &[u8]) -> String {
        for gone in self.below_path(path) {
            self.state.remove(&gone);
        }
        format!("remove {}", shown(path))
    }

    fn rename(&mut self, path: &[u8]) -> String {
        let to = self.free_path();
        self.moved(path, &to);
        format!("rename {} to {}", shown(path), shown(&to))
    }

    /// Another case in one part of the path, what lies below it included.
    fn recase(&mut self, path: &[u8]) -> String {
        let mut parts: Vec<Vec<u8>> = path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect();
        let depth = self.rng.usize(..parts.len());
        let from = parts[..=depth].join(&b'/');
        for byte in &mut parts[depth] {
            *byte = if byte.is_ascii_lowercase() {
                byte.to_ascii_uppercase()
            } else {
                byte.to_ascii_lowercase()
            };
        }
        let to = parts[..=depth].join(&b'/');
        if from != to && self.is_free(&to) {
            self.moved(&from, &to);
        }
        format!("other case: {} to {}", shown(&from), shown(&to))
    }

    fn mode(&mut self, path: &[u8]) -> String {
        if let Some(Node::File { executable, .. }) = self.state.get_mut(path) {
            *executable = !*executable;
        }
        format!("mode of {}", shown(path))
    }

    fn become_directory(&mut self, path: &[u8]) -> String {
        self.state.remove(path);
        for name in ["one", "two"] {
            let inner = [path, b"/", name.as_bytes()].concat();
            let node = self.node();
            self.state.insert(inner, node);
        }
        format!("{} becomes a directory", shown(path))
    }

    fn become_file(&mut self, path: &[u8]) -> String {
        let node = file(self.content());
        self.replace(path, node);
        format!("{} becomes a file", shown(path))
    }

    fn become_link(&mut self, path: &[u8]) -> String {
        let node = Node::Link(self.target());
        self.replace(path, node);
        format!("{} becomes a link", shown(path))
    }

    /// The whole tree as it was some commits ago, as a revert makes it.
    fn back(&mut self) -> String {
        let at = self.rng.usize(..self.past.len());
        self.state = self.past[at].clone();
        format!("back to commit {at}")
    }

    fn replace(&mut self, path: &[u8], node: Node) {
        // At the top there is nothing that could become something else.
        if path.is_empty() || self.holds_fixed(path) {
            return;
        }
        for gone in self.below_path(path) {
            self.state.remove(&gone);
        }
        self.state.insert(path.to_vec(), node);
    }

    fn moved(&mut self, from: &[u8], to: &[u8]) {
        // Into itself nothing can be moved.
        if from.is_empty() || is_below(to, from) {
            return;
        }
        for path in self.below_path(from) {
            if let Some(node) = self.state.remove(&path) {
                self.state.insert([to, &path[from.len()..]].concat(), node);
            }
        }
    }

    /// The path itself and all below it, but what is fixed.
    fn below_path(&self, path: &[u8]) -> Vec<Vec<u8>> {
        self.own()
            .filter(|known| is_below(known, path))
            .cloned()
            .collect()
    }

    fn holds_fixed(&self, path: &[u8]) -> bool {
        self.fixed.iter().any(|fixed| is_below(fixed, path))
    }

    /// Whether nothing lies there, nor would have to be a directory and a file at once.
    fn is_free(&self, path: &[u8]) -> bool {
        let taken = |known: &Vec<u8>| is_below(known, path) || is_below(path, known);
        !path.is_empty() && !self.state.keys().any(taken) && !self.fixed.iter().any(taken)
    }

    fn free_path(&mut self) -> Vec<u8> {
        loop {
            let depth = 1 + self.rng.usize(..4);
            let parts: Vec<Vec<u8>> = (0..depth)
                .map(|_| {
                    let name = NAMES[self.rng.usize(..NAMES.len())];
                    let number = self.rng.u8(..3);
                    [
                        name,
                        if number == 0 {
                            b""
                        } else {
                            &b"12"[usize::from(number) - 1..][..1]
                        },
                    ]
                    .concat()
                })
                .collect();
            let path = parts.join(&b'/');
            if self.is_free(&path) {
                return path;
            }
        }
    }

    fn node(&mut self) -> Node {
        match self.rng.u8(..8) {
            0 => Node::Link(self.target()),
            1 => Node::File {
                content: self.content(),
                executable: true,
            },
            _ => file(self.content()),
        }
    }

    fn target(&mut self) -> Vec<u8> {
        let targets: [&[u8]; 6] = [b"app", b"../lib", b"no/such", b"caf\xe9", b"/etc/hostname", b"."];
        targets[self.rng.usize(..targets.len())].to_vec()
    }

    /// Mostly small; now and then more than a frame, which does not compress.
    fn content(&mut self) -> Vec<u8> {
        let length = match self.rng.u8(..40) {
            0 => 0,
            1 => 1_500_000,
            2..=5 => 60_000,
            _ => self.rng.usize(..3000),
        };
        let mut content = vec![0; length];
        self.rng.fill(&mut content);
        content
    }
}

/// A file that is not executable.
pub fn file(content: Vec<u8>) -> Node {
    Node::File {
        content,
        executable: false,
    }
}

fn is_below(path: &[u8], of: &[u8]) -> bool {
    of.is_empty() || path == of || (path.starts_with(of) && path[of.len()] == b'/')
}

fn parent_of(path: &[u8]) -> Vec<u8> {
    let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    path[..end].to_vec()
}

fn shown(path: &[u8]) -> String {
    format!("`{}`", path.escape_ascii())
}
