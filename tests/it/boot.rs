//! Starting volumes: the metadata service over a socket, and QEMU where it is installed, on guests of one sector.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use amikit::Watch;
use amikit::internals::boot::Accelerator;
use amikit::internals::boot::Disk;
use amikit::internals::boot::Firmware;
use amikit::internals::boot::Identity;
use amikit::internals::boot::Machine;
use amikit::internals::boot::sector;
use amikit::internals::serve::Address;
use amikit::internals::serve::Listener;
use amikit::internals::serve::imds::Facts;
use amikit::internals::serve::imds::Imds;
use serde_json::Value;

use crate::common::amikit;
use crate::common::installed;
use crate::common::run;
use crate::common::run_badly;
use crate::common::run_well;
use crate::common::sample;
use crate::common::stderr;
use crate::schemas;

/// Ends a server.
#[derive(Default)]
struct Over(AtomicBool);

impl Watch for Over {
    fn stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

fn facts() -> Facts {
    Facts {
        instance_id: "i-0123456789abcdef0".into(),
        hostname: "web.ec2.internal".into(),
        architecture: "x86_64".into(),
        mac: "0a:ff:d0:00:00:01".into(),
        address: "169.254.0.15".into(),
        public_key: None,
        user_data: Some(b"#cloud-config\n".to_vec()),
        devices: vec![("root".into(), "/dev/xvda".into())],
    }
}

/// Serves on the loopback while `client` talks to it.
fn served(client: impl FnOnce(SocketAddr)) -> Vec<String> {
    let listener = Listener::bind(Address::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
    let Address::Tcp(address) = listener.address().clone() else { unreachable!() };
    let (imds, over) = (Imds::new(facts()), Over::default());
    thread::scope(|scope| {
        let server = scope.spawn(|| imds.serve(&listener, &over));
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| client(address)));
        over.0.store(true, Ordering::Relaxed);
        server.join().unwrap().unwrap();
        done.unwrap();
    });
    imds.asked()
}

/// Sends a request on an open connection, and returns status and body.
fn ask(stream: &mut TcpStream, request: &str) -> (u16, String) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap_or_else(|e| panic!("{request:?}: {e}"));
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let len = head.lines().find_map(|it| it.strip_prefix("Content-Length: ")).unwrap();
    let mut body = vec![0; len.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), String::from_utf8(body).unwrap())
}

fn token(stream: &mut TcpStream) -> String {
    let request = "PUT /latest/api/token HTTP/1.1\r\nHost: x\r\n\
                   X-aws-ec2-metadata-token-ttl-seconds: 60\r\nContent-Length: 0\r\n\r\n";
    let (status, token) = ask(stream, request);
    assert_eq!(status, 200, "{token}");
    token
}

#[test]
fn the_metadata_service_answers_only_with_a_token() {
    let asked = served(|address| {
        let mut stream = TcpStream::connect(address).unwrap();
        let get = |path: &str, token: &str| {
            format!(
                "GET {path} HTTP/1.1\r\nHost: 169.254.169.254\r\nX-aws-ec2-metadata-token: {token}\r\n\r\n"
            )
        };
        let id = "/latest/meta-data/instance-id";
        assert_eq!(ask(&mut stream, &format!("GET {id} HTTP/1.1\r\n\r\n")).0, 401);
        assert_eq!(ask(&mut stream, &get(id, "guessed")).0, 401);
        let token = token(&mut stream);
        assert_eq!(ask(&mut stream, &get(id, &token)), (200, "i-0123456789abcdef0".to_owned()));
        assert_eq!(ask(&mut stream, &get("/latest/user-data", &token)).1, "#cloud-config\n");
        assert_eq!(ask(&mut stream, &get("/latest/meta-data/iam/info", &token)).0, 404);
        // Another connection has the same tokens.
        let mut other = TcpStream::connect(address).unwrap();
        assert_eq!(ask(&mut other, &get("/2021-03-23/meta-data/hostname", &token)).0, 200);
    });
    let paths =
        ["/latest/meta-data/instance-id", "/latest/user-data", "/2021-03-23/meta-data/hostname"];
    assert_eq!(asked, paths);
}

#[test]
fn tokens_have_a_life_and_are_not_given_to_proxies() {
    served(|address| {
        let mut stream = TcpStream::connect(address).unwrap();
        let put = |headers: &str| format!("PUT /latest/api/token HTTP/1.1\r\n{headers}\r\n");
        let ttl = "X-aws-ec2-metadata-token-ttl-seconds";
        for (headers, status) in [
            (String::new(), 400),
            (format!("{ttl}: 0\r\n"), 400),
            (format!("{ttl}: 21601\r\n"), 400),
            (format!("{ttl}: many\r\n"), 400),
            (format!("{ttl}: 5\r\nX-Forwarded-For: 10.0.0.1\r\n"), 403),
            (format!("{ttl}: 21600\r\n"), 200),
        ] {
            assert_eq!(ask(&mut stream, &put(&headers)).0, status, "{headers}");
        }
        assert_eq!(ask(&mut stream, "POST / HTTP/1.1\r\n\r\n").0, 405);
        assert_eq!(ask(&mut stream, "PUT /latest/user-data HTTP/1.1\r\n\r\n").0, 403);
    });
}

#[test]
fn garbage_ends_its_connection_and_no_other() {
    served(|address| {
        let mut good = TcpStream::connect(address).unwrap();
        let long = b"a".repeat(20_000);
        for garbage in [&b"\0\xff\r\n\r\n"[..], &long, b"GET / HTTP/1.1\r\nx\r\n\r\n"] {
            let mut stream = TcpStream::connect(address).unwrap();
            // It may be refused while it is still being sent.
            let _ = stream.write_all(garbage);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            let head = String::from_utf8_lossy(&answer);
            assert!(head.is_empty() || head.starts_with("HTTP/1.1 4"), "{head}");
        }
        // Cut connections cost nothing.
        for _ in 0..50 {
            let mut stream = TcpStream::connect(address).unwrap();
            let _ = stream.write_all(b"GET /latest");
        }
        assert!(!token(&mut good).is_empty());
    });
}

/// A disk of 1 MiB whose first sector writes a text to the serial port.
fn disk(folder: &Path, name: &str, text: &str) {
    let mut bytes = sector(text);
    bytes.resize(1 << 20, 0);
    fs::write(folder.join(name), bytes).unwrap();
}

fn boot(folder: &Path, line: &str, code: i32) -> Value {
    let output = run(folder, &format!("boot {line} --accel tcg --timeout 60 --memory 64 --json"));
    assert_eq!(output.status.code(), Some(code), "{line}: {}", stderr(&output));
    let report = serde_json::from_slice(&output.stdout).unwrap();
    let faults = schemas::check::faults(&schemas::schema("boot"), &report);
    assert!(faults.is_empty(), "{faults:#?}");
    report
}

#[test]
fn a_guest_of_one_sector_is_started_and_judged_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    if !installed("qemu-system-x86_64") {
        return;
    }
    disk(here, "up.raw", "\r\nweb login: ");
    disk(here, "panic.raw", "\r\n[    1.000000] Kernel panic - not syncing: No init\r\n");
    let before = fs::read(here.join("up.raw")).unwrap();
    run_well(here, "pack up.raw -o up.ami --name web-up --boot-mode legacy-bios");
    let report = boot(here, "up.ami --log console.log", 0);
    assert_eq!(
        (report["verdict"].as_str(), report["firmware"].as_str()),
        (Some("reached"), Some("legacy-bios"))
    );
    assert_eq!(report["reason"], "web login:");
    let log = fs::read(here.join("console.log")).unwrap();
    assert!(String::from_utf8_lossy(&log).contains("web login:"));
    run_well(here, "verify up.ami --against up.raw");
    assert!(fs::read(here.join("up.raw")).unwrap() == before);
    let report = boot(here, "panic.raw", 20);
    assert_eq!(report["reason"], "Kernel panic - not syncing: No init");
}

#[test]
fn mistakes_are_refused_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    disk(here, "up.raw", "login:");
    run_badly(here, "boot", 2);
    run_badly(here, "boot missing.raw", 3);
    run_badly(here, "boot up.raw --timeout 0", 2);
    if installed("qemu-system-x86_64") {
        run_badly(here, "boot up.raw --log up.raw", 2);
        run_badly(here, "boot up.raw --instance-id web", 2);
        run_badly(here, "boot up.raw --hostname a_b,c", 2);
        run_well(
            here,
            "pack up.raw -o arm.ami --name web-arm --arch arm64 --boot-mode uefi --allow boot-uefi",
        );
        run_badly(here, "boot arm.ami", 5);
    }
}

/// Starts `up.raw` with a program in the place of QEMU.
fn boot_with(here: &Path, script: &str, line: &str) -> Value {
    let programs = here.join("programs");
    fs::create_dir_all(&programs).unwrap();
    let qemu = programs.join("qemu-system-x86_64");
    fs::write(&qemu, script).unwrap();
    fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let words = format!("boot up.raw --firmware bios --json {line}");
    let mut command = amikit();
    let command = command.args(words.split(' ')).env("PATH", path).current_dir(here);
    let output = command.output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(&output)))
}

/// A machine that runs the probe under KVM and no kernel, as there are.
#[test]
fn a_kernel_that_says_nothing_under_kvm_is_started_again_without() {
    if !Path::new("/dev/kvm").exists() {
        println!("skipped: there is no /dev/kvm");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    disk(here, "up.raw", "login:");
    let script = "#!/bin/sh
        case \"$*\" in
            *accel=kvm*) if mkdir \"${0%/*}/probed\" 2>/dev/null; then echo amikit-probe; else echo GRUB loading...; fi; sleep 20 ;;
            *) echo web login:; sleep 20 ;;
        esac
";
    let run = |line: &str| boot_with(here, script, line);
    let report = run("--timeout 8 --log console.log");
    assert_eq!((&report["verdict"], &report["accelerator"]), (&"reached".into(), &"tcg".into()));
    assert!(report["notes"].to_string().contains("under KVM the kernel wrote nothing"), "{report}");
    let log = fs::read_to_string(here.join("console.log")).unwrap();
    assert!(log.contains("GRUB loading") && log.contains("web login:"), "{log}");
    // What the user asks for is what there is: the probe does not run, so nothing of it is left.
    let report = run("--timeout 2 --accel kvm");
    assert_eq!((&report["verdict"], &report["accelerator"]), (&"silent".into(), &"kvm".into()));
}

#[test]
fn a_qemu_without_a_sandbox_is_started_without() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    disk(here, "up.raw", "login:");
    let script = |message: &str| {
        format!(
            "#!/bin/sh
            case \"$*\" in
                *-sandbox*) echo '{message}' >&2; exit 1 ;;
                *) echo web login:; sleep 20 ;;
            esac
"
        )
    };
    for message in [
        "qemu-system-x86_64: -sandbox on: There is no option group 'sandbox'",
        "qemu-system-x86_64: -sandbox on: failed to install seccomp syscall filter in the kernel",
    ] {
        let report = boot_with(here, &script(message), "--timeout 20 --accel tcg");
        assert_eq!(report["verdict"], "reached");
        assert!(report["notes"].to_string().contains("QEMU ran unconfined"), "{report}");
    }
    let script = "#!/bin/sh\necho web login:; sleep 20\n";
    let report = boot_with(here, script, "--timeout 20 --accel tcg");
    assert!(report.get("notes").is_none(), "{report}");
}

/// The firmware of a network card as the guest: it asks for a file, and QEMU has to start the relay for that.
#[test]
fn a_confined_qemu_starts_the_relay() {
    if sample(5) < 5 {
        println!("skipped: the guest takes 16 s of the processor; AMIKIT_SAMPLES=all runs it");
        return;
    }
    let rom = Path::new("/usr/lib/ipxe/qemu/pxe-virtio.rom");
    if !installed("qemu-system-x86_64") || !rom.exists() {
        println!("skipped: needs QEMU and {}", rom.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("imds.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let identity =
        Identity { instance_id: "i-0123456789abcdef0".into(), mac: "0a:ff:d0:00:00:01".into() };
    let machine = Machine {
        accelerator: Accelerator::Tcg,
        firmware: &Firmware::Bios,
        memory_mib: 128,
        socket: Path::new("/nowhere"),
        exports: &[],
        disk: Disk::Nvme,
        identity: &identity,
        relay: Some((Path::new(env!("CARGO_BIN_EXE_amikit")), &socket)),
        is_open: false,
        is_confined: true,
    };
    let mut command = Command::new("qemu-system-x86_64");
    for word in machine.arguments() {
        let word = word.into_string().unwrap();
        let word = word
            .replace("restrict=on,", "restrict=on,bootfile=http://169.254.169.254/from-the-guest,");
        command.arg(word.replace("romfile=,", ""));
    }
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut qemu = command.spawn().unwrap();
    listener.set_nonblocking(true).unwrap();
    let began = Instant::now();
    let asked = loop {
        let ended = qemu.try_wait().unwrap();
        if let Ok((mut stream, _)) = listener.accept() {
            stream.set_nonblocking(false).unwrap();
            let mut head = [0; 19];
            break stream.read_exact(&mut head).map(|()| head);
        }
        if ended.is_some() || began.elapsed() > Duration::from_mins(3) {
            break Err(std::io::Error::other(format!("nobody came: {ended:?}")));
        }
        thread::sleep(Duration::from_millis(50));
    };
    let _ = qemu.kill();
    let output = qemu.wait_with_output().unwrap();
    assert_eq!(asked.unwrap(), *b"GET /from-the-guest", "{}", stderr(&output));
}
