//! Heads that we have just written ourselves, cut up again. They are well-formed, so this only cuts.

use bytes::Bytes;

/// A head as `headers` and `reply` write it.
#[derive(Debug, Clone)]
pub(super) struct OwnHead {
    text: Bytes,
    /// Where the fields begin.
    at: usize,
}

impl OwnHead {
    /// The head at the start of these bytes; `None` when there is no whole one. Heads are written in
    /// one piece.
    pub(super) fn cut(bytes: &[u8]) -> Option<OwnHead> {
        let at = line_end(bytes)? + 2;
        let mut length = at;
        // Line by line: an empty one is the end.
        while bytes.get(length..length + 2)? != b"\r\n" {
            length += line_end(bytes.get(length..)?)? + 2;
        }
        let text = Bytes::copy_from_slice(bytes.get(..length)?);
        Some(OwnHead { text, at })
    }

    /// Bytes of it, the empty line included.
    pub(super) fn length(&self) -> usize {
        self.text.len() + 2
    }

    /// The first line.
    pub(super) fn line(&self) -> &[u8] {
        self.text
            .get(..self.at.saturating_sub(2))
            .unwrap_or_default()
    }

    /// Its words.
    pub(super) fn words(&self) -> impl Iterator<Item = &[u8]> {
        self.line().split(|&byte| byte == b' ')
    }

    /// Name and value of each field. Values share the memory of the head.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&[u8], Bytes)> {
        let mut at = self.at;
        std::iter::from_fn(move || {
            let rest = self.text.get(at..)?;
            let end = line_end(rest)?;
            let colon = rest.get(..end)?.iter().position(|&byte| byte == b':')?;
            let name = rest.get(..colon)?;
            let value = at + (colon + 2).min(end)..at + end;
            at += end + 2;
            Some((name, self.text.slice(value)))
        })
    }
}

/// Where the first line ends.
fn line_end(text: &[u8]) -> Option<usize> {
    text.iter().position(|&byte| byte == b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_cut_into_its_line_and_fields() {
        let head = OwnHead::cut(b"GET /a HTTP/1.1\r\nHost: x\r\nEmpty: \r\n\r\nbody").unwrap();
        assert_eq!(head.line(), b"GET /a HTTP/1.1");
        assert_eq!(head.words().nth(1), Some(&b"/a"[..]));
        assert_eq!(head.length(), 37);
        let fields: Vec<_> = head.fields().collect();
        assert_eq!(
            fields,
            [
                (&b"Host"[..], Bytes::from("x")),
                (&b"Empty"[..], Bytes::new())
            ]
        );
        assert!(OwnHead::cut(b"GET / HTTP/1.1\r\nHost: x\r\n").is_none());
        let bare = OwnHead::cut(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        assert_eq!((bare.fields().count(), bare.length()), (0, 25));
    }
}
