//! What a record keeps of a request's own texts: bounded, and without a query.

/// Method, host, path and request id in one allocation; longer texts are cut.
#[derive(Debug, Clone, Default)]
pub struct RequestText {
    bytes: Box<[u8]>,
    ends: [u16; 3],
    version: &'static str,
}

/// Longer than any registered method.
const METHOD_BYTES_MAX: usize = 32;
/// A host name (RFC 1035 §2.3.4) and a port.
const HOST_BYTES_MAX: usize = 262;
/// A line stays readable; paths that differ later are rare.
const PATH_BYTES_MAX: usize = 1024;
/// Ours have 32 characters, a client's own may be longer.
const REQUEST_ID_BYTES_MAX: usize = 128;

impl RequestText {
    /// The texts of one request as received. What follows `?` in the path is left out.
    pub fn new(method: &[u8], host: &[u8], path: &[u8], request_id: &[u8]) -> RequestText {
        let path = path.split(|byte| *byte == b'?').next().unwrap_or_default();
        let parts = [
            cut(method, METHOD_BYTES_MAX),
            cut(host, HOST_BYTES_MAX),
            cut(path, PATH_BYTES_MAX),
            cut(request_id, REQUEST_ID_BYTES_MAX),
        ];
        let mut ends = [0; 3];
        let mut end = 0;
        for (slot, part) in ends.iter_mut().zip(parts) {
            end += part.len();
            *slot = u16::try_from(end).unwrap_or(u16::MAX);
        }
        RequestText {
            bytes: parts.concat().into_boxed_slice(),
            ends,
            version: "",
        }
    }

    /// Of this version of HTTP.
    pub fn with_version(self, version: &'static str) -> RequestText {
        RequestText { version, ..self }
    }

    /// The version of HTTP; empty for none.
    pub(super) fn version(&self) -> &'static str {
        self.version
    }

    /// Method, host, path, request id.
    pub(super) fn parts(&self) -> [&[u8]; 4] {
        let [method, host, path] = self.ends.map(usize::from);
        let part = |range| self.bytes.get(range).unwrap_or_default();
        [
            part(0..method),
            part(method..host),
            part(host..path),
            part(path..self.bytes.len()),
        ]
    }
}

fn cut(text: &[u8], bytes_max: usize) -> &[u8] {
    text.get(..bytes_max).unwrap_or(text)
}
