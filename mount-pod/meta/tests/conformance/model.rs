//! Random operations on a tree, against a tree in memory.
//!
//! A case has a directory of its own. **Places** are the directories that it ever
//! made, **things** all else: also those that are gone, whose use must fail. Numbers
//! choose among them modulo their count, so that a shrunk case stays a case.
//! `PROPTEST_CASES` says how many cases each engine gets.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use carafe_meta::{NewNode, RenameFlags, SetAttr, SliceCommit, XattrMode};
use carafe_types::{Attr, Error, FileType, Ino, Result, Slice, SliceId, Timestamp};
use proptest::{
    prelude::*,
    test_runner::{TestError, TestRunner},
};
use tokio::runtime::Handle;

use crate::engines::{Volume, format, on_every_engine};

on_every_engine! {
    random_operations_match_a_model(format(0));
}

#[derive(Clone, Debug)]
enum Op {
    Make {
        place: usize,
        name: u8,
        kind: FileType,
    },
    Link {
        thing: usize,
        place: usize,
        name: u8,
    },
    Unlink {
        place: usize,
        name: u8,
    },
    Rmdir {
        place: usize,
        name: u8,
    },
    Rename {
        from: (usize, u8),
        to: (usize, u8),
        flags: RenameFlags,
    },
    Resize {
        thing: usize,
        size: u64,
    },
    Write {
        thing: usize,
        index: u32,
        pos: u32,
        len: u32,
    },
    Chmod {
        thing: usize,
        mode: u16,
    },
    SetXattr {
        thing: usize,
        name: u8,
        value: u8,
        mode: XattrMode,
    },
    RemoveXattr {
        thing: usize,
        name: u8,
    },
}

fn op() -> impl Strategy<Value = Op> {
    use FileType::{Directory, File, Symlink};
    let kind = prop_oneof![4 => Just(File), 3 => Just(Directory), 1 => Just(Symlink)];
    let flags = prop_oneof![
        4 => Just(RenameFlags::None),
        1 => Just(RenameFlags::NoReplace),
        2 => Just(RenameFlags::Exchange),
    ];
    let mode = prop_oneof![
        2 => Just(XattrMode::Any),
        1 => Just(XattrMode::Create),
        1 => Just(XattrMode::Replace),
    ];
    let choice = || 0usize..64;
    let name = || 0u8..4;
    prop_oneof![
        8 => (choice(), name(), kind).prop_map(|(place, name, kind)| Op::Make { place, name, kind }),
        2 => (choice(), choice(), name()).prop_map(|(thing, place, name)| Op::Link { thing, place, name }),
        3 => (choice(), name()).prop_map(|(place, name)| Op::Unlink { place, name }),
        2 => (choice(), name()).prop_map(|(place, name)| Op::Rmdir { place, name }),
        6 => ((choice(), name()), (choice(), name()), flags)
            .prop_map(|(from, to, flags)| Op::Rename { from, to, flags }),
        2 => (choice(), 0u64..200_000_000).prop_map(|(thing, size)| Op::Resize { thing, size }),
        2 => (choice(), 0u32..3, 0u32..1_000_000, 1u32..100_000)
            .prop_map(|(thing, index, pos, len)| Op::Write { thing, index, pos, len }),
        1 => (choice(), 0u16..0o1000).prop_map(|(thing, mode)| Op::Chmod { thing, mode }),
        2 => (choice(), name(), any::<u8>(), mode)
            .prop_map(|(thing, name, value, mode)| Op::SetXattr { thing, name, value, mode }),
        1 => (choice(), name()).prop_map(|(thing, name)| Op::RemoveXattr { thing, name }),
    ]
}

/// An inode of the model.
#[derive(Clone, Debug)]
struct Node {
    kind: FileType,
    mode: u16,
    length: u64,
    /// Of a directory: where it lies.
    parent: usize,
    /// Names in directories; of a directory, whether it is there.
    names: u32,
    entries: BTreeMap<u8, usize>,
    xattrs: BTreeMap<u8, u8>,
}

/// The tree in memory. Nodes stay after their last name has gone.
struct Model {
    nodes: Vec<Node>,
}

/// The root of a case.
const ROOT: usize = 0;

impl Model {
    fn new() -> Self {
        let mut model = Self { nodes: Vec::new() };
        model.add(FileType::Directory, ROOT);
        model
    }

    fn add(&mut self, kind: FileType, parent: usize) -> usize {
        let length = match kind {
            FileType::Directory => 4096,
            FileType::Symlink => 6,
            _ => 0,
        };
        self.nodes.push(Node {
            kind,
            mode: 0o755,
            length,
            parent,
            names: 1,
            entries: BTreeMap::new(),
            xattrs: BTreeMap::new(),
        });
        self.nodes.len() - 1
    }

    /// The chosen one of the directories, or of all else; `None` if there is none.
    fn choose(&self, directory: bool, choice: usize) -> Option<usize> {
        let all = self.nodes.iter().enumerate();
        let all: Vec<_> = all
            .filter(|(_, node)| (node.kind == FileType::Directory) == directory)
            .collect();
        (!all.is_empty()).then(|| all[choice % all.len()].0)
    }

    fn is_dir(&self, node: usize) -> bool {
        self.nodes[node].kind == FileType::Directory
    }

    fn existing(&mut self, node: usize) -> Result<&mut Node> {
        let node = &mut self.nodes[node];
        if node.names == 0 {
            return Err(Error::NotFound);
        }
        Ok(node)
    }

    fn find(&mut self, place: usize, name: u8) -> Result<usize> {
        let entry = self.existing(place)?.entries.get(&name).copied();
        entry.ok_or(Error::NotFound)
    }

    fn free(&mut self, place: usize, name: u8) -> Result<()> {
        match self.find(place, name) {
            Ok(_) => Err(Error::Exists),
            Err(_) => self.existing(place).map(|_| ()),
        }
    }

    fn make(&mut self, place: usize, name: u8, kind: FileType) -> Result<usize> {
        self.free(place, name)?;
        let node = self.add(kind, place);
        self.nodes[place].entries.insert(name, node);
        Ok(node)
    }

    fn link(&mut self, thing: usize, place: usize, name: u8) -> Result<()> {
        self.existing(place)?;
        self.existing(thing)?;
        self.free(place, name)?;
        self.nodes[thing].names += 1;
        self.nodes[place].entries.insert(name, thing);
        Ok(())
    }

    fn remove(&mut self, place: usize, name: u8, directory: bool) -> Result<()> {
        let node = self.find(place, name)?;
        match (self.is_dir(node), directory) {
            (true, false) => return Err(Error::IsDirectory),
            (false, true) => return Err(Error::NotDirectory),
            (true, true) if !self.nodes[node].entries.is_empty() => return Err(Error::NotEmpty),
            _ => {}
        }
        self.nodes[place].entries.remove(&name);
        self.nodes[node].names -= 1;
        Ok(())
    }

    /// Whether `place` is `node` or lies below it.
    fn is_below(&self, node: usize, mut place: usize) -> bool {
        while place != node && place != ROOT {
            place = self.nodes[place].parent;
        }
        place == node
    }

    fn rename(&mut self, from: (usize, u8), to: (usize, u8), flags: RenameFlags) -> Result<()> {
        let node = self.find(from.0, from.1)?;
        self.existing(to.0)?;
        let target = self.find(to.0, to.1).ok();
        if from == to {
            return match flags {
                RenameFlags::NoReplace => Err(Error::Exists),
                _ => Ok(()),
            };
        }
        if self.is_dir(node) && self.is_below(node, to.0) {
            return Err(Error::Invalid);
        }
        if target.is_some() && flags == RenameFlags::NoReplace {
            return Err(Error::Exists);
        }
        match target {
            None if flags == RenameFlags::Exchange => return Err(Error::NotFound),
            Some(target) if target == node => return Ok(()),
            Some(target) if flags == RenameFlags::Exchange => {
                if self.is_dir(target) && self.is_below(target, from.0) {
                    return Err(Error::Invalid);
                }
                self.put(from, target);
            }
            Some(target) => {
                match (self.is_dir(node), self.is_dir(target)) {
                    (true, false) => return Err(Error::NotDirectory),
                    (false, true) => return Err(Error::IsDirectory),
                    (is_dir, _) => self.remove(to.0, to.1, is_dir)?,
                }
                self.nodes[from.0].entries.remove(&from.1);
            }
            None => {
                self.nodes[from.0].entries.remove(&from.1);
            }
        }
        self.put(to, node);
        Ok(())
    }

    fn put(&mut self, (place, name): (usize, u8), node: usize) {
        self.nodes[place].entries.insert(name, node);
        self.nodes[node].parent = place;
    }

    fn nlink(&self, node: usize) -> u32 {
        if !self.is_dir(node) {
            return self.nodes[node].names;
        }
        let below = self.nodes[node].entries.values();
        2 + below.filter(|below| self.is_dir(**below)).count() as u32
    }

    /// Bytes and inodes that the volume counts for it, without the root.
    fn used(&self) -> (u64, u64) {
        let space = |node: &Node| match node.kind {
            FileType::Directory | FileType::Symlink => 4096,
            _ => node.length.max(1).next_multiple_of(4096),
        };
        let there = self.nodes[1..].iter().filter(|node| node.names > 0);
        there.fold((0, 0), |(bytes, inodes), node| {
            (bytes + space(node), inodes + 1)
        })
    }
}

/// A model beside a volume.
struct World<'a> {
    volume: &'a Volume,
    model: Model,
    /// The inodes of the model's nodes.
    inos: Vec<Ino>,
}

fn name_of(name: u8) -> Vec<u8> {
    vec![b'a' + name]
}

impl World<'_> {
    async fn run(&mut self, op: &Op) {
        match *op {
            Op::Make { place, name, kind } => self.make(place, name, kind).await,
            Op::Link { thing, place, name } => self.link(thing, place, name).await,
            Op::Unlink { place, name } => self.remove(place, name, false).await,
            Op::Rmdir { place, name } => self.remove(place, name, true).await,
            Op::Rename { from, to, flags } => self.rename(from, to, flags).await,
            Op::Resize { thing, size } => self.resize(thing, size).await,
            Op::Write {
                thing,
                index,
                pos,
                len,
            } => self.write(thing, index, pos, len).await,
            Op::Chmod { thing, mode } => self.chmod(thing, mode).await,
            Op::SetXattr {
                thing,
                name,
                value,
                mode,
            } => {
                self.set_xattr(thing, name, value, mode).await;
            }
            Op::RemoveXattr { thing, name } => self.remove_xattr(thing, name).await,
        }
    }

    fn place(&self, choice: usize) -> usize {
        self.model.choose(true, choice).unwrap()
    }

    /// A file, if that is what the choice falls on.
    fn file(&self, choice: usize) -> Option<usize> {
        let thing = self.model.choose(false, choice)?;
        (self.model.nodes[thing].kind == FileType::File).then_some(thing)
    }

    async fn make(&mut self, place: usize, name: u8, kind: FileType) {
        let place = self.place(place);
        let is_link = kind == FileType::Symlink;
        let node = NewNode {
            kind,
            mode: 0o755,
            target: if is_link {
                b"target".to_vec()
            } else {
                Vec::new()
            },
            ..NewNode::default()
        };
        let (call, dir) = (self.volume.call(), self.inos[place]);
        let made = self
            .volume
            .meta
            .create(&call, dir, &name_of(name), &node)
            .await;
        let expected = self.model.make(place, name, kind);
        assert_eq!(made.as_ref().err(), expected.as_ref().err());
        if let (Ok((ino, attr)), Ok(node)) = (made, expected) {
            self.inos.push(ino);
            self.check_attr(node, &attr);
        }
    }

    async fn link(&mut self, thing: usize, place: usize, name: u8) {
        let Some(thing) = self.model.choose(false, thing) else {
            return;
        };
        let place = self.place(place);
        let (call, ino, dir) = (self.volume.call(), self.inos[thing], self.inos[place]);
        let linked = self.volume.meta.link(&call, ino, dir, &name_of(name)).await;
        let expected = self.model.link(thing, place, name);
        assert_eq!(linked.as_ref().err(), expected.as_ref().err());
        if let Ok(attr) = linked {
            self.check_attr(thing, &attr);
        }
    }

    async fn remove(&mut self, place: usize, name: u8, directory: bool) {
        let place = self.place(place);
        let (call, dir, meta) = (self.volume.call(), self.inos[place], &self.volume.meta);
        let removed = if directory {
            meta.rmdir(&call, dir, &name_of(name)).await
        } else {
            meta.unlink(&call, dir, &name_of(name)).await
        };
        assert_eq!(removed, self.model.remove(place, name, directory));
    }

    async fn rename(&mut self, from: (usize, u8), to: (usize, u8), flags: RenameFlags) {
        let from = (self.place(from.0), from.1);
        let to = (self.place(to.0), to.1);
        let (old, new) = (name_of(from.1), name_of(to.1));
        let (dir, new_dir) = (self.inos[from.0], self.inos[to.0]);
        let (call, meta) = (self.volume.call(), &self.volume.meta);
        let moved = meta.rename(&call, dir, &old, new_dir, &new, flags).await;
        let expected = self.model.rename(from, to, flags);
        assert_eq!(moved.err(), expected.err());
    }

    async fn resize(&mut self, thing: usize, size: u64) {
        let set = SetAttr {
            size: Some(size),
            ..SetAttr::default()
        };
        if let Some(thing) = self.file(thing) {
            self.set_attr(thing, &set, |node| node.length = size).await;
        }
    }

    async fn chmod(&mut self, thing: usize, mode: u16) {
        let set = SetAttr {
            mode: Some(mode),
            ..SetAttr::default()
        };
        if let Some(thing) = self.file(thing) {
            self.set_attr(thing, &set, |node| node.mode = mode).await;
        }
    }

    async fn set_attr(&mut self, thing: usize, set: &SetAttr, change: impl Fn(&mut Node)) {
        let (call, ino) = (self.volume.call(), self.inos[thing]);
        let answer = self.volume.meta.setattr(&call, ino, set).await;
        let expected = self.model.existing(thing).map(change);
        assert_eq!(answer.as_ref().err(), expected.as_ref().err());
        if let Ok(attr) = answer {
            self.check_attr(thing, &attr);
        }
    }

    async fn write(&mut self, thing: usize, index: u32, pos: u32, len: u32) {
        let Some(thing) = self.file(thing) else {
            return;
        };
        let (call, ino, meta) = (self.volume.call(), self.inos[thing], &self.volume.meta);
        let commit = SliceCommit {
            ino,
            index,
            slice: Slice::whole(pos, unused_slice(), len),
            mtime: Timestamp::default(),
        };
        let answers = meta.commit(&call, &[commit]).await.unwrap();
        let end = u64::from(index) * carafe_types::CHUNK_SIZE + u64::from(pos + len);
        let expected = self.model.existing(thing);
        let expected = expected.map(|node| node.length = node.length.max(end));
        assert_eq!(answers[0].1.as_ref().err(), expected.as_ref().err());
        if let Ok(attr) = &answers[0].1 {
            self.check_attr(thing, attr);
        }
    }

    async fn set_xattr(&mut self, thing: usize, name: u8, value: u8, mode: XattrMode) {
        let Some(thing) = self.model.choose(false, thing) else {
            return;
        };
        let (call, ino, key) = (self.volume.call(), self.inos[thing], name_of(name));
        let bytes = [value];
        let set = self.volume.meta.setxattr(&call, ino, &key, &bytes, mode);
        let set = set.await;
        let expected = self.model.existing(thing).and_then(|node| {
            match (mode, node.xattrs.contains_key(&name)) {
                (XattrMode::Create, true) => Err(Error::Exists),
                (XattrMode::Replace, false) => Err(Error::NoAttribute),
                _ => Ok(node.xattrs.insert(name, value)),
            }
        });
        assert_eq!(set.err(), expected.err());
    }

    async fn remove_xattr(&mut self, thing: usize, name: u8) {
        let Some(thing) = self.model.choose(false, thing) else {
            return;
        };
        let (call, ino, key) = (self.volume.call(), self.inos[thing], name_of(name));
        let removed = self.volume.meta.removexattr(&call, ino, &key).await;
        let expected = self.model.existing(thing);
        let expected =
            expected.and_then(|node| node.xattrs.remove(&name).ok_or(Error::NoAttribute));
        assert_eq!(removed.err(), expected.err());
    }

    fn check_attr(&self, node: usize, attr: &Attr) {
        let expected = &self.model.nodes[node];
        assert_eq!(
            (attr.kind, attr.mode, attr.length, attr.nlink),
            (
                expected.kind,
                expected.mode,
                expected.length,
                self.model.nlink(node)
            ),
            "type, mode, length and links of node {node}"
        );
    }

    /// Compares all that is there, and that nothing else is.
    async fn check(&self) {
        for (node, expected) in self.model.nodes.iter().enumerate() {
            let attr = self
                .volume
                .meta
                .getattr(&self.volume.call(), self.inos[node])
                .await;
            if expected.names == 0 {
                assert_eq!(attr, Err(Error::NotFound), "node {node} is gone");
                continue;
            }
            self.check_attr(node, &attr.unwrap());
            self.check_xattrs(node).await;
            if expected.kind == FileType::Directory {
                self.check_entries(node).await;
            }
        }
    }

    async fn check_xattrs(&self, node: usize) {
        let (call, ino) = (self.volume.call(), self.inos[node]);
        let names = self.volume.meta.listxattr(&call, ino).await.unwrap();
        let mut found = BTreeMap::new();
        for name in names {
            let value = self.volume.meta.getxattr(&call, ino, &name).await;
            found.insert(name, value.unwrap());
        }
        let expected = self.model.nodes[node].xattrs.iter();
        let expected = expected.map(|(name, value)| (name_of(*name), vec![*value]));
        assert_eq!(found, expected.collect(), "attributes of node {node}");
    }

    async fn check_entries(&self, node: usize) {
        let (call, ino) = (self.volume.call(), self.inos[node]);
        let page = self
            .volume
            .meta
            .readdir(&call, ino, carafe_meta::Cursor(0), 100, true);
        let page = page.await.unwrap();
        assert!(page.end);
        let found: BTreeMap<_, _> = page
            .entries
            .into_iter()
            .map(|entry| (entry.name, entry.ino))
            .collect();
        let expected = self.model.nodes[node].entries.iter();
        let expected = expected.map(|(name, node)| (name_of(*name), self.inos[*node]));
        assert_eq!(found, expected.collect(), "entries of node {node}");
    }
}

fn unused_slice() -> SliceId {
    static NEXT: AtomicU64 = AtomicU64::new(1 << 40);
    SliceId(NEXT.fetch_add(1, Ordering::Relaxed))
}

async fn play(volume: &Volume, ops: &[Op]) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let case = NEXT.fetch_add(1, Ordering::Relaxed);
    let root = volume.dir(Ino::ROOT, &format!("case-{case}")).await;
    let before = volume.used().await;
    let mut world = World {
        volume,
        model: Model::new(),
        inos: vec![root],
    };
    for op in ops {
        world.run(op).await;
    }
    world.check().await;
    let (bytes, inodes) = world.model.used();
    let expected = (before.0 + bytes, before.1 + inodes);
    assert_eq!(volume.used().await, expected, "bytes and inodes in use");
}

fn cases() -> u32 {
    let set = std::env::var("PROPTEST_CASES").ok();
    set.map_or(24, |cases| cases.parse().unwrap())
}

async fn random_operations_match_a_model(volume: Volume) {
    let config = ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        max_shrink_iters: 2000,
        ..ProptestConfig::default()
    };
    let handle = Handle::current();
    let ended = tokio::task::block_in_place(|| {
        let ops = prop::collection::vec(op(), 1..50);
        TestRunner::new(config).run(&ops, |ops| {
            handle.block_on(play(&volume, &ops));
            Ok(())
        })
    });
    if let Err(TestError::Fail(reason, ops)) = ended {
        panic!("{reason}\nafter {ops:#?}");
    }
    ended.unwrap();
}
