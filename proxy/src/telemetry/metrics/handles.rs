//! Handles by label values: asked for twice, they are the same; used by nobody, they go.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Weak},
};

/// Handles by label values, as long as somebody uses them.
#[derive(Debug)]
pub(super) struct Handles<K, H> {
    pub(super) by_key: HashMap<K, Weak<H>>,
    sweep_at: usize,
}

impl<K: Hash + Eq, H> Handles<K, H> {
    pub(super) fn new() -> Self {
        Self { by_key: HashMap::new(), sweep_at: 64 }
    }

    pub(super) fn find_or_create(&mut self, key: K, create: impl FnOnce(&K) -> H) -> Arc<H> {
        if let Some(handle) = self.by_key.get(&key).and_then(Weak::upgrade) {
            return handle;
        }
        if self.by_key.len() >= self.sweep_at {
            self.by_key.retain(|_, handle| handle.strong_count() > 0);
            self.sweep_at = (self.by_key.len() * 2).max(64);
        }
        let handle = Arc::new(create(&key));
        self.by_key.insert(key, Arc::downgrade(&handle));
        handle
    }

    pub(super) fn alive(&self) -> Vec<Arc<H>> {
        self.by_key.values().filter_map(Weak::upgrade).collect()
    }
}
