//! Request and response heads: parse, and parse and rebuild.

use std::hint::black_box;

use divan::Bencher;
use fairlead::proxy::http::h1::head::Progress;
use fairlead::proxy::http::h1::request::{Method, RequestHead};
use fairlead::proxy::http::h1::response::ResponseHead;
use fairlead::proxy::http::headers::{RequestEdit, ResponseEdit, write_request, write_response};

/// As `wrk` sends it.
const WRK: &[u8] = b"GET /hello HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";

/// As a browser sends it: 15 fields, 788 bytes.
const BROWSER: &[u8] = b"GET /static/app/main.9f2c1.js?v=20261121 HTTP/1.1\r\n\
    Host: shop.example.com\r\n\
    Connection: keep-alive\r\n\
    sec-ch-ua: \"Chromium\";v=\"142\", \"Not?A_Brand\";v=\"24\", \"Google Chrome\";v=\"142\"\r\n\
    sec-ch-ua-mobile: ?0\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\r\n\
    sec-ch-ua-platform: \"Linux\"\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Dest: document\r\n\
    Referer: https://shop.example.com/catalogue?page=3\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
    If-None-Match: \"5f3c-62a9d1\"\r\n\
    Cookie: session=8c1f0e5d3b7a49f2a6c4; theme=dark; _ga=GA1.1.1234567890.1700000000; consent=yes%2Cno\r\n\r\n";

fn request_of(client: &str) -> &'static [u8] {
    if client == "wrk" { WRK } else { BROWSER }
}

/// As a small application server answers.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Server: nginx/1.22.1\r\n\
    Date: Sat, 21 Nov 2026 01:00:03 GMT\r\n\
    Content-Type: text/plain\r\n\
    Content-Length: 13\r\n\
    Connection: keep-alive\r\n\
    ETag: \"6560-d\"\r\n\
    Accept-Ranges: bytes\r\n\r\n";

const EDIT: RequestEdit<'_> = RequestEdit {
    is_http2: false,
    forwarded_for: "192.0.2.17",
    forwarded: "",
    host: None,
    port: None,
    proto: "http",
    request_id: "0193f6a2c1d84f7e",
    host_default: "10.0.0.1:8001",
    is_upgrade_forwarded: false,
    is_close: false,
    removed: &[],
    subject: None,
};

#[divan::bench(args = ["wrk", "browser"])]
fn parse(bencher: Bencher<'_, '_>, client: &str) {
    let bytes = request_of(client);
    let mut head = RequestHead::default();
    bencher.bench_local(|| {
        head.reset();
        assert_eq!(head.parse(black_box(bytes)), Ok(Progress::Complete));
    });
}

#[divan::bench(args = ["wrk", "browser"])]
fn parse_and_rebuild(bencher: Bencher<'_, '_>, client: &str) {
    let bytes = request_of(client);
    let (mut head, mut out) = (RequestHead::default(), Vec::new());
    bencher.bench_local(|| {
        head.reset();
        out.clear();
        assert_eq!(head.parse(black_box(bytes)), Ok(Progress::Complete));
        write_request(&mut out, bytes, &head, black_box(&EDIT));
        black_box(out.len())
    });
}

#[divan::bench]
fn answer_parse_and_rebuild(bencher: Bencher<'_, '_>) {
    let (mut head, mut out) = (ResponseHead::default(), Vec::new());
    let edit = ResponseEdit {
        client_minor: 1,
        request_id: EDIT.request_id,
        ..ResponseEdit::default()
    };
    bencher.bench_local(|| {
        head.reset();
        out.clear();
        let progress = head.parse(black_box(ANSWER), Method::Get);
        assert_eq!(progress, Ok(Progress::Complete));
        write_response(&mut out, ANSWER, &head, black_box(&edit))
    });
}
