//! The JSON gateway of etcd v3 (etcd.io, "gRPC gateway"): what is asked, and what the answers mean.
//! Pure; `follow` does the asking.
//!
//! Keys and values are base64, 64-bit numbers are strings, and what has its default value is left
//! out: a change without a `type` is a PUT, a key without a `value` is empty.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::io::source::patroni::rest::{NotPatroni, not_json};

/// All keys under a prefix as they were at one revision of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Which etcd this is: revisions of another one count from elsewhere.
    pub store: u64,
    /// The revision of the store when it was read.
    pub revision: u64,
    /// The keys.
    pub entries: Vec<Entry>,
}

/// One key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The whole key.
    pub key: String,
    /// Its value; bytes that are not UTF-8 are replaced.
    pub value: String,
    /// The revision it was last written at.
    pub revision: u64,
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was written.
    Put(Entry),
    /// It is gone: deleted, or its lease ran out.
    Delete {
        /// The whole key.
        key: String,
        /// The revision it went at.
        revision: u64,
    },
}

impl Change {
    /// The revision it was made at.
    pub fn revision(&self) -> u64 {
        match self {
            Change::Put(entry) => entry.revision,
            Change::Delete { revision, .. } => *revision,
        }
    }
}

/// What one line of a watch says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchLine {
    /// The watch is on (or etcd says that it still is).
    Quiet,
    /// Changes, in the order they were made.
    Changes(Vec<Change>),
    /// It has ended, and why: the revision it was to begin at is gone, or rights are missing.
    Canceled(String),
}

/// Why etcd did not do what it was asked, for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EtcdError {
    /// It did not answer.
    #[error("{0}")]
    Unheard(String),
    /// It wants a login, or a new one.
    #[error("etcd wants a login: {0}")]
    Login(String),
    /// It says no.
    #[error("etcd says: {0}")]
    Refused(String),
    /// It says something else.
    #[error("not an answer of etcd's JSON gateway: {0}")]
    Strange(String),
}

impl From<NotPatroni> for EtcdError {
    fn from(error: NotPatroni) -> EtcdError {
        EtcdError::Strange(error.0)
    }
}

/// The body of `/v3/kv/range` for every key that begins with `prefix`.
pub fn ask_prefix(prefix: &str) -> Vec<u8> {
    let (key, range_end) = range(prefix);
    json!({ "key": key, "range_end": range_end })
        .to_string()
        .into_bytes()
}

/// The body of `/v3/watch` for every key that begins with `prefix`, from that revision on.
pub fn ask_watch(prefix: &str, from: u64) -> Vec<u8> {
    let (key, range_end) = range(prefix);
    let request = json!({ "key": key, "range_end": range_end, "start_revision": from.to_string() });
    json!({ "create_request": request })
        .to_string()
        .into_bytes()
}

/// The body of `/v3/auth/authenticate`.
pub fn ask_token(user: &str, password: &str) -> Vec<u8> {
    json!({ "name": user, "password": password })
        .to_string()
        .into_bytes()
}

/// A prefix as etcd wants it: from the prefix itself up to, but not including, the first key behind
/// all that begin with it.
fn range(prefix: &str) -> (String, String) {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            break;
        }
    }
    if end.is_empty() {
        end.push(0); // everything there is
    }
    (STANDARD.encode(prefix), STANDARD.encode(end))
}

#[derive(Deserialize)]
struct Range {
    header: Header,
    #[serde(default)]
    kvs: Vec<KeyValue>,
}

#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    cluster_id: Number,
    #[serde(default)]
    revision: Number,
}

#[derive(Deserialize)]
struct KeyValue {
    key: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    mod_revision: Number,
}

/// A 64-bit number, which the gateway writes as a string; newer ones may not.
#[derive(Deserialize, Default)]
#[serde(from = "Value")]
struct Number(u64);

impl From<Value> for Number {
    fn from(value: Value) -> Number {
        let number = match &value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        Number(number.unwrap_or(0))
    }
}

/// Reads the answer to [`ask_prefix`].
///
/// # Errors
/// When it is not one.
pub fn read_listing(body: &[u8]) -> Result<Listing, EtcdError> {
    let range: Range = serde_json::from_slice(body).map_err(|error| not_json(&error))?;
    if range.header.revision.0 == 0 {
        return Err(EtcdError::Strange("it has no revision".to_owned()));
    }
    Ok(Listing {
        store: range.header.cluster_id.0,
        revision: range.header.revision.0,
        entries: range.kvs.into_iter().map(entry).collect::<Result<_, _>>()?,
    })
}

fn entry(kv: KeyValue) -> Result<Entry, EtcdError> {
    Ok(Entry {
        key: decoded(&kv.key)?,
        value: decoded(&kv.value)?,
        revision: kv.mod_revision.0,
    })
}

fn decoded(text: &str) -> Result<String, EtcdError> {
    let bytes = STANDARD.decode(text);
    let bytes = bytes.map_err(|_| EtcdError::Strange("a key or value is not base64".to_owned()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[derive(Deserialize)]
struct Watched {
    result: Option<WatchResult>,
    error: Option<Refusal>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WatchResult {
    canceled: bool,
    compact_revision: Number,
    cancel_reason: String,
    events: Vec<WatchEvent>,
}

#[derive(Deserialize)]
struct WatchEvent {
    #[serde(default, rename = "type")]
    kind: String,
    kv: KeyValue,
}

/// Etcd's own words; the codes are gRPC's.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Refusal {
    code: Number,
    grpc_code: Number,
    message: String,
    error: Value,
}

/// Reads one line of the answer to [`ask_watch`].
///
/// # Errors
/// When it is not one, or says that the watch cannot be.
pub fn read_watch(line: &[u8]) -> Result<WatchLine, EtcdError> {
    let watched: Watched = serde_json::from_slice(line).map_err(|error| not_json(&error))?;
    if let Some(refusal) = watched.error {
        return Err(refused(&refusal));
    }
    let Some(result) = watched.result else {
        return Err(EtcdError::Strange(
            "a line of a watch without a result".to_owned(),
        ));
    };
    if result.canceled || result.compact_revision.0 > 0 {
        let why = match result.compact_revision.0 {
            0 => bounded(&result.cancel_reason),
            compacted => format!("everything before revision {compacted} is compacted"),
        };
        return Ok(WatchLine::Canceled(why));
    }
    let changes: Vec<Change> = result
        .events
        .into_iter()
        .map(change)
        .collect::<Result<_, _>>()?;
    Ok(if changes.is_empty() {
        WatchLine::Quiet
    } else {
        WatchLine::Changes(changes)
    })
}

fn change(event: WatchEvent) -> Result<Change, EtcdError> {
    let entry = entry(event.kv)?;
    if entry.revision == 0 {
        return Err(EtcdError::Strange("a change without a revision".to_owned()));
    }
    match &*event.kind {
        "" | "PUT" => Ok(Change::Put(entry)),
        "DELETE" => Ok(Change::Delete {
            key: entry.key,
            revision: entry.revision,
        }),
        _ => Err(EtcdError::Strange("a change of an unknown type".to_owned())),
    }
}

/// Reads the answer to [`ask_token`].
///
/// # Errors
/// When there is no token in it.
pub fn read_token(body: &[u8]) -> Result<String, EtcdError> {
    #[derive(Deserialize)]
    struct Token {
        token: String,
    }
    let token: Token = serde_json::from_slice(body).map_err(|error| not_json(&error))?;
    let is_clean = !token.token.is_empty() && token.token.bytes().all(|b| b.is_ascii_graphic());
    if is_clean {
        Ok(token.token)
    } else {
        Err(EtcdError::Strange("the token is not one".to_owned()))
    }
}

/// What an answer with another status than 200 says.
pub fn read_refusal(status: u16, body: &[u8]) -> EtcdError {
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) if refusal.message.is_empty() && refusal.error.is_null() => {
            EtcdError::Strange(format!("status {status}"))
        }
        Ok(refusal) => refused(&refusal),
        Err(_) => EtcdError::Strange(format!("status {status}")),
    }
}

fn refused(refusal: &Refusal) -> EtcdError {
    let message = match (&refusal.message, &refusal.error) {
        (message, Value::String(error)) if message.is_empty() => error,
        (message, _) => message,
    };
    let message = bounded(message);
    let code = refusal.code.0.max(refusal.grpc_code.0);
    // 16 is "unauthenticated"; a call without any token gets 3 ("invalid argument") and these words.
    let is_login = code == 16 || message.contains("user name is empty");
    if is_login {
        EtcdError::Login(message)
    } else {
        EtcdError::Refused(message)
    }
}

/// Words of somebody else, for a log.
fn bounded(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_becomes_a_range() {
        for (prefix, end) in [("/service/it/", "/service/it0"), ("a", "b"), ("", "\0")] {
            let (key, range_end) = range(prefix);
            assert_eq!(decoded(&key).unwrap(), prefix);
            assert_eq!(decoded(&range_end).unwrap(), end);
        }
        let body = String::from_utf8(ask_watch("a", 7)).unwrap();
        let wanted = r#"{"create_request":{"key":"YQ==","range_end":"Yg==","start_revision":"7"}}"#;
        assert_eq!(body, wanted);
    }

    #[test]
    fn a_listing_is_read() {
        let body = br#"{"header":{"cluster_id":"14841639068965178418","revision":"9","raft_term":"2"},
            "kvs":[{"key":"L2xlYWRlcg==","create_revision":"5","mod_revision":"7","value":"cGcx","lease":"1"},
                   {"key":"L2VtcHR5","mod_revision":8}],"count":"2"}"#;
        let listing = read_listing(body).unwrap();
        assert_eq!(
            (listing.store, listing.revision),
            (14_841_639_068_965_178_418, 9)
        );
        let seen: Vec<_> = listing
            .entries
            .iter()
            .map(|entry| (&*entry.key, &*entry.value, entry.revision))
            .collect();
        assert_eq!(seen, [("/leader", "pg1", 7), ("/empty", "", 8)]);
        let nothing = read_listing(br#"{"header":{"revision":"1"}}"#).unwrap();
        assert!(nothing.entries.is_empty());
        for body in [
            "{}",
            "[]",
            r#"{"header":{}}"#,
            r#"{"header":{"revision":"x"}}"#,
        ] {
            assert!(matches!(
                read_listing(body.as_bytes()),
                Err(EtcdError::Strange(_))
            ));
        }
    }

    #[test]
    fn lines_of_a_watch_are_read() {
        let quiet = br#"{"result":{"header":{"revision":"5"},"created":true}}"#;
        assert_eq!(read_watch(quiet), Ok(WatchLine::Quiet));
        let line = br#"{"result":{"header":{"revision":"9"},"events":[
            {"kv":{"key":"YQ==","mod_revision":"8","value":"Yg=="}},
            {"type":"DELETE","kv":{"key":"YQ==","mod_revision":"9"}}]}}"#;
        let put = Entry {
            key: "a".to_owned(),
            value: "b".to_owned(),
            revision: 8,
        };
        let delete = Change::Delete {
            key: "a".to_owned(),
            revision: 9,
        };
        let changes = vec![Change::Put(put), delete];
        assert_eq!(read_watch(line), Ok(WatchLine::Changes(changes)));
        let compacted = br#"{"result":{"canceled":true,"compact_revision":"7"}}"#;
        assert_eq!(
            read_watch(compacted),
            Ok(WatchLine::Canceled(
                "everything before revision 7 is compacted".to_owned()
            ))
        );
        for (line, is_login) in [
            (
                r#"{"error":{"grpc_code":16,"http_code":401,"message":"invalid auth token"}}"#,
                true,
            ),
            (
                r#"{"error":{"grpc_code":14,"message":"leader changed"}}"#,
                false,
            ),
        ] {
            let error = read_watch(line.as_bytes()).unwrap_err();
            assert_eq!(matches!(error, EtcdError::Login(_)), is_login, "{error}");
        }
        for line in [
            "{}",
            "",
            r#"{"result":{"events":[{"kv":{"key":"YQ=="}}]}}"#,
            r#"{"result":{"events":[{"type":"MOVE","kv":{"key":"YQ==","mod_revision":"1"}}]}}"#,
            r#"{"result":{"events":[{"kv":{"key":"*","mod_revision":"1"}}]}}"#,
        ] {
            let error = read_watch(line.as_bytes()).unwrap_err();
            assert!(matches!(error, EtcdError::Strange(_)), "{line}: {error}");
        }
    }

    #[test]
    fn refusals_are_told_in_bounded_words() {
        let long = format!(r#"{{"code":7,"message":"{}"}}"#, "x".repeat(1000));
        assert!(read_refusal(403, long.as_bytes()).to_string().len() < 250);
        for (status, body, words) in [
            (
                401,
                r#"{"error":"etcdserver: invalid auth token","code":16}"#,
                "etcd wants a login: ",
            ),
            (
                400,
                r#"{"error":"x","code":3,"message":"etcdserver: user name is empty"}"#,
                "etcd wants a login",
            ),
            (
                403,
                r#"{"code":7,"message":"etcdserver: permission denied"}"#,
                "etcd says: etcdserver: permission denied",
            ),
            (404, "404 page not found", "status 404"),
            (503, "{}", "status 503"),
        ] {
            let error = read_refusal(status, body.as_bytes()).to_string();
            assert!(error.contains(words), "{error}");
        }
        assert_eq!(read_token(br#"{"token":"abc.7"}"#), Ok("abc.7".to_owned()));
        assert!(read_token(br#"{"token":"a\r\nb: c"}"#).is_err());
    }
}
