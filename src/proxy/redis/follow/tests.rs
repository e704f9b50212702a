//! Sessions as they pass, whole and in pieces.

use super::*;

fn client(follow: &mut Follow, text: &str) -> Stand {
    follow.see(Side::Client, text.as_bytes());
    follow.stand()
}

fn upstream(follow: &mut Follow, text: &str) -> Stand {
    follow.see(Side::Upstream, text.as_bytes());
    follow.stand()
}

fn command(words: &[&str]) -> String {
    let mut bytes = Vec::new();
    crate::io::resp::write(words, &mut bytes);
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_session_is_at_rest_when_every_command_is_answered() {
    let mut follow = Follow::default();
    assert_eq!(follow.stand(), Stand::Idle);
    let many = command(&["SET", "a", "1"]) + "PING\r\n" + &command(&["get", "a"]);
    assert_eq!(client(&mut follow, &many), Stand::Busy);
    assert_eq!(upstream(&mut follow, "+OK\r\n+PONG\r\n"), Stand::Busy);
    assert_eq!(upstream(&mut follow, "$1\r\n1"), Stand::Busy);
    assert_eq!(upstream(&mut follow, "\r\n"), Stand::Idle);
    // Nothing, and nothing to answer.
    assert_eq!(client(&mut follow, "\r\n*0\r\n*-1\r\n"), Stand::Idle);
    assert_eq!(client(&mut follow, "*1\r\n"), Stand::Busy);
}

#[test]
fn every_kind_of_reply_is_one() {
    for reply in [
        "+OK\r\n",
        "-ERR no\r\n",
        ":-7\r\n",
        "$0\r\n\r\n",
        "$-1\r\n",
        "*-1\r\n",
        "*0\r\n",
        "*2\r\n$3\r\na\r\n\r\n*2\r\n:1\r\n*0\r\n",
        "%1\r\n+a\r\n*2\r\n:1\r\n_\r\n",
        "%0\r\n",
        "~2\r\n#t\r\n,1.5\r\n",
        "(3492890328409238509324850943850943825024385\r\n",
        "=8\r\ntxt:some\r\n",
        "!4\r\nERR \r\n",
        "|1\r\n+ttl\r\n:3600\r\n*1\r\n|1\r\n+a\r\n+b\r\n:1\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n+deep\r\n",
    ] {
        let mut follow = Follow::default();
        client(&mut follow, "PING\r\n");
        for (position, byte) in reply.bytes().enumerate() {
            assert_eq!(follow.stand(), Stand::Busy, "{reply:?} at {position}");
            follow.see(Side::Upstream, &[byte]);
        }
        assert_eq!(follow.stand(), Stand::Idle, "{reply:?}");
        // Whatever comes unasked.
        assert_eq!(upstream(&mut follow, reply), Stand::Unknown, "{reply:?}");
    }
}

#[test]
fn pushed_messages_answer_nobody() {
    let mut follow = Follow::default();
    client(&mut follow, &command(&["HELLO", "3"]));
    upstream(&mut follow, "%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n");
    let message = ">3\r\n+message\r\n+c\r\n$2\r\nhi\r\n";
    assert_eq!(
        client(&mut follow, &command(&["SUBSCRIBE", "c"])),
        Stand::Idle
    );
    assert_eq!(
        upstream(&mut follow, ">3\r\n+subscribe\r\n+c\r\n:1\r\n"),
        Stand::Idle
    );
    client(&mut follow, "GET a\r\n");
    assert_eq!(upstream(&mut follow, message), Stand::Busy);
    assert_eq!(upstream(&mut follow, "+x\r\n"), Stand::Idle);
    assert_eq!(upstream(&mut follow, message), Stand::Idle);
}

#[test]
fn transactions_are_those_the_client_has_begun() {
    let mut follow = Follow::default();
    client(&mut follow, "multi\r\n");
    assert!(follow.is_in_transaction());
    assert_eq!(upstream(&mut follow, "+OK\r\n"), Stand::InTransaction);
    client(&mut follow, &command(&["INCR", "a"]));
    assert_eq!(upstream(&mut follow, "+QUEUED\r\n"), Stand::InTransaction);
    client(&mut follow, &command(&["EXEC"]));
    assert!(!follow.is_in_transaction());
    assert_eq!(follow.stand(), Stand::Busy);
    assert_eq!(upstream(&mut follow, "*1\r\n:1\r\n"), Stand::Idle);
    for end in ["DISCARD\r\n", "RESET\r\n"] {
        client(&mut follow, "MULTI\r\n");
        client(&mut follow, end);
        assert_eq!(upstream(&mut follow, "+OK\r\n+OK\r\n"), Stand::Idle);
    }
}

#[test]
fn who_listens_may_be_cut_and_who_cannot_be_followed_is_not() {
    for (line, stand) in [
        ("SUBSCRIBE a b\r\n", Stand::Listening),
        ("psubscribe a*\r\n", Stand::Listening),
        ("UNSUBSCRIBE\r\n", Stand::Listening),
        ("MONITOR\r\n", Stand::Listening),
        ("CLIENT REPLY OFF\r\n", Stand::Unknown),
        ("PSYNC ? -1\r\n", Stand::Unknown),
        ("*1\r\n:7\r\n", Stand::Unknown),
        ("*1\r\n$-1\r\n", Stand::Unknown),
        ("*x\r\n", Stand::Unknown),
        ("*99999999999999999999\r\n", Stand::Unknown),
        ("CLIENT SETNAME x\r\n", Stand::Busy),
        ("SUBSCRIBER\r\n", Stand::Busy),
    ] {
        let mut follow = Follow::default();
        assert_eq!(client(&mut follow, line), stand, "{line}");
        let is_over = matches!(stand, Stand::Listening | Stand::Unknown);
        let all = u64::MAX;
        assert_eq!(follow.unseen_max(Side::Upstream) == all, is_over, "{line}");
    }
    for reply in [
        "HTTP/1.1 400 Bad Request\r\n",
        "\r\n",
        "$?\r\n",
        "$-2\r\n",
        "*+1\r\n",
        ">0\r\n",
    ] {
        let mut follow = Follow::default();
        client(&mut follow, "PING\r\n");
        assert_eq!(upstream(&mut follow, reply), Stand::Unknown, "{reply}");
    }
}

#[test]
fn errors_about_the_endpoint_are_signals_and_others_are_not() {
    for (reply, is_replica, is_suspect) in [
        (
            "-READONLY You can't write against a read only replica.\r\n",
            true,
            true,
        ),
        (
            "-LOADING Redis is loading the dataset in memory\r\n",
            false,
            true,
        ),
        ("-MASTERDOWN Link with MASTER is down\r\n", false, true),
        ("-CLUSTERDOWN Hash slot not served\r\n", false, true),
        ("-ERR READONLY\r\n", false, false),
        ("-READONLYX\r\n", false, false),
        ("+READONLY\r\n", false, false),
        ("$9\r\n-READONLY\r\n", false, false),
        // A script's own words inside a list are not the endpoint's.
        ("*1\r\n-READONLY x\r\n", false, false),
    ] {
        let mut follow = Follow::default();
        client(&mut follow, "SET a 1\r\n");
        for byte in reply.bytes() {
            follow.see(Side::Upstream, &[byte]);
        }
        let told = Signals {
            is_replica,
            is_suspect,
        };
        assert_eq!(follow.take_signals(), told, "{reply}");
        assert_eq!(follow.take_signals(), Signals::default());
        assert_eq!(follow.stand(), Stand::Idle, "{reply}");
    }
}

#[test]
fn the_inside_of_a_large_string_may_pass_unseen() {
    let mut follow = Follow::default();
    client(&mut follow, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$104857600\r\n");
    assert_eq!(follow.unseen_max(Side::Client), 104_857_602);
    follow.skip(Side::Client, 104_857_600);
    assert_eq!(follow.unseen_max(Side::Client), 2);
    assert_eq!(client(&mut follow, "\r\n"), Stand::Busy);
    assert_eq!(upstream(&mut follow, "+OK\r\n"), Stand::Idle);
    client(&mut follow, "GET a\r\n");
    upstream(&mut follow, "$104857600\r\nxx");
    assert_eq!(follow.unseen_max(Side::Upstream), 104_857_600);
    follow.skip(Side::Upstream, 104_857_600);
    assert_eq!(follow.stand(), Stand::Idle);
    // A word that is read is not skipped.
    client(&mut follow, "*1\r\n$5\r\nMU");
    assert_eq!(follow.unseen_max(Side::Client), 0);
    client(&mut follow, "LTI\r\n");
    assert!(follow.is_in_transaction());
}

#[test]
fn ten_thousand_commands_at_once_are_counted() {
    let mut follow = Follow::default();
    client(&mut follow, &command(&["INCR", "a"]).repeat(10_000));
    assert_eq!(upstream(&mut follow, &":1\r\n".repeat(9_999)), Stand::Busy);
    assert_eq!(upstream(&mut follow, ":1\r\n"), Stand::Idle);
    assert!(size_of::<Follow>() <= 320, "{}", size_of::<Follow>());
}

proptest::proptest! {
    #[test]
    fn pieces_of_any_size_are_followed_as_the_whole(
        cuts in proptest::collection::vec(0_usize..400, 0..12),
        skips: bool,
    ) {
        let asked = command(&["MULTI"]) + &command(&["SET", "k", &"v".repeat(90)]) + "PING x\r\n"
            + &command(&["EXEC"]) + &command(&["HGETALL", "h"]) + &command(&["MULTI"]);
        let told = "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n$1\r\nx\r\n".to_owned()
            + "%2\r\n$1\r\na\r\n*2\r\n:1\r\n:2\r\n$1\r\nb\r\n$90\r\n" + &"w".repeat(90)
            + "\r\n-READONLY x\r\n";
        let mut whole = Follow::default();
        client(&mut whole, &asked);
        upstream(&mut whole, &told);
        let mut pieces = Follow::default();
        for (side, text) in [(Side::Client, &asked), (Side::Upstream, &told)] {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % text.len()).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            for pair in cuts.windows(2) {
                let mut piece = &text.as_bytes()[pair[0]..pair[1]];
                let unseen = pieces.unseen_max(side).min(piece.len() as u64);
                if skips && unseen > 0 {
                    pieces.skip(side, unseen);
                    piece = &piece[usize::try_from(unseen).unwrap()..];
                }
                pieces.see(side, piece);
            }
        }
        proptest::prop_assert_eq!(pieces.stand(), whole.stand());
        proptest::prop_assert_eq!(whole.stand(), Stand::InTransaction);
        proptest::prop_assert_eq!(pieces.take_signals(), whole.take_signals());
    }
}
