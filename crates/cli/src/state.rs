//! `.shipit/` beside the config: the artifacts, the logs, and what one command leaves for the next.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shipit_artifact::Artifact;

use crate::config::Settled;
use crate::errors::{CliError, Kind, Result};

/// What the last good build made, for `publish`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BuildState {
    /// The app.
    pub app: String,
    /// The full commit id.
    pub revision: String,
    /// SHA-256 of the artifact.
    pub artifact: String,
    /// The first line of the commit's message.
    #[serde(default)]
    pub subject: Option<String>,
}

/// What the last good publish made, for `kick --release published`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PublishState {
    /// The app.
    pub app: String,
    /// The stage.
    pub stage: String,
    /// The release id.
    pub release: String,
    /// The full commit id.
    pub revision: String,
    /// SHA-256 of the artifact.
    pub artifact: String,
}

/// The directory itself.
#[derive(Debug, Clone)]
pub struct StateDirectory {
    root: PathBuf,
}

impl StateDirectory {
    /// `.shipit/` in the config's directory; nothing is created yet.
    pub fn beside(config_directory: &Path) -> Self {
        StateDirectory {
            root: config_directory.join(".shipit"),
        }
    }

    /// Where artifacts, records and indexes lie.
    pub fn artifacts(&self) -> PathBuf {
        self.root.join("artifacts")
    }

    /// Where the logs of one build go.
    pub fn logs(&self, build: &str) -> PathBuf {
        self.root.join("logs").join(build)
    }

    /// All builds' logs.
    pub fn all_logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// Creates the directory, ignored by git whatever the repository's own .gitignore says.
    pub fn create(&self) -> Result<()> {
        create_directory(&self.root)?;
        let ignore = self.root.join(".gitignore");
        if !ignore.exists() {
            write_aside(&ignore, b"*\n")?;
        }
        Ok(())
    }

    /// Notes what was built.
    pub fn save_build(&self, state: &BuildState) -> Result<()> {
        self.save("build.json", state)
    }

    /// What was built last.
    pub fn load_build(&self) -> Result<Option<BuildState>> {
        self.load("build.json")
    }

    /// Notes what was published.
    pub fn save_publish(&self, state: &PublishState) -> Result<()> {
        self.save("publish.json", state)
    }

    /// What was published last.
    pub fn load_publish(&self) -> Result<Option<PublishState>> {
        self.load("publish.json")
    }

    fn save(&self, name: &str, state: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(state).map_err(|error| {
            CliError::from_source(Kind::Internal, error).context(format!("writing {name}"))
        })?;
        text.push(b'\n');
        write_aside(&self.root.join(name), &text)
    }

    fn load<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let path = self.root.join(name);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CliError::disk(format!("reading {}", path.display()), error)),
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| {
            CliError::from_source(Kind::Disk, error)
                .context(format!("reading {}", path.display()))
                .hint("it is damaged: run the command that writes it (build, publish) again")
        })
    }
}

/// Creates a directory and those above it.
pub fn create_directory(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path)
        .map_err(|error| CliError::disk(format!("creating {}", path.display()), error))
}

/// Writes a small file under a temporary name and renames it, so that a reader sees the old text or the new one.
pub fn write_aside(path: &Path, bytes: &[u8]) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(parent)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|error| CliError::disk(format!("writing {}", path.display()), error))
}

/// The artifact that a command is to publish: the named one, or the last one that was built here.
pub fn artifact_to_publish(config: &Settled, sha256: Option<&str>) -> Result<Artifact> {
    let state = StateDirectory::beside(&config.dir);
    let sha256 = match sha256 {
        Some(sha256) if sha256.len() == 64 => sha256.to_ascii_lowercase(),
        Some(short) => {
            return Err(
                CliError::new(Kind::Usage, format!("--artifact {short} is no SHA-256"))
                    .hint("give all of its 64 digits, as `shipit build --output json` prints them"),
            );
        }
        None => {
            let built = state.load_build()?.ok_or_else(|| {
                CliError::new(
                    Kind::Usage,
                    format!("nothing was built in {} yet", config.dir.display()),
                )
                .hint("run `shipit build` first, or name an artifact by --artifact SHA256")
            })?;
            if built.app != config.app {
                return Err(CliError::new(
                    Kind::Usage,
                    format!(
                        "the last build here is of {}, and the config is of {}",
                        built.app, config.app
                    ),
                )
                .hint("run `shipit build` again"));
            }
            built.artifact
        }
    };
    Artifact::open(&state.artifacts(), &sha256)
        .map_err(|error| CliError::from(error).hint("`shipit build` makes the same artifact again"))
}

/// The subject of an artifact's commit, when the last build here made it.
pub fn subject_of(config: &Settled, artifact: &Artifact) -> Result<Option<String>> {
    let built = StateDirectory::beside(&config.dir).load_build()?;
    let this = built.filter(|built| built.artifact == artifact.record.sha256);
    Ok(this.and_then(|built| built.subject))
}

/// The release that the last publish here made, for `kick --release published`.
pub fn published(config: &Settled) -> Result<String> {
    let published = StateDirectory::beside(&config.dir).load_publish()?;
    let fits = |state: &PublishState| state.app == config.app && state.stage == config.stage();
    match published.filter(fits) {
        Some(state) => Ok(state.release),
        None => Err(CliError::new(
            Kind::Usage,
            format!(
                "the last publish here was not of {} to {}",
                config.app,
                config.stage()
            ),
        )
        .hint("run `shipit publish` first, or name a release by its id, or `latest`")),
    }
}
