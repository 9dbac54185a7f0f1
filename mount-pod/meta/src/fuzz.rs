//! What comes from users and out of databases is refused or read, and never a panic.

use carafe_types::{Attr, Ino, Result};

use crate::{client, record, redis};

#[test]
fn urls() {
    bolero::check!().for_each(|bytes: &[u8]| {
        redis::fuzz_url(&format!("redis://{}", String::from_utf8_lossy(bytes)));
    });
}

#[test]
fn redis_fields() {
    bolero::check!().for_each(|bytes: &[u8]| redis::fuzz_fields(bytes));
}

#[test]
fn records() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let sequence = bytes
            .first_chunk()
            .map_or(0, |head| u64::from_be_bytes(*head));
        let _ = record::unseal::<Vec<(Ino, Result<Attr>)>>(sequence, bytes);
        let _ = record::unseal::<(Ino, Attr, bool)>(sequence, bytes);
    });
}

#[test]
fn hours_of_the_trash() {
    bolero::check!().for_each(|bytes: &[u8]| client::fuzz_hour(bytes));
}
