//! Each rule about files has a guest that trips it, and one that just does not. Guests are in memory.

use super::*;

use std::io::Write;

use crate::ami::Ami;
use crate::ami::Architecture;
use crate::ami::BootMode;
use crate::ami::Virtualization;
use crate::guest::Guest;
use crate::guest::Logical;
use crate::guest::Part;
use crate::guest::PartitionKind;
use crate::guest::memory::Memory;
use crate::lint::Audience;
use crate::lint::Finding;
use crate::lint::Level;
use crate::lint::RULES;
use crate::lint::Subject;
use crate::lint::Topic;
use crate::lint::lint;

const ROOT: &str = "6e6c3f2a-0000-4000-8000-000000000001";
const DATA: &str = "6e6c3f2a-0000-4000-8000-000000000002";

/// A guest, a second volume, and the description.
pub(in crate::lint) struct World {
    root: Memory,
    data: Memory,
    ami: Ami,
    is_logical: bool,
    /// What else is on the root's volume.
    other: Option<&'static str>,
}

/// Makes a header of cpio and what follows it.
fn member(name: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = b"070701".to_vec();
    for (index, value) in [0, 0o100_644, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0]
        .into_iter()
        .enumerate()
    {
        assert!(index < 13);
        write!(bytes, "{value:08x}").unwrap();
    }
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Makes an archive of empty files.
fn cpio(names: &[&str]) -> Vec<u8> {
    let mut all: Vec<u8> = names.iter().flat_map(|name| member(name, &[7; 5])).collect();
    all.extend(member("TRAILER!!!", b""));
    all.resize(all.len().next_multiple_of(512), 0);
    all
}

const EARLY: &[&str] = &[
    "usr/lib/modules/6.1/kernel/fs/ext4/ext4.ko",
    "usr/lib/modules/6.1/kernel/drivers/nvme/host/nvme.ko.xz",
    "usr/lib/modules/6.1/kernel/drivers/block/xen-blkfront.ko",
];

fn grub(arguments: &str) -> String {
    format!(
        "set default=0\nmenuentry 'Debian' {{\n  linux /boot/vmlinuz-6.1 {arguments}\n  \
         initrd /boot/initrd.img-6.1\n}}\n"
    )
}

const ARGUMENTS: &str = "root=UUID=6e6c3f2a-0000-4000-8000-000000000001 ro console=ttyS0,115200n8 \
                         nvme_core.io_timeout=4294967295";

fn elf(machine: u8) -> Vec<u8> {
    [&b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0"[..], &[machine, 0], &[0; 44]].concat()
}

impl World {
    pub(in crate::lint) fn sound() -> Self {
        let mut root = Memory::new("ext4", ROOT);
        root.put(
            "/etc/passwd",
            "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000::/home/ann:/bin/sh\n",
        )
        .put("/etc/shadow", "root:*:1::::::\nann:!:1::::::\ndaemon:!*:1::::::\nbin:!!:1::::::\n")
        .put("/etc/os-release", "ID=debian\n")
        .put("/etc/machine-id", "")
        .put("/etc/hostname", "localhost\n")
        .put("/etc/ssh/sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\nPermitRootLogin no\n")
        .put("/etc/ssh/sshd_config.d/50.conf", "PasswordAuthentication no\n")
        .put("/usr/sbin/sshd", elf(62))
        .put("/usr/bin/cloud-init", "#!/usr/bin/python3\n")
        .put("/sbin/init", elf(62))
        .put(
            "/etc/fstab",
            format!(
                "UUID={ROOT} / ext4 defaults 0 1\nUUID={DATA} /data ext4 defaults,nofail 0 2\n"
            ),
        )
        .put("/boot/vmlinuz-6.1", "MZ")
        .put("/boot/initrd.img-6.1", cpio(EARLY))
        .put("/boot/grub/grub.cfg", grub(ARGUMENTS))
        .put("/lib/modules/6.1/modules.builtin", "kernel/fs/fuse/fuse.ko\n")
        .put("/lib/modules/6.1/modules.dep", "kernel/drivers/net/ethernet/amazon/ena/ena.ko.xz:\n")
        .put("/var/log/README", "logs are in the journal\n")
        .put("/var/log/wtmp", "")
        .put("/root/.ssh/authorized_keys", "# none\n\n")
        .folder("/data")
        .folder("/home/ann")
        .folder("/var/lib/cloud/scripts");
        let mut data = Memory::new("ext4", DATA);
        data.put("/readme", "data\n");
        let ami = Ami {
            name: "web".to_owned(),
            architecture: Some(Architecture::X86_64),
            virtualization_type: Some(Virtualization::Hvm),
            boot_mode: Some(BootMode::UefiPreferred),
            root_device_name: "/dev/xvda".to_owned(),
            ena_support: Some(true),
            ..Ami::default()
        };
        Self { root, data, ami, is_logical: false, other: None }
    }

    fn windows() -> Self {
        let mut world = Self::sound();
        world.root = Memory::new("ntfs", ROOT);
        world
            .root
            .put("/Windows/System32/drivers/awsnvme.SYS", "")
            .put("/Windows/System32/drivers/ena.sys", "")
            .put("/Windows/System32/drivers/xenvbd.sys", "")
            .put("/windows.old", "")
            .put("/Program Files/Amazon/EC2Launch/EC2Launch.exe", "MZ")
            .put(
                "/Windows/Setup/State/State.ini",
                "[State]\r\nImageState=IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE\r\n",
            );
        world
    }

    fn part(memory: &Memory, logical: bool) -> Part<'static> {
        Part {
            number: Some(1),
            range: 0..8192,
            logical: logical.then(|| Logical {
                name: "vg/root".to_owned(),
                device: 0,
                pieces: std::iter::once(0..8192).collect(),
                is_shared: false,
            }),
            kind: PartitionKind::Other,
            uuid: "11112222-01".to_owned(),
            label: "first part".to_owned(),
            found: Held::System(Box::new(memory.clone())),
        }
    }

    fn inside(&self) -> Inside {
        let mut parts = vec![Self::part(&self.root, self.is_logical)];
        if let Some(name) = self.other {
            let found = Held::Named(name);
            parts.push(Part { number: Some(2), found, ..Self::part(&self.root, false) });
        }
        let root = Guest::of_parts(parts, 8192);
        let data = Guest::of_parts(vec![Self::part(&self.data, false)], 8192);
        let volumes = [
            InsideVolume { device: "/dev/xvda", guest: &root },
            InsideVolume { device: "/dev/sdf", guest: &data },
        ];
        look_inside(&volumes, 0, true).unwrap()
    }

    fn findings(&self, audience: Audience) -> Vec<Finding> {
        let inside = self.inside();
        let subject = Subject { inside: Some(&inside), audience, ..Subject::of(&self.ami) };
        let all = lint(&subject, &[]);
        all.into_iter().filter(|finding| finding.topic == Topic::Guest).collect()
    }

    fn ids(&self) -> Vec<&'static str> {
        let findings = self.findings(Audience::Private);
        for finding in &findings {
            assert!(!finding.place.is_empty() && !finding.found.is_empty(), "{finding:?}");
            assert!(!finding.instead.is_empty() && !finding.fix.is_empty(), "{finding:?}");
        }
        findings.iter().map(|finding| finding.rule).collect()
    }

    fn put(&mut self, path: &str, content: &str) {
        self.root.put(path, content);
    }

    fn early(&mut self, packed: impl AsRef<[u8]>) {
        self.root.put("/boot/initrd.img-6.1", packed);
    }

    fn without(&mut self, module: &str) {
        let names: Vec<&str> = EARLY.iter().copied().filter(|it| !it.contains(module)).collect();
        self.early(cpio(&names));
    }
}

type Change = fn(&mut World);

/// Ends a chain of changes.
fn done(_: &mut Memory) {}

/// For each rule what trips it, and what just does not.
pub(in crate::lint) const CASES: &[(&str, Change, Change)] = &[
    (
        "guest-host-keys",
        |w| w.put("/etc/ssh/ssh_host_ed25519_key.pub", "ssh-ed25519 AAAA"),
        |w| w.put("/etc/ssh/ssh_known_hosts", "host ssh-ed25519 AAAA"),
    ),
    (
        "guest-authorized-keys",
        |w| w.put("/home/ann/.ssh/authorized_keys", "ssh-ed25519 AAAA ann\n"),
        |w| w.put("/home/ann/.ssh/authorized_keys", "# ssh-ed25519 AAAA ann\n"),
    ),
    (
        "guest-authorized-keys",
        |w| {
            w.put("/etc/ssh/sshd_config.d/9.conf", "AuthorizedKeysFile /etc/keys/%u\n");
            w.put("/etc/keys/ann", "ssh-rsa AAAA\n");
        },
        |w| w.put("/etc/keys/ann", "ssh-rsa AAAA\n"),
    ),
    (
        "guest-authorized-keys",
        |w| w.put("/home/left/.ssh/authorized_keys2", "ssh-rsa AAAA\n"),
        |w| w.put("/srv/left/.ssh/authorized_keys", "ssh-rsa AAAA\n"),
    ),
    (
        "guest-password-empty",
        |w| w.put("/etc/shadow", "root:*:1::::::\nann::1::::::\n"),
        |w| w.put("/etc/shadow", "root:*:1::::::\nann:!:1::::::\n"),
    ),
    (
        "guest-password-empty",
        |w| w.put("/etc/passwd", "root::0:0:root:/root:/bin/sh\n"),
        |w| w.put("/etc/passwd", "root:*:0:0:root:/root:/bin/sh\n"),
    ),
    (
        "guest-password-empty",
        |w| w.put("/etc/shadow", "ann::1::::::\n"),
        |w| w.put("/etc/shadow", "ann:!:1::::::\n+::::::::\n"),
    ),
    (
        "guest-password",
        |w| w.put("/etc/shadow", "ann:$y$j9T$abc$def:1::::::\n"),
        |w| w.put("/etc/shadow", "ann:!$y$j9T$abc$def:1::::::\n"),
    ),
    (
        "guest-sshd-password",
        |w| w.put("/etc/ssh/sshd_config.d/50.conf", "X11Forwarding no\n"),
        |w| w.put("/etc/ssh/sshd_config.d/50.conf", "AuthenticationMethods publickey\n"),
    ),
    (
        "guest-sshd-password",
        |w| w.put("/etc/ssh/sshd_config.d/40.conf", "PasswordAuthentication yes\n"),
        |w| w.put("/etc/ssh/sshd_config.d/60.conf", "PasswordAuthentication yes\n"),
    ),
    (
        "guest-sshd-password",
        |w| w.put("/etc/ssh/sshd_config.d/60.conf", "Match User ann\nPasswordAuthentication yes\n"),
        |w| w.put("/etc/ssh/sshd_config.d/60.conf", "Match User ann\nPasswordAuthentication no\n"),
    ),
    (
        "guest-sshd-password",
        |w| w.put("/etc/ssh/sshd_config.d/60.conf", "UsePAM yes\n"),
        |w| {
            w.put(
                "/etc/ssh/sshd_config.d/60.conf",
                "UsePAM yes\nChallengeResponseAuthentication no\n",
            );
        },
    ),
    (
        "guest-sshd-password",
        |w| {
            w.root.remove("/etc/ssh/sshd_config");
            w.put("/usr/etc/ssh/sshd_config", "PasswordAuthentication yes\n");
        },
        |w| {
            w.root.remove("/etc/ssh/sshd_config");
            w.put("/usr/etc/ssh/sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\n");
        },
    ),
    (
        "guest-sshd-root",
        |w| w.put("/etc/ssh/sshd_config.d/40.conf", "PermitRootLogin yes\n"),
        |w| w.put("/etc/ssh/sshd_config.d/40.conf", "PermitRootLogin prohibit-password\n"),
    ),
    (
        "guest-machine-id",
        |w| w.put("/etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
        |w| w.put("/etc/machine-id", "uninitialized\n"),
    ),
    (
        "guest-machine-id",
        |w| w.put("/var/lib/dbus/machine-id", "0123456789abcdef0123456789abcdef\n"),
        |w| done(w.root.link("/var/lib/dbus/machine-id", "/etc/machine-id")),
    ),
    (
        "guest-cloud-init",
        |w| done(w.root.remove("/usr/bin/cloud-init")),
        |w| done(w.root.remove("/usr/bin/cloud-init").put("/usr/bin/ignition", "")),
    ),
    (
        "guest-cloud-init-state",
        |w| w.put("/var/lib/cloud/instances/i-1/user-data.txt", "#cloud-config\n"),
        |w| w.put("/var/lib/cloud/seed/nocloud/meta-data", "x: y\n"),
    ),
    (
        "guest-leftovers",
        |w| w.put("/var/log/apt/term.log", "Log started\n"),
        |w| w.put("/var/log/apt/term.log", ""),
    ),
    ("guest-leftovers", |w| w.put("/etc/hostname", "build-7\n"), |w| w.put("/etc/hostname", "\n")),
    (
        "guest-leftovers",
        |w| w.put("/etc/netplan/50.yaml", "match:\n  macaddress: '02:00:5e:10:00:01'\n"),
        |w| {
            w.put(
                "/etc/netplan/50.yaml",
                "match:\n  # macaddress: 02:00:5e:10:00:01\n  name: en*\n",
            );
        },
    ),
    (
        "guest-leftovers",
        |w| {
            w.put(
                "/etc/systemd/network/10-eth0.link",
                "[Match]\nPermanentMACAddress=02:00:5e:10:00:01\n",
            );
        },
        |w| w.put("/etc/systemd/network/10-eth0.link", "[Match]\nOriginalName=*\n"),
    ),
    (
        "guest-leftovers",
        |w| w.put("/etc/netplan/50.yaml", "match: {macaddress: 02:00:5e:10:00:01}\n"),
        |w| w.put("/etc/netplan/50.yaml", "match: {name: en*}\n"),
    ),
    (
        "guest-leftovers",
        |w| w.put("/var/lib/systemd/credential.secret", "0123"),
        |w| w.put("/var/lib/systemd/credential", "0123"),
    ),
    (
        "guest-leftovers",
        |w| w.put("/var/lib/systemd/random-seed", "0123"),
        |w| w.put("/var/lib/systemd/random-seed", ""),
    ),
    (
        "guest-leftovers",
        |w| done(w.root.folder("/var/lib/amazon/ssm/i-0123")),
        |w| done(w.root.folder("/var/lib/amazon/ssm/ipc")),
    ),
    (
        "guest-history",
        |w| w.put("/root/.bash_history", "ls\n"),
        |w| w.put("/root/.bash_history", ""),
    ),
    (
        "guest-history",
        |w| w.put("/home/ann/.notes.swp", "b0VIM"),
        |w| w.put("/home/ann/notes", "b0VIM"),
    ),
    (
        "guest-secrets",
        |w| w.put("/opt/app/key.pem", "x\n-----BEGIN RSA PRIVATE KEY-----\n"),
        |w| w.put("/opt/app/cert.pem", "-----BEGIN CERTIFICATE-----\n"),
    ),
    (
        "guest-secrets",
        |w| done(w.data.put("/backup/.aws/credentials", "[default]\n")),
        |w| done(w.data.put("/backup/.aws/config", "[default]\n")),
    ),
    (
        "guest-secrets",
        |w| w.put("/app/key.pem", "-----BEGIN RSA PRIVATE KEY-----\n"),
        |w| w.put("/usr/share/doc/key.pem", "-----BEGIN RSA PRIVATE KEY-----\n"),
    ),
    (
        "guest-fstab-file",
        |w| done(w.root.link("/etc/fstab", "/boot/fstab").put("/boot/fstab", "")),
        |w| w.put("/etc/fstab", "# nothing\n"),
    ),
    ("guest-fstab-file", |w| done(w.root.remove("/etc/fstab")), |w| w.put("/etc/fstab", "")),
    (
        "guest-fstab",
        |w| {
            w.put(
                "/etc/fstab",
                "UUID=6e6c3f2a-0000-4000-8000-00000000000f /srv ext4 defaults 0 2\n",
            );
        },
        |w| w.put("/etc/fstab", "UUID=6e6c3f2a-0000-4000-8000-00000000000f /srv ext4 nofail 0 2\n"),
    ),
    (
        "guest-fstab",
        |w| w.put("/etc/fstab", "PARTUUID=11112222-03 /srv ext4 defaults 0 2\n"),
        |w| w.put("/etc/fstab", "PARTUUID=11112222-01 /srv ext4 defaults 0 2\n"),
    ),
    (
        "guest-fstab",
        |w| w.put("/etc/fstab", "PARTLABEL=second /srv ext4 defaults 0 2\n"),
        |w| w.put("/etc/fstab", "PARTLABEL=first\\040part /srv ext4 defaults 0 2\n"),
    ),
    (
        "guest-fstab",
        |w| w.put("/etc/fstab", "LABEL=my\\040disk /srv ext4 defaults 0 2\n"),
        |w| {
            w.root.about_mut().label = b"my disk".to_vec();
            w.put("/etc/fstab", "LABEL=my\\040disk /srv ext4 defaults 0 2\n");
        },
    ),
    (
        "guest-fstab",
        |w| w.put("/etc/fstab", "LABEL=none / ext4 defaults 0 2\n"),
        |w| {
            w.other = Some("btrfs");
            w.put("/etc/fstab", "LABEL=none / ext4 defaults 0 2\n");
        },
    ),
    (
        "guest-device-names",
        |w| w.put("/etc/fstab", "/dev/xvda1 / ext4 defaults 0 1\n"),
        |w| w.put("/etc/fstab", "/dev/mapper/vg-root / ext4 defaults 0 1\n"),
    ),
    (
        "guest-device-names",
        |w| w.put("/boot/grub/grub.cfg", &grub("root=/dev/nvme0n1p1 console=ttyS0")),
        |w| w.put("/boot/grub/grub.cfg", &grub("root=/dev/disk/by-partuuid/11112222-01")),
    ),
    (
        "guest-fstab-nofail",
        |w| w.put("/etc/fstab", &format!("UUID={DATA} /data ext4 defaults 0 2\n")),
        |w| w.put("/etc/fstab", &format!("UUID={DATA} /data ext4 noauto 0 2\n")),
    ),
    (
        "guest-uuid-twice",
        |w| w.data.about_mut().uuid = Some(ROOT.to_uppercase()),
        |w| w.data.about_mut().uuid = None,
    ),
    (
        "guest-kernel",
        |w| done(w.root.remove("/boot/initrd.img-6.1")),
        |w| {
            let other = "menuentry x {\nlinux /boot/vmlinuz-5\n}\n";
            w.put("/boot/grub/grub.cfg", &[&grub(ARGUMENTS), other].concat());
        },
    ),
    (
        "guest-kernel",
        |w| {
            done(
                w.root
                    .remove("/boot/grub")
                    .put("/boot/loader/entries/a.conf", "linux /vmlinuz-5\n"),
            );
        },
        |w| {
            done(
                w.root
                    .remove("/boot/grub")
                    .put("/boot/loader/entries/a.conf", "linux /vmlinuz-6.1\n"),
            );
        },
    ),
    (
        "guest-kernel",
        |w| {
            w.root.remove("/boot/grub");
            w.put("/boot/extlinux/extlinux.conf", "LINUX ../vmlinuz-5\nINITRD ../initrd.img-6.1\n");
        },
        |w| {
            w.root.remove("/boot/grub");
            w.put(
                "/boot/extlinux/extlinux.conf",
                "LINUX ../vmlinuz-6.1\nINITRD ../initrd.img-6.1\n",
            );
        },
    ),
    (
        "guest-kernel-stale",
        |w| {
            let other = "menuentry x {\nlinux /boot/vmlinuz-5\n}\n";
            w.put("/boot/grub/grub.cfg", &[&grub(ARGUMENTS), other].concat());
        },
        |w| {
            let other = "menuentry x {\nlinux ${name}\n}\n";
            w.put("/boot/grub/grub.cfg", &[&grub(ARGUMENTS), other].concat());
        },
    ),
    (
        "guest-root",
        |w| w.put("/boot/grub/grub.cfg", &grub("root=UUID=0")),
        |w| w.put("/boot/grub/grub.cfg", &grub("root=UUID=0/PARTNROFF=1")),
    ),
    (
        "guest-console",
        |w| w.put("/boot/grub/grub.cfg", &grub("console=tty0 quiet")),
        |w| w.put("/boot/grub/grub.cfg", &grub("console=tty0 console=ttyS0")),
    ),
    (
        "guest-console",
        |w| {
            let test = "menuentry x {\nlinux16 /boot/memtest86+x64.bin console=ttyS0,115200\n}\n";
            w.put("/boot/memtest86+x64.bin", "MZ");
            w.put("/boot/grub/grub.cfg", &[&grub("console=tty0"), test].concat());
        },
        |w| {
            let rescue = "menuentry x {\nlinux /boot/vmlinuz-6.1 console=ttyS0,115200\n}\n";
            w.put("/boot/grub/grub.cfg", &[&grub("console=tty0"), rescue].concat());
        },
    ),
    (
        "guest-nvme",
        |w| w.without("nvme"),
        |w| {
            w.without("nvme");
            w.put("/lib/modules/6.1/modules.builtin", "kernel/drivers/nvme/host/nvme.ko\n");
        },
    ),
    (
        "guest-nvme",
        |w| w.without("nvme"),
        |w| w.early([&cpio(&["kernel/x86/microcode/x.bin"])[..], &cpio(EARLY)].concat()),
    ),
    ("guest-nvme", |w| w.without("nvme"), |w| w.early("not an archive")),
    (
        "guest-nitro",
        |w| {
            (w.ami.ena_support, w.ami.boot_mode) = (None, None);
            w.without("nvme");
        },
        |w| w.without("nvme"),
    ),
    ("guest-root-module", |w| w.without("ext4"), |w| w.without("nvme")),
    (
        "guest-ena",
        |w| w.put("/lib/modules/6.1/modules.dep", "kernel/drivers/net/e1000.ko:\n"),
        |w| {
            w.ami.ena_support = None;
            w.put("/lib/modules/6.1/modules.dep", "kernel/drivers/net/e1000.ko:\n");
        },
    ),
    (
        "guest-xen",
        |w| {
            (w.ami.ena_support, w.ami.boot_mode) = (None, None);
            w.without("xen");
        },
        |w| w.without("xen"),
    ),
    (
        "guest-nvme-timeout",
        |w| w.put("/boot/grub/grub.cfg", &grub("console=ttyS0")),
        |w| {
            w.put("/boot/grub/grub.cfg", &grub("console=ttyS0"));
            w.put("/etc/modprobe.d/nvme.conf", "options nvme_core io_timeout=4294967295\n");
        },
    ),
    (
        "guest-selinux",
        |w| w.put("/etc/selinux/config", "SELINUX=enforcing\n"),
        |w| w.put("/etc/selinux/config", "#SELINUX=enforcing\nSELINUX=permissive\n"),
    ),
    (
        "guest-selinux",
        |w| w.put("/etc/selinux/config", "SELINUX=enforcing\n"),
        |w| {
            w.put("/etc/selinux/config", "SELINUX=enforcing\n");
            for path in ["/etc/passwd", "/etc/shadow", "/etc/ssh/sshd_config", "/usr/sbin/sshd"] {
                w.root.attribute(path, "security.selinux", "system_u:object_r:etc_t:s0");
            }
        },
    ),
    (
        "guest-selinux",
        |w| w.put("/etc/selinux/config", "SELINUX=enforcing\n"),
        |w| {
            w.put("/etc/selinux/config", "SELINUX=enforcing\n");
            w.put("/.autorelabel", "");
        },
    ),
    ("guest-encrypted", |w| w.other = Some("crypto_LUKS"), |w| w.other = Some("btrfs")),
    (
        "guest-lvm-pv",
        |w| {
            w.is_logical = true;
            w.ami.virtualization_type = Some(Virtualization::Paravirtual);
        },
        |w| w.is_logical = true,
    ),
    (
        "guest-architecture",
        |w| done(w.root.put("/sbin/init", elf(183))),
        |w| done(w.root.put("/sbin/init", elf(3))),
    ),
    (
        "guest-file-system-size",
        |w| w.data.about_mut().size = 8193,
        |w| w.data.about_mut().size = 8192,
    ),
    (
        "guest-windows-sysprep",
        |w| {
            *w = World::windows();
            w.put(
                "/Windows/Setup/State/State.ini",
                "[State]\r\nImageState=IMAGE_STATE_COMPLETE\r\n",
            );
        },
        |w| *w = World::windows(),
    ),
    (
        "guest-windows-launch",
        |w| {
            *w = World::windows();
            w.root.remove("/Program Files/Amazon");
        },
        |w| {
            *w = World::windows();
            w.root.remove("/Program Files/Amazon");
            w.put("/Program Files/AMAZON/EC2CONFIGSERVICE/EC2CONFIG.EXE", "MZ");
        },
    ),
    (
        "guest-windows-drivers",
        |w| {
            *w = World::windows();
            w.root.remove("/Windows/System32/drivers/ena.sys");
        },
        |w| *w = World::windows(),
    ),
];

#[test]
fn sound_guests_break_no_rule() {
    assert_eq!(World::sound().ids(), Vec::<&str>::new());
    assert_eq!(World::windows().ids(), Vec::<&str>::new());
    for audience in Audience::ALL {
        assert_eq!(World::sound().findings(audience), []);
    }
}

#[test]
fn every_rule_trips_and_just_does_not() {
    for (number, (id, bad, good)) in CASES.iter().enumerate() {
        let (mut tripped, mut not) = (World::sound(), World::sound());
        bad(&mut tripped);
        good(&mut not);
        assert!(tripped.ids().contains(id), "case {number}: {id} is not tripped");
        assert!(!not.ids().contains(id), "case {number}: {id} is tripped");
    }
}

/// What trips one rule trips no other of level error.
#[test]
fn nothing_else_is_called_an_error() {
    for (number, (id, bad, _)) in CASES.iter().enumerate() {
        let mut world = World::sound();
        bad(&mut world);
        let findings = world.findings(Audience::Private);
        let errors = findings.iter().filter(|it| it.level == Level::Error && it.rule != *id);
        assert_eq!(errors.collect::<Vec<_>>(), Vec::<&Finding>::new(), "case {number}");
    }
}

#[test]
fn levels_depend_on_whom_the_image_is_for() {
    let mut world = World::sound();
    world.put("/etc/ssh/ssh_host_rsa_key", "x");
    let level = |audience| world.findings(audience)[0].level;
    assert_eq!(level(Audience::Private), Level::Warning);
    assert_eq!(level(Audience::Shared), Level::Error);
    assert_eq!(level(Audience::Marketplace), Level::Error);
    for rule in RULES.iter().filter(|rule| rule.topic != Topic::Guest) {
        assert!(rule.fix.is_empty() && rule.level == rule.shared, "{}", rule.id);
    }
}

/// An initramfs in every compression, behind a plain archive of microcode.
#[test]
fn an_initramfs_is_read_in_any_compression() {
    let plain = cpio(EARLY);
    let lz4 = {
        // One block of literals.
        let mut block = vec![0xf0];
        let mut left = plain.len() - 15;
        while left >= 255 {
            block.push(255);
            left -= 255;
        }
        block.push(u8::try_from(left).unwrap());
        block.extend_from_slice(&plain);
        let len = u32::try_from(block.len()).unwrap().to_le_bytes();
        [&0x184c_2102_u32.to_le_bytes()[..], &len, &block].concat()
    };
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    };
    let xz = {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    };
    let lzma = {
        let options = liblzma::stream::LzmaOptions::new_preset(0).unwrap();
        let stream = liblzma::stream::Stream::new_lzma_encoder(&options).unwrap();
        let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    };
    let bzip2 = {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    };
    let mut zstd = Vec::new();
    crate::compress::Encoder::new(1).unwrap().append(&plain, &mut zstd);
    let early = cpio(&["kernel/x86/microcode/GenuineIntel.bin"]);
    for (name, packed) in [
        ("plain", &plain),
        ("gzip", &gzip),
        ("xz", &xz),
        ("lzma", &lzma),
        ("bzip2", &bzip2),
        ("zstd", &zstd),
        ("lz4", &lz4),
    ] {
        for front in [&[][..], &early, &[&early[..], &[0; 1024]].concat()] {
            let mut world = World::sound();
            world.early([front, packed].concat());
            let drivers = world.inside().drivers;
            assert_eq!(drivers.nvme, Some(true), "{name}");
            assert_eq!((drivers.root, drivers.xen), (Some(true), Some(true)), "{name}");
            // Of a cut archive nothing is said.
            world.early(&[front, packed].concat()[..front.len() + packed.len() / 2]);
            assert!(world.inside().drivers.nvme != Some(false), "{name}");
        }
    }
    let mut world = World::sound();
    world.early([&gzip[..], &early, &zstd].concat());
    assert_eq!(world.inside().drivers.nvme, Some(true));
}

/// Twenty kinds of secrets: each is found, by file and line, and none is shown.
#[test]
fn secrets_are_found_and_never_shown() {
    let long = "q7Zx9KpL2mN4vB6cX8zA1sD3fG5hJ7kL9pO0iU8yT6rE4wQ2";
    let secret = |at: usize, len: usize| &long[at..at + len];
    let upper = "QZXWVUTSRPNMLKJ2";
    let planted = [
        ("/opt/k.pem", format!("-----BEGIN EC PRIVATE KEY-----\n{long}\n"), 1),
        ("/root/.ssh/id_ed25519", format!("\n-----BEGIN OPENSSH PRIVATE KEY-----\n{long}\n"), 2),
        ("/root/k.asc", format!("-----BEGIN PGP PRIVATE KEY BLOCK-----\n{long}\n"), 1),
        ("/root/k.ppk", format!("PuTTY-User-Key-File-3: x\n{long}\n"), 0),
        ("/etc/app.conf", format!("a=b\nkey = AKIA{upper}\n"), 2),
        ("/srv/env", format!("export X=ASIA{upper}\n"), 1),
        ("/etc/boto.cfg", format!("aws_secret_access_key = {}\n", secret(0, 40)), 1),
        ("/home/ann/.aws/credentials", format!("[default]\n{long}\n"), 0),
        ("/home/ann/.netrc", format!("machine x\nlogin y\npassword {long}\n"), 3),
        ("/home/ann/.git-credentials", format!("https://x:{long}@y\n"), 0),
        (
            "/root/.docker/config.json",
            format!("{{\"auths\":{{\n\"x\":{{\"auth\":\"{long}\"}}}}}}\n"),
            2,
        ),
        ("/root/.pgpass", format!("*:*:*:x:{long}\n"), 0),
        ("/opt/gh", format!("ghp_{}\n", secret(3, 36)), 1),
        ("/opt/gl", format!("glpat-{}\n", secret(4, 20)), 1),
        ("/opt/slack", format!("xoxb-{}\n", secret(5, 24)), 1),
        ("/opt/google", format!("AIza{}\n", secret(6, 35)), 1),
        ("/root/.npmrc", format!("//r/:_authToken={}\n", secret(7, 30)), 1),
        ("/root/.pypirc", format!("[pypi]\npassword = {long}\n"), 2),
        ("/opt/stripe", format!("sk_live_{}\n", secret(8, 24)), 1),
        ("/opt/azure", format!("AccountKey={}\n", secret(1, 44)), 1),
        ("/root/.kube/config", format!("users:\n  client-key-data: {long}\n"), 2),
        ("/etc/wireguard/wg0.conf", format!("[Interface]\nPrivateKey = {long}\n"), 2),
        ("/etc/NetworkManager/system-connections/w", format!("[wifi-security]\npsk={long}\n"), 2),
        ("/srv/.env", format!("AWS_SECRET_ACCESS_KEY={}\n", secret(0, 40)), 1),
        ("/srv/role.json", format!("{{\n\"SecretAccessKey\": \"{}\"}}\n", secret(0, 40)), 2),
        ("/srv/age.txt", format!("# x\nAGE-SECRET-KEY-1{}\n", "Q7ZX".repeat(15).split_at(58).0), 2),
        ("/etc/apt/auth.conf.d/90pro", format!("machine x login y password {long}\n"), 1),
        ("/data/k.pem", format!("-----BEGIN PRIVATE KEY-----\n{long}\n"), 1),
        ("/root/.my.cnf", format!("[client]\npassword={long}\n"), 2),
    ];
    let mut world = World::sound();
    world.put("/etc/shadow", &format!("ann:$6${long}:1::::::\n"));
    for (path, content, _) in &planted {
        world.put(path, content);
    }
    let findings = world.findings(Audience::Marketplace);
    for (path, _, line) in &planted {
        let place = if *line == 0 { (*path).to_owned() } else { format!("{path}:{line}") };
        let found = findings.iter().any(|it| it.rule == "guest-secrets" && it.place == place);
        assert!(found, "{place}: {findings:#?}");
    }
    let all = format!("{findings:?} {:?}", world.inside());
    for at in 0..long.len() - 8 {
        assert!(!all.contains(&long[at..at + 8]), "{}", &long[at..at + 8]);
    }
    assert!(!all.contains(upper));
}

/// Which two of several have it, on one volume or on two.
#[test]
fn file_systems_of_one_uuid_are_named_both() {
    let mut world = World::sound();
    world.data.about_mut().uuid = Some(ROOT.to_owned());
    let findings = world.findings(Audience::Private);
    let twice = findings.iter().find(|it| it.rule == "guest-uuid-twice").unwrap();
    assert_eq!(twice.place, "/dev/sdf: partition 1");
    assert!(twice.found.ends_with(" of /dev/xvda: partition 1"), "{}", twice.found);
}

/// A key alone in a file of a binary format.
#[test]
fn keys_in_binary_files_are_found() {
    let mut world = World::sound();
    world.root.put("/root/.gnupg/secring.gpg", [0x95, 1, 13, 4, 9, 9, 9]);
    let jks = [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 9];
    world.root.put("/opt/tomcat/keystore.jks", jks);
    world.root.put("/opt/x.p12", [0x30, 0x82]);
    world.root.put("/etc/apt/trusted.gpg.d/debian.gpg", [0x99, 1, 13, 4]);
    let found = world.findings(Audience::Private);
    let places: Vec<&str> = found.iter().map(|it| it.place.as_str()).collect();
    assert_eq!(places, ["/root/.gnupg/secring.gpg", "/opt/tomcat/keystore.jks", "/opt/x.p12"]);
}

#[test]
fn a_guest_that_cannot_be_looked_into_is_said_and_not_accused() {
    let part = Part {
        number: None,
        range: 0..4096,
        logical: None,
        kind: PartitionKind::Other,
        uuid: String::new(),
        label: String::new(),
        found: Held::Named("btrfs"),
    };
    let guest = Guest::of_parts(vec![part], 4096);
    let volumes = [InsideVolume { device: "/dev/xvda", guest: &guest }];
    let inside = look_inside(&volumes, 0, true).unwrap();
    assert_eq!(inside.hits, Hits::default());
    assert!(inside.notes[0].contains("no file system that can be read"), "{:?}", inside.notes);
}
