//! Credentials that rotate under a running mount.

use std::sync::Arc;

use carafe_api::VolumeSecret;
use carafe_meta::{Call, Meta};
use carafe_object::{Credentials, ObjectStore};
use carafe_types::Format;

/// What of a mount takes new credentials.
pub(super) struct Rotating {
    meta: Arc<dyn Meta>,
    objects: Arc<dyn ObjectStore>,
}

impl Rotating {
    pub(super) fn new(meta: Arc<dyn Meta>, objects: Arc<dyn ObjectStore>) -> Self {
        Self { meta, objects }
    }

    /// Uses a changed Secret from the next request on. A failure leaves the old
    /// credentials in use; it is logged and the next rotation tries again.
    pub(super) async fn rotate(&self, secret: &VolumeSecret) {
        if let Some(password) = secret.meta_password() {
            self.meta.set_password(&password);
        }
        let mut format = match self.meta.load(&Call::internal()).await {
            Ok(format) => format,
            Err(error) => {
                tracing::warn!(%error, "the volume's setting cannot be read: using the Secret's keys alone");
                Format::default()
            }
        };
        secret.apply_credentials(&mut format);
        match self.objects.reload(&Credentials::from(&format)) {
            Ok(()) => tracing::info!("the credentials were exchanged"),
            Err(error) => tracing::error!(%error, "the new store credentials are not usable"),
        }
    }
}
