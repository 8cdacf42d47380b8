//! Files that change, cancelled work, layers that overlap; and trees with little in them.

use super::*;

/// What is packed changes while it is packed.
struct Lying(MemoryTree, i64);

impl Tree for Lying {
    fn entries(&self) -> Result<Vec<TreeEntry>, TreeError> {
        let mut entries = self.0.entries()?;
        for entry in &mut entries {
            entry.size = entry.size.saturating_add_signed(self.1);
        }
        Ok(entries)
    }

    fn open(&self, path: &EntryPath) -> Result<Box<dyn Read + Send + '_>, TreeError> {
        self.0.open(path)
    }
}

#[test]
fn a_file_that_changes_is_named_and_nothing_is_left() {
    for (size, by) in [(100, 1), (100, -1), (5_000_000, 1), (5_000_000, -1)] {
        let dir = tempfile::tempdir().unwrap();
        let lying = Lying(MemoryTree::default().file("the/file", noise(1, size)), by);
        let whole = MemoryTree::default().file("fine", noise(2, 10));
        for (dependencies, code) in [(&lying as &dyn Tree, &whole as &dyn Tree), (&whole, &lying)] {
            let error = build_of(dependencies, code, dir.path(), Compression::Zstd, 2, &|_| {}).unwrap_err();
            let Error::Tree { source, .. } = &error else {
                panic!("{error:?}")
            };
            assert!(source.to_string().contains("the/file changed"), "{source}");
            assert_eq!(error.kind(), ErrorKind::Disk);
        }
        let left = |name: &str| fs::read_dir(dir.path().join(name)).map_or(0, Iterator::count);
        assert_eq!(left("artifacts"), 0);
        assert_eq!(left("sealed"), 2, "the whole dependency layer's frames and index");
    }
}

#[test]
fn cancelled_it_ends_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cancel = AtomicBool::new(false);
    let on_event = |event| {
        if matches!(event, Event::LayerProgress { .. }) {
            cancel.store(true, Ordering::Relaxed);
        }
    };
    let options = PackOptions {
        compression: Compression::Zstd,
        jobs: NonZeroUsize::new(3).unwrap(),
        cancel: &cancel,
        on_event: &on_event,
    };
    let tree = dependencies();
    let plan = LayerPlan {
        name: "bundle".into(),
        kind: LayerKind::Dependencies,
        key: None,
        tree: &tree,
        mtime: Mtime::FromContent,
        level: 3,
    };
    assert!(matches!(
        seal_layer(&plan, dir.path(), &options),
        Err(Error::Cancelled)
    ));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn layers_that_overlap_or_stand_wrong_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let tracked = code().file("vendor/bundle/gem/0001", b"tracked".to_vec());
    let error = build_of(
        &dependencies(),
        &tracked,
        dir.path(),
        Compression::Zstd,
        2,
        &|_| {},
    )
    .unwrap_err();
    assert!(matches!(&error, Error::ClaimedTwice { path, first, second }
        if path == "vendor/bundle/gem/0001" && first == "bundle" && second == "code"));
    assert_eq!(error.kind(), ErrorKind::Config);
}

/// What a layer says of itself is compared with its index, and its frames with its digest.
#[test]
fn a_layer_that_is_not_what_it_says_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let cancel = AtomicBool::new(false);
    let plan = |kind, tree, mtime| LayerPlan {
        name: "layer".to_owned(),
        kind,
        key: None,
        tree,
        mtime,
        level: 1,
    };
    let (dependencies, code) = (dependencies(), code());
    let (first, second) = (
        plan(
            LayerKind::Dependencies,
            &dependencies as &dyn Tree,
            Mtime::FromContent,
        ),
        // Together they are large enough for the way past the page cache.
        MemoryTree::default().file("other/x", noise(1, 5_000_000)),
    );
    let second = plan(LayerKind::Dependencies, &second, Mtime::FromContent);
    let code = plan(LayerKind::Code, &code, Mtime::Fixed(7));
    for jobs in [1, 3] {
        let options = PackOptions {
            compression: Compression::Zstd,
            jobs: NonZeroUsize::new(jobs).unwrap(),
            cancel: &cancel,
            on_event: &|_| {},
        };
        let sealed =
            [&first, &second].map(|plan| seal_layer(plan, &dir.path().join("sealed"), &options).unwrap());
        let assembled = |layers: &[crate::SealedLayer]| {
            let draft = RecordDraft {
                app: "shop".into(),
                revision: "0".repeat(40),
                steps: vec![],
                tools: vec![],
            };
            assemble(layers, &code, draft, &dir.path().join("artifacts"), &options)
        };
        let whole = assembled(&sealed).unwrap();
        whole.verify(&cancel).unwrap();
        assert_eq!(whole.record.layers.len(), 3);
        fs::remove_dir_all(dir.path().join("artifacts")).unwrap();
        for number in 0..2 {
            let refused = |change: &dyn Fn(&mut crate::SealedLayer)| {
                let mut layers = sealed.clone();
                change(&mut layers[number]);
                let error = assembled(&layers).unwrap_err();
                assert!(matches!(error, Error::Differs { .. }), "{error}");
                let left = fs::read_dir(dir.path().join("artifacts")).unwrap().count();
                assert_eq!(left, 0);
                error.to_string()
            };
            let why = refused(&|layer| layer.paths_claimed.push(path("zzz")));
            assert!(
                why.ends_with("its paths are not those that the layer claims"),
                "{why}"
            );
            let why = refused(&|layer| layer.size += 1);
            assert!(
                why.ends_with("it belongs to another layer") || why.ends_with("since it was sealed"),
                "{why}"
            );
            let frames = fs::read(&sealed[number].frames).unwrap();
            let mut damaged = frames.clone();
            damaged[frames.len() / 2] ^= 1;
            for wrong in [&damaged[..], &frames[1..], &[&frames[..], b"x"].concat()] {
                fs::write(&sealed[number].frames, wrong).unwrap();
                assert!(refused(&|_| {}).ends_with("it changed since it was sealed"));
            }
            fs::write(&sealed[number].frames, &frames).unwrap();
        }
    }
}

#[test]
fn an_empty_tree_and_a_directory_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let empty = MemoryTree::default();
    let artifact = build_of(&empty, &empty, dir.path(), Compression::Gzip, 2, &|_| {}).unwrap();
    assert_eq!(artifact.record.layers[0].size, 0);
    assert_eq!(artifact.index(1).unwrap().unpacked_size(), 1024);
    artifact.verify(&AtomicBool::new(false)).unwrap();

    let source = dir.path().join("source");
    fs::create_dir_all(source.join("a/b")).unwrap();
    fs::write(source.join("a/b/file"), "x").unwrap();
    fs::hard_link(source.join("a/b/file"), source.join("a/hard")).unwrap();
    let tree = DirTree::new(&source).unwrap();
    let artifact = build_of(&empty, &tree, dir.path(), Compression::Zstd, 2, &|_| {}).unwrap();
    let paths: Vec<_> = artifact
        .index(1)
        .unwrap()
        .entries()
        .iter()
        .map(|entry| entry.path.to_string())
        .collect();
    assert_eq!(paths, ["a", "a/b", "a/b/file", "a/hard"]);
}
