//! Micro benchmarks: `cargo bench --bench micro`.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot set up what it measures has to stop"
)]

mod follow;
mod follow_postgres;
mod head;
mod pick;
mod relay;
mod route;

fn main() {
    divan::main();
}
