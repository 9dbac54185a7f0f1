//! Blocks into the store.

use std::sync::Arc;

use carafe_types::SliceId;

use crate::{
    file::{File, log::Upload, queue::Garbage},
    shared::Core,
};

impl Core {
    /// Uploads one block and tells its log. The store limits how many run at a time.
    pub(crate) async fn upload(self: Arc<Self>, file: Arc<File>, upload: Upload) {
        let Upload { index, key, parts } = upload;
        let result = self.blocks.put(key, parts).await;
        let mut state = file.state.lock();
        let queue = state.dirty.get_mut(&index);
        let ready = if let Some(log) = queue.and_then(|queue| queue.log(key.slice)) {
            log.uploaded(key.index, result.is_ok());
            log.ready()
        } else {
            // The log was cut off meanwhile: what came late goes too.
            let size = key.index * self.config.block_size + key.size;
            self.discard(vec![(key.slice, size)]);
            false
        };
        if let Err(error) = result {
            tracing::warn!(ino = %file.ino, block = %key, %error, "a block was not uploaded; it will be tried again");
            state.fail(error);
        }
        drop(state);
        if ready {
            self.commits.enqueue(&file);
        }
        file.changed.notify_waiters();
    }

    /// Deletes slices that nobody refers to, in the background. What fails is left for
    /// `gc` to find.
    pub(crate) fn discard(self: &Arc<Self>, garbage: Vec<Garbage>) {
        for (slice, size) in garbage.into_iter().filter(|(_, size)| *size > 0) {
            let core = Arc::clone(self);
            tokio::spawn(async move { core.delete(slice, size).await });
        }
    }

    async fn delete(&self, slice: SliceId, size: u32) {
        if let Err(error) = self.blocks.delete_slice(slice, size).await {
            tracing::warn!(%slice, %error, "the blocks of a discarded slice were not deleted");
        }
    }
}
