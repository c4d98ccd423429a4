//! `boot`: starts a volume in QEMU and says whether it comes up.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::Args;
use clap::ValueEnum;

use crate::ami::BootMode;
use crate::boot::Accelerator;
use crate::boot::Disk;
use crate::boot::Verdict;
use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::volumes::Reading;
use crate::error::Error;
use crate::error::Result;
use crate::ops;
use crate::ops::BootReport;
use crate::ops::BootRequest;
use crate::ops::Processor;

/// Starts a volume in QEMU as EC2 would, and says whether it comes up
///
/// The machine is made as the bundle's description says: boot mode, NVMe volumes, a metadata service of version 2. Nothing
/// is written to the image, and the guest can reach nothing but the metadata service. The serial console decides: exit code
/// 0 if --until appears, else 20 to 27 by what was seen (panic, initramfs, emergency, loader, no-boot, stopped, silent, timeout).
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit boot web.ami\n  amikit boot root.raw --firmware uefi --log \
                  console.log --timeout 300"
)]
pub(super) struct Boot {
    /// The image, BUNDLE or BUNDLE:DEVICE
    #[arg(value_name = "IMAGE", required_unless_present = "relay")]
    image: Option<PathBuf>,

    /// Text on the console that means success; again for others
    #[arg(long, value_name = "TEXT", default_value = "login:")]
    until: Vec<String>,

    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,

    /// Write what the console says to this file
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,

    /// Firmware [default: as the description says; of an image, as its partitions allow]
    #[arg(long)]
    firmware: Option<FirmwareName>,

    /// Controllers of the volumes
    #[arg(long, default_value = "nvme")]
    disk: DiskName,

    /// KVM, or translation; auto takes KVM if a probe shows that it works
    #[arg(long, default_value = "auto")]
    accel: AcceleratorName,

    /// Memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(64..=1_048_576))]
    memory: u32,

    /// Id of the instance
    #[arg(long, value_name = "ID")]
    instance_id: Option<String>,

    /// Name of the host, as the metadata service says it
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,

    /// Public key for the metadata service, as in authorized_keys
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,

    /// User data for the metadata service, of at most 16 KiB
    #[arg(long, value_name = "FILE")]
    user_data: Option<PathBuf>,

    /// Let the guest reach every network that this machine can
    #[arg(long)]
    network: bool,

    /// Pass one connection of the guest on to the metadata service: what QEMU calls
    #[arg(long, hide = true, value_name = "SOCKET")]
    relay: Option<PathBuf>,

    #[command(flatten)]
    reading: Reading,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FirmwareName {
    Bios,
    Uefi,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DiskName {
    Nvme,
    Virtio,
    Ide,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AcceleratorName {
    Auto,
    Kvm,
    Tcg,
}

impl Boot {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        if let Some(socket) = &self.relay {
            return relay(socket).map(|()| 0);
        }
        let image = self.image.as_deref().unwrap_or(Path::new(""));
        let program = std::env::current_exe()
            .map_err(|e| Error::io("find", Path::new("the program itself"), e))?;
        let mut request = BootRequest::new(self.reading.only(image)?);
        request.relay = Some(program);
        request.until.clone_from(&self.until);
        request.time = Duration::from_secs(self.timeout);
        request.log.clone_from(&self.log);
        request.boot_mode = self.firmware.map(|name| match name {
            FirmwareName::Bios => BootMode::LegacyBios,
            FirmwareName::Uefi => BootMode::Uefi,
        });
        request.disk = match self.disk {
            DiskName::Nvme => Disk::Nvme,
            DiskName::Virtio => Disk::Virtio,
            DiskName::Ide => Disk::Ide,
        };
        request.processor = match self.accel {
            AcceleratorName::Auto => Processor::Auto,
            AcceleratorName::Kvm => Processor::Only(Accelerator::Kvm),
            AcceleratorName::Tcg => Processor::Only(Accelerator::Tcg),
        };
        request.memory_mib = self.memory;
        if let Some(id) = &self.instance_id {
            request.instance_id.clone_from(id);
        }
        if let Some(name) = &self.hostname {
            request.hostname.clone_from(name);
        }
        request.public_key.clone_from(&self.public_key);
        request.user_data.clone_from(&self.user_data);
        request.is_open = self.network;
        if self.network {
            let text = "the guest can reach every network that this machine can";
            output.notes(&[text.to_owned()]);
        }
        let report = ops::boot(&request, follower)?;
        follower.end();
        output.notes(&report.notes);
        output.report("boot", &report, render)?;
        Ok(exit_code(report.verdict))
    }
}

/// Returns the exit code of a verdict.
fn exit_code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Reached => 0,
        Verdict::Panic => 20,
        Verdict::Initramfs => 21,
        Verdict::Emergency => 22,
        Verdict::Loader => 23,
        Verdict::NoBoot => 24,
        Verdict::Stopped => 25,
        Verdict::Silent => 26,
        Verdict::Timeout => 27,
    }
}

fn render(report: &BootReport, out: &mut dyn Write) -> io::Result<()> {
    let (verdict, firmware) = (report.verdict.name(), report.firmware);
    let (seconds, accelerator) = (report.seconds, report.accelerator);
    writeln!(
        out,
        "{}: {verdict} after {seconds:.1} seconds ({firmware}, {accelerator})",
        report.volume
    )?;
    writeln!(out, "  {}", report.reason)?;
    if !report.metadata.is_empty() {
        writeln!(out, "  metadata service: {} paths were read", report.metadata.len())?;
    }
    match &report.log {
        Some(log) => writeln!(out, "  console: {log}"),
        None => Ok(()),
    }
}

/// Passes one connection on: QEMU gives its two directions as standard input and output.
fn relay(socket: &Path) -> Result<()> {
    let fail = |e| Error::io("connect to", socket, e);
    let stream = UnixStream::connect(socket).map_err(fail)?;
    let mut to = stream.try_clone().map_err(fail)?;
    // This thread may wait for the guest when the service has closed: it ends with the process.
    let pass = move || {
        let _ = pass_on(&mut io::stdin().lock(), &mut to);
        let _ = to.shutdown(Shutdown::Write);
    };
    let started = thread::Builder::new().spawn(pass);
    started.map_err(|e| Error::io("start a thread for", socket, e))?;
    let mut from = stream;
    // A guest that went away is not a failure.
    let _ = pass_on(&mut from, &mut io::stdout().lock());
    Ok(())
}

fn pass_on(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(len) => {
                to.write_all(&buffer[..len])?;
                to.flush()?;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
