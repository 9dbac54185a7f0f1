//! The memfd and its mapping: the only place that turns offsets into pointers.

use std::ffi::c_void;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::mm::{Advice, MapFlags, ProtFlags};

use crate::StateError;

/// A shared, writable mapping of a whole memfd.
///
/// Every offset is checked against the length. Whether two users of the same bytes
/// exclude each other is their business: the unsafe methods say so.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
    fd: OwnedFd,
}

// SAFETY: the mapping is plain memory that no thread owns; all access goes through
// atomics or through the unsafe methods, whose callers exclude each other.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Makes a memfd of `len` bytes whose size can never change again.
    pub(crate) fn create(len: usize) -> Result<Self, StateError> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create(c"carafe-state", flags | MemfdFlags::NOEXEC_SEAL)
            // NOEXEC_SEAL is newer (6.3) than the oldest kernel we serve.
            .or_else(|_| rustix::fs::memfd_create(c"carafe-state", flags))
            .map_err(StateError::os("memfd_create"))?;
        rustix::fs::ftruncate(&fd, len as u64).map_err(StateError::os("ftruncate"))?;
        let seals = SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&fd, seals).map_err(StateError::os("F_ADD_SEALS"))?;
        Self::map(fd, len)
    }

    /// Maps a memfd that another process made. One that could shrink is refused,
    /// since touching what was cut off would kill us.
    pub(crate) fn attach(fd: OwnedFd) -> Result<Self, StateError> {
        let seals = rustix::fs::fcntl_get_seals(&fd).map_err(StateError::os("F_GET_SEALS"))?;
        if !seals.contains(SealFlags::SHRINK) {
            return Err(StateError::Unusable("its size is not sealed".into()));
        }
        let stat = rustix::fs::fstat(&fd).map_err(StateError::os("fstat"))?;
        Self::map(fd, stat.st_size as usize)
    }

    fn map(fd: OwnedFd, len: usize) -> Result<Self, StateError> {
        if len == 0 {
            return Err(StateError::Unusable("it is empty".into()));
        }
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, prot, MapFlags::SHARED, &fd, 0) }
                .map_err(StateError::os("mmap"))?;
        let base = NonNull::new(base.cast())
            .ok_or_else(|| StateError::Unusable("mapped at address 0".into()))?;
        Ok(Self { base, len, fd })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The address of `len` bytes at `offset`.
    pub(crate) fn pointer(&self, offset: usize, len: usize) -> *mut u8 {
        let end = offset.checked_add(len);
        assert!(end.is_some_and(|end| end <= self.len), "outside the region");
        // SAFETY: `offset` is inside the mapping, as just checked.
        unsafe { self.base.as_ptr().add(offset) }
    }

    pub(crate) fn word32(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4), "unaligned word");
        // SAFETY: inside the mapping, aligned, and only ever used as an atomic.
        unsafe { AtomicU32::from_ptr(self.pointer(offset, 4).cast()) }
    }

    pub(crate) fn word64(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8), "unaligned word");
        // SAFETY: inside the mapping, aligned, and only ever used as an atomic.
        unsafe { AtomicU64::from_ptr(self.pointer(offset, 8).cast()) }
    }

    /// Copies `data` to `offset`.
    ///
    /// # Safety
    /// No other thread may read or write these bytes meanwhile.
    pub(crate) unsafe fn write(&self, offset: usize, data: &[u8]) {
        let to = self.pointer(offset, data.len());
        // SAFETY: the target is in bounds and, by the caller's promise, ours alone;
        // `data` cannot overlap it, being a live shared reference.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), to, data.len()) }
    }

    /// Zeroes `len` bytes at `offset`.
    ///
    /// # Safety
    /// No other thread may read or write these bytes meanwhile.
    pub(crate) unsafe fn clear(&self, offset: usize, len: usize) {
        // SAFETY: in bounds, and ours alone by the caller's promise.
        unsafe { std::ptr::write_bytes(self.pointer(offset, len), 0, len) }
    }

    /// The bytes at `offset`.
    ///
    /// # Safety
    /// No thread may write these bytes while the slice lives.
    pub(crate) unsafe fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        // SAFETY: in bounds, initialised (a memfd starts as zeroes), and not written
        // meanwhile by the caller's promise.
        unsafe { std::slice::from_raw_parts(self.pointer(offset, len), len) }
    }

    /// The bytes at `offset`, for writing.
    ///
    /// # Safety
    /// No other thread may read or write these bytes while the slice lives.
    #[expect(
        clippy::mut_from_ref,
        reason = "the mapping owns nothing: its users divide it"
    )]
    pub(crate) unsafe fn bytes_mut(&self, offset: usize, len: usize) -> &mut [u8] {
        // SAFETY: in bounds, initialised, and ours alone by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.pointer(offset, len), len) }
    }

    /// Gives the range memory now, so that neither we nor the kernel faults on it.
    pub(crate) fn populate(&self, offset: usize, len: usize) -> Result<(), StateError> {
        let start: *mut c_void = self.pointer(offset, len).cast();
        // SAFETY: populating changes no content, and the range is ours.
        unsafe { rustix::mm::madvise(start, len, Advice::LinuxPopulateWrite) }
            .map_err(StateError::os("MADV_POPULATE_WRITE"))
    }

    /// Gives the memory of the range back; it reads as zeroes afterwards.
    pub(crate) fn punch(&self, offset: usize, len: usize) -> Result<(), StateError> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&self.fd, flags, offset as u64, len as u64)
            .map_err(StateError::os("FALLOC_FL_PUNCH_HOLE"))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: whoever could use the mapping holds a reference to it, so nobody
        // does. A failure leaves it mapped, which harms nobody.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
