//! The mount's block caches: memory before disk.

use std::{os::fd::OwnedFd, path::Path, sync::Arc};

use carafe_api::MountArguments;
use carafe_cache::{BlockCache, CacheDirectory, DiskCache, DiskCacheConfig, Layered, MemoryCache};
use carafe_types::Format;

use crate::failure::Failure;

/// Opens the caches that the arguments name. In a pod, descriptors stand for the
/// directories, whose paths mean nothing there.
pub(super) async fn open(
    arguments: &MountArguments,
    descriptors: Vec<OwnedFd>,
    format: &Format,
) -> Result<Arc<dyn BlockCache>, Failure> {
    let memory: Arc<dyn BlockCache> = Arc::new(MemoryCache::new(
        MemoryCache::DEFAULT_CAPACITY,
        format.block_bytes(),
    ));
    let options = &arguments.options.cache;
    if options.memory_only() || (options.dirs.is_empty() && descriptors.is_empty()) {
        return Ok(memory);
    }
    let places = places(&options.dirs, descriptors)?;
    let config = DiskCacheConfig {
        capacity: options.size,
        ..DiskCacheConfig::new(&format.uuid, format.block_bytes())
    };
    let opened = tokio::task::spawn_blocking(move || DiskCache::open(places, &config)).await;
    let disk = opened.map_err(|error| Failure::Mount(format!("the cache: {error}")))?;
    let disk: Arc<dyn BlockCache> = disk.map_err(Failure::system("open the disk cache"))?;
    Ok(Arc::new(Layered::new(vec![memory, disk])))
}

fn places(dirs: &[String], descriptors: Vec<OwnedFd>) -> Result<Vec<CacheDirectory>, Failure> {
    if descriptors.is_empty() {
        let place = |dir: &String| {
            std::fs::create_dir_all(dir)?;
            CacheDirectory::at_path(Path::new(dir))
        };
        return dirs
            .iter()
            .map(|dir| place(dir).map_err(Failure::system(format!("cache directory {dir}"))))
            .collect();
    }
    let named = descriptors.into_iter().enumerate();
    let place =
        |(index, fd): (usize, OwnedFd)| CacheDirectory::at_descriptor(fd, format!("cache {index}"));
    named
        .map(|handed| place(handed).map_err(Failure::system("cache directory")))
        .collect()
}
