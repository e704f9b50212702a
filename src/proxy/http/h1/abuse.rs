//! What must be refused, and with which reason.

use crate::proxy::http::h1::head::Progress;
use crate::proxy::http::h1::request::RequestHead;
use crate::proxy::http::headers::{RequestEdit, write_request};

#[test]
fn a_plain_request_is_rebuilt() {
    let buffer = b"GET /a?b HTTP/1.1\r\nHost: x:80\r\nAccept: */*\r\nUser-Agent:  y \r\n\r\nrest";
    let mut head = RequestHead::default();
    assert_eq!(head.parse(buffer), Ok(Progress::Complete));
    let mut out = Vec::new();
    write_request(&mut out, buffer, &head, &RequestEdit::default());
    let text = String::from_utf8_lossy(&out);
    assert!(
        text.starts_with("GET /a?b HTTP/1.1\r\nHost: x:80\r\nAccept: */*\r\nUser-Agent: y\r\nX-F"),
        "{text}"
    );
    assert_eq!(&buffer[head.length..], b"rest");
}
