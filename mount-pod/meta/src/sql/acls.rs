//! Access control lists: a row each, whose number inodes refer to.

use carafe_types::{Acl, Error, Result};

use super::{
    apply::insert,
    rows,
    statement::{Dialect, Row, Statement, Value, values},
};

/// Finds a list by its number.
pub(super) fn select(dialect: &Dialect, number: u32) -> Statement {
    let text = format!(
        "SELECT owner, {}, mask, other, named_users, named_groups FROM jfs_acl WHERE id = ?",
        dialect.group
    );
    Statement::new(text, values![number])
}

/// The list that was found.
pub(super) fn list(row: &Row) -> Result<Acl> {
    let permission = |at| {
        let raw = rows::int(row, at)?;
        u16::try_from(raw).map_err(|_| Error::Io(format!("{raw} is no permission")))
    };
    Ok(Acl {
        owner: permission(0)?,
        group: permission(1)?,
        mask: Acl::mask_from_raw(permission(2)?),
        other: permission(3)?,
        users: Acl::decode_named(rows::bytes(row, 4)?),
        groups: Acl::decode_named(rows::bytes(row, 5)?),
    })
}

/// Finds a list's number: the lowest, if two clients added it at once.
pub(super) fn find(dialect: &Dialect, list: &Acl) -> Statement {
    let text = format!(
        "SELECT id FROM jfs_acl WHERE owner = ? AND {} = ? AND mask = ? AND other = ? \
         AND coalesce(named_users, '') = ? AND coalesce(named_groups, '') = ? ORDER BY id LIMIT 1",
        dialect.group
    );
    let mut values = permissions(list);
    values.extend([&list.users, &list.groups].map(|named| Acl::encode_named(named).into()));
    Statement::new(text, values)
}

/// The number that was found.
pub(super) fn number(row: &Row) -> Result<u32> {
    let raw = rows::int(row, 0)?;
    u32::try_from(raw).map_err(|_| Error::Io(format!("{raw} is no access control list's number")))
}

/// Adds a list. As the peer does, it leaves out blobs that are empty.
pub(super) fn add(dialect: &Dialect, list: &Acl) -> Statement {
    let mut columns = vec!["owner", dialect.group, "mask", "other"];
    let mut values = permissions(list);
    for (column, named) in [("named_users", &list.users), ("named_groups", &list.groups)] {
        if !named.is_empty() {
            columns.push(column);
            values.push(Acl::encode_named(named).into());
        }
    }
    Statement::new(insert("jfs_acl", &columns), values)
}

fn permissions(list: &Acl) -> Vec<Value> {
    [list.owner, list.group, list.raw_mask(), list.other]
        .map(|permission| u32::from(permission).into())
        .to_vec()
}
