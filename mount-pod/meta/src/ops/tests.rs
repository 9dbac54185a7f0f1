//! Plans on a model in memory: after any operations the books agree with the tree.

use std::collections::{BTreeMap, BTreeSet};

use carafe_types::SliceId;
use proptest::prelude::*;

use super::{
    create::{create, link},
    remove::{rmdir, unlink},
    rename::{Move, rename},
    *,
};
use crate::{DirStat, NewNode, Quota, QuotaUsage, RenameFlags, VolumeRecord};

/// A database of maps.
#[derive(Default)]
struct Model {
    nodes: BTreeMap<Ino, Attr>,
    entries: BTreeMap<(Ino, Vec<u8>), Entry>,
    quotas: BTreeMap<Ino, QuotaUsage>,
    stats: BTreeMap<Ino, [i64; 3]>,
    sustained: BTreeSet<Ino>,
    deleted: BTreeSet<Ino>,
    used: (i64, i64),
}

impl Reads for Model {
    fn setting(&self) -> Read<Option<String>> {
        Ok(None)
    }
    fn node(&self, ino: Ino) -> Read<Option<Attr>> {
        Ok(self.nodes.get(&ino).cloned())
    }
    fn dir(&self, ino: Ino) -> Read<Option<Attr>> {
        self.node(ino)
    }
    fn parent(&self, ino: Ino) -> Read<Option<Ino>> {
        Ok(self.nodes.get(&ino).map(|attr| attr.parent))
    }
    fn entry(&self, parent: Ino, name: &[u8]) -> Read<Option<Entry>> {
        Ok(self.entries.get(&(parent, name.to_vec())).copied())
    }
    fn has_entries(&self, ino: Ino) -> Read<bool> {
        Ok(self.entries.keys().any(|(parent, _)| *parent == ino))
    }
    fn parents(&self, ino: Ino) -> Read<Vec<(Ino, i64)>> {
        let mut counts = BTreeMap::new();
        for ((parent, _), entry) in &self.entries {
            if entry.ino == ino {
                *counts.entry(*parent).or_insert(0) += 1;
            }
        }
        Ok(counts.into_iter().collect())
    }
    fn symlink(&self, _: Ino) -> Read<Option<Vec<u8>>> {
        Ok(None)
    }
    fn xattr(&self, _: Ino, _: &[u8]) -> Read<Option<Vec<u8>>> {
        Ok(None)
    }
    fn xattr_names(&self, _: Ino) -> Read<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }
    fn chunk(&self, _: Ino, _: u32) -> Read<Vec<carafe_types::Slice>> {
        Ok(Vec::new())
    }
    fn chunk_front(&self, _: Ino, _: u32, _: usize) -> Read<Vec<carafe_types::Slice>> {
        Ok(Vec::new())
    }
    fn flocks(&self, _: Ino) -> Read<Vec<FlockRow>> {
        Ok(Vec::new())
    }
    fn plocks(&self, _: Ino) -> Read<Vec<PlockRow>> {
        Ok(Vec::new())
    }
    fn counter(&self, _: Counter) -> Read<i64> {
        Ok(0)
    }
    fn quota(&self, ino: Ino) -> Read<Option<QuotaUsage>> {
        Ok(self.quotas.get(&ino).copied())
    }
    fn has_dir_stat(&self, dir: Ino) -> Read<bool> {
        Ok(self.stats.contains_key(&dir))
    }
    fn dir_stat(&self, dir: Ino) -> Read<Option<DirStat>> {
        let stat = |&[length, space, inodes]: &[i64; 3]| DirStat {
            length,
            space,
            inodes,
        };
        Ok(self.stats.get(&dir).map(stat))
    }
    fn delayed(&self, _: DelayedKey) -> Read<Option<Vec<(SliceId, u32)>>> {
        Ok(None)
    }
    fn has_session(&self, _: SessionId) -> Read<bool> {
        Ok(true)
    }
    fn slice_refs(&self, _: SliceId, _: u32) -> Read<i64> {
        Ok(1)
    }
    fn volume(&self, _: &str) -> Read<Option<VolumeRecord>> {
        Ok(None)
    }
    fn volumes_at(&self, _: &str) -> Read<Vec<VolumeRecord>> {
        Ok(Vec::new())
    }
}

const TRASH_HOUR: Ino = Ino(Ino::TRASH.0 + 1);

impl Model {
    fn new() -> Self {
        let mut model = Self::default();
        for ino in [Ino::ROOT, TRASH_HOUR] {
            let attr = Attr {
                kind: FileType::Directory,
                mode: 0o777,
                nlink: 2,
                parent: Ino::ROOT,
                ..Attr::default()
            };
            model.nodes.insert(ino, attr);
            model.stats.insert(ino, [0; 3]);
        }
        model
    }

    fn apply(&mut self, mutation: Mutation) {
        match mutation {
            Mutation::NewNode { ino, attr } => assert!(self.nodes.insert(ino, attr).is_none()),
            Mutation::SetNode { ino, attr } => assert!(self.nodes.insert(ino, attr).is_some()),
            Mutation::DropNode { ino } => assert!(self.nodes.remove(&ino).is_some()),
            Mutation::TouchDir { ino, nlink, .. } => {
                let attr = self.nodes.get_mut(&ino).unwrap();
                attr.nlink = attr.nlink.checked_add_signed(nlink).unwrap();
            }
            Mutation::SetEntry {
                parent,
                name,
                kind,
                ino,
            } => {
                self.entries.insert((parent, name), Entry { kind, ino });
            }
            Mutation::DropEntry { parent, name } => {
                assert!(self.entries.remove(&(parent, name)).is_some());
            }
            Mutation::Use { space, inodes, .. } => {
                self.used = (self.used.0 + space, self.used.1 + inodes);
            }
            Mutation::UseQuota { dir, space, inodes } => {
                let quota = self.quotas.get_mut(&dir).unwrap();
                (quota.used_bytes, quota.used_inodes) =
                    (quota.used_bytes + space, quota.used_inodes + inodes);
            }
            Mutation::DropQuota { dir } => {
                self.quotas.remove(&dir);
            }
            Mutation::InitDirStat { dir } => {
                self.stats.insert(dir, [0; 3]);
            }
            Mutation::DropDirStat { dir } => {
                self.stats.remove(&dir);
            }
            Mutation::DirStat {
                dir,
                length,
                space,
                inodes,
            } => {
                let stat = self.stats.get_mut(&dir).unwrap();
                *stat = [stat[0] + length, stat[1] + space, stat[2] + inodes];
            }
            Mutation::Sustain { ino, .. } => assert!(self.sustained.insert(ino)),
            Mutation::AddDeleted { ino, .. } => assert!(self.deleted.insert(ino)),
            _ => {}
        }
    }

    /// Runs a plan as an engine does, and answers whether it was done.
    fn run<T>(&mut self, plan: Plan<T>) -> Option<T> {
        match plan {
            Ok(planned) => {
                planned
                    .mutations
                    .into_iter()
                    .for_each(|mutation| self.apply(mutation));
                Some(planned.answer)
            }
            Err(Stop::Answer(_)) => None,
            Err(Stop::Missing) => panic!("the model has everything"),
        }
    }

    fn children(&self, dir: Ino) -> impl Iterator<Item = Entry> {
        self.entries
            .range((dir, Vec::new())..)
            .take_while(move |((parent, _), _)| *parent == dir)
            .map(|(_, entry)| *entry)
    }

    /// Bytes and inodes below a directory, by walking.
    fn below(&self, dir: Ino) -> (i64, i64) {
        self.children(dir).fold((0, 0), |sum, entry| {
            let deeper = if entry.kind == FileType::Directory {
                self.below(entry.ino)
            } else {
                (0, 0)
            };
            (
                sum.0 + deeper.0 + inode_space(&self.nodes[&entry.ino]),
                sum.1 + deeper.1 + 1,
            )
        })
    }

    fn check(&self) {
        let mut names: BTreeMap<Ino, u32> = BTreeMap::new();
        for ((parent, name), entry) in &self.entries {
            let attr = self
                .nodes
                .get(&entry.ino)
                .unwrap_or_else(|| panic!("{name:?} names nothing"));
            assert_eq!(attr.kind, entry.kind);
            *names.entry(entry.ino).or_default() += 1;
            if attr.is_dir() {
                assert_eq!(attr.parent, *parent);
            }
        }
        for (ino, attr) in self.nodes.iter().filter(|(ino, _)| !ino.is_trash()) {
            if attr.is_dir() {
                let dirs = self
                    .children(*ino)
                    .filter(|entry| entry.kind == FileType::Directory)
                    .count() as u32;
                assert_eq!(attr.nlink, 2 + dirs, "links of directory {ino}");
            } else {
                assert_eq!(
                    attr.nlink,
                    names.get(ino).copied().unwrap_or(0),
                    "names of {ino}"
                );
                assert_eq!(attr.nlink == 0, self.sustained.contains(ino));
            }
        }
        let inodes: Vec<_> = self
            .nodes
            .iter()
            .filter(|(ino, _)| !ino.is_trash() && **ino != Ino::ROOT)
            .collect();
        let space = inodes.iter().map(|(_, attr)| inode_space(attr)).sum();
        assert_eq!(
            self.used,
            (space, inodes.len() as i64),
            "the volume's usage"
        );
        for (dir, quota) in &self.quotas {
            assert_eq!(
                (quota.used_bytes, quota.used_inodes),
                self.below(*dir),
                "the quota of {dir}"
            );
        }
        for (dir, stat) in self
            .stats
            .iter()
            .filter(|(dir, _)| !dir.is_trash() && !self.in_trash(**dir))
        {
            let sums = self.children(*dir).fold([0, 0, 0], |sum, entry| {
                let share = Share::of(&self.nodes[&entry.ino]);
                [
                    sum[0] + share.length,
                    sum[1] + share.space,
                    sum[2] + share.inodes,
                ]
            });
            assert_eq!(*stat, sums, "the statistics of {dir}");
        }
    }

    fn in_trash(&self, dir: Ino) -> bool {
        self.nodes
            .get(&dir)
            .is_none_or(|attr| attr.parent.is_trash())
    }
}

#[derive(Clone, Debug)]
enum Step {
    Make {
        dir: usize,
        name: u8,
        is_dir: bool,
    },
    Link {
        file: usize,
        dir: usize,
        name: u8,
    },
    Unlink {
        dir: usize,
        name: u8,
    },
    Rmdir {
        dir: usize,
        name: u8,
    },
    Rename {
        from: usize,
        name: u8,
        to: usize,
        new: u8,
        flags: u8,
    },
    Resize {
        file: usize,
        size: u64,
    },
    Open {
        file: usize,
    },
    Limit {
        dir: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (at, name) = (0usize..8, 0u8..5);
    prop_oneof![
        4 => (at.clone(), name.clone(), any::<bool>()).prop_map(|(dir, name, is_dir)| Step::Make { dir, name, is_dir }),
        1 => (at.clone(), at.clone(), name.clone()).prop_map(|(file, dir, name)| Step::Link { file, dir, name }),
        2 => (at.clone(), name.clone()).prop_map(|(dir, name)| Step::Unlink { dir, name }),
        2 => (at.clone(), name.clone()).prop_map(|(dir, name)| Step::Rmdir { dir, name }),
        4 => (at.clone(), name.clone(), at.clone(), name, 0u8..3)
            .prop_map(|(from, name, to, new, flags)| Step::Rename { from, name, to, new, flags }),
        2 => (at.clone(), 0u64..200_000).prop_map(|(file, size)| Step::Resize { file, size }),
        1 => at.clone().prop_map(|file| Step::Open { file }),
        1 => at.prop_map(|dir| Step::Limit { dir }),
    ]
}

/// The `index`th inode of a kind that is not in the trash.
fn pick(model: &Model, index: usize, dirs: bool) -> Option<Ino> {
    let fits: Vec<_> = model
        .nodes
        .iter()
        .filter(|(ino, attr)| {
            !ino.is_trash()
                && attr.is_dir() == dirs
                && (**ino == Ino::ROOT || !attr.parent.is_trash())
        })
        .map(|(ino, _)| *ino)
        .collect();
    (!fits.is_empty()).then(|| fits[index % fits.len()])
}

fn run_step(model: &mut Model, ctx: &mut Ctx, step: &Step, next: &mut u64) -> Option<()> {
    match step.clone() {
        Step::Make { dir, name, is_dir } => {
            *next += 1;
            let kind = if is_dir {
                FileType::Directory
            } else {
                FileType::File
            };
            let node = NewNode {
                kind,
                mode: 0o755,
                ..NewNode::default()
            };
            let plan = create(
                model,
                ctx,
                pick(model, dir, true)?,
                &[b'a' + name],
                &node,
                Ino(*next),
            );
            model.run(plan).map(|_| ())
        }
        Step::Link { file, dir, name } => {
            let plan = link(
                model,
                ctx,
                pick(model, file, false)?,
                pick(model, dir, true)?,
                &[b'a' + name],
            );
            model.run(plan).map(|_| ())
        }
        Step::Unlink { dir, name } => {
            let plan = unlink(model, ctx, pick(model, dir, true)?, &[b'a' + name]);
            model.run(plan)
        }
        Step::Rmdir { dir, name } => {
            let plan = rmdir(model, ctx, pick(model, dir, true)?, &[b'a' + name]);
            model.run(plan)
        }
        Step::Rename {
            from,
            name,
            to,
            new,
            flags,
        } => {
            let (from, to) = (pick(model, from, true)?, pick(model, to, true)?);
            let flags = [
                RenameFlags::None,
                RenameFlags::NoReplace,
                RenameFlags::Exchange,
            ][flags as usize];
            let moved = model.entry(from, &[b'a' + name]).ok()??;
            let below = model.below(moved.ino);
            let tree = Some((below.0 + 4096, below.1 + 1));
            let plan = rename(
                model,
                ctx,
                Move {
                    from,
                    name: &[b'a' + name],
                    to,
                    new_name: &[b'a' + new],
                    tree,
                    into_trash: false,
                },
                flags,
            );
            model.run(plan).map(|_| ())
        }
        Step::Resize { file, size } => {
            let plan = attrs::truncate(model, ctx, pick(model, file, false)?, size);
            model.run(plan).map(|_| ())
        }
        Step::Open { file } => {
            ctx.opens
                .lock()
                .insert((ctx.session, pick(model, file, false)?));
            Some(())
        }
        Step::Limit { dir } => {
            let dir = pick(model, dir, true)?;
            let (used_bytes, used_inodes) = model.below(dir);
            let quota = Quota {
                max_bytes: 1 << 40,
                max_inodes: 0,
            };
            model.quotas.insert(
                dir,
                QuotaUsage {
                    quota,
                    used_bytes,
                    used_inodes,
                },
            );
            Some(())
        }
    }
}

fn ctx(trash: Option<Ino>) -> Ctx {
    Ctx {
        now: Timestamp { secs: 1, nanos: 0 },
        uid: 0,
        gid: 0,
        groups: Arc::from([]),
        session: SessionId(1),
        capacity: 0,
        max_inodes: 0,
        dir_stats: true,
        trash,
        opens: Arc::default(),
        quotas: Arc::default(),
        acls: None,
        checked: false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_books_agree_with_the_tree(steps in prop::collection::vec(step(), 1..60), trash: bool) {
        let mut model = Model::new();
        let mut ctx = ctx(trash.then_some(TRASH_HOUR));
        let mut next = 1;
        for step in steps {
            ctx.quotas = Arc::new(model.quotas.keys().copied().collect());
            run_step(&mut model, &mut ctx, &step, &mut next);
            model.check();
        }
    }
}

#[test]
fn a_plan_that_fails_changes_nothing() {
    let model = Model::new();
    let plan = unlink(&model, &ctx(None), Ino::ROOT, b"none");
    assert_eq!(
        plan.map(|planned| planned.mutations),
        Err(Stop::Answer(Error::NotFound))
    );
}

#[test]
fn names_in_the_trash_are_the_peers() {
    let place = remove::Place {
        parent: Ino(5),
        name: &[b'x'; 255],
        entry: Entry {
            kind: FileType::File,
            ino: Ino(77),
        },
    };
    let name = remove::trash_name(place);
    assert_eq!((name.len(), &name[..6]), (255, &b"5-77-x"[..]));
}
