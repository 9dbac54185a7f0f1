//! What is removed for good.

use carafe_types::Ino;

use crate::{
    data::commit,
    engines::{Volume, format, on_every_engine},
};

on_every_engine! {
    young_trash_stays(format(1));
    a_slice_with_references_is_not_dead(format(0));
}

async fn young_trash_stays(volume: Volume) {
    let call = volume.call();
    volume.file(Ino::ROOT, "f").await;
    volume.meta.unlink(&call, Ino::ROOT, b"f").await.unwrap();
    assert_eq!(volume.meta.expire_trash(&call, 100).await.unwrap(), 0);
    assert_eq!(volume.names(Ino::TRASH).await.len(), 1);
}

async fn a_slice_with_references_is_not_dead(volume: Volume) {
    let call = volume.call();
    let (ino, _) = volume.file(Ino::ROOT, "f").await;
    let id = commit(&volume, ino, 0, 0, 1000).await;
    volume
        .meta
        .forget_slices(&call, &[(id, 1000)])
        .await
        .unwrap();
    assert!(volume.meta.dead_slices(&call, 10).await.unwrap().is_empty());
    assert_eq!(volume.meta.clean_deleted_files(&call, 10).await.unwrap(), 0);
}
