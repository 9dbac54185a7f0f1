//! An operation with a key takes effect once.

use carafe_meta::{Call, NewNode, OpKey, SetAttr};
use carafe_types::{Error, Ino};

use crate::engines::{Volume, format, on_every_engine};

on_every_engine! {
    an_operation_sent_again_answers_the_same(format(0));
    a_slot_takes_the_next_operation(format(0));
}

fn keyed(volume: &Volume, slot: u32, sequence: u64) -> Call {
    Call {
        key: Some(OpKey {
            session: volume.session,
            slot,
            sequence,
        }),
        ..volume.call()
    }
}

async fn an_operation_sent_again_answers_the_same(volume: Volume) {
    let call = keyed(&volume, 3, 1);
    let made = volume
        .meta
        .create(&call, Ino::ROOT, b"f", &NewNode::default())
        .await
        .unwrap();
    // Another client stands for the successor of a worker that died.
    let (other, _) = volume.second().await;
    assert_eq!(
        other
            .create(&call, Ino::ROOT, b"f", &NewNode::default())
            .await,
        Ok(made.clone())
    );
    let next = keyed(&volume, 3, 2);
    volume.meta.unlink(&next, Ino::ROOT, b"f").await.unwrap();
    assert_eq!(
        other.unlink(&next, Ino::ROOT, b"f").await,
        Ok(()),
        "not NotFound"
    );
    assert_eq!(volume.used().await, (0, 0));
}

async fn a_slot_takes_the_next_operation(volume: Volume) {
    let (ino, _) = volume.file(Ino::ROOT, "f").await;
    for sequence in 1..5 {
        let set = SetAttr {
            size: Some(sequence * 10),
            ..SetAttr::default()
        };
        let attr = volume
            .meta
            .setattr(&keyed(&volume, 0, sequence), ino, &set)
            .await
            .unwrap();
        assert_eq!(attr.length, sequence * 10);
    }
    let made = volume
        .meta
        .create(&keyed(&volume, 0, 9), Ino::ROOT, b"f", &NewNode::default())
        .await;
    assert_eq!(made, Err(Error::Exists), "errors are found, not recorded");
}
