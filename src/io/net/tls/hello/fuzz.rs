//! The fuzz body of the first words of a TLS client.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a body says that a promise is broken"
)]

use rustls::server::Acceptor;

use super::{RECORD_BYTES_MAX, peek};

/// The beginning of a connection: what has been said of the first bytes stays true when more come, how
/// the message is cut into records changes nothing, and rustls sees the same name in what it takes.
pub fn client_hello(data: &[u8]) {
    let last = peek(data);
    let mut before = Ok(None);
    for end in 0..=data.len().min(600) {
        let now = peek(&data[..end]);
        if before != Ok(None) {
            assert_eq!(now, before, "another answer at {end}");
        }
        before = now;
    }
    let Ok(Some(hello)) = last else {
        return;
    };
    let message = message(data);
    for size in [1, 7, RECORD_BYTES_MAX] {
        let records = message.chunks(size).map(record);
        let cut: Vec<u8> = records.flatten().collect();
        assert_eq!(
            peek(&cut).as_ref(),
            Ok(&Some(hello.clone())),
            "cut to {size}"
        );
    }
    let mut theirs = Acceptor::default();
    let mut whole = record(&message);
    whole.truncate(RECORD_BYTES_MAX);
    if theirs.read_tls(&mut whole.as_slice()).is_ok()
        && let Ok(Some(accepted)) = theirs.accept()
    {
        let name = accepted.client_hello();
        let name = name.server_name().map(str::to_ascii_lowercase);
        if let Some(name) = name {
            assert_eq!(hello.server_name.as_deref(), Some(name.as_str()));
        }
    }
}

fn record(part: &[u8]) -> Vec<u8> {
    let length = u16::try_from(part.len()).expect("a record is short");
    [&[22, 3, 1], &length.to_be_bytes()[..], part].concat()
}

/// Records taken off what was read as whole, and not more than the one message.
fn message(mut data: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    loop {
        let length = usize::from(u16::from_be_bytes([data[3], data[4]]));
        let end = data.len().min(5 + length);
        message.extend_from_slice(&data[5..end]);
        data = &data[end..];
        if message.len() >= 4 {
            let wanted = 4 + u32::from_be_bytes([0, message[1], message[2], message[3]]) as usize;
            if message.len() >= wanted {
                message.truncate(wanted);
                return message;
            }
        }
    }
}
