//! Where credentials come from, and when there may be others.
//!
//! A source says that something may have changed, and is then asked what it has: credentials that are checked and whole,
//! or why there are none. What becomes of them is `rotation.rs`'s to say.

use std::{path::PathBuf, time::Duration};

use outrigger_config::model::{IdentityFiles, IdentitySource};

use super::{Credentials, Terms, files};
use crate::{
    discovery::watch::{Changes, Pace},
    pem::{Contents, Unusable},
};

/// Files are looked at as soon as nothing happens to them for a moment: what is not whole yet is found out by what it
/// holds, not by waiting.
const PACE: Pace =
    Pace { quiet: Duration::from_millis(20), most: Duration::from_secs(1), poll: Duration::from_secs(10) };

/// What a source has.
pub(super) struct Brought {
    /// Tells it from what the source had before.
    pub(super) signature: u64,
    /// The credentials, or why they are none.
    pub(super) credentials: Result<Credentials, Unusable>,
}

/// A source that is followed.
#[derive(Debug)]
pub(super) enum Source {
    /// Files that somebody else writes.
    Files { files: IdentityFiles, paths: [PathBuf; 3], changes: Changes },
}

impl Source {
    /// Begins to follow a source. What happened before counts as a change.
    pub(super) fn follow(source: &IdentitySource) -> Self {
        let IdentitySource::Files(files) = source;
        let paths = files::paths(files);
        let mut changes = Changes::new(&paths, PACE);
        changes.touch();
        Self::Files { files: files.clone(), paths, changes }
    }

    /// Waits until there may be something else. May be dropped and begun again.
    pub(super) async fn changed(&mut self) {
        let Self::Files { changes, .. } = self;
        changes.next().await;
    }

    /// What it has now; `None`: what has the signature `in_use`.
    pub(super) async fn look(&mut self, in_use: u64, terms: Terms) -> Option<Brought> {
        let Self::Files { files, paths, changes } = self;
        changes.arm();
        let (files, paths) = (files.clone(), paths.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let contents = Contents::read(&paths);
            let signature = contents.signature();
            let now = std::time::SystemTime::now();
            let check = || files::credentials(&files, &contents, &terms, now);
            (signature != in_use).then(|| Brought { signature, credentials: check() })
        });
        // A panic was reported by its hook; what is in use stays.
        looked.await.unwrap_or(None)
    }
}
