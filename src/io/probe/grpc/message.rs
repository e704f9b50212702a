//! The two messages of `grpc.health.v1.Health/Check`, as they are sent (grpc/doc/PROTOCOL-HTTP2.md,
//! "Length-Prefixed-Message"; protobuf.dev, "Encoding"). One small message each way, so they are
//! written and read by hand.

/// In front of a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Field 1, with a length: `HealthCheckRequest.service`.
const SERVICE_TAG: u8 = 0x0a;

/// The number of `HealthCheckResponse.status`.
const STATUS_FIELD: u32 = 1;

/// `HealthCheckResponse.ServingStatus`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    /// 0
    Unknown,
    /// 1
    Serving,
    /// 2
    NotServing,
    /// 3: only `Watch` may say so.
    ServiceUnknown,
    /// A number that the protocol does not have.
    Other(i32),
}

impl Serving {
    /// The word in `health.proto`.
    pub fn as_str(self) -> &'static str {
        match self {
            Serving::Unknown => "UNKNOWN",
            Serving::Serving => "SERVING",
            Serving::NotServing => "NOT_SERVING",
            Serving::ServiceUnknown => "SERVICE_UNKNOWN",
            Serving::Other(_) => "OTHER",
        }
    }

    fn of(number: i32) -> Serving {
        match number {
            0 => Serving::Unknown,
            1 => Serving::Serving,
            2 => Serving::NotServing,
            3 => Serving::ServiceUnknown,
            number => Serving::Other(number),
        }
    }
}

/// Why an answer cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotHealth {
    /// The body ends before a message begins.
    #[error("it has no message")]
    Empty,
    /// We named no compression, so there is none that could have been chosen.
    #[error("its message is compressed, which nobody asked for")]
    Compressed,
    /// The length in front and the body do not agree: cut off, or more than one message.
    #[error("it is not exactly one message")]
    Length,
    /// Not protobuf.
    #[error("its message is not protobuf")]
    Malformed,
    /// Protobuf, but of another type.
    #[error("its message is no HealthCheckResponse")]
    OtherMessage,
}

/// A question about this service, with its prefix; empty = the process as a whole.
pub fn question(service: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(service.len() + 6);
    if !service.is_empty() {
        message.push(SERVICE_TAG);
        put_varint(&mut message, service.len() as u64);
        message.extend_from_slice(service.as_bytes());
    }
    framed(&message)
}

/// What the body of an answer says.
///
/// # Errors
/// It is not exactly one uncompressed `HealthCheckResponse`. Fields that this version does not know
/// are passed over.
pub fn answer(body: &[u8]) -> Result<Serving, NotHealth> {
    let Some((&[is_compressed, a, b, c, d], message)) = body.split_first_chunk::<PREFIX_BYTES>()
    else {
        let is_empty = body.is_empty();
        return Err(if is_empty {
            NotHealth::Empty
        } else {
            NotHealth::Length
        });
    };
    match is_compressed {
        0 => {}
        1 => return Err(NotHealth::Compressed),
        _ => return Err(NotHealth::Malformed),
    }
    if usize::try_from(u32::from_be_bytes([a, b, c, d])) != Ok(message.len()) {
        return Err(NotHealth::Length);
    }
    status(message)
}

fn framed(message: &[u8]) -> Vec<u8> {
    // A message of ours is a name of bounded length.
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(PREFIX_BYTES + message.len());
    bytes.push(0);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(message);
    bytes
}

/// The status in a message. Of a field that is there more than once the last one counts.
fn status(mut message: &[u8]) -> Result<Serving, NotHealth> {
    let mut status = Serving::Unknown;
    while !message.is_empty() {
        let tag = u32::try_from(take_varint(&mut message)?).map_err(|_| NotHealth::Malformed)?;
        let (field, wire_type) = (tag >> 3, tag & 7);
        if field == 0 {
            return Err(NotHealth::Malformed);
        }
        if field == STATUS_FIELD && wire_type != 0 {
            return Err(NotHealth::OtherMessage);
        }
        match wire_type {
            0 => {
                let value = take_varint(&mut message)?;
                if field == STATUS_FIELD {
                    status = Serving::of(enumerated(value));
                }
            }
            1 => skip(&mut message, 8)?,
            2 => {
                let length = take_varint(&mut message)?;
                skip(&mut message, length)?;
            }
            5 => skip(&mut message, 4)?,
            // 3 and 4 are groups, which no version of this message has; 6 and 7 do not exist.
            _ => return Err(NotHealth::Malformed),
        }
    }
    Ok(status)
}

/// Enumerations are 32 bits with a sign; what is above is cut off, as every reader does.
fn enumerated(value: u64) -> i32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

fn skip(message: &mut &[u8], length: u64) -> Result<(), NotHealth> {
    let length = usize::try_from(length).map_err(|_| NotHealth::Malformed)?;
    *message = message.get(length..).ok_or(NotHealth::Malformed)?;
    Ok(())
}

/// Seven bits a byte, the lowest first; ten bytes at most.
fn take_varint(message: &mut &[u8]) -> Result<u64, NotHealth> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first().ok_or(NotHealth::Malformed)?;
        *message = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(NotHealth::Malformed);
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(NotHealth::Malformed)
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [bits, ..] = (value & 0x7f).to_le_bytes();
        value >>= 7;
        if value == 0 {
            return out.push(bits);
        }
        out.push(bits | 0x80);
    }
}

/// The body of the fuzz target: an answer is one message or none, whole or not at all; fields from
/// later versions change nothing; and what we would write is read as the same.
#[allow(
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a panic is how a body says that a promise is broken"
)]
pub fn fuzz(data: &[u8]) {
    if let Ok(service) = std::str::from_utf8(data) {
        let question = question(service);
        assert_eq!(question.first(), Some(&0));
        assert!(question.ends_with(data) && question.len() <= data.len() + PREFIX_BYTES + 11);
        // A name is not a status.
        let expected = if data.is_empty() {
            Ok(Serving::Unknown)
        } else {
            Err(NotHealth::OtherMessage)
        };
        assert_eq!(answer(&question), expected);
    }
    // As the whole body, and as the message in it.
    for body in [data.to_vec(), framed(data)] {
        let Ok(serving) = answer(&body) else {
            continue;
        };
        for end in 0..body.len() {
            assert!(answer(&body[..end]).is_err(), "cut off at {end}");
        }
        let longer = [&body[..], &[0]].concat();
        assert_eq!(answer(&longer), Err(NotHealth::Length));
        let message = &body[PREFIX_BYTES..];
        for later in [
            &b"\x10\x05"[..],
            b"\x1a\x02ab",
            b"\x25abcd",
            b"\x29abcdefgh",
        ] {
            assert_eq!(answer(&framed(&[message, later].concat())), Ok(serving));
            assert_eq!(answer(&framed(&[later, message].concat())), Ok(serving));
        }
        for number in [0, 1, 2, 3, -1, i32::MAX] {
            let mut last = message.to_vec();
            last.push(0x08);
            put_varint(&mut last, i64::from(number).cast_unsigned());
            assert_eq!(answer(&framed(&last)), Ok(Serving::of(number)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_the_service_or_nothing() {
        assert_eq!(question(""), b"\0\0\0\0\0");
        assert_eq!(question("a.B"), b"\0\0\0\0\x05\x0a\x03a.B");
        let long = question(&"x".repeat(200));
        assert_eq!(&long[..8], b"\0\0\0\0\xcb\x0a\xc8\x01");
    }

    #[test]
    fn an_answer_is_exactly_one_message() {
        for (body, expected) in [
            (&b"\0\0\0\0\x02\x08\x01"[..], Ok(Serving::Serving)),
            (b"\0\0\0\0\x02\x08\x02", Ok(Serving::NotServing)),
            (b"\0\0\0\0\x02\x08\x03", Ok(Serving::ServiceUnknown)),
            (b"\0\0\0\0\x02\x08\x00", Ok(Serving::Unknown)),
            (b"\0\0\0\0\0", Ok(Serving::Unknown)),
            (b"\0\0\0\0\x02\x08\x07", Ok(Serving::Other(7))),
            // A longer way to write 1; -1; the last of two.
            (b"\0\0\0\0\x03\x08\x81\x00", Ok(Serving::Serving)),
            (
                b"\0\0\0\0\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                Ok(Serving::Other(-1)),
            ),
            (b"\0\0\0\0\x04\x08\x02\x08\x01", Ok(Serving::Serving)),
            // A field of a later version in front.
            (
                b"\0\0\0\0\x06\x12\x02\x08\x02\x08\x01",
                Ok(Serving::Serving),
            ),
            (b"", Err(NotHealth::Empty)),
            (b"\0\0\0\0", Err(NotHealth::Length)),
            (b"\0\0\0\0\x02\x08", Err(NotHealth::Length)),
            (b"\0\0\0\0\x02\x08\x01\0\0\0\0\0", Err(NotHealth::Length)),
            (b"\x01\0\0\0\x02\x08\x01", Err(NotHealth::Compressed)),
            (b"\x02\0\0\0\x02\x08\x01", Err(NotHealth::Malformed)),
            (b"\0\0\0\0\x01\x08", Err(NotHealth::Malformed)),
            (b"\0\0\0\0\x02\x00\x01", Err(NotHealth::Malformed)),
            (b"\0\0\0\0\x02\x13\x14", Err(NotHealth::Malformed)),
            (b"\0\0\0\0\x03\x12\x02a", Err(NotHealth::Malformed)),
            (
                b"\0\0\0\0\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
                Err(NotHealth::Malformed),
            ),
            (b"\0\0\0\0\x03\x0a\x01a", Err(NotHealth::OtherMessage)),
        ] {
            assert_eq!(answer(body), expected, "{}", body.escape_ascii());
        }
    }
}
