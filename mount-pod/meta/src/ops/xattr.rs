//! Extended attributes.

use carafe_types::{Error, Ino, flags};

use crate::{
    XattrMode,
    ops::{Mutation, Plan, Planned, Read, Reads, existing},
};

const MAX_NAME: usize = 255;
const MAX_VALUE: usize = 65_536;

/// Checks an attribute's name.
fn check_name(name: &[u8]) -> Read<()> {
    match name.len() {
        0 => Err(Error::Invalid.into()),
        1..=MAX_NAME if !name.contains(&0) => Ok(()),
        _ => Err(Error::OutOfRange.into()),
    }
}

/// A value.
pub(crate) fn get(reads: &dyn Reads, ino: Ino, name: &[u8]) -> Read<Vec<u8>> {
    reads.xattr(ino, name)?.ok_or(Error::NoAttribute.into())
}

/// All names.
pub(crate) fn list(reads: &dyn Reads, ino: Ino) -> Read<Vec<Vec<u8>>> {
    let names = reads.xattr_names(ino)?;
    if names.is_empty() {
        existing(reads, ino)?;
    }
    Ok(names)
}

/// Sets one.
pub(crate) fn set(
    reads: &dyn Reads,
    ino: Ino,
    name: &[u8],
    value: &[u8],
    mode: XattrMode,
) -> Plan<()> {
    check_name(name)?;
    if value.len() > MAX_VALUE {
        return Err(Error::OutOfRange.into());
    }
    check_changeable(reads, ino)?;
    let old = if mode == XattrMode::Any {
        None
    } else {
        reads.xattr(ino, name)?
    };
    match (mode, old.is_some()) {
        (XattrMode::Create, true) => Err(Error::Exists.into()),
        (XattrMode::Replace, false) => Err(Error::NoAttribute.into()),
        _ => Planned::with(
            (),
            vec![Mutation::SetXattr {
                ino,
                name: name.to_vec(),
                value: value.to_vec(),
            }],
        ),
    }
}

/// Removes one.
pub(crate) fn remove(reads: &dyn Reads, ino: Ino, name: &[u8]) -> Plan<()> {
    check_changeable(reads, ino)?;
    if reads.xattr(ino, name)?.is_none() {
        return Err(Error::NoAttribute.into());
    }
    Planned::with(
        (),
        vec![Mutation::DropXattr {
            ino,
            name: name.to_vec(),
        }],
    )
}

fn check_changeable(reads: &dyn Reads, ino: Ino) -> Read<()> {
    let attr = existing(reads, ino)?;
    if attr.flags & (flags::IMMUTABLE | flags::APPEND) != 0 {
        Err(Error::NotPermitted.into())
    } else {
        Ok(())
    }
}
