//! One pick, by policy and number of endpoints. Aim: at most 100 ns with 5 endpoints.

use std::sync::Arc;
use std::time::Duration;

use fairlead::base::rng::Rng;
use fairlead::base::time;
use fairlead::config::default;
use fairlead::config::secret::SecretReader;
use fairlead::config::upstream::Balance;
use fairlead::model::role::WantedRole;
use fairlead::policy::balance::{Candidates, Load, build};
use fairlead::upstream::effect::Effect;
use fairlead::upstream::lease::{Lease, Tried};
use fairlead::upstream::snapshot::Snapshot;
use fairlead::upstream::state::UpstreamState;

/// Measured endpoints, none of them tried.
struct Measured(Vec<Load>);

impl Candidates for Measured {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn load(&self, position: usize) -> Load {
        self.0.get(position).copied().unwrap_or(Load {
            weight: 1,
            in_flight: 0,
            latency_micros: None,
        })
    }

    fn is_tried(&self, _position: usize) -> bool {
        false
    }
}

fn bench(bencher: divan::Bencher<'_, '_>, balance: Balance, count: u16) {
    let load = |at| Load {
        weight: 1 + u32::from(at % 3),
        in_flight: u32::from(at % 7),
        latency_micros: Some(1000.0 + f32::from(at)),
    };
    let candidates = Measured((0..count).map(load).collect());
    let weights: Vec<u32> = candidates.0.iter().map(|load| load.weight).collect();
    let balance = build(balance, &weights);
    let mut rng = Rng::seeded(1);
    bencher.bench_local(|| balance.pick(divan::black_box(&candidates), &mut rng));
}

#[divan::bench(args = [2, 5, 16, 100])]
fn peak_ewma(bencher: divan::Bencher<'_, '_>, count: u16) {
    let balance = Balance::Ewma {
        decay: default::EWMA_DECAY,
        failure_penalty: default::EWMA_FAILURE_PENALTY,
    };
    bench(bencher, balance, count);
}

#[divan::bench(args = [2, 5, 16, 100])]
fn least_conn(bencher: divan::Bencher<'_, '_>, count: u16) {
    bench(bencher, Balance::LeastConn, count);
}

#[divan::bench(args = [2, 5, 16, 100])]
fn round_robin(bencher: divan::Bencher<'_, '_>, count: u16) {
    bench(bencher, Balance::RoundRobin, count);
}

/// A pick as a request makes it: live counts, fading estimates, the lease counted and given back.
#[divan::bench(args = [2, 5, 16, 100, 1000])]
fn lease(bencher: divan::Bencher<'_, '_>, count: u16) {
    let endpoints: Vec<_> = (0..count)
        .map(|at| format!("{{ address = \"127.0.0.1:{}\" }}", 2000 + at))
        .collect();
    let text = format!(
        "version = 1\n[listeners.l]\nbind = [\"127.0.0.1:0\"]\nkind = \"http\"\nupstream = \"u\"\n\
         [upstreams.u]\nkind = \"http\"\nendpoints = [{}]\n",
        endpoints.join(", ")
    );
    let (config, _) = fairlead::config::parse("bench", &text, &SecretReader::Never).unwrap();
    let upstream = Arc::clone(config.upstreams.values().next().unwrap());
    let now = time::now();
    let (_, effects) = UpstreamState::new(upstream, None, now);
    let snapshot = effects.into_iter().find_map(|effect| match effect {
        Effect::Publish(snapshot) => Some(Arc::from(snapshot)),
        _ => None,
    });
    let snapshot: Arc<Snapshot> = snapshot.unwrap();
    for (at, view) in snapshot.endpoints.iter().enumerate() {
        let latency = Duration::from_micros(1000 + at as u64);
        view.endpoint
            .latency
            .observe(latency, now, default::EWMA_DECAY);
    }
    let mut rng = Rng::seeded(1);
    let later = now.after(Duration::from_millis(700));
    bencher.bench_local(|| {
        Lease::pick(
            &snapshot,
            WantedRole::Any,
            &Tried::default(),
            later,
            &mut rng,
        )
        .is_some()
    });
}
