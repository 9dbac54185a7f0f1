//! From requests to the file system's operations: one file a family.
//!
//! Each operation reads its arguments before its first await and answers in the
//! kernel's shape. What the kernel sends malformed is EIO: it is never a user's fault.

mod attr;
mod dir;
mod file;
mod lock;
mod names;
mod xattr;

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use carafe_state::Request;
use carafe_types::{Error, Ino, Result};
use carafe_vfs::{Attributes, Call, Done, Entry, OpKey, OpenFlags, Vfs};
use tokio_util::sync::CancellationToken;

use crate::{
    Notifier,
    abi::{Args, Body, Header, Reply, init::Agreed, op},
    errno::{errno, is_failure},
    told::Told,
};

/// Answers requests with a file system.
pub(crate) struct Adapter {
    vfs: Arc<Vfs>,
    notifier: Arc<Notifier>,
    told: Told,
    session: u64,
    /// What INIT agreed on, as far as it changes requests.
    agreed: OnceLock<Agreed>,
}

/// One request with what every operation needs of it.
pub(crate) struct Ask<'a> {
    request: &'a Request,
    header: Header,
    call: Call,
    cancel: &'a CancellationToken,
}

impl Adapter {
    pub(crate) fn new(vfs: Arc<Vfs>, notifier: Arc<Notifier>, session: u64) -> Self {
        Self {
            vfs,
            notifier,
            told: Told::default(),
            session,
            agreed: OnceLock::new(),
        }
    }

    /// Takes what INIT agreed on. Requests other than INIT come after it.
    pub(crate) fn agree(&self, init: &[u8]) {
        let agreed = self.agreed.get_or_init(|| Agreed::read(init));
        tracing::debug!(?agreed, "INIT");
    }

    /// Whether SETXATTR comes in its longer form.
    fn long_setxattr(&self) -> bool {
        self.agreed.get().is_some_and(|agreed| agreed.long_setxattr)
    }

    /// Does what a request asks; the error is an errno.
    pub(crate) async fn answer(
        &self,
        request: &Request,
        header: Header,
        cancel: &CancellationToken,
    ) -> std::result::Result<Reply, i32> {
        let call = self.vfs.call(header.uid, header.gid, header.pid);
        let mut ask = Ask {
            request,
            header,
            call,
            cancel,
        };
        if is_single_mutation(header.opcode, Args::of(request.bytes())) {
            ask.call.key = Some(self.key(request));
        }
        let started = Instant::now();
        let outcome = self.dispatch(&ask).await.map_err(|error| {
            if is_failure(&error) {
                tracing::warn!(%error, opcode = header.opcode, ino = header.node, "an operation failed");
            }
            errno(&error)
        });
        self.vfs.note(Done {
            name: op::name(header.opcode),
            call: &ask.call,
            ino: ask.ino(),
            errno: outcome.as_ref().err().copied().unwrap_or(0),
            took: started.elapsed(),
        });
        outcome
    }

    /// Tells the kernel of a name.
    fn entry(&self, entry: &Entry) -> Reply {
        self.told.tell(entry.ino, &entry.attr);
        body(Body::default().entry(entry))
    }

    /// Tells the kernel of attributes.
    fn attributes(&self, attributes: &Attributes) -> Reply {
        self.told.tell(attributes.ino, &attributes.attr);
        body(Body::default().attributes(attributes))
    }

    /// Names this request for ever, so that a successor or a retry does it once.
    fn key(&self, request: &Request) -> OpKey {
        OpKey {
            session: self.session.into(),
            slot: request.slot(),
            sequence: request.sequence(),
        }
    }

    async fn dispatch(&self, ask: &Ask<'_>) -> Result<Reply> {
        match ask.header.opcode {
            op::LOOKUP => self.lookup(ask).await,
            op::READLINK => self.readlink(ask).await,
            op::SYMLINK => self.symlink(ask).await,
            op::MKNOD => self.mknod(ask).await,
            op::MKDIR => self.mkdir(ask).await,
            op::UNLINK => self.unlink(ask).await,
            op::RMDIR => self.rmdir(ask).await,
            op::RENAME => self.rename(ask).await,
            op::RENAME2 => self.rename2(ask).await,
            op::LINK => self.link(ask).await,
            op::GETATTR => self.getattr(ask).await,
            op::SETATTR => self.setattr(ask).await,
            op::STATFS => self.statfs(ask).await,
            op::OPEN => self.open(ask).await,
            op::CREATE => self.create(ask).await,
            op::READ => self.read(ask).await,
            op::WRITE => self.write(ask).await,
            op::FLUSH => self.flush(ask).await,
            op::RELEASE => self.release(ask).await,
            op::FSYNC => self.fsync(ask).await,
            op::FALLOCATE => self.fallocate(ask).await,
            op::LSEEK => self.lseek(ask).await,
            op::COPY_FILE_RANGE => self.copy_file_range(ask).await,
            op::COPY_FILE_RANGE_64 => self.copy_file_range_64(ask).await,
            op::OPENDIR => self.opendir(ask).await,
            op::READDIR => self.readdir(ask, false).await,
            op::READDIRPLUS => self.readdir(ask, true).await,
            op::RELEASEDIR => self.releasedir(ask).await,
            op::FSYNCDIR => self.fsyncdir(ask).await,
            op::GETLK => self.getlk(ask).await,
            op::SETLK | op::SETLKW => self.setlk(ask).await,
            op::SETXATTR => self.setxattr(ask).await,
            op::GETXATTR => self.getxattr(ask).await,
            op::LISTXATTR => self.listxattr(ask).await,
            op::REMOVEXATTR => self.removexattr(ask).await,
            op::ACCESS => self.access(ask).await,
            // BMAP, IOCTL, POLL, SYNCFS,
            // TMPFILE, STATX and what is yet to come: the kernel does without.
            _ => Err(Error::NotImplemented),
        }
    }
}

/// Operations that use the key for exactly one transaction: only these may have one,
/// since the record of a key is the result of one transaction.
fn is_single_mutation(opcode: u32, mut args: Args<'_>) -> bool {
    match opcode {
        op::SYMLINK
        | op::MKNOD
        | op::MKDIR
        | op::UNLINK
        | op::RMDIR
        | op::RENAME
        | op::RENAME2
        | op::LINK
        | op::SETATTR
        | op::SETXATTR
        | op::REMOVEXATTR
        | op::FALLOCATE
        | op::COPY_FILE_RANGE
        | op::COPY_FILE_RANGE_64
        // Of what a creation does, only the creation itself takes the key.
        | op::CREATE => true,
        op::OPEN => args.u32().is_some_and(|flags| OpenFlags(flags).truncate()),
        _ => false,
    }
}

impl Ask<'_> {
    fn ino(&self) -> Ino {
        Ino(self.header.node)
    }

    fn args(&self) -> Args<'_> {
        Args::of(self.request.bytes())
    }

    /// Who opens what.
    fn opener(&self) -> (Ino, u32) {
        (self.ino(), self.header.pid)
    }
}

/// An argument that must be there.
fn given<T>(argument: Option<T>) -> Result<T> {
    argument.ok_or_else(|| Error::Io("the kernel's request is shorter than it must be".into()))
}

fn body(body: Body) -> Reply {
    Reply::Body(body.0)
}
