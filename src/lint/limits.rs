//! What EBS gives each volume type: one table, with its date. AWS raises these now and then.

use std::ops::RangeInclusive;

use crate::ami::VolumeType;

/// When the table was last compared with EC2's model.
pub const LIMITS_AS_OF: &str = "2026-11-23";

/// Operations a second of a volume type that takes them.
#[derive(Clone, Debug)]
pub(super) struct IopsLimit {
    /// Whether they must be given.
    pub(super) required: bool,
    /// The possible values.
    pub(super) range: RangeInclusive<u64>,
    /// Values up to this need no size.
    pub(super) base: u64,
    /// Above the base, at most this many for each GiB.
    pub(super) per_gib: u64,
}

/// Throughput of a volume type that takes it, in MiB a second.
#[derive(Clone, Debug)]
pub(super) struct ThroughputLimit {
    /// The possible values.
    pub(super) range: RangeInclusive<u64>,
    /// Operations a second that each MiB a second needs.
    pub(super) iops_each: u64,
}

/// What a volume type can be.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// Sizes in GiB.
    pub(super) gib: RangeInclusive<u64>,
    /// Operations a second; `None` where the member is refused.
    pub(super) iops: Option<IopsLimit>,
    /// Throughput; `None` where the member is refused.
    pub(super) throughput: Option<ThroughputLimit>,
    /// Whether an instance can boot from it.
    pub(super) boots: bool,
}

/// Returns what EBS gives a volume type.
pub(super) fn limits(kind: VolumeType) -> Limits {
    let plain = |gib, boots| Limits { gib, iops: None, throughput: None, boots };
    let provisioned = |first, last, most, per_gib| Limits {
        gib: first..=last,
        iops: Some(IopsLimit { required: true, range: 100..=most, base: 100, per_gib }),
        throughput: None,
        boots: true,
    };
    match kind {
        VolumeType::Gp3 => Limits {
            gib: 1..=65_536,
            iops: Some(IopsLimit {
                required: false,
                range: GP3_IOPS..=80_000,
                base: GP3_IOPS,
                per_gib: 500,
            }),
            throughput: Some(ThroughputLimit { range: 125..=2_000, iops_each: 4 }),
            boots: true,
        },
        VolumeType::Gp2 => plain(1..=16_384, true),
        VolumeType::Io1 => provisioned(4, 16_384, 64_000, 50),
        VolumeType::Io2 => provisioned(4, 65_536, 256_000, 1_000),
        VolumeType::St1 | VolumeType::Sc1 => plain(125..=16_384, false),
        VolumeType::Standard => plain(1..=1_024, true),
    }
}

/// Operations a second of a `gp3` volume that says nothing.
pub(super) const GP3_IOPS: u64 = 3_000;

/// Largest EBS volume, in GiB.
pub(super) const MAX_GIB: u64 = 65_536;

/// Largest root of an instance-store AMI, in bytes.
pub(super) const MAX_INSTANCE_STORE_ROOT: u64 = 10 << 30;

/// Largest volume that boots by an MBR, in GiB.
pub(super) const MAX_MBR_GIB: u64 = 2_047;

/// EBS volumes that most Nitro instances take beside one network card.
pub(super) const MAX_ATTACHED: usize = 27;
