//! Extended attributes, and POSIX access control lists, which come as two of them.

use carafe_meta::{Call, XattrMode};
use carafe_types::{Acl, AclKind, Error, Ino, Result};

use super::access::{READ, WRITE};
use crate::{Vfs, shared::Core};

const MAX_NAME: usize = 255;
const MAX_VALUE: usize = 64 << 10;
/// Under these names the kernel asks for access control lists.
const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";
const CAPABILITY: &[u8] = b"security.capability";
const SELINUX: &[u8] = b"security.selinux";

/// What a name stands for on this mount.
enum Named {
    Attribute,
    List(AclKind),
}

impl Vfs {
    /// An extended attribute's value.
    pub async fn getxattr(&self, call: &Call, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        let core = &self.core;
        let named = core.named(name)?;
        let ino = core.attributed(ino)?;
        match named {
            Named::Attribute => {
                core.permit_xattr(call, ino, name, READ).await?;
                core.meta.getxattr(call, ino, name).await
            }
            Named::List(kind) => Ok(core.meta.acl(call, ino, kind).await?.to_xattr()),
        }
    }

    /// The names of all extended attributes.
    pub async fn listxattr(&self, call: &Call, ino: Ino) -> Result<Vec<Vec<u8>>> {
        let core = &self.core;
        core.check_xattrs()?;
        if core.internal_node(ino).is_some() {
            return Ok(Vec::new());
        }
        let ino = core.inner(ino)?;
        let mut names = core.meta.listxattr(call, ino).await?;
        names.retain(|name| core.named(name).is_ok());
        if core.config.acls {
            let attr = core.meta.getattr(call, ino).await?;
            let lists = [
                (attr.access_acl, ACCESS_ACL),
                (attr.default_acl, DEFAULT_ACL),
            ];
            let there = lists.iter().filter(|(number, _)| *number != 0);
            names.extend(there.map(|(_, name)| name.to_vec()));
        }
        Ok(names)
    }

    /// Sets an extended attribute. With `kill_sgid`, an access control list takes the
    /// set-group-id bit away.
    pub async fn setxattr(
        &self,
        call: &Call,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
        kill_sgid: bool,
    ) -> Result<()> {
        let core = &self.core;
        core.check_writable()?;
        let named = core.named(name)?;
        if value.len() > MAX_VALUE {
            return Err(Error::OutOfRange);
        }
        let ino = core.attributed(ino)?;
        match named {
            Named::Attribute => {
                core.permit_xattr(call, ino, name, WRITE).await?;
                core.meta.setxattr(call, ino, name, value, mode).await
            }
            Named::List(kind) => {
                let list = Acl::from_xattr(value).ok_or(Error::Invalid)?;
                core.set_acl(call, ino, kind, Some(&list), kill_sgid).await
            }
        }
    }

    /// Removes an extended attribute.
    pub async fn removexattr(&self, call: &Call, ino: Ino, name: &[u8]) -> Result<()> {
        let core = &self.core;
        core.check_writable()?;
        let named = core.named(name)?;
        let ino = core.attributed(ino)?;
        match named {
            Named::Attribute => {
                core.permit_xattr(call, ino, name, WRITE).await?;
                core.meta.removexattr(call, ino, name).await
            }
            Named::List(kind) => core.set_acl(call, ino, kind, None, false).await,
        }
    }
}

impl Core {
    /// An inode that can have extended attributes: virtual files have none.
    fn attributed(&self, ino: Ino) -> Result<Ino> {
        if self.internal_node(ino).is_some() {
            Err(Error::NoAttribute)
        } else {
            self.inner(ino)
        }
    }

    /// Without extended attributes the kernel stops asking for any.
    fn check_xattrs(&self) -> Result<()> {
        if self.config.xattrs.enabled || self.config.acls {
            Ok(())
        } else {
            Err(Error::NotImplemented)
        }
    }

    fn named(&self, name: &[u8]) -> Result<Named> {
        self.check_xattrs()?;
        let xattrs = self.config.xattrs;
        let allowed = match name {
            b"" => return Err(Error::Invalid),
            ACCESS_ACL if self.config.acls => return Ok(Named::List(AclKind::Access)),
            DEFAULT_ACL if self.config.acls => return Ok(Named::List(AclKind::Default)),
            // Where they are not kept they must be refused: `cp -a` then carries the
            // mode over instead.
            ACCESS_ACL | DEFAULT_ACL => false,
            CAPABILITY => xattrs.capabilities,
            SELINUX => xattrs.selinux,
            _ if name.len() > MAX_NAME => return Err(Error::OutOfRange),
            _ => xattrs.enabled,
        };
        if allowed {
            Ok(Named::Attribute)
        } else {
            Err(Error::Unsupported)
        }
    }

    async fn set_acl(
        &self,
        call: &Call,
        ino: Ino,
        kind: AclKind,
        list: Option<&Acl>,
        kill_sgid: bool,
    ) -> Result<()> {
        self.permit_owner(call, ino).await?;
        let file = self.files.pin(ino);
        let asked = file.as_ref().map(|file| file.state.lock().version);
        let attr = self.meta.set_acl(call, ino, kind, list, kill_sgid).await?;
        if let (Some(file), Some(asked)) = (&file, asked) {
            file.state.lock().learn(&attr, asked);
        }
        self.recent.changed(ino);
        Ok(())
    }
}
