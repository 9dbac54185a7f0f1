//! Random operations on two files, against two vectors of bytes.

use std::sync::LazyLock;

use carafe_meta::{Fallocate, SetAttr};
use carafe_types::CHUNK_SIZE;
use carafe_vfs::{Config, Whence};
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::fixture::{BLOCK, File, Mount, Volume, pattern};

const SPACE: u64 = 5 * BLOCK as u64;

#[derive(Clone, Debug)]
enum Op {
    Write {
        file: usize,
        handle: usize,
        at: u64,
        len: usize,
        seed: u64,
    },
    Read {
        file: usize,
        handle: usize,
        at: u64,
        len: usize,
    },
    Truncate {
        file: usize,
        to: u64,
    },
    Fallocate {
        file: usize,
        how: Fallocate,
        at: u64,
        len: u64,
    },
    Copy {
        from: usize,
        at: u64,
        to_at: u64,
        len: u64,
    },
    Fsync {
        file: usize,
    },
    Reopen {
        file: usize,
        handle: usize,
    },
    Data {
        file: usize,
        at: u64,
    },
    Settle,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let how = prop_oneof![
        Just(Fallocate::Grow),
        Just(Fallocate::KeepSize),
        Just(Fallocate::PunchHole),
        Just(Fallocate::ZeroRange),
        Just(Fallocate::ZeroRangeKeepSize),
    ];
    let len = prop_oneof![1usize..64, 1usize..9000, 1usize..(2 * BLOCK as usize)];
    let len2 = prop_oneof![1usize..64, 1usize..9000, 1usize..(2 * BLOCK as usize)];
    let file = 0usize..2;
    let handle = 0usize..2;
    let op = prop_oneof![
        8 => (file.clone(), handle.clone(), 0..SPACE, len, any::<u64>())
            .prop_map(|(file, handle, at, len, seed)| Op::Write { file, handle, at, len, seed }),
        6 => (file.clone(), handle.clone(), 0..SPACE, len2)
            .prop_map(|(file, handle, at, len)| Op::Read { file, handle, at, len }),
        2 => (file.clone(), 0..SPACE).prop_map(|(file, to)| Op::Truncate { file, to }),
        1 => (file.clone(), how, 0..SPACE, 1..SPACE / 2).prop_map(|(file, how, at, len)| Op::Fallocate { file, how, at, len }),
        1 => (file.clone(), 0..SPACE, 0..SPACE, 1..SPACE / 2).prop_map(|(from, at, to_at, len)| Op::Copy { from, at, to_at, len }),
        2 => file.clone().prop_map(|file| Op::Fsync { file }),
        1 => (file.clone(), handle).prop_map(|(file, handle)| Op::Reopen { file, handle }),
        1 => (file, 0..SPACE).prop_map(|(file, at)| Op::Data { file, at }),
        1 => Just(Op::Settle),
    ];
    prop::collection::vec(op, 1..60)
}

/// Where the files' bytes stand: at the start of a chunk, and over a border.
const BASES: [u64; 2] = [0, CHUNK_SIZE - 2 * BLOCK as u64 - 777];

struct World<'a> {
    mount: &'a Mount,
    base: u64,
    files: Vec<Vec<File>>,
    models: [Vec<u8>; 2],
}

impl World<'_> {
    async fn run(&mut self, op: &Op) {
        match *op {
            Op::Write {
                file,
                handle,
                at,
                len,
                seed,
            } => self.write(file, handle, at, &pattern(seed, len)).await,
            Op::Read {
                file,
                handle,
                at,
                len,
            } => self.check(file, handle, at, len).await,
            Op::Truncate { file, to } => self.truncate(file, to).await,
            Op::Fallocate { file, how, at, len } => self.fallocate(file, how, at, len).await,
            Op::Copy {
                from,
                at,
                to_at,
                len,
            } => self.copy(from, at, to_at, len).await,
            Op::Fsync { file } => self.mount.fsync(&self.files[file][0]).await.unwrap(),
            Op::Reopen { file, handle } => {
                let ino = self.files[file][handle].ino;
                let next = self.mount.open(ino).await;
                let old = std::mem::replace(&mut self.files[file][handle], next);
                self.mount.close(old).await.unwrap();
            }
            Op::Data { file, at } => self.seek(file, at).await,
            Op::Settle => tokio::time::sleep(std::time::Duration::from_millis(3)).await,
        }
    }

    async fn write(&mut self, file: usize, handle: usize, at: u64, data: &[u8]) {
        let wrote = self
            .mount
            .write(&self.files[file][handle], self.base + at, data)
            .await
            .unwrap();
        assert_eq!(wrote, data.len());
        put(&mut self.models[file], at as usize, data);
        self.check_length(file).await;
    }

    async fn check(&self, file: usize, handle: usize, at: u64, len: usize) {
        let got = self
            .mount
            .read(&self.files[file][handle], self.base + at, len)
            .await;
        let model = &self.models[file];
        let start = (at as usize).min(model.len());
        let expected = &model[start..(start + len).min(model.len())];
        assert_eq!(got.len(), expected.len(), "length of a read at {at}");
        if let Some(wrong) = got.iter().zip(expected).position(|(a, b)| a != b) {
            panic!(
                "file {file}: byte {} is {} and should be {}",
                at as usize + wrong,
                got[wrong],
                expected[wrong]
            );
        }
    }

    async fn check_length(&self, file: usize) {
        let expected = if self.models[file].is_empty() {
            None
        } else {
            Some(self.base + self.models[file].len() as u64)
        };
        let length = self.mount.length(self.files[file][0].ino).await;
        assert!(
            expected.is_none_or(|expected| expected == length),
            "length {length}, expected {expected:?}"
        );
    }

    async fn truncate(&mut self, file: usize, to: u64) {
        let set = SetAttr {
            size: Some(self.base + to),
            ..SetAttr::default()
        };
        let ino = self.files[file][0].ino;
        let attr = self
            .mount
            .vfs
            .setattr(&self.mount.call, ino, None, &set)
            .await
            .unwrap()
            .attr;
        assert_eq!(attr.length, self.base + to);
        self.models[file].resize(to as usize, 0);
        self.check_length(file).await;
    }

    async fn fallocate(&mut self, file: usize, how: Fallocate, at: u64, len: u64) {
        let target = &self.files[file][0];
        self.mount
            .vfs
            .fallocate(
                &self.mount.call,
                target.ino,
                target.handle,
                how,
                self.base + at,
                len,
            )
            .await
            .unwrap();
        let model = &mut self.models[file];
        let (at, end) = (at as usize, (at + len) as usize);
        if matches!(how, Fallocate::Grow | Fallocate::ZeroRange) && end > model.len() {
            model.resize(end, 0);
        }
        if !matches!(how, Fallocate::Grow | Fallocate::KeepSize) {
            let end = end.min(model.len());
            model[at.min(end)..end].fill(0);
        }
        self.check_length(file).await;
    }

    async fn copy(&mut self, from: usize, at: u64, to_at: u64, len: u64) {
        let to = 1 - from;
        let (source, target) = (&self.files[from][0], &self.files[to][0]);
        let source_end = (source.ino, source.handle, self.base + at);
        let target_end = (target.ino, target.handle, self.base + to_at);
        let copied = self
            .mount
            .vfs
            .copy_file_range(&self.mount.call, source_end, target_end, len)
            .await
            .unwrap();
        let model = &self.models[from];
        let start = (at as usize).min(model.len());
        let data = model[start..(start + len as usize).min(model.len())].to_vec();
        if !model.is_empty() {
            assert_eq!(copied, data.len() as u64);
        }
        put(&mut self.models[to], to_at as usize, &data);
        self.check_length(to).await;
    }

    /// What `SEEK_DATA` skips must be zeros.
    async fn seek(&self, file: usize, at: u64) {
        let target = &self.files[file][1];
        let model = &self.models[file];
        let found = self
            .mount
            .vfs
            .lseek(
                &self.mount.call,
                target.ino,
                target.handle,
                self.base + at,
                Whence::Data,
            )
            .await;
        let until = found.map_or(model.len(), |found| {
            ((found - self.base) as usize).min(model.len())
        });
        let start = (at as usize).min(until);
        assert!(
            model[start..until].iter().all(|byte| *byte == 0),
            "data was skipped from {at} to {until}"
        );
    }
}

fn put(model: &mut Vec<u8>, at: usize, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    if model.len() < at + data.len() {
        model.resize(at + data.len(), 0);
    }
    model[at..at + data.len()].copy_from_slice(data);
}

struct Shared {
    runtime: Runtime,
    volume: Volume,
    plain: Mount,
    packed: Mount,
    compacting: Mount,
}

static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (volume, plain, packed, compacting) = runtime.block_on(async {
        let volume = Volume::new().await;
        volume.disturb();
        let plain = volume.mount(Config::default()).await;
        let packed = volume
            .mount(Config {
                pack: true,
                ..Config::default()
            })
            .await;
        let compacting = volume
            .mount(Config {
                compact_from: 4,
                ..Config::default()
            })
            .await;
        (volume, plain, packed, compacting)
    });
    Shared {
        runtime,
        volume,
        plain,
        packed,
        compacting,
    }
});

async fn play(mount: &Mount, base: u64, ops: &[Op]) {
    let mut files = Vec::new();
    for name in ["a", "b"] {
        let name = format!("{name}-{}", rand_name());
        let first = mount.create(&name).await;
        let second = mount.open(first.ino).await;
        files.push(vec![first, second]);
    }
    let mut world = World {
        mount,
        base,
        files,
        models: [Vec::new(), Vec::new()],
    };
    for op in ops {
        world.run(op).await;
    }
    for file in 0..2 {
        world.check(file, 0, 0, 2 * SPACE as usize).await;
    }
    let inos: Vec<_> = world.files.iter().map(|handles| handles[0].ino).collect();
    for handle in std::mem::take(&mut world.files).into_iter().flatten() {
        mount.close(handle).await.unwrap();
    }
    // Another client reads what is in the store and the engine.
    let other = &SHARED.plain;
    for (file, ino) in inos.into_iter().enumerate() {
        let handle = other.open(ino).await;
        let got = other.read(&handle, base, 2 * SPACE as usize).await;
        assert!(got == world.models[file], "what was committed differs");
        other.close(handle).await.unwrap();
    }
}

fn rand_name() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

fn cases() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(100);
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn files_behave_as_vectors(ops in ops(), base in prop::sample::select(BASES.to_vec())) {
        SHARED.runtime.block_on(play(&SHARED.plain, base, &ops));
    }

    #[test]
    fn packed_logs_do_too(ops in ops(), base in prop::sample::select(BASES.to_vec())) {
        SHARED.runtime.block_on(play(&SHARED.packed, base, &ops));
    }

    #[test]
    fn compacted_files_do_too(ops in ops(), base in prop::sample::select(BASES.to_vec())) {
        SHARED.runtime.block_on(play(&SHARED.compacting, base, &ops));
    }
}

#[test]
fn the_volume_is_shared() {
    assert!(SHARED.volume.meta.name().starts_with("sqlite3"));
}
