//! Reader threads: from the device to a future, and from the future to a reply.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    thread::{Builder, JoinHandle},
    time::Duration,
};

use carafe_state::{ReadSlot, Request};

use super::{
    SessionConfig, SessionError, Shared, Stage,
    caught::{Panicked, caught},
    transport::{Received, Transport},
};
use crate::abi::{
    Args, Header, Reply,
    init::{Choice, Offer},
    op,
};

/// How long a reader waits for a free slot before it looks whether it shall stop.
const SLOT_PATIENCE: Duration = Duration::from_millis(200);

/// Starts reader `number`.
pub(super) fn spawn(shared: &Arc<Shared>, number: usize) -> Result<JoinHandle<()>, SessionError> {
    let shared = Arc::clone(shared);
    let thread = Builder::new()
        .name(format!("fuse-{number}"))
        .spawn(move || read(&shared, number));
    thread.map_err(|error| SessionError::System("start a reader thread", Arc::new(error)))
}

/// Answers what a predecessor had read and not answered. That can be INIT itself, if it
/// ended before anything was agreed: the kernel does not ask twice.
pub(super) fn answer_leftovers(shared: &Arc<Shared>) {
    let _entered = shared.runtime.enter();
    for request in shared.region.recover_requests() {
        handle(shared, request);
    }
}

fn read(shared: &Arc<Shared>, number: usize) {
    let _entered = shared.runtime.enter();
    let (clone, device) = shared.transport.device(number);
    let mut spare = None;
    while !shared.wake.is_set() {
        let Some(mut slot) = spare.take().or_else(|| take(shared, clone)) else {
            continue;
        };
        match Transport::receive(device, &mut slot) {
            Received::Message(len) => {
                let (request, left) = shared.region.slots().accept(slot, len);
                spare = left;
                handle(shared, request);
            }
            Received::Nothing => {
                spare = Some(slot);
                shared.wake.wait(device);
            }
            Received::Unmounted => {
                shared.wake.all();
                shared.end(Ok(()));
            }
            Received::Failed(errno) => {
                shared.wake.all();
                shared.end(Err(SessionError::System(
                    "read the FUSE device",
                    Arc::new(errno.into()),
                )));
            }
        }
    }
}

fn take(shared: &Shared, clone: usize) -> Option<ReadSlot> {
    shared
        .region
        .slots()
        .take_for_read(clone as u32, SLOT_PATIENCE)
}

/// Answers a request, here if that needs no waiting.
fn handle(shared: &Arc<Shared>, request: Request) {
    let Some(header) = Header::read(request.bytes()) else {
        tracing::error!(
            len = request.bytes().len(),
            "the kernel sent a message without a header"
        );
        return request.answered();
    };
    match header.opcode {
        op::INIT => negotiate(shared, &request, header.unique),
        op::INTERRUPT => interrupt(shared, &request),
        op::FORGET | op::BATCH_FORGET => request.answered(),
        op::DESTROY => shared
            .transport
            .reply(&request, header.unique, Ok(Reply::Empty)),
        _ => run(shared, surely_answer(Arc::clone(shared), request, header)),
    }
}

/// Polls once; a future that is not ready moves to the runtime, whose first poll
/// registers the waker that this one had not.
fn run(shared: &Shared, future: impl Future<Output = ()> + Send + 'static) {
    let mut future: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(future);
    if future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
        == Poll::Pending
    {
        shared.tasks.spawn_on(future, &shared.runtime);
    }
}

/// A panic costs its request EIO, and nobody else anything.
async fn surely_answer(shared: Arc<Shared>, request: Request, header: Header) {
    if caught(answer(&shared, &request, header)).await == Err(Panicked) {
        tracing::error!(
            opcode = header.opcode,
            ino = header.node,
            "an operation panicked"
        );
        shared.interrupts.done(header.unique);
        shared
            .transport
            .reply(&request, header.unique, Err(libc::EIO));
    }
}

async fn answer(shared: &Shared, request: &Request, header: Header) {
    let waits = header.opcode == op::SETLKW;
    let cancel = if waits {
        shared.interrupts.waits(header.unique)
    } else {
        tokio_util::sync::CancellationToken::new()
    };
    let reply = shared.adapter.answer(request, header, &cancel).await;
    let left = waits && shared.interrupts.done(header.unique);
    if left && matches!(reply, Err(libc::EINTR)) {
        return;
    }
    shared.transport.reply(request, header.unique, reply);
}

fn interrupt(shared: &Shared, request: &Request) {
    if let Some(unique) = Args::of(request.bytes()).u64() {
        shared.interrupts.interrupt(unique);
    }
    request.answered();
}

fn negotiate(shared: &Shared, request: &Request, unique: u64) {
    let agreed = agree(shared, request);
    let reply = agreed
        .as_ref()
        .map(|body| Reply::Body(body.clone()))
        .map_err(|_| libc::EPROTO);
    shared.transport.reply(request, unique, reply);
    match agreed {
        Ok(body) => drop(shared.stage.send_replace(Stage::Serving(body.into()))),
        Err(error) => {
            shared.wake.all();
            shared.end(Err(error));
        }
    }
}

fn agree(shared: &Shared, request: &Request) -> Result<Vec<u8>, SessionError> {
    let offer = Offer::read(Args::of(request.bytes())).ok_or(SessionError::Protocol)?;
    if !offer.is_usable() {
        return Err(SessionError::Protocol);
    }
    let SessionConfig {
        max_background,
        writeback_cache,
        acls,
        ..
    } = shared.config;
    let body = offer.answer(Choice {
        max_write: shared.region.config().max_write,
        max_background,
        writeback_cache,
        acls,
    });
    shared.adapter.agree(&body);
    shared
        .region
        .set_init(&body)
        .map_err(|error| SessionError::State(Arc::new(error)))?;
    Ok(body)
}
