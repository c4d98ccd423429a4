//! A boot sector that writes to the serial port: shows whether KVM works, where `/dev/kvm` alone says nothing.

use std::path::Path;
use std::time::Duration;

use crate::boot::console::Console;
use crate::boot::console::Verdict;
use crate::boot::machine::Machine;
use crate::boot::run::Limits;
use crate::boot::run::run;
use crate::error::Result;
use crate::work::Watch;

/// How long a machine may take to write: under KVM it is a fraction of a second.
const TIME: Duration = Duration::from_secs(3);

/// What the sector writes.
const MARK: &str = "amikit-probe";

/// The code, at 0x7c00: writes what stands behind it to the first serial port, up to a zero, and halts.
const CODE: [u8; 23] = [
    0x31, 0xc0, // xor ax, ax
    0x8e, 0xd8, // mov ds, ax
    0xfc, // cld
    0xbe, 0x17, 0x7c, // mov si, 0x7c17
    0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xac, // next: lodsb
    0x84, 0xc0, // test al, al
    0x74, 0x03, // jz end
    0xee, // out dx, al
    0xeb, 0xf8, // jmp next
    0xfa, // end: cli
    0xf4, // halt: hlt
    0xeb, 0xfd, // jmp halt
];

/// Returns a boot sector that writes a text of up to 400 bytes to the serial port.
///
/// # Panics
///
/// If the text is longer.
#[must_use]
pub fn sector(text: &str) -> Vec<u8> {
    assert!(text.len() <= 400, "the text has {} bytes", text.len());
    let mut sector = CODE.to_vec();
    sector.extend(text.as_bytes());
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector
}

/// Tells whether a machine whose only volume is [`sector`] of the probe's own text answers in time.
///
/// # Errors
///
/// `Interrupted`; a machine that cannot be started is an answer.
pub fn works(program: &Path, machine: &Machine<'_>, watch: &dyn Watch) -> Result<bool> {
    let limits = Limits { time: TIME, silence: None, log_bytes: 0 };
    let console = Console::new(vec![MARK.to_owned()]);
    let ended = run(program, machine, console, &limits, &Stops(watch), &mut |_| Ok(()));
    watch.check()?;
    Ok(ended.is_ok_and(|ended| ended.verdict == Verdict::Reached))
}

/// Passes on the wish to stop alone: a probe is over before anybody asks what is waited for.
struct Stops<'a>(&'a dyn Watch);

impl Watch for Stops<'_> {
    fn stopped(&self) -> bool {
        self.0.stopped()
    }
}

/// Returns the probe's volume: 1 MiB, of which the first sector is code.
#[must_use]
pub fn volume() -> Vec<u8> {
    let mut bytes = sector(&format!("\r\n{MARK}\r\n"));
    bytes.resize(1 << 20, 0);
    bytes
}
