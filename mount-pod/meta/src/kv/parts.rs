//! Work beside a plan's transaction, in many small ones: see [`super::split`].

use std::{ops::Range, sync::Arc};

use carafe_types::{Ino, Result, SessionId};

use super::{
    Kv, Run,
    apply::{self, put_list},
    keys,
    known::after,
    lists, locks,
    store::{Commit, Key, Store, Transaction},
    view::View,
};
use crate::{
    engine::Terms,
    ops::{Mutation, Read, Reads, Stop},
    retry::{Failure, Pause},
};

/// Keys that one step changes.
const STEP: usize = 64;
/// Chunks that one step changes: their lists are long.
const CHUNKS: usize = 16;

/// Writes that depend on reads, ready to run as often as it takes.
type WriteFn = Arc<dyn Fn(&View<'_>) -> Read<()> + Send + Sync>;

impl<S: Store> Kv<S> {
    /// Runs writes until they are committed.
    async fn write(&self, terms: Terms, write: WriteFn) -> Result<()> {
        let mut run = Run::new();
        loop {
            let (outcome, notes) = {
                let view = View::new(&run.known, &self.recent, run.guesses);
                let outcome = write(&view);
                (outcome, view.into_notes())
            };
            match outcome {
                Err(Stop::Missing) => {
                    self.fetch(terms, &notes, &mut run).await?;
                    continue;
                }
                Err(Stop::Answer(error)) => return Err(error),
                Ok(()) if notes.transaction.writes.is_empty() => return Ok(()),
                Ok(()) => {}
            }
            self.check_size(&notes.transaction)?;
            match self.store.commit(terms, &notes.transaction).await {
                Ok(Commit::Done(version)) => {
                    self.remember(notes.transaction, version);
                    return Ok(());
                }
                Ok(Commit::Conflict(at, pairs)) => {
                    run.changed(terms, at, pairs).await?;
                }
                Err(Failure::Lost(reason)) => {
                    run.start_again();
                    run.pause.wait(terms, &reason).await?;
                }
                Err(Failure::Final(error)) => return Err(error),
            }
        }
    }

    /// Does what must be done before these mutations.
    pub(super) async fn prepare_for(&self, terms: Terms, mutations: &[Mutation]) -> Result<()> {
        for mutation in mutations {
            if let Mutation::DropSession { session } = mutation {
                self.clear_session(terms, *session).await?;
            }
        }
        Ok(())
    }

    /// Lets a session's locks, its sustained inodes and its records go.
    async fn clear_session(&self, terms: Terms, session: SessionId) -> Result<()> {
        let flocks = lists::locked(&self.store, terms, b"F", move |value| {
            locks::parse_flocks(value)
                .is_some_and(|rows| rows.iter().any(|row| row.session == session))
        });
        let flocks = flocks.await?;
        let plocks = lists::locked(&self.store, terms, b"P", move |value| {
            locks::parse_plocks(value)
                .is_some_and(|rows| rows.iter().any(|row| row.session == session))
        });
        let plocks = plocks.await?;
        for inos in flocks.chunks(STEP) {
            let inos = inos.to_vec();
            self.write(terms, Arc::new(move |view| unflock(view, &inos, session)))
                .await?;
        }
        for inos in plocks.chunks(STEP) {
            let inos = inos.to_vec();
            self.write(terms, Arc::new(move |view| unlock(view, &inos, session)))
                .await?;
        }
        self.clear(terms, keys::under(keys::sustained_of(session)))
            .await?;
        self.clear(terms, keys::under(keys::operations(session)))
            .await
    }

    /// Removes all keys of a range that nobody adds to any more.
    pub(super) async fn clear(&self, terms: Terms, range: Range<Key>) -> Result<()> {
        let mut pause = Pause::default();
        let mut range = range;
        loop {
            let (pairs, more) = lists::page(&self.store, terms, &range, STEP, true).await?;
            let Some((last, _)) = pairs.last() else {
                return Ok(());
            };
            range.start = after(last);
            let transaction = Transaction {
                guards: Vec::new(),
                writes: pairs.into_iter().map(|(key, _)| (key, None)).collect(),
            };
            loop {
                match self.store.commit(terms, &transaction).await {
                    Ok(_) => break,
                    Err(Failure::Lost(reason)) => pause.wait(terms, &reason).await?,
                    Err(Failure::Final(error)) => return Err(error),
                }
            }
            self.remember(transaction, 0);
            if !more {
                return Ok(());
            }
        }
    }

    /// Makes holes, a few chunks at a time; a file that is gone has none.
    pub(super) async fn make_holes(&self, terms: Terms, holes: &[Mutation]) -> Result<()> {
        let mut singles: Vec<(Ino, Mutation)> = Vec::new();
        for hole in holes {
            match hole {
                Mutation::ZeroChunks { ino, after, before } => {
                    let range = keys::chunk(*ino, after + 1)..keys::chunk(*ino, *before);
                    for index in lists::chunks(&self.store, terms, range).await? {
                        let (after, before) = (index - 1, index + 1);
                        let one = Mutation::ZeroChunks {
                            ino: *ino,
                            after,
                            before,
                        };
                        singles.push((*ino, one));
                    }
                }
                Mutation::AppendSlice { ino, .. } => singles.push((*ino, hole.clone())),
                _ => {}
            }
        }
        for part in singles.chunks(CHUNKS) {
            let part = part.to_vec();
            self.write(terms, Arc::new(move |view| zero(view, &part)))
                .await?;
        }
        Ok(())
    }
}

fn zero(view: &View<'_>, part: &[(Ino, Mutation)]) -> Read<()> {
    let mut there = Vec::new();
    for (ino, hole) in part {
        if view.node(*ino)?.is_some() {
            there.push(hole.clone());
        }
    }
    apply::apply_all(view, &there)
}

fn unflock(view: &View<'_>, inos: &[Ino], session: SessionId) -> Read<()> {
    view.want_all(inos.iter().map(|ino| keys::flocks(*ino)))?;
    for &ino in inos {
        let mut rows = view.flocks(ino)?;
        rows.retain(|row| row.session != session);
        put_list(view, keys::flocks(ino), locks::flocks_value(&rows));
    }
    Ok(())
}

fn unlock(view: &View<'_>, inos: &[Ino], session: SessionId) -> Read<()> {
    view.want_all(inos.iter().map(|ino| keys::plocks(*ino)))?;
    for &ino in inos {
        let mut rows = view.plocks(ino)?;
        rows.retain(|row| row.session != session);
        put_list(view, keys::plocks(ino), locks::plocks_value(&rows));
    }
    Ok(())
}
