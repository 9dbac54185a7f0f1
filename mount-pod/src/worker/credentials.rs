//! Credentials that rotate under a running mount.

use std::sync::Arc;

use carafe_api::VolumeSecret;
use carafe_meta::{Call, Meta};
use carafe_object::{Credentials, ObjectStore};
use carafe_types::Format;
use tokio::sync::watch;

/// Exchanges a mount's credentials, beside its other work: a database that refuses
/// or does not answer holds up nothing else. Ends when it is dropped.
pub(super) struct Rotating {
    newest: watch::Sender<VolumeSecret>,
}

/// What of a mount takes new credentials.
struct Users {
    meta: Arc<dyn Meta>,
    objects: Arc<dyn ObjectStore>,
    /// The setting as it was last read.
    format: Format,
}

impl Rotating {
    /// Of a mount that began with this Secret and this setting.
    pub(super) fn new(
        meta: Arc<dyn Meta>,
        objects: Arc<dyn ObjectStore>,
        secret: VolumeSecret,
        format: Format,
    ) -> Self {
        let newest = watch::Sender::new(secret);
        let users = Users {
            meta,
            objects,
            format,
        };
        tokio::spawn(users.follow(newest.subscribe()));
        Self { newest }
    }

    /// Uses a Secret from now on; of several that come quickly, the last.
    pub(super) fn rotate(&self, secret: VolumeSecret) {
        self.newest.send_replace(secret);
    }
}

impl Users {
    async fn follow(mut self, mut newest: watch::Receiver<VolumeSecret>) {
        while newest.changed().await.is_ok() {
            let secret = newest.borrow_and_update().clone();
            self.exchange(&secret).await;
        }
    }

    /// A failure leaves the old credentials in use; it is logged and the next rotation
    /// tries again.
    async fn exchange(&mut self, secret: &VolumeSecret) {
        // The store first, which needs no database.
        self.reload_store(secret);
        let (url, password) = (secret.metaurl.expose(), secret.meta_password());
        match self.meta.renew_login(url, password.as_ref()).await {
            Ok(()) => tracing::info!("the database takes the Secret's login"),
            Err(error) => tracing::error!(%error, "the database's login"),
        }
        match self.meta.load(&Call::internal()).await {
            // Keys that only the setting has may have changed there.
            Ok(format) if format != self.format => {
                self.format = format;
                self.reload_store(secret);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "the volume's setting cannot be read: what it said last is used");
            }
        }
    }

    fn reload_store(&self, secret: &VolumeSecret) {
        let mut format = self.format.clone();
        secret.apply_credentials(&mut format);
        match self.objects.reload(&Credentials::from(&format)) {
            Ok(()) => tracing::info!("the store is asked with the Secret's keys"),
            Err(error) => tracing::error!(%error, "the new store credentials are not usable"),
        }
    }
}
