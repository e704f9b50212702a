//! What a Sentinel answers when it is polled. Pure: replies in, a statement or a complaint out.

use std::collections::HashMap;

use crate::base::time::Time;
use crate::io::resp::Reply;
use crate::io::source::redis_link::refusal;
use crate::model::address::Address;
use crate::model::source::{ListedEndpoint, Remark};
use crate::policy::quorum::Statement;

/// The questions whose answers [`statement`] reads. The address is asked for besides the rest because
/// it is the promoted replica's as soon as that one leads, `+switch-master` or not (Sentinel's
/// `sentinelGetCurrentMasterAddress`).
pub(super) fn questions(name: &str) -> [[&str; 3]; 3] {
    [
        ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name],
        ["SENTINEL", "MASTER", name],
        ["SENTINEL", "REPLICAS", name],
    ]
}

/// The statement in the replies to [`questions`] and `INFO`, asked at that moment of the Sentinel
/// that is called `ours` here.
///
/// # Errors
/// What is wrong with them, for people.
pub(super) fn statement(
    replies: &[Reply],
    asked_at: Time,
    ours: &str,
) -> Result<Statement, String> {
    let [address, master, replicas, info] = replies else {
        return Err("another number of answers than questions".to_owned());
    };
    let info = match info {
        Reply::Bulk(text) => text,
        other => return Err(unexpected("INFO", other)),
    };
    let told = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    };
    let Some(tilt) = told("sentinel_tilt") else {
        return Err("this is no Sentinel".to_owned());
    };
    let leader = match address {
        Reply::Array(parts) => match parts.as_slice() {
            [host, port] => endpoint(host.text(), port.text()),
            _ => None,
        },
        Reply::Nil => return Err("it does not know the primary by this name".to_owned()),
        other => return Err(unexpected("SENTINEL GET-MASTER-ADDR-BY-NAME", other)),
    };
    let leader = leader.ok_or("it names a primary without an address")?;
    let fields = match master {
        Reply::Array(parts) => fields(parts),
        other => return Err(unexpected("SENTINEL MASTER", other)),
    };
    let number = |name: &str| fields.get(name).and_then(|text| text.parse::<u64>().ok());
    let replicas = match replicas {
        Reply::Array(replicas) => replicas.iter().filter_map(listed).collect(),
        other => return Err(unexpected("SENTINEL REPLICAS", other)),
    };
    Ok(Statement {
        asked_at,
        identity: told("run_id").unwrap_or(ours).trim().to_owned(),
        leader,
        epoch: number("config-epoch").ok_or("it tells no config-epoch")?,
        quorum: number("quorum")
            .and_then(|quorum| usize::try_from(quorum).ok())
            .ok_or("it tells no quorum")?,
        is_tilted: tilt.trim() != "0",
        replicas,
    })
}

/// One replica as `SENTINEL REPLICAS` lists it, also one that is down; `None` for nonsense.
fn listed(reply: &Reply) -> Option<ListedEndpoint> {
    let Reply::Array(parts) = reply else {
        return None;
    };
    let fields = fields(parts);
    let address = endpoint(fields.get("ip").copied(), fields.get("port").copied())?;
    Some(ListedEndpoint {
        name: address.to_string(),
        address,
        // `replica-announced no`: not to be shown to clients.
        is_balanced: fields.get("replica-announced") != Some(&"0"),
        may_lead: fields.get("slave-priority") != Some(&"0"),
        remark: Remark::default(),
    })
}

/// An address as Sentinel writes it: the host and the port apart, IPv6 without brackets.
pub(super) fn endpoint(host: Option<&str>, port: Option<&str>) -> Option<Address> {
    let (host, port) = (host?, port?);
    let text = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    text.parse().ok()
}

/// The names and values of a flat list.
fn fields(parts: &[Reply]) -> HashMap<&str, &str> {
    parts
        .as_chunks()
        .0
        .iter()
        .filter_map(|[name, value]| Some((name.text()?, value.text()?)))
        .collect()
}

fn unexpected(question: &str, reply: &Reply) -> String {
    match reply {
        Reply::Error(error) => refusal(error),
        _ => format!("{question} was answered by something else"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Reply {
        let words = text.split_whitespace();
        Reply::Array(words.map(|word| Reply::Bulk(word.to_owned())).collect())
    }

    fn info(tilt: &str) -> Reply {
        Reply::Bulk(format!(
            "# Server\r\nrun_id:abc\r\n# Sentinel\r\nsentinel_tilt:{tilt}\r\n"
        ))
    }

    const MASTER: &str = "name m ip 10.0.0.1 port 6379 flags master config-epoch 7 quorum 2";

    #[test]
    fn answers_become_a_statement() {
        let replicas = Reply::Array(vec![
            list(
                "name 10.0.0.2:6379 ip 10.0.0.2 port 6379 flags slave slave-priority 100 replica-announced 1",
            ),
            list("ip redis-3.internal port 6379 flags s_down,slave slave-priority 0"),
            list("ip fd00::4 port 6379 replica-announced 0"),
            list("ip 10.0.0.5 port 0"),
            Reply::Nil,
        ]);
        let replies = [list("10.0.0.1 6379"), list(MASTER), replicas, info("1")];
        let told = statement(&replies, Time::from_millis(5), "s1").unwrap();
        assert_eq!((told.epoch, told.quorum, told.is_tilted), (7, 2, true));
        assert_eq!(
            (told.identity.as_str(), told.leader.to_string().as_str()),
            ("abc", "10.0.0.1:6379")
        );
        let replicas: Vec<_> = told
            .replicas
            .iter()
            .map(|r| (r.address.to_string(), r.may_lead, r.is_balanced))
            .collect();
        let expected = [
            ("10.0.0.2:6379", true, true),
            ("redis-3.internal:6379", false, true),
            ("[fd00::4]:6379", true, false),
        ];
        assert_eq!(
            replicas,
            expected.map(|(text, a, b)| (text.to_owned(), a, b))
        );
    }

    #[test]
    fn other_answers_say_what_is_wrong() {
        let error = |text: &str| Reply::Error(text.to_owned());
        let none = || Reply::Array(Vec::new());
        for (replies, complaint) in [
            (
                [
                    Reply::Nil,
                    error("ERR No such master with that name"),
                    none(),
                    info("0"),
                ],
                "it does not know the primary by this name",
            ),
            (
                [
                    error("NOAUTH Authentication required."),
                    none(),
                    none(),
                    info("0"),
                ],
                "it answered: NOAUTH Authentication required.",
            ),
            (
                [list("a 1"), list("quorum 2"), none(), info("0")],
                "it tells no config-epoch",
            ),
            (
                [
                    list("a 1"),
                    list(MASTER),
                    none(),
                    Reply::Bulk("run_id:x".into()),
                ],
                "this is no Sentinel",
            ),
            (
                [list("a 99999"), list(MASTER), none(), info("0")],
                "it names a primary without an address",
            ),
            (
                [list("a 1"), list(MASTER), Reply::Integer(1), info("0")],
                "SENTINEL REPLICAS was answered by something else",
            ),
        ] {
            assert_eq!(statement(&replies, Time::ZERO, "s").unwrap_err(), complaint);
        }
    }
}
