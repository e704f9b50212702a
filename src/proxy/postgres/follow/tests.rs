//! What is followed is followed in whatever pieces it comes, and against a small model of what an
//! endpoint answers.

use proptest::prelude::*;

use super::*;

const STARTUP: &[u8] = b"\0\0\0\x12\0\x03\0\0user\0app\0\0";

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(4 + body.len()).unwrap();
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

fn follow() -> Follow {
    Follow::new(u32::try_from(STARTUP.len()).unwrap())
}

/// A session that has been let in.
fn open() -> Follow {
    let mut follow = follow();
    follow.see(Side::Client, STARTUP);
    let welcome = [
        message(b'R', &[0; 4]),
        message(b'S', b"in_hot_standby\0off\0"),
        message(b'K', &[7; 8]),
        message(b'Z', b"I"),
    ];
    follow.see(Side::Upstream, &welcome.concat());
    assert_eq!(follow.stand(), Stand::Idle);
    follow
}

/// `>` is from the client, `<` from the endpoint; each letter a message of that kind, and for `Z` its
/// status behind it.
fn play(follow: &mut Follow, script: &str) {
    let mut side = Side::Client;
    let mut letters = script.bytes();
    while let Some(letter) = letters.next() {
        match letter {
            b'>' => side = Side::Client,
            b'<' => side = Side::Upstream,
            b' ' => {}
            b'Z' => follow.see(side, &message(b'Z', &[letters.next().unwrap()])),
            kind => follow.see(side, &message(kind, b"some body")),
        }
    }
}

#[test]
fn a_session_is_at_rest_exactly_when_everything_is_answered() {
    for (script, expected) in [
        ("", Stand::Idle),
        (">Q", Stand::Busy),
        (">Q <TDC", Stand::Busy),
        (">Q <TDCZI", Stand::Idle),
        (">Q <CZT", Stand::InTransaction),
        (">Q <CZT >Q <EZE", Stand::InTransaction),
        (">Q <CZT >Q <CZI", Stand::Idle),
        (">QQ <CZI", Stand::Busy),
        (">QQ <CZICZI", Stand::Idle),
        (">F <VZI", Stand::Idle),
        // Extended, pipelined, described without a Sync.
        (">PBDES <12nCZI", Stand::Idle),
        (">PBDESBES <12nCZI", Stand::Busy),
        (">PBDESBES <12nCZI2CZI", Stand::Idle),
        (">PDH <1tT", Stand::Busy),
        (">PDH <1tT >BES <2DCZI", Stand::Idle),
        (">H", Stand::Idle),
        (">PBES <EZI", Stand::Idle),
        // Rows to the client, and from it, asked for in both ways.
        (">Q <HdddcCZI", Stand::Idle),
        (">Q <G", Stand::Busy),
        (">Q <G >ddc", Stand::Busy),
        (">Q <G >ddc <CZI", Stand::Idle),
        (">Q <G >df <EZI", Stand::Idle),
        (">Qddc <GCZI", Stand::Idle),
        (">PBES <12G", Stand::Busy),
        (">PBES <12G >ddc", Stand::Busy),
        (">PBES <12G >ddcS", Stand::Busy),
        (">PBES <12G >ddcS <CZI", Stand::Idle),
        (">PBES <12G >dd <E >dcS <ZI", Stand::Idle),
        (">PBEddcS <12GCZI", Stand::Idle),
        (">PBEH <12G >ddcS <CZI", Stand::Idle),
        // Said unasked.
        ("<AN", Stand::Idle),
        (">X", Stand::Busy),
        // What cannot be followed.
        (">PQ", Stand::Unknown),
        (">PBESS <12G", Stand::Unknown),
        ("<ZI", Stand::Unknown),
        (">Q <W", Stand::Unknown),
        (">Q <ZI >Q <Zx", Stand::Unknown),
        (">!", Stand::Unknown),
    ] {
        let mut follow = open();
        play(&mut follow, script);
        assert_eq!(follow.stand(), expected, "{script}");
    }
}

#[test]
fn half_a_message_is_no_rest() {
    let mut follow = open();
    follow.see(Side::Upstream, b"N\0\0");
    assert_eq!(follow.stand(), Stand::Busy);
    follow.see(Side::Upstream, b"\0\x05");
    assert_eq!(
        (follow.stand(), follow.unseen_max(Side::Upstream)),
        (Stand::Busy, 0)
    );
    follow.see(Side::Upstream, b"x");
    assert_eq!(follow.stand(), Stand::Idle);
    follow.see(Side::Client, b"d");
    assert_eq!(follow.stand(), Stand::Busy);

    let mut follow = self::follow();
    assert_eq!(follow.stand(), Stand::Opening);
    follow.see(Side::Upstream, b"R");
    assert_eq!(follow.stand(), Stand::Busy);
}

#[test]
fn the_inside_of_a_large_message_may_pass_unseen() {
    let mut follow = open();
    follow.see(Side::Client, b"Q\0\0\0\x05\0");
    let length = 100_u32 * 1024 * 1024;
    follow.see(
        Side::Upstream,
        &[b"D", &length.to_be_bytes()[..], b"begin"].concat(),
    );
    assert_eq!(follow.unseen_max(Side::Upstream), u64::from(length) - 9);
    follow.skip(Side::Upstream, u64::from(length) - 10);
    follow.see(Side::Upstream, b"xC\0\0\0\x04Z\0\0\0\x05I");
    assert_eq!(follow.stand(), Stand::Idle);
}

#[test]
fn a_length_that_no_message_has_ends_the_following() {
    for head in [
        b"D\0\0\0\x03",
        b"D\xff\xff\xff\xff",
        b"D\x7f\0\0\0",
        b"\0\0\0\0\x04",
    ] {
        for side in [Side::Client, Side::Upstream] {
            let mut follow = open();
            follow.see(side, head);
            assert_eq!(follow.stand(), Stand::Unknown);
            assert_eq!(follow.unseen_max(side), u64::MAX);
            follow.skip(side, u64::MAX);
            follow.see(side, head);
        }
    }
}

#[test]
fn what_an_endpoint_says_of_itself_is_heard() {
    let error = |code: &str| {
        let fields = format!("SFATAL\0VFATAL\0C{code}\0Mno\0\0");
        message(b'E', fields.as_bytes())
    };
    let standby = Signals {
        is_standby: true,
        is_suspect: true,
    };
    let suspect = Signals {
        is_standby: false,
        is_suspect: true,
    };
    let nothing = Signals::default();
    let in_hot_standby = |is: &str| message(b'S', format!("in_hot_standby\0{is}\0").as_bytes());
    for (said, expected) in [
        (in_hot_standby("on"), standby),
        (in_hot_standby("off"), nothing),
        (message(b'S', b"TimeZone\0on\0"), nothing),
        (message(b'S', b"in_hot_standby"), nothing),
        (error("25006"), standby),
        ([in_hot_standby("off"), error("25006")].concat(), suspect),
        (error("57P01"), suspect),
        (error("57P03"), suspect),
        (
            message(b'N', b"SWARNING\0VWARNING\0C57P02\0Mcrash\0\0"),
            suspect,
        ),
        (error("57014"), nothing),
        (message(b'E', b"Mno code\0\0"), nothing),
        (message(b'E', b""), nothing),
    ] {
        let mut follow = follow();
        for byte in &said {
            follow.see(Side::Upstream, &[*byte]);
        }
        assert_eq!(follow.take_signals(), expected, "{said:?}");
        assert_eq!(follow.take_signals(), nothing);
    }
}

#[test]
fn keys_of_every_length_are_told_once() {
    for length in [0, 4, 7, 8, 36, 260, 261] {
        let mut follow = follow();
        let body = vec![5; length];
        follow.see(Side::Upstream, &message(b'K', &body));
        let is_key = (8..=260).contains(&length);
        assert_eq!(follow.take_key(), CancelKey::new(&body).filter(|_| is_key));
        assert!(follow.take_key().is_none());
    }
}

/// A request, as bytes of the client and the answer of an endpoint, and where it leads.
fn exchange() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, u8)> {
    let row = prop::collection::vec(any::<u8>(), 0..300);
    let rows = prop::collection::vec(row, 0..4);
    (rows, 0..4_usize, prop::sample::select(b"ITE".to_vec())).prop_map(|(rows, how, status)| {
        let all = |kind| -> Vec<u8> { rows.iter().flat_map(|row| message(kind, row)).collect() };
        let done = [message(b'C', b"SELECT 1\0"), message(b'Z', &[status])].concat();
        let (ask, answer) = match how {
            0 => (message(b'Q', b"SELECT 1\0"), [all(b'D'), done].concat()),
            1 => (
                [
                    message(b'P', b"\0\0\0\0"),
                    message(b'B', b"\0"),
                    message(b'S', b""),
                ]
                .concat(),
                [message(b'1', b""), all(b'D'), done].concat(),
            ),
            2 => (
                message(b'F', b"\0"),
                [message(b'V', b""), message(b'Z', &[status])].concat(),
            ),
            _ => (
                [message(b'Q', b"COPY\0"), all(b'd'), message(b'c', b"")].concat(),
                [message(b'G', b"\0"), done].concat(),
            ),
        };
        (ask, answer, status)
    })
}

/// Feeds bytes in pieces of the given sizes, passing by unseen what may be.
fn feed(follow: &mut Follow, side: Side, bytes: &[u8], sizes: &mut impl Iterator<Item = usize>) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let size = sizes.next().unwrap().clamp(1, rest.len());
        let (piece, after) = rest.split_at(size);
        if follow.unseen_max(side) >= size as u64 {
            follow.skip(side, size as u64);
        } else {
            follow.see(side, piece);
        }
        rest = after;
    }
}

proptest! {
    #[test]
    fn any_split_of_a_stream_tells_the_same(
        exchanges in prop::collection::vec(exchange(), 1..6),
        sizes in prop::collection::vec(1..40_usize, 1..30),
    ) {
        let mut sizes = sizes.into_iter().cycle();
        let (mut whole, mut pieces) = (open(), open());
        for (ask, answer, status) in &exchanges {
            whole.see(Side::Client, ask);
            feed(&mut pieces, Side::Client, ask, &mut sizes);
            prop_assert_eq!(whole.stand(), Stand::Busy);
            prop_assert_eq!(pieces.stand(), Stand::Busy);
            let (last, before) = answer.split_last().unwrap();
            feed(&mut pieces, Side::Upstream, before, &mut sizes);
            prop_assert_eq!(pieces.stand(), Stand::Busy);
            pieces.see(Side::Upstream, &[*last]);
            whole.see(Side::Upstream, answer);
            let expected = if *status == b'I' { Stand::Idle } else { Stand::InTransaction };
            prop_assert_eq!(whole.stand(), expected);
            prop_assert_eq!(pieces.stand(), expected);
        }
    }

    #[test]
    fn a_pipeline_is_at_rest_at_its_last_answer(
        exchanges in prop::collection::vec(exchange(), 1..6),
        sizes in prop::collection::vec(1..200_usize, 1..30),
    ) {
        let is_copy = |ask: &[u8]| ask.windows(4).any(|bytes| bytes == b"COPY");
        prop_assume!(!exchanges.iter().any(|(ask, ..)| is_copy(ask)));
        let mut sizes = sizes.into_iter().cycle();
        let mut follow = open();
        for (ask, ..) in &exchanges {
            feed(&mut follow, Side::Client, ask, &mut sizes);
        }
        for (_, answer, _) in &exchanges {
            prop_assert_eq!(follow.stand(), Stand::Busy);
            feed(&mut follow, Side::Upstream, answer, &mut sizes);
        }
        prop_assert!(matches!(follow.stand(), Stand::Idle | Stand::InTransaction));
    }

    #[test]
    fn no_bytes_end_in_a_panic(pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..64)), 0..20)) {
        let mut follow = follow();
        for (is_client, bytes) in pieces {
            follow.see(if is_client { Side::Client } else { Side::Upstream }, &bytes);
            follow.stand();
        }
    }
}
