//! What the operator of a member says of it: its tags, as they were written.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::config::default;

/// Tags come as people write them: `true`, `"true"`, `1`, `on`. Some have a meaning here, all of them
/// are shown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct Tags(BTreeMap<String, Value>);

impl Tags {
    /// Reads may go there.
    pub fn is_balanced(&self) -> bool {
        !self.0.get("noloadbalance").is_some_and(is_true)
    }

    /// It may become the leader. `failover_priority: 0` is the newer way to say `nofailover`, which
    /// wins where both are given (Patroni's `tags.py`).
    pub fn may_lead(&self) -> bool {
        if let Some(nofailover) = self.0.get("nofailover").filter(|value| !value.is_null()) {
            return !is_true(nofailover);
        }
        let priority = match self.0.get("failover_priority") {
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::String(text)) => text.trim().parse().ok(),
            _ => None,
        };
        priority.is_none_or(|priority| priority > 0.0)
    }

    /// For people: `clonefrom`, `replicatefrom=pg1`. Those that are off are left out; bounded by
    /// [`default::SOURCE_TAGS_MAX`].
    pub fn in_words(&self) -> Vec<String> {
        let shown = self.0.iter().filter_map(|(tag, value)| match value {
            Value::Null | Value::Bool(false) => None,
            Value::Bool(true) => Some(short(tag)),
            Value::String(text) => Some(format!("{}={}", short(tag), short(text))),
            other => Some(format!("{}={}", short(tag), short(&other.to_string()))),
        });
        shown.take(default::SOURCE_TAGS_MAX).collect()
    }
}

/// Patroni's `parse_bool`.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Bool(is_true) => *is_true,
        Value::Number(number) => number.as_f64() == Some(1.0),
        Value::String(text) => {
            matches!(&*text.to_ascii_lowercase(), "on" | "true" | "yes" | "1")
        }
        _ => false,
    }
}

/// A word of somebody else, for people.
pub(super) fn short(text: &str) -> String {
    let plain = text.chars().filter(|c| !c.is_control());
    plain.take(default::SOURCE_WORD_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_as_patroni_reads_them() {
        for (tags, is_balanced, may_lead) in [
            ("{}", true, true),
            (
                r#"{"noloadbalance": true, "nofailover": true}"#,
                false,
                false,
            ),
            (
                r#"{"noloadbalance": "Yes", "nofailover": "on"}"#,
                false,
                false,
            ),
            (r#"{"noloadbalance": 1, "nofailover": 0}"#, false, true),
            (
                r#"{"noloadbalance": "no", "failover_priority": "0"}"#,
                true,
                false,
            ),
            (
                r#"{"nofailover": false, "failover_priority": 0}"#,
                true,
                true,
            ),
            (r#"{"failover_priority": -1}"#, true, false),
            (r#"{"failover_priority": 2, "clonefrom": [1]}"#, true, true),
        ] {
            let read: Tags = serde_json::from_str(tags).unwrap();
            assert_eq!(
                (read.is_balanced(), read.may_lead()),
                (is_balanced, may_lead),
                "{tags}"
            );
        }
    }

    #[test]
    fn tags_are_shown_in_bounded_words() {
        let tags = r#"{"clonefrom": true, "nosync": "true", "replicatefrom": "pg\u001b1", "nofailover": false,
            "failover_priority": 2, "nostream": null}"#;
        let read: Tags = serde_json::from_str(tags).unwrap();
        let shown = [
            "clonefrom",
            "failover_priority=2",
            "nosync=true",
            "replicatefrom=pg1",
        ];
        assert_eq!(read.in_words(), shown);
        let many: BTreeMap<_, _> = (0..100)
            .map(|number| (format!("{number:03}{}", "x".repeat(200)), true))
            .collect();
        let read: Tags = serde_json::from_str(&serde_json::to_string(&many).unwrap()).unwrap();
        let shown = read.in_words();
        assert_eq!(shown.len(), default::SOURCE_TAGS_MAX);
        assert_eq!(shown[0].len(), default::SOURCE_WORD_CHARS_MAX);
    }
}
