//! The operations, one file for each family.

pub(crate) mod access;
pub(crate) mod attrs;
pub(crate) mod data;
pub(crate) mod dirs;
pub(crate) mod locks;
pub(crate) mod names;
pub(crate) mod open;
pub(crate) mod space;
pub(crate) mod xattr;
