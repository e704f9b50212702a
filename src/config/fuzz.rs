//! What must hold for any bytes that are called a configuration.

use super::dump::dump;
use super::parse;
use super::problem::{PROBLEMS_MAX, line_column, render};
use super::secret::SecretReader;

/// Parses the bytes as a configuration file. Panics when problems point outside the text, are too
/// many or none though it is refused, or when a good configuration does not survive its dump.
/// Reads no secret.
pub fn config_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match parse("fuzz.toml", text, &SecretReader::Never) {
        Ok((config, warnings)) => {
            assert!(!warnings.iter().any(super::problem::Problem::is_error));
            let page = dump(&config);
            let again = parse("dump.toml", &page, &SecretReader::Never);
            assert!(
                again.as_ref().is_ok_and(|(again, _)| *again == config),
                "{page}\n{again:?}"
            );
        }
        Err(problems) => {
            assert!(problems.iter().any(super::problem::Problem::is_error));
            assert!(problems.len() <= PROBLEMS_MAX);
            for problem in &problems {
                assert!(text.get(problem.span.clone()).is_some(), "{problem:?}");
                let place = line_column(text, problem.span.start);
                assert_eq!(place, (problem.line, problem.column));
            }
            assert!(!render(&problems, text, false).is_empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    const FULL: &[u8] = include_bytes!("../../conf/full.toml");

    #[test]
    fn damaged_configurations_are_told_not_suffered() {
        let seed = std::env::var("SIM_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed: u64 = seed.unwrap_or(1);
        for round in 0..400 {
            let mut rng = Rng::seeded(seed + round);
            let mut bytes = FULL.to_vec();
            for _ in 0..=rng.below(4) {
                damage(&mut bytes, &mut rng);
            }
            config_file(&bytes);
        }
    }

    fn damage(bytes: &mut Vec<u8>, rng: &mut Rng) {
        let mut place = |length: usize| rng.below(length.max(1));
        let at = place(bytes.len());
        match place(5) {
            0 => bytes[at] = b"\"'=[]{}.,#\n 0a\xc3"[place(15)],
            1 => drop(bytes.drain(at..(at + place(40)).min(FULL.len().min(bytes.len())))),
            2 => {
                let from = place(bytes.len());
                let piece = bytes[from..(from + 30).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            3 => bytes.truncate(at.max(1)),
            // a key or a word that looks right
            _ => drop(bytes.splice(at..at, *b"x")),
        }
    }

    #[test]
    fn odd_texts_are_told_not_suffered() {
        let deep = "[".repeat(5_000);
        let wide = format!("a = [{}]", "1,".repeat(20_000));
        let many = (0..3_000).fold(String::new(), |text, at| {
            text + &format!("[upstreams.u{at}]\nx = 1\n")
        });
        let dots = format!("{}a = 1", "a.".repeat(5_000));
        let lines = "=\n".repeat(20_000);
        let keys = (0..500).fold("[process]\n".to_owned(), |text, at| {
            text + &format!("k{at} = 1\n")
        });
        for text in [
            "",
            "\u{feff}version = 1",
            "\0",
            "\r",
            "version = 99999999999999999999999",
            "version = 0x1",
            "[upstreams.\"\"]",
            "[listeners.a]\nbind = [[[]]]",
            "[upstreams.a]\nhealth.http.\"$__serde_spanned_private_start\" = 1",
            "process = 1979-05-27",
            "[process]\ndrain_timeout = inf",
            "version = 1\n[log.access]",
            &deep,
            &wide,
            &many,
            &dots,
            &lines,
            &keys,
        ] {
            config_file(text.as_bytes());
        }
    }
}
