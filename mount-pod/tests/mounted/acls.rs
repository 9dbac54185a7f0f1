//! POSIX access control lists as programs use them, and as the peer reads them.

use std::{fs, os::unix::fs::MetadataExt, process::Command};

use crate::fixture::{Pair, Volume, run, shell};

#[test]
fn lists_rule_are_inherited_and_follow_modes() {
    for pair in Pair::ALL {
        let volume = with_lists(pair);
        let at = volume.path("");
        shell(&format!(
            "cd {at} && umask 077 && mkdir d && setfacl -m d:u:daemon:rwx,d:o::r d && chmod 755 . d && \
             echo secret > plain && echo bytes > d/made && mkdir d/below && setfacl -m u:daemon:r plain",
        ));
        assert_eq!(
            list(&volume, "plain"),
            "user::rw- user:daemon:r-- group::--- mask::r-- other::---"
        );
        assert_eq!(
            list(&volume, "d/made"),
            "user::rw- user:daemon:rwx#effective:rw- group::--- mask::rw- other::r--",
            "{pair:?}: the umask is void"
        );
        assert!(
            list(&volume, "d/below").contains("default:user:daemon:rwx"),
            "{pair:?}"
        );
        let daemon = |line: &str| as_user(&volume, "daemon", "daemon", line);
        let nobody = |line: &str| as_user(&volume, "nobody", "nogroup", line);
        assert!(daemon("cat plain && echo more >> d/made"), "{pair:?}");
        assert!(!nobody("cat plain"), "{pair:?}: others may not");
        shell(&format!("chmod 600 {at}/d/made"));
        assert!(!daemon("cat d/made"), "{pair:?}: the mask is empty");
        shell(&format!("setfacl -b {at}/plain && setfacl -k {at}/d"));
        assert_eq!(list(&volume, "plain"), "user::rw- group::--- other::---");
        let copied = shell(&format!(
            "cd {at} && cp -a d copy && getfacl -c copy/made | sha256sum && getfacl -c d/made | sha256sum"
        ));
        let sums: Vec<_> = copied.lines().collect();
        assert_eq!(sums[0], sums[1], "{pair:?}: cp -a keeps lists");
    }
}

#[test]
fn the_peer_reads_our_lists_and_we_read_its() {
    for pair in Pair::ALL {
        let mut volume = with_lists(pair);
        let ours = volume.path("");
        shell(&format!(
            "cd {ours} && mkdir d && setfacl -m u:1:rwx,g:2:r,d:u:3:rw d && echo x > d/f && chmod 640 d/f && setfacl -d -m u::rx d/."
        ));
        // The peer lists its virtual files too.
        let lists = |at: &str| shell(&format!("cd {at} && getfacl -cRn [de] | sort"));
        let told = lists(&ours);
        volume.unmount();
        let peer = volume.scratch("peer");
        fs::create_dir_all(&peer).unwrap();
        let url = volume.url().to_owned();
        let log = volume.scratch("peer.log");
        let juicefs = carafe_testkit::juicefs();
        run(
            &juicefs,
            &[
                "mount",
                "-d",
                "--no-usage-report",
                "--log",
                &log,
                &url,
                &peer,
            ],
        );
        assert_eq!(lists(&peer), told, "{pair:?}: the peer reads them alike");
        shell(&format!(
            "cd {peer} && mkdir e && setfacl -m d:g:7:rwx,u:8:x e && echo y > e/g && chmod g-w e/g"
        ));
        let told = lists(&peer);
        run(&juicefs, &["umount", "--flush", &peer]);
        volume.mount(&[]);
        assert_eq!(lists(&volume.path("")), told, "{pair:?}: and so do we");
    }
}

#[test]
fn without_lists_modes_are_kept() {
    let volume = Volume::mounted(Pair::SqliteFile);
    let at = volume.path("");
    shell(&format!(
        "cd {at} && echo x > f && chmod 640 f && cp -a f g && ! setfacl -m u:1:r f 2>/dev/null"
    ));
    assert_eq!(
        fs::metadata(volume.path("g")).unwrap().mode() & 0o777,
        0o640
    );
}

fn with_lists(pair: Pair) -> Volume {
    let mut volume = Volume::formatted_with(pair, &["--enable-acl", "--trash-days", "0"]);
    volume.mount(&[]);
    volume
}

/// `getfacl`'s entries in one line.
fn list(volume: &Volume, path: &str) -> String {
    let text = run("getfacl", &["-c", &volume.path(path)]);
    let lines = text.lines().filter(|line| !line.is_empty());
    let entries: Vec<String> = lines.map(|line| line.replace('\t', "")).collect();
    entries.join(" ")
}

/// Whether a line of shell succeeds as another user, in the mount's root.
fn as_user(volume: &Volume, user: &str, group: &str, line: &str) -> bool {
    let who = ["--reuid", user, "--regid", group, "--clear-groups"];
    let mut command = Command::new("setpriv");
    command.args(who).args(["sh", "-c", line]);
    let output = command.current_dir(volume.path("")).output();
    output.unwrap().status.success()
}
