//! What the tests of pruning share.

use std::collections::BTreeMap;

use crate::kick::{Action, Ended, KICK_VERSION, Kick, KickId, KickResult, Started};
use crate::{Release, ReleaseArtifact, ReleaseId, RoleRelease, layout};

pub(crate) const NOW: i64 = 1_795_268_715;

/// A release of production at a time, with an artifact of its own.
pub(crate) fn release(time: i64, roles: &[&str]) -> Release {
    let id = ReleaseId::new(time, "3074f4622d1bc2b6b7de1fae7f0e2f8c4f3c3f6d").unwrap();
    let sha256 = shipit_artifact::sha256(id.as_str().as_bytes()).to_string();
    let role = |role: &&str| {
        let found = RoleRelease {
            manifest: layout::manifest_key("shop", "production", &id, role).unwrap(),
            sha256: "2".repeat(64),
            once: None,
        };
        ((*role).to_owned(), found)
    };
    Release {
        version: 1,
        app: "shop".into(),
        stage: "production".into(),
        revision: "3074f46".repeat(6)[..40].to_owned(),
        artifact: ReleaseArtifact {
            key: layout::artifact_key("shop", &sha256, "tar.zst").unwrap(),
            sha256,
            size: 1000,
            record_sha256: "1".repeat(64),
        },
        roles: roles.iter().map(role).collect::<BTreeMap<_, _>>(),
        who: "jenkins".into(),
        time,
        nonce: "n".into(),
        subject: None,
        promoted: None,
        id,
    }
}

/// A kick of a release that went well.
pub(crate) fn kick(time: i64, role: &str, release: &str) -> Kick {
    let kick = KickId::new(time).unwrap();
    let started = Started {
        version: KICK_VERSION,
        kick: kick.clone(),
        app: "shop".into(),
        stage: "production".into(),
        role: role.into(),
        action: Action::Kick,
        release: release.into(),
        revision: "3074f46".repeat(6)[..40].to_owned(),
        live: None,
        lock: None,
        batch: None,
        transport: "exec".into(),
        whole: true,
        followed: true,
        hosts: Vec::new(),
        expected: None,
        who: "jenkins".into(),
        reason: None,
        time,
    };
    let ended = Ended {
        version: KICK_VERSION,
        kick,
        result: KickResult::Succeeded,
        reason: None,
        moved_live: true,
        once: false,
        once_on: None,
        hosts: BTreeMap::new(),
        time: time + 5,
        seconds: 5.0,
    };
    Kick {
        started,
        ended: Some(ended),
    }
}
