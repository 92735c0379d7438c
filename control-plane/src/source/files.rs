//! A folder of policy files, followed: what it holds is told again whenever it may have changed.
//!
//! The kernel's events are hints: contents are read and compared, and a slow poll finds what events missed. Files are named
//! relative to the folder, so that replicas that have it elsewhere tell the same. A folder that cannot be read, or holds no
//! policy file, changes nothing: the mesh stays as it is.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use outrigger_config::SourceFile;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use crate::{debounce::Debounce, error::SourceError};

/// Files rest when nothing has happened to them for this long: editors write in several steps.
const QUIET: Duration = Duration::from_millis(50);
/// Files that never rest are read after this.
const MOST: Duration = Duration::from_secs(1);
/// Between two looks without an event.
const POLL: Duration = Duration::from_secs(5);

/// What a source holds at one moment: all of its objects.
pub(crate) type Said = Vec<SourceFile>;

/// Reads the folder.
///
/// # Errors
/// When it cannot be read, or holds no policy file.
pub(crate) fn read(folder: &Path) -> Result<Said, SourceError> {
    let mut files = super::read(&[folder.to_path_buf()])?;
    for file in &mut files {
        let name = Path::new(&file.path).strip_prefix(folder).ok().and_then(Path::to_str);
        if let Some(name) = name.map(str::to_owned) {
            file.path = name;
        }
    }
    Ok(files)
}

/// Tells what the folder holds whenever that has changed, until nobody listens. Must run on a runtime with threads for
/// blocking work.
pub(crate) async fn follow(folder: PathBuf, tell: watch::Sender<Said>) {
    let (send, mut events) = mpsc::channel(16);
    let heard = move |_: notify::Result<notify::Event>| {
        // A full queue holds the hint already.
        let _ = send.try_send(());
    };
    let mut watcher = notify::recommended_watcher(heard);
    watch_anew(&mut watcher, &folder);
    let mut rest = Debounce::new(QUIET, MOST);
    let mut poll = tokio::time::interval_at(Instant::now() + POLL, POLL);
    let mut trouble = None;
    // What changed between the first reading and now.
    rest.note(Instant::now());
    loop {
        let due = rest.due().unwrap_or_else(|| Instant::now() + POLL);
        tokio::select! {
            Some(()) = events.recv() => {
                rest.note(Instant::now());
                continue;
            }
            () = sleep_until(due) => rest.clear(),
            _ = poll.tick() => watch_anew(&mut watcher, &folder),
            () = tell.closed() => return,
        }
        let place = folder.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || read(&place)).await else { continue };
        // Reading makes events of its own.
        while events.try_recv().is_ok() {}
        match read {
            Ok(said) => {
                trouble = None;
                tell.send_if_modified(|before| {
                    let changed = *before != said;
                    *before = said;
                    changed
                });
            }
            Err(error) => {
                let text = Some(error.to_string());
                if trouble != text {
                    tracing::error!("{error}; the mesh stays as it is");
                    trouble = text;
                }
            }
        }
    }
}

/// A folder that was replaced is another folder.
fn watch_anew(watcher: &mut notify::Result<RecommendedWatcher>, folder: &Path) {
    if let Ok(watcher) = watcher {
        // Not watched before the first time.
        let _ = watcher.unwatch(folder);
        if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
            tracing::debug!(%error, folder = %folder.display(), "not watched; the poll will notice");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn changes_are_told_by_names_relative_to_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.yaml"), "one").unwrap();
        let (tell, mut told) = watch::channel(read(folder.path()).unwrap());
        assert_eq!(told.borrow_and_update()[0].path, "a.yaml");
        let following = tokio::spawn(follow(folder.path().to_path_buf(), tell));
        fs::write(folder.path().join("b.yaml"), "two").unwrap();
        let two = told.wait_for(|said| said.len() == 2);
        tokio::time::timeout(Duration::from_secs(20), two).await.unwrap().unwrap();
        fs::remove_file(folder.path().join("a.yaml")).unwrap();
        let one = told.wait_for(|said| said.len() == 1 && said[0].text == b"two");
        tokio::time::timeout(Duration::from_secs(20), one).await.unwrap().unwrap();
        // An empty folder is more likely a mistake than a mesh without policy.
        fs::remove_file(folder.path().join("b.yaml")).unwrap();
        assert!(read(folder.path()).is_err());
        assert_eq!(told.borrow().len(), 1);
        drop(told);
        tokio::time::timeout(Duration::from_secs(20), following).await.unwrap().unwrap();
    }
}
