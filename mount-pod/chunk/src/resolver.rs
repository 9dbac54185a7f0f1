//! Where a block lies.

use std::{fmt::Debug, ops::Range, sync::Arc};

use async_trait::async_trait;
use carafe_object::ObjectStore;
use carafe_types::{BlockKey, Error};

/// The place of a block's bytes.
#[derive(Clone, Debug)]
pub struct Location {
    /// The store; `None` is the volume's own.
    pub store: Option<Arc<dyn ObjectStore>>,
    /// The object's key there.
    pub key: String,
    /// The bytes of the object that are the block; `None` is all of it.
    pub range: Option<Range<u64>>,
}

/// Answers where blocks lie. Imported objects, several buckets, mirrors and tiers
/// are other implementations.
#[async_trait]
pub trait BlockResolver: Debug + Send + Sync {
    /// The place of `block`, whether it exists or not. The same block has the same
    /// place for as long as it lives.
    async fn locate(&self, block: BlockKey) -> Result<Location, Error>;
}

/// JuiceFS's layout: one object a block in the volume's store.
#[derive(Clone, Copy, Debug, Default)]
pub struct JuiceFsLayout {
    /// The format's `HashPrefix`.
    pub hash_prefix: bool,
}

#[async_trait]
impl BlockResolver for JuiceFsLayout {
    async fn locate(&self, block: BlockKey) -> Result<Location, Error> {
        Ok(Location {
            store: None,
            key: block.object_key(self.hash_prefix),
            range: None,
        })
    }
}
