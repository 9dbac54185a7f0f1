//! A relay that changes one word of what a client says.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    thread,
};

/// Listens on a free port and passes all on to `port`, with `word` replaced by `other`
/// in what the clients send; for a word that comes in one piece, as a statement that
/// is short does. It ends with the process.
///
/// # Panics
///
/// If the words are of different lengths, which would break the protocol's frames.
pub(crate) fn start(port: u16, word: &'static [u8], other: &'static [u8]) -> u16 {
    assert_eq!(word.len(), other.len(), "frames must keep their lengths");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap_or_else(|error| panic!("no loopback port: {error}"));
    let at = listener
        .local_addr()
        .unwrap_or_else(|error| panic!("no loopback port: {error}"))
        .port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A server that is gone is the client's to notice.
            let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
                continue;
            };
            // Held back until the last piece is acknowledged, each answer of two pieces
            // would take 40 ms.
            let prompt = [&client, &server].map(|end| end.set_nodelay(true));
            if let [Err(error), _] | [_, Err(error)] = prompt {
                panic!("the relay's sockets: {error}");
            }
            if let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) {
                thread::spawn(move || pass(from, to, Some((word, other))));
                thread::spawn(move || pass(server, client, None));
            }
        }
    });
    at
}

fn pass(mut from: TcpStream, mut to: TcpStream, change: Option<(&[u8], &[u8])>) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        let piece = &mut buffer[..len];
        if let Some((word, other)) = change {
            let found = piece.windows(word.len()).position(|part| part == word);
            if let Some(at) = found {
                piece[at..at + word.len()].copy_from_slice(other);
            }
        }
        if to.write_all(piece).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
