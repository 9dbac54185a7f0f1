//! The volume's part of the keys. In a cluster, JuiceFS puts `{db}` before each key of a
//! volume, and so all of them into one slot; elsewhere a database has one volume, and
//! nothing stands before.
//!
//! The engine speaks of keys without it; here it is put before each that goes to the
//! server, and taken from each that comes back.

use std::borrow::Cow;

use redis::{Arg, Cmd, Pipeline};

/// Which arguments of a command are keys.
enum Keys {
    None,
    First,
    All,
    /// As many as the second argument says, from the third on.
    Counted,
    /// The pattern, which is the third.
    Pattern,
}

/// A command whose keys begin with `prefix`.
pub(super) fn placed<'a>(command: &'a Cmd, prefix: &[u8]) -> Cow<'a, Cmd> {
    if prefix.is_empty() {
        return Cow::Borrowed(command);
    }
    let arguments: Vec<&[u8]> = command.args_iter().map(bytes_of).collect();
    let range = keys_of(&arguments);
    let mut placed = Cmd::with_capacity(arguments.len(), 0);
    for (at, argument) in arguments.into_iter().enumerate() {
        if range.contains(&at) {
            placed.arg([prefix, argument].concat());
        } else {
            placed.arg(argument);
        }
    }
    Cow::Owned(placed)
}

/// As [`placed`], for each command of a pipeline.
pub(super) fn placed_all<'a>(pipeline: &'a Pipeline, prefix: &[u8]) -> Cow<'a, Pipeline> {
    if prefix.is_empty() {
        return Cow::Borrowed(pipeline);
    }
    let mut placed_pipeline = Pipeline::with_capacity(pipeline.len());
    for command in pipeline.cmd_iter() {
        placed_pipeline.add_command(placed(command, prefix).into_owned());
    }
    Cow::Owned(placed_pipeline)
}

/// A key that the server names, without `prefix`; `None` if it is another volume's.
pub(super) fn stripped<'a>(key: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    key.strip_prefix(prefix)
}

/// The places of a command's keys, its name's being 0.
fn keys_of(arguments: &[&[u8]]) -> std::ops::Range<usize> {
    let count = || {
        let text = arguments
            .get(2)
            .and_then(|text| std::str::from_utf8(text).ok());
        text.and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    match kind(arguments.first().copied().unwrap_or_default()) {
        Keys::None => 0..0,
        Keys::First => 1..2,
        Keys::All => 1..arguments.len(),
        Keys::Counted => 3..3 + count(),
        Keys::Pattern => 3..4,
    }
}

fn kind(name: &[u8]) -> Keys {
    match name {
        b"INFO" | b"PING" | b"CONFIG" => Keys::None,
        b"MGET" => Keys::All,
        b"EVALSHA" => Keys::Counted,
        b"SCAN" => Keys::Pattern,
        _ => Keys::First,
    }
}

fn bytes_of(argument: Arg<&[u8]>) -> &[u8] {
    match argument {
        Arg::Simple(bytes) => bytes,
        // The place of a cursor: this engine gives its cursors itself.
        _ => b"0",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &Cmd) -> String {
        let words = command.args_iter().map(bytes_of);
        let words: Vec<_> = words.map(String::from_utf8_lossy).collect();
        words.join(" ")
    }

    #[test]
    fn each_key_of_a_command_has_its_place() {
        for (given, expected) in [
            ("GET i1", "GET {3}i1"),
            ("HSET d1 name value", "HSET {3}d1 name value"),
            ("MGET i1 i2", "MGET {3}i1 {3}i2"),
            ("EVALSHA sha 2 i1 d1 i1", "EVALSHA sha 2 {3}i1 {3}d1 i1"),
            ("EVALSHA sha 0 i1", "EVALSHA sha 0 i1"),
            ("SCAN 0 MATCH c*_* COUNT 5", "SCAN 0 MATCH {3}c*_* COUNT 5"),
            ("INFO everything", "INFO everything"),
        ] {
            let mut command = Cmd::new();
            for word in given.split(' ') {
                command.arg(word);
            }
            assert_eq!(words(&placed(&command, b"{3}")), expected);
            assert_eq!(words(&placed(&command, b"")), given, "no prefix");
        }
    }

    #[test]
    fn another_volumes_key_is_none_of_ours() {
        assert_eq!(stripped(b"{3}c1_0", b"{3}"), Some(&b"c1_0"[..]));
        assert_eq!(stripped(b"{31}c1_0", b"{3}"), None);
        assert_eq!(stripped(b"c1_0", b""), Some(&b"c1_0"[..]));
    }
}
