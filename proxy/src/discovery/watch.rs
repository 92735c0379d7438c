//! Tells when files (policy, and the certificates that it names) may have changed and have come to rest.
//!
//! The kernel's events are hints and no more: folders are watched instead of files, because editors and ConfigMaps
//! replace files instead of writing them, and whoever is told reads and compares the contents. A slow poll finds what
//! the events missed (network file systems, an exhausted inotify limit, links that moved further up).

mod places;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{
    Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind},
};
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until},
};

use self::places::Places;

/// Events that wait to be looked at. If there are more, the hint that something changed is among them already.
const EVENTS: usize = 1024;

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Files rest when nothing has happened to them for this long.
    pub(crate) quiet: Duration,
    /// Files that never rest are read after this.
    pub(crate) most: Duration,
    /// Between two polls.
    pub(crate) poll: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { quiet: Duration::from_millis(75), most: Duration::from_secs(1), poll: Duration::from_secs(10) }
    }
}

/// Why [`Changes::next`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// Something happened to the files, and they have come to rest.
    Changed,
    /// It is time to compare the contents. If they differ, call [`Changes::touch`]: they may not be at rest.
    Poll,
}

/// What an event says about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hint {
    /// Somebody is writing it.
    Writing,
    /// It is whole: closed, renamed, linked, removed.
    Whole,
}

/// Decides when files have come to rest. A pure core: the clock is an argument.
#[derive(Debug, Default)]
struct Rest {
    first: Option<Instant>,
    last: Option<Instant>,
    writing: bool,
}

impl Rest {
    fn note(&mut self, hint: Hint, now: Instant) {
        self.first.get_or_insert(now);
        self.last = Some(now);
        self.writing = hint == Hint::Writing;
    }

    /// When the files should be read. A file that is being written is given all the time there is: half of a policy may
    /// be a valid policy.
    fn due(&self, pace: &Pace) -> Option<Instant> {
        let end = self.first? + pace.most;
        if self.writing { Some(end) } else { Some(end.min(self.last? + pace.quiet)) }
    }
}

/// Follows the changes of files and folders.
#[derive(Debug)]
pub(crate) struct Changes {
    paths: Vec<PathBuf>,
    also: Vec<PathBuf>,
    pace: Pace,
    watcher: Option<RecommendedWatcher>,
    events: mpsc::Receiver<Event>,
    places: Places,
    rest: Rest,
    poll: Interval,
}

impl Changes {
    /// Begins to follow `paths`; relative ones are taken from the current folder, now.
    pub(crate) fn new(paths: &[PathBuf], pace: Pace) -> Self {
        let (send, events) = mpsc::channel(EVENTS);
        let heard = move |event: notify::Result<Event>| {
            // An error is a lost event, most likely an overflow of the kernel's queue: something has changed.
            let _ = send.try_send(event.unwrap_or_else(|_| Event::new(EventKind::Other)));
        };
        // Links are followed here, one by one, and not by the watcher, which would not notice that they move.
        let watcher = RecommendedWatcher::new(heard, Config::default().with_follow_symlinks(false));
        if let Err(error) = &watcher {
            tracing::warn!(%error, "changes of files are found by a poll each {:?} only", pace.poll);
        }
        Self::with(paths, pace, watcher.ok(), events)
    }

    fn with(
        paths: &[PathBuf],
        pace: Pace,
        watcher: Option<RecommendedWatcher>,
        events: mpsc::Receiver<Event>,
    ) -> Self {
        let mut poll = interval_at(Instant::now() + pace.poll, pace.poll);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut changes = Self {
            paths: paths.iter().map(absolute).collect(),
            also: Vec::new(),
            pace,
            watcher,
            events,
            places: Places::default(),
            rest: Rest::default(),
            poll,
        };
        changes.arm();
        changes
    }

    /// Watches anew. To be called before files are read again: a folder that was replaced is another folder, and links
    /// may point elsewhere.
    pub(crate) fn arm(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        for folder in &self.places.folders {
            // Gone with its folder, most likely.
            let _ = watcher.unwatch(folder);
        }
        self.places = Places::of(&[self.paths.as_slice(), &self.also].concat());
        self.places.folders.retain(|folder| match watcher.watch(folder, RecursiveMode::NonRecursive) {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(folder = %folder.display(), %error, "not watched; the poll will notice");
                false
            }
        });
    }

    /// Follows these files too, and no longer those of the last call. What happened to them before is not known: that
    /// counts as a change.
    pub(crate) fn also(&mut self, files: Vec<PathBuf>) {
        let mut files: Vec<_> = files.iter().map(absolute).collect();
        files.sort();
        files.dedup();
        if self.also != files {
            self.also = files;
            self.arm();
            self.touch();
        }
    }

    /// Something has changed, as far as the caller knows.
    pub(crate) fn touch(&mut self) {
        self.rest.note(Hint::Whole, Instant::now());
    }

    /// Waits until there is a reason to read the files.
    pub(crate) async fn next(&mut self) -> Wake {
        loop {
            let due = self.rest.due(&self.pace);
            let rested = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Events first: a file that is being written at this moment is not at rest.
                biased;
                Some(event) = self.events.recv() => {
                    if let Some(hint) = hint(&event, |path| self.places.concern(path)) {
                        self.rest.note(hint, Instant::now());
                    }
                }
                () = rested => {
                    self.rest = Rest::default();
                    return Wake::Changed;
                }
                _ = self.poll.tick() => return Wake::Poll,
            }
        }
    }
}

fn absolute(path: &PathBuf) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.clone())
}

/// What an event says, if it concerns policy files at all. Reading files makes events too; those say nothing.
fn hint(event: &Event, concerns: impl Fn(&Path) -> bool) -> Option<Hint> {
    let known = event.paths.is_empty() || event.paths.iter().any(|path| concerns(path));
    match event.kind {
        _ if !known => None,
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Hint::Whole),
        EventKind::Access(_) => None,
        EventKind::Modify(ModifyKind::Data(_)) => Some(Hint::Writing),
        _ => Some(Hint::Whole),
    }
}

#[cfg(test)]
mod tests;
