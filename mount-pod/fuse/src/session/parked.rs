//! Futures that wait without a task.
//!
//! A future that is not ready at its first poll is **parked** with its waker, and becomes
//! a task of the runtime when it is woken: on the thread that has what it waited for,
//! which then goes on with it. Nobody is woken only to take the future over.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Wake, Waker},
};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

type Future = Pin<Box<dyn std::future::Future<Output = ()> + Send>>;

/// A future between its first poll and its being woken.
struct Parked {
    place: Mutex<Place>,
    tasks: TaskTracker,
    runtime: Handle,
    /// It counts as under way.
    _token: TaskTrackerToken,
}

enum Place {
    /// Being polled for the first time.
    Polled,
    /// Woken meanwhile.
    Woken,
    Waiting(Future),
    /// Ended, or a task.
    Gone,
}

/// Polls `future` here, and lets it go on in the runtime if it is not ready.
pub(super) fn run(
    tasks: &TaskTracker,
    runtime: &Handle,
    future: impl std::future::Future<Output = ()> + Send + 'static,
) {
    let parked = Arc::new(Parked {
        place: Mutex::new(Place::Polled),
        tasks: tasks.clone(),
        runtime: runtime.clone(),
        _token: tasks.token(),
    });
    let waker = Waker::from(Arc::clone(&parked));
    let mut future: Future = Box::pin(future);
    if future
        .as_mut()
        .poll(&mut Context::from_waker(&waker))
        .is_pending()
    {
        parked.park(future);
    } else {
        *parked.place.lock() = Place::Gone;
    }
}

impl Parked {
    fn park(&self, future: Future) {
        let mut place = self.place.lock();
        if matches!(*place, Place::Woken) {
            *place = Place::Gone;
            drop(place);
            self.go_on(future);
        } else {
            *place = Place::Waiting(future);
        }
    }

    fn go_on(&self, future: Future) {
        self.tasks.spawn_on(future, &self.runtime);
    }
}

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut place = self.place.lock();
        match std::mem::replace(&mut *place, Place::Gone) {
            Place::Polled | Place::Woken => *place = Place::Woken,
            Place::Waiting(future) => {
                drop(place);
                self.go_on(future);
            }
            Place::Gone => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn ended(future: impl std::future::Future<Output = ()> + Send + 'static) -> mpsc::Receiver<()> {
        let (tasks, (sender, receiver)) = (TaskTracker::new(), mpsc::channel());
        run(&tasks, &Handle::current(), async move {
            future.await;
            sender.send(()).unwrap();
        });
        receiver
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_ready_ends_at_once() {
        assert_eq!(ended(async {}).try_recv(), Ok(()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_waits_goes_on_when_it_is_woken() {
        let notify = Arc::new(tokio::sync::Notify::new());
        let waits = Arc::clone(&notify);
        let end = ended(async move { waits.notified().await });
        assert!(end.try_recv().is_err(), "nobody has woken it");
        notify.notify_one();
        assert_eq!(end.recv_timeout(PATIENCE), Ok(()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_woken_while_it_is_polled_goes_on() {
        let end = ended(tokio::task::yield_now());
        assert_eq!(end.recv_timeout(PATIENCE), Ok(()));
    }
}
