//! Squashed callers: who they are here, and what they may.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    process::Command,
};

use crate::fixture::{Pair, Volume, shell};

/// As root of the machine; whether it succeeded.
fn root(volume: &Volume, line: &str) -> bool {
    run_as(volume, line, &[])
}

/// As another user with one group more.
fn user(volume: &Volume, uid: &str, groups: &str, line: &str) -> bool {
    run_as(
        volume,
        line,
        &["--reuid", uid, "--regid", uid, "--groups", groups],
    )
}

fn run_as(volume: &Volume, line: &str, who: &[&str]) -> bool {
    let mut command = Command::new("setpriv");
    command
        .args(who)
        .args(["sh", "-ec", line])
        .current_dir(volume.path(""));
    let output = command.output().unwrap();
    if !output.status.success() {
        eprintln!(
            "{who:?} {line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    output.status.success()
}

fn owner(volume: &Volume, name: &str) -> (u32, u32) {
    let meta = fs::symlink_metadata(volume.path(name)).unwrap();
    (meta.uid(), meta.gid())
}

#[test]
fn a_squashed_root_is_an_ordinary_user() {
    for pair in Pair::ALL {
        let mut volume = Volume::mounted(pair);
        shell(&format!(
            "cd {} && chmod 755 . && mkdir -m 700 private && echo secret > private/f && echo r > readable && mkdir -m 777 open && \
             mkdir -m 1777 sticky && echo 1 > sticky/f && chown 5:5 private sticky/f && mkdir -m 770 team && chown 5:77 team && \
             mkdir -m 755 mine && chown 1234:1234 mine && echo x > shared && chmod 660 shared && chown 5:77 shared && \
             for n in 1 2 3; do echo x > suid$n; chmod 4757 suid$n; done",
            volume.path("")
        ));
        volume.unmount();
        volume.mount(&["-o", "root-squash=1234:1234"]);
        assert!(root(
            &volume,
            "cat readable && echo x > open/made && mkdir mine/d && ln -s x mine/l && mkfifo mine/p"
        ));
        assert_eq!(owner(&volume, "open/made"), (1234, 1234), "{pair:?}");
        assert_eq!(
            [
                owner(&volume, "mine/d"),
                owner(&volume, "mine/l"),
                owner(&volume, "mine/p")
            ],
            [(1234, 1234); 3]
        );
        for refused in [
            "ls private",
            "cat private/f",
            "cat shared",
            "echo x >> readable",
            "echo x > new",
            "rm readable",
            "truncate -s 0 readable",
            "chmod 777 readable",
            "chown 1234 readable",
            "touch -d 2001-01-01 readable",
            "touch readable",
            "mkdir d",
            "ln readable open/link2 && echo x > open/link2",
            "mv readable open/",
            "rm sticky/f",
            "mv sticky/f open/",
            "mknod mine/dev c 1 3",
            "test -w readable",
            "chown 7 mine/d",
            "ls team",
        ] {
            assert!(!root(&volume, refused), "{pair:?}: {refused} must fail");
        }
        assert!(root(
            &volume,
            "chmod 700 mine/d && touch -d 2001-01-01 mine/d && rmdir mine/d && rm mine/l && mv open/made mine/"
        ));
        let file = fs::File::create(volume.path("mine/ro")).unwrap();
        file.set_permissions(fs::Permissions::from_mode(0o400))
            .unwrap();
        file.set_len(2).unwrap();
        assert_eq!(
            fs::metadata(volume.path("mine/ro")).unwrap().len(),
            2,
            "{pair:?}: through an open file"
        );
        assert!(root(
            &volume,
            "echo y >> suid1 && echo y > suid2 && truncate -s 0 suid3"
        ));
        for name in ["suid1", "suid2", "suid3"] {
            let mode = fs::metadata(volume.path(name)).unwrap().mode();
            assert_eq!(mode & 0o7777, 0o757, "{pair:?}: {name} is another program");
        }
        assert!(
            user(
                &volume,
                "8",
                "77",
                "ls team && cat shared && echo y >> shared"
            ),
            "{pair:?}: groups count"
        );
        assert!(!user(&volume, "8", "78", "ls team"), "{pair:?}");
        assert!(
            user(&volume, "5", "5", "cat private/f"),
            "{pair:?}: others are who they are"
        );
    }
}

#[test]
fn squashed_all_are_one_user() {
    let mut volume = Volume::formatted(Pair::SqliteFile);
    volume.mount(&["-o", "all-squash=1000:1001"]);
    assert!(root(&volume, "echo 1 > a"));
    assert!(user(
        &volume,
        "8",
        "77",
        "echo 2 > b && echo 3 >> a && chmod 600 a && cat a"
    ));
    assert_eq!(
        [owner(&volume, "a"), owner(&volume, "b")],
        [(1000, 1001); 2]
    );
    assert!(!root(&volume, "chown 0 a"));
}
