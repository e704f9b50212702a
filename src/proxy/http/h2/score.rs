//! How much of what a client sends is no request: the flood classes of HTTP/2, in one number.
//!
//! Each is cheap for who sends it and costs us work: resets (CVE-2023-44487), settings, pings and
//! empty frames (CVE-2019-9512, -9515, -9518), continuations (CVE-2024-27316), priorities. No single
//! one of them is wrong, so what counts is how many come within ten seconds. Window updates and pings
//! are what a client also sends because much is moving: what moves allows for them.

use crate::base::time::Time;
use crate::config::default::{
    HTTP2_CONTINUATIONS_MAX, HTTP2_SCORE_MAX, HTTP2_SCORE_WINDOW, HTTP2_SIGNALS_FREE,
};
use crate::proxy::http::h2::frames::{Frame, FrameKind};

/// Bytes moved either way that allow for one window update or ping more.
const BYTES_PER_SIGNAL: u64 = 1024;
/// Window updates and pings that a request allows for.
const SIGNALS_PER_REQUEST: u64 = 2;

/// What is to be done with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It is served.
    Good,
    /// Three quarters of what is borne: it gets no new stream.
    Warned,
    /// It is closed.
    Over,
}

/// The count of one connection.
#[derive(Debug, Clone, Copy)]
pub struct Score {
    began_at: Time,
    points: u32,
    /// Window updates and pings that are still free.
    signals: u64,
    /// Bytes that have not yet made one.
    bytes: u64,
    /// Continuations in a row.
    continuations: u32,
    /// The worst there was: nobody gets better by waiting.
    standing: Standing,
}

impl Score {
    /// Of a connection that begins.
    pub fn new(now: Time) -> Score {
        Score {
            began_at: now,
            points: 0,
            signals: HTTP2_SIGNALS_FREE,
            bytes: 0,
            continuations: 0,
            standing: Standing::Good,
        }
    }

    /// What is to be done.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// A frame came.
    pub fn frame(&mut self, frame: Frame, now: Time) {
        self.turn(now);
        if frame.kind == FrameKind::Continuation {
            self.continuations += 1;
            if self.continuations > HTTP2_CONTINUATIONS_MAX {
                self.standing = Standing::Over;
            }
        } else {
            self.continuations = 0;
        }
        match frame.kind {
            FrameKind::Headers => self.signals += SIGNALS_PER_REQUEST,
            FrameKind::Data if frame.length > 0 || frame.is_end => {
                self.moved(u64::from(frame.length));
            }
            FrameKind::WindowUpdate | FrameKind::Ping if self.signals > 0 => self.signals -= 1,
            _ => self.add(now),
        }
    }

    /// Bytes went to the client.
    pub fn moved(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.signals += self.bytes / BYTES_PER_SIGNAL;
        self.bytes %= BYTES_PER_SIGNAL;
    }

    /// A point for something that is no frame: a stream that had to be refused.
    pub fn add(&mut self, now: Time) {
        self.turn(now);
        self.points = self.points.saturating_add(1);
        let standing = if self.points >= HTTP2_SCORE_MAX {
            Standing::Over
        } else if self.points >= HTTP2_SCORE_MAX / 4 * 3 {
            Standing::Warned
        } else {
            Standing::Good
        };
        self.standing = self.standing.max(standing);
    }

    /// Begins to count anew when the time is over.
    fn turn(&mut self, now: Time) {
        if now.since(self.began_at) >= HTTP2_SCORE_WINDOW {
            *self = Score {
                standing: self.standing,
                continuations: self.continuations,
                ..Score::new(now)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: FrameKind, length: u32) -> Frame {
        Frame {
            kind,
            length,
            is_end: false,
        }
    }

    /// How many such frames make it worse than good, and how many end it.
    fn borne(frame: Frame) -> (u32, u32) {
        let mut score = Score::new(Time::ZERO);
        let (mut warned, mut over) = (0, 0);
        for count in 1..=10_000 {
            score.frame(frame, Time::ZERO);
            if warned == 0 && score.standing() > Standing::Good {
                warned = count;
            }
            if score.standing() == Standing::Over {
                over = count;
                break;
            }
        }
        (warned, over)
    }

    #[test]
    fn each_flood_ends_within_its_bound() {
        let free = u32::try_from(HTTP2_SIGNALS_FREE).unwrap();
        for (name, flood, expected) in [
            ("reset", frame(FrameKind::RstStream, 4), (750, 1000)),
            ("empty data", frame(FrameKind::Data, 0), (750, 1000)),
            ("settings", frame(FrameKind::Settings, 0), (750, 1000)),
            ("priority", frame(FrameKind::Priority, 5), (750, 1000)),
            ("unknown", frame(FrameKind::Unknown, 0), (750, 1000)),
            ("ping", frame(FrameKind::Ping, 8), (free + 750, free + 1000)),
            (
                "window update",
                frame(FrameKind::WindowUpdate, 4),
                (free + 750, free + 1000),
            ),
            ("continuation", frame(FrameKind::Continuation, 9), (9, 9)),
            ("requests", frame(FrameKind::Headers, 40), (0, 0)),
            ("payload", frame(FrameKind::Data, 1), (0, 0)),
        ] {
            assert_eq!(borne(flood), expected, "{name}");
        }
    }

    #[test]
    fn what_moves_allows_for_window_updates_and_pings() {
        let mut score = Score::new(Time::ZERO);
        for _ in 0..100_000 {
            score.moved(16 * 1024);
            score.frame(frame(FrameKind::WindowUpdate, 4), Time::ZERO);
            score.frame(frame(FrameKind::Ping, 8), Time::ZERO);
        }
        assert_eq!(score.standing(), Standing::Good);
    }

    #[test]
    fn a_window_forgets_points_and_not_the_standing() {
        let mut score = Score::new(Time::ZERO);
        let mut now = Time::ZERO;
        for _ in 0..5 {
            for _ in 0..700 {
                score.add(now);
            }
            now = now.after(HTTP2_SCORE_WINDOW);
        }
        assert_eq!(score.standing(), Standing::Good);
        for _ in 0..750 {
            score.add(now);
        }
        score.add(now.after(HTTP2_SCORE_WINDOW));
        assert_eq!(score.standing(), Standing::Warned);
    }
}
