//! One pick, by policy and number of endpoints. Aim: at most 100 ns with 5 endpoints.

use fairlead::base::rng::Rng;
use fairlead::config::default;
use fairlead::config::upstream::Balance;
use fairlead::policy::balance::{Candidates, Load, build};

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
