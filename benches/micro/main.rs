//! Micro benchmarks: `cargo bench --bench micro`.

mod head;
mod pick;

fn main() {
    divan::main();
}
