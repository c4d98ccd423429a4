//! The `amikit` program: see `amikit --help`.
#![allow(unsafe_code, reason = "nothing safe runs before the runtime")]

use std::process::ExitCode;

fn main() -> ExitCode {
    amikit::cli::main()
}

// SAFETY: the loader calls each function of this section once, before `main` and on the only thread there is,
// with arguments that the C calling convention lets a callee ignore. This one makes a system call and sets an
// atomic: nothing of Rust's runtime, which is not up yet.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

/// Looks at standard output while it can be seen whether it is closed.
extern "C" fn before_main() {
    amikit::cli::look_at_standard_output();
}
