//! Names: finding, making, removing and moving them.

use carafe_meta::{Call, NewNode, RenameFlags};
use carafe_types::{Attr, Error, FileType, Ino, Result};

use super::access::{SEARCH, WRITE};
use crate::{Entry, Vfs, internal, shared::Core};

const MAX_NAME: usize = 255;
const MAX_TARGET: usize = 4096;

impl Vfs {
    /// Finds `name` in a directory. `.` and `..` are answered too; `..` of the
    /// mount's root is the root.
    pub async fn lookup(&self, call: &Call, parent: Ino, name: &[u8]) -> Result<Entry> {
        let core = &*self.core;
        if let Some(node) = core.internal_name(parent, name) {
            return core.internal_entry(call, node).await;
        }
        let parent = core.inner(parent)?;
        check_name(name)?;
        if internal::is_hidden(parent, name) {
            return Err(Error::NotFound);
        }
        core.permit_inner(call, parent, SEARCH).await?;
        let asked = core.recent.asked();
        let (ino, attr) = match name {
            b"." => (parent, core.meta.getattr(call, parent).await?),
            b".." => core.parent_of(call, parent).await?,
            _ => core.meta.lookup(call, parent, name).await?,
        };
        core.found(call, ino, attr, asked).await
    }

    /// A symbolic link's target.
    pub async fn readlink(&self, call: &Call, ino: Ino) -> Result<Vec<u8>> {
        self.core.meta.readlink(call, self.core.inner(ino)?).await
    }

    /// Makes an entry of any type but a symbolic link: mknod(2) and mkdir(2).
    pub async fn create_node(
        &self,
        call: &Call,
        parent: Ino,
        name: &[u8],
        node: &NewNode,
    ) -> Result<Entry> {
        let core = &*self.core;
        let parent = core.changing(parent, name)?;
        core.permit_new(call, parent, node.kind).await?;
        let (ino, attr) = core.meta.create(call, parent, name, node).await?;
        Ok(core.entry(ino, attr))
    }

    /// Makes a file, pipe, socket or device; `mode` has the type's bits.
    pub async fn mknod(
        &self,
        call: &Call,
        parent: Ino,
        name: &[u8],
        mode: u32,
        umask: u16,
        rdev: u32,
    ) -> Result<Entry> {
        let kind = FileType::from_mode(mode).ok_or(Error::Invalid)?;
        if matches!(kind, FileType::Directory | FileType::Symlink) {
            return Err(Error::Invalid);
        }
        let node = NewNode {
            kind,
            mode: permissions(mode),
            umask: umask | self.core.config.umask,
            rdev,
            ..NewNode::default()
        };
        self.create_node(call, parent, name, &node).await
    }

    /// Makes a directory.
    pub async fn mkdir(
        &self,
        call: &Call,
        parent: Ino,
        name: &[u8],
        mode: u32,
        umask: u16,
    ) -> Result<Entry> {
        let node = NewNode {
            kind: FileType::Directory,
            mode: permissions(mode),
            umask: umask | self.core.config.umask,
            ..NewNode::default()
        };
        self.create_node(call, parent, name, &node).await
    }

    /// Makes a symbolic link.
    pub async fn symlink(
        &self,
        call: &Call,
        parent: Ino,
        name: &[u8],
        target: &[u8],
    ) -> Result<Entry> {
        if target.is_empty() {
            return Err(Error::NotFound);
        }
        if target.len() > MAX_TARGET {
            return Err(Error::NameTooLong);
        }
        let node = NewNode {
            kind: FileType::Symlink,
            mode: 0o777,
            target: target.to_vec(),
            ..NewNode::default()
        };
        self.create_node(call, parent, name, &node).await
    }

    /// Gives a file another name.
    pub async fn link(&self, call: &Call, ino: Ino, parent: Ino, name: &[u8]) -> Result<Entry> {
        let core = &*self.core;
        let ino = core.ordinary(ino)?;
        let parent = core.changing(parent, name)?;
        core.permit_inner(call, parent, WRITE | SEARCH).await?;
        let asked = core.recent.asked();
        let attr = core.meta.link(call, ino, parent, name).await?;
        let entry = core.found(call, ino, attr, asked).await?;
        core.recent.changed(ino);
        Ok(entry)
    }

    /// Removes a file's name. Unwritten data of a file that somebody has open stays
    /// readable; that of a file that is gone is discarded when it comes to be committed.
    pub async fn unlink(&self, call: &Call, parent: Ino, name: &[u8]) -> Result<()> {
        let parent = self.core.changing(parent, name)?;
        self.core.permit_removal(call, parent, name).await?;
        self.core.meta.unlink(call, parent, name).await
    }

    /// Removes an empty directory.
    pub async fn rmdir(&self, call: &Call, parent: Ino, name: &[u8]) -> Result<()> {
        match name {
            b"." => return Err(Error::Invalid),
            b".." => return Err(Error::NotEmpty),
            _ => {}
        }
        let parent = self.core.changing(parent, name)?;
        self.core.permit_removal(call, parent, name).await?;
        self.core.meta.rmdir(call, parent, name).await
    }

    /// Moves an entry.
    pub async fn rename(
        &self,
        call: &Call,
        parent: Ino,
        name: &[u8],
        new_parent: Ino,
        new_name: &[u8],
        flags: RenameFlags,
    ) -> Result<()> {
        let core = &*self.core;
        let from = core.changing(parent, name)?;
        let to = core.changing(new_parent, new_name)?;
        core.permit_move(call, (from, name), to).await?;
        if flags == RenameFlags::Exchange {
            core.permit_move(call, (to, new_name), from).await?;
        }
        core.meta
            .rename(call, from, name, to, new_name, flags)
            .await
            .map(|_| ())
    }
}

impl Core {
    /// The directory in which `name` is about to change.
    pub(crate) fn changing(&self, parent: Ino, name: &[u8]) -> Result<Ino> {
        self.check_writable()?;
        check_name(name)?;
        if matches!(name, b"." | b"..") {
            return Err(Error::Exists);
        }
        let parent = self.inner(parent)?;
        // At the volume's own root these names mean something, shown or not.
        if parent == Ino::ROOT && internal::is_reserved(name) {
            Err(Error::NotPermitted)
        } else {
            Ok(parent)
        }
    }

    /// A directory's parent; it never leaves the mount's root.
    pub(crate) async fn parent_of(&self, call: &Call, ino: Ino) -> Result<(Ino, Attr)> {
        let attr = self.meta.getattr(call, ino).await?;
        if ino == self.config.root || attr.parent == Ino(0) {
            return Ok((ino, attr));
        }
        Ok((attr.parent, self.meta.getattr(call, attr.parent).await?))
    }
}

fn check_name(name: &[u8]) -> Result<()> {
    match name.len() {
        0 => Err(Error::NotFound),
        1..=MAX_NAME => Ok(()),
        _ => Err(Error::NameTooLong),
    }
}

/// The twelve permission bits of a mode.
fn permissions(mode: u32) -> u16 {
    (mode & 0o7777) as u16
}
