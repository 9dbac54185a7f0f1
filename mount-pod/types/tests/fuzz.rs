//! What comes out of a database may be damaged, or another program's: reading it never
//! panics. Each target runs for a moment; `cargo bolero test` runs one for as long as one
//! likes. Seeds lie in `__fuzz__`.

use carafe_types::{Attr, CHUNK_SIZE, Format, Slice, overlay};

#[test]
fn attributes() {
    bolero::check!().for_each(|bytes: &[u8]| {
        if let Some(attr) = Attr::decode(bytes) {
            assert_eq!(
                Attr::decode(&attr.encode()),
                Some(attr),
                "what is read is written the same"
            );
        }
    });
}

#[test]
fn slices() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let Ok(list) = Slice::decode_list(bytes) else {
            return;
        };
        let mut at = 0;
        for segment in overlay(&list, 0, CHUNK_SIZE as u32) {
            assert_eq!(segment.pos, at, "no gap");
            at += segment.len;
        }
        assert_eq!(u64::from(at), CHUNK_SIZE, "all of the chunk");
    });
}

#[test]
fn settings() {
    bolero::check!().for_each(|bytes: &[u8]| {
        if let Ok(format) = serde_json::from_slice::<Format>(bytes) {
            let _ = format.check();
            let _ = format.opened();
        }
    });
}
