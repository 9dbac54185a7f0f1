//! What was seen lately: a plan may start from it, since guards check what it read,
//! and so most mutations take one round trip instead of two.
//!
//! Only plans use guesses, and never for an answer that no guard confirms.

use std::{collections::HashMap, hash::Hash};

use parking_lot::Mutex;

/// Entries of one generation, unless said otherwise; two are kept.
const ROOM: usize = 4096;

struct Generations<K, V> {
    room: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

/// A bounded memory of values.
pub(crate) struct Guesses<K, V> {
    inner: Mutex<Generations<K, V>>,
}

impl<K, V> Default for Guesses<K, V> {
    fn default() -> Self {
        Self::with_room(ROOM)
    }
}

impl<K, V> Guesses<K, V> {
    /// A memory of so many entries, or up to twice as many.
    pub(crate) fn with_room(room: usize) -> Self {
        Self {
            inner: Mutex::new(Generations {
                room,
                young: HashMap::new(),
                old: HashMap::new(),
            }),
        }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Guesses<K, V> {
    /// What was seen, if it is remembered.
    pub(crate) fn get(&self, item: &K) -> Option<V> {
        let mut inner = self.inner.lock();
        if let Some(raw) = inner.young.get(item) {
            return Some(raw.clone());
        }
        let raw = inner.old.remove(item)?;
        inner.put(item.clone(), raw.clone());
        Some(raw)
    }

    /// Remembers what was seen. Only small values are worth it.
    pub(crate) fn put(&self, item: K, raw: V) {
        self.inner.lock().put(item, raw);
    }

    /// Forgets what was not used since the call before the last one.
    pub(crate) fn age(&self) {
        let mut inner = self.inner.lock();
        inner.old = std::mem::take(&mut inner.young);
    }

    /// Forgets one that changed in a way that is not known here.
    pub(crate) fn forget(&self, item: &K) {
        let mut inner = self.inner.lock();
        inner.young.remove(item);
        inner.old.remove(item);
    }
}

impl<K: Eq + Hash, V> Generations<K, V> {
    fn put(&mut self, item: K, raw: V) {
        if self.young.len() >= self.room {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&item);
        self.young.insert(item, raw);
    }
}
