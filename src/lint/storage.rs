//! Rules about EBS volumes and instance storage: sizes, types, speeds, encryption.

use crate::ami::Architecture;
use crate::ami::BootMode;
use crate::ami::Ebs;
use crate::ami::Mapping;
use crate::ami::Platform;
use crate::ami::VolumeType;
use crate::guest::SECTOR_SIZE;
use crate::guest::Table;
use crate::lint::Found;
use crate::lint::Subject;
use crate::lint::features::is_id;
use crate::lint::limits::GP3_IOPS;
use crate::lint::limits::MAX_GIB;
use crate::lint::limits::MAX_INSTANCE_STORE_ROOT;
use crate::lint::limits::MAX_MBR_GIB;
use crate::lint::limits::limits;
use crate::lint::member;
use crate::units::ebs_gib;
use crate::units::format_size;

/// The type that EC2 gives a volume: its default is `gp2`.
fn kind(ebs: &Ebs) -> VolumeType {
    ebs.volume_type.unwrap_or(VolumeType::Gp2)
}

/// Applies `check` to each EBS volume of the mapping.
fn each<'a>(
    subject: &Subject<'a>,
    check: impl Fn(&'a Mapping, &'a Ebs) -> Option<Found>,
) -> Vec<Found> {
    subject.volumes().filter_map(|(mapping, ebs)| check(mapping, ebs)).collect()
}

pub(super) fn ebs_source(subject: &Subject<'_>) -> Vec<Found> {
    each(subject, |mapping, ebs| {
        let neither = !ebs.has_content() && ebs.volume_size.is_none();
        neither.then(|| {
            let instead = "a size in GiB, a snapshot or an image";
            Found::new(member(mapping, "Ebs"), "neither snapshot nor VolumeSize", instead)
        })
    })
}

pub(super) fn snapshot_id(subject: &Subject<'_>) -> Vec<Found> {
    each(subject, |mapping, ebs| {
        let id = ebs.snapshot_id.as_deref().filter(|id| !is_id(id, "snap") || id.len() > 64)?;
        let instead = "snap- and hexadecimal digits";
        Some(Found::new(member(mapping, "SnapshotId"), format!("{id:?}"), instead))
    })
}

pub(super) fn size_below_content(subject: &Subject<'_>) -> Vec<Found> {
    each(subject, |mapping, ebs| {
        let (asked, content) = (ebs.volume_size?, subject.facts(mapping)?.size);
        (asked < ebs_gib(content)).then(|| {
            let found = format!("{asked} GiB for a volume of {}", format_size(content));
            let instead = format!("{} or more, or no VolumeSize", ebs_gib(content));
            Found::new(member(mapping, "VolumeSize"), found, instead)
        })
    })
}

pub(super) fn size_of_type(subject: &Subject<'_>) -> Vec<Found> {
    each(subject, |mapping, ebs| {
        let (gib, range) = (subject.gib(mapping, ebs)?, limits(kind(ebs)).gib);
        (gib <= MAX_GIB && !range.contains(&gib)).then(|| {
            let found = format!("{gib} GiB for {}", kind(ebs));
            let instead = format!("{} to {} GiB, or another type", range.start(), range.end());
            Found::new(member(mapping, "VolumeSize"), found, instead)
        })
    })
}

pub(super) fn size_of_ebs(subject: &Subject<'_>) -> Vec<Found> {
    each(subject, |mapping, ebs| {
        let gib = subject.gib(mapping, ebs)?;
        (gib > MAX_GIB).then(|| {
            let instead = format!("at most {MAX_GIB} GiB, which is 64 TiB");
            Found::new(member(mapping, "VolumeSize"), format!("{gib} GiB"), instead)
        })
    })
}

pub(super) fn size_sector(subject: &Subject<'_>) -> Vec<Found> {
    each(subject, |mapping, _| {
        let size = subject.facts(mapping)?.size;
        (!size.is_multiple_of(SECTOR_SIZE)).then(|| {
            let found = format!("{size} bytes");
            let instead = "a multiple of 512 bytes: the image may be cut";
            Found::new(member(mapping, "content"), found, instead)
        })
    })
}

pub(super) fn size_mbr(subject: &Subject<'_>) -> Vec<Found> {
    each(subject, |mapping, ebs| {
        let table = subject.facts(mapping)?.layout.as_ref()?.table;
        let gib = subject.gib(mapping, ebs)?;
        (subject.is_root(mapping) && table == Table::Mbr && gib > MAX_MBR_GIB).then(|| {
            let instead = format!("at most {MAX_MBR_GIB} GiB, or a GPT");
            Found::new(member(mapping, "VolumeSize"), format!("{gib} GiB with an MBR"), instead)
        })
    })
}

pub(super) fn type_default(subject: &Subject<'_>) -> Vec<Found> {
    each(subject, |mapping, ebs| {
        ebs.volume_type.is_none().then(|| {
            let found = "nothing, which EC2 takes as gp2";
            Found::new(member(mapping, "VolumeType"), found, "gp3, or gp2 to say that it is meant")
        })
    })
}

pub(super) fn type_root(subject: &Subject<'_>) -> Vec<Found> {
    each(subject, |mapping, ebs| {
        (subject.is_root(mapping) && !limits(kind(ebs)).boots).then(|| {
            let found = format!("{} for the root", kind(ebs));
            Found::new(
                member(mapping, "VolumeType"),
                found,
                "gp3: no instance boots from HDD types",
            )
        })
    })
}

pub(super) fn iops_unsupported(subject: &Subject<'_>) -> Vec<Found> {
    each(subject, |mapping, ebs| {
        let iops = ebs.iops?;
        limits(kind(ebs)).iops.is_none().then(|| {
            let found = format!("{iops} for {}", kind(ebs));
            Found::new(member(mapping, "Iops"), found, "no Iops, not even 0; or gp3, io1 or io2")
        })
    })
}

pub(super) fn iops_missing(subject: &Subject<'_>) -> Vec<Found> {
    each(subject, |mapping, ebs| {
        let limit = limits(kind(ebs)).iops?;
        (limit.required && ebs.iops.is_none()).then(|| {
            let instead = format!("{} to {}", limit.range.start(), limit.range.end());
            Found::new(member(mapping, "Iops"), format!("nothing for {}", kind(ebs)), instead)
        })
    })
}

pub(super) fn iops_range(subject: &Subject<'_>) -> Vec<Found> {
    each(subject, |mapping, ebs| {
        let (iops, limit) = (ebs.iops?, limits(kind(ebs)).iops?);
        (!limit.range.contains(&iops)).then(|| {
            let found = format!("{iops} for {}", kind(ebs));
            let instead = format!("{} to {}", limit.range.start(), limit.range.end());
            Found::new(member(mapping, "Iops"), found, instead)
        })
    })
}

pub(super) fn iops_ratio(subject: &Subject<'_>) -> Vec<Found> {
    each(subject, |mapping, ebs| {
        let (iops, limit) = (ebs.iops?, limits(kind(ebs)).iops?);
        let gib = subject.gib(mapping, ebs)?;
        let most = gib.saturating_mul(limit.per_gib).max(limit.base);
        (limit.range.contains(&iops) && iops > most).then(|| {
            let found = format!("{iops} for {gib} GiB of {}", kind(ebs));
            let instead =
                format!("at most {most}, or {} GiB or more", iops.div_ceil(limit.per_gib));
            Found::new(member(mapping, "Iops"), found, instead)
        })
    })
}

pub(super) fn throughput_unsupported(subject: &Subject<'_>) -> Vec<Found> {
    each(subject, |mapping, ebs| {
        let throughput = ebs.throughput?;
        limits(kind(ebs)).throughput.is_none().then(|| {
            let found = format!("{throughput} for {}", kind(ebs));
            Found::new(member(mapping, "Throughput"), found, "no Throughput, or gp3")
        })
    })
}

pub(super) fn throughput_range(subject: &Subject<'_>) -> Vec<Found> {
    each(subject, |mapping, ebs| {
        let (throughput, limit) = (ebs.throughput?, limits(kind(ebs)).throughput?);
        (!limit.range.contains(&throughput)).then(|| {
            let (first, last) = (limit.range.start(), limit.range.end());
            let instead = format!("{first} to {last} MiB a second");
            Found::new(member(mapping, "Throughput"), format!("{throughput}"), instead)
        })
    })
}

pub(super) fn throughput_ratio(subject: &Subject<'_>) -> Vec<Found> {
    each(subject, |mapping, ebs| {
        let (throughput, limit) = (ebs.throughput?, limits(kind(ebs)).throughput?);
        let iops = ebs.iops.unwrap_or(GP3_IOPS);
        let needed = throughput.saturating_mul(limit.iops_each);
        (limit.range.contains(&throughput) && needed > iops).then(|| {
            let found = format!("{throughput} MiB a second with {iops} operations a second");
            let instead = format!(
                "Iops of {needed} or more, or at most {}",
                iops.strict_div(limit.iops_each)
            );
            Found::new(member(mapping, "Throughput"), found, instead)
        })
    })
}

pub(super) fn encrypted_snapshot(subject: &Subject<'_>) -> Vec<Found> {
    each(subject, |mapping, ebs| {
        let encrypted = ebs.encrypted.filter(|_| ebs.has_content())?;
        let instead =
            "no Encrypted: the snapshot's own state counts, so encrypt the upload or the copy";
        let found = format!("{encrypted} beside a snapshot");
        Some(Found::new(member(mapping, "Encrypted"), found, instead))
    })
}

pub(super) fn kms_key(subject: &Subject<'_>) -> Vec<Found> {
    each(subject, |mapping, ebs| {
        ebs.kms_key_id.as_ref().map(|_| {
            let instead = "no KmsKeyId: keys are given at launch, for the upload or for a copy";
            Found::new(member(mapping, "KmsKeyId"), "a key", instead)
        })
    })
}

pub(super) fn launch_only(subject: &Subject<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (mapping, ebs) in subject.volumes() {
        let members = [
            ("VolumeInitializationRate", ebs.volume_initialization_rate.is_some()),
            ("AvailabilityZone", ebs.availability_zone.is_some()),
            ("AvailabilityZoneId", ebs.availability_zone_id.is_some()),
            ("EbsCardIndex", ebs.ebs_card_index.is_some()),
        ];
        for (name, _) in members.into_iter().filter(|(_, there)| *there) {
            let instead = format!("no {name}: EC2 takes it at launch only");
            found.push(Found::new(member(mapping, name), "a value", instead));
        }
    }
    found
}

pub(super) fn holes_encrypted(subject: &Subject<'_>) -> Vec<Found> {
    let sent = subject.upload.is_some_and(|upload| upload.send_holes);
    let by_upload = subject.upload.is_some_and(|upload| upload.encrypted);
    let copy = subject.distribution.iter().find(|copy| copy.encrypted);
    let why = match copy {
        _ if by_upload => "the upload is encrypted".to_owned(),
        Some(copy) => format!("the copy to {} is encrypted", copy.region),
        None => return Vec::new(),
    };
    each(subject, |mapping, _| {
        let holes = subject.facts(mapping)?.hole_bytes.filter(|bytes| *bytes > 0 && !sent)?;
        let found = format!("{} of holes, and {why}", format_size(holes));
        let instead =
            "holes = \"send\": on an encrypted volume a block never written reads as garbage";
        Some(Found::new(member(mapping, "holes"), found, instead))
    })
}

pub(super) fn instance_store_size(subject: &Subject<'_>) -> Vec<Found> {
    let Some(facts) = subject.root_facts().filter(|_| subject.is_instance_store()) else {
        return Vec::new();
    };
    if facts.size <= MAX_INSTANCE_STORE_ROOT {
        return Vec::new();
    }
    let found = format!("a root of {}", format_size(facts.size));
    vec![Found::new("ImageLocation", found, "at most 10 GiB, or an EBS-backed AMI")]
}

pub(super) fn instance_store_windows(subject: &Subject<'_>) -> Vec<Found> {
    if !subject.is_instance_store() || subject.ami.platform != Some(Platform::Windows) {
        return Vec::new();
    }
    vec![Found::new("ImageLocation", "instance store for Windows", "an EBS-backed AMI")]
}

pub(super) fn instance_store_root(subject: &Subject<'_>) -> Vec<Found> {
    let root = subject.root().filter(|root| root.ebs.is_some());
    match root.filter(|_| subject.is_instance_store()) {
        Some(root) => {
            let found = "an EBS root beside ImageLocation";
            let instead = "no entry for the root, or no ImageLocation";
            vec![Found::new(member(root, "Ebs"), found, instead)]
        }
        None => Vec::new(),
    }
}

pub(super) fn instance_store_nitro(subject: &Subject<'_>) -> Vec<Found> {
    if !subject.is_instance_store() {
        return Vec::new();
    }
    let nitro = [
        ("BootMode", subject.ami.boot_mode.is_some_and(|mode| mode != BootMode::LegacyBios)),
        ("TpmSupport", subject.ami.tpm_support.is_some()),
        ("UefiData", subject.ami.uefi_data.is_some()),
        ("Architecture", subject.ami.architecture == Some(Architecture::Arm64)),
    ];
    nitro
        .into_iter()
        .filter(|(_, there)| *there)
        .map(|(name, _)| {
            let found = "what only Nitro types have, with an instance-store root";
            Found::new(name, found, "an EBS-backed AMI: no Nitro type boots from instance store")
        })
        .collect()
}

pub(super) fn image_location(subject: &Subject<'_>) -> Vec<Found> {
    let Some(text) = subject.ami.image_location.as_deref() else { return Vec::new() };
    let sound = text
        .split_once('/')
        .is_some_and(|(bucket, key)| !bucket.is_empty() && key.ends_with(".manifest.xml"));
    if sound {
        return Vec::new();
    }
    let instead = "BUCKET/PREFIX.manifest.xml";
    vec![Found::new("ImageLocation", format!("{text:?}"), instead)]
}
