//! Extended attributes.

use carafe_meta::XattrMode;
use carafe_types::{Error, Ino};

use crate::engines::{Volume, format, on_every_engine};

on_every_engine! {
    attributes_are_set_listed_and_removed(format(0));
}

async fn attributes_are_set_listed_and_removed(volume: Volume) {
    let (meta, call) = (&volume.meta, volume.call());
    let (ino, _) = volume.file(Ino::ROOT, "f").await;
    let value = vec![0, 1, 255, b'x'];
    meta.setxattr(&call, ino, b"user.a", &value, XattrMode::Any)
        .await
        .unwrap();
    assert_eq!(meta.getxattr(&call, ino, b"user.a").await.unwrap(), value);
    assert_eq!(
        meta.setxattr(&call, ino, b"user.a", b"", XattrMode::Create)
            .await,
        Err(Error::Exists)
    );
    assert_eq!(
        meta.setxattr(&call, ino, b"user.b", b"", XattrMode::Replace)
            .await,
        Err(Error::NoAttribute)
    );
    meta.setxattr(&call, ino, b"user.a", b"", XattrMode::Replace)
        .await
        .unwrap();
    meta.setxattr(&call, ino, b"user.b", b"2", XattrMode::Create)
        .await
        .unwrap();
    let mut names = meta.listxattr(&call, ino).await.unwrap();
    names.sort();
    assert_eq!(names, [b"user.a", b"user.b"]);
    meta.removexattr(&call, ino, b"user.a").await.unwrap();
    assert_eq!(
        meta.removexattr(&call, ino, b"user.a").await,
        Err(Error::NoAttribute)
    );
    assert_eq!(
        meta.getxattr(&call, ino, b"user.a").await,
        Err(Error::NoAttribute)
    );
    assert_eq!(meta.listxattr(&call, Ino(4711)).await, Err(Error::NotFound));
    let big = vec![7; 65_537];
    assert_eq!(
        meta.setxattr(&call, ino, b"user.big", &big, XattrMode::Any)
            .await,
        Err(Error::OutOfRange)
    );
}
