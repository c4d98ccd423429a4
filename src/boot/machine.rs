//! The machine as QEMU's arguments. Pure; every name in them is ours.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::boot::firmware::Firmware;

/// The address of EC2's metadata service.
const METADATA: &str = "169.254.169.254";

/// How the processor is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// By the host's.
    Kvm,
    /// Translated.
    Tcg,
}

impl Accelerator {
    /// Returns the stable name, which is QEMU's.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// The controller of a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disk {
    /// As on Nitro.
    #[default]
    Nvme,
    /// As on KVM elsewhere.
    Virtio,
    /// AHCI, which every kernel knows.
    Ide,
}

/// Who the instance is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its id, `i-` and 17 hexadecimal digits.
    pub instance_id: String,
    /// MAC address of its network card.
    pub mac: String,
}

/// A machine.
#[derive(Clone, Debug)]
pub struct Machine<'a> {
    /// What runs it.
    pub accelerator: Accelerator,
    /// What starts it.
    pub firmware: &'a Firmware,
    /// Bytes of memory, in MiB.
    pub memory_mib: u32,
    /// The socket of the NBD server.
    pub socket: &'a Path,
    /// Names of the exports, the root volume first.
    pub exports: &'a [String],
    /// The controllers.
    pub disk: Disk,
    /// Who it is.
    pub identity: &'a Identity,
    /// The program and the socket that answer for the metadata service; no network without.
    pub relay: Option<(&'a Path, &'a Path)>,
    /// Whether the guest may reach every network that this process may.
    pub is_open: bool,
    /// Whether QEMU gives up the system calls that it does not need.
    pub is_confined: bool,
}

impl Machine<'_> {
    /// Returns QEMU's arguments.
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        let accelerator = self.accelerator.name();
        let mut all: Vec<OsString> = Vec::new();
        let mut add = |words: &[&OsStr]| all.extend(words.iter().map(|&word| word.to_owned()));
        let mut pair = |name: &str, value: &str| add(&[name.as_ref(), value.as_ref()]);
        pair("-machine", &format!("q35,accel={accelerator},graphics=off"));
        pair("-cpu", "max");
        pair("-smp", "2");
        pair("-m", &self.memory_mib.to_string());
        pair("-display", "none");
        pair("-chardev", "stdio,id=console,signal=off");
        pair("-serial", "chardev:console");
        pair("-object", "rng-random,id=random,filename=/dev/urandom");
        pair("-device", "virtio-rng-pci,rng=random");
        for value in self.smbios() {
            pair("-smbios", &value);
        }
        if self.is_confined {
            pair("-sandbox", self.sandbox());
        }
        all.extend(["-nodefaults", "-no-reboot", "-no-user-config"].map(OsString::from));
        self.add_firmware(&mut all);
        self.add_disks(&mut all);
        self.add_network(&mut all);
        all
    }

    /// Which system calls QEMU gives up.
    ///
    /// It starts a relay for each connection to the metadata service: by a fork, a new session and an exec. The new session
    /// is among the calls of `elevateprivileges`, which would kill the relay before it begins.
    fn sandbox(&self) -> &'static str {
        match self.relay {
            Some(_) => "on,obsolete=deny,elevateprivileges=allow,spawn=allow,resourcecontrol=deny",
            None => "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        }
    }

    /// What dracut, cloud-init and `EC2Launch` know an instance by.
    fn smbios(&self) -> Vec<String> {
        let id = &self.identity.instance_id;
        // A UUID of which the beginning is EC2's and the rest is the instance's.
        let digits: String =
            id.chars().filter(char::is_ascii_hexdigit).chain(['0'; 32]).take(32).collect();
        let uuid = format!(
            "ec2{}-{}-4{}-a{}-{}",
            &digits[..5],
            &digits[5..9],
            &digits[9..12],
            &digits[12..15],
            &digits[15..27]
        );
        vec![
            "type=0,vendor=Amazon EC2,version=1.0,release=1.0,date=10/16/2017".to_owned(),
            format!("type=1,manufacturer=Amazon EC2,product=m5.large,serial={uuid},uuid={uuid}"),
            format!("type=2,manufacturer=Amazon EC2,asset={id}"),
            "type=3,manufacturer=Amazon EC2,asset=Amazon EC2".to_owned(),
        ]
    }

    fn add_firmware(&self, all: &mut Vec<OsString>) {
        let Firmware::Uefi { code, variables } = self.firmware else { return };
        for (unit, file, how) in [(0, code, "readonly=on"), (1, variables, "snapshot=on")] {
            let mut value = OsString::from(format!("if=pflash,format=raw,unit={unit},{how},file="));
            value.push(escaped(file.as_os_str()));
            all.extend([OsString::from("-drive"), value]);
        }
    }

    fn add_disks(&self, all: &mut Vec<OsString>) {
        if self.disk == Disk::Ide {
            all.extend(["-device", "ich9-ahci,id=ahci"].map(OsString::from));
        }
        for (index, export) in self.exports.iter().enumerate() {
            // What the guest writes goes to a file without a name.
            let mut value = OsString::from(format!(
                "if=none,id=disk{index},format=raw,snapshot=on,cache=unsafe,discard=unmap,\
                 file.driver=nbd,file.export="
            ));
            value.push(escaped(OsStr::new(export)));
            value.push(",file.server.type=unix,file.server.path=");
            value.push(escaped(self.socket.as_os_str()));
            let serial = format!("vol{:017x}", index.strict_add(1));
            // The first disk is the one to start from, and the only one.
            let first = if index == 0 { ",bootindex=0" } else { "" };
            let device = match self.disk {
                Disk::Nvme => format!("nvme,drive=disk{index},serial={serial}{first}"),
                Disk::Virtio => format!("virtio-blk-pci,drive=disk{index},serial={serial}{first}"),
                Disk::Ide => {
                    format!("ide-hd,drive=disk{index},bus=ahci.{index},serial={serial}{first}")
                }
            };
            all.extend([OsString::from("-drive"), value, "-device".into(), device.into()]);
        }
    }

    fn add_network(&self, all: &mut Vec<OsString>) {
        let Some((program, socket)) = self.relay else { return };
        let restrict = if self.is_open { "off" } else { "on" };
        let mut command = OsString::from("");
        for word in
            [program.as_os_str(), OsStr::new("boot"), OsStr::new("--relay"), socket.as_os_str()]
        {
            command.push(quoted(word));
            command.push(" ");
        }
        let mut value = OsString::from(format!(
            "user,id=net,ipv6=off,net=169.254.0.0/16,restrict={restrict},\
             guestfwd=tcp:{METADATA}:80-cmd:"
        ));
        value.push(escaped(&command));
        let device = format!("virtio-net-pci,netdev=net,romfile=,mac={}", self.identity.mac);
        all.extend([OsString::from("-netdev"), value, "-device".into(), device.into()]);
    }
}

/// Doubles commas, which divide QEMU's options.
fn escaped(text: &OsStr) -> OsString {
    let mut bytes = Vec::new();
    for byte in text.as_bytes() {
        bytes.extend(std::iter::repeat_n(*byte, if *byte == b',' { 2 } else { 1 }));
    }
    OsStr::from_bytes(&bytes).to_owned()
}

/// Quotes a word of a command line as a shell reads it.
fn quoted(word: &OsStr) -> OsString {
    let mut bytes = vec![b'\''];
    for byte in word.as_bytes() {
        match byte {
            b'\'' => bytes.extend(b"'\\''"),
            byte => bytes.push(*byte),
        }
    }
    bytes.push(b'\'');
    OsStr::from_bytes(&bytes).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(change: impl FnOnce(&mut Machine<'_>)) -> String {
        let identity =
            Identity { instance_id: "i-0123456789abcdef0".into(), mac: "0a:ff:d0:00:00:01".into() };
        let exports = [String::new(), "sdf".to_owned()];
        let firmware = Firmware::Bios;
        let mut machine = Machine {
            accelerator: Accelerator::Tcg,
            firmware: &firmware,
            memory_mib: 1024,
            socket: Path::new("/tmp/a,b/nbd"),
            exports: &exports,
            disk: Disk::Nvme,
            identity: &identity,
            relay: Some((Path::new("/opt/it's/amikit"), Path::new("/tmp/a,b/imds"))),
            is_open: false,
            is_confined: true,
        };
        change(&mut machine);
        let all = machine.arguments();
        all.iter().map(|it| it.to_str().unwrap()).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn nothing_but_the_metadata_service_can_be_reached() {
        let all = arguments(|_| {});
        assert!(all.contains("restrict=on") && !all.contains("restrict=off"), "{all}");
        assert_eq!(all.matches("guestfwd=").count(), 1);
        assert!(all.contains("guestfwd=tcp:169.254.169.254:80-cmd:'/opt/it'\\''s/amikit' 'boot' '--relay' '/tmp/a,,b/imds'"));
        assert!(!all.contains("hostfwd") && !all.contains("-monitor") && !all.contains("-qmp"));
        let none = arguments(|machine| machine.relay = None);
        assert!(!none.contains("-netdev"), "{none}");
        assert!(arguments(|machine| machine.is_open = true).contains("restrict=off"));
    }

    #[test]
    fn qemu_gives_up_what_it_does_not_need() {
        let with_relay = arguments(|_| {});
        assert!(with_relay.contains("-sandbox\non,obsolete=deny,"), "{with_relay}");
        assert!(with_relay.contains("spawn=allow,resourcecontrol=deny"), "{with_relay}");
        let alone = arguments(|machine| machine.relay = None);
        assert!(alone.contains("elevateprivileges=deny,spawn=deny"), "{alone}");
        assert!(!arguments(|machine| machine.is_confined = false).contains("-sandbox"));
    }

    #[test]
    fn volumes_are_read_from_the_server_and_written_nowhere() {
        let all = arguments(|_| {});
        assert_eq!(all.matches("snapshot=on").count(), 2);
        assert_eq!(all.matches("file.server.path=/tmp/a,,b/nbd").count(), 2);
        assert!(all.contains("nvme,drive=disk0,serial=vol00000000000000001,bootindex=0"));
        assert!(all.contains("nvme,drive=disk1,serial=vol00000000000000002\n"));
        assert!(arguments(|it| it.disk = Disk::Ide).contains("ide-hd,drive=disk1,bus=ahci.1"));
    }

    #[test]
    fn the_machine_says_that_it_is_an_instance() {
        let all = arguments(|_| {});
        assert!(all.contains("uuid=ec201234-5678-49ab-acde-f00000000000"), "{all}");
        assert!(all.contains("type=2,manufacturer=Amazon EC2,asset=i-0123456789abcdef0"));
        let uefi = Firmware::Uefi { code: "/f/code".into(), variables: "/f/vars".into() };
        let all = arguments(|machine| machine.firmware = Box::leak(Box::new(uefi)));
        assert!(all.contains("unit=0,readonly=on,file=/f/code"));
        assert!(all.contains("unit=1,snapshot=on,file=/f/vars"));
    }
}
