//! One type of resources on one stream: what the proxy asked for, what it has, and so what it has to be told.
//!
//! Pure: requests and snapshots in, a delta out. A resource is sent when its version differs from the one that the proxy has,
//! and never else, but for one that is asked for by name, which the protocol wants answered each time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use outrigger_config::wire::ResourceType;

use crate::{
    scope::Scope,
    snapshot::{Entry, Snapshot},
};

/// The name that asks for everything.
const WILDCARD: &str = "*";

/// Bytes of resources in one answer, give or take the last resource: what a proxy that reads slowly holds here.
const ANSWER_BYTES: usize = 512 * 1024;

/// Names that one stream may ask for by type. A proxy asks for 10,000 at most.
pub(crate) const MOST_NAMES: usize = 20_000;

/// What a proxy is told of one type.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Delta {
    /// New and changed resources.
    pub(crate) resources: Vec<Arc<Entry>>,
    /// Names that mean nothing any more, or never did.
    pub(crate) removed: Vec<String>,
    /// Whether other names than the canonical ones are to be told.
    pub(crate) by_name: bool,
}

/// A proxy asks for more names than it may.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

/// What a proxy asked for, and what it has.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    kind: ResourceType,
    asked: bool,
    wildcard: bool,
    /// Something has to be said even if nothing changed: the first answer to a wildcard says that this is all.
    owed: bool,
    names: BTreeSet<String>,
    /// Canonical names and versions that the proxy has.
    has: BTreeMap<Arc<str>, Arc<str>>,
    /// Names of which the proxy knows that they mean nothing.
    told_missing: BTreeSet<String>,
}

impl Subscriptions {
    /// Nothing asked for.
    pub(crate) fn new(kind: ResourceType) -> Self {
        Self {
            kind,
            asked: false,
            wildcard: false,
            owed: false,
            names: BTreeSet::new(),
            has: BTreeMap::new(),
            told_missing: BTreeSet::new(),
        }
    }

    /// Takes what a request says. `initial` are the versions that a proxy has from a stream before this one; they count in
    /// the first request alone. A first request without names asks for everything.
    ///
    /// # Errors
    /// More names than a stream may ask for.
    pub(crate) fn ask(
        &mut self,
        subscribe: Vec<String>,
        unsubscribe: &[String],
        initial: BTreeMap<String, String>,
        snapshot: &Snapshot,
    ) -> Result<(), TooMany> {
        if self.names.len() + subscribe.len() > MOST_NAMES {
            return Err(TooMany);
        }
        let first = !std::mem::replace(&mut self.asked, true);
        if first && subscribe.is_empty() {
            (self.wildcard, self.owed) = (true, true);
        }
        for name in subscribe {
            if name == WILDCARD {
                self.owed |= !self.wildcard;
                self.wildcard = true;
                continue;
            }
            if let Some(entry) = snapshot.find(self.kind, &name) {
                self.has.remove(&entry.name);
            }
            self.told_missing.remove(&name);
            self.names.insert(name);
        }
        if first {
            self.has.extend(initial.into_iter().map(|(name, version)| (name.into(), version.into())));
        }
        for name in unsubscribe {
            if name == WILDCARD {
                self.wildcard = false;
            }
            self.names.remove(name);
            self.told_missing.remove(name);
        }
        self.forget_unasked(unsubscribe, snapshot);
        Ok(())
    }

    /// A proxy that unsubscribes forgets by itself: it is not told of a removal.
    fn forget_unasked(&mut self, unsubscribed: &[String], snapshot: &Snapshot) {
        if self.wildcard {
            return;
        }
        let means = |name: &String| snapshot.find(self.kind, name).map(|entry| &entry.name);
        let asked: BTreeSet<_> = self.names.iter().filter_map(means).collect();
        for name in unsubscribed.iter().filter_map(means).filter(|name| !asked.contains(name)) {
            self.has.remove(name);
        }
    }

    /// What has to be said, which counts as said; `None`: nothing.
    pub(crate) fn next(&mut self, scope: &Scope, snapshot: &Snapshot) -> Option<Delta> {
        let mut delta = Delta { by_name: !self.wildcard, ..Delta::default() };
        let (mut bytes, mut whole) = (0, true);
        for entry in self.wanted(scope, snapshot) {
            if self.has.get(&entry.name) == Some(&entry.version) {
                continue;
            }
            if bytes > ANSWER_BYTES {
                whole = false;
                break;
            }
            bytes += entry.bytes.len();
            delta.resources.push(entry);
        }
        for entry in &delta.resources {
            self.has.insert(entry.name.clone(), entry.version.clone());
        }
        // What goes comes last: until then it may be pointed at by what a later answer changes.
        if whole {
            self.removals(snapshot, &mut delta.removed);
        }
        let says = !delta.resources.is_empty() || !delta.removed.is_empty() || (self.owed && whole);
        self.owed &= !whole;
        says.then_some(delta)
    }

    fn wanted(&self, scope: &Scope, snapshot: &Snapshot) -> Vec<Arc<Entry>> {
        let sees = |entry: &&Arc<Entry>| scope.may_see(self.kind, &entry.name);
        if self.wildcard {
            return snapshot.entries(self.kind).values().filter(sees).cloned().collect();
        }
        let found = self.names.iter().filter_map(|name| snapshot.find(self.kind, name)).filter(sees);
        let by_name: BTreeMap<&Arc<str>, &Arc<Entry>> = found.map(|entry| (&entry.name, entry)).collect();
        by_name.into_values().cloned().collect()
    }

    fn removals(&mut self, snapshot: &Snapshot, removed: &mut Vec<String>) {
        let entries = snapshot.entries(self.kind);
        self.has.retain(|name, _| {
            let stays = entries.contains_key(name);
            if !stays {
                removed.push(name.to_string());
            }
            stays
        });
        for name in &self.names {
            if snapshot.find(self.kind, name).is_some() {
                self.told_missing.remove(name);
            } else if self.told_missing.insert(name.clone()) && !removed.contains(name) {
                removed.push(name.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests;
