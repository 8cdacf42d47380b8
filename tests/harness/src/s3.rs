//! A real S3 server (versitygw) over a directory of its own, with random credentials.

use std::fs;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rustix::fs::{XattrFlags, setxattr};

use crate::http;
use crate::ports::Address;
use crate::process::Process;
use crate::{Cmd, Testbed, Tmp, random_hex};

const READY: Duration = Duration::from_secs(30);
const REGION: &str = "us-east-1";

/// A running S3 server. Each has its own address, credentials and data; gone on drop.
#[derive(Debug)]
pub struct S3Server {
    // First, so that the server has ended when its directory goes.
    process: Mutex<Option<Process>>,
    addr: SocketAddrV4,
    access: String,
    secret: String,
    dir: Tmp,
    _address: Address,
}

impl S3Server {
    /// Starts one, without buckets.
    #[track_caller]
    #[must_use]
    pub fn start() -> Self {
        let dir = Tmp::new("s3");
        let _ = dir.mkdir("data");
        let address = Address::claim();
        let server = Self {
            process: Mutex::default(),
            addr: address.socket(),
            access: format!("TEST{}", random_hex(8)),
            secret: random_hex(20),
            dir,
            _address: address,
        };
        server.start_again();
        server
    }

    /// Ends the server; its data stays.
    pub fn stop(&self) {
        if let Some(mut process) = self.process.lock().unwrap().take() {
            process.stop();
        }
    }

    /// Ends the server with KILL; its data stays.
    pub fn kill9(&self) {
        if let Some(mut process) = self.process.lock().unwrap().take() {
            process.kill9();
        }
    }

    /// Starts it again at the same address with the same data, after [`S3Server::stop`] or [`S3Server::kill9`].
    #[track_caller]
    pub fn start_again(&self) {
        let mut slot = self.process.lock().unwrap();
        if slot.is_some() {
            return;
        }
        let data = self.dir.join("data");
        let mut cmd = Cmd::new(Testbed::get().versitygw())
            .env("ROOT_ACCESS_KEY", &self.access)
            .env("ROOT_SECRET_KEY", &self.secret)
            .cwd(self.dir.path())
            .args(["--port", &self.addr.to_string(), "--region", REGION, "posix"]);
        if !has_user_xattrs(&data) {
            cmd = cmd.arg("--sidecar").arg(self.dir.mkdir("sidecar"));
        }
        let mut process = cmd.arg(&data).start("versitygw", self.dir.join("log"));
        // Any answer will do: without a signature it is a refusal.
        process.wait_ready(READY, || {
            http::request(self.addr.into(), "GET", "/", &[], b"").is_ok()
        });
        *slot = Some(process);
    }

    /// Makes a bucket. Names have at least three letters.
    #[track_caller]
    pub fn create_bucket(&self, name: &str) {
        assert!(name.len() >= 3, "S3 takes no bucket name as short as {name:?}");
        // The server's documented rule: each directory at the top of its data is a bucket.
        let _ = self.dir.mkdir(Path::new("data").join(name));
    }

    /// Where it listens, for a [`crate::FaultProxy`].
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr.into()
    }

    /// Its URL. The host is an IP address, which makes clients use path-style by themselves.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The region that signatures have to name.
    #[must_use]
    pub fn region(&self) -> &'static str {
        REGION
    }

    /// The access key of its one account.
    #[must_use]
    pub fn access_key(&self) -> &str {
        &self.access
    }

    /// The secret key of its one account.
    #[must_use]
    pub fn secret_key(&self) -> &str {
        &self.secret
    }

    /// The variables that a program needs to reach it.
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        self.env_at(&self.endpoint())
    }

    /// The same for another endpoint: that of a proxy in front of it.
    #[must_use]
    pub fn env_at(&self, endpoint: &str) -> Vec<(String, String)> {
        let pairs = [
            ("AWS_ACCESS_KEY_ID", self.access.as_str()),
            ("AWS_SECRET_ACCESS_KEY", &self.secret),
            ("AWS_REGION", REGION),
            ("AWS_DEFAULT_REGION", REGION),
            ("AWS_ENDPOINT_URL", endpoint),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            // The user's own profile must not get in.
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ];
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec()
    }

    /// A complete object's bytes, read where the server keeps them and not through its API.
    #[must_use]
    pub fn object(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        fs::read(self.object_path(bucket, key)).ok()
    }

    /// The file in which the server keeps an object: to look at, or to damage.
    #[must_use]
    pub fn object_path(&self, bucket: &str, key: &str) -> PathBuf {
        self.dir.join("data").join(bucket).join(key)
    }

    /// The keys of all complete objects of a bucket, sorted.
    #[must_use]
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        let root = self.dir.join("data").join(bucket);
        let mut keys = Vec::new();
        collect(&root, "", &mut keys);
        keys.sort();
        keys
    }

    /// The multipart uploads that are open in a bucket.
    #[must_use]
    pub fn open_uploads(&self, bucket: &str) -> usize {
        // `.sgwtmp/multipart/<hash of the key>/<upload id>/<part>`
        let dir = self.dir.join("data").join(bucket).join(".sgwtmp/multipart");
        let entries = |dir: &Path| {
            fs::read_dir(dir)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
        };
        entries(&dir)
            .map(|object| entries(&object).filter(|path| path.is_dir()).count())
            .sum()
    }

    /// All that the server has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

fn collect(dir: &Path, prefix: &str, keys: &mut Vec<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // The server's own: parts of uploads and locks.
        if prefix.is_empty() && name.starts_with('.') {
            continue;
        }
        let key = format!("{prefix}{name}");
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{key}/"), keys);
        } else {
            keys.push(key);
        }
    }
}

fn has_user_xattrs(dir: &Path) -> bool {
    setxattr(dir, "user.shipit-testbed", b"1", XattrFlags::empty()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fault, FaultProxy, Ran};

    fn aws(env: Vec<(String, String)>, args: &[&str]) -> Ran {
        // Debian 12's aws does not know AWS_ENDPOINT_URL.
        let endpoint = env
            .iter()
            .find(|(name, _)| name == "AWS_ENDPOINT_URL")
            .unwrap()
            .1
            .clone();
        let cmd = Cmd::new(Testbed::get().aws()).envs(env).env("AWS_PAGER", "");
        cmd.args(["--endpoint-url", &endpoint]).args(args).run()
    }

    fn put(env: Vec<(String, String)>, file: &Path) -> Ran {
        let once = env
            .into_iter()
            .chain([("AWS_MAX_ATTEMPTS".to_owned(), "1".to_owned())])
            .collect();
        let file = file.display().to_string();
        aws(
            once,
            &[
                "s3api",
                "put-object",
                "--bucket",
                "testbed",
                "--key",
                "a/b",
                "--body",
                &file,
            ],
        )
    }

    #[test]
    #[ignore = "needs the testbed; run make test"]
    fn keeps_objects_over_a_kill_and_is_gone_after_drop() {
        let server = S3Server::start();
        server.create_bucket("testbed");
        let tmp = Tmp::new("s3-test");
        let _ = put(server.env(), &tmp.write("f", "content")).ok();
        assert_eq!(server.keys("testbed"), ["a/b"]);
        server.kill9();
        assert!(http::request(server.addr(), "GET", "/", &[], b"").is_err());
        server.start_again();
        assert_eq!(server.object("testbed", "a/b").unwrap(), b"content");
        let listed = aws(server.env(), &["s3", "ls", "s3://testbed/", "--recursive"]).ok();
        assert!(listed.out().contains("a/b"), "{listed}");
        let (addr, dir) = (server.addr(), server.dir.path().to_owned());
        drop(server);
        assert!(http::request(addr, "GET", "/", &[], b"").is_err());
        assert!(!dir.exists());
    }

    #[test]
    #[ignore = "needs the testbed; run make test"]
    fn open_multipart_uploads_are_seen() {
        let server = S3Server::start();
        server.create_bucket("testbed");
        assert_eq!(server.open_uploads("testbed"), 0);
        let _ = aws(
            server.env(),
            &[
                "s3api",
                "create-multipart-upload",
                "--bucket",
                "testbed",
                "--key",
                "big",
            ],
        )
        .ok();
        assert_eq!(server.open_uploads("testbed"), 1);
        assert_eq!(server.keys("testbed"), <[String; 0]>::default());
    }

    #[test]
    #[ignore = "needs the testbed; run make test"]
    fn faults_hit_what_they_name_and_requests_are_counted() {
        let server = S3Server::start();
        server.create_bucket("testbed");
        let proxy = FaultProxy::start(server.addr());
        let env = || server.env_at(&proxy.url());
        let tmp = Tmp::new("s3-test");
        let file = tmp.write("f", vec![7; 300_000]);

        proxy.inject(Fault::status(503).method("PUT").path("a/b"));
        assert_ne!(put(env(), &file).code(), Some(0));
        assert_eq!(server.keys("testbed"), <[String; 0]>::default());
        proxy.inject(Fault::cut_request(100_000).method("PUT"));
        assert_ne!(put(env(), &file).code(), Some(0));
        assert_eq!(server.keys("testbed"), <[String; 0]>::default());
        proxy.forget();
        let _ = put(env(), &file).ok();
        let count = proxy.count("PUT");
        assert_eq!(count.requests, 1);
        assert!(count.body_bytes >= 300_000, "{count:?}");

        proxy.inject(Fault::cut_response(1000).method("GET").path("a/b"));
        let target = tmp.join("got").display().to_string();
        let args = [
            "s3api",
            "get-object",
            "--bucket",
            "testbed",
            "--key",
            "a/b",
            &target,
        ];
        assert_ne!(aws(env(), &args).code(), Some(0));
        let _ = aws(env(), &args).ok();
        assert_eq!(fs::read(&target).unwrap(), vec![7; 300_000]);
    }
}
