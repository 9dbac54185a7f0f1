//! The descriptors of a mount, and the order in which they travel.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::HandoverError;

/// How many descriptors of each kind come with a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Descriptors {
    /// 1 if the FUSE device comes.
    pub device: usize,
    /// Clones of the device.
    pub clones: usize,
    /// 1 if the memfd comes.
    pub region: usize,
    /// Cache directories: descriptors of detached mounts.
    pub caches: usize,
}

/// A mount's descriptors.
#[derive(Debug, Default)]
pub struct Bundle {
    /// The FUSE device, mounted.
    pub device: Option<OwnedFd>,
    /// Its clones (`FUSE_DEV_IOC_CLONE`): one for each further thread that reads.
    pub clones: Vec<OwnedFd>,
    /// The memory that outlives a worker.
    pub region: Option<OwnedFd>,
    /// Cache directories, in the order of the arguments' `cache.dirs`.
    pub caches: Vec<OwnedFd>,
}

impl Bundle {
    /// How many there are of each kind.
    pub fn counts(&self) -> Descriptors {
        Descriptors {
            device: usize::from(self.device.is_some()),
            clones: self.clones.len(),
            region: usize::from(self.region.is_some()),
            caches: self.caches.len(),
        }
    }

    /// All descriptors in the order of the wire.
    pub fn borrowed(&self) -> Vec<BorrowedFd<'_>> {
        let device = self.device.iter();
        let all = device
            .chain(&self.clones)
            .chain(&self.region)
            .chain(&self.caches);
        all.map(AsFd::as_fd).collect()
    }

    /// Sorts what came with a message.
    pub fn from_wire(counts: Descriptors, fds: Vec<OwnedFd>) -> Result<Self, HandoverError> {
        let said = counts.device + counts.clones + counts.region + counts.caches;
        if said != fds.len() || counts.device > 1 || counts.region > 1 {
            return Err(HandoverError::Descriptors {
                said,
                came: fds.len(),
            });
        }
        let mut fds = fds.into_iter();
        let mut take = |count: usize| fds.by_ref().take(count).collect::<Vec<_>>();
        Ok(Self {
            device: take(counts.device).pop(),
            clones: take(counts.clones),
            region: take(counts.region).pop(),
            caches: take(counts.caches),
        })
    }

    /// Duplicates all of them: the other holder's own.
    pub fn duplicate(&self) -> std::io::Result<Self> {
        let all = |fds: &[OwnedFd]| fds.iter().map(OwnedFd::try_clone).collect::<Result<_, _>>();
        Ok(Self {
            device: self.device.as_ref().map(OwnedFd::try_clone).transpose()?,
            clones: all(&self.clones)?,
            region: self.region.as_ref().map(OwnedFd::try_clone).transpose()?,
            caches: all(&self.caches)?,
        })
    }
}
