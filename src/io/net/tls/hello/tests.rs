//! First words of clients, right and wrong.

use std::io::Write;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::fuzz::client_hello;
use super::*;
use crate::io::net::tls::provider;

/// What rustls says for this name.
fn of_rustls(name: &str) -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut said = Vec::new();
    client.write_tls(&mut said.by_ref()).unwrap();
    said
}

fn record(part: &[u8]) -> Vec<u8> {
    let length = u16::try_from(part.len()).unwrap().to_be_bytes();
    [&[22, 3, 1], &length[..], part].concat()
}

fn vector(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&length[..], content].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector(content)].concat()
}

fn names(list: &[(u8, &[u8])]) -> Vec<u8> {
    let names = list
        .iter()
        .map(|(kind, name)| [&[*kind], &vector(name)[..]].concat());
    extension(0, &vector(&names.collect::<Vec<_>>().concat()))
}

/// A ClientHello with these extensions, or none of them.
fn with(extensions: Option<&[u8]>) -> Vec<u8> {
    let mut body = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0x13, 1], &[1, 0]].concat();
    if let Some(extensions) = extensions {
        body.extend(vector(extensions));
    }
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1], &length[1..], &body].concat()
}

fn name_of(bytes: &[u8]) -> Result<Option<String>, HelloError> {
    client_hello(bytes);
    let hello = peek(bytes)?.expect("it is whole");
    Ok(hello.server_name.map(String::from))
}

#[test]
fn a_name_is_found_however_its_bytes_arrive() {
    let said = of_rustls("Some.Example.com");
    for end in 0..said.len() {
        assert_eq!(peek(&said[..end]), Ok(None), "{end} bytes");
    }
    assert_eq!(name_of(&said), Ok(Some("some.example.com".to_owned())));
    // An address is no name.
    assert_eq!(name_of(&of_rustls("192.0.2.1")), Ok(None));
    // What follows is not looked at: early data, or what a client of old sends blindly.
    let more = [&said[..], b"anything"].concat();
    assert_eq!(name_of(&more), Ok(Some("some.example.com".to_owned())));
    let cut: Vec<u8> = said[5..].chunks(3).flat_map(record).collect();
    assert_eq!(name_of(&cut), Ok(Some("some.example.com".to_owned())));
}

#[test]
fn names_are_taken_strictly() {
    let plain = names(&[(0, b"a.b")]);
    let other = extension(0xfe0d, b"whatever");
    for (extensions, name) in [
        (None, Ok(None)),
        (Some(vec![]), Ok(None)),
        (Some(other.clone()), Ok(None)),
        (Some(plain.clone()), Ok(Some("a.b"))),
        (Some([&other[..], &plain].concat()), Ok(Some("a.b"))),
        (
            Some([&plain[..], &plain].concat()),
            Err(HelloError::BadName),
        ),
        (
            Some(names(&[(0, b"a"), (0, b"b")])),
            Err(HelloError::BadName),
        ),
        (Some(names(&[(1, b"a")])), Err(HelloError::BadName)),
        (
            Some(names(&[(0, b"a"), (1, b"b")])),
            Err(HelloError::BadName),
        ),
        (Some(names(&[(0, b"a.b.")])), Err(HelloError::BadName)),
        (Some(names(&[(0, b"a..b")])), Err(HelloError::BadName)),
        (Some(names(&[(0, b"a\0b")])), Err(HelloError::BadName)),
        (Some(names(&[(0, b"*.b")])), Err(HelloError::BadName)),
        (Some(names(&[(0, &[b'a'; 64])])), Err(HelloError::BadName)),
        (
            Some(names(&[(0, &b"a.".repeat(130))])),
            Err(HelloError::BadName),
        ),
        (Some(names(&[(0, b"")])), Err(HelloError::Malformed)),
        (Some(names(&[])), Err(HelloError::Malformed)),
        (Some(extension(0, b"")), Err(HelloError::Malformed)),
        (
            Some(plain[..plain.len() - 1].to_vec()),
            Err(HelloError::Malformed),
        ),
        (
            Some([&plain[..], b"x"].concat()),
            Err(HelloError::Malformed),
        ),
    ] {
        let message = with(extensions.as_deref());
        let name = name.map(|name| name.map(str::to_owned));
        assert_eq!(name_of(&record(&message)), name, "{extensions:?}");
    }
}

#[test]
fn what_is_no_hello_is_told_as_early_as_it_can_be() {
    let good = with(None);
    let too_long = [&[1, 0, 0x40, 1][..], &[0; 40]].concat();
    let followed = [&good[..], b"x"].concat();
    let mut odd = good.clone();
    odd[4] = 2;
    let short = [&[1, 0, 0, 1][..], &[3]].concat();
    for (bytes, error) in [
        (b"G".to_vec(), HelloError::NotTls),
        (b"SSH-2.0-x\r\n".to_vec(), HelloError::NotTls),
        (vec![22, 2], HelloError::NotTls),
        (vec![22, 3, 1, 0, 0], HelloError::Malformed),
        (vec![22, 3, 1, 0x40, 1], HelloError::Malformed),
        (record(&[2]), HelloError::Malformed),
        (record(&too_long), HelloError::TooLong),
        (record(&followed), HelloError::Malformed),
        (record(&odd), HelloError::Malformed),
        (record(&short), HelloError::Malformed),
        (
            [&record(&good[..9])[..], &[23]].concat(),
            HelloError::Malformed,
        ),
    ] {
        client_hello(&bytes);
        assert_eq!(peek(&bytes), Err(error), "{bytes:?}");
    }
    // The longest there may be.
    let padding = default::TLS_HELLO_BYTES_MAX - good.len() + 4 - 6;
    let padded = with(Some(&extension(21, &vec![0; padding])));
    assert_eq!(padded.len() - 4, default::TLS_HELLO_BYTES_MAX);
    let records: Vec<u8> = padded.chunks(RECORD_BYTES_MAX).flat_map(record).collect();
    assert_eq!(name_of(&records), Ok(None));
}

#[test]
fn alerts_are_what_clients_understand() {
    assert_eq!(Alert::UnrecognizedName.record(), [21, 3, 3, 0, 2, 2, 112]);
    assert_eq!(HelloError::NotTls.alert(), None);
    let mut sink = Vec::new();
    sink.write_all(&Alert::DecodeError.record()).unwrap();
    assert_eq!(sink.last(), Some(&50));
}
