//! Releases of days ago: what a store looks like that a team has used for a while. Artifacts are built by the binary; releases are
//! published by the store's own code with an earlier time, for a prune leaves alone what is young.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use shipit_artifact::Artifact;
use shipit_manifest::{Layout, RenderInput, render};
use shipit_store::{
    Action, BoxError, KickId, Origin, PublishInput, RenderContext, RolePlan, S3Options, Started, Store,
    StoreOptions, StoreUrl, kick, layout, live, publish,
};
use shipit_testbed::S3Server;

use crate::project::Project;

const DAY: i64 = 24 * 60 * 60;

/// A store as the library has it, and where its files are.
pub struct Aged {
    pub store: Store,
    pub root: PathBuf,
    pub runtime: tokio::runtime::Runtime,
}

impl Aged {
    /// The store in a directory.
    pub fn directory(root: &Path) -> Self {
        let url = StoreUrl::parse(&format!("file://{}", root.display())).unwrap();
        Self::of(
            Store::open(&url, StoreOptions::default()).unwrap(),
            root.to_owned(),
        )
    }

    /// The store in a bucket, under a prefix.
    pub fn bucket(server: &S3Server, bucket: &str, prefix: &str) -> Self {
        use aws_sdk_s3::config::{BehaviorVersion, Credentials, SharedCredentialsProvider};
        let credentials = Credentials::new(server.access_key(), server.secret_key(), None, None, "test");
        let config = aws_config::SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        let mut s3 = S3Options::new(config);
        s3.endpoint = Some(server.endpoint());
        let options = StoreOptions {
            s3: Some(s3),
            ..StoreOptions::default()
        };
        let url = StoreUrl::parse(&format!("s3://{bucket}/{prefix}")).unwrap();
        let root = server.object_path(bucket, prefix);
        Self::of(Store::open(&url, options).unwrap(), root)
    }

    fn of(store: Store, root: PathBuf) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        Self {
            store,
            root,
            runtime: runtime.unwrap(),
        }
    }

    /// Builds the project's main branch, and publishes it as so many days ago. Gives the release's id.
    pub fn publish(&self, project: &Project, stage: &str, days: i64) -> String {
        let path = project.build("main");
        self.publish_built(&path, stage, days)
    }

    /// Publishes an artifact that was built.
    pub fn publish_built(&self, path: &Path, stage: &str, days: i64) -> String {
        let name = path.file_name().unwrap().to_str().unwrap();
        let artifact = Artifact::open(path.parent().unwrap(), name.split('.').next().unwrap()).unwrap();
        let web = |context: &RenderContext<'_>| manifest(stage, &artifact, context);
        let input = PublishInput {
            store: &self.store,
            app: "shop",
            stage,
            artifact: &artifact,
            time: now() - days * DAY,
            who: "jenkins",
            roles: vec![RolePlan {
                role: "web".into(),
                render: &web,
                once: None,
            }],
            shared: true,
            origin: Origin::default(),
            lock: None,
        };
        let published = self.runtime.block_on(publish(input)).unwrap();
        published.release.id.to_string()
    }

    /// Publishes so many releases, the first so many days ago and one each day; each has a layer and code of its own.
    pub fn publish_each(&self, project: &Project, stage: &str, days: std::ops::Range<i64>) -> Vec<String> {
        let each = days.rev().map(|day| {
            let text = format!("{stage} {day}\n");
            project
                .repo
                .write("lock", &text)
                .write("app.txt", &text)
                .commit(&text);
            self.publish(project, stage, day)
        });
        each.collect()
    }

    /// Makes a release the live one of web.
    pub fn make_live(&self, stage: &str, id: &str) {
        let key = layout::manifest_key("shop", stage, &id.parse().unwrap(), "web").unwrap();
        let manifest = fs::read(self.root.join(key)).unwrap();
        let moved = live::move_to(&self.store, "shop", stage, "web", &manifest, None);
        self.runtime.block_on(moved).unwrap();
    }

    /// A kick that was started and has not ended.
    pub fn started(&self, stage: &str, release: &str, time: i64) {
        let started = Started {
            version: 1,
            kick: KickId::new(time).unwrap(),
            app: "shop".into(),
            stage: stage.into(),
            role: "web".into(),
            action: Action::Kick,
            release: release.into(),
            revision: "3074f46".repeat(6)[..40].to_owned(),
            live: None,
            batch: None,
            lock: None,
            transport: "exec".into(),
            whole: true,
            followed: true,
            hosts: vec!["here".into()],
            expected: None,
            who: "jenkins".into(),
            reason: None,
            time,
        };
        self.runtime.block_on(kick::start(&self.store, &started)).unwrap();
    }

    /// Makes every object that old.
    pub fn age(&self, days: i64) {
        let then = SystemTime::now() - Duration::from_secs((days * DAY).unsigned_abs());
        for path in files(&self.root) {
            File::options()
                .write(true)
                .open(&path)
                .and_then(|file| file.set_modified(then))
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }

    /// The keys of all objects, sorted.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = files(&self.root)
            .iter()
            .map(|path| path.strip_prefix(&self.root).unwrap().display().to_string())
            .filter(|key| !key.starts_with('.'))
            .collect();
        keys.sort();
        keys
    }

    /// What every release that is there names has to be there, and to be what it says. Gives their ids, newest first.
    #[track_caller]
    pub fn whole(&self, stage: &str) -> Vec<String> {
        let all = self
            .runtime
            .block_on(shipit_store::releases(&self.store, "shop", stage, None));
        let all = all.unwrap();
        for release in &all {
            let bytes = fs::read(self.root.join(&release.artifact.key)).unwrap();
            assert_eq!(
                shipit_artifact::sha256(&bytes).to_string(),
                release.artifact.sha256
            );
            let dir = shipit_testbed::Tmp::new("whole");
            let read = shipit_store::promote::documents(&self.store, release, dir.path());
            self.runtime.block_on(read).unwrap();
            for role in release.roles.keys() {
                self.runtime
                    .block_on(release.manifest(&self.store, role))
                    .unwrap()
                    .unwrap();
            }
        }
        all.iter().map(|release| release.id.to_string()).collect()
    }
}

fn manifest(stage: &str, artifact: &Artifact, context: &RenderContext<'_>) -> Result<String, BoxError> {
    let input = RenderInput {
        src: Some(context.src.to_owned()),
        checksum: Some(context.checksum.to_owned()),
        record_sha256: Some(context.record_sha256.to_owned()),
        app: "shop".into(),
        stage: stage.to_owned(),
        role: "web".into(),
        release: context.release.to_string(),
        revision: artifact.record.revision.clone(),
        dest: Some("/srv/shop".into()),
        layout: Layout::Releases,
        keep_releases: 5,
        ..RenderInput::default()
    };
    Ok(render(&input, None)?)
}

/// The files below a directory, but for those of the store itself and of the server.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let hidden = dir == root && entry.file_name().to_string_lossy().starts_with('.');
            match entry.path() {
                path if path.is_dir() && !hidden => open.push(path),
                path if path.is_file() => found.push(path),
                _ => {}
            }
        }
    }
    found
}

pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_secs()).unwrap()
}
