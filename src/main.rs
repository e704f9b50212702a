//! The `fairlead` program: its commands are in `cli`.

use std::process::ExitCode;

/// Many small allocations on several threads: what jemalloc is good at.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    ExitCode::from(fairlead::cli::run(std::env::args_os()) as u8)
}
