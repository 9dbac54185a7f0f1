//! The smallest FUSE server that an `ls` is content with.

use std::{
    os::fd::OwnedFd,
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, read, write},
};

const INIT: u32 = 26;
const GETATTR: u32 = 3;
const OPENDIR: u32 = 27;
const READDIR: u32 = 28;
const RELEASEDIR: u32 = 29;
const STATFS: u32 = 17;
const FORGET: u32 = 2;
const BATCH_FORGET: u32 = 42;

/// Serves until the kernel has unmounted, or `stop`.
pub(crate) fn serve(device: &OwnedFd, stop: &AtomicBool) {
    let mut buffer = vec![0; 1 << 17];
    while !stop.load(Ordering::Relaxed) {
        let patience = Timespec {
            tv_sec: 0,
            tv_nsec: 20_000_000,
        };
        match poll(&mut [PollFd::new(device, PollFlags::IN)], Some(&patience)) {
            Ok(0) | Err(Errno::INTR) => continue,
            _ => {}
        }
        if stop.load(Ordering::Relaxed) {
            return;
        }
        // Another thread may be faster: without blocking there is nothing then.
        let _ = rustix::fs::fcntl_setfl(device, rustix::fs::OFlags::NONBLOCK);
        match read(device, &mut buffer) {
            Ok(length) => answer(device, &buffer[..length]),
            Err(Errno::NODEV | Errno::CONNABORTED) => return,
            Err(_) => {}
        }
    }
}

fn answer(device: &OwnedFd, request: &[u8]) {
    let word = |at: usize| u32::from_le_bytes(request[at..at + 4].try_into().unwrap());
    let unique = u64::from_le_bytes(request[8..16].try_into().unwrap());
    match word(4) {
        INIT => {
            let mut body = vec![0; 64];
            body[..4].copy_from_slice(&7_u32.to_le_bytes());
            body[4..8].copy_from_slice(&31_u32.to_le_bytes());
            body[20..24].copy_from_slice(&65_536_u32.to_le_bytes());
            reply(device, unique, 0, &body);
        }
        GETATTR => {
            let mut body = vec![0; 104];
            body[16..24].copy_from_slice(&1_u64.to_le_bytes());
            body[16 + 60..16 + 64].copy_from_slice(&0o040_755_u32.to_le_bytes());
            body[16 + 64..16 + 68].copy_from_slice(&2_u32.to_le_bytes());
            reply(device, unique, 0, &body);
        }
        OPENDIR => reply(device, unique, 0, &[0; 16]),
        READDIR | RELEASEDIR => reply(device, unique, 0, &[]),
        STATFS => reply(device, unique, 0, &[0; 80]),
        FORGET | BATCH_FORGET => {}
        _ => reply(device, unique, -38, &[]),
    }
}

fn reply(device: &OwnedFd, unique: u64, error: i32, body: &[u8]) {
    let mut bytes = Vec::with_capacity(16 + body.len());
    bytes.extend_from_slice(&(16 + body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&error.to_le_bytes());
    bytes.extend_from_slice(&unique.to_le_bytes());
    bytes.extend_from_slice(body);
    // An interrupted request takes no answer.
    let _ = write(device, &bytes);
}
