//! The volumes of an AMI: which image is which device, and all of them opened.

use std::path::PathBuf;

use crate::ami::Ami;
use crate::ami::check_devices;
use crate::ami::check_name;
use crate::bundle::FreeRecord;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::error::Setting;
use crate::format;
use crate::ops::shared::groups::Groups;
use crate::ops::shared::open::OpenedVolume;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::open_in_order;
use crate::work::Watch;

/// One volume of an AMI to be packed.
#[derive(Clone, Debug)]
pub struct MappedVolume {
    /// Device of the AMI.
    pub device: String,
    /// The volume.
    pub image: VolumeRequest,
}

impl MappedVolume {
    /// Takes a volume as a device.
    #[must_use]
    pub fn new(device: impl Into<String>, image: VolumeRequest) -> Self {
        Self { device: device.into(), image }
    }
}

/// One volume of an AMI to be packed, open.
#[derive(Debug)]
pub(in crate::ops) struct OpenedMapping {
    /// Device of the AMI.
    pub(in crate::ops) device: String,
    /// What the user named it, for the report.
    pub(in crate::ops) named: PathBuf,
    /// The volume.
    pub(in crate::ops) source: OpenedVolume,
    /// What became of its free blocks.
    pub(in crate::ops) free: Option<FreeRecord>,
}

/// What further disks of an image are attached as, in order: EC2's own names for data volumes.
const DATA_DEVICES: std::ops::RangeInclusive<char> = 'f'..='p';

/// Gives each disk of an image that holds several a device of its own: the first one that of the image,
/// the others the next that are free.
fn with_all_disks(volumes: &[MappedVolume]) -> Result<Vec<MappedVolume>> {
    let mut all = volumes.to_vec();
    let mut free = DATA_DEVICES
        .map(|letter| format!("/dev/sd{letter}"))
        .filter(|device| volumes.iter().all(|volume| volume.device != *device));
    for (number, volume) in volumes.iter().enumerate() {
        let disks = format::disks(&volume.image.image).map_err(|e| volume.image.fail(e))?;
        if disks.len() < 2 {
            continue;
        }
        for (disk, name) in disks.iter().enumerate() {
            let mut image = volume.image.clone();
            image.image.member = Some(name.clone());
            if disk == 0 {
                all[number].image = image;
            } else {
                let device = free.next().ok_or_else(|| {
                    Error::invalid("there are more disks than devices, expected at most 11 more")
                        .in_file(&volume.image.image.path)
                        .advise(Advice::Give {
                            setting: Setting::Map,
                            example: "/dev/sdq=web.ova:disk9.vmdk".into(),
                        })
                })?;
                all.push(MappedVolume { device, image });
            }
        }
    }
    Ok(all)
}

/// Checks what can be known before a volume is opened.
///
/// # Errors
///
/// `Invalid` for a name or devices that EC2 would refuse, and for values of `groups` that no pack has.
pub(in crate::ops) fn check_names(ami: &Ami, devices: &[&str], groups: Groups) -> Result<()> {
    check_name(&ami.name)?;
    check_devices(devices, &ami.root_device_name)?;
    groups.check()
}

/// Opens volumes, all disks of an image that holds several.
///
/// # Errors
///
/// As [`open_in_order`]; `Invalid` for names that EC2 would refuse, and if two of the volumes are
/// standard input.
pub(in crate::ops) fn open_mapped(
    volumes: &[MappedVolume],
    ami: &Ami,
    groups: Groups,
    watch: &dyn Watch,
) -> Result<Vec<OpenedMapping>> {
    let volumes = with_all_disks(volumes)?;
    let devices: Vec<&str> = volumes.iter().map(|volume| volume.device.as_str()).collect();
    // Names are wrong before anything is opened.
    check_names(ami, &devices, groups)?;
    if volumes.iter().filter(|volume| volume.image.is_standard_input()).count() > 1 {
        return Err(Error::invalid("standard input can supply only one volume"));
    }
    let open = |volume: MappedVolume| {
        let source = open_in_order(&volume.image, watch)?;
        let (named, free) = (volume.image.typed(), volume.image.free);
        Ok(OpenedMapping { device: volume.device, named, source, free })
    };
    volumes.into_iter().map(open).collect()
}
