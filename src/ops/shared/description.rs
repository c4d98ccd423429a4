//! What an AMI is where the user does not say.

use crate::ami::Ami;
use crate::ami::Architecture;
use crate::ami::Virtualization;

/// Root device where none is named: what EC2's own Linux AMIs have.
const ROOT_DEVICE: &str = "/dev/xvda";

/// Fills in what the user did not say. EC2's own defaults (i386, paravirtual) are of another time, so a
/// description that was only typed gets today's; one that a document stated and that leaves a member out
/// means EC2's, which rules point out.
#[must_use]
pub fn with_defaults(mut ami: Ami, stated: bool) -> Ami {
    if !stated {
        ami.architecture = ami.architecture.or(Some(Architecture::X86_64));
        ami.virtualization_type = ami.virtualization_type.or(Some(Virtualization::Hvm));
    }
    if ami.root_device_name.is_empty() {
        ROOT_DEVICE.clone_into(&mut ami.root_device_name);
    }
    ami
}
