//! Looking names up.

use carafe_types::{Attr, Error, FileType, Ino, Slice};

use crate::{
    Call, NewNode,
    ops::{Read, Reads, Want, create::TRASH_NAME, existing},
};

/// The longest name in bytes.
const MAX_NAME: usize = 255;
/// A symbolic link's target is at most this long.
const MAX_TARGET: usize = 4096;

/// Checks the name of an entry that is looked up or removed.
pub(crate) fn check_name(name: &[u8]) -> Result<(), Error> {
    if name.len() > MAX_NAME {
        return Err(Error::NameTooLong);
    }
    if name.is_empty()
        || name == b"."
        || name == b".."
        || name.iter().any(|&byte| byte == b'/' || byte == 0)
    {
        return Err(Error::Invalid);
    }
    Ok(())
}

/// Checks the place of an entry that is made, changed or removed: the trash's own
/// entry is not touched, and nothing is made in the trash.
pub(crate) fn check_place(parent: Ino, name: &[u8]) -> Result<(), Error> {
    check_name(name)?;
    if is_trash_entry(parent, name) {
        Err(Error::NotPermitted)
    } else {
        Ok(())
    }
}

/// As [`check_place`], for an entry that is to be made.
pub(crate) fn check_new_place(parent: Ino, name: &[u8]) -> Result<(), Error> {
    check_place(parent, name)?;
    if parent.is_trash() {
        Err(Error::NotPermitted)
    } else {
        Ok(())
    }
}

/// As [`check_new_place`], with what is to be made there.
pub(crate) fn check_new(parent: Ino, name: &[u8], node: &NewNode) -> Result<(), Error> {
    check_new_place(parent, name)?;
    let is_link = node.kind == FileType::Symlink;
    if is_link && (node.target.is_empty() || node.target.contains(&0)) {
        return Err(Error::Invalid);
    }
    if node.target.len() > MAX_TARGET {
        Err(Error::NameTooLong)
    } else {
        Ok(())
    }
}

/// As [`check_place`], for an entry that is to go: only root takes things out of the
/// trash.
pub(crate) fn check_removal(call: &Call, parent: Ino, name: &[u8]) -> Result<(), Error> {
    check_place(parent, name)?;
    if parent.is_trash() && call.uid != 0 {
        Err(Error::NotPermitted)
    } else {
        Ok(())
    }
}

fn is_trash_entry(parent: Ino, name: &[u8]) -> bool {
    parent == Ino::ROOT && name == TRASH_NAME
}

/// The entry `name` of a directory and its inode.
pub(crate) fn lookup(reads: &dyn Reads, parent: Ino, name: &[u8]) -> Read<(Ino, Attr)> {
    if is_trash_entry(parent, name) {
        return Ok((Ino::TRASH, existing(reads, Ino::TRASH)?));
    }
    reads.prefetch(&[Want::EntryNode(parent, name.to_vec())])?;
    let Some(entry) = reads.entry(parent, name)? else {
        return Err(missing_in(reads, parent)?.into());
    };
    Ok((entry.ino, existing(reads, entry.ino)?))
}

/// A name that is not there: unless its directory is none.
fn missing_in(reads: &dyn Reads, parent: Ino) -> Read<Error> {
    let kind = reads.dir(parent)?.map(|attr| attr.kind);
    Ok(if kind.is_some_and(|kind| kind != FileType::Directory) {
        Error::NotDirectory
    } else {
        Error::NotFound
    })
}

/// Walks a relative path.
pub(crate) fn resolve(reads: &dyn Reads, from: Ino, path: &[u8]) -> Read<(Ino, Attr)> {
    let mut at = (from, existing(reads, from)?);
    for name in path
        .split(|&byte| byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
    {
        check_name(name)?;
        at = lookup(reads, at.0, name)?;
    }
    Ok(at)
}

/// Whether what was found is a directory to be listed.
pub(crate) fn check_dir(found: Option<&Attr>) -> Result<(), Error> {
    match found {
        Some(attr) if attr.is_dir() => Ok(()),
        Some(_) => Err(Error::NotDirectory),
        None => Err(Error::NotFound),
    }
}

/// An inode, and the slices of its first chunk if it has data. The slices are read
/// after the inode: so a list that is older than the attributes is never answered.
pub(crate) fn first_look(reads: &dyn Reads, ino: Ino) -> Read<(Attr, Vec<Slice>)> {
    reads.prefetch(&[Want::Node(ino), Want::Chunk(ino, 0)])?;
    let attr = existing(reads, ino)?;
    let has_data = attr.kind == FileType::File && attr.length > 0;
    let slices = if has_data {
        reads.chunk(ino, 0)?
    } else {
        Vec::new()
    };
    Ok((attr, slices))
}

/// A symbolic link's target.
pub(crate) fn readlink(reads: &dyn Reads, ino: Ino) -> Read<Vec<u8>> {
    match reads.symlink(ino)? {
        Some(target) => Ok(target),
        None if existing(reads, ino)?.kind == FileType::Symlink => {
            Err(Error::Io("a link without a target".into()).into())
        }
        None => Err(Error::Invalid.into()),
    }
}
