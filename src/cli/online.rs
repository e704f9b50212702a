//! `fairlead check FILE --online`: opens every certificate and asks everybody that the configuration
//! names once, from here and now. Nothing is changed and nothing is listened on.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::mpsc;

use crate::base::rng::Rng;
use crate::base::time::{self, Date};
use crate::cli::Exit;
use crate::cli::exit::complain;
use crate::cli::table::{Cell, Table, Tone, wants_colours};
use crate::config::upstream::Upstream;
use crate::config::{Config, default};
use crate::io::net::resolve::Resolver;
use crate::io::net::tls::Secrets;
use crate::io::net::tls::Speaks;
use crate::io::probe;
use crate::io::source::{self, Means};
use crate::model::address::Address;
use crate::model::source::{FailoverStep, SourceStatus, SourceWord};
use crate::server::tls::Opened;

/// So many upstreams, and of each so many endpoints, are asked at a time.
const ASKED_AT_ONCE: usize = 16;

/// What one of those asked came to.
struct Line {
    /// The listener or the upstream.
    of: String,
    asked: String,
    /// What works, or what does not.
    result: Result<String, String>,
}

/// Prints a line for each name, source and probe. [`Exit::Failed`] when one of them does not work.
pub(super) fn check(config: &Config) -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("cannot start: {error}"));
            return Exit::Failed;
        }
    };
    let lines = runtime.block_on(ask_all(config));
    let mut table = Table::new(&["OF", "ASKED", "", "ANSWER"]);
    for line in &lines {
        let (word, tone, text) = match &line.result {
            Ok(text) => ("ok", Tone::Good, text),
            Err(text) => ("failed", Tone::Bad, text),
        };
        table.row([
            line.of.as_str().into(),
            line.asked.as_str().into(),
            Cell::toned(word, tone),
            text.as_str().into(),
        ]);
    }
    let printed = crate::cli::exit::print(&table.print(wants_colours()));
    if lines.iter().any(|line| line.result.is_err()) {
        return Exit::Failed;
    }
    printed
}

async fn ask_all(config: &Config) -> Vec<Line> {
    let resolver = Arc::new(Resolver::default());
    let upstreams = config.upstreams.values().map(|upstream| {
        let resolver = Arc::clone(&resolver);
        async move { ask_upstream(upstream, resolver).await }
    });
    let mut lines: Vec<_> = open_files(config).into_iter().collect();
    let asked: Vec<_> = futures_util::stream::iter(upstreams)
        .buffered(ASKED_AT_ONCE)
        .collect()
        .await;
    lines.extend(asked.into_iter().flatten());
    lines
}

/// Opens all files, as the process does before it puts the configuration in force.
fn open_files(config: &Config) -> Option<Line> {
    let has_tls = config.upstreams.values().any(|it| it.tls.is_some());
    if config.certificates.is_empty() && !has_tls {
        return None;
    }
    Some(Line {
        of: "tls".to_owned(),
        asked: "certificates and keys".to_owned(),
        result: match Opened::open(config, &Secrets::made()) {
            Ok(opened) => ends(&opened),
            Err(error) => Err(error.to_string().replace('\n', "; ")),
        },
    })
}

/// When each certificate ends; one that has is of no use.
fn ends(opened: &Opened) -> Result<String, String> {
    let mut words = vec!["all can be used".to_owned()];
    let now = time::wall_now();
    for shown in opened.certificates() {
        let Some(ends_at) = shown.ends_at() else {
            continue;
        };
        let (name, date) = (shown.name(), Date(ends_at));
        match ends_at.duration_since(now) {
            Ok(left) => words.push(format!(
                "{name} ends in {} days ({date})",
                left.as_secs() / 86_400
            )),
            Err(_) => return Err(format!("{name} has ended on {date}: replace its files")),
        }
    }
    Ok(words.join(", "))
}

async fn ask_upstream(upstream: &Upstream, resolver: Arc<Resolver>) -> Vec<Line> {
    let mut lines = Vec::new();
    let configured = upstream.endpoints.iter();
    let mut endpoints: Vec<_> = configured.map(|it| it.address.clone()).collect();
    if upstream.source.is_some() {
        let (line, found) = ask_source(upstream, Arc::clone(&resolver)).await;
        lines.push(line);
        if endpoints.is_empty() {
            endpoints = found;
        }
    }
    let asked = endpoints.iter().map(|address| {
        let resolver = Arc::clone(&resolver);
        async move {
            Line {
                of: format!("upstream {}", upstream.name),
                asked: address.to_string(),
                result: ask_endpoint(upstream, address, &resolver).await,
            }
        }
    });
    let asked = futures_util::stream::iter(asked).buffered(ASKED_AT_ONCE);
    lines.extend(asked.collect::<Vec<_>>().await);
    lines
}

/// Resolves an endpoint and runs its probe, or makes sure of its address where it has none.
async fn ask_endpoint(
    upstream: &Upstream,
    address: &Address,
    resolver: &Resolver,
) -> Result<String, String> {
    let found = resolver.resolve(address).await;
    let socket = found.map_err(|error| error.to_string())?.socket;
    let Some(health) = &upstream.health else {
        return Ok(format!("at {socket}, no probe is configured"));
    };
    let tls = upstream.tls.as_ref();
    let tls = tls.map(|tls| (tls, Speaks::of(upstream)));
    let header = upstream.proxy_protocol;
    let mut probe = probe::build(&health.probe, socket, &address.to_string(), tls, header);
    let began_at = time::now();
    match tokio::time::timeout(health.timeout, probe.probe()).await {
        Ok(Ok(evidence)) => {
            let took = time::now().since(began_at);
            Ok(format!("{evidence} ({:.1} ms)", took.as_secs_f64() * 1e3))
        }
        Ok(Err(failure)) => Err(failure.to_string()),
        Err(_) => Err(format!("timeout: no answer within {:?}", health.timeout)),
    }
}

/// What a source has told so far.
#[derive(Default)]
struct Told {
    endpoints: Option<Vec<Address>>,
    leader: Option<Address>,
    is_paused: bool,
    /// A failover that is to come.
    scheduled: Option<String>,
    status: SourceStatus,
}

impl Told {
    fn hear(&mut self, word: SourceWord) {
        match word {
            SourceWord::Endpoints(list) => {
                self.endpoints = Some(list.into_iter().map(|it| it.address).collect());
            }
            SourceWord::Leader(word) => {
                self.leader = word.leader;
                self.is_paused = word.is_paused;
            }
            SourceWord::Status(status) => self.status = status,
            SourceWord::Failover(step) => {
                let is_to_come = matches!(step, FailoverStep::Scheduled { .. });
                self.scheduled = is_to_come.then(|| step.to_string());
            }
        }
    }

    fn is_whole(&self) -> bool {
        self.status.has_say && self.status.up == self.status.of && self.endpoints.is_some()
    }

    fn result(&self) -> Result<String, String> {
        let (up, of) = (self.status.up, self.status.of);
        let trouble = self.status.trouble.as_deref();
        let trouble = trouble.map_or_else(String::new, |trouble| format!("; {trouble}"));
        let Some(endpoints) = self.endpoints.as_ref().filter(|_| self.status.has_say) else {
            return Err(format!("{up} of {of} answer, too few to count{trouble}"));
        };
        let leader = match &self.leader {
            Some(leader) => format!("the primary is {leader}"),
            None => "it names no primary".to_owned(),
        };
        let count = endpoints.len();
        let mut text = format!("{up} of {of} answer; {leader}; it lists {count}");
        if self.is_paused {
            text.push_str("; it is paused: nothing fails over by itself");
        }
        if let Some(scheduled) = &self.scheduled {
            text.push_str("; ");
            text.push_str(scheduled);
        }
        Ok(text + &trouble)
    }
}

/// Runs the source until it has told everything, or until it has had time enough.
async fn ask_source(upstream: &Upstream, resolver: Arc<Resolver>) -> (Line, Vec<Address>) {
    let mut told = Told::default();
    let mut name = "source";
    if let Some(config) = &upstream.source {
        name = config.as_str();
        let (reports, mut heard) = mpsc::channel(default::SOURCE_QUEUE);
        let rng = Rng::from_entropy();
        let running = source::run_forever(
            config.clone(),
            Means { resolver, rng },
            Arc::default(),
            reports,
        );
        let hearing = async {
            while !told.is_whole()
                && let Some(report) = heard.recv().await
            {
                told.hear(report.word);
            }
        };
        let wait: Duration = default::ONLINE_SOURCE_WAIT;
        tokio::select! {
            () = running => {}
            () = hearing => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
    let line = Line {
        of: format!("upstream {}", upstream.name),
        asked: format!("source {name}"),
        result: told.result(),
    };
    (line, told.endpoints.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::source::LeaderWord;

    #[test]
    fn a_source_works_when_enough_answer_and_it_lists_endpoints() {
        let mut told = Told::default();
        let status = |up, has_say| {
            SourceWord::Status(SourceStatus {
                up,
                of: 3,
                has_say,
                trouble: (up < 3).then(|| "s3:1: refused".to_owned()),
                ..SourceStatus::default()
            })
        };
        told.hear(status(1, false));
        let failed = "1 of 3 answer, too few to count; s3:1: refused";
        assert_eq!(told.result(), Err(failed.to_owned()));
        told.hear(SourceWord::Endpoints(Vec::new()));
        told.hear(SourceWord::Leader(LeaderWord {
            leader: Some("a:1".parse().unwrap()),
            term: 1,
            is_paused: false,
        }));
        told.hear(status(2, true));
        let works = "2 of 3 answer; the primary is a:1; it lists 0; s3:1: refused";
        assert_eq!(told.result(), Ok(works.to_owned()));
        assert!(!told.is_whole());
        told.hear(status(3, true));
        assert!(told.is_whole());
        told.hear(SourceWord::Leader(LeaderWord {
            leader: Some("a:1".parse().unwrap()),
            term: 2,
            is_paused: true,
        }));
        told.hear(SourceWord::Failover(FailoverStep::Scheduled {
            at: time::Date(std::time::UNIX_EPOCH),
            candidate: None,
        }));
        let works = "3 of 3 answer; the primary is a:1; it lists 0; it is paused: nothing fails over by itself; \
                     a failover is scheduled for 1970-01-01T00:00:00.000Z";
        assert_eq!(told.result(), Ok(works.to_owned()));
    }
}
