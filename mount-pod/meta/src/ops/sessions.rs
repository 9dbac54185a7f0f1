//! Sessions, and leases on work that only one client does at a time.

use carafe_types::{Error, Ino, SessionId};

use crate::ops::{Counter, Ctx, Mutation, Plan, Planned, Reads, book_volume, inode_space};

/// A session ends this many seconds after its last heartbeat: five are missed.
pub(crate) const EXPIRES_AFTER: i64 = 60;

/// A lease from further ahead than this was taken by a clock that was wrong, and binds
/// nobody.
const FAR_AHEAD: i64 = 86_400;

/// Opens a session.
pub(crate) fn open(ctx: &Ctx, session: SessionId, info: &str) -> Plan<()> {
    let expires = ctx.now.secs + EXPIRES_AFTER;
    Planned::with(
        (),
        vec![Mutation::SetSession {
            session,
            expires,
            info: info.to_owned(),
        }],
    )
}

/// Extends a session.
pub(crate) fn extend(reads: &dyn Reads, ctx: &Ctx, session: SessionId) -> Plan<()> {
    if !reads.has_session(session)? {
        return Err(Error::Stale(format!(
            "session {session} expired and was cleaned by another client"
        ))
        .into());
    }
    let expires = ctx.now.secs + EXPIRES_AFTER;
    Planned::with((), vec![Mutation::ExtendSession { session, expires }])
}

/// Ends a session whose sustained inodes are gone: its locks go, and it.
pub(crate) fn end(session: SessionId) -> Plan<()> {
    Planned::with((), vec![Mutation::DropSession { session }])
}

/// Lets a sustained inode go, as its last handle closes.
pub(crate) fn release(reads: &dyn Reads, ctx: &Ctx, session: SessionId, ino: Ino) -> Plan<()> {
    let unsustain = Mutation::Unsustain { session, ino };
    let Some(attr) = reads.node(ino)?.filter(|attr| attr.nlink == 0) else {
        return Planned::with((), vec![unsustain]);
    };
    let mut out = vec![
        unsustain,
        Mutation::AddDeleted {
            ino,
            length: attr.length,
            time: ctx.now,
        },
        Mutation::DropNode { ino },
    ];
    book_volume(ctx, -inode_space(&attr), -1, &mut out);
    Planned::with((), out)
}

/// Takes the lease that `counter` stands for, if `period` seconds have passed.
pub(crate) fn take_lease(
    reads: &dyn Reads,
    ctx: &Ctx,
    counter: Counter,
    period: i64,
) -> Plan<bool> {
    let now = ctx.now.secs;
    let taken = reads.counter(counter)?;
    if taken > now - period && taken <= now + FAR_AHEAD {
        return Planned::unchanged(false);
    }
    Planned::with(
        true,
        vec![Mutation::SetCounter {
            counter,
            value: now,
        }],
    )
}
