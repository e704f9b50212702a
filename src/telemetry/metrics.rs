//! The registry: gives out handles by name, and prints everything when somebody scrapes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use prometheus::core::Collector as _;
use prometheus::process_collector::ProcessCollector;
use prometheus::{Encoder as _, TextEncoder};

use crate::base::task::Tasks;
use crate::base::time::{since_epoch, wall_now};
use crate::model::name::Name;
use crate::model::strain::Strain;
use crate::telemetry::families::Families;
use crate::telemetry::handles::{ListenerCounts, RouteCounts, UpstreamCounts};
use crate::telemetry::local::Tally;
use crate::telemetry::reading::UpstreamReading;

/// The `Content-Type` of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that is counted. One per process.
#[derive(Debug)]
pub struct Metrics {
    copies: usize,
    given: Mutex<Given>,
    certificates: Mutex<Vec<(Name, SystemTime)>>,
    tasks: Tasks,
    pub(crate) process: ProcessCounts,
    /// What the process is short of.
    pub strain: Arc<Strain>,
}

/// The handles that somebody still holds.
#[derive(Debug, Default)]
struct Given {
    listeners: BTreeMap<Name, Weak<ListenerCounts>>,
    routes: BTreeMap<(Name, Name), Weak<RouteCounts>>,
    upstreams: BTreeMap<Name, Weak<UpstreamCounts>>,
}

/// Counts of the process as a whole.
#[derive(Debug, Default)]
pub(crate) struct ProcessCounts {
    pub(crate) generation: Tally,
    pub(crate) is_last_reload_successful: Tally,
    pub(crate) last_success_seconds: Tally,
    pub(crate) reloads_applied: Tally,
    pub(crate) reloads_refused: Tally,
    pub(crate) log_dropped: Arc<Tally>,
    pub(crate) cancel_keys_refused: Arc<Tally>,
}

/// Finds the living handle of a name, or makes one. Forgets the dead on the way.
fn handle<K: Ord + Clone, T>(
    given: &mut BTreeMap<K, Weak<T>>,
    key: &K,
    make: impl FnOnce() -> T,
) -> Arc<T> {
    if let Some(living) = given.get(key).and_then(Weak::upgrade) {
        return living;
    }
    given.retain(|_, handle| handle.strong_count() > 0);
    let made = Arc::new(make());
    given.insert(key.clone(), Arc::downgrade(&made));
    made
}

impl Metrics {
    /// For so many workers; `tasks` is the family whose panics are shown.
    pub fn new(workers: usize, tasks: Tasks) -> Metrics {
        Metrics {
            // One more than workers: an acceptor thread counts too.
            copies: workers.saturating_add(1),
            given: Mutex::default(),
            certificates: Mutex::default(),
            tasks,
            process: ProcessCounts::default(),
            strain: Arc::default(),
        }
    }

    /// The handle of a listener. Ask for it before the old configuration is let go: a handle that
    /// somebody holds is found again, and counts on.
    pub fn listener(&self, listener: &Name) -> Arc<ListenerCounts> {
        handle(&mut self.given().listeners, listener, || {
            ListenerCounts::new(listener.clone(), self.copies)
        })
    }

    /// The handle of a route on a listener; `route` is [`crate::telemetry::catalog::NO_ROUTE`] for
    /// exchanges that no route took.
    pub fn route(&self, listener: &Name, route: &Name) -> Arc<RouteCounts> {
        let key = (listener.clone(), route.clone());
        handle(&mut self.given().routes, &key, || {
            RouteCounts::new(listener.clone(), route.clone(), self.copies)
        })
    }

    /// The handle of an upstream.
    pub fn upstream(&self, upstream: &Name) -> Arc<UpstreamCounts> {
        handle(&mut self.given().upstreams, upstream, || {
            UpstreamCounts::new(upstream.clone(), self.copies)
        })
    }

    /// A configuration is in force: the first one (`is_reload` false) or a later one.
    pub fn configured(&self, generation: u64, is_reload: bool) {
        self.process.generation.set(generation);
        self.process.is_last_reload_successful.set(1);
        self.process
            .last_success_seconds
            .set(since_epoch(wall_now()).as_secs());
        if is_reload {
            self.process.reloads_applied.add_shared(1);
        }
    }

    /// A reload was refused; the old configuration stays.
    pub fn reload_refused(&self) {
        self.process.is_last_reload_successful.set(0);
        self.process.reloads_refused.add_shared(1);
    }

    /// When the certificates that are shown end: all of them.
    pub fn certificates(&self, ends: Vec<(Name, SystemTime)>) {
        *self.ends() = ends;
    }

    /// What is wrong with the last reload, in words.
    pub fn reload_warning(&self) -> Option<&'static str> {
        let has_reloaded = self.process.reloads_refused.value() > 0;
        let is_wrong = has_reloaded && self.process.is_last_reload_successful.value() == 0;
        is_wrong.then_some("the last reload was refused: an older configuration is in force")
    }

    /// Open client connections of a listener.
    pub fn open(&self, listener: &Name) -> u64 {
        let counts = self.given().listeners.get(listener).and_then(Weak::upgrade);
        counts.map_or(0, |counts| counts.open())
    }

    /// Where the access log counts what it drops.
    pub fn log_dropped(&self) -> Arc<Tally> {
        Arc::clone(&self.process.log_dropped)
    }

    /// Where the table of cancel keys counts the sessions it has no room for.
    pub fn cancel_keys_refused(&self) -> Arc<Tally> {
        Arc::clone(&self.process.cancel_keys_refused)
    }

    /// Tasks that ended in a panic.
    pub fn panics(&self) -> u64 {
        self.tasks.panics()
    }

    /// Everything in the Prometheus text format, with what was read from the upstreams just now.
    pub fn render(&self, upstreams: &[UpstreamReading]) -> String {
        let mut families = Families::default();
        families.process(self);
        families.certificates(&self.ends());
        for counts in living(&self.given().listeners) {
            families.listener(&counts);
        }
        families.routes(&living(&self.given().routes));
        for counts in living(&self.given().upstreams) {
            families.upstream_counts(&counts);
        }
        for reading in upstreams {
            families.upstream_reading(reading);
        }
        let mut all = families.into_sorted();
        all.extend(ProcessCollector::for_self().collect());
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&all, &mut text) {
            tracing::error!(%error, "metrics could not be printed");
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    fn ends(&self) -> MutexGuard<'_, Vec<(Name, SystemTime)>> {
        self.certificates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn given(&self) -> MutexGuard<'_, Given> {
        // A panic while it was held leaves a map that is still whole.
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn living<K, T>(given: &BTreeMap<K, Weak<T>>) -> Vec<Arc<T>> {
    given.values().filter_map(Weak::upgrade).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::failure::FailureKind;
    use crate::telemetry::handles::MethodLabel;
    use crate::telemetry::reading::{RolesReading, UpstreamReading};

    fn line<'a>(text: &'a str, start: &str) -> Option<&'a str> {
        text.lines().find(|line| line.starts_with(start))
    }

    #[test]
    fn a_kept_name_counts_on_and_a_removed_one_vanishes() {
        let metrics = Metrics::new(2, Tasks::default());
        let (web, old) = (Name::from("web"), Name::from("old"));
        let before = (metrics.listener(&web), metrics.listener(&old));
        before.0.of(0).accepted();
        before.1.of(0).accepted();
        let after = metrics.listener(&web);
        drop(before);
        after.of(1).accepted();
        let text = metrics.render(&[]);
        let wanted = "fairlead_listener_connections_total{listener=\"web\"} 2";
        assert_eq!(
            line(&text, "fairlead_listener_connections_total"),
            Some(wanted)
        );
        assert!(!text.contains("\"old\""), "{text}");
    }

    #[test]
    fn routes_of_several_listeners_add_up_where_the_listener_is_no_label() {
        let metrics = Metrics::new(1, Tasks::default());
        let api = Name::from("api");
        let (a, b) = (
            metrics.route(&Name::from("a"), &api),
            metrics.route(&Name::from("b"), &api),
        );
        for counts in [&a, &b] {
            counts.of(0).begun();
            counts.of(0).begun();
            counts.of(0).over();
            counts
                .of(0)
                .ended(MethodLabel::Get, 502, Duration::from_millis(3));
            counts.of(0).answered_locally(FailureKind::ConnectFailed);
        }
        let text = metrics.render(&[]);
        for wanted in [
            "fairlead_http_requests_total{listener=\"a\",route=\"api\",method=\"GET\",code=\"502\"} 1",
            "fairlead_http_requests_total{listener=\"b\",route=\"api\",method=\"GET\",code=\"502\"} 1",
            "fairlead_http_requests_in_flight{route=\"api\"} 2",
            "fairlead_http_request_duration_seconds_bucket{route=\"api\",le=\"0.0025\"} 0",
            "fairlead_http_request_duration_seconds_bucket{route=\"api\",le=\"0.005\"} 2",
            "fairlead_http_request_duration_seconds_bucket{route=\"api\",le=\"+Inf\"} 2",
            "fairlead_http_request_duration_seconds_sum{route=\"api\"} 0.006",
            "fairlead_http_request_duration_seconds_count{route=\"api\"} 2",
            "fairlead_http_local_responses_total{route=\"api\",reason=\"upstream_connect_failed\"} 2",
        ] {
            assert!(text.lines().any(|line| line == wanted), "{wanted}\n{text}");
        }
    }

    #[test]
    fn the_trouble_with_a_primary_is_shown_while_it_lasts() {
        let metrics = Metrics::new(1, Tasks::default());
        let reading = |is_split_brain, is_take_back| UpstreamReading {
            name: Name::from("orders"),
            states: Default::default(),
            held: 0,
            roles: Some(RolesReading {
                has_primary: false,
                epoch: crate::model::role::Epoch(4),
                is_split_brain,
                is_take_back,
                suspended_by: None,
            }),
            source: None,
            endpoints: Vec::new(),
        };
        for (is_split_brain, is_take_back) in [(false, false), (true, false), (false, true)] {
            let text = metrics.render(&[reading(is_split_brain, is_take_back)]);
            for (kind, is_on) in [("split_brain", is_split_brain), ("take_back", is_take_back)] {
                let start = format!("fairlead_upstream_{kind}{{upstream=\"orders\"}} ");
                let wanted = format!("{start}{}", u64::from(is_on));
                assert_eq!(line(&text, &start), Some(wanted.as_str()));
            }
        }
    }

    #[test]
    fn a_refused_reload_shows_until_one_is_applied() {
        let metrics = Metrics::new(1, Tasks::default());
        metrics.configured(1, false);
        metrics.reload_refused();
        let text = metrics.render(&[]);
        assert!(
            text.contains("fairlead_config_last_reload_successful 0"),
            "{text}"
        );
        metrics.configured(2, true);
        let text = metrics.render(&[]);
        assert!(
            text.contains("fairlead_config_last_reload_successful 1"),
            "{text}"
        );
        assert!(text.contains("fairlead_config_generation 2"), "{text}");
        assert!(
            text.contains("fairlead_config_reloads_total{result=\"refused\"} 1"),
            "{text}"
        );
    }
}
