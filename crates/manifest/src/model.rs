//! What a manifest says: stretcher's keys, and the `shipit:` map beside them that stretcher ignores.
//!
//! Reading lies in `parse`, judging in `check`; nothing here does either.

use serde::{Deserialize, Serialize};

/// stretcher's instruction to one host. An absent key and an empty one mean the same, as they do to stretcher.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Manifest {
    /// Where the artifact is: a `s3://`, `gs://`, `http(s)://` or `file://` URL. `None`: commands only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src: Option<String>,
    /// The artifact's digest in hex: MD5, SHA-1, SHA-256 or SHA-512 by its length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// The directory that the artifact's tree is synced into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dest: Option<String>,
    /// The mode of the synced tree's top directory; stretcher's default is 0755.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dest_mode: Option<u32>,
    /// What runs around the sync.
    pub commands: Commands,
    /// rsync patterns that are neither synced nor deleted in dest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excludes: Vec<String>,
    /// A file of such patterns, relative to the artifact's tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude_from: Option<String>,
    /// `rsync` (also when absent) or `mv`; any other name makes the deploy fail on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync_strategy: Option<String>,
    /// What shipit wrote to bind the record; absent from manifests of other makers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shipit: Option<Binding>,
}

/// The manifest's commands, each run by `sh -c`, in the order of their lists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Commands {
    /// After the artifact is fetched and checked, before it is extracted.
    pub pre: Vec<String>,
    /// After the sync.
    pub post: Vec<String>,
    /// After all went well; the log comes on standard input.
    pub success: Vec<String>,
    /// After a failure from the fetch on; the log comes on standard input.
    pub failure: Vec<String>,
}

impl Commands {
    /// Whether no list has a command.
    pub fn is_empty(&self) -> bool {
        self.lists().iter().all(|(_, list)| list.is_empty())
    }

    /// The four lists with their names, in the order in which they run.
    pub fn lists(&self) -> [(&'static str, &[String]); 4] {
        [
            ("pre", &self.pre),
            ("post", &self.post),
            ("success", &self.success),
            ("failure", &self.failure),
        ]
    }
}

/// The manifest's `shipit:` map: it names the release and binds the record to the checksum above it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// SHA-256 of the artifact's record, lower-case hex; absent in a manifest with commands only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_sha256: Option<String>,
    /// The app.
    pub app: String,
    /// The stage that the release was published to.
    pub stage: String,
    /// The role that the manifest is for.
    pub role: String,
    /// The release's id.
    pub release: String,
    /// The role's dest, which holds `current` when the layout is `releases`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dest: Option<String>,
    /// How the role's dest is laid out.
    pub layout: Layout,
    /// How a release gets the files of its layers; means something to `shipit apply` alone. A manifest that does not name it has
    /// commands that may know nothing of hard links, and give the files of a layer away with the release's.
    #[serde(default = "Link::unnamed")]
    pub link: Link,
    /// Where hosts report to; `consul` is the one place that is known. Absent: nowhere, or by commands of the manifest's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
    /// The category under which consul-kv-dashboard shows the reports, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dashboard: Option<String>,
}

impl Binding {
    /// Whether hosts report to Consul, so that `shipit apply` does it by itself.
    pub fn reports_to_consul(&self) -> bool {
        self.report.as_deref() == Some(CONSUL)
    }
}

/// The value of `report:` for Consul.
const CONSUL: &str = "consul";
/// How a command begins that reports, and that `shipit apply` leaves out when it reports by itself.
const REPORT_COMMAND: &str = "# shipit: report ";

/// Whether a command of a manifest does nothing but report.
pub fn is_report_command(command: &str) -> bool {
    command.starts_with(REPORT_COMMAND)
}

/// How a release gets the files of the dependency layers that a host holds (layout `releases` alone).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Link {
    /// By reflink, else, where root applies it, by hard link, else by copy. A hard-linked file stays root's.
    #[default]
    Auto,
    /// By reflink, else by copy: the app owns its files and may write in place.
    Copy,
    /// The topmost directories of each layer are symlinks to the layer.
    Symlink,
}

impl Link {
    /// What a manifest means that names none.
    fn unnamed() -> Self {
        Self::Copy
    }
}

/// How a role's dest is laid out on its hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `releases/<id>` directories, a `current` link, `shared/`.
    #[default]
    Releases,
    /// Synced into dest itself.
    Plain,
    /// No artifact: commands alone.
    Commands,
}

impl Layout {
    /// The name as the config and the manifest write it.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Releases => "releases",
            Layout::Plain => "plain",
            Layout::Commands => "commands",
        }
    }
}
