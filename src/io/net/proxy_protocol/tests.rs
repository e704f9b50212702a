//! Headers and what is none, byte by byte, and off real connections.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::config::default;

fn ends(client: &str, local: &str) -> Option<Ends> {
    Some(Ends {
        client: client.parse().unwrap(),
        local: local.parse().unwrap(),
    })
}

/// A header of version 2 over these parts.
fn v2(command: u8, family: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [v2::SIGNATURE.as_slice(), &[command, family], &length, &body].concat()
}

fn vector(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap().to_be_bytes();
    [&[kind], length.as_slice(), value].concat()
}

const IPV4: &[u8] = &[192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 0x04, 0x01, 0xbb];

/// A header whose last vector is a checksum, right or changed in one bit.
fn with_checksum(flip: u32) -> Vec<u8> {
    let mut header = v2(0x21, 0x11, &[IPV4, &vector(4, b"??"), &vector(3, &[0; 4])]);
    let sum = crc32c::crc32c(&[&header]) ^ flip;
    let place = header.len() - 4;
    header[place..].copy_from_slice(&sum.to_be_bytes());
    header
}

#[test]
fn lines_of_version_1_say_both_ends_or_nothing() {
    let long = format!("PROXY UNKNOWN {}\r\n", "f".repeat(91));
    assert_eq!(long.len(), v1::BYTES_MAX);
    let four = ends("192.0.2.7:56324", "198.51.100.1:443");
    let six = ends("[2001:db8::7]:1", "[::ffff:198.51.100.1]:65535");
    let zero = ends("0.0.0.0:0", "0.0.0.0:0");
    for (line, said) in [
        ("PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n", four),
        (
            "PROXY TCP6 2001:db8::7 ::ffff:198.51.100.1 1 65535\r\n",
            six,
        ),
        (
            "PROXY TCP6 2001:DB8:0:0:0:0:0:7 ::FFFF:198.51.100.1 1 65535\r\n",
            six,
        ),
        ("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", zero),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN any thing  at all\r\n", None),
        (&long, None),
    ] {
        let got = progress(line.as_bytes());
        assert_eq!(got, Ok(Progress::Whole(said)), "{line:?}");
    }
}

/// Lines that are none, without their first word.
const BAD_LINES: &[(&str, HeaderError)] = &[
    ("TCP4 192.0.2.7 198.51.100.1 56324 443\n", HeaderError::Line),
    (
        "TCP4 192.0.2.7 198.51.100.1 56324 443 \r\n",
        HeaderError::Line,
    ),
    (
        "TCP4  192.0.2.7 198.51.100.1 56324 443\r\n",
        HeaderError::Address,
    ),
    ("TCP4 192.0.2.7 198.51.100.1 56324\r\n", HeaderError::Line),
    (
        "TCP4 192.0.2.7 198.51.100.1 56324 0443\r\n",
        HeaderError::Address,
    ),
    (
        "TCP4 192.0.2.7 198.51.100.1 +1 443\r\n",
        HeaderError::Address,
    ),
    (
        "TCP4 192.0.2.7 198.51.100.1 65536 443\r\n",
        HeaderError::Address,
    ),
    (
        "TCP4 192.0.2.007 198.51.100.1 1 443\r\n",
        HeaderError::Address,
    ),
    (
        "TCP4 2001:db8::7 198.51.100.1 1 443\r\n",
        HeaderError::Address,
    ),
    (
        "TCP6 192.0.2.7 198.51.100.1 1 443\r\n",
        HeaderError::Address,
    ),
    ("TCP6 fe80::1%eth0 ::1 1 443\r\n", HeaderError::Address),
    ("TCP6 [::1] ::1 1 443\r\n", HeaderError::Address),
    ("UDP4 192.0.2.7 198.51.100.1 1 443\r\n", HeaderError::Family),
    ("UNKNOWN\rX: y\r\n", HeaderError::Line),
    ("UNKNOWN \u{e9}\r\n", HeaderError::Line),
];

#[test]
fn lines_of_version_1_are_read_strictly() {
    let longer = format!("PROXY UNKNOWN {}\r\n", "f".repeat(92));
    let bad = BAD_LINES.iter();
    let bad = bad.map(|(rest, error)| (format!("PROXY {rest}"), *error));
    for (line, error) in bad.chain([
        (longer, HeaderError::TooLong),
        ("PROXYUNKNOWNx\r\n".to_owned(), HeaderError::Line),
        ("PROXY\tUNKNOWN\r\n".to_owned(), HeaderError::Line),
        ("proxy UNKNOWN\r\n".to_owned(), HeaderError::Missing),
        ("GET / HTTP/1.1\r\n".to_owned(), HeaderError::Missing),
        ("\u{16}\u{3}\u{1}\0\u{5}".to_owned(), HeaderError::Missing),
    ]) {
        assert_eq!(progress(line.as_bytes()), Err(error), "{line:?}");
    }
}

#[test]
fn headers_of_version_2_are_read_strictly() {
    use HeaderError::{AddressLength, Checksum, Command, Family, TooLong, VectorLength};
    let four = ends("192.0.2.7:56324", "198.51.100.1:443");
    let address = |last: u8| [&[0x20, 1, 0xd, 0xb8], [0; 11].as_slice(), &[last]].concat();
    let ipv6 = [address(7), address(1), vec![0, 1, 0, 2]].concat();
    let six = ends("[2001:db8::7]:1", "[2001:db8::1]:2");
    let authority = vector(2, b"app.example.com");
    let tls = vector(
        0x20,
        &[&[1, 0, 0, 0, 0], vector(0x21, b"TLSv1.3").as_slice()].concat(),
    );
    let bad_tls = vector(0x20, &[1, 0, 0, 0, 0, 0x21, 0, 9, b'T']);
    let two_sums = [with_checksum(0), vector(3, &[0; 4])].concat();
    let full = vec![0; default::PROXY_HEADER_BYTES_MAX - 3];
    for (header, said) in [
        (v2(0x21, 0x11, &[IPV4]), Ok(four)),
        (v2(0x21, 0x21, &[&ipv6]), Ok(six)),
        (
            v2(0x21, 0x11, &[IPV4, &authority, &tls, &vector(4, &[0; 500])]),
            Ok(four),
        ),
        (v2(0x21, 0x00, &[]), Ok(None)),
        (v2(0x21, 0x00, &[&authority]), Ok(None)),
        (v2(0x21, 0x31, &[&[b'/'; 216], &authority]), Ok(None)),
        (v2(0x20, 0x00, &[]), Ok(None)),
        // LOCAL: whatever follows is passed over, as the specification wants it.
        (v2(0x20, 0x11, &[IPV4, &[1, 2]]), Ok(None)),
        (v2(0x20, 0x77, &[&[9; 100]]), Ok(None)),
        (with_checksum(0), Ok(four)),
        (with_checksum(1), Err(Checksum)),
        (with_checksum(0x8000_0000), Err(Checksum)),
        (
            v2(0x21, 0x11, &[IPV4, &vector(3, &[0; 3])]),
            Err(VectorLength),
        ),
        (v2(0x21, 0x11, &[&two_sums[16..]]), Err(Checksum)),
        (v2(0x22, 0x11, &[IPV4]), Err(Command)),
        (v2(0x11, 0x11, &[IPV4]), Err(Command)),
        (v2(0x31, 0x11, &[IPV4]), Err(Command)),
        (v2(0x21, 0x12, &[IPV4]), Err(Family)),
        (v2(0x21, 0x22, &[&ipv6]), Err(Family)),
        (v2(0x21, 0x10, &[IPV4]), Err(Family)),
        (v2(0x21, 0x41, &[IPV4]), Err(Family)),
        (v2(0x21, 0x11, &[&IPV4[..11]]), Err(AddressLength)),
        (v2(0x21, 0x21, &[IPV4]), Err(AddressLength)),
        (v2(0x21, 0x31, &[&[b'/'; 215]]), Err(AddressLength)),
        (v2(0x21, 0x11, &[IPV4, &[2]]), Err(VectorLength)),
        (v2(0x21, 0x11, &[IPV4, &[2, 0]]), Err(VectorLength)),
        (v2(0x21, 0x11, &[IPV4, &[2, 0, 4, b'a']]), Err(VectorLength)),
        (v2(0x21, 0x11, &[IPV4, &vector(5, &[b'u'; 128])]), Ok(four)),
        (
            v2(0x21, 0x11, &[IPV4, &vector(5, &[b'u'; 129])]),
            Err(VectorLength),
        ),
        (
            v2(0x21, 0x11, &[IPV4, &vector(0x20, &[0; 4])]),
            Err(VectorLength),
        ),
        (v2(0x21, 0x11, &[IPV4, &bad_tls]), Err(VectorLength)),
        (v2(0x21, 0x00, &[&vector(0xe0, &full)]), Ok(None)),
        (v2(0x21, 0x00, &[&vector(0xe0, &full), &[0]]), Err(TooLong)),
    ] {
        assert_eq!(progress(&header), said.map(Progress::Whole), "{header:?}");
        for cut in 0..header.len() {
            let got = progress(&header[..cut]);
            let is_refused = said.is_err() && got.is_err();
            assert!(is_refused || matches!(got, Ok(Progress::Bytes(_))), "{cut}");
        }
    }
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (client, accepted) = tokio::join!(client, listener.accept());
    (client.unwrap(), accepted.unwrap().0)
}

#[tokio::test]
async fn exactly_the_header_is_taken_off_a_connection() {
    let mut old = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n".to_vec();
    let new = v2(0x21, 0x11, &[IPV4, &vector(4, &[0; 300])]);
    let behind = b"PROXY TCP4 is not ours any more\r\n";
    old.extend_from_slice(behind);
    for bytes in [old, [new.as_slice(), behind].concat()] {
        for pieces in [1, 2, 45, 1000] {
            let (mut client, mut accepted) = pair().await;
            client.set_nodelay(true).unwrap();
            let sending = async {
                for piece in bytes.chunks(pieces) {
                    client.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
                client.shutdown().await.unwrap();
            };
            let (said, ()) = tokio::join!(read(&mut accepted), sending);
            let four = ends("192.0.2.7:56324", "198.51.100.1:443");
            assert_eq!(said.unwrap(), four, "{pieces}");
            let mut rest = Vec::new();
            accepted.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, behind, "{pieces}");
        }
    }
}

#[tokio::test]
async fn a_connection_without_a_header_is_known_by_its_first_bytes() {
    for (bytes, is_end) in [
        (&b"G"[..], false),
        (b"PROXZ", false),
        (b"\r\n\r\n\0\r\nQUIX", false),
        (b"", true),
        (b"PROXY TCP4 192.0.2.7", true),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11", true),
    ] {
        let (mut client, mut accepted) = pair().await;
        client.write_all(bytes).await.unwrap();
        if is_end {
            client.shutdown().await.unwrap();
        }
        let error = read(&mut accepted).await.unwrap_err();
        assert_eq!(matches!(error, ReadError::Broken(_)), is_end, "{bytes:?}");
    }
}
