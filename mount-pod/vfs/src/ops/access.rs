//! Permissions, where the kernel does not check them: on a mount that squashes callers.
//!
//! Each operation asks for what it needs of the inodes that it names. Directories on the
//! way to them are checked by lookups, which the kernel leaves out for names that it
//! keeps; so a directory's `x` bit holds once the kernel has forgotten what was below.
//! A caller's supplementary groups come from /proc, and only when they matter.

use carafe_meta::{Call, SetAttr};
use carafe_types::{Acl, AclKind, Attr, Error, FileType, Ino, Result};

use crate::{OpenFlags, Vfs, shared::Core};

pub(crate) const READ: u16 = 4;
pub(crate) const WRITE: u16 = 2;
pub(crate) const SEARCH: u16 = 1;
const STICKY: u16 = 0o1000;

impl Vfs {
    /// access(2): whether the caller may do all of `wanted`, the bits of `R_OK`, `W_OK`
    /// and `X_OK`.
    pub async fn access(&self, call: &Call, ino: Ino, wanted: u16) -> Result<()> {
        self.core.permit(call, ino, wanted & 7).await
    }
}

impl Core {
    /// Whether this call is to be checked: root may do all. Nor does the kernel know then
    /// whose writes take suid away.
    pub(crate) fn checks(&self, call: &Call) -> bool {
        self.config.squash.is_on() && call.uid != 0
    }

    /// Refuses unless the caller may do all of `wanted` with the inode.
    pub(crate) async fn permit(&self, call: &Call, ino: Ino, wanted: u16) -> Result<()> {
        if !self.checks(call) {
            return Ok(());
        }
        if let Some(node) = self.internal_node(ino) {
            let attr = self.internal_attributes(call, node).await?.attr;
            return self.permit_attr(call, ino, &attr, wanted).await;
        }
        let ino = self.inner(ino)?;
        let attr = self.meta.getattr(call, ino).await?;
        self.permit_attr(call, ino, &attr, wanted).await
    }

    /// As [`Core::permit`], by the volume's own number.
    pub(crate) async fn permit_inner(&self, call: &Call, ino: Ino, wanted: u16) -> Result<()> {
        if !self.checks(call) {
            return Ok(());
        }
        let attr = self.meta.getattr(call, ino).await?;
        self.permit_attr(call, ino, &attr, wanted).await
    }

    async fn permit_attr(&self, call: &Call, ino: Ino, attr: &Attr, wanted: u16) -> Result<()> {
        let list = match attr.access_acl {
            0 => Acl::default().with_mode(attr.mode),
            _ if self.config.acls => self.meta.acl(call, ino, AclKind::Access).await?,
            _ => Acl::default().with_mode(attr.mode),
        };
        let owners = (attr.uid, attr.gid);
        let known = |gid| call.gid == gid || call.groups.contains(&gid);
        if list.permits(owners, call.uid, known, wanted) {
            return Ok(());
        }
        let groups = self.groups_of(call).await;
        let all = |gid| known(gid) || groups.contains(&gid);
        if list.permits(owners, call.uid, all, wanted) {
            Ok(())
        } else {
            Err(Error::PermissionDenied)
        }
    }

    /// The caller's supplementary groups. Somebody who was squashed has none.
    async fn groups_of(&self, call: &Call) -> Vec<u32> {
        if call.pid == 0 || self.config.squash.all.is_some() || call.squashed {
            return Vec::new();
        }
        let path = format!("/proc/{}/status", call.pid);
        let status = tokio::fs::read_to_string(path).await.unwrap_or_default();
        let groups = status.lines().find_map(|line| line.strip_prefix("Groups:"));
        let numbers = groups.unwrap_or_default().split_whitespace();
        numbers.filter_map(|group| group.parse().ok()).collect()
    }

    /// For changes that are the owner's: mode, times, access control lists.
    pub(crate) async fn permit_owner(&self, call: &Call, ino: Ino) -> Result<()> {
        if !self.checks(call) || self.meta.getattr(call, ino).await?.uid == call.uid {
            Ok(())
        } else {
            Err(Error::NotPermitted)
        }
    }

    /// Only root.
    pub(crate) fn permit_root(&self, call: &Call) -> Result<()> {
        if self.checks(call) {
            Err(Error::NotPermitted)
        } else {
            Ok(())
        }
    }

    /// For an open file.
    pub(crate) async fn permit_open(&self, call: &Call, ino: Ino, flags: OpenFlags) -> Result<()> {
        let mut wanted = 0;
        if flags.readable() {
            wanted |= READ;
        }
        if flags.writable() || flags.truncate() {
            wanted |= WRITE;
        }
        self.permit(call, ino, wanted).await
    }

    /// For the removal of a name from a directory: in a sticky one it is the owners'.
    pub(crate) async fn permit_removal(&self, call: &Call, dir: Ino, name: &[u8]) -> Result<()> {
        if !self.checks(call) {
            return Ok(());
        }
        let attr = self.meta.getattr(call, dir).await?;
        self.permit_attr(call, dir, &attr, WRITE | SEARCH).await?;
        if attr.mode & STICKY == 0 || attr.uid == call.uid {
            return Ok(());
        }
        let (_, entry) = self.meta.lookup(call, dir, name).await?;
        if entry.uid == call.uid {
            Ok(())
        } else {
            Err(Error::NotPermitted)
        }
    }

    /// For a move: a directory that comes elsewhere gets another `..`.
    pub(crate) async fn permit_move(
        &self,
        call: &Call,
        (from, name): (Ino, &[u8]),
        to: Ino,
    ) -> Result<()> {
        if !self.checks(call) {
            return Ok(());
        }
        self.permit_removal(call, from, name).await?;
        self.permit_inner(call, to, WRITE | SEARCH).await?;
        if from == to {
            return Ok(());
        }
        let (ino, attr) = self.meta.lookup(call, from, name).await?;
        if attr.is_dir() {
            self.permit_attr(call, ino, &attr, WRITE).await
        } else {
            Ok(())
        }
    }

    /// For changes of attributes; `opened` says that a size comes through a handle that
    /// may write. Answers what is to be changed: somebody outside a file's group cannot
    /// give the group's identity away.
    pub(crate) async fn permit_setattr(
        &self,
        call: &Call,
        ino: Ino,
        set: &SetAttr,
        opened: bool,
    ) -> Result<()> {
        if !self.checks(call) {
            return Ok(());
        }
        let attr = self.meta.getattr(call, ino).await?;
        let owns = attr.uid == call.uid;
        let gives_away = set.uid.is_some_and(|uid| uid != attr.uid);
        let regroups = set.gid.filter(|gid| *gid != attr.gid);
        if gives_away || (!owns && regroups.is_some()) {
            return Err(Error::NotPermitted);
        }
        if let Some(gid) = regroups.filter(|gid| *gid != call.gid) {
            let groups = self.groups_of(call).await;
            groups
                .contains(&gid)
                .then_some(())
                .ok_or(Error::NotPermitted)?;
        }
        let chown = set.uid.is_some() || set.gid.is_some();
        if !owns && (set.mode.is_some() || set.atime.is_some() || set.mtime.is_some() || chown) {
            return Err(Error::NotPermitted);
        }
        let resizes = set.size.is_some() && !opened;
        let touches = (set.atime_now || set.mtime_now) && set.size.is_none();
        if resizes || (touches && !owns) {
            self.permit_attr(call, ino, &attr, WRITE).await?;
        }
        Ok(())
    }

    /// For open(2) with `O_CREAT`: what is there is opened.
    pub(crate) async fn permit_create(
        &self,
        call: &Call,
        dir: Ino,
        name: &[u8],
        flags: OpenFlags,
    ) -> Result<()> {
        if !self.checks(call) {
            return Ok(());
        }
        self.permit_inner(call, dir, SEARCH).await?;
        match self.meta.lookup(call, dir, name).await {
            Ok((ino, _)) => self.permit_open(call, self.outer(ino), flags).await,
            Err(Error::NotFound) => self.permit_new(call, dir, FileType::File).await,
            Err(error) => Err(error),
        }
    }

    /// For making an entry: devices are root's.
    pub(crate) async fn permit_new(&self, call: &Call, dir: Ino, kind: FileType) -> Result<()> {
        if matches!(kind, FileType::BlockDevice | FileType::CharDevice) {
            self.permit_root(call)?;
        }
        self.permit_inner(call, dir, WRITE | SEARCH).await
    }

    /// For an extended attribute by its name: `user.*` goes by the file's permissions,
    /// all else is root's to change.
    pub(crate) async fn permit_xattr(
        &self,
        call: &Call,
        ino: Ino,
        name: &[u8],
        wanted: u16,
    ) -> Result<()> {
        if name.starts_with(b"user.") {
            return self.permit_inner(call, ino, wanted).await;
        }
        let hidden = name.starts_with(b"trusted.");
        if hidden || wanted & WRITE != 0 {
            self.permit_root(call)?;
        }
        Ok(())
    }
}
