//! Micro benchmarks: `cargo bench --bench micro`.

mod head;

fn main() {
    divan::main();
}
