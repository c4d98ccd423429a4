//! Each rule has a description that trips it, and one that just does not.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::ami::Ami;
use crate::ami::Architecture;
use crate::ami::BootMode;
use crate::ami::Distribution;
use crate::ami::Ebs;
use crate::ami::ImdsSupport;
use crate::ami::LaunchPermission;
use crate::ami::Mapping;
use crate::ami::Oddity;
use crate::ami::Origin;
use crate::ami::Platform;
use crate::ami::ProductCode;
use crate::ami::Provenance;
use crate::ami::SriovNetSupport;
use crate::ami::Tag;
use crate::ami::Time;
use crate::ami::TpmSupport;
use crate::ami::Unread;
use crate::ami::Upload;
use crate::ami::Virtualization;
use crate::ami::VolumeType;
use crate::digest::crc32c;
use crate::guest::GuestFault;
use crate::guest::Identity;
use crate::guest::Layout;
use crate::guest::Loader;
use crate::guest::Machine;
use crate::guest::Partition;
use crate::guest::PartitionKind;
use crate::guest::Table;
use crate::units::GIB;

/// All that rules look at, owned.
#[derive(Clone)]
struct World {
    ami: Ami,
    volumes: Vec<VolumeFacts>,
    upload: Upload,
    distribution: Vec<Distribution>,
    now: Option<Time>,
    unread: Vec<Unread>,
    parents: Vec<&'static str>,
    image_id: Option<&'static str>,
    is_answer: bool,
}

fn snapshot(device: &str) -> Mapping {
    Mapping {
        device_name: device.to_owned(),
        ebs: Some(Ebs {
            snapshot_id: Some("snap-0a".to_owned()),
            volume_type: Some(VolumeType::Gp3),
            ..Ebs::default()
        }),
        ..Mapping::default()
    }
}

fn ephemeral(device: &str, name: &str) -> Mapping {
    Mapping {
        device_name: device.to_owned(),
        virtual_name: Some(name.to_owned()),
        ..Mapping::default()
    }
}

fn loader(named_for: Machine, machine: Option<Machine>) -> Loader {
    let path = match named_for {
        Machine::Arm64 => "EFI/BOOT/BOOTAA64.EFI",
        _ => "EFI/BOOT/BOOTX64.EFI",
    };
    Loader { partition: 1, path, named_for, machine }
}

impl World {
    /// An AMI without a fault: a GPT disk that boots by UEFI and by BIOS.
    fn sound() -> Self {
        let x86 = Machine::X86_64;
        let identity = Identity::default();
        let partition =
            |number, kind| Partition { number, start: 1 << 20, len: 1 << 20, kind, identity };
        Self {
            ami: Ami {
                name: "web".to_owned(),
                architecture: Some(Architecture::X86_64),
                virtualization_type: Some(Virtualization::Hvm),
                boot_mode: Some(BootMode::UefiPreferred),
                root_device_name: "/dev/xvda".to_owned(),
                block_device_mappings: vec![snapshot("/dev/xvda"), snapshot("/dev/sdf")],
                ena_support: Some(true),
                imds_support: Some(ImdsSupport::V2),
                ..Ami::default()
            },
            volumes: vec![VolumeFacts {
                device: "/dev/xvda".to_owned(),
                size: 8 * GIB,
                hole_bytes: Some(GIB),
                layout: Some(Layout {
                    table: Table::Gpt,
                    has_boot_code: true,
                    partitions: vec![
                        partition(1, PartitionKind::Esp),
                        partition(2, PartitionKind::BiosBoot),
                    ],
                    loaders: vec![loader(x86, Some(x86))],
                    ..Layout::default()
                }),
            }],
            upload: Upload { region: Some("eu-central-1".to_owned()), ..Upload::default() },
            distribution: vec![Distribution {
                region: "us-east-1".to_owned(),
                ..Distribution::default()
            }],
            now: "2026-11-24T10:00:00Z".parse().ok(),
            unread: Vec::new(),
            parents: Vec::new(),
            image_id: None,
            is_answer: false,
        }
    }

    fn ids(&self) -> Vec<&'static str> {
        let subject = Subject {
            volumes: &self.volumes,
            upload: Some(&self.upload),
            distribution: &self.distribution,
            now: self.now,
            unread: &self.unread,
            parents: &self.parents,
            image_id: self.image_id,
            is_answer: self.is_answer,
            inside: None,
            audience: Audience::Private,
            ami: &self.ami,
        };
        let findings = lint(&subject, &[]);
        for finding in &findings {
            assert!(!finding.found.is_empty() && !finding.instead.is_empty(), "{finding:?}");
        }
        findings.iter().map(|finding| finding.rule).collect()
    }

    fn unread(&mut self, oddity: Oddity) {
        let text = || "x".to_owned();
        self.unread.push(Unread { oddity, place: text(), found: text(), expected: text() });
    }

    fn ebs(&mut self) -> &mut Ebs {
        self.ami.block_device_mappings[0].ebs.as_mut().unwrap()
    }

    /// Makes the second volume one of this type and size, without content.
    fn empty(&mut self, kind: VolumeType, gib: u64) -> &mut Ebs {
        let ebs = self.ami.block_device_mappings[1].ebs.as_mut().unwrap();
        *ebs = Ebs { volume_type: Some(kind), volume_size: Some(gib), ..Ebs::default() };
        ebs
    }

    fn add(&mut self, mapping: Mapping) {
        self.ami.block_device_mappings.push(mapping);
    }

    fn layout(&mut self) -> &mut Layout {
        self.volumes[0].layout.as_mut().unwrap()
    }

    fn pv(&mut self) {
        self.ami.virtualization_type = Some(Virtualization::Paravirtual);
        self.ami.boot_mode = None;
        self.ami.ena_support = None;
        self.ami.root_device_name = "/dev/sda1".to_owned();
        self.ami.block_device_mappings = vec![snapshot("/dev/sda1")];
        self.volumes[0].device = "/dev/sda1".to_owned();
    }

    fn arm(&mut self) {
        self.ami.architecture = Some(Architecture::Arm64);
        self.ami.boot_mode = Some(BootMode::Uefi);
        self.layout().loaders = vec![loader(Machine::Arm64, Some(Machine::Arm64))];
    }

    fn instance_store(&mut self) {
        self.ami.image_location = Some("bucket/web.manifest.xml".to_owned());
        self.ami.root_device_name.clear();
        self.ami.boot_mode = None;
        self.ami.block_device_mappings.clear();
    }

    fn tag(&mut self, key: &str, value: &str) {
        self.ami.tags.push(Tag { key: key.to_owned(), value: value.to_owned() });
    }

    fn public(&mut self) {
        self.permit("all");
    }

    fn permit(&mut self, text: &str) {
        self.ami.launch_permissions.push(LaunchPermission::of(text));
    }

    fn deprecate(&mut self, text: &str) {
        self.ami.deprecate_at = text.parse().ok();
    }

    fn product_code(&mut self) {
        let code = ProductCode { product_code_id: "abc".to_owned(), product_code_type: None };
        self.ami.product_codes.push(code);
    }

    fn come_from(&mut self, origin: Origin) {
        self.ami.provenance = Some(Provenance {
            origin,
            owner_id: None,
            image_id: None,
            source_image_id: None,
            source_image_region: None,
            source_instance_id: None,
        });
    }
}

/// UEFI data with these bytes behind the checksum.
#[allow(clippy::unnecessary_wraps, reason = "what the member takes")]
fn uefi_data(body: &[u8]) -> Option<String> {
    let mut bytes = b"AMZNUEFI".to_vec();
    bytes.extend(crc32c(body).to_le_bytes());
    bytes.extend(body);
    Some(STANDARD.encode(bytes))
}

type Change = fn(&mut World);

/// A rule, what trips it, and what just does not.
const CASES: &[(&str, Change, Change)] = &[
    ("value", |w| w.unread(Oddity::Value), |w| w.unread(Oddity::Member)),
    ("member", |w| w.unread(Oddity::Member), |w| w.unread(Oddity::Empty)),
    ("empty", |w| w.unread(Oddity::Empty), |w| w.unread(Oddity::Resource)),
    ("tag-resource", |w| w.unread(Oddity::Resource), |w| w.unread(Oddity::Value)),
    ("name", |w| w.ami.name = "ab".into(), |w| w.ami.name = "abc".into()),
    ("name", |w| w.ami.name = "a:b".into(), |w| w.ami.name = "a(b) @_".into()),
    (
        "name",
        |w| w.distribution[0].name = Some("x".repeat(129)),
        |w| w.distribution[0].name = Some("x".repeat(128)),
    ),
    (
        "description",
        |w| w.ami.description = Some("ä".repeat(256)),
        |w| w.ami.description = Some("ä".repeat(255)),
    ),
    ("tag-length", |w| w.tag(&"k".repeat(128), ""), |w| w.tag(&"k".repeat(127), "")),
    // EBS takes a character less of a snapshot than EC2 of an AMI.
    ("tag-length", |w| w.tag("k", &"v".repeat(256)), |w| w.tag("k", &"v".repeat(255))),
    (
        "tag-length",
        |w| {
            let value = "v".repeat(257);
            w.distribution[0].tags = vec![Tag { key: "k".to_owned(), value }];
        },
        |w| {
            let value = "v".repeat(256);
            w.distribution[0].tags = vec![Tag { key: "k".to_owned(), value }];
        },
    ),
    ("tag-length", |w| w.tag("", "v"), |w| w.tag("k", "")),
    ("tag-key", |w| w.tag("AWS:x", ""), |w| w.tag("aws-x", "")),
    ("tag-key", |w| (w.tag("a", "1"), w.tag("a", "2")).0, |w| (w.tag("a", "1"), w.tag("A", "1")).0),
    (
        "tag-count",
        |w| (0..51).for_each(|n| w.tag(&format!("k{n}"), "")),
        |w| (0..50).for_each(|n| w.tag(&format!("k{n}"), "")),
    ),
    (
        "deprecation-minute",
        |w| w.deprecate("2027-01-01T00:00:01Z"),
        |w| w.deprecate("2027-01-01T00:01:00Z"),
    ),
    (
        "deprecation-past",
        |w| w.deprecate("2026-11-24T09:59:00Z"),
        |w| w.deprecate("2026-11-24T10:00:00Z"),
    ),
    (
        "deprecation-far",
        |w| w.deprecate("2036-11-24T10:01:00Z"),
        |w| w.deprecate("2036-11-24T10:00:00Z"),
    ),
    (
        "deprecation-far",
        |w| (w.public(), w.deprecate("2028-11-24T10:01:00Z")).0,
        |w| (w.public(), w.deprecate("2028-11-24T10:00:00Z")).0,
    ),
    (
        "architecture-default",
        |w| w.ami.architecture = None,
        |w| (w.instance_store(), w.ami.architecture = None).0,
    ),
    (
        "virtualization-default",
        |w| w.ami.virtualization_type = None,
        |w| w.ami.virtualization_type = Some(Virtualization::Hvm),
    ),
    ("paravirtual", World::pv, |w| w.ami.boot_mode = None),
    (
        "i386",
        |w| w.ami.architecture = Some(Architecture::I386),
        |w| w.ami.architecture = Some(Architecture::X86_64),
    ),
    (
        "arm64-paravirtual",
        |w| (w.pv(), w.ami.architecture = Some(Architecture::Arm64)).0,
        World::arm,
    ),
    (
        "ena-hvm",
        |w| (w.pv(), w.ami.ena_support = Some(true)).0,
        |w| (w.pv(), w.ami.ena_support = Some(false)).0,
    ),
    (
        "sriov-hvm",
        |w| (w.pv(), w.ami.sriov_net_support = Some(SriovNetSupport::Simple)).0,
        |w| w.ami.sriov_net_support = Some(SriovNetSupport::Simple),
    ),
    ("ena-missing", |w| w.ami.ena_support = Some(false), |w| w.ami.ena_support = Some(true)),
    ("ena-missing", |w| w.ami.ena_support = None, |w| (w.pv(), w.ami.ena_support = None).0),
    (
        "tpm-boot-mode",
        |w| w.ami.tpm_support = Some(TpmSupport::V2),
        |w| {
            w.ami.tpm_support = Some(TpmSupport::V2);
            w.ami.boot_mode = Some(BootMode::Uefi);
        },
    ),
    (
        "tpm-arm64",
        |w| (w.arm(), w.ami.tpm_support = Some(TpmSupport::V2)).0,
        |w| w.ami.tpm_support = Some(TpmSupport::V2),
    ),
    (
        "arm64-boot-mode",
        |w| (w.arm(), w.ami.boot_mode = Some(BootMode::LegacyBios)).0,
        |w| (w.arm(), w.ami.boot_mode = None).0,
    ),
    (
        "boot-mode-hvm",
        |w| (w.pv(), w.ami.boot_mode = Some(BootMode::Uefi)).0,
        |w| (w.pv(), w.ami.boot_mode = Some(BootMode::LegacyBios)).0,
    ),
    (
        "uefi-data-boot-mode",
        |w| {
            w.ami.uefi_data = uefi_data(&[0; 4]);
            w.ami.boot_mode = None;
        },
        |w| w.ami.uefi_data = uefi_data(&[0; 4]),
    ),
    (
        "uefi-data-boot-mode",
        |w| {
            w.ami.uefi_data = uefi_data(&[0; 4]);
            w.ami.boot_mode = Some(BootMode::LegacyBios);
        },
        |w| (w.arm(), w.ami.boot_mode = None, w.ami.uefi_data = uefi_data(&[0; 4])).0,
    ),
    (
        "uefi-data-format",
        |w| w.ami.uefi_data = uefi_data(&[1, 0, 0, 0]),
        |w| w.ami.uefi_data = uefi_data(&[0, 0, 0, 0, 9]),
    ),
    (
        "uefi-data-length",
        |w| w.ami.uefi_data = uefi_data(&[0; 48_000 - 12 + 3]),
        |w| w.ami.uefi_data = uefi_data(&[0; 48_000 - 12]),
    ),
    (
        "uefi-data-format",
        |w| w.ami.uefi_data = Some(STANDARD.encode(b"AMZNUEFI\0\0\0\0\0\0\0\0")),
        |w| w.ami.uefi_data = uefi_data(&[0; 4]),
    ),
    ("uefi-data-format", |w| w.ami.uefi_data = Some("!".into()), |w| w.ami.uefi_data = None),
    (
        "kernel-hvm",
        |w| w.ami.kernel_id = Some("aki-1".into()),
        |w| (w.pv(), w.ami.kernel_id = Some("aki-1".into())).0,
    ),
    (
        "kernel-id",
        |w| (w.pv(), w.ami.kernel_id = Some("aki-G".into())).0,
        |w| (w.pv(), w.ami.kernel_id = Some("aki-0f".into())).0,
    ),
    (
        "kernel-id",
        |w| (w.pv(), w.ami.ramdisk_id = Some("aki-1".into())).0,
        |w| (w.pv(), w.ami.ramdisk_id = Some("ari-1".into())).0,
    ),
    (
        "pv-grub-ramdisk",
        |w| {
            w.pv();
            w.ami.kernel_name = Some("pv-grub-hd0_1.05-x86_64.gz".into());
            w.ami.ramdisk_id = Some("ari-1".into());
        },
        |w| {
            w.pv();
            w.ami.kernel_name = Some("vmlinuz-xen.gz".into());
            w.ami.ramdisk_id = Some("ari-1".into());
        },
    ),
    (
        "pv-grub-architecture",
        |w| (w.pv(), w.ami.kernel_name = Some("pv-grub-hd0_1.05-i386.gz".into())).0,
        |w| (w.pv(), w.ami.kernel_name = Some("pv-grub-hd0_1.05-x86_64.gz".into())).0,
    ),
    (
        "pv-grub-disk",
        |w| {
            w.pv();
            w.ami.kernel_name = Some("pv-grub-hd00_1.05-x86_64.gz".into());
            *w.layout() = Layout { file_system: Some("ext"), ..Layout::default() };
        },
        |w| {
            w.pv();
            w.ami.kernel_name = Some("pv-grub-hd0_1.05-x86_64.gz".into());
            *w.layout() = Layout { file_system: Some("ext"), ..Layout::default() };
        },
    ),
    (
        "pv-grub-disk",
        |w| (w.pv(), w.ami.kernel_name = Some("pv-grub-hd0_1.03-x86_64.gz".into())).0,
        |w| (w.pv(), w.ami.kernel_name = Some("pv-grub-hd0_1.04-x86_64.gz".into())).0,
    ),
    (
        "pv-grub-disk",
        |w| (w.pv(), w.ami.kernel_name = Some("pv-grub-hd00_1.03-x86_64.gz".into())).0,
        |w| {
            w.pv();
            w.layout().table = Table::Mbr;
            w.ami.kernel_name = Some("pv-grub-hd00_1.03-x86_64.gz".into());
        },
    ),
    ("device-missing", |w| w.add(snapshot("")), |w| w.add(snapshot("sdg"))),
    (
        "device-kind",
        |w| w.ami.block_device_mappings[1].ebs = None,
        |w| w.add(ephemeral("/dev/sdb", "ephemeral0")),
    ),
    (
        "device-two-kinds",
        |w| w.ami.block_device_mappings[1].no_device = Some(String::new()),
        |w| {
            w.ami.block_device_mappings[1].ebs = None;
            w.ami.block_device_mappings[1].no_device = Some(String::new());
        },
    ),
    ("device-name", |w| w.add(snapshot("/dev/xvdal2x")), |w| w.add(snapshot("/dev/xvdba"))),
    ("device-name", |w| w.add(snapshot("/dev/nvme1n1")), |w| w.add(snapshot("/dev/xvdzz"))),
    ("device-name", |w| w.add(snapshot("/dev/sdaa")), |w| w.add(snapshot("/dev/hdb"))),
    ("device-name-hvm", |w| w.add(snapshot("/dev/xvddy")), |w| w.add(snapshot("/dev/xvddx"))),
    ("device-name-hvm", |w| w.add(snapshot("/dev/hdb")), |w| w.add(snapshot("/dev/sdb"))),
    ("device-name-hvm", |w| w.add(snapshot("/dev/xvdzz")), |w| w.add(snapshot("xvdz"))),
    ("device-digits-hvm", |w| w.add(snapshot("/dev/sdg1")), |w| w.add(snapshot("/dev/sda2"))),
    (
        "device-digits-hvm",
        |w| w.add(snapshot("/dev/xvdb1")),
        |w| {
            w.ami.root_device_name = "/dev/xvda1".into();
            w.ami.block_device_mappings[0].device_name = "/dev/xvda1".into();
            w.volumes.clear();
        },
    ),
    ("device-sda2", |w| w.add(snapshot("/dev/sda2")), |w| w.add(snapshot("/dev/sda"))),
    (
        "device-name-pv",
        |w| (w.pv(), w.add(snapshot("/dev/sdb16"))).0,
        |w| (w.pv(), w.add(snapshot("/dev/sdb15"))).0,
    ),
    (
        "device-name-pv",
        |w| (w.pv(), w.add(snapshot("/dev/xvdb"))).0,
        |w| (w.pv(), w.add(snapshot("/dev/hdb"))).0,
    ),
    (
        "device-mixed-pv",
        |w| (w.pv(), w.add(snapshot("/dev/sdb")), w.add(snapshot("sdb1"))).0,
        |w| (w.pv(), w.add(snapshot("/dev/sdb")), w.add(snapshot("sdc1"))).0,
    ),
    ("device-twice", |w| w.add(snapshot("sdf")), |w| w.add(snapshot("xvdf"))),
    ("device-xen", |w| w.add(snapshot("xvdf")), |w| w.add(snapshot("xvdg"))),
    ("device-xen", |w| w.add(snapshot("/dev/sda1")), |w| w.add(snapshot("/dev/xvdba"))),
    (
        "device-xen",
        |w| (w.pv(), w.add(snapshot("/dev/hda1"))).0,
        |w| (w.pv(), w.add(snapshot("/dev/hda2"))).0,
    ),
    ("root-missing", |w| w.ami.root_device_name.clear(), World::instance_store),
    (
        "root-unmapped",
        |w| w.ami.root_device_name = "/dev/sdf1".into(),
        |w| w.ami.root_device_name = "/dev/sdf".into(),
    ),
    (
        "root-content",
        |w| w.ami.root_device_name = "/dev/sda1".into(),
        |w| {
            w.ami.root_device_name = "/dev/sda1".into();
            w.ami.block_device_mappings[0].device_name = "/dev/sda".into();
        },
    ),
    (
        "root-content",
        |w| w.ebs().snapshot_id = None,
        |w| w.ebs().snapshot_id = Some("snap-1".into()),
    ),
    (
        "root-content",
        |w| w.ami.block_device_mappings[0] = ephemeral("/dev/xvda", "ephemeral0"),
        |w| w.ami.block_device_mappings[1] = ephemeral("/dev/sdb", "ephemeral0"),
    ),
    (
        "root-name",
        |w| w.ami.root_device_name = "/dev/sda2".into(),
        |w| w.ami.root_device_name = "/dev/sda1".into(),
    ),
    (
        "root-name",
        |w| w.ami.root_device_name = "/dev/hda".into(),
        |w| w.ami.root_device_name = "/dev/xvdcz".into(),
    ),
    ("root-name", |w| (w.pv(), w.ami.root_device_name = "/dev/xvda".into()).0, World::pv),
    (
        "root-prefix",
        |w| w.ami.root_device_name = "xvda".into(),
        |w| w.ami.root_device_name = "/dev/xvda".into(),
    ),
    (
        "virtual-name",
        |w| w.add(ephemeral("/dev/sdb", "ephemeral")),
        |w| w.add(ephemeral("/dev/sdb", "ephemeral26")),
    ),
    (
        "virtual-name-number",
        |w| w.add(ephemeral("/dev/sdb", "ephemeral26")),
        |w| w.add(ephemeral("/dev/sdb", "ephemeral25")),
    ),
    (
        "virtual-name",
        |w| w.add(ephemeral("/dev/sdb", "ephemeral01")),
        |w| w.add(ephemeral("/dev/sdb", "ephemeral1")),
    ),
    (
        "virtual-name-twice",
        |w| (w.add(ephemeral("sdb", "ephemeral0")), w.add(ephemeral("sdc", "ephemeral0"))).0,
        |w| (w.add(ephemeral("sdb", "ephemeral0")), w.add(ephemeral("sdc", "ephemeral1"))).0,
    ),
    (
        "no-device",
        |w| w.ami.block_device_mappings[1].no_device = Some("true".into()),
        |w| w.ami.block_device_mappings[1].no_device = Some(String::new()),
    ),
    (
        "device-count",
        |w| (0..26).for_each(|n| w.add(snapshot(&format!("xvdb{}", char::from(b'a' + n))))),
        |w| (0..25).for_each(|n| w.add(snapshot(&format!("xvdb{}", char::from(b'a' + n))))),
    ),
    (
        "ebs-source",
        |w| w.empty(VolumeType::Gp3, 1).volume_size = None,
        |w| {
            w.empty(VolumeType::Gp3, 1);
        },
    ),
    (
        "snapshot-id",
        |w| w.ebs().snapshot_id = Some("vol-1".into()),
        |w| w.ebs().snapshot_id = Some("snap-0123456789abcdef0".into()),
    ),
    ("size-below-content", |w| w.ebs().volume_size = Some(7), |w| w.ebs().volume_size = Some(8)),
    (
        "size-below-content",
        |w| (w.volumes[0].size += 1, w.ebs().volume_size = Some(8)).0,
        |w| (w.volumes[0].size += 1, w.ebs().volume_size = Some(9)).0,
    ),
    (
        "size-of-ebs",
        |w| _ = w.empty(VolumeType::Gp3, 65_537),
        |w| _ = w.empty(VolumeType::Gp3, 65_536),
    ),
    (
        "size-of-type",
        |w| _ = w.empty(VolumeType::Gp2, 16_385),
        |w| _ = w.empty(VolumeType::Gp2, 16_384),
    ),
    ("size-of-type", |w| _ = w.empty(VolumeType::St1, 124), |w| _ = w.empty(VolumeType::St1, 125)),
    ("size-of-type", |w| _ = w.empty(VolumeType::Gp3, 0), |w| _ = w.empty(VolumeType::Gp3, 1)),
    (
        "size-of-type",
        |w| w.empty(VolumeType::Io1, 3).iops = Some(100),
        |w| w.empty(VolumeType::Io1, 4).iops = Some(100),
    ),
    (
        "size-of-type",
        |w| _ = w.empty(VolumeType::Standard, 1025),
        |w| _ = w.empty(VolumeType::Standard, 1024),
    ),
    ("size-sector", |w| w.volumes[0].size -= 1, |w| w.volumes[0].size -= 512),
    (
        "size-mbr",
        |w| (w.layout().table = Table::Mbr, w.ebs().volume_size = Some(2048)).0,
        |w| (w.layout().table = Table::Mbr, w.ebs().volume_size = Some(2047)).0,
    ),
    (
        "type-default",
        |w| w.ebs().volume_type = None,
        |w| w.ebs().volume_type = Some(VolumeType::Gp2),
    ),
    (
        "type-root",
        |w| {
            w.ebs().volume_type = Some(VolumeType::Sc1);
            w.ebs().volume_size = Some(125);
        },
        |w| _ = w.empty(VolumeType::Sc1, 125),
    ),
    (
        "iops-unsupported",
        |w| w.empty(VolumeType::Gp2, 8).iops = Some(0),
        |w| w.empty(VolumeType::Gp2, 8).iops = None,
    ),
    (
        "iops-unsupported",
        |w| w.empty(VolumeType::St1, 125).iops = Some(100),
        |w| w.empty(VolumeType::Gp3, 125).iops = Some(3000),
    ),
    (
        "iops-missing",
        |w| _ = w.empty(VolumeType::Io2, 8),
        |w| w.empty(VolumeType::Io2, 8).iops = Some(100),
    ),
    (
        "iops-range",
        |w| w.empty(VolumeType::Gp3, 8).iops = Some(2_999),
        |w| w.empty(VolumeType::Gp3, 8).iops = Some(3_000),
    ),
    (
        "iops-range",
        |w| w.empty(VolumeType::Io2, 16_384).iops = Some(256_001),
        |w| w.empty(VolumeType::Io2, 16_384).iops = Some(256_000),
    ),
    (
        "iops-ratio",
        |w| w.empty(VolumeType::Gp3, 10).iops = Some(5_001),
        |w| w.empty(VolumeType::Gp3, 10).iops = Some(5_000),
    ),
    (
        "iops-ratio",
        |w| w.empty(VolumeType::Io1, 4).iops = Some(201),
        |w| w.empty(VolumeType::Io1, 4).iops = Some(200),
    ),
    (
        "throughput-unsupported",
        |w| w.empty(VolumeType::Gp2, 8).throughput = Some(125),
        |w| w.empty(VolumeType::Gp3, 8).throughput = Some(125),
    ),
    (
        "throughput-range",
        |w| w.empty(VolumeType::Gp3, 8).throughput = Some(124),
        |w| w.empty(VolumeType::Gp3, 8).throughput = Some(125),
    ),
    (
        "throughput-ratio",
        |w| w.empty(VolumeType::Gp3, 8).throughput = Some(751),
        |w| w.empty(VolumeType::Gp3, 8).throughput = Some(750),
    ),
    (
        "encrypted-snapshot",
        |w| w.ebs().encrypted = Some(false),
        |w| w.empty(VolumeType::Gp3, 8).encrypted = Some(true),
    ),
    (
        "kms-key",
        |w| w.empty(VolumeType::Gp3, 8).kms_key_id = Some("alias/web".into()),
        |w| w.empty(VolumeType::Gp3, 8).encrypted = Some(true),
    ),
    (
        "launch-only",
        |w| w.ebs().volume_initialization_rate = Some(100),
        |w| w.ebs().outpost_arn = Some("arn".into()),
    ),
    (
        "holes-encrypted",
        |w| w.upload.encrypted = true,
        |w| (w.upload.encrypted = true, w.upload.send_holes = true).0,
    ),
    (
        "holes-encrypted",
        |w| w.distribution[0].encrypted = true,
        |w| (w.distribution[0].encrypted = true, w.volumes[0].hole_bytes = Some(0)).0,
    ),
    (
        "image-location",
        |w| (w.instance_store(), w.ami.image_location = Some("web.manifest.xml".into())).0,
        World::instance_store,
    ),
    (
        "instance-store-size",
        |w| {
            w.instance_store();
            w.ami.root_device_name = "/dev/xvda".into();
            w.volumes[0].size = 10 * GIB + 1;
        },
        |w| {
            w.instance_store();
            w.ami.root_device_name = "/dev/xvda".into();
            w.volumes[0].size = 10 * GIB;
        },
    ),
    (
        "instance-store-windows",
        |w| (w.instance_store(), w.ami.platform = Some(Platform::Windows)).0,
        |w| w.ami.platform = Some(Platform::Windows),
    ),
    (
        "instance-store-root",
        |w| w.ami.image_location = Some("bucket/web.manifest.xml".into()),
        |w| (w.instance_store(), w.add(snapshot("/dev/sdf"))).0,
    ),
    (
        "instance-store-nitro",
        |w| (w.instance_store(), w.ami.boot_mode = Some(BootMode::Uefi)).0,
        |w| (w.instance_store(), w.ami.boot_mode = Some(BootMode::LegacyBios)).0,
    ),
    (
        "permission-one",
        |w| w.ami.launch_permissions.push(LaunchPermission::default()),
        |w| w.permit("123456789012"),
    ),
    (
        "permission-one",
        |w| (w.public(), w.ami.launch_permissions[0].user_id = Some("123456789012".into())).0,
        World::public,
    ),
    ("permission-shape", |w| w.permit("1234-5678-9012"), |w| w.permit("123456789012")),
    (
        "permission-shape",
        |w| w.permit("o-abc123"),
        |w| w.permit("arn:aws:organizations::123456789012:organization/o-abc123"),
    ),
    (
        "permission-shape",
        |w| w.permit("arn:aws:organizations::123456789012:ou/ou-ab12-cd34"),
        |w| w.permit("arn:aws:organizations::123456789012:ou/o-abc123/ou-ab12-cd34"),
    ),
    (
        "permission-shape",
        |w| {
            let group = Some("everybody".into());
            w.ami.launch_permissions.push(LaunchPermission { group, ..Default::default() });
        },
        World::public,
    ),
    (
        "permission-twice",
        |w| (w.public(), w.public()).0,
        |w| (w.public(), w.permit("123456789012")).0,
    ),
    (
        "permission-count",
        |w| (0..1001).for_each(|n| w.permit(&format!("{n:012}"))),
        |w| (0..1000).for_each(|n| w.permit(&format!("{n:012}"))),
    ),
    ("public", World::public, |w| w.permit("123456789012")),
    (
        "public",
        |w| w.upload.create_volume_permissions = vec![LaunchPermission::of("all")],
        |w| w.upload.create_volume_permissions = vec![LaunchPermission::of("123456789012")],
    ),
    (
        "public",
        |w| w.distribution[0].launch_permissions = Some(vec![LaunchPermission::of("all")]),
        |w| w.distribution[0].launch_permissions = Some(Vec::new()),
    ),
    (
        "snapshot-permission",
        |w| {
            let unit = "arn:aws:organizations::123456789012:organization/o-abc123";
            w.upload.create_volume_permissions = vec![LaunchPermission::of(unit)];
        },
        |w| w.upload.create_volume_permissions = vec![LaunchPermission::of("all")],
    ),
    (
        "snapshot-permission",
        |w| {
            let list = vec![LaunchPermission::of("12")];
            w.distribution[0].create_volume_permissions = Some(list);
        },
        |w| {
            let list = vec![LaunchPermission::of("123456789012")];
            w.distribution[0].create_volume_permissions = Some(list);
        },
    ),
    (
        "public-encrypted",
        |w| {
            w.upload.create_volume_permissions = vec![LaunchPermission::of("all")];
            w.distribution[0].encrypted = true;
        },
        |w| {
            w.upload.create_volume_permissions = vec![LaunchPermission::of("all")];
            w.distribution[0].encrypted = true;
            w.distribution[0].create_volume_permissions = Some(Vec::new());
        },
    ),
    (
        "public-encrypted",
        |w| (w.public(), w.empty(VolumeType::Gp3, 8).encrypted = Some(true)).0,
        |w| (w.permit("123456789012"), w.empty(VolumeType::Gp3, 8).encrypted = Some(true)).0,
    ),
    (
        "public-encrypted",
        |w| (w.public(), w.distribution[0].encrypted = true).0,
        |w| {
            w.public();
            w.distribution[0].encrypted = true;
            w.distribution[0].launch_permissions = Some(Vec::new());
        },
    ),
    ("public-encrypted", |w| (w.public(), w.upload.encrypted = true).0, World::public),
    (
        "public-product-codes",
        |w| (w.public(), w.product_code()).0,
        |w| (w.permit("123456789012"), w.product_code()).0,
    ),
    (
        "shared-default-key",
        |w| (w.permit("123456789012"), w.upload.encrypted = true).0,
        |w| {
            w.permit("123456789012");
            w.upload.encrypted = true;
            w.upload.kms_key_arn = Some("arn:aws:kms:eu-central-1:123456789012:key/a".into());
        },
    ),
    (
        "shared-default-key",
        |w| {
            w.upload.create_volume_permissions = vec![LaunchPermission::of("123456789012")];
            w.distribution[0].encrypted = true;
        },
        |w| w.distribution[0].encrypted = true,
    ),
    (
        "kms-key-arn",
        |w| (w.upload.encrypted = true, w.upload.kms_key_arn = Some("alias/web".into())).0,
        |w| {
            w.upload.encrypted = true;
            w.upload.kms_key_arn =
                Some("arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/a".into());
        },
    ),
    (
        "kms-key-region",
        |w| {
            w.upload.encrypted = true;
            w.upload.kms_key_arn = Some("arn:aws:kms:us-west-2:123456789012:key/a".into());
        },
        |w| {
            w.upload.encrypted = true;
            w.upload.kms_key_arn = Some("arn:aws:kms:eu-central-1:123456789012:key/a".into());
        },
    ),
    (
        "kms-key-region",
        |w| {
            w.distribution[0].encrypted = true;
            w.distribution[0].kms_key_id =
                Some("arn:aws:kms:eu-central-1:123456789012:alias/web".into());
        },
        |w| {
            w.distribution[0].encrypted = true;
            w.distribution[0].kms_key_id =
                Some(format!("arn:aws:kms:{}:123456789012:key/mrk-1", w.distribution[0].region));
        },
    ),
    ("image-id", |w| w.image_id = Some("Frankfurt"), |w| w.image_id = Some("ami-0123abcd")),
    ("parent-id", |w| w.parents = vec!["snap-0123", "snap-XYZ"], |w| w.parents = vec!["snap-0123"]),
    (
        "copy-encryption",
        |w| w.distribution[0].kms_key_id = Some("alias/web".into()),
        |w| {
            w.distribution[0].kms_key_id = Some("alias/web".into());
            w.distribution[0].encrypted = true;
        },
    ),
    (
        "copy-encryption",
        |w| {
            w.upload.encrypted = true;
            w.distribution[0].launch_permissions = Some(vec![LaunchPermission::of("all")]);
        },
        |w| w.distribution[0].launch_permissions = Some(vec![LaunchPermission::of("all")]),
    ),
    (
        "copy-name",
        |w| w.distribution[0].region = "eu-central-1".into(),
        |w| {
            w.distribution[0].region = "eu-central-1".into();
            w.distribution[0].name = Some("web 2".into());
        },
    ),
    (
        "copy-partition",
        |w| w.distribution[0].region = "cn-north-1".into(),
        |w| {
            w.distribution[0].region = "cn-north-1".into();
            w.upload.region = Some("cn-northwest-1".into());
        },
    ),
    (
        "copy-partition",
        |w| w.upload.region = Some("eu-isoe-west-1".into()),
        |w| {
            w.upload.region = Some("us-iso-east-1".into());
            w.distribution[0].region = "us-iso-west-1".into();
        },
    ),
    (
        "region",
        |w| w.distribution[0].region = "frankfurt".into(),
        |w| w.distribution[0].region = "us-gov-west-1".into(),
    ),
    (
        "billing-products",
        |w| w.ami.billing_products = vec!["bp-1".into()],
        |w| w.ami.billing_products.clear(),
    ),
    ("product-codes", World::product_code, |w| w.ami.product_codes.clear()),
    ("provenance-snapshots", |w| w.come_from(Origin::AwsManaged), |w| w.come_from(Origin::Custom)),
    (
        "provenance-public",
        |w| (w.public(), w.come_from(Origin::Marketplace)).0,
        |w| (w.permit("123456789012"), w.come_from(Origin::Marketplace)).0,
    ),
    (
        "partition-table",
        |w| w.layout().faults.push(GuestFault::NoGpt),
        |w| w.layout().backup = Some(GuestFault::Backup),
    ),
    ("gpt-backup", |w| w.layout().backup = Some(GuestFault::Backup), |w| w.layout().backup = None),
    (
        "boot-uefi",
        |w| w.layout().loaders.clear(),
        |w| {
            w.layout().loaders.clear();
            w.ami.boot_mode = Some(BootMode::LegacyBios);
        },
    ),
    (
        "boot-uefi",
        |w| w.layout().partitions.retain(|it| it.kind != PartitionKind::Esp),
        |w| w.layout().partitions.retain(|it| it.kind != PartitionKind::BiosBoot),
    ),
    (
        "boot-uefi",
        |w| {
            w.arm();
            w.ami.boot_mode = None;
            w.layout().loaders = vec![loader(Machine::X86_64, None)];
        },
        World::arm,
    ),
    (
        "boot-uefi",
        |w| {
            w.ami.uefi_data = uefi_data(&[0; 4]);
            w.layout().partitions.clear();
        },
        |w| {
            w.ami.uefi_data = uefi_data(&[0; 4]);
            w.layout().loaders.clear();
        },
    ),
    (
        "boot-bios",
        |w| {
            w.layout().has_boot_code = false;
            w.ami.boot_mode = Some(BootMode::LegacyBios);
        },
        |w| w.layout().has_boot_code = false,
    ),
    (
        "boot-bios-preferred",
        |w| w.layout().has_boot_code = false,
        |w| {
            w.layout().has_boot_code = false;
            w.ami.boot_mode = Some(BootMode::Uefi);
        },
    ),
    (
        "boot-bios-partition",
        |w| w.layout().partitions.retain(|it| it.kind != PartitionKind::BiosBoot),
        |w| {
            w.layout().partitions.retain(|it| it.kind != PartitionKind::BiosBoot);
            w.layout().table = Table::Mbr;
        },
    ),
    (
        "boot-architecture",
        |w| w.layout().loaders[0].machine = Some(Machine::Arm64),
        |w| w.layout().loaders.push(loader(Machine::Arm64, Some(Machine::Arm64))),
    ),
    (
        "boot-program",
        |w| w.layout().loaders[0].machine = None,
        |w| w.layout().loaders.push(loader(Machine::Arm64, None)),
    ),
    (
        "boot-default",
        |w| (w.ami.boot_mode = None, w.layout().has_boot_code = false).0,
        |w| w.ami.boot_mode = None,
    ),
];

#[test]
fn a_sound_description_breaks_no_rule() {
    assert_eq!(World::sound().ids(), Vec::<&str>::new());
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

#[test]
fn every_rule_has_its_cases_and_a_name_of_its_own() {
    for (number, rule) in RULES.iter().enumerate() {
        let has_case = CASES.iter().any(|(id, ..)| *id == rule.id)
            || inside::tests::CASES.iter().any(|(id, ..)| *id == rule.id);
        assert!(has_case, "{} has no case", rule.id);
        assert_eq!(rule.fix.is_empty(), rule.topic != Topic::Guest, "{}", rule.id);
        assert!(RULES[..number].iter().all(|before| before.id != rule.id), "{} twice", rule.id);
        let kebab =
            rule.id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        assert!(kebab && !rule.text.ends_with('.') && !rule.source.is_empty(), "{}", rule.id);
    }
    let ids = CASES.iter().map(|(id, ..)| id).chain(inside::tests::CASES.iter().map(|(id, ..)| id));
    for id in ids {
        assert!(RULES.iter().any(|rule| rule.id == *id), "{id} is no rule");
    }
}

/// An error says who refuses it: nothing else is one. Nothing of an AMI that is there was refused, so
/// only what is inside a volume can be wrong with it.
#[test]
fn an_error_has_the_evidence_of_a_refusal() {
    for rule in RULES {
        if Audience::ALL.iter().any(|audience| rule.level_for(*audience) == Level::Error) {
            assert_eq!(rule.evidence, Evidence::Refused, "{}", rule.id);
            let is_inside = matches!(rule.topic, Topic::Boot | Topic::Guest);
            assert!(rule.scope == Scope::Asked || is_inside, "{}", rule.id);
        }
        if rule.evidence == Evidence::Refused {
            let named = ["refuse", "EC2 ", "EBS ", "flatcar", "hashicorp", "scylladb", "AWS SDKs"];
            assert!(
                named.iter().any(|it| rule.source.contains(it)),
                "{}: {}",
                rule.id,
                rule.source
            );
        }
    }
}

/// Whatever trips a rule about what is asked, an answer of EC2's is not accused of it.
#[test]
fn an_answer_is_not_judged_as_a_call() {
    for (id, bad, _) in CASES {
        let mut world = World::sound();
        bad(&mut world);
        world.is_answer = true;
        world.volumes.clear();
        let subject = Subject {
            upload: Some(&world.upload),
            distribution: &world.distribution,
            unread: &world.unread,
            now: world.now,
            is_answer: true,
            ..Subject::of(&world.ami)
        };
        let found = lint(&subject, &[]);
        assert!(found.iter().all(|it| it.level == Level::Warning), "{id}: {found:?}");
    }
}

#[test]
fn errors_come_first_and_an_allowed_rule_is_silent() {
    let mut world = World::sound();
    world.ami.ena_support = None;
    world.layout().faults.push(GuestFault::NoGpt);
    let subject = Subject { volumes: &world.volumes, ..Subject::of(&world.ami) };
    let levels: Vec<Level> = lint(&subject, &[]).iter().map(|it| it.level).collect();
    assert_eq!(levels, [Level::Error, Level::Warning]);
    let allow = ["partition-table".to_owned()];
    let rules: Vec<&str> = lint(&subject, &allow).iter().map(|it| it.rule).collect();
    assert_eq!(rules, ["ena-missing"]);
    assert!(check_ids(&allow).is_ok() && check_ids(&["nonsense".to_owned()]).is_err());
}
