//! The part of a library that a case times, as a process of its own: its peer is one, too, and starts with a fresh
//! allocator and no threads.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use shipit_artifact::{
    Compression, DirTree, EntryPath, LayerKind, LayerPlan, Mtime, PackOptions, RecordDraft, SealedLayer,
    Tree, assemble, seal_layer,
};
use shipit_source::{Commit, CommitTree, Remote, Source, SourceOptions, TreeOptions};
use shipit_store::{Body, PutOptions, PutOutcome, S3Options, Store, StoreOptions, StoreUrl};
use shipit_testbed::{S3Server, Testbed, git_env};

use crate::run::program;

/// The first argument that makes this program a worker.
pub const FLAG: &str = "--worker";
/// Where the vendored files lie in the tree that is packed.
pub const VENDORED: &str = "node_modules";
/// What is known of a layer that was sealed by a run of its own.
const SEALED: &str = "sealed.json";
/// The commit's time of packed code.
const TIME: i64 = 1_700_000_000;

/// As many as the machine of the figures has cores.
const JOBS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

static NEVER: AtomicBool = AtomicBool::new(false);

/// A command that runs this program as a worker.
pub fn worker(task: &str) -> std::process::Command {
    let mut command = program(std::env::current_exe().expect("this program has a path"));
    command.arg(FLAG).arg(task);
    command
}

/// The variables that tell [`upload`] the server's account.
pub fn account(command: &mut std::process::Command, server: &S3Server) {
    command
        .env("BENCH_ENDPOINT", server.endpoint())
        .env("BENCH_REGION", server.region())
        .env("BENCH_ACCESS", server.access_key())
        .env("BENCH_SECRET", server.secret_key());
}

/// Runs a task. Its words are checked by their number alone: they come from this program.
pub fn main(words: &[String]) {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["fetch", url, mirror, revision] => {
            let _ = resolve(url, mirror, revision);
        }
        ["export", repository, revision, dest] => export(repository, revision, Path::new(dest)),
        ["code", repository, revision, out] => code(repository, revision, Path::new(out)),
        ["pack", tree, out, dependencies, code] => {
            let (tree, out) = (Path::new(tree), Path::new(out));
            let level = |text: &str| text.parse().expect("a level");
            let sealed = seal(tree, &out.join("sealed"), level(dependencies));
            pack(&code_of(tree), &[sealed], out, level(code));
        }
        ["seal", tree, out] => {
            let sealed = seal(Path::new(tree), Path::new(out), 9);
            let text = serde_json::to_vec(&sealed).expect("plain data");
            std::fs::write(Path::new(out).join(SEALED), text).expect("a file of ours");
        }
        ["assemble", tree, sealed, out] => {
            let text = std::fs::read(Path::new(sealed).join(SEALED)).expect("sealed before");
            let sealed = serde_json::from_slice(&text).expect("what was written");
            pack(&code_of(Path::new(tree)), &[sealed], Path::new(out), 3);
        }
        ["upload", file, url] => upload(file, url),
        _ => panic!("no task of the benchmarks: {words:?}"),
    }
}

fn resolve(remote: &str, mirror: &str, revision: &str) -> (Source, Commit) {
    let remote = Remote::parse(remote).expect("a remote");
    let mut options = SourceOptions::new(vec![remote], PathBuf::from(mirror));
    options.git_env = git_env()
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .chain([("PATH".into(), Testbed::get().path().to_owned())])
        .collect();
    let source = Source::open(options).expect("the source opens");
    let commit = source
        .resolve(revision, &NEVER, &|_| {})
        .expect("the revision is there");
    (source, commit)
}

/// Hands a commit's tree, without a file that git archive would not write, to what is timed.
fn with_tree(repository: &str, revision: &str, work: impl FnOnce(&CommitTree)) {
    let (source, commit) = resolve(repository, "", revision);
    let options = TreeOptions { revision_file: false };
    let tree = source.tree(&commit, options, &NEVER, &|_| {});
    work(&tree.expect("the commit's tree"));
}

fn export(repository: &str, revision: &str, dest: &Path) {
    with_tree(repository, revision, |tree| {
        tree.export(dest, JOBS, &NEVER, &|_| {}).expect("the export");
    });
}

/// Packs a commit's files as they come out of git.
fn code(repository: &str, revision: &str, out: &Path) {
    with_tree(repository, revision, |tree| {
        pack(tree, &[], out, 3);
    });
}

fn plan<'a>(name: &str, kind: LayerKind, tree: &'a dyn Tree, mtime: Mtime, level: i32) -> LayerPlan<'a> {
    LayerPlan {
        name: name.to_owned(),
        kind,
        key: None,
        tree,
        mtime,
        level,
    }
}

fn options() -> PackOptions<'static> {
    PackOptions {
        compression: Compression::Zstd,
        jobs: JOBS,
        cancel: &NEVER,
        on_event: &|_| {},
    }
}

fn vendored() -> Vec<EntryPath> {
    vec![EntryPath::new(VENDORED).expect("a path")]
}

fn seal(tree: &Path, out: &Path, level: i32) -> SealedLayer {
    let tree = DirTree::new(tree).expect("the tree is there").only(vendored());
    let plan = plan("npm", LayerKind::Dependencies, &tree, Mtime::FromContent, level);
    seal_layer(&plan, out, &options()).expect("the layer is sealed")
}

/// The tree without what is vendored.
fn code_of(tree: &Path) -> DirTree {
    DirTree::new(tree).expect("the tree is there").without(vendored())
}

/// Assembles the artifact of these layers and this code; prints its path.
fn pack(code: &dyn Tree, sealed: &[SealedLayer], out: &Path, level: i32) {
    let plan = plan("code", LayerKind::Code, code, Mtime::Fixed(TIME), level);
    let draft = RecordDraft {
        app: "bench".to_owned(),
        revision: "0".repeat(40),
        steps: Vec::new(),
        tools: Vec::new(),
    };
    let artifact = assemble(sealed, &plan, draft, out, &options()).expect("the artifact is assembled");
    println!("{}", artifact.path.display());
}

fn upload(file: &str, url: &str) {
    let value = |name| std::env::var(name).expect("set by the benchmark that starts this worker");
    let credentials = Credentials::new(value("BENCH_ACCESS"), value("BENCH_SECRET"), None, None, "bench");
    let config = SdkConfig::builder()
        .behavior_version(aws_config::BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build();
    let mut s3 = S3Options::new(config);
    s3.endpoint = Some(value("BENCH_ENDPOINT"));
    s3.region = Some(value("BENCH_REGION"));
    let (bucket, key) = url.rsplit_once('/').expect("a URL of an object");
    let options = StoreOptions {
        s3: Some(s3),
        ..StoreOptions::default()
    };
    let store =
        Store::open(&StoreUrl::parse(bucket).expect("a store's URL"), options).expect("the store opens");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let options = PutOptions::default();
    let put = store.put_if_absent(key, Body::File(PathBuf::from(file)), &options);
    let outcome = runtime.block_on(put).expect("the upload");
    assert_eq!(outcome, PutOutcome::Created);
}
