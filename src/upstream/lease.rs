//! A counted pick: while a lease lives, its endpoint has one more in flight.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::rng::Rng;
use crate::base::time::Time;
use crate::config::default;
use crate::model::role::WantedRole;
use crate::policy::balance::{Candidates, Load};
use crate::upstream::endpoint::{Endpoint, Incarnation, Outcome};
use crate::upstream::snapshot::{EndpointView, PickTable, Snapshot};

/// The endpoints one exchange has tried already, by position. A retry takes another one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tried {
    positions: [u16; Tried::MAX],
    count: u8,
}

impl Tried {
    /// One more than the greatest number of retries.
    const MAX: usize = default::RETRY_ATTEMPTS_MAX as usize + 1;

    /// Remembers a position; more than the greatest number of attempts are not needed.
    pub fn add(&mut self, position: u16) {
        if let Some(slot) = self.positions.get_mut(usize::from(self.count)) {
            *slot = position;
            self.count += 1;
        }
    }

    /// Whether a position was tried.
    pub fn has(&self, position: u16) -> bool {
        self.positions
            .iter()
            .take(usize::from(self.count))
            .any(|tried| *tried == position)
    }
}

/// The right to use one endpoint, counted until dropped.
#[derive(Debug)]
pub struct Lease {
    snapshot: Arc<Snapshot>,
    position: u16,
    socket: SocketAddr,
}

impl Lease {
    /// Picks one eligible endpoint for the wanted role that was not tried yet.
    pub fn pick(
        snapshot: &Arc<Snapshot>,
        wanted: WantedRole,
        tried: &Tried,
        now: Time,
        rng: &mut Rng,
    ) -> Option<Lease> {
        let table = snapshot.table(wanted);
        let chosen = table.balance.pick(
            &Eligible {
                snapshot,
                table,
                tried,
                now,
            },
            rng,
        )?;
        let position = *table.positions.get(chosen)?;
        let view = snapshot.endpoint(position)?;
        let socket = view.socket?;
        view.endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(Lease {
            snapshot: Arc::clone(snapshot),
            position,
            socket,
        })
    }

    /// Where to dial.
    pub fn socket(&self) -> SocketAddr {
        self.socket
    }

    /// The position in its snapshot, for [`Tried`].
    pub fn position(&self) -> u16 {
        self.position
    }

    /// The snapshot it was picked from.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.view().endpoint
    }

    /// The life of the endpoint under which it was picked.
    pub fn incarnation(&self) -> &Arc<Incarnation> {
        &self.view().incarnation
    }

    /// Reports how the attempt went: counts it and moves the endpoint's latency estimate.
    pub fn observe(&self, outcome: Outcome, now: Time) {
        let endpoint = self.endpoint();
        let (decay, penalty) = self.snapshot.config.balance.ewma();
        match outcome {
            Outcome::Answered { status, latency } => {
                let class = usize::from(status / 100).saturating_sub(1);
                if let Some(count) = endpoint.counts.answers.get(class) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                // An error answered in a millisecond must not look like a fast endpoint.
                let is_failure = status >= 500 || status == 429;
                let sample = if is_failure {
                    latency.max(penalty)
                } else {
                    latency
                };
                endpoint.latency.observe(sample, now, decay);
            }
            Outcome::Connected { latency } => {
                endpoint.counts.sessions.fetch_add(1, Ordering::Relaxed);
                endpoint.latency.observe(latency, now, decay);
            }
            Outcome::Failed(kind) => {
                if let Some(count) = endpoint.counts.failure(kind) {
                    count.fetch_add(1, Ordering::Relaxed);
                    endpoint.latency.observe(penalty, now, decay);
                }
            }
        }
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "a lease is made only for a position that exists"
    )]
    fn view(&self) -> &EndpointView {
        &self.snapshot.endpoints[usize::from(self.position)]
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.endpoint().in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The loads of a table's endpoints, as a policy sees them.
struct Eligible<'a> {
    snapshot: &'a Snapshot,
    table: &'a PickTable,
    tried: &'a Tried,
    now: Time,
}

impl Eligible<'_> {
    fn decay(&self) -> Duration {
        self.snapshot.config.balance.ewma().0
    }

    fn view(&self, position: usize) -> Option<&EndpointView> {
        self.snapshot.endpoint(*self.table.positions.get(position)?)
    }
}

impl Candidates for Eligible<'_> {
    fn count(&self) -> usize {
        self.table.positions.len()
    }

    fn load(&self, position: usize) -> Load {
        self.view(position).map_or(
            Load {
                weight: 1,
                in_flight: u32::MAX,
                latency_micros: None,
            },
            |view| Load {
                weight: view.weight.max(1),
                in_flight: view.endpoint.in_flight.load(Ordering::Relaxed),
                latency_micros: view.endpoint.latency.micros(self.now, self.decay()),
            },
        )
    }

    fn is_tried(&self, position: usize) -> bool {
        self.table
            .positions
            .get(position)
            .is_some_and(|position| self.tried.has(*position))
    }
}
