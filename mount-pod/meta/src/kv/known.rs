//! What one run of a plan knows of the store, and what it has still to ask.

use std::{collections::HashMap, ops::Range};

use bytes::Bytes;
use carafe_types::{Error, Result};

use super::store::{Found, Guard, Key, Pair, Query, Revision, Seen, Store};
use crate::{engine::Terms, guesses::Guesses, retry::Failure};

/// Values that were seen lately, by key.
pub(super) type Recent = Guesses<Key, Seen>;

/// Keys of a whole range that are read at a time, and at most.
const PAGE: usize = 500;
const MOST: usize = 20_000;
/// Values up to this size are remembered.
const SMALL: usize = 1024;

/// One thing to know.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Item {
    /// What lies at a key.
    One(Key),
    /// All of a range, with values or without.
    All(Range<Key>, bool),
    /// The first key of a range.
    First(Range<Key>),
}

/// What is known of it.
#[derive(Clone, Debug)]
pub(super) enum Fact {
    /// Of [`Item::One`].
    One(Seen),
    /// Of the others, and when that was so.
    Many(Vec<Pair>, Revision),
}

/// What a run knows.
#[derive(Default)]
pub(super) struct Known {
    facts: HashMap<Item, Fact>,
    /// The state of the store that is being looked at.
    at: Option<Revision>,
}

impl Known {
    pub(super) fn get(&self, item: &Item) -> Option<&Fact> {
        self.facts.get(item)
    }

    /// Forgets all but these keys, as they are at a newer revision.
    pub(super) fn start_again(&mut self, at: Revision, pairs: Vec<Pair>) {
        self.facts.clear();
        self.at = Some(at);
        for (key, seen) in pairs {
            self.facts.insert(Item::One(key), Fact::One(seen));
        }
    }

    /// Asks for what is missing, all of it in one trip.
    pub(super) async fn fetch<S: Store>(
        &mut self,
        store: &S,
        terms: Terms,
        missing: &[Item],
        recent: &Recent,
    ) -> Result<(), Failure> {
        let queries: Vec<Query> = missing.iter().map(Item::query).collect();
        let (at, found) = store.look(terms, self.at, &queries).await?;
        self.at = Some(at);
        for (item, found) in missing.iter().zip(found) {
            let fact = match (item, found) {
                (Item::One(key), Found::One(seen)) => {
                    remember(recent, key, &seen);
                    Fact::One(seen)
                }
                (Item::All(range, keys_only), Found::Page(pairs, more)) => {
                    let all = rest(store, terms, at, range, *keys_only, pairs, more).await?;
                    Fact::Many(all, at)
                }
                (_, Found::Page(pairs, _)) => Fact::Many(pairs, at),
                (_, Found::One(_)) => return Err(unexpected()),
            };
            self.facts.insert(item.clone(), fact);
        }
        Ok(())
    }
}

/// Keeps a value for guesses, if it is small.
pub(super) fn remember(recent: &Recent, key: &Key, seen: &Seen) {
    if seen.value.as_ref().map_or(0, Bytes::len) <= SMALL {
        recent.put(key.clone(), seen.clone());
    } else {
        recent.forget(key);
    }
}

fn unexpected() -> Failure {
    Failure::Final(Error::Io(
        "the store's answer is to another question".into(),
    ))
}

/// The pages behind the first one, from the same state.
async fn rest<S: Store>(
    store: &S,
    terms: Terms,
    at: Revision,
    range: &Range<Key>,
    keys_only: bool,
    mut pairs: Vec<Pair>,
    mut more: bool,
) -> Result<Vec<Pair>, Failure> {
    while more && let Some((last, _)) = pairs.last() {
        if pairs.len() >= MOST {
            let what = format!("over {MOST} names or attributes of one inode are too many");
            return Err(Failure::Final(Error::Io(what)));
        }
        let query = Query::Scan {
            range: after(last)..range.end.clone(),
            limit: PAGE,
            keys_only,
        };
        let (_, found) = store.look(terms, Some(at), &[query]).await?;
        let Some(Found::Page(page, next)) = found.into_iter().next() else {
            return Err(unexpected());
        };
        pairs.extend(page);
        more = next;
    }
    Ok(pairs)
}

/// The key that follows `key` at once.
pub(super) fn after(key: &[u8]) -> Key {
    [key, b"\0"].concat()
}

impl Item {
    fn query(&self) -> Query {
        let scan = |range: &Range<Key>, limit, keys_only| Query::Scan {
            range: range.clone(),
            limit,
            keys_only,
        };
        match self {
            Self::One(key) => Query::Get(key.clone()),
            Self::All(range, keys_only) => scan(range, PAGE, *keys_only),
            Self::First(range) => scan(range, 1, true),
        }
    }

    /// What makes sure that it is still so at the commit.
    pub(super) fn guard(&self, fact: &Fact) -> Guard {
        match (self, fact) {
            (Self::One(key), Fact::One(seen)) => Guard::Same(key.clone(), seen.clone()),
            // One entry that stays is enough for a directory not to be empty.
            (Self::First(_), Fact::Many(pairs, _)) if let [(key, seen)] = pairs.as_slice() => {
                Guard::Same(key.clone(), seen.clone())
            }
            (Self::All(range, _) | Self::First(range), Fact::Many(pairs, at)) => Guard::Range {
                range: range.clone(),
                pairs: pairs.clone(),
                at: *at,
            },
            // Facts are stored under the items that they answer.
            (Self::One(key), Fact::Many(..)) => Guard::Same(key.clone(), Seen::default()),
            (Self::All(range, _) | Self::First(range), Fact::One(_)) => Guard::Range {
                range: range.clone(),
                pairs: Vec::new(),
                at: Revision(0),
            },
        }
    }
}
