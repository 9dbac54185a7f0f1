//! What was seen lately: a plan may start from it, since guards check what it read,
//! and so most mutations take one round trip instead of two.
//!
//! Only plans use guesses, and never for an answer that no guard confirms.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::raw::{Item, Raw};

/// Entries of one generation; two are kept.
const ROOM: usize = 4096;

#[derive(Default)]
struct Generations {
    young: HashMap<Item, Raw>,
    old: HashMap<Item, Raw>,
}

/// A bounded memory of values.
#[derive(Default)]
pub(super) struct Guesses {
    inner: Mutex<Generations>,
}

impl Guesses {
    /// What was seen, if it is remembered.
    pub(super) fn get(&self, item: &Item) -> Option<Raw> {
        let mut inner = self.inner.lock();
        if let Some(raw) = inner.young.get(item) {
            return Some(raw.clone());
        }
        let raw = inner.old.remove(item)?;
        inner.put(item.clone(), raw.clone());
        Some(raw)
    }

    /// Remembers what was seen. Only small values are worth it.
    pub(super) fn put(&self, item: Item, raw: Raw) {
        if matches!(item, Item::Text(_) | Item::Field(..) | Item::Filled(_))
            && raw.bytes().is_none_or(|bytes| bytes.len() < 256)
        {
            self.inner.lock().put(item, raw);
        }
    }

    /// Forgets one that changed in a way that is not known here.
    pub(super) fn forget(&self, item: &Item) {
        let mut inner = self.inner.lock();
        inner.young.remove(item);
        inner.old.remove(item);
    }
}

impl Generations {
    fn put(&mut self, item: Item, raw: Raw) {
        if self.young.len() >= ROOM {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&item);
        self.young.insert(item, raw);
    }
}
