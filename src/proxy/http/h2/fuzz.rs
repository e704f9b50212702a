//! Fuzz bodies: what comes by HTTP/2 becomes one HTTP/1 head or none, and frames are told the same
//! however they arrive.

use http::{HeaderName, HeaderValue, Method, Request, Uri};

use crate::base::time::Time;
use crate::proxy::http::grpc;
use crate::proxy::http::h1::head::Progress;
use crate::proxy::http::h1::request::RequestHead;
use crate::proxy::http::h2::frames::Frames;
use crate::proxy::http::h2::own::OwnHead;
use crate::proxy::http::h2::request::{BodyForm, from_own, write_head};
use crate::proxy::http::h2::score::Score;

/// Lines of `METHOD target`, then `name: value`, taken as what the `h2` crate would give: the head we
/// write for it is refused by the parser, or is all there is. Nothing can be smuggled behind it.
pub fn http2_request(data: &[u8]) {
    let mut lines = data.split(|&byte| byte == b'\n');
    let mut first = lines
        .next()
        .unwrap_or_default()
        .splitn(2, |&byte| byte == b' ');
    let method = Method::from_bytes(first.next().unwrap_or_default());
    let uri = Uri::try_from(first.next().unwrap_or_default());
    let (Ok(method), Ok(uri)) = (method, uri) else {
        return;
    };
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    for line in lines {
        let mut parts = line.splitn(2, |&byte| byte == b':');
        let name = HeaderName::from_bytes(parts.next().unwrap_or_default());
        let value = HeaderValue::from_bytes(parts.next().unwrap_or_default());
        if let (Ok(name), Ok(value)) = (name, value) {
            request.headers_mut().append(name, value);
        }
    }
    let (parts, ()) = request.into_parts();
    for has_ended in [true, false] {
        let mut out = Vec::new();
        let form = write_head(&mut out, &parts, has_ended, || "key".to_owned());
        let mut head = RequestHead::default();
        match head.parse(&out) {
            Err(_) => continue,
            Ok(Progress::Partial) => panic!("a head that does not end"),
            Ok(Progress::Complete) => {}
        }
        assert_eq!(head.length, out.len(), "something is behind the head");
        assert!(form != BodyForm::Tunnel || !head.framing.has_body());
        grpc::timeout(&head, &out);
        if let Some(own) = OwnHead::cut(&out) {
            assert_eq!(own.length(), out.len());
            let scheme = http::uri::Scheme::HTTP;
            drop(from_own(&own, scheme));
        }
    }
}

/// The bytes of a client's connection: the frames told and the score do not depend on how they are
/// cut.
pub fn http2_frames(data: &[u8]) {
    let tell = |size: usize| {
        let (mut frames, mut score, mut told) =
            (Frames::default(), Score::new(Time::ZERO), Vec::new());
        for piece in data.chunks(size) {
            frames.look(piece, |frame| {
                score.frame(frame, Time::ZERO);
                told.push(frame);
            });
        }
        (told, score.standing())
    };
    let whole = tell(data.len().max(1));
    for size in [1, 5, 9, 10] {
        assert_eq!(tell(size), whole);
    }
    grpc::status_of_trailers(data);
}
