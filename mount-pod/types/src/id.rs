//! Identifiers of the format: inodes, slices and sessions.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(out)
            }
        }

        impl From<u64> for $name {
            fn from(raw: u64) -> Self {
                Self(raw)
            }
        }
    };
}

id! {
    /// An inode number; also the FUSE node id, so that no table maps one to the other.
    Ino
}

id! {
    /// A slice's number, unique in a volume and never used twice. 0 is a hole.
    SliceId
}

id! {
    /// A client's session with the metadata engine.
    SessionId
}

impl Ino {
    /// The root directory.
    pub const ROOT: Self = Self(1);
    /// The trash's root; its hourly sub-directories have greater numbers.
    pub const TRASH: Self = Self(0x7FFF_FFFF_1000_0000);

    /// Whether this is the trash's root or one of its hourly directories.
    pub fn is_trash(self) -> bool {
        self >= Self::TRASH
    }
}

impl SliceId {
    /// The id of a slice without objects: it reads as zeros.
    pub const HOLE: Self = Self(0);

    /// Whether this slice is a hole.
    pub fn is_hole(self) -> bool {
        self == Self::HOLE
    }
}
