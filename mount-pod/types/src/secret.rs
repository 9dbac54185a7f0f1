//! Values that must not be printed, and how the format hides them in the setting.
//!
//! The setting's secrets are base64(nonce | AES-128-GCM) under MD5(volume UUID):
//! against shoulder surfing, not against whoever reads the database.

use std::fmt;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::{Engine, prelude::BASE64_STANDARD};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

/// A text that `Debug` and `Display` never show.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: for the one place that sends it to its server.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.is_empty() {
            "(none)"
        } else {
            "(hidden)"
        })
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, out)
    }
}

fn key(uuid: &str) -> Option<LessSafeKey> {
    let digest = Md5::digest(uuid.as_bytes());
    UnboundKey::new(&AES_128_GCM, &digest)
        .ok()
        .map(LessSafeKey::new)
}

/// Hides `plain` as the setting of volume `uuid` stores it. `nonce` must never
/// be used twice for one volume. `None` only if the cipher refuses.
pub fn seal_secret(uuid: &str, plain: &Secret, nonce: [u8; NONCE_LEN]) -> Option<Secret> {
    if plain.is_empty() {
        return Some(Secret::default());
    }
    let mut sealed = plain.expose().as_bytes().to_vec();
    let nonce_used = Nonce::assume_unique_for_key(nonce);
    key(uuid)?
        .seal_in_place_append_tag(nonce_used, Aad::empty(), &mut sealed)
        .ok()?;
    Some(Secret::new(
        BASE64_STANDARD.encode([&nonce[..], &sealed].concat()),
    ))
}

/// Reads what [`seal_secret`] or JuiceFS hid; `None` if it is not that.
pub fn open_secret(uuid: &str, sealed: &Secret) -> Option<Secret> {
    if sealed.is_empty() {
        return Some(Secret::default());
    }
    let mut bytes = BASE64_STANDARD.decode(sealed.expose()).ok()?;
    let (nonce, rest) = bytes.split_at_mut_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let plain = key(uuid)?.open_in_place(nonce, Aad::empty(), rest).ok()?;
    String::from_utf8(plain.to_vec()).ok().map(Secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "7f3c8f1e-52c5-4f8c-8f0a-0f6b6f0c0c0d";

    #[test]
    fn what_was_sealed_opens() {
        let plain = Secret::new("minio-secret");
        let sealed = seal_secret(UUID, &plain, [7; 12]).unwrap();
        assert_ne!(sealed, plain);
        assert_eq!(open_secret(UUID, &sealed), Some(plain));
        assert_eq!(
            open_secret("another", &sealed),
            None,
            "another volume's key opens nothing"
        );
    }

    #[test]
    fn nothing_stays_nothing() {
        assert_eq!(
            seal_secret(UUID, &Secret::default(), [0; 12]),
            Some(Secret::default())
        );
    }

    #[test]
    fn it_is_never_printed() {
        assert_eq!(
            format!("{:?} {}", Secret::new("hunter2"), Secret::new("hunter2")),
            "(hidden) (hidden)"
        );
    }
}
