//! A volume started in QEMU, and a verdict by what appears on its serial console: `docs/formats/boot.md`.
//!
//! The volumes come out of our own NBD server, and the guest can reach nothing but our metadata service.

mod console;
mod firmware;
mod machine;
mod probe;
mod run;

pub use console::Console;
pub use console::Verdict;
pub use firmware::Firmware;
pub use firmware::find_program;
pub use machine::Accelerator;
pub use machine::Disk;
pub use machine::Identity;
pub use machine::Machine;
pub use probe::sector;
pub use probe::volume;
pub use probe::works;
pub use run::Ended;
pub use run::Limits;
pub use run::run;
