//! The `fairlead` program: its commands are in `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(fairlead::cli::run(std::env::args_os()) as u8)
}
