//! What every policy must do, run against each of them.

use super::*;
use crate::config::default;

/// Loads and who was tried.
struct Fixed(Vec<(Load, bool)>);

impl Candidates for Fixed {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn load(&self, position: usize) -> Load {
        self.0[position].0
    }

    fn is_tried(&self, position: usize) -> bool {
        self.0[position].1
    }
}

fn load(weight: u32, in_flight: u32, latency_micros: Option<f32>) -> (Load, bool) {
    let load = Load {
        weight,
        in_flight,
        latency_micros,
    };
    (load, false)
}

const EWMA: upstream::Balance = upstream::Balance::Ewma {
    decay: default::EWMA_DECAY,
    failure_penalty: default::EWMA_FAILURE_PENALTY,
};
const ALL: [upstream::Balance; 3] = [
    EWMA,
    upstream::Balance::LeastConn,
    upstream::Balance::RoundRobin,
];

fn made(balance: upstream::Balance, candidates: &Fixed) -> Box<dyn Balance> {
    let weights: Vec<u32> = candidates.0.iter().map(|(load, _)| load.weight).collect();
    build(balance, &weights)
}

#[test]
fn only_untried_candidates_are_picked_and_each_of_them_can_be() {
    for policy in ALL {
        for count in [1, 2, 3, 5, 16, 17, 40] {
            let mut candidates = Fixed(vec![load(1, 0, Some(100.0)); count]);
            let balance = made(policy, &candidates);
            let mut rng = Rng::seeded(count as u64);
            for tried in 0..count {
                let mut seen = vec![0; count];
                for _ in 0..400 {
                    seen[balance.pick(&candidates, &mut rng).unwrap()] += 1;
                }
                for (position, times) in seen.iter().enumerate() {
                    assert_eq!(*times > 0, position >= tried, "{policy:?} {count} {tried}");
                }
                candidates.0[tried].1 = true;
            }
            assert_eq!(balance.pick(&candidates, &mut rng), None, "{policy:?}");
        }
        let nobody = Fixed(Vec::new());
        let picked = made(policy, &nobody).pick(&nobody, &mut Rng::seeded(1));
        assert_eq!(picked, None, "{policy:?}");
    }
}

/// Picks with `kept` of them in flight at a time and counts who got how many.
fn shares(policy: upstream::Balance, weights: &[u32], kept: usize) -> Vec<f64> {
    let mut candidates = Fixed(weights.iter().map(|w| load(*w, 0, Some(100.0))).collect());
    let balance = made(policy, &candidates);
    let mut rng = Rng::seeded(7);
    let mut running = std::collections::VecDeque::new();
    let mut counts = vec![0.0; weights.len()];
    for _ in 0..20_000 {
        let picked = balance.pick(&candidates, &mut rng).unwrap();
        candidates.0[picked].0.in_flight += 1;
        counts[picked] += 1.0 / 20_000.0;
        running.push_back(picked);
        if running.len() > kept {
            let done = running.pop_front().unwrap();
            candidates.0[done].0.in_flight -= 1;
        }
    }
    counts
}

#[test]
fn weights_are_respected_under_load() {
    for (policy, tolerance) in ALL.into_iter().zip([0.05, 0.02, 0.002]) {
        for weights in [
            &[1, 1][..],
            &[1, 3],
            &[2, 1, 1],
            &[5, 3, 1, 1],
            &[300, 200, 100],
        ] {
            let sum: u32 = weights.iter().sum();
            let shares = shares(policy, weights, 200);
            for (share, weight) in shares.iter().zip(weights) {
                let expected = f64::from(*weight) / f64::from(sum);
                assert!(
                    (share - expected).abs() < tolerance,
                    "{policy:?} {weights:?} {shares:?}"
                );
            }
        }
    }
}

#[test]
fn the_slower_of_two_is_left_alone_and_an_unmeasured_one_is_neither_flooded_nor_starved() {
    let mut rng = Rng::seeded(3);
    let mut count = |loads: &[(Load, bool)]| {
        let candidates = Fixed(loads.to_vec());
        let mut counts = vec![0; loads.len()];
        for _ in 0..3000 {
            counts[build(EWMA, &[]).pick(&candidates, &mut rng).unwrap()] += 1;
        }
        counts
    };
    let slow = load(1, 0, Some(50_000.0));
    let fast = load(1, 0, Some(1000.0));
    let new = load(1, 0, None);
    assert_eq!(count(&[slow, fast]), [0, 3000]);
    // It costs 25.5 ms as the average of the two: worse than the fast one, better than the slow.
    let counts = count(&[slow, fast, new]);
    assert!(
        counts[0] == 0 && (800..1200).contains(&counts[2]),
        "{counts:?}"
    );
    // Beside one measured endpoint it is as good as that one.
    let counts = count(&[fast, new]);
    assert!((1300..1700).contains(&counts[0]), "{counts:?}");
    // What is in flight decides between equals, measured or not.
    assert_eq!(count(&[load(1, 5, None), new]), [0, 3000]);
    assert_eq!(
        count(&[load(1, 1, Some(100.0)), load(3, 2, Some(100.0))]),
        [0, 3000]
    );
}

#[test]
fn the_least_loaded_of_all_is_found_where_they_are_few() {
    let mut loads = vec![load(1, 9, None); 16];
    loads[11] = load(1, 3, None);
    let candidates = Fixed(loads);
    let mut rng = Rng::seeded(5);
    for _ in 0..100 {
        let picked = build(upstream::Balance::LeastConn, &[]).pick(&candidates, &mut rng);
        assert_eq!(picked, Some(11));
    }
}
