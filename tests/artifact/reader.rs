//! A reader of artifacts that shares no code with the crate that writes them: the `tar`, `zstd` and `gzip` programs, and the
//! index's table decoded after docs/artifact-format.md.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// A frame's row.
#[derive(Debug)]
pub struct Frame {
    pub offset: u64,
    pub unpacked_offset: u64,
    pub size: u32,
    pub unpacked_size: u32,
    pub digest: String,
}

/// An entry's row.
#[derive(Debug)]
pub struct Entry {
    pub kind: u8,
    pub mode: u16,
    pub mtime: i64,
    pub size: u64,
    pub frame: u32,
    pub frame_offset: u32,
    pub header_size: u32,
    pub digest: String,
    pub path: Vec<u8>,
    pub target: Vec<u8>,
}

/// A layer's index.
#[derive(Debug)]
pub struct Table {
    pub compression: u8,
    pub code: bool,
    pub frames: Vec<Frame>,
    pub entries: Vec<Entry>,
}

/// The output of a program that is fed `input`.
pub fn through(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("the program ends");
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        output.status
    );
    feeder
        .join()
        .expect("the feeder ends")
        .expect("the program reads its input");
    output.stdout
}

/// SHA-256 by the program.
pub fn sha256(bytes: &[u8]) -> String {
    String::from_utf8(through("sha256sum", &[], bytes)).expect("hexadecimal digits")[..64].to_owned()
}

impl Table {
    pub fn read(path: &Path) -> Self {
        let stored = fs::read(path).expect("the index is there");
        assert_eq!(
            sha256(&stored),
            path.file_name().and_then(|name| name.to_str()).expect("a digest")
        );
        let table = through("zstd", &["-dc"], &stored);
        let mut at = Bytes(&table);
        assert_eq!(at.take(8), b"SHIPITIX");
        assert_eq!(at.number(4), 1);
        let compression = at.number(1) as u8;
        let code = at.number(1) == 1;
        assert_eq!(at.number(2), 0);
        let (frames, entries) = (at.number(4), at.number(4));
        let frames = (0..frames).map(|_| at.frame()).collect();
        let entries = (0..entries).map(|_| at.entry()).collect();
        assert!(at.0.is_empty());
        Self {
            compression,
            code,
            frames,
            entries,
        }
    }

    /// A file's content, fetched from the artifact by the byte ranges of its frames alone. `layer` is where the layer
    /// begins in the artifact.
    pub fn content(&self, artifact: &Path, layer: u64, entry: &Entry) -> Vec<u8> {
        let first = entry.frame as usize;
        let begin = u64::from(entry.frame_offset) + u64::from(entry.header_size);
        let mut unpacked = Vec::new();
        for frame in &self.frames[first..] {
            if unpacked.len() as u64 >= begin + entry.size {
                break;
            }
            let stored = range(artifact, layer + frame.offset, frame.size.into());
            assert_eq!(sha256(&stored), frame.digest);
            let program = ["zstd", "gzip"][usize::from(self.compression)];
            let piece = through(program, &["-dc"], &stored);
            assert_eq!(piece.len(), frame.unpacked_size as usize);
            unpacked.extend(piece);
        }
        unpacked[begin as usize..(begin + entry.size) as usize].to_vec()
    }
}

fn range(path: &Path, offset: u64, size: u64) -> Vec<u8> {
    let mut file = File::open(path).expect("the artifact is there");
    file.seek(SeekFrom::Start(offset))
        .expect("the artifact is a file");
    let mut bytes = vec![0; size as usize];
    file.read_exact(&mut bytes)
        .expect("the frame lies in the artifact");
    bytes
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    /// Little-endian, of one to eight bytes.
    fn number(&mut self, size: usize) -> u64 {
        self.take(size)
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn digest(&mut self) -> String {
        self.take(32).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn frame(&mut self) -> Frame {
        Frame {
            offset: self.number(8),
            unpacked_offset: self.number(8),
            size: self.number(4) as u32,
            unpacked_size: self.number(4) as u32,
            digest: self.digest(),
        }
    }

    fn entry(&mut self) -> Entry {
        let kind = self.number(1) as u8;
        let mode = self.number(2) as u16;
        let mtime = self.number(8) as i64;
        let size = self.number(8);
        let (frame, frame_offset, header_size) = (
            self.number(4) as u32,
            self.number(4) as u32,
            self.number(4) as u32,
        );
        let digest = self.digest();
        let (path_length, target_length) = (self.number(2) as usize, self.number(2) as usize);
        let path = self.take(path_length).to_vec();
        let target = self.take(target_length).to_vec();
        Entry {
            kind,
            mode,
            mtime,
            size,
            frame,
            frame_offset,
            header_size,
            digest,
            path,
            target,
        }
    }
}
