//! The `amikit` program: see `amikit --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    amikit::cli::main()
}
