//! The kernel's requests, cut anywhere, are read or refused.

use crate::abi::{
    Args, Header,
    init::{Choice, Offer},
};

#[test]
fn requests() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let Some(header) = Header::read(bytes) else {
            assert!(bytes.len() < 40, "a whole header is read");
            return;
        };
        let mut args = Args::of(bytes);
        // In the shapes that arguments have: numbers, names, bytes of a length.
        match header.opcode % 4 {
            0 => while args.name().is_some() {},
            1 => while args.u64().is_some() {},
            2 => {
                while args
                    .u32()
                    .is_some_and(|len| args.bytes(len as usize).is_some())
                {}
            }
            _ => {
                if let Some(offer) = Offer::read(args) {
                    let reply = offer.answer(Choice {
                        max_write: 1 << 20,
                        max_background: 64,
                        writeback_cache: header.unique.is_multiple_of(2),
                        acls: header.unique.is_multiple_of(3),
                    });
                    assert_eq!(reply.len(), 64, "fuse_init_out");
                }
            }
        }
    });
}
