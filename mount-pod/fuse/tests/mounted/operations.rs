//! Each family of operations once, through the kernel.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink},
};

use rustix::{
    fs::{FallocateFlags, Mode, RenameFlags, XattrFlags, fallocate, renameat_with},
    io::Errno,
};

use crate::fixture::Volume;

#[test]
fn files_are_written_read_and_cut() {
    let volume = Volume::new();
    let mount = volume.mounted();
    let data: Vec<u8> = (0..3_000_000u32).map(|byte| (byte % 251) as u8).collect();
    let mut file = OpenOptions::new()
        .create_new(true)
        .read(true)
        .write(true)
        .open(mount.path("file"))
        .unwrap();
    file.write_all(&data).unwrap();
    file.write_all_at(b"patch", 1_000_000).unwrap();
    let mut expected = data;
    expected[1_000_000..1_000_005].copy_from_slice(b"patch");
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut read = Vec::new();
    file.read_to_end(&mut read).unwrap();
    assert!(read == expected, "read before it is flushed");
    file.sync_all().unwrap();
    file.set_len(2_000_000).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 2_000_000);
    drop(file);
    assert!(fs::read(mount.path("file")).unwrap() == expected[..2_000_000]);
    let again = OpenOptions::new()
        .create_new(true)
        .write(true)
        .open(mount.path("file"));
    assert_eq!(again.unwrap_err().kind(), ErrorKind::AlreadyExists);
    drop(
        OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(mount.path("file"))
            .unwrap(),
    );
    assert_eq!(
        fs::metadata(mount.path("file")).unwrap().len(),
        0,
        "O_TRUNC"
    );
}

#[test]
fn names_are_made_found_moved_and_removed() {
    let volume = Volume::new();
    let mount = volume.mounted();
    let at = |name: &str| mount.path(name);
    fs::create_dir_all(at("a/b")).unwrap();
    fs::write(at("a/file"), "text").unwrap();
    fs::hard_link(at("a/file"), at("a/b/link")).unwrap();
    assert_eq!(fs::metadata(at("a/file")).unwrap().nlink(), 2);
    symlink("../file", at("a/b/soft")).unwrap();
    assert_eq!(fs::read_to_string(at("a/b/soft")).unwrap(), "text");
    fs::rename(at("a/b"), at("c")).unwrap();
    assert_eq!(
        fs::read_link(at("c/soft")).unwrap().to_str(),
        Some("../file")
    );
    assert_eq!(
        fs::remove_dir(at("c")).unwrap_err().kind(),
        ErrorKind::DirectoryNotEmpty
    );
    let cwd = rustix::fs::CWD;
    let exchange = renameat_with(cwd, at("a/file"), cwd, at("c/soft"), RenameFlags::EXCHANGE);
    assert_eq!(exchange, Ok(()));
    assert!(fs::symlink_metadata(at("a/file")).unwrap().is_symlink());
    let refused = renameat_with(cwd, at("a/file"), cwd, at("c/link"), RenameFlags::NOREPLACE);
    assert_eq!(refused, Err(Errno::EXIST));
    rustix::fs::mknodat(cwd, at("pipe"), rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
    assert!(fs::metadata(at("pipe")).unwrap().file_type().is_fifo());
    fs::remove_dir_all(at("c")).unwrap();
    fs::remove_dir_all(at("a")).unwrap();
    fs::remove_file(at("pipe")).unwrap();
    assert_eq!(
        fs::metadata(at("a")).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn a_long_listing_names_everything_once() {
    let volume = Volume::new();
    let mount = volume.mounted();
    fs::create_dir(mount.path("many")).unwrap();
    let names: BTreeSet<_> = (0..1500).map(|number| format!("entry-{number}")).collect();
    for name in &names {
        File::create(mount.path("many").join(name)).unwrap();
    }
    let listed: Vec<_> = fs::read_dir(mount.path("many"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .collect();
    assert!(
        listed
            .iter()
            .all(|entry| entry.metadata().unwrap().is_file())
    );
    assert_eq!(listed.len(), names.len());
    let found: BTreeSet<_> = listed
        .iter()
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    assert_eq!(found, names);
}

#[test]
fn attributes_and_extended_attributes_are_kept() {
    let volume = Volume::new();
    let mount = volume.mounted();
    let path = mount.path("file");
    fs::write(&path, "text").unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o6751)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o6751);
    std::os::unix::fs::chown(&path, Some(1000), Some(1001)).unwrap();
    let meta = fs::metadata(&path).unwrap();
    assert_eq!(
        (meta.uid(), meta.gid(), meta.mode() & 0o6000),
        (1000, 1001, 0),
        "chown clears suid and sgid"
    );
    let then = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000, 123_456_789);
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(then)
        .unwrap();
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), then);

    rustix::fs::setxattr(&path, "user.key", b"value", XattrFlags::CREATE).unwrap();
    assert_eq!(
        rustix::fs::setxattr(&path, "user.key", b"x", XattrFlags::CREATE),
        Err(Errno::EXIST)
    );
    let mut value = [0; 64];
    assert_eq!(rustix::fs::getxattr(&path, "user.key", &mut value), Ok(5));
    assert_eq!(&value[..5], b"value");
    assert_eq!(
        rustix::fs::getxattr(&path, "user.key", &mut value[..2]),
        Err(Errno::RANGE)
    );
    assert_eq!(rustix::fs::listxattr(&path, &mut value), Ok(9));
    rustix::fs::removexattr(&path, "user.key").unwrap();
    assert_eq!(
        rustix::fs::getxattr(&path, "user.key", &mut value),
        Err(Errno::NODATA)
    );
}

#[test]
fn space_is_allocated_punched_and_sought() {
    let volume = Volume::new();
    let mount = volume.mounted();
    let file = File::options()
        .create_new(true)
        .read(true)
        .write(true)
        .open(mount.path("file"))
        .unwrap();
    fallocate(&file, FallocateFlags::empty(), 0, 8 << 20).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 8 << 20);
    file.write_all_at(&[1; 4096], 4 << 20).unwrap();
    fallocate(
        &file,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        4 << 20,
        1024,
    )
    .unwrap();
    let mut bytes = [9; 2048];
    file.read_exact_at(&mut bytes, 4 << 20).unwrap();
    assert!(bytes[..1024] == [0; 1024] && bytes[1024..] == [1; 1024]);
    let copy = File::options()
        .create_new(true)
        .read(true)
        .write(true)
        .open(mount.path("copy"))
        .unwrap();
    file.sync_all().unwrap();
    let (mut from, mut to) = (4 << 20, 0);
    let copied =
        rustix::fs::copy_file_range(&file, Some(&mut from), &copy, Some(&mut to), 4096).unwrap();
    assert_eq!(copied, 4096);
    copy.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes[..1024] == [0; 1024] && bytes[1024..] == [1; 1024]);
    assert_eq!(
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(9 << 20)),
        Err(Errno::NXIO)
    );
    let stat = rustix::fs::statvfs(mount.path("")).unwrap();
    assert!(stat.f_blocks > 0 && stat.f_namemax == 255);
}

#[test]
fn an_open_file_outlives_its_name() {
    let volume = Volume::new();
    let mount = volume.mounted();
    let mut file = File::options()
        .create_new(true)
        .read(true)
        .write(true)
        .open(mount.path("file"))
        .unwrap();
    fs::remove_file(mount.path("file")).unwrap();
    file.write_all(b"still here").unwrap();
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "still here");
    assert_eq!(file.metadata().unwrap().nlink(), 0);
}

#[test]
fn appends_go_to_the_end_and_a_rename_replaces() {
    let volume = Volume::new();
    let mount = volume.mounted();
    let open = || {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(mount.path("log"))
            .unwrap()
    };
    let (mut one, mut other) = (open(), open());
    one.write_all(b"a").unwrap();
    other.write_all(b"bc").unwrap();
    one.write_all(b"d").unwrap();
    drop((one, other));
    assert_eq!(fs::read_to_string(mount.path("log")).unwrap(), "abcd");
    fs::write(mount.path("old"), "replaced").unwrap();
    let mut old = File::open(mount.path("old")).unwrap();
    fs::rename(mount.path("log"), mount.path("old")).unwrap();
    assert_eq!(fs::read_to_string(mount.path("old")).unwrap(), "abcd");
    assert_eq!(
        fs::metadata(mount.path("log")).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    let mut text = String::new();
    old.read_to_string(&mut text).unwrap();
    assert_eq!(text, "replaced", "who has it open keeps it");
}

#[test]
fn many_small_files_are_made_by_many_at_once() {
    let volume = Volume::new();
    let mount = volume.mounted();
    let path = |thread: usize, number: usize| mount.path(&format!("{thread}-{number}"));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for number in 0..50 {
                    fs::write(path(thread, number), format!("{thread} {number}")).unwrap();
                }
            });
        }
    });
    assert_eq!(
        fs::read_dir(mount.path(""))
            .unwrap()
            .filter(|entry| !is_virtual(entry))
            .count(),
        400
    );
    for (thread, number) in (0..8).flat_map(|thread| (0..50).map(move |number| (thread, number))) {
        assert_eq!(
            fs::read_to_string(path(thread, number)).unwrap(),
            format!("{thread} {number}")
        );
    }
}

fn is_virtual(entry: &std::io::Result<fs::DirEntry>) -> bool {
    entry
        .as_ref()
        .unwrap()
        .file_name()
        .as_encoded_bytes()
        .starts_with(b".")
}

#[test]
fn acls_are_refused_and_modes_are_kept() {
    let volume = Volume::new();
    let mount = volume.mounted();
    let script = "umask 027; mkdir d; : >f; chmod 6751 f; cp -a f g; mkfifo p";
    let status = std::process::Command::new("sh")
        .args(["-ec", script])
        .current_dir(mount.path(""))
        .status();
    assert!(status.unwrap().success(), "cp -a does without ACLs");
    let mode = |name: &str| fs::metadata(mount.path(name)).unwrap().mode() & 0o7777;
    assert_eq!(
        [mode("d"), mode("f"), mode("g"), mode("p")],
        [0o750, 0o6751, 0o6751, 0o640]
    );
    let entries = [(1u16, 6u16), (4, 4), (32, 4)];
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, permissions) in entries {
        acl.extend([tag.to_le_bytes(), permissions.to_le_bytes()].concat());
        acl.extend(u32::MAX.to_le_bytes());
    }
    let refused = rustix::fs::setxattr(
        mount.path("f"),
        "system.posix_acl_access",
        &acl,
        XattrFlags::empty(),
    );
    assert_eq!(refused, Err(Errno::OPNOTSUPP));
}
