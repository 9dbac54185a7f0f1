//! Listings in pages.

use std::collections::BTreeSet;

use carafe_meta::Cursor;
use carafe_types::{Error, FileType, Ino};

use crate::engines::{Volume, format, on_every_engine};

on_every_engine! {
    pages_show_every_entry_once(format(0));
    any_cursor_goes_on_for_another_client(format(0));
    entries_that_stay_are_shown_under_change(format(0));
    what_is_no_directory_is_not_listed(format(0));
}

async fn pages_show_every_entry_once(volume: Volume) {
    let dir = volume.dir(Ino::ROOT, "d").await;
    let mut expected = BTreeSet::new();
    for number in 0..50 {
        let (ino, attr) = volume.file(dir, &format!("f{number}")).await;
        expected.insert((format!("f{number}").into_bytes(), ino, attr.mode));
    }
    for limit in [1, 7, 50, 1000] {
        let (mut cursor, mut seen) = (Cursor(0), BTreeSet::new());
        loop {
            let page = volume
                .meta
                .readdir(&volume.call(), dir, cursor, limit, true)
                .await
                .unwrap();
            assert!(page.entries.len() <= limit);
            for entry in page.entries {
                assert!(entry.next > cursor);
                cursor = entry.next;
                assert_eq!(entry.kind, FileType::File);
                assert!(seen.insert((entry.name, entry.ino, entry.attr.unwrap().mode)));
            }
            if page.end {
                break;
            }
        }
        assert_eq!(seen, expected);
    }
}

async fn any_cursor_goes_on_for_another_client(volume: Volume) {
    for number in 0..20 {
        volume.file(Ino::ROOT, &format!("f{number}")).await;
    }
    let all = volume
        .meta
        .readdir(&volume.call(), Ino::ROOT, Cursor(0), 100, false)
        .await
        .unwrap();
    assert!(all.end);
    let (other, call) = volume.second().await;
    for (index, entry) in all.entries.iter().enumerate() {
        let rest = other
            .readdir(&call, Ino::ROOT, entry.next, 100, false)
            .await
            .unwrap();
        assert!(rest.end);
        assert_eq!(rest.entries, all.entries[index + 1..]);
    }
}

async fn entries_that_stay_are_shown_under_change(volume: Volume) {
    let call = volume.call();
    for number in 0..40 {
        volume.file(Ino::ROOT, &format!("stay{number}")).await;
        volume.file(Ino::ROOT, &format!("go{number}")).await;
    }
    let (mut cursor, mut stayed, mut step) = (Cursor(0), BTreeSet::new(), 0);
    loop {
        let page = volume
            .meta
            .readdir(&call, Ino::ROOT, cursor, 5, false)
            .await
            .unwrap();
        for entry in page.entries {
            cursor = entry.next;
            if entry.name.starts_with(b"stay") {
                assert!(stayed.insert(entry.name));
            }
        }
        if page.end {
            break;
        }
        if step < 40 {
            volume
                .meta
                .unlink(&call, Ino::ROOT, format!("go{step}").as_bytes())
                .await
                .unwrap();
            volume.file(Ino::ROOT, &format!("new{step}")).await;
        }
        step += 1;
    }
    assert_eq!(stayed.len(), 40);
}

async fn what_is_no_directory_is_not_listed(volume: Volume) {
    let call = volume.call();
    let (file, _) = volume.file(Ino::ROOT, "f").await;
    assert_eq!(
        volume.meta.readdir(&call, file, Cursor(0), 10, false).await,
        Err(Error::NotDirectory)
    );
    assert_eq!(
        volume
            .meta
            .readdir(&call, Ino(4711), Cursor(0), 10, false)
            .await,
        Err(Error::NotFound)
    );
}
