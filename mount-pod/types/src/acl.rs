//! POSIX access control lists, in the format's bytes and in the kernel's.
//!
//! A list has a permission (3 bits: read, write, execute) for the **owner**, the owning
//! **group** and all **others**; named users and groups may follow, and then a **mask**
//! bounds what they and the owning group may do. A list without names and mask is
//! **minimal**: it says no more than a mode, and is stored as one. The **access** list
//! rules who may do what; a directory's **default** list becomes that of what is made in it.

use bytes::{Buf, BufMut};

/// How the format says that there is no mask.
const NO_MASK: u16 = 0xFFFF;
/// The kernel's version of the extended attribute, and its length before the entries.
const XATTR_VERSION: u32 = 2;
const XATTR_ENTRY: usize = 8;
/// The most entries that are taken: what fits an extended attribute's 64 KiB.
const MAX_ENTRIES: usize = 8191;

/// The tags of `linux/posix_acl.h`.
mod tag {
    pub(super) const OWNER: u16 = 0x01;
    pub(super) const USER: u16 = 0x02;
    pub(super) const GROUP_OWNER: u16 = 0x04;
    pub(super) const GROUP: u16 = 0x08;
    pub(super) const MASK: u16 = 0x10;
    pub(super) const OTHER: u16 = 0x20;
}

/// Which of an inode's two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AclKind {
    /// What rules now.
    Access,
    /// What a directory passes on.
    Default,
}

/// A list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Acl {
    /// The owner's permission.
    pub owner: u16,
    /// The owning group's, before the mask.
    pub group: u16,
    /// The mask.
    pub mask: Option<u16>,
    /// Everybody else's.
    pub other: u16,
    /// Named users' (id, permission), in the order of ids.
    pub users: Vec<(u32, u16)>,
    /// Named groups'.
    pub groups: Vec<(u32, u16)>,
}

impl Acl {
    /// Whether a mode says as much.
    pub fn is_minimal(&self) -> bool {
        self.mask.is_none() && self.users.is_empty() && self.groups.is_empty()
    }

    /// The nine permission bits that a mode shows of it: the group's are the mask's.
    pub fn mode(&self) -> u16 {
        self.owner << 6 | self.mask.unwrap_or(self.group) << 3 | self.other
    }

    /// The list after a chmod.
    #[must_use]
    pub fn with_mode(&self, mode: u16) -> Self {
        let middle = mode >> 3 & 7;
        let (group, mask) = if self.mask.is_some() {
            (self.group, Some(middle))
        } else {
            (middle, None)
        };
        Self {
            owner: mode >> 6 & 7,
            group,
            mask,
            other: mode & 7,
            ..self.clone()
        }
    }

    /// The list of what is made with `mode` in a directory whose default this is.
    #[must_use]
    pub fn inherited(&self, mode: u16) -> Self {
        self.with_mode(self.mode() & mode)
    }

    /// Whether a user with these groups may do all of `wanted` (three bits) with what
    /// `owner` and `group` own, as acl(5) decides it.
    pub fn permits(
        &self,
        (owner, group): (u32, u32),
        uid: u32,
        in_group: impl Fn(u32) -> bool,
        wanted: u16,
    ) -> bool {
        let may = |permission: u16| permission & wanted == wanted;
        let masked = |permission: u16| may(permission & self.mask.unwrap_or(7));
        if uid == owner {
            return may(self.owner);
        }
        if let Some((_, permission)) = self.users.iter().find(|(id, _)| *id == uid) {
            return masked(*permission);
        }
        let named = self.groups.iter().copied();
        let mut mine = named
            .chain([(group, self.group)])
            .filter(|(id, _)| in_group(*id))
            .map(|(_, permission)| masked(permission))
            .peekable();
        if mine.peek().is_none() {
            may(self.other)
        } else {
            mine.any(|permitted| permitted)
        }
    }

    /// The bytes as Redis and KV engines hold them.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for permission in [self.owner, self.group, self.raw_mask(), self.other] {
            out.put_u16(permission);
        }
        for named in [&self.users, &self.groups] {
            out.put_u32(named.len() as u32);
            out.extend(Self::encode_named(named));
        }
        out
    }

    /// Reads [`Acl::encode`]'s bytes; `None` if they are something else.
    pub fn decode(mut from: &[u8]) -> Option<Self> {
        let mut permission = || from.try_get_u16().ok();
        let (owner, group, mask, other) =
            (permission()?, permission()?, permission()?, permission()?);
        let mut named = || {
            let len = (from.try_get_u32().ok()? as usize).checked_mul(6)?;
            let (list, rest) = from.split_at_checked(len)?;
            from = rest;
            Some(Self::decode_named(list))
        };
        let (users, groups) = (named()?, named()?);
        Some(Self {
            owner,
            group,
            mask: Self::mask_from_raw(mask),
            other,
            users,
            groups,
        })
    }

    /// Named users or groups as SQL's blobs hold them: without a count.
    pub fn encode_named(named: &[(u32, u16)]) -> Vec<u8> {
        let mut out = Vec::with_capacity(named.len() * 6);
        for &(id, permission) in named {
            out.put_u32(id);
            out.put_u16(permission);
        }
        out
    }

    /// The inverse of [`Acl::encode_named`].
    pub fn decode_named(list: &[u8]) -> Vec<(u32, u16)> {
        let (entries, _) = list.as_chunks::<6>();
        let entry = |mut entry: &[u8]| (entry.get_u32(), entry.get_u16());
        entries.iter().map(|bytes| entry(bytes)).collect()
    }

    /// The mask as SQL and the binary format hold it.
    pub fn raw_mask(&self) -> u16 {
        self.mask.unwrap_or(NO_MASK)
    }

    /// The inverse of [`Acl::raw_mask`].
    pub fn mask_from_raw(raw: u16) -> Option<u16> {
        Some(raw).filter(|&mask| mask != NO_MASK)
    }

    /// The value of `system.posix_acl_access` or `system.posix_acl_default`.
    pub fn to_xattr(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u32_le(XATTR_VERSION);
        let mut entry = |tag: u16, permission: u16, id: u32| {
            out.put_u16_le(tag);
            out.put_u16_le(permission);
            out.put_u32_le(id);
        };
        let nobody = u32::MAX;
        entry(tag::OWNER, self.owner, nobody);
        for &(id, permission) in &self.users {
            entry(tag::USER, permission, id);
        }
        entry(tag::GROUP_OWNER, self.group, nobody);
        for &(id, permission) in &self.groups {
            entry(tag::GROUP, permission, id);
        }
        if let Some(mask) = self.mask {
            entry(tag::MASK, mask, nobody);
        }
        entry(tag::OTHER, self.other, nobody);
        out
    }

    /// Reads such a value. `None` if it is no valid list: another version, an entry
    /// missing or twice, names without a mask.
    pub fn from_xattr(mut value: &[u8]) -> Option<Self> {
        if value.try_get_u32_le().ok()? != XATTR_VERSION
            || !value.len().is_multiple_of(XATTR_ENTRY)
            || value.len() / XATTR_ENTRY > MAX_ENTRIES
        {
            return None;
        }
        let (mut owner, mut group, mut mask, mut other) = (None, None, None, None);
        let (mut users, mut groups) = (Vec::new(), Vec::new());
        while value.has_remaining() {
            let (tag, permission, id) = (
                value.get_u16_le(),
                value.get_u16_le() & 7,
                value.get_u32_le(),
            );
            let twice = match tag {
                tag::OWNER => owner.replace(permission),
                tag::GROUP_OWNER => group.replace(permission),
                tag::MASK => mask.replace(permission),
                tag::OTHER => other.replace(permission),
                tag::USER => add(&mut users, id, permission),
                tag::GROUP => add(&mut groups, id, permission),
                _ => return None,
            };
            if twice.is_some() {
                return None;
            }
        }
        let named = !users.is_empty() || !groups.is_empty();
        (mask.is_some() || !named).then_some(())?;
        users.sort_unstable();
        groups.sort_unstable();
        Some(Self {
            owner: owner?,
            group: group?,
            mask,
            other: other?,
            users,
            groups,
        })
    }
}

/// Adds a name; answers the permission that it had already.
fn add(named: &mut Vec<(u32, u16)>, id: u32, permission: u16) -> Option<u16> {
    // The kernel gives them in order, so that the last is the only one to compare.
    let last = named.last().copied().filter(|(known, _)| *known == id);
    named.push((id, permission));
    last.map(|(_, permission)| permission)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_peers_bytes_are_read_and_written() {
        // As `juicefs` 1.3 stored `setfacl -m u:7:r,g:9:rw` on a directory of mode 0755.
        let bytes = [
            0, 7, 0, 5, 0, 7, 0, 5, 0, 0, 0, 1, 0, 0, 0, 7, 0, 4, 0, 0, 0, 1, 0, 0, 0, 9, 0, 6,
        ];
        let acl = Acl {
            owner: 7,
            group: 5,
            mask: Some(7),
            other: 5,
            users: vec![(7, 4)],
            groups: vec![(9, 6)],
        };
        assert_eq!(Acl::decode(&bytes), Some(acl.clone()));
        assert_eq!(acl.encode(), bytes);
        assert_eq!(acl.mode(), 0o775);
    }

    #[test]
    fn a_mode_changes_the_mask_if_there_is_one() {
        let plain = Acl::default().with_mode(0o754);
        assert_eq!((plain.group, plain.mode()), (5, 0o754));
        let masked = Acl {
            group: 6,
            mask: Some(7),
            ..Acl::default()
        };
        let masked = masked.with_mode(0o740);
        assert_eq!(
            (masked.group, masked.mask, masked.mode()),
            (6, Some(4), 0o740)
        );
    }

    #[test]
    fn the_first_that_fits_decides() {
        let acl = Acl {
            owner: 4,
            group: 4,
            mask: Some(6),
            other: 7,
            users: vec![(1, 7)],
            groups: vec![(2, 2)],
        };
        let may = |uid, gid, wanted| acl.permits((0, 9), uid, |group| group == gid, wanted);
        assert!(
            may(0, 9, 4) && !may(0, 9, 2),
            "the owner, though others may more"
        );
        assert!(
            may(1, 9, 6) && !may(1, 9, 1),
            "a named user within the mask"
        );
        assert!(may(5, 2, 2) && !may(5, 2, 4), "a named group");
        assert!(may(5, 9, 4) && !may(5, 9, 1), "the owning group");
        assert!(may(5, 6, 7), "others");
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let acl = Acl {
            mask: Some(7),
            users: vec![(1, 7)],
            ..Acl::default()
        };
        let value = acl.to_xattr();
        assert_eq!(Acl::from_xattr(&value), Some(acl));
        for cut in 0..value.len() {
            assert_eq!(Acl::from_xattr(&value[..cut]), None, "{cut} bytes");
        }
        let twice = [&value[..], &value[4..12]].concat();
        assert_eq!(Acl::from_xattr(&twice), None, "two owners");
    }

    proptest! {
        #[test]
        fn both_forms_read_back(
            owner in 0u16..8, group in 0u16..8, mask in 0u16..8, other in 0u16..8,
            users in prop::collection::btree_map(any::<u32>(), 0u16..8, 0..5),
            groups in prop::collection::btree_map(any::<u32>(), 0u16..8, 0..5),
        ) {
            let (users, groups) = (users.into_iter().collect(), groups.into_iter().collect());
            let acl = Acl { owner, group, mask: Some(mask), other, users, groups };
            prop_assert_eq!(Acl::decode(&acl.encode()), Some(acl.clone()));
            prop_assert_eq!(Acl::from_xattr(&acl.to_xattr()), Some(acl));
        }
    }
}
