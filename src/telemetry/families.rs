//! Counts and readings become Prometheus families, each under its entry of the catalogue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric as Sample, MetricFamily, MetricType,
};

use crate::base::time::{since_epoch, wall};
use crate::model::event::SuspensionCause;
use crate::model::failure::FailureKind;
use crate::model::name::Name;
use crate::telemetry::catalog::{self, Kind, Metric};
use crate::telemetry::handles::{
    Cancelled, FailureTallies, ListenerCounts, RouteCounts, UpstreamCounts, request_labels,
};
use crate::telemetry::local::Distribution;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::reading::{EndpointReading, SourceReading, UpstreamReading};

/// The families that have at least one series, by name.
#[derive(Default)]
pub(crate) struct Families(BTreeMap<&'static str, MetricFamily>);

/// What the routes of one name sum up to over their listeners.
#[derive(Default)]
struct RouteSums {
    in_flight: u64,
    durations: Distribution,
    local: BTreeMap<&'static str, u64>,
}

impl Families {
    /// All of them, in the order of their names.
    pub(crate) fn into_sorted(self) -> Vec<MetricFamily> {
        self.0.into_values().collect()
    }

    /// What the process tells of itself.
    pub(crate) fn process(&mut self, metrics: &Metrics) {
        let counts = &metrics.process;
        let revision = option_env!("FAIRLEAD_REVISION").unwrap_or("unknown");
        let version = env!("CARGO_PKG_VERSION");
        self.number(&catalog::BUILD_INFO, &[version, revision], 1);
        for (metric, tally) in [
            (&catalog::CONFIG_GENERATION, &counts.generation),
            (
                &catalog::CONFIG_LAST_RELOAD_SUCCESSFUL,
                &counts.is_last_reload_successful,
            ),
            (
                &catalog::CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP,
                &counts.last_success_seconds,
            ),
            (&catalog::LOG_DROPPED, &counts.log_dropped),
            (&catalog::CANCEL_KEYS_REFUSED, &counts.cancel_keys_refused),
        ] {
            self.number(metric, &[], tally.value());
        }
        for (result, tally) in [
            ("applied", &counts.reloads_applied),
            ("refused", &counts.reloads_refused),
        ] {
            self.number(&catalog::CONFIG_RELOADS, &[result], tally.value());
        }
        self.number(&catalog::PANICS, &[], metrics.panics());
        let strain = &metrics.strain;
        let is_paused = u64::from(strain.is_accepting_paused());
        self.number(&catalog::ACCEPT_PAUSED, &[], is_paused);
        self.number(&catalog::ACCEPT_PAUSES, &[], strain.pauses());
        self.number(&catalog::MEMORY_LEVEL, &[], strain.memory() as u64);
        let limit = strain.memory_limit();
        self.number(&catalog::MEMORY_LIMIT, &[], limit);
    }

    /// When each certificate ends.
    pub(crate) fn certificates(&mut self, ends: &[(Name, SystemTime)]) {
        for (name, ends_at) in ends {
            let seconds = since_epoch(*ends_at).as_secs();
            self.number(&catalog::CERTIFICATE_EXPIRY, &[name], seconds);
        }
    }

    /// The series of one listener.
    pub(crate) fn listener(&mut self, counts: &ListenerCounts) {
        let (name, workers) = (counts.listener.as_str(), counts.workers());
        let accepted = workers.sum(|tallies| &tallies.accepted);
        self.number(&catalog::LISTENER_CONNECTIONS, &[name], counts.open());
        self.number(&catalog::LISTENER_CONNECTIONS_TOTAL, &[name], accepted);
        let received = workers.sum(|tallies| &tallies.received);
        let sent = workers.sum(|tallies| &tallies.sent);
        self.number(&catalog::LISTENER_BYTES, &[name, "received"], received);
        self.number(&catalog::LISTENER_BYTES, &[name, "sent"], sent);
        for cancelled in Cancelled::ALL {
            let count = workers.sum(|tallies| tallies.cancels.of(cancelled));
            if count > 0 {
                self.number(
                    &catalog::CANCEL_REQUESTS,
                    &[name, cancelled.as_str()],
                    count,
                );
            }
        }
        self.handshakes(name, workers, |tallies| &tallies.handshakes);
        let mut refused: BTreeMap<&str, u64> = BTreeMap::new();
        for (reason, count) in workers.iter().flat_map(|tallies| tallies.refused.iter()) {
            *refused.entry(reason).or_default() += count;
        }
        for (reason, count) in refused {
            self.number(&catalog::HTTP_REFUSED, &[name, reason], count);
        }
        let rejected = sum_failures(workers.iter().map(|tallies| &tallies.rejected));
        // This one is always shown: its first rise is what alerts look for.
        self.number(
            &catalog::LISTENER_REJECTED,
            &[name, FailureKind::MaxConnections.as_str()],
            rejected
                .get(FailureKind::MaxConnections.as_str())
                .copied()
                .unwrap_or(0),
        );
        for (reason, count) in rejected {
            if reason != FailureKind::MaxConnections.as_str() {
                self.number(&catalog::LISTENER_REJECTED, &[name, reason], count);
            }
        }
    }

    /// The series of all routes.
    pub(crate) fn routes(&mut self, routes: &[Arc<RouteCounts>]) {
        let mut sums: BTreeMap<&Name, RouteSums> = BTreeMap::new();
        for counts in routes {
            let mut requests: BTreeMap<u32, u64> = BTreeMap::new();
            let sum = sums.entry(&counts.route).or_default();
            // What ended is read first: else one that ends meanwhile would be missing.
            let over = counts.workers().sum(|tallies| &tallies.over);
            let begun = counts.workers().sum(|tallies| &tallies.begun);
            sum.in_flight += begun.saturating_sub(over);
            for tallies in counts.workers().iter() {
                sum.durations.add(&tallies.durations);
                for (key, count) in tallies.requests.iter() {
                    *requests.entry(key).or_default() += count;
                }
            }
            for (reason, count) in sum_failures(counts.workers().iter().map(|t| &t.local)) {
                *sum.local.entry(reason).or_default() += count;
            }
            for (key, count) in requests {
                let (method, code) = request_labels(key);
                let labels = [&*counts.listener, &*counts.route, method, &code];
                self.number(&catalog::HTTP_REQUESTS, &labels, count);
            }
        }
        for (route, sum) in sums {
            let in_flight = &catalog::HTTP_REQUESTS_IN_FLIGHT;
            self.number(in_flight, &[route], sum.in_flight);
            self.histogram(&catalog::HTTP_REQUEST_DURATION, route, &sum.durations);
            for (reason, count) in sum.local {
                self.number(&catalog::HTTP_LOCAL_RESPONSES, &[route, reason], count);
            }
        }
    }

    /// What was counted about one upstream.
    pub(crate) fn upstream_counts(&mut self, counts: &UpstreamCounts) {
        let (name, workers) = (&*counts.upstream, counts.workers());
        let mut answers = Distribution::default();
        let mut connects = Distribution::default();
        let mut holds = Distribution::default();
        for tallies in workers.iter() {
            answers.add(&tallies.answers);
            connects.add(&tallies.connects);
            holds.add(&tallies.holds);
        }
        self.histogram(&catalog::UPSTREAM_REQUEST_DURATION, name, &answers);
        self.histogram(&catalog::UPSTREAM_CONNECT_DURATION, name, &connects);
        self.histogram(&catalog::UPSTREAM_HOLD_DURATION, name, &holds);
        let retries = workers.sum(|tallies| &tallies.retries);
        self.number(&catalog::UPSTREAM_RETRIES, &[name], retries);
        for (reason, count) in sum_failures(workers.iter().map(|t| &t.sessions_closed)) {
            self.number(&catalog::UPSTREAM_SESSIONS_CLOSED, &[name, reason], count);
        }
        let changes = counts.primary_changes.value();
        self.number(&catalog::UPSTREAM_PRIMARY_CHANGES, &[name], changes);
        for (reason, tally) in [
            ("history", &counts.claims_refused),
            ("take_back", &counts.take_backs),
        ] {
            let labels = [name, reason];
            self.number(&catalog::UPSTREAM_CLAIMS_REFUSED, &labels, tally.value());
        }
        let mut without = Distribution::default();
        without.add(&counts.without_primary);
        self.histogram(&catalog::UPSTREAM_WITHOUT_PRIMARY, name, &without);
    }

    /// What was read about one upstream.
    pub(crate) fn upstream_reading(&mut self, reading: &UpstreamReading) {
        let (name, states) = (&*reading.name, reading.states);
        for (state, count) in [
            ("healthy", states.healthy),
            ("unhealthy", states.unhealthy),
            ("draining", states.draining),
            ("unknown", states.unknown),
        ] {
            self.number(&catalog::UPSTREAM_ENDPOINTS, &[name, state], count);
        }
        self.number(&catalog::UPSTREAM_HELD, &[name], reading.held);
        if let Some(roles) = reading.roles {
            for (metric, value) in [
                (&catalog::UPSTREAM_HAS_PRIMARY, u64::from(roles.has_primary)),
                (&catalog::UPSTREAM_PRIMARY_EPOCH, roles.epoch.0),
                (
                    &catalog::UPSTREAM_SPLIT_BRAIN,
                    u64::from(roles.is_split_brain),
                ),
                (&catalog::UPSTREAM_TAKE_BACK, u64::from(roles.is_take_back)),
            ] {
                self.number(metric, &[name], value);
            }
            for cause in SuspensionCause::ALL {
                let is_on = roles.suspended_by == Some(cause);
                let labels = [name, cause.as_str()];
                self.number(&catalog::UPSTREAM_SUSPENDED, &labels, u64::from(is_on));
            }
        }
        if let Some(source) = &reading.source {
            self.source(name, source);
        }
        for endpoint in &reading.endpoints {
            self.endpoint(name, endpoint);
        }
    }

    fn source(&mut self, upstream: &str, source: &SourceReading) {
        let labels = [upstream, source.kind];
        let heard_at = source
            .heard_at
            .map(|at| wall(at).duration_since(UNIX_EPOCH));
        let heard_at = heard_at.and_then(Result::ok).unwrap_or_default();
        self.number(&catalog::SOURCE_UP, &labels, u64::from(source.has_say));
        let is_paused = u64::from(source.is_paused);
        self.number(&catalog::SOURCE_PAUSED, &labels, is_paused);
        self.gauge_seconds(&catalog::SOURCE_LAST_SUCCESS, &labels, heard_at);
        self.number(&catalog::SOURCE_EVENTS, &labels, source.words);
    }

    fn endpoint(&mut self, upstream: &str, reading: &EndpointReading) {
        let labels = [upstream, &*reading.id];
        for (metric, value) in [
            (&catalog::ENDPOINT_UP, u64::from(reading.is_up)),
            (&catalog::ENDPOINT_ELIGIBLE, u64::from(reading.is_eligible)),
            (&catalog::ENDPOINT_CONNECTIONS, reading.in_flight),
            (&catalog::ENDPOINT_SESSIONS, reading.sessions),
            (&catalog::ENDPOINT_WEIGHT, u64::from(reading.weight)),
        ] {
            self.number(metric, &labels, value);
        }
        let [upstream, id] = labels;
        let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"];
        for (class, count) in classes.into_iter().zip(reading.answers) {
            self.number(&catalog::ENDPOINT_REQUESTS, &[upstream, id, class], count);
        }
        for (reason, count) in reading.errors {
            self.number(&catalog::ENDPOINT_ERRORS, &[upstream, id, reason], count);
        }
        for (result, count) in [
            ("passed", reading.probes_passed),
            ("failed", reading.probes_failed),
        ] {
            self.number(&catalog::ENDPOINT_PROBES, &[upstream, id, result], count);
        }
        if let Some(latency) = reading.latency {
            self.gauge_seconds(&catalog::ENDPOINT_LATENCY, &labels, latency);
        }
        if let Some(age) = reading.evidence_age {
            self.gauge_seconds(&catalog::ENDPOINT_EVIDENCE_AGE, &labels, age);
        }
        if let Some(bytes) = reading.lag.bytes {
            self.number(&catalog::ENDPOINT_LAG_BYTES, &labels, bytes);
        }
        if let Some(seconds) = reading.lag.seconds {
            self.value(&catalog::ENDPOINT_LAG_SECONDS, &labels, seconds);
        }
        if let Some(role) = reading.role {
            let labels = [upstream, id, role.as_str()];
            self.number(&catalog::ENDPOINT_ROLE, &labels, 1);
        }
    }

    pub(super) fn number(&mut self, metric: &Metric, labels: &[&str], value: u64) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "the text format knows floats only"
        )]
        self.value(metric, labels, value as f64);
    }

    fn gauge_seconds(&mut self, metric: &Metric, labels: &[&str], value: Duration) {
        self.value(metric, labels, value.as_secs_f64());
    }

    fn value(&mut self, metric: &Metric, labels: &[&str], value: f64) {
        let mut sample = labelled(metric, labels);
        if metric.kind == Kind::Counter {
            let mut counter = Counter::default();
            counter.set_value(value);
            sample.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            sample.set_gauge(gauge);
        }
        self.family(metric).mut_metric().push(sample);
    }

    pub(super) fn histogram(&mut self, metric: &Metric, label: &str, seen: &Distribution) {
        let mut count = 0;
        let buckets = seen.buckets.iter().map(|(bound, here)| {
            count += here;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(Duration::from_nanos(*bound).as_secs_f64());
            bucket.set_cumulative_count(count);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(count + seen.above);
        histogram.set_sample_sum(Duration::from_nanos(seen.sum_nanos).as_secs_f64());
        let mut sample = labelled(metric, &[label]);
        sample.set_histogram(histogram);
        self.family(metric).mut_metric().push(sample);
    }

    fn family(&mut self, metric: &Metric) -> &mut MetricFamily {
        self.0.entry(metric.name).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(metric.name.to_owned());
            family.set_help(metric.help.to_owned());
            family.set_field_type(match metric.kind {
                Kind::Counter => MetricType::COUNTER,
                Kind::Gauge => MetricType::GAUGE,
                Kind::Duration | Kind::Wait => MetricType::HISTOGRAM,
            });
            family
        })
    }
}

fn labelled(metric: &Metric, values: &[&str]) -> Sample {
    debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
    let pairs = metric.labels.iter().zip(values).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    Sample::from_label(pairs.collect())
}

/// Counts above 0 by reason.
fn sum_failures<'a>(
    copies: impl Iterator<Item = &'a FailureTallies>,
) -> BTreeMap<&'static str, u64> {
    let mut sums = BTreeMap::new();
    for (kind, count) in copies.flat_map(FailureTallies::iter) {
        if count > 0 {
            *sums.entry(kind.as_str()).or_default() += count;
        }
    }
    sums
}
