//! Starts a volume, or all of a bundle's, in a machine as the description says, and judges its console.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use serde::Serialize;

use crate::ami::Architecture;
use crate::ami::BootMode;
use crate::boot;
use crate::boot::Accelerator;
use crate::boot::Console;
use crate::boot::Disk;
use crate::boot::Ended;
use crate::boot::Firmware;
use crate::boot::Identity;
use crate::boot::Limits;
use crate::boot::Machine;
use crate::boot::Verdict;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::guest::PartitionKind;
use crate::guest::look;
use crate::io::Input;
use crate::io::Node;
use crate::io::OutputFile;
use crate::io::ReadAt;
use crate::io::WriteAt;
use crate::io::read_vec;
use crate::io::unwritten;
use crate::ops::shared::exports::exports;
use crate::ops::shared::open::Found;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::find;
use crate::ops::shared::open::open;
use crate::ops::shared::outside::check_spares;
use crate::serve::Address;
use crate::serve::Listener;
use crate::serve::imds::Facts;
use crate::serve::imds::Imds;
use crate::serve::nbd;
use crate::serve::nbd::DEFAULT_CONNECTIONS;
use crate::serve::nbd::Event;
use crate::serve::nbd::Export;
use crate::work::Watch;
use crate::work::spawn;

/// Most bytes of a console's log that are kept.
const MOST_LOG: u64 = 16 << 20;

/// Most bytes of user data: EC2's limit.
const MOST_USER_DATA: u64 = 16 << 10;

/// Most volumes of a machine.
const MOST_VOLUMES: usize = 24;

/// Bytes of unpacked blocks that are kept for each packed volume.
const CACHE: u64 = 4 << 30;

/// How the processor is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Processor {
    /// KVM if a probe shows that it works.
    #[default]
    Auto,
    /// This one.
    Only(Accelerator),
}

/// What is started.
#[derive(Clone, Debug)]
pub struct BootRequest {
    /// The volume; a bundle stands for all of its volumes.
    pub volume: VolumeRequest,
    /// Boot mode, in the place of what the description says.
    pub boot_mode: Option<BootMode>,
    /// The controllers.
    pub disk: Disk,
    /// Texts of which one on the console means that it is up.
    pub until: Vec<String>,
    /// Time in which it must appear.
    pub time: Duration,
    /// How the processor is run.
    pub processor: Processor,
    /// MiB of memory.
    pub memory_mib: u32,
    /// Where the console's log goes.
    pub log: Option<PathBuf>,
    /// The instance's id.
    pub instance_id: String,
    /// Name of the host, as the metadata service says it.
    pub hostname: String,
    /// A file with a public key.
    pub public_key: Option<PathBuf>,
    /// A file with user data.
    pub user_data: Option<PathBuf>,
    /// Whether the guest may reach every network that this process may.
    pub is_open: bool,
    /// The program `amikit`, which relays the guest's requests to the metadata service; without it the machine has no
    /// network.
    pub relay: Option<PathBuf>,
}

impl BootRequest {
    /// Asks for a login prompt within ten minutes, in a machine without a network.
    #[must_use]
    pub fn new(volume: VolumeRequest) -> Self {
        Self {
            volume,
            boot_mode: None,
            disk: Disk::default(),
            until: vec!["login:".to_owned()],
            time: Duration::from_mins(10),
            processor: Processor::default(),
            memory_mib: 1024,
            log: None,
            instance_id: "i-0a11b22c33d44e55f".to_owned(),
            hostname: "ip-169-254-0-15.ec2.internal".to_owned(),
            public_key: None,
            user_data: None,
            is_open: false,
            relay: None,
        }
    }
}

/// How it went.
#[derive(Clone, Debug, Serialize)]
pub struct BootReport {
    /// What was started.
    pub volume: String,
    /// What came of it.
    pub verdict: Verdict,
    /// What was seen, in one line.
    pub reason: String,
    /// Seconds until the verdict.
    pub seconds: f64,
    /// What started it: `legacy-bios` or `uefi`.
    pub firmware: &'static str,
    /// How the processor was run: `kvm` or `tcg`.
    pub accelerator: &'static str,
    /// Where the log is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Bytes that the console wrote.
    pub console_bytes: u64,
    /// Paths that the guest got from the metadata service.
    pub metadata: Vec<String>,
    /// What the user should hear although nothing failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Starts a volume and judges what its console says.
///
/// # Errors
///
/// As [`open`]; `Unsupported` if QEMU or OVMF is missing, or for an architecture other than `x86_64`; `Invalid` if
/// the description has more volumes than a machine; `Io` if QEMU cannot be started. A guest that does not come up is
/// not an error.
pub(in crate::ops) fn start(request: &BootRequest, watch: &dyn Watch) -> Result<BootReport> {
    let mut notes = Vec::new();
    let mode = declared(request, watch)?;
    let firmware = match mode {
        BootMode::LegacyBios => Firmware::Bios,
        _ => Firmware::uefi()?,
    };
    let program = boot::find_program("qemu-system-x86_64", "qemu-system-x86")?;
    let exports = exports(&request.volume, CACHE, watch, &mut notes)?;
    // A bundle has its root volume twice: by its own name, and without one.
    let listed: Vec<Export> =
        if exports.len() > 1 { exports[1..].to_vec() } else { exports.clone() };
    if listed.len() > MOST_VOLUMES {
        let text = format!("{} volumes, expected at most {MOST_VOLUMES}", listed.len());
        return Err(Error::invalid(text).in_file(&request.volume.image.path));
    }
    let facts = facts(request, &listed)?;
    let read = [&request.public_key, &request.user_data].into_iter().flatten();
    let log = match &request.log {
        Some(path) => {
            check_spares(path, &[&request.volume], read.map(PathBuf::as_path))?;
            Some(OutputFile::create(path)?)
        }
        None => None,
    };
    let folder = private_folder()?;
    let identity = identity(request);
    let names: Vec<String> = listed.iter().map(|export| export.name.clone()).collect();
    let firmware = &firmware;
    let host = Host { program: &program, folder: folder.path(), request, firmware, identity };
    let mut accelerator = host.accelerator(watch)?;
    let imds = Imds::new(facts);
    let mut at = 0_u64;
    let volumes = (&exports[..], &names[..]);
    let mut keep = |bytes: &[u8]| {
        if let Some(log) = &log {
            log.write_all_at(bytes, at)?;
        }
        at = at.saturating_add(u64::try_from(bytes.len()).expect("a piece"));
        Ok(())
    };
    let mut ended = host.start(accelerator, volumes, &imds, watch, &mut notes, &mut keep);
    let is_silent = |ended: &Ended| ended.verdict == Verdict::Silent && !ended.has_kernel;
    if ended.as_ref().is_ok_and(is_silent) && host.may_translate(accelerator) {
        // A boot sector runs on machines where a kernel does not.
        notes.push("under KVM the kernel wrote nothing; it was started again without".to_owned());
        accelerator = Accelerator::Tcg;
        ended = keep(b"\r\n")
            .and_then(|()| host.start(accelerator, volumes, &imds, watch, &mut notes, &mut keep));
    }
    // What was seen until an interruption is worth keeping.
    if let (Some(log), Some(path)) = (log, &request.log) {
        log.commit().map_err(unwritten(path))?;
    }
    let ended = ended?;
    if !ended.is_confined {
        notes.push(
            "QEMU ran unconfined: it was built without its sandbox, or the kernel has no seccomp"
                .to_owned(),
        );
    }
    exports.iter().try_for_each(|export| export.volume.check_unchanged())?;
    if ended.console_bytes > MOST_LOG {
        notes.push(format!("the log has the first {MOST_LOG} bytes of {}", ended.console_bytes));
    }
    if request.is_open {
        notes.push("the guest could reach every network that this machine can".to_owned());
    }
    Ok(BootReport {
        volume: request.volume.typed().to_string_lossy().into_owned(),
        verdict: ended.verdict,
        reason: ended.reason,
        seconds: ended.time.as_secs_f64(),
        firmware: firmware.name(),
        accelerator: accelerator.name(),
        log: request.log.as_ref().map(|path| path.to_string_lossy().into_owned()),
        console_bytes: ended.console_bytes,
        metadata: imds.asked(),
        notes,
    })
}

/// Returns how the volume starts: as the user says, as its description does, or as what is in it allows.
fn declared(request: &BootRequest, watch: &dyn Watch) -> Result<BootMode> {
    let volume = &request.volume;
    let found = find(volume).map_err(|error| volume.fail(error))?;
    if let Found::Bundle(bundle) = &found {
        let ami = bundle.ami();
        let architecture = ami.effective_architecture();
        if architecture != Architecture::X86_64 {
            let text =
                format!("its architecture is {architecture}, and only x86_64 can be started");
            return Err(Error::new(Kind::Unsupported, text).in_file(&volume.image.path));
        }
        // Without a boot mode, x86_64 instance types start by BIOS.
        let mode = request.boot_mode.or(ami.boot_mode).unwrap_or(BootMode::LegacyBios);
        return Ok(if mode == BootMode::LegacyBios { mode } else { BootMode::Uefi });
    }
    if let Some(mode) = request.boot_mode {
        return Ok(mode);
    }
    let opened = open(volume, watch)?;
    let layout = look(opened.volume()).map_err(|error| volume.fail(error))?;
    let has_esp = layout.partitions.iter().any(|part| part.kind == PartitionKind::Esp);
    Ok(if has_esp && !layout.has_boot_code { BootMode::Uefi } else { BootMode::LegacyBios })
}

/// What the metadata service says.
fn facts(request: &BootRequest, exports: &[Export]) -> Result<Facts> {
    let file = |path: &Option<PathBuf>| -> Result<Option<Vec<u8>>> {
        let Some(path) = path else { return Ok(None) };
        let input = Input::open(path)?;
        let len = input.len();
        if len > MOST_USER_DATA {
            let text = format!("it has {len} bytes, expected at most {MOST_USER_DATA}");
            return Err(Error::new(Kind::Limit, text).in_file(path));
        }
        read_vec(&input, 0, len).map(Some)
    };
    let id = &request.instance_id;
    let digits = id.strip_prefix("i-").filter(|it| it.bytes().all(|b| b.is_ascii_hexdigit()));
    if !digits.is_some_and(|it| it.len() == 17 || it.len() == 8) {
        let text = format!("{id:?} is not an instance id, as in i-0123456789abcdef0");
        return Err(Error::invalid(text));
    }
    let host = &request.hostname;
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    if host.is_empty() || host.len() > 253 || !host.bytes().all(is_host) {
        return Err(Error::invalid(format!("{host:?} is not the name of a host")));
    }
    let mut devices = Vec::new();
    for (index, export) in exports.iter().enumerate() {
        let name = if export.name.is_empty() { "xvda" } else { &export.name };
        if index == 0 {
            devices.push(("ami".to_owned(), name.to_owned()));
            devices.push(("root".to_owned(), format!("/dev/{name}")));
        } else {
            devices.push((format!("ebs{index}"), name.to_owned()));
        }
    }
    Ok(Facts {
        instance_id: id.clone(),
        hostname: host.clone(),
        architecture: "x86_64".to_owned(),
        mac: MAC.to_owned(),
        address: "169.254.0.15".to_owned(),
        public_key: file(&request.public_key)?,
        user_data: file(&request.user_data)?,
        devices,
    })
}

/// Tells whether a machine that KVM runs has just come up.
///
/// # Errors
///
/// `Interrupted`; `Io` if no folder can be made for its sockets.
pub(in crate::ops) fn works_with_kvm(program: &Path, watch: &dyn Watch) -> Result<bool> {
    let request = &BootRequest::new(VolumeRequest::new(Path::new("probe")));
    let (folder, identity) = (private_folder()?, identity(request));
    let host =
        Host { program, folder: folder.path(), request, firmware: &Firmware::Bios, identity };
    Ok(host.accelerator(watch)? == Accelerator::Kvm)
}

fn identity(request: &BootRequest) -> Identity {
    Identity { instance_id: request.instance_id.clone(), mac: MAC.to_owned() }
}

/// Until a kernel under KVM must have written a line, if KVM was chosen by us: loaders wait 5 seconds for a key at most
/// where nobody changed that, and a kernel follows at once.
const SILENCE: Duration = Duration::from_secs(30);

/// MAC address of the network card: one that is administered locally.
const MAC: &str = "0a:ff:d0:00:00:01";

fn private_folder() -> Result<tempfile::TempDir> {
    let only_owner = Permissions::from_mode(0o700);
    let made = tempfile::Builder::new().prefix("amikit-").permissions(only_owner).tempdir();
    made.map_err(|e| Error::io("make a folder in", &std::env::temp_dir(), e))
}

/// Who stops the servers: the user, or the end of the machine.
struct Until<'a> {
    watch: &'a dyn Watch,
    is_over: AtomicBool,
}

impl Watch for Until<'_> {
    fn stopped(&self) -> bool {
        self.is_over.load(Ordering::Relaxed) || self.watch.stopped()
    }
}

/// Sets the end even if the run in between panics: the servers' threads are waited for.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Where a machine runs.
struct Host<'a> {
    program: &'a Path,
    folder: &'a Path,
    request: &'a BootRequest,
    firmware: &'a Firmware,
    identity: Identity,
}

impl Host<'_> {
    /// Says how the processor is run: by KVM only where a machine has just shown that it works.
    fn accelerator(&self, watch: &dyn Watch) -> Result<Accelerator> {
        if let Processor::Only(one) = self.request.processor {
            return Ok(one);
        }
        if Node::at(Path::new("/dev/kvm"))?.is_none() {
            return Ok(Accelerator::Tcg);
        }
        let probe = Input::memory("probe", boot::volume());
        let volume = Arc::from(open(&probe.into(), watch)?.into_volume());
        let export = Export { name: String::new(), description: "probe".to_owned(), volume };
        let works = self.with_servers(&[export], None, watch, &mut Vec::new(), |socket, _| {
            let names = [String::new()];
            let machine = Machine {
                firmware: &Firmware::Bios,
                disk: Disk::Ide,
                ..self.machine(Accelerator::Kvm, socket, &names, None)
            };
            boot::works(self.program, &machine, watch)
        })?;
        Ok(if works { Accelerator::Kvm } else { Accelerator::Tcg })
    }

    /// Tells whether a machine may be run again by translation if its kernel says nothing.
    fn may_translate(&self, accelerator: Accelerator) -> bool {
        accelerator == Accelerator::Kvm && matches!(self.request.processor, Processor::Auto)
    }

    fn machine<'m>(
        &'m self,
        accelerator: Accelerator,
        socket: &'m Path,
        exports: &'m [String],
        relay: Option<(&'m Path, &'m Path)>,
    ) -> Machine<'m> {
        Machine {
            accelerator,
            firmware: self.firmware,
            memory_mib: self.request.memory_mib,
            socket,
            exports,
            disk: self.request.disk,
            identity: &self.identity,
            relay,
            is_open: self.request.is_open,
            is_confined: true,
        }
    }

    /// Runs the machine.
    fn start(
        &self,
        accelerator: Accelerator,
        (exports, names): (&[Export], &[String]),
        imds: &Imds,
        watch: &dyn Watch,
        notes: &mut Vec<String>,
        log: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<Ended> {
        let request = self.request;
        self.with_servers(exports, Some(imds), watch, notes, |socket, metadata| {
            let relay = request.relay.as_deref().zip(metadata);
            let machine = self.machine(accelerator, socket, names, relay);
            let console = Console::new(request.until.clone());
            // A run of little time has more of it for the second try.
            let silence = SILENCE.min(request.time.div_f64(4.0));
            let silence = self.may_translate(accelerator).then_some(silence);
            let limits = Limits { time: request.time, silence, log_bytes: MOST_LOG };
            boot::run(self.program, &machine, console, &limits, watch, log)
        })
    }

    /// Serves volumes, and the metadata service, while `body` runs.
    fn with_servers<T>(
        &self,
        exports: &[Export],
        imds: Option<&Imds>,
        watch: &dyn Watch,
        notes: &mut Vec<String>,
        body: impl FnOnce(&Path, Option<&Path>) -> Result<T>,
    ) -> Result<T> {
        let bind = |name: &str| {
            let path = self.folder.join(name);
            Listener::bind(Address::Unix(path.clone())).map(|listener| (listener, path))
        };
        let (volumes, socket) = bind("nbd.sock")?;
        let metadata = imds.map(|imds| bind("imds.sock").map(|it| (imds, it))).transpose()?;
        let until = Until { watch, is_over: AtomicBool::new(false) };
        let failure: Mutex<Option<String>> = Mutex::default();
        let hear = |event: Event<'_>| {
            if let Event::Failed { error, .. } = event {
                let mut first = failure.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert_with(|| error.to_string());
            }
        };
        let done = thread::scope(|scope| {
            let over = Over(&until.is_over);
            let serve = || nbd::serve(&volumes, exports, DEFAULT_CONNECTIONS, &until, &hear);
            let server = spawn(scope, serve)?;
            let (path, until) = (metadata.as_ref().map(|(_, (_, path))| path.as_path()), &until);
            if let Some((imds, (listener, _))) = &metadata {
                spawn(scope, move || imds.serve(listener, until))?;
            }
            let done = body(&socket, path);
            drop(over);
            let outcome = server.join().expect("a server does not panic");
            // What stopped the machine comes first.
            let done = done?;
            outcome.map(|_| done)
        });
        let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
        notes.extend(failure.map(|error| format!("a read of the volume failed: {error}")));
        done
    }
}
