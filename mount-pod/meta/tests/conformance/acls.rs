//! POSIX access control lists.

use carafe_meta::{Call, Meta, NewNode, SetAttr};
use carafe_types::{Acl, AclKind, Attr, Error, FileType, Format, Ino, Result};

use crate::engines::{Volume, format, on_every_engine};

on_every_engine! {
    without_lists_they_are_refused(format(0));
    a_list_sets_the_mode_and_a_mode_the_list(with_lists());
    what_is_made_inherits_and_the_umask_is_void(with_lists());
    equal_lists_share_a_number(with_lists());
    lists_of_others_are_seen_and_of_what_they_say(with_lists());
}

fn with_lists() -> Format {
    format(0).with_acls(true)
}

/// `u::rwx,u:1:perm,g::r-x,m::rwx,o::r-x`
fn list(permission: u16) -> Acl {
    Acl {
        owner: 7,
        group: 5,
        mask: Some(7),
        other: 5,
        users: vec![(1, permission)],
        groups: Vec::new(),
    }
}

async fn set(volume: &Volume, ino: Ino, kind: AclKind, list: Option<&Acl>) -> Attr {
    let call = volume.call();
    let set = volume.meta.set_acl(&call, ino, kind, list, false);
    set.await.unwrap()
}

/// What comes of setting a list that names user 1.
async fn try_set(
    meta: &dyn Meta,
    call: &Call,
    ino: Ino,
    kind: AclKind,
    permission: u16,
) -> Result<Attr> {
    let list = list(permission);
    meta.set_acl(call, ino, kind, Some(&list), false).await
}

async fn make(volume: &Volume, parent: Ino, name: &str, kind: FileType, mode: u16) -> (Ino, Attr) {
    let node = NewNode {
        kind,
        mode,
        umask: 0o077,
        target: if kind == FileType::Symlink {
            b"x".to_vec()
        } else {
            Vec::new()
        },
        ..NewNode::default()
    };
    let call = volume.call();
    let made = volume.meta.create(&call, parent, name.as_bytes(), &node);
    made.await.unwrap()
}

async fn without_lists_they_are_refused(volume: Volume) {
    let (ino, _) = volume.file(Ino::ROOT, "f").await;
    let (meta, call) = (&volume.meta, volume.call());
    let set = try_set(&**meta, &call, ino, AclKind::Access, 7).await;
    assert_eq!(set, Err(Error::Unsupported));
    let got = meta.acl(&call, ino, AclKind::Access);
    assert_eq!(got.await, Err(Error::Unsupported));
}

async fn a_list_sets_the_mode_and_a_mode_the_list(volume: Volume) {
    let (meta, call) = (&volume.meta, volume.call());
    let (ino, _) = volume.file(Ino::ROOT, "f").await;
    let got = || meta.acl(&call, ino, AclKind::Access);
    assert_eq!(got().await, Err(Error::NoAttribute));
    let attr = set(&volume, ino, AclKind::Access, Some(&list(6))).await;
    assert_eq!(attr.mode, 0o775, "the group's bits are the mask's");
    assert_eq!(got().await, Ok(list(6)));
    let chmod = SetAttr {
        mode: Some(0o4710),
        ..SetAttr::default()
    };
    let attr = meta.setattr(&call, ino, &chmod).await.unwrap();
    assert_eq!(attr.mode, 0o4710);
    let masked = Acl {
        mask: Some(1),
        other: 0,
        ..list(6)
    };
    assert_eq!(got().await, Ok(masked), "and the list follows");
    let minimal = Acl {
        mask: None,
        users: Vec::new(),
        ..list(6)
    };
    let attr = set(&volume, ino, AclKind::Access, Some(&minimal)).await;
    assert_eq!(
        (attr.mode, attr.access_acl),
        (0o4755, 0),
        "a mode says it all"
    );
    assert_eq!(got().await, Err(Error::NoAttribute));
    let refused = try_set(&**meta, &call, ino, AclKind::Default, 7).await;
    assert_eq!(refused, Err(Error::PermissionDenied), "no directory");
    set(&volume, ino, AclKind::Access, Some(&list(6))).await;
    let attr = set(&volume, ino, AclKind::Access, None).await;
    assert_eq!(
        (attr.mode & 0o777, attr.access_acl),
        (0o775, 0),
        "the mode stays"
    );
}

async fn what_is_made_inherits_and_the_umask_is_void(volume: Volume) {
    let dir = volume.dir(Ino::ROOT, "d").await;
    set(&volume, dir, AclKind::Default, Some(&list(7))).await;
    let (file, attr) = make(&volume, dir, "f", FileType::File, 0o666).await;
    assert_eq!((attr.mode, attr.default_acl), (0o664, 0));
    let (meta, call) = (&volume.meta, volume.call());
    let left = Acl {
        owner: 6,
        mask: Some(6),
        other: 4,
        ..list(7)
    };
    assert_eq!(meta.acl(&call, file, AclKind::Access).await, Ok(left));
    let (below, attr) = make(&volume, dir, "e", FileType::Directory, 0o2750).await;
    assert_eq!(attr.mode, 0o2750);
    let passed_on = meta.acl(&call, below, AclKind::Default).await;
    assert_eq!(passed_on, Ok(list(7)));
    let (_, attr) = make(&volume, dir, "l", FileType::Symlink, 0o777).await;
    assert_eq!(
        (attr.access_acl, attr.default_acl),
        (0, 0),
        "links have none"
    );
    let minimal = Acl {
        mask: None,
        users: Vec::new(),
        ..list(7)
    };
    set(&volume, dir, AclKind::Default, Some(&minimal)).await;
    let (_, attr) = make(&volume, dir, "g", FileType::File, 0o666).await;
    assert_eq!((attr.mode, attr.access_acl), (0o644, 0));
    set(&volume, dir, AclKind::Default, None).await;
    let (_, attr) = make(&volume, dir, "h", FileType::File, 0o666).await;
    assert_eq!(attr.mode, 0o600, "without a default the umask counts");
}

async fn equal_lists_share_a_number(volume: Volume) {
    let (one, two) = (
        volume.dir(Ino::ROOT, "1").await,
        volume.dir(Ino::ROOT, "2").await,
    );
    let first = set(&volume, one, AclKind::Access, Some(&list(7))).await;
    let second = set(&volume, two, AclKind::Default, Some(&list(7))).await;
    assert_eq!(first.access_acl, second.default_acl);
    let (meta, call) = volume.second().await;
    let third = try_set(&*meta, &call, two, AclKind::Access, 7).await;
    assert_eq!(
        third.unwrap().access_acl,
        first.access_acl,
        "another client's too"
    );
}

async fn lists_of_others_are_seen_and_of_what_they_say(volume: Volume) {
    let dir = volume.dir(Ino::ROOT, "d").await;
    let (other, call) = volume.second().await;
    for permission in [4, 6] {
        let change = try_set(&*other, &call, dir, AclKind::Default, permission).await;
        change.unwrap();
        let name = format!("f{permission}");
        let (file, _) = make(&volume, dir, &name, FileType::File, 0o666).await;
        let user = Call {
            uid: 1,
            ..volume.call()
        };
        let got = volume.meta.acl(&user, file, AclKind::Access).await.unwrap();
        assert_eq!(got.users, [(1, permission)], "not what was seen before");
    }
}
