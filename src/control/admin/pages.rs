//! The shapes of the API, written by the process and read by the command line.
//!
//! Times are RFC 3339 in UTC, durations are seconds, lists are `{"items": […]}`. Fields are added,
//! never renamed: scripts read these.

use serde::{Deserialize, Serialize};

use crate::config::diff::Diff;
use crate::config::problem::Problem;
use crate::model::name::Name;

/// A list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Items<T> {
    /// Its entries.
    pub items: Vec<T>,
}

/// `/api/v1/status`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusPage {
    /// Of the program.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Since the process began.
    pub uptime_seconds: f64,
    /// Of the configuration; rises with every applied reload.
    pub generation: u64,
    /// Whether `/readyz` says 200.
    pub is_ready: bool,
    /// Whether a drain has begun.
    pub is_draining: bool,
    /// Data-plane threads.
    pub worker_threads: usize,
    /// Open client connections.
    pub connections: u64,
    /// How many there are.
    pub listeners: usize,
    /// How many there are.
    pub routes: usize,
    /// Every upstream with its state.
    pub upstreams: Vec<UpstreamLine>,
    /// What someone should look at, in words.
    pub warnings: Vec<String>,
}

/// An upstream in the status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpstreamLine {
    /// Its name.
    pub name: String,
    /// See [`UpstreamPage::state`].
    pub state: String,
    /// Endpoints that may take traffic.
    pub eligible: usize,
    /// All endpoints.
    pub endpoints: usize,
    /// The verified primary, in an upstream with roles.
    pub primary: Option<String>,
}

/// `/api/v1/upstreams/NAME`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpstreamPage {
    /// Its name.
    pub name: String,
    /// `http`, `tcp`, `postgres` or `redis`.
    pub kind: String,
    /// The balancing policy.
    pub balance: String,
    /// Of its snapshot; rises with every change.
    pub generation: u64,
    /// `serving`, `starting`, `split_brain`, `take_back`, `suspended`, `no_primary` or `no_eligible_endpoint`.
    pub state: String,
    /// The verified primary; null without one and where there are no roles.
    pub primary: Option<PrimaryPage>,
    /// The newest epoch seen: anything older is fenced. Null where there are no roles.
    pub fence_epoch: Option<u64>,
    /// The last known primary while there is none.
    pub last_primary: Option<String>,
    /// Two endpoints claim to be primary in the same epoch.
    pub is_split_brain: bool,
    /// Nothing new goes to the primary for a while; null otherwise.
    #[serde(default)]
    pub suspension: Option<SuspensionPage>,
    /// What tells it about its endpoints besides they themselves; null where nothing does.
    #[serde(default)]
    pub source: Option<SourcePage>,
    /// Clients that wait for an eligible endpoint.
    pub held_connections: u64,
    /// In configured order.
    pub endpoints: Vec<EndpointPage>,
}

/// The verified primary of an upstream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PrimaryPage {
    /// `host:port`.
    pub endpoint: String,
    /// Its epoch.
    pub epoch: u64,
    /// Since when it is primary.
    pub since: String,
    /// How long ago it last said so itself.
    pub evidence_age_seconds: Option<f64>,
}

/// Nothing new goes to the primary, and what its sessions say stands still.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SuspensionPage {
    /// `failover` (a manager's), `pause` or `switch` (an operator's).
    pub cause: String,
    /// Since when.
    pub since: String,
    /// It ends by itself then.
    pub until: String,
    /// The same, from now.
    pub seconds_left: f64,
    /// Who is expected to become primary.
    pub candidate: Option<String>,
}

/// The source of an upstream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourcePage {
    /// `patroni`, `sentinel` or `redis_cluster`.
    pub kind: String,
    /// Of those it asks, how many answer.
    pub up: usize,
    /// How many it asks.
    pub of: usize,
    /// Enough answer for its word to count.
    pub has_say: bool,
    /// Whom it names as primary.
    pub leader: Option<String>,
    /// The manager is told not to act (Patroni's pause).
    pub is_paused: bool,
    /// When it last said anything; null before the first word.
    pub last_success: Option<String>,
    /// How long ago that was.
    pub age_seconds: Option<f64>,
    /// What is wrong with those that do not answer.
    pub trouble: Option<String>,
    /// A failover that the manager is to begin later; null without one.
    #[serde(default)]
    pub scheduled: Option<ScheduledPage>,
}

/// A failover that is to begin later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScheduledPage {
    /// When.
    pub at: String,
    /// The same, from now; 0 when the time has come.
    pub seconds_left: f64,
    /// Who is to become primary; null where the manager picks.
    pub candidate: Option<String>,
}

/// What the manager says of an endpoint. Nothing is decided by it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToldPage {
    /// What it calls it.
    pub name: String,
    /// How it is, in the manager's word: `running`, `streaming`, `start failed`.
    pub state: Option<String>,
    /// `sync` or `quorum` where commits of the primary wait for it; null where not.
    pub sync: Option<String>,
    /// A changed setting waits for a restart.
    pub needs_restart: bool,
    /// Its tags, as `tag` or `tag=value`.
    pub tags: Vec<String>,
}

/// Body of `POST …/primary`: the endpoint is primary now; ask it, and believe it if it says so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrimaryOrder {
    /// `host:port`.
    pub endpoint: String,
    /// Refused unless this is newer than the fence.
    #[serde(default)]
    pub epoch: Option<u64>,
    /// Take the fence back to what the endpoint says of itself: what a newer history has
    /// acknowledged is lost.
    #[serde(default)]
    pub force: bool,
}

/// Body of `POST …/pause`: hold new sessions, let running transactions end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PauseOrder {
    /// It ends by itself then; 30 where it is left out.
    #[serde(default)]
    pub for_seconds: Option<f64>,
    /// Transactions may go on this long; 5 where it is left out.
    #[serde(default)]
    pub grace_seconds: Option<f64>,
}

/// Body of `POST …/switch`: a pause that ends when another primary is verified.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchOrder {
    /// Who is expected; anybody where it is left out.
    #[serde(default)]
    pub to: Option<String>,
    /// It ends by itself then; 60 where it is left out.
    #[serde(default)]
    pub for_seconds: Option<f64>,
    /// Transactions may go on this long; 5 where it is left out.
    #[serde(default)]
    pub grace_seconds: Option<f64>,
}

/// One endpoint of an upstream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointPage {
    /// `host:port`.
    pub id: String,
    /// `primary`, `replica` or `unknown`; null where there are no roles.
    pub role: Option<String>,
    /// The epoch it claims.
    pub epoch: Option<u64>,
    /// `healthy`, `unhealthy` or `unknown`.
    pub health: String,
    /// Whether it may take traffic.
    pub eligible: bool,
    /// Why it may not; empty when it may.
    pub reasons: Vec<String>,
    /// More words for a reason.
    pub why: Option<String>,
    /// Exchanges and sessions that run on it.
    pub in_flight: u32,
    /// Peak EWMA; null before the first answer.
    pub latency_ewma_seconds: Option<f64>,
    /// Behind the primary by this much; null for a primary and where it is not known.
    #[serde(default)]
    pub lag_bytes: Option<u64>,
    /// Age of the oldest write it lacks, as far as is known; 0 when it lacks none.
    #[serde(default)]
    pub lag_seconds: Option<f64>,
    /// Its weight; 0 drains it.
    pub weight: u32,
    /// What the source says of it; null where it says nothing but its address.
    #[serde(default)]
    pub told: Option<ToldPage>,
    /// Since when health, role and reasons are as they are.
    pub since: String,
    /// The last probe; null before the first and without probes.
    pub last_probe: Option<ProbePage>,
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbePage {
    /// Whether it succeeded.
    pub ok: bool,
    /// How long it took.
    pub took_seconds: f64,
    /// What it saw, or why it failed.
    pub detail: String,
    /// How long ago it began.
    pub age_seconds: f64,
}

/// `/api/v1/listeners`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListenerPage {
    /// Its name.
    pub name: String,
    /// `http`, `tcp`, `postgres` or `redis`.
    pub kind: String,
    /// The addresses it is bound to.
    pub bind: Vec<String>,
    /// Where it sends what no route takes.
    pub upstream: Option<String>,
    /// Which endpoints; null for `http`.
    pub role: Option<String>,
    /// Open client connections.
    pub connections: u64,
    /// Its limit.
    pub max_connections: usize,
}

/// One entry of `/api/v1/events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventPage {
    /// When it was decided.
    pub at: String,
    /// Where it happened.
    pub upstream: String,
    /// One of few words, such as `primary_changed`.
    pub kind: String,
    /// The endpoint concerned.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub endpoint: Option<String>,
    /// Before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<String>,
    /// After.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to: Option<String>,
    /// The newest epoch seen.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub epoch: Option<u64>,
    /// How long there was no primary.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub without_primary_seconds: Option<f64>,
    /// How long a suspension lasted that is over.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lasted_seconds: Option<f64>,
    /// The whole of it in one sentence.
    pub text: String,
}

/// A reload was applied.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ReloadPage {
    /// Of the configuration now in force.
    pub generation: u64,
    /// `listeners.web`, `upstreams.l01` …
    pub added: Vec<String>,
    /// What is gone.
    pub removed: Vec<String>,
    /// What is different.
    pub changed: Vec<String>,
    /// What only a restart will change.
    pub needs_restart: Vec<String>,
}

/// An error of the API (RFC 9457).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProblemPage {
    /// `about:blank`: the status says it all.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// One word for programs.
    pub code: String,
    /// What to do about it.
    pub detail: String,
    /// Problems of a refused configuration.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub errors: Vec<RefusedProblem>,
}

/// One problem of a refused configuration.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RefusedProblem {
    /// One word for programs.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// Where, as given on the command line.
    pub file: Option<String>,
    /// From 1.
    pub line: Option<usize>,
    /// From 1.
    pub column: Option<usize>,
    /// What to write instead.
    pub help: Option<String>,
}

impl ReloadPage {
    /// What a reload to `generation` changed: tables that came and went, keys that differ.
    pub fn of(generation: u64, diff: &Diff) -> ReloadPage {
        let mut page = ReloadPage {
            generation,
            changed: diff.process.iter().map(|one| one.key.clone()).collect(),
            ..ReloadPage::default()
        };
        for (kind, changes) in [
            ("listeners", &diff.listeners),
            ("routes", &diff.routes),
            ("upstreams", &diff.upstreams),
        ] {
            let named = |name: &Name| format!("{kind}.{name}");
            page.added.extend(changes.added.iter().map(named));
            page.removed.extend(changes.removed.iter().map(named));
            for (name, keys) in &changes.changed {
                let keys = keys.iter().map(|one| format!("{kind}.{name}: {}", one.key));
                page.changed.extend(keys);
            }
        }
        page
    }
}

impl From<&Problem> for RefusedProblem {
    fn from(problem: &Problem) -> RefusedProblem {
        RefusedProblem {
            code: problem.code.to_owned(),
            message: problem.message.clone(),
            file: Some(problem.file.to_string()),
            line: Some(problem.line),
            column: Some(problem.column),
            help: problem.help.clone(),
        }
    }
}
