//! One image: its id, its owner, its name, its state.

use crate::serve::aws::access::Caller;
use crate::serve::aws::ec2_error::Ec2Error;
use crate::serve::aws::params::Params;
use crate::serve::aws::query::Done;
use crate::serve::aws::server::Server;
use crate::serve::aws::server::have_passed;
use crate::serve::aws::state::Image;
use crate::serve::aws::state::ImageState;
use crate::serve::aws::state::Once;
use crate::serve::aws::state::State;
use crate::serve::aws::xml::Xml;

pub(super) fn not_found(id: &str) -> Ec2Error {
    Ec2Error::new("InvalidAMIID.NotFound", format!("The image id '[{id}]' does not exist"))
}

pub(super) fn check_id(id: &str) -> Result<(), Ec2Error> {
    let hex = id.strip_prefix("ami-").unwrap_or_default();
    let digits = hex.bytes().all(|it| it.is_ascii_digit() || (b'a'..=b'f').contains(&it));
    if hex.is_empty() || !digits || id.len() > 64 {
        let text = format!("Invalid id: \"{id}\" (expecting \"ami-...\")");
        return Err(Ec2Error::new("InvalidAMIID.Malformed", text));
    }
    Ok(())
}

/// Returns an image that the caller owns.
pub(super) fn owned<'a>(
    state: &'a mut State,
    caller: &Caller,
    params: &Params,
) -> Result<&'a mut Image, Ec2Error> {
    let id = params.need("ImageId")?;
    check_id(id)?;
    let found = state.images.get_mut(id).filter(|it| it.region == caller.region);
    let found = found.ok_or_else(|| not_found(id))?;
    if found.owner == caller.account {
        return Ok(found);
    }
    if !found.is_for(&caller.account) {
        return Err(not_found(id));
    }
    let text = format!("Not authorized for images: [{id}]");
    Err(Ec2Error { status: 403, ..Ec2Error::new("AuthFailure", text) })
}

/// Fails if an image of the account has the name in the region.
pub(super) fn check_free(state: &State, caller: &Caller, name: &str) -> Result<(), Ec2Error> {
    let same = |it: &&Image| {
        it.owner == caller.account && it.region == caller.region && it.ami.name == name
    };
    if state.images.values().any(|it| same(&it)) {
        let text = format!("AMI name {name} is already in use by AMI");
        return Err(Ec2Error::new("InvalidAMIName.Duplicate", text));
    }
    Ok(())
}

pub(super) fn again(once: &Once, asked: crate::digest::Digest) -> Done {
    if once.asked != asked {
        let text = "The client token was used with other parameters";
        return Err(Ec2Error::new("IdempotentParameterMismatch", text));
    }
    let mut xml = Xml::new();
    xml.text("imageId", &once.id);
    Ok(xml)
}

impl Server<'_> {
    /// What was made is pending at first: clients must wait for it.
    pub(super) fn settle(&self, state: &mut State) {
        let now = self.now();
        let wait = self.faults.pending_ms.unwrap_or(1000).div_ceil(1000);
        for image in state.images.values_mut() {
            if image.state == ImageState::Pending && have_passed(wait, image.created, now) {
                image.state = ImageState::Available;
            }
        }
    }
}
