//! The chores, one step each.

use carafe_types::{BlockKey, Format, Result, SliceId, block_count, block_len};
use futures_util::{StreamExt, stream};

use crate::round::Jobs;

/// A kind of background work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chore {
    /// Sessions that missed their heartbeats: their locks and sustained inodes go.
    StaleSessions,
    /// Trash older than the setting allows, and tombstones of deleted volumes.
    Trash,
    /// Deleted files: their slices lose a reference.
    DeletedFiles,
    /// Slices without references: their objects go, then their records.
    DeadSlices,
}

impl Chore {
    /// All of them, in the order in which one makes work for the next.
    pub const ALL: [Self; 4] = [
        Self::StaleSessions,
        Self::Trash,
        Self::DeletedFiles,
        Self::DeadSlices,
    ];
}

/// How many slices' objects are deleted at a time.
const DELETIONS: usize = 8;

impl Jobs {
    /// One step of at most `limit`; answers how many were done, and whether there may
    /// be more.
    pub(crate) async fn step(&self, chore: Chore, limit: usize) -> Result<(usize, bool)> {
        let call = &self.call;
        let done = match chore {
            // One call cleans all that expired.
            Chore::StaleSessions => {
                return Ok((self.meta.clean_stale_sessions(call).await?, false));
            }
            Chore::Trash => self.meta.expire_trash(call, limit).await?,
            Chore::DeletedFiles => self.meta.clean_deleted_files(call, limit).await?,
            Chore::DeadSlices => return self.delete_slices(limit).await,
        };
        Ok((done, done >= limit))
    }

    /// Deletes objects first and forgets slices after: a crash between the two leaves
    /// a record of what is gone, which the next round deletes again.
    async fn delete_slices(&self, limit: usize) -> Result<(usize, bool)> {
        let dead = self.meta.dead_slices(&self.call, limit).await?;
        if dead.is_empty() {
            return Ok((0, false));
        }
        let (found, format) = (dead.len(), self.meta.load(&self.call).await?);
        let deletions = dead
            .into_iter()
            .map(|slice| self.delete_slice(&format, slice));
        let gone: Vec<_> = stream::iter(deletions)
            .buffer_unordered(DELETIONS)
            // A store that is gone is not asked a thousand times.
            .take_while(|deleted| std::future::ready(deleted.is_some()))
            .filter_map(std::future::ready)
            .collect()
            .await;
        if !gone.is_empty() {
            self.meta.forget_slices(&self.call, &gone).await?;
        }
        // Those that failed come up again at once: leave them to the next round.
        Ok((gone.len(), found >= limit && gone.len() == found))
    }

    /// Deletes a slice's objects. What other clients cached of it is never asked for.
    async fn delete_slice(
        &self,
        format: &Format,
        (slice, size): (SliceId, u32),
    ) -> Option<(SliceId, u32)> {
        let block_size = format.block_bytes();
        for index in 0..block_count(size, block_size) {
            let key = BlockKey {
                slice,
                index,
                size: block_len(size, block_size, index),
            };
            if let Err(error) = self
                .objects
                .delete(&key.object_key(format.hash_prefix))
                .await
            {
                tracing::warn!(block = %key, %error, "an object of a dead slice was not deleted; the next round tries again");
                return None;
            }
        }
        Some((slice, size))
    }
}
