//! Access control lists.
//!
//! A list on record never changes, and equal lists share a number, which inodes refer
//! to. So a client keeps those that it met; a plan that needs another one **asks**, stops,
//! and runs again when the client has it. A list that nobody refers to is harmless.

use std::{collections::HashMap, sync::Arc};

use carafe_types::{Acl, AclKind, Attr, Error, Ino};
use parking_lot::Mutex;

use crate::ops::{Ctx, Mutation, Plan, Planned, Read, Reads, existing};

/// Lists that a client keeps.
const MAX_KNOWN: usize = 16 << 10;

/// What a plan needs to know first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The list with this number.
    List(u32),
    /// This list's number.
    Number(Acl),
}

/// The lists that a client met.
#[derive(Debug, Default)]
pub(crate) struct Known {
    lists: HashMap<u32, Arc<Acl>>,
    numbers: HashMap<Arc<Acl>, u32>,
}

impl Known {
    /// Keeps a list.
    pub(crate) fn learn(&mut self, number: u32, list: Acl) {
        if self.lists.len() >= MAX_KNOWN {
            *self = Self::default();
        }
        let list = Arc::new(list);
        self.numbers.insert(Arc::clone(&list), number);
        self.lists.insert(number, list);
    }
}

/// The lists as one operation's plan sees them.
#[derive(Debug)]
pub(crate) struct View {
    known: Arc<Mutex<Known>>,
    wanted: Mutex<Option<Wanted>>,
}

impl View {
    pub(crate) fn new(known: Arc<Mutex<Known>>) -> Self {
        Self {
            known,
            wanted: Mutex::default(),
        }
    }

    /// What the last run asked for.
    pub(crate) fn take_wanted(&self) -> Option<Wanted> {
        self.wanted.lock().take()
    }

    fn list(&self, number: u32) -> Read<Arc<Acl>> {
        match self.known.lock().lists.get(&number) {
            Some(list) => Ok(Arc::clone(list)),
            None => self.ask(Wanted::List(number)),
        }
    }

    /// The number of a list; 0 for a minimal access list, which the mode stands for.
    fn number(&self, list: &Acl) -> Read<u32> {
        match self.known.lock().numbers.get(list) {
            Some(number) => Ok(*number),
            None => self.ask(Wanted::Number(list.clone())),
        }
    }

    fn ask<T>(&self, wanted: Wanted) -> Read<T> {
        *self.wanted.lock() = Some(wanted);
        Err(Error::Io("an access control list is not known".into()).into())
    }
}

/// An inode's list; `NoAttribute` if it has none.
pub(crate) fn get(reads: &dyn Reads, ctx: &Ctx, ino: Ino, kind: AclKind) -> Read<Acl> {
    let lists = lists(ctx)?;
    let attr = existing(reads, ino)?;
    match kind {
        AclKind::Access if attr.access_acl != 0 => {
            Ok(lists.list(attr.access_acl)?.with_mode(attr.mode))
        }
        AclKind::Default if attr.default_acl != 0 => {
            lists.list(attr.default_acl).map(|list| (*list).clone())
        }
        _ => Err(Error::NoAttribute.into()),
    }
}

/// Sets or removes an inode's list. An access list sets the mode too; `kill_sgid` says
/// that the caller may not give the group's identity away.
pub(crate) fn set(
    reads: &dyn Reads,
    ctx: &Ctx,
    ino: Ino,
    kind: AclKind,
    list: Option<&Acl>,
    kill_sgid: bool,
) -> Plan<Attr> {
    let lists = lists(ctx)?;
    let old = existing(reads, ino)?;
    if old.parent > Ino::TRASH && ctx.uid != 0 {
        return Err(Error::NotPermitted.into());
    }
    let mut attr = old.clone();
    match (kind, list) {
        (AclKind::Access, list) => {
            set_access(lists, &mut attr, list)?;
            if kill_sgid {
                attr.mode &= !0o2000;
            }
        }
        (AclKind::Default, None) => attr.default_acl = 0,
        (AclKind::Default, Some(_)) if !attr.is_dir() => {
            return Err(Error::PermissionDenied.into());
        }
        (AclKind::Default, Some(list)) => attr.default_acl = lists.number(list)?,
    }
    if attr == old {
        return Planned::unchanged(attr);
    }
    attr.ctime = ctx.now;
    let changed = Mutation::SetNode {
        ino,
        attr: attr.clone(),
    };
    Planned::with(attr, vec![changed])
}

fn set_access(lists: &View, attr: &mut Attr, list: Option<&Acl>) -> Read<()> {
    let Some(list) = list else {
        attr.access_acl = 0;
        return Ok(());
    };
    attr.access_acl = if list.is_minimal() {
        0
    } else {
        lists.number(list)?
    };
    attr.mode = attr.mode & 0o7000 | list.mode();
    Ok(())
}

/// Lets an access list follow a new mode.
pub(super) fn follow_mode(ctx: &Ctx, attr: &mut Attr) -> Read<()> {
    if let Some(lists) = ctx.acls.as_ref().filter(|_| attr.access_acl != 0) {
        let list = lists.list(attr.access_acl)?.with_mode(attr.mode);
        attr.access_acl = lists.number(&list)?;
    }
    Ok(())
}

/// Gives what is made in `dir` its lists, and its mode what is left of them. Whether it
/// did: then the umask counts for nothing.
pub(super) fn inherit(ctx: &Ctx, dir: &Attr, attr: &mut Attr) -> Read<bool> {
    let Some(lists) = ctx.acls.as_ref().filter(|_| dir.default_acl != 0) else {
        return Ok(false);
    };
    if attr.kind == carafe_types::FileType::Symlink {
        return Ok(false);
    }
    if attr.is_dir() {
        attr.default_acl = dir.default_acl;
    }
    let list = lists.list(dir.default_acl)?.inherited(attr.mode);
    set_access(lists, attr, Some(&list))?;
    Ok(true)
}

/// Volumes without lists refuse them.
fn lists(ctx: &Ctx) -> Read<&View> {
    Ok(ctx.acls.as_deref().ok_or(Error::Unsupported)?)
}
