//! Compression of blocks: a raw LZ4 block, or a Zstandard frame of level 1.
//!
//! Only blocks are compressed; a block's key ends with its plain length, which an
//! LZ4 block does not tell. Other objects (the volume's id, metadata backups) pass as
//! they are.

use std::{io, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use carafe_types::Compression;
use tokio::task::spawn_blocking;

use crate::{
    Credentials, Object, ObjectError, ObjectMeta, ObjectStore, OpenError, Page, Result, Traits,
    store::{clip, slice_parts},
};

/// A store whose blocks are compressed.
#[derive(Debug)]
pub struct Compressed {
    inner: Arc<dyn ObjectStore>,
    algorithm: Compression,
}

impl Compressed {
    /// `inner` with blocks compressed by `algorithm`.
    pub fn new(inner: Arc<dyn ObjectStore>, algorithm: Compression) -> Self {
        Self { inner, algorithm }
    }

    async fn unpack(&self, key: &str, packed: Bytes, plain_len: usize) -> Result<Bytes> {
        let algorithm = self.algorithm;
        let plain = run(move || decompress(algorithm, &packed, plain_len)).await?;
        plain.map_err(|error| ObjectError::Corrupt {
            key: key.into(),
            reason: error.to_string(),
        })
    }
}

/// The plain length that a block's key ends with; `None` if the key is no block's.
fn plain_len(key: &str) -> Option<usize> {
    let mut numbers = key.strip_prefix("chunks/")?.rsplit('/').next()?.split('_');
    let (id, index, size) = (numbers.next()?, numbers.next()?, numbers.next()?);
    id.parse::<u64>().ok()?;
    index.parse::<u32>().ok()?;
    numbers.next().is_none().then(|| size.parse().ok())?
}

async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    spawn_blocking(work)
        .await
        .map_err(|stopped| ObjectError::Other(stopped.to_string()))
}

fn compress(algorithm: Compression, plain: &Bytes) -> io::Result<Bytes> {
    Ok(match algorithm {
        Compression::None => plain.clone(),
        Compression::Lz4 => lz4_flex::block::compress(plain).into(),
        Compression::Zstd => zstd::bulk::compress(plain, 1)?.into(),
    })
}

fn decompress(algorithm: Compression, packed: &Bytes, plain_len: usize) -> io::Result<Bytes> {
    let plain = match algorithm {
        Compression::None => packed.clone(),
        Compression::Lz4 => lz4_flex::block::decompress(packed, plain_len)
            .map_err(io::Error::other)?
            .into(),
        Compression::Zstd => zstd::bulk::decompress(packed, plain_len)?.into(),
    };
    if plain.len() == plain_len {
        return Ok(plain);
    }
    Err(io::Error::other(format!(
        "it holds {} bytes, its key says {plain_len}",
        plain.len()
    )))
}

#[async_trait]
impl ObjectStore for Compressed {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn traits(&self) -> Traits {
        Traits {
            cheap_ranges: false,
            ..self.inner.traits()
        }
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Object> {
        let Some(plain_len) = plain_len(key) else {
            return self.inner.get(key, range).await;
        };
        let packed = self.inner.get(key, None).await?.into_bytes();
        let plain = self.unpack(key, packed, plain_len).await?;
        Ok(slice_parts(&[plain], clip(range, plain_len)).into())
    }

    async fn put(&self, key: &str, object: Object) -> Result<()> {
        if plain_len(key).is_none() {
            return self.inner.put(key, object).await;
        }
        let (algorithm, plain) = (self.algorithm, object.into_bytes());
        let packed = run(move || compress(algorithm, &plain)).await?;
        let packed =
            packed.map_err(|error| ObjectError::Other(format!("compressing {key}: {error}")))?;
        self.inner.put(key, packed.into()).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.inner.delete(key).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        self.inner.head(key).await
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Page> {
        self.inner.list(prefix, after, limit).await
    }

    async fn create(&self) -> Result<()> {
        self.inner.create().await
    }

    fn reload(&self, credentials: &Credentials) -> Result<(), OpenError> {
        self.inner.reload(credentials)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_blocks_have_a_plain_length() {
        assert_eq!(plain_len("chunks/0/1/1234_2_4194304"), Some(4_194_304));
        assert_eq!(plain_len("chunks/1F/0/31_0_7"), Some(7));
        for other in [
            "juicefs_uuid",
            "meta/dump-1_2_3",
            "chunks/0/0/1_2",
            "chunks/0/0/1_2_3_4",
            "testing/a",
        ] {
            assert_eq!(plain_len(other), None, "{other} is no block");
        }
    }

    proptest! {
        #[test]
        fn what_was_packed_unpacks(plain in prop::collection::vec(any::<u8>(), 0..5000), zstd: bool) {
            let algorithm = if zstd { Compression::Zstd } else { Compression::Lz4 };
            let plain = Bytes::from(plain);
            let packed = compress(algorithm, &plain).unwrap();
            prop_assert_eq!(decompress(algorithm, &packed, plain.len()).unwrap(), plain);
        }

        #[test]
        fn damage_is_an_error_and_no_panic(packed in prop::collection::vec(any::<u8>(), 0..500), len in 0usize..5000) {
            let _ = decompress(Compression::Lz4, &packed.clone().into(), len);
            let _ = decompress(Compression::Zstd, &packed.into(), len);
        }
    }
}
