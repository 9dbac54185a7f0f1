//! The login of the day.
//!
//! A login is **accepted** once a connection was made with it. A **renewed** one is
//! tried first for each new connection, and the one that was accepted last after it,
//! until the newer is accepted: a Secret and its database change in either order. No
//! more than two are known at a time.

use std::sync::Arc;

use parking_lot::Mutex;

/// The server with the logins that may work.
pub(super) struct Logins<T> {
    inner: Mutex<Inner<T>>,
}

struct Inner<T> {
    newest: Arc<T>,
    /// The one before; `None` once the newest was accepted.
    accepted: Option<Arc<T>>,
}

impl<T: PartialEq> Logins<T> {
    /// A login that was accepted.
    pub(super) fn new(target: T) -> Self {
        Self {
            inner: Mutex::new(Inner {
                newest: Arc::new(target),
                accepted: None,
            }),
        }
    }

    /// Puts a login before the others; `None` if it is in use already.
    pub(super) fn renew(&self, target: T) -> Option<Arc<T>> {
        let mut inner = self.inner.lock();
        let is_known = *inner.newest == target;
        if is_known && inner.accepted.is_none() {
            return None;
        }
        if !is_known {
            let before = std::mem::replace(&mut inner.newest, Arc::new(target));
            inner.accepted.get_or_insert(before);
        }
        Some(Arc::clone(&inner.newest))
    }

    /// A connection was made with `target`; `true` if that is news.
    pub(super) fn accept(&self, target: &Arc<T>) -> bool {
        let mut inner = self.inner.lock();
        Arc::ptr_eq(&inner.newest, target) && inner.accepted.take().is_some()
    }

    /// What to try, in order.
    pub(super) fn both(&self) -> (Arc<T>, Option<Arc<T>>) {
        let inner = self.inner.lock();
        (Arc::clone(&inner.newest), inner.accepted.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_former_login_is_kept_until_the_newer_is_accepted() {
        let logins = Logins::new("one");
        assert!(logins.renew("one").is_none(), "in use already");
        assert!(logins.renew("two").is_some());
        let three = logins.renew("three").unwrap();
        let (newest, former) = logins.both();
        assert_eq!((*newest, former.as_deref()), ("three", Some(&"one")));
        assert!(logins.accept(&three) && !logins.accept(&three));
        assert_eq!(logins.both().1, None, "the former one is forgotten");
    }
}
