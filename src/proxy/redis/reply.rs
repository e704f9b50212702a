//! What we say to a Redis client ourselves. Said before the client's first command, as Redis does
//! when it is full; client libraries act on the first word.

use crate::model::failure::FailureKind;

/// The error line of a failure before the session began; `why` explains it to people.
///
/// `-LOADING` makes clients try again a little later, `-MASTERDOWN` tells them that it may take
/// longer, and the sentence for a reached limit is Redis' own, to the letter.
pub fn refusal(failure: FailureKind, why: &str) -> Vec<u8> {
    let word = match failure {
        FailureKind::MaxConnections => return b"-ERR max number of clients reached\r\n".to_vec(),
        FailureKind::NoEligibleEndpoint
        | FailureKind::HoldOverflow
        | FailureKind::UpstreamHoldOverflow
        | FailureKind::HoldMemory => "MASTERDOWN",
        _ => "LOADING",
    };
    // An error is one line.
    let why = why.replace(|letter: char| letter.is_control(), " ");
    format!("-{word} {why}\r\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_one_line_with_the_word_that_clients_know() {
        for (failure, line) in [
            (
                FailureKind::HoldTimeout,
                "-LOADING no primary for \"x\"  +OK\r\n",
            ),
            (
                FailureKind::NoEligibleEndpoint,
                "-MASTERDOWN no primary for \"x\"  +OK\r\n",
            ),
            (
                FailureKind::HoldOverflow,
                "-MASTERDOWN no primary for \"x\"  +OK\r\n",
            ),
            (
                FailureKind::MaxConnections,
                "-ERR max number of clients reached\r\n",
            ),
        ] {
            let bytes = refusal(failure, "no primary for \"x\"\r\n+OK");
            assert_eq!(String::from_utf8(bytes).unwrap(), line);
        }
    }
}
