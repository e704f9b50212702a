//! Body for the fuzzer: what Sentinels send us.

use crate::base::time::Time;
use crate::io::resp::{self, Reply};
use crate::io::source::sentinel::{answer, notice};

/// An event (`channel`, a line end, the payload), and replies to a poll, one after the other: nothing
/// is read into them that is not there.
///
/// # Panics
/// When it is.
pub fn sentinel(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some((channel, payload)) = text.split_once('\n')
        && let Some(event) = notice::read(channel, payload, "mymaster")
    {
        assert!(notice::CHANNELS.contains(&channel));
        let is_about_all = matches!(channel, "+tilt" | "-tilt");
        assert_eq!(event.primary.is_none(), is_about_all);
        assert!(is_about_all || payload.split(' ').any(|word| word == "mymaster"));
    }
    let mut replies: Vec<Reply> = Vec::new();
    let mut rest = data;
    while let Ok(Some((reply, length))) = resp::read(rest) {
        replies.push(reply);
        rest = rest.get(length..).unwrap_or_default();
    }
    if let Ok(statement) = answer::statement(&replies, Time::ZERO, "ours") {
        assert_eq!(replies.len(), 4);
        let named = statement.leader.port.to_string();
        assert!(text.contains(named.as_str()));
        assert!(statement.replicas.len() <= data.len());
    }
}
