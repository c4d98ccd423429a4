//! Rules about files of the guest, in whole images of systems: Debian, Ubuntu's layout, one with rpm, and Windows on NTFS. A fresh
//! one breaks no rule, and a planted fault of each kind is found in each.
#![allow(clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::installed;
use crate::common::quick_folder;
use crate::common::run;
use crate::common::run_tool;
use crate::common::stderr;
use crate::common::unmount;

const UUID: &str = "6e6c3f2a-0000-4000-8000-000000000001";
const OTHER: &str = "6e6c3f2a-0000-4000-8000-00000000000f";
const LABEL: &str = "cloudimg-rootfs";

/// What stands under a path.
#[derive(Clone)]
enum Entry {
    File(Vec<u8>),
    Link(&'static str),
    Folder,
}

/// The files of a system.
#[derive(Clone)]
struct System {
    name: &'static str,
    files: BTreeMap<String, Entry>,
    /// Where arguments of the kernel stand, and what names the root there.
    boot: &'static str,
    /// The kernel, its initramfs, and the folder of its modules.
    kernel: [&'static str; 3],
}

/// Makes a header of cpio and what follows it, with this content.
fn member(name: &str, content: &[u8]) -> Vec<u8> {
    let fields = [0, 0o100_644, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
    let mut bytes = b"070701".to_vec();
    for value in fields {
        bytes.extend(format!("{value:08x}").bytes());
    }
    bytes.extend(name.bytes().chain([0]));
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An initramfs with these modules, behind microcode.
fn early(modules: &str, without: &str) -> Vec<u8> {
    let all =
        ["fs/ext4/ext4.ko", "drivers/nvme/host/nvme.ko.xz", "drivers/block/xen-blkfront.ko.zst"];
    let archive = |names: Vec<String>| {
        let mut bytes: Vec<u8> = names.iter().flat_map(|name| member(name, &[7; 5])).collect();
        bytes.extend(member("TRAILER!!!", b""));
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    };
    let kept = all.iter().filter(|it| without.is_empty() || !it.contains(without));
    let kept = kept.map(|it| format!("{modules}/kernel/{it}")).collect();
    [archive(vec!["kernel/x86/microcode/AuthenticAMD.bin".to_owned()]), archive(kept)].concat()
}

fn elf(machine: u8) -> Vec<u8> {
    [&b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0"[..], &[machine, 0], &[0; 44]].concat()
}

impl System {
    fn put(&mut self, path: &str, content: impl AsRef<[u8]>) -> &mut Self {
        self.files.insert(path.to_owned(), Entry::File(content.as_ref().to_vec()));
        self
    }

    fn remove(&mut self, path: &str) -> &mut Self {
        self.files.remove(path).unwrap_or_else(|| panic!("{} has no {path}", self.name));
        self
    }

    /// Replaces text in a file that has it.
    fn edit(&mut self, path: &str, from: &str, to: &str) {
        let Some(Entry::File(bytes)) = self.files.get(path) else {
            panic!("{} has no {path}", self.name)
        };
        let text = std::str::from_utf8(bytes).unwrap();
        assert!(text.contains(from), "{}: {path} has no {from:?}", self.name);
        let text = text.replace(from, to);
        self.put(path, text);
    }

    /// Adds text to a file.
    fn append(&mut self, path: &str, text: &str) {
        let Some(Entry::File(bytes)) = self.files.get_mut(path) else {
            panic!("{} has no {path}", self.name)
        };
        bytes.extend(text.bytes());
    }

    /// What every Linux has, with its programs below `/usr`.
    fn linux(name: &'static str, boot: &'static str, kernel: [&'static str; 3]) -> Self {
        let mut system = Self { name, files: BTreeMap::new(), boot, kernel };
        for link in ["bin", "sbin", "lib"] {
            let target = ["usr/bin", "usr/sbin", "usr/lib"];
            let target = target.into_iter().find(|it| it.ends_with(link)).unwrap();
            system.files.insert(link.to_owned(), Entry::Link(target));
        }
        for folder in ["data", "home/ann", "var/lib/cloud/scripts", "var/tmp", "tmp", "proc", "sys"]
        {
            system.files.insert(folder.to_owned(), Entry::Folder);
        }
        system.files.insert("etc/os-release".to_owned(), Entry::Link("../usr/lib/os-release"));
        system
            .put("etc/passwd", "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000::/home/ann:/bin/sh\n")
            .put("etc/shadow", "root:*:1::::::\nann:!:1::::::\ndaemon:!*:1::::::\n")
            .put("etc/machine-id", "")
            .put("etc/hostname", "localhost\n")
            .put("etc/ssh/sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\nKbdInteractiveAuthentication no\nUsePAM yes\n")
            .put("etc/ssh/sshd_config.d/60-cloudimg-settings.conf", "PasswordAuthentication no\n")
            .put("usr/sbin/sshd", elf(62))
            .put("usr/sbin/init", elf(62))
            .put("usr/bin/cloud-init", "#!/usr/bin/python3\n")
            .put("root/.bashrc", "alias ll='ls -l'\n")
            .put("root/.ssh/authorized_keys", "")
            .put("var/log/README", "logs are in the journal\n")
            .put("var/log/wtmp", "")
            .put(kernel[0], "MZ")
            .put(kernel[1], early(kernel[2], ""))
            .put(&format!("{}/modules.builtin", kernel[2]), "kernel/fs/fuse/fuse.ko\n")
            .put(
                &format!("{}/modules.dep", kernel[2]),
                "kernel/drivers/net/ethernet/amazon/ena/ena.ko.xz:\n",
            );
        system
    }

    fn debian() -> Self {
        let kernel = [
            "boot/vmlinuz-6.1.0-9-cloud-amd64",
            "boot/initrd.img-6.1.0-9-cloud-amd64",
            "usr/lib/modules/6.1.0-9-cloud-amd64",
        ];
        let mut system = Self::linux("debian", "boot/grub/grub.cfg", kernel);
        system
            .put("usr/lib/os-release", "ID=debian\nVERSION_ID=\"12\"\n")
            .put("etc/fstab", format!("UUID={UUID} / ext4 errors=remount-ro 0 1\n"))
            .put("var/lib/dpkg/status", "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5\n\n")
            .put(
                "boot/grub/grub.cfg",
                format!(
                    "set default=\"0\"\nmenuentry 'Debian GNU/Linux' --class debian {{\n\tlinux\t/{} root=UUID={UUID} ro \
                     console=tty0 console=ttyS0,115200 nvme_core.io_timeout=4294967295\n\tinitrd\t/{}\n}}\n",
                    kernel[0], kernel[1]
                ),
            );
        system
    }

    fn ubuntu() -> Self {
        let kernel = [
            "boot/vmlinuz-6.8.0-1009-aws",
            "boot/initrd.img-6.8.0-1009-aws",
            "usr/lib/modules/6.8.0-1009-aws",
        ];
        let mut system = Self::linux("ubuntu", "boot/grub/grub.cfg", kernel);
        system.files.insert("boot/vmlinuz".to_owned(), Entry::Link("vmlinuz-6.8.0-1009-aws"));
        system.files.insert("boot/initrd.img".to_owned(), Entry::Link("initrd.img-6.8.0-1009-aws"));
        system
            .put("usr/lib/os-release", "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"24.04\"\n")
            .put("etc/fstab", format!("LABEL={LABEL}\t/\text4\tdiscard,commit=30,errors=remount-ro\t0 1\n"))
            .put(
                "etc/netplan/50-cloud-init.yaml",
                "network:\n  version: 2\n  ethernets:\n    ens5:\n      dhcp4: true\n      match: {name: en*}\n",
            )
            .put(
                "boot/grub/grub.cfg",
                format!(
                    "menuentry 'Ubuntu' {{\n\tsearch --no-floppy --label {LABEL} --set root\n\tlinux\t/{} root=LABEL={LABEL} \
                     ro console=tty1 console=ttyS0 nvme_core.io_timeout=4294967295\n\tinitrd\t/{}\n}}\n",
                    kernel[0], kernel[1]
                ),
            );
        system
    }

    fn rpm() -> Self {
        let kernel = [
            "boot/vmlinuz-6.1.94-99.amzn2023",
            "boot/initramfs-6.1.94-99.amzn2023.img",
            "usr/lib/modules/6.1.94-99.amzn2023",
        ];
        let mut system = Self::linux("rpm", "boot/loader/entries/a-6.1.94.conf", kernel);
        system
            .put("usr/lib/os-release", "ID=\"amzn\"\nID_LIKE=\"fedora\"\nVERSION_ID=\"2023\"\n")
            .put("etc/fstab", format!("UUID={UUID} / ext4 defaults,noatime 1 1\n"))
            .put("etc/selinux/config", "SELINUX=permissive\nSELINUXTYPE=targeted\n")
            .put("usr/lib/sysimage/rpm/rpmdb.sqlite", "")
            .put("boot/grub2/grub.cfg", "insmod blscfg\nblscfg\n")
            .put(
                "boot/loader/entries/a-6.1.94.conf",
                format!(
                    "title Amazon Linux\nversion 6.1.94\nlinux /{}\ninitrd /{}\noptions root=UUID={UUID} ro console=tty0 \
                     console=ttyS0,115200n8 nvme_core.io_timeout=4294967295\n",
                    kernel[0], kernel[1]
                ),
            );
        system
    }

    /// Writes the files below `root`.
    fn write(&self, root: &Path) {
        let _ = fs::remove_dir_all(root);
        for (path, entry) in &self.files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match entry {
                Entry::File(bytes) => fs::write(path, bytes).unwrap(),
                Entry::Link(target) => symlink(target, path).unwrap(),
                Entry::Folder => fs::create_dir_all(path).unwrap(),
            }
        }
    }

    /// Makes an image, and returns the rules about the guest that it breaks, and which of them are errors.
    fn broken(&self, here: &Path, more: &str) -> Vec<(String, bool)> {
        self.make(here, "disk.raw");
        lint(here, more)
    }

    /// Makes a file system of 8 MiB.
    fn make(&self, here: &Path, image: &str) {
        self.write(&here.join("root"));
        let mut mke2fs = Command::new("mke2fs");
        mke2fs.args(["-q", "-F", "-t", "ext4", "-U", UUID, "-L", LABEL, "-d"]);
        let _ = fs::remove_file(here.join(image));
        run_tool(mke2fs.arg(here.join("root")).arg(here.join(image)).arg("8M"));
    }

    /// Makes an image with one partition, in which LVM2 has the file system on the logical volume `root` of the group
    /// `system`, and names that in the table of mounts and for the kernel. Tells whether LVM2 works here.
    fn make_logical(&mut self, here: &Path) -> bool {
        let by =
            if self.name == "ubuntu" { format!("LABEL={LABEL}") } else { format!("UUID={UUID}") };
        self.edit("etc/fstab", &by, "/dev/mapper/system-root");
        self.edit(self.boot, &format!("root={by}"), "root=/dev/mapper/system-root");
        self.make(here, "root.raw");
        let disk = here.join("disk.raw");
        let _ = fs::remove_file(&disk);
        let file = fs::File::create_new(&disk).unwrap();
        file.set_len(32 << 20).unwrap();
        // A partition of LVM2 from 1 MiB on.
        let entry = [0, 0, 2, 0, 0x8e, 0, 0, 0, 0, 8, 0, 0, 0, 0xf0, 0, 0];
        file.write_all_at(&entry, 446).unwrap();
        file.write_all_at(&[0x55, 0xaa], 510).unwrap();
        let mut losetup = Command::new("losetup");
        let made = losetup.args(["-f", "--show", "-o", "1048576"]).arg(&disk).output().unwrap();
        let device = String::from_utf8(made.stdout).unwrap().trim().to_owned();
        if device.is_empty() {
            println!("skipped: no loop device: {}", String::from_utf8_lossy(&made.stderr));
            return false;
        }
        let only = format!("devices {{ filter=[\"a|^{device}$|\",\"r|.*|\"] }}");
        // Without the kernel's part, which a machine of tests need not have.
        let lvm = |command: &str| {
            let mut words = command.split(' ');
            let mut lvm = Command::new(words.next().unwrap());
            lvm.args(words).args(["-q", "--driverloaded", "n", "--config", &only]).output().unwrap()
        };
        let made = [
            &format!("pvcreate {device}"),
            &format!("vgcreate system {device}"),
            "lvcreate -an -Zn -Wn -n root -L 8M system",
        ];
        let failed = made.into_iter().map(&lvm).find(|it| !it.status.success());
        let start = lvm("pvs --noheadings --nosuffix --units b -o pe_start");
        run_tool(Command::new("losetup").args(["-d", &device]));
        if let Some(failed) = failed {
            println!("skipped: LVM2 does not run: {}", stderr(&failed));
            return false;
        }
        let start: u64 = String::from_utf8(start.stdout).unwrap().trim().parse().unwrap();
        let root = fs::read(here.join("root.raw")).unwrap();
        file.write_all_at(&root, (1 << 20) + start).unwrap();
        true
    }
}

/// The description of an instance that Nitro runs.
const NITRO: &str = "virtualization-type = \"hvm\"\nena-support = true\nboot-mode = \"uefi\"\n";

/// That of one which runs on Nitro and on Xen.
const HVM: &str = "virtualization-type = \"hvm\"\n";

/// That of one whose kernel PV-GRUB loads.
const PARAVIRTUAL: &str = "virtualization-type = \"paravirtual\"\nkernel-id = \"aki-1eceaf77\"\n";

/// Returns the rules about the guest that `disk.raw` breaks, with more lines in its description or behind it.
fn lint(here: &Path, more: &str) -> Vec<(String, bool)> {
    let recipe = format!(
        "version = 1\n[ami]\nname = \"web\"\narchitecture = \"x86_64\"\n\
         root-device-name = \"/dev/xvda\"\nimds-support = \"v2.0\"\n{more}\n[[volume]]\n\
         device-name = \"/dev/xvda\"\nimage = \"disk.raw\"\n"
    );
    fs::write(here.join("web.toml"), recipe).unwrap();
    let output = run(here, "lint web.toml --json");
    let said: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", stderr(&output)));
    let findings = said["findings"].as_array().unwrap().iter();
    let guest = findings.filter(|it| it["topic"] == "guest");
    guest.map(|it| (it["rule"].as_str().unwrap().to_owned(), it["level"] == "error")).collect()
}

/// What is wrong with a system, by the rule that names it.
type Fault = (&'static str, fn(&mut System));

/// Faults that any Linux may have.
const FAULTS: &[Fault] = &[
    ("guest-host-keys", |s| _ = s.put("etc/ssh/ssh_host_ed25519_key", "x")),
    ("guest-authorized-keys", |s| _ = s.put("home/ann/.ssh/authorized_keys", "ssh-rsa AAAA ann\n")),
    ("guest-password-empty", |s| s.edit("etc/shadow", "ann:!:", "ann::")),
    ("guest-password", |s| s.edit("etc/shadow", "ann:!:", "ann:$y$j9T$abc$def:")),
    ("guest-sshd-password", |s| {
        _ = s.put("etc/ssh/sshd_config.d/1.conf", "PasswordAuthentication yes\n");
    }),
    ("guest-sshd-root", |s| s.edit("etc/ssh/sshd_config", "UsePAM", "PermitRootLogin yes\nUsePAM")),
    ("guest-machine-id", |s| _ = s.put("etc/machine-id", "0123456789abcdef0123456789abcdef\n")),
    ("guest-cloud-init", |s| _ = s.remove("usr/bin/cloud-init")),
    ("guest-cloud-init-state", |s| _ = s.put("var/lib/cloud/instances/i-1/user-data.txt", "#x\n")),
    ("guest-leftovers", |s| _ = s.put("var/log/cloud-init.log", "started\n")),
    ("guest-leftovers", |s| {
        _ = s.put("etc/netplan/9.yaml", "match:\n  macaddress: 02:00:5e:10:00:01\n");
    }),
    ("guest-history", |s| _ = s.put("root/.bash_history", "ls\n")),
    ("guest-secrets", |s| _ = s.put("opt/app/key.pem", "-----BEGIN RSA PRIVATE KEY-----\n")),
    ("guest-fstab-file", |s| _ = s.remove("etc/fstab")),
    ("guest-fstab", |s| _ = s.put("etc/fstab", format!("UUID={OTHER} /srv ext4 defaults 0 2\n"))),
    ("guest-device-names", |s| _ = s.put("etc/fstab", "/dev/xvda1 / ext4 defaults 0 1\n")),
    ("guest-kernel", |s| {
        let path = s.kernel[0];
        _ = s.remove(path);
    }),
    ("guest-kernel", |s| {
        let path = s.kernel[1];
        _ = s.remove(path);
    }),
    ("guest-kernel-stale", |s| {
        let [kernel, initramfs, _] = s.kernel;
        let gone = kernel.replace('6', "5");
        if s.name == "rpm" {
            let text = format!("title Old\nlinux /{gone}\ninitrd /{initramfs}\n");
            _ = s.put("boot/loader/entries/a-5.conf", text);
        } else {
            let old = format!("menuentry 'Old' {{\n\tlinux /{gone}\n\tinitrd /{initramfs}\n}}\n");
            s.append(s.boot, &old);
        }
    }),
    ("guest-kernel-stale", |s| {
        let [kernel, initramfs, _] = s.kernel;
        let lost = format!("root=UUID={OTHER} console=ttyS0");
        if s.name == "rpm" {
            let text = format!("linux /{kernel}\ninitrd /{initramfs}\noptions {lost}\n");
            _ = s.put("boot/loader/entries/a-5.conf", text);
        } else {
            let old = format!(
                "menuentry 'Old' {{\n\tlinux /{kernel} {lost}\n\tinitrd /{initramfs}\n}}\n"
            );
            s.append(s.boot, &old);
        }
    }),
    ("guest-root", |s| {
        let name = if s.name == "ubuntu" { LABEL } else { UUID };
        let by = if s.name == "ubuntu" { "LABEL" } else { "UUID" };
        s.edit(s.boot, &format!("root={by}={name}"), &format!("root=UUID={OTHER}"));
    }),
    ("guest-console", |s| {
        let from = ["console=ttyS0,115200n8", "console=ttyS0,115200", "console=ttyS0"];
        let from = if s.name == "rpm" {
            from[0]
        } else if s.name == "debian" {
            from[1]
        } else {
            from[2]
        };
        s.edit(s.boot, from, "quiet");
    }),
    ("guest-nvme", |s| {
        let [_, path, modules] = s.kernel;
        _ = s.put(path, early(modules, "nvme"));
    }),
    ("guest-root-module", |s| {
        let [_, path, modules] = s.kernel;
        _ = s.put(path, early(modules, "ext4"));
    }),
    ("guest-ena", |s| {
        let path = format!("{}/modules.dep", s.kernel[2]);
        _ = s.put(&path, "kernel/drivers/net/e1000.ko:\n");
    }),
    ("guest-nvme-timeout", |s| s.edit(s.boot, "nvme_core.io_timeout=4294967295", "quiet")),
    ("guest-selinux", |s| _ = s.put("etc/selinux/config", "SELINUX=enforcing\n")),
    ("guest-architecture", |s| _ = s.put("usr/sbin/init", elf(183))),
];

#[test]
fn a_fresh_system_is_clean_and_each_planted_fault_is_found() {
    if !installed("mke2fs") {
        return;
    }
    let folder = quick_folder();
    let here = folder.path();
    for make in [System::debian, System::ubuntu, System::rpm] {
        let fresh = make();
        assert_eq!(fresh.broken(here, NITRO), [], "{}", fresh.name);
        assert_eq!(fresh.broken(here, HVM), [], "{}", fresh.name);
        for (rule, plant) in FAULTS {
            let mut system = fresh.clone();
            plant(&mut system);
            let found = system.broken(here, NITRO);
            assert!(found.iter().any(|(id, _)| id == rule), "{}: {rule}: {found:?}", fresh.name);
            let others = found.iter().filter(|(id, is_error)| *is_error && id != rule);
            assert_eq!(others.count(), 0, "{}: {rule}: {found:?}", fresh.name);
        }
        // Without a word about Nitro, a driver that lacks is worth a warning.
        for (rule, without) in [("guest-nitro", "nvme"), ("guest-xen", "xen")] {
            let mut system = fresh.clone();
            let [_, path, modules] = fresh.kernel;
            system.put(path, early(modules, without));
            let found = system.broken(here, HVM);
            assert_eq!(found, [(rule.to_owned(), false)], "{}", fresh.name);
        }
    }
}

/// What LVM2 holds is looked into; a kernel that PV-GRUB loads cannot lie there.
#[test]
fn a_root_on_a_logical_volume_is_wrong_for_a_paravirtual_machine_alone() {
    for tool in ["mke2fs", "losetup", "pvcreate", "lvcreate"] {
        if !installed(tool) {
            return;
        }
    }
    let folder = quick_folder();
    let here = folder.path();
    for make in [System::debian, System::ubuntu, System::rpm] {
        let fresh = make();
        let mut logical = fresh.clone();
        if !logical.make_logical(here) {
            return;
        }
        assert_eq!(lint(here, NITRO), [], "{}", fresh.name);
        assert_eq!(lint(here, HVM), [], "{}", fresh.name);
        let expected = [("guest-lvm-pv".to_owned(), false)];
        assert_eq!(lint(here, PARAVIRTUAL), expected, "{}", fresh.name);
        // A fault inside is found there too.
        let mut faulty = fresh.clone();
        faulty.put("etc/ssh/ssh_host_ed25519_key", "x");
        assert!(faulty.make_logical(here));
        let found = lint(here, NITRO);
        assert!(found.iter().any(|(id, _)| id == "guest-host-keys"), "{}: {found:?}", fresh.name);
        // On a partition, or on no logical volume at all, the same machine is fine.
        assert_eq!(fresh.broken(here, PARAVIRTUAL), [], "{}", fresh.name);
    }
}

/// Rules about several volumes.
#[test]
fn a_second_volume_is_held_against_the_first() {
    if !installed("mke2fs") {
        return;
    }
    let folder = quick_folder();
    let here = folder.path();
    let mut system = System::debian();
    let fstab = format!("UUID={UUID} / ext4 defaults 0 1\nUUID={OTHER} /data ext4 OPTIONS 0 2\n");
    let second = "\n[[volume]]\ndevice-name = \"/dev/sdf\"\nimage = \"data.raw\"\n";
    let data = |uuid: &str| {
        let _ = fs::remove_file(here.join("data.raw"));
        let mut mke2fs = Command::new("mke2fs");
        mke2fs.args(["-q", "-F", "-t", "ext4", "-U", uuid]);
        run_tool(mke2fs.arg(here.join("data.raw")).arg("8M"));
    };
    let mut found = |options: &str| {
        system.put("etc/fstab", fstab.replace("OPTIONS", options));
        system.broken(here, &format!("{NITRO}{second}"))
    };
    data(OTHER);
    assert_eq!(found("defaults,nofail"), []);
    assert_eq!(found("defaults"), [("guest-fstab-nofail".to_owned(), false)]);
    data(UUID);
    let twice = found("defaults,nofail");
    assert!(twice.contains(&("guest-uuid-twice".to_owned(), false)), "{twice:?}");
    data(OTHER);
    fs::File::options().write(true).open(here.join("data.raw")).unwrap().set_len(7 << 20).unwrap();
    assert_eq!(found("defaults,nofail"), [("guest-file-system-size".to_owned(), true)]);
    // A disk with one partition, and LUKS in it: the magic and the version are what tells it.
    let mut disk = vec![0; 8 << 20];
    disk[446..462].copy_from_slice(&[0, 0, 2, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 0x30, 0, 0]);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk[1 << 20..][..8].copy_from_slice(b"LUKS\xba\xbe\0\x02");
    fs::write(here.join("data.raw"), disk).unwrap();
    let encrypted = found("defaults,nofail");
    assert!(encrypted.contains(&("guest-encrypted".to_owned(), false)), "{encrypted:?}");
}

/// Windows, on a file system that ntfs-3g writes.
#[test]
fn a_windows_on_ntfs_is_clean_once_it_was_generalized() {
    for tool in ["mkntfs", "ntfs-3g", "umount"] {
        if !installed(tool) {
            return;
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let fresh = || {
        let mut files =
            System { name: "windows", files: BTreeMap::new(), boot: "", kernel: [""; 3] };
        files.files.insert("Users/Administrator".to_owned(), Entry::Folder);
        files
            .put("Windows/System32/drivers/AWSNVMe.sys", "MZ")
            .put("Windows/System32/drivers/ena.sys", "MZ")
            .put("Windows/System32/drivers/xenvbd.sys", "MZ")
            .put("Windows/System32/ntoskrnl.exe", "MZ")
            .put("Program Files/Amazon/EC2Launch/EC2Launch.exe", "MZ")
            .put(
                "Windows/Setup/State/State.ini",
                "[State]\r\nImageState=IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE\r\n",
            );
        files
    };
    fs::create_dir(here.join("mounted")).unwrap();
    let broken = |system: &System| -> Option<Vec<(String, bool)>> {
        let _ = fs::remove_file(here.join("disk.raw"));
        fs::File::create(here.join("disk.raw")).unwrap().set_len(16 << 20).unwrap();
        run_tool(Command::new("mkntfs").args(["-q", "-F", "-f"]).arg(here.join("disk.raw")));
        let mounted = Command::new("ntfs-3g")
            .arg(here.join("disk.raw"))
            .arg(here.join("mounted"))
            .output()
            .unwrap();
        if !mounted.status.success() {
            println!(
                "skipped: ntfs-3g may not mount here: {}",
                String::from_utf8_lossy(&mounted.stderr)
            );
            return None;
        }
        let tree = here.join("tree");
        system.write(&tree);
        let copied = Command::new("cp")
            .arg("-r")
            .arg(format!("{}/.", tree.display()))
            .arg(here.join("mounted"))
            .status();
        unmount(&here.join("mounted"));
        assert!(copied.unwrap().success());
        Some(lint(here, &format!("platform = \"windows\"\n{NITRO}")))
    };
    let Some(found) = broken(&fresh()) else { return };
    assert_eq!(found, []);
    let faults: &[Fault] = &[
        ("guest-windows-sysprep", |s| {
            s.edit("Windows/Setup/State/State.ini", "GENERALIZE_RESEAL_TO_OOBE", "COMPLETE");
        }),
        ("guest-windows-launch", |s| _ = s.remove("Program Files/Amazon/EC2Launch/EC2Launch.exe")),
        ("guest-windows-drivers", |s| _ = s.remove("Windows/System32/drivers/AWSNVMe.sys")),
        ("guest-windows-drivers", |s| _ = s.remove("Windows/System32/drivers/ena.sys")),
        ("guest-secrets", |s| _ = s.put("Users/Administrator/.aws/credentials", "[default]\n")),
    ];
    for (rule, plant) in faults {
        let mut system = fresh();
        plant(&mut system);
        let found = broken(&system).unwrap();
        assert!(found.iter().any(|(id, _)| id == rule), "{rule}: {found:?}");
        assert!(found.iter().all(|(id, is_error)| !is_error || id == rule), "{rule}: {found:?}");
    }
}
