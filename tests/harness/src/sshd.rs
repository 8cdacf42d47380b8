//! A real sshd with keys of its own, for clones over ssh, and an ssh-agent that holds the user's key.

use std::fs;
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ports::Address;
use crate::process::Process;
use crate::{Cmd, Testbed, Tmp};

const READY: Duration = Duration::from_secs(20);

/// A running sshd that lets this process's user in with one key; gone on drop.
#[derive(Debug)]
pub struct Sshd {
    // First, so that the daemon has ended when its directory goes.
    _process: Process,
    addr: SocketAddrV4,
    user: String,
    dir: Tmp,
    _address: Address,
}

impl Sshd {
    /// Makes the keys and starts it.
    #[track_caller]
    #[must_use]
    pub fn start() -> Self {
        let dir = Tmp::new("sshd");
        for key in ["host_key", "other_host_key", "user_key", "stranger_key"] {
            keygen(&dir.join(key));
        }
        let address = Address::claim();
        let addr = address.socket();
        fs::copy(dir.join("user_key.pub"), dir.join("authorized_keys")).expect("a key of ours");
        dir.write("known_hosts", known_host(addr, &dir.join("host_key.pub")));
        dir.write(
            "wrong_known_hosts",
            known_host(addr, &dir.join("other_host_key.pub")),
        );
        dir.write("sshd_config", config(addr, &dir));
        make_privilege_dir();
        let sshd = Cmd::new(Testbed::get().sshd())
            .args(["-D", "-e", "-f"])
            .arg(dir.join("sshd_config"));
        let mut process = sshd.start("sshd", dir.join("log"));
        process.wait_ready(READY, || TcpStream::connect(addr).is_ok());
        Self {
            _process: process,
            addr,
            user: user_name(),
            dir,
            _address: address,
        }
    }

    /// Where it listens, for a [`crate::FaultProxy`] or a test of refused connections.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr.into()
    }

    /// The user to log in as.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The URL to clone a repository from, by its absolute path.
    #[must_use]
    pub fn url(&self, repository: &Path) -> String {
        format!("ssh://{}@{}{}", self.user, self.addr, repository.display())
    }

    /// The private key that is let in; its public half is beside it with `.pub`.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.dir.join("user_key")
    }

    /// A private key that is not let in.
    #[must_use]
    pub fn stranger_key(&self) -> PathBuf {
        self.dir.join("stranger_key")
    }

    /// A known_hosts file with this server's key.
    #[must_use]
    pub fn known_hosts(&self) -> PathBuf {
        self.dir.join("known_hosts")
    }

    /// A known_hosts file with another key for this server's address: what a man in the middle looks like.
    #[must_use]
    pub fn wrong_known_hosts(&self) -> PathBuf {
        self.dir.join("wrong_known_hosts")
    }

    /// An ssh command that knows this server and uses the key that is let in, for GIT_SSH_COMMAND.
    #[must_use]
    pub fn ssh_command(&self) -> String {
        format!(
            "ssh -F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes \
             -o UserKnownHostsFile={} -i {}",
            self.known_hosts().display(),
            self.key().display()
        )
    }

    /// Writes `.ssh` into a test's home directory: the key that is let in as `id_ed25519`, and known_hosts. OpenSSH
    /// itself does not look there (it asks the password database for the home), libssh2's users may.
    #[track_caller]
    pub fn write_home(&self, home: &Path) {
        let dir = home.join(".ssh");
        fs::create_dir_all(&dir).unwrap_or_else(|err| panic!("cannot make {}: {err}", dir.display()));
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).expect("a directory of ours");
        for (from, to) in [
            (self.key(), "id_ed25519"),
            (self.dir.join("user_key.pub"), "id_ed25519.pub"),
            (self.known_hosts(), "known_hosts"),
        ] {
            fs::copy(from, dir.join(to)).expect("a file of ours");
        }
    }

    /// Starts an ssh-agent that holds the key that is let in.
    #[track_caller]
    #[must_use]
    pub fn agent(&self) -> SshAgent {
        SshAgent::start(&self.key())
    }

    /// All that it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

/// An ssh-agent; gone on drop.
#[derive(Debug)]
pub struct SshAgent {
    _process: Process,
    dir: Tmp,
}

impl SshAgent {
    /// Starts one that holds `key`.
    #[track_caller]
    #[must_use]
    pub fn start(key: &Path) -> Self {
        let dir = Tmp::new("agent");
        let agent = Cmd::new("ssh-agent").args(["-D", "-a"]).arg(dir.join("socket"));
        let mut process = agent.start("ssh-agent", dir.join("log"));
        process.wait_ready(READY, || dir.join("socket").exists());
        let agent = Self {
            _process: process,
            dir,
        };
        let _ = Cmd::new("ssh-add")
            .arg("-q")
            .arg(key)
            .env("SSH_AUTH_SOCK", agent.socket())
            .run()
            .ok();
        agent
    }

    /// Its socket: the value of SSH_AUTH_SOCK.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("socket")
    }
}

#[track_caller]
fn keygen(path: &Path) {
    let args = ["-q", "-t", "ed25519", "-N", "", "-C", "testbed", "-f"];
    let _ = Cmd::new("ssh-keygen").args(args).arg(path).run().ok();
}

fn known_host(addr: SocketAddrV4, key: &Path) -> String {
    let key = fs::read_to_string(key).expect("a key of ours");
    format!("[{}]:{} {key}", addr.ip(), addr.port())
}

fn config(addr: SocketAddrV4, dir: &Tmp) -> String {
    let at = |name: &str| dir.join(name).display().to_string();
    format!(
        "ListenAddress {}:{}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM {}\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
         AcceptEnv GIT_PROTOCOL\nMaxStartups 100\nLogLevel VERBOSE\n",
        addr.ip(),
        addr.port(),
        at("host_key"),
        at("authorized_keys"),
        // PAM's sessions are noticed by the whole system; but without PAM sshd refuses locked accounts, keys or not.
        if root_is_locked() { "yes" } else { "no" },
    )
}

/// Whether root has no password and no way to one, as on Ubuntu. An ordinary user's sshd cannot look, and asks nobody.
fn root_is_locked() -> bool {
    let shadow = fs::read_to_string("/etc/shadow").unwrap_or_default();
    shadow.lines().any(|line| line.starts_with("root:!"))
}

/// As root, sshd demands a directory that the system's service would have made.
fn make_privilege_dir() {
    if rustix::process::geteuid().is_root() {
        let made = fs::create_dir_all("/run/sshd");
        made.unwrap_or_else(|err| panic!("cannot make /run/sshd, which sshd wants as root: {err}"));
    }
}

#[track_caller]
fn user_name() -> String {
    Cmd::new("id").arg("-un").run().ok().line()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ran, Repo, git_env};

    fn clone(sshd: &Sshd, repo: &Repo, to: PathBuf, ssh: &str) -> Ran {
        let git = Cmd::new("git").envs(git_env()).env("GIT_SSH_COMMAND", ssh);
        git.args(["clone", "--quiet", "--depth=1", &sshd.url(&repo.join(".git"))])
            .arg(to)
            .run()
    }

    #[test]
    #[ignore = "needs the testbed; run make test"]
    fn clones_with_the_right_key_and_host_alone_and_is_gone_after_drop() {
        let repo = Repo::new();
        repo.write("a", "content").commit("first");
        let (sshd, tmp) = (Sshd::start(), Tmp::new("ssh"));
        let ssh = sshd.ssh_command();
        let _ = clone(&sshd, &repo, tmp.join("w"), &ssh).ok();
        assert_eq!(fs::read(tmp.join("w/a")).unwrap(), b"content");

        let wrong = |from: PathBuf, to: PathBuf| ssh.replace(&*from.to_string_lossy(), &to.to_string_lossy());
        let host = wrong(sshd.known_hosts(), sshd.wrong_known_hosts());
        let _ = clone(&sshd, &repo, tmp.join("x"), &host)
            .exits(128)
            .says("Host key verification failed");
        let key = wrong(sshd.key(), sshd.stranger_key());
        let _ = clone(&sshd, &repo, tmp.join("x"), &key)
            .exits(128)
            .says("Permission denied");

        let addr = sshd.addr();
        drop(sshd);
        assert!(TcpStream::connect(addr).is_err());
    }

    #[test]
    #[ignore = "needs the testbed; run make test"]
    fn an_agent_lets_in_without_a_key_file() {
        let repo = Repo::new();
        repo.write("a", "content").commit("first");
        let sshd = Sshd::start();
        let agent = sshd.agent();
        let hosts = sshd.known_hosts();
        let ssh = format!(
            "ssh -F /dev/null -o BatchMode=yes -o IdentityFile=none -o UserKnownHostsFile={}",
            hosts.display()
        );
        let git = Cmd::new("git").envs(git_env()).env("GIT_SSH_COMMAND", ssh);
        let git = git.args(["ls-remote", &sshd.url(&repo.join(".git"))]);
        let _ = git.clone().run().exits(128);
        let listed = git.env("SSH_AUTH_SOCK", agent.socket()).run().ok();
        assert!(listed.out().contains(&repo.head()), "{listed}");
    }
}
