//! Everything that follows once the snapshots are uploaded: waits, the registration, sharing, copies.
//!
//! One function makes it, for a plan and for documents of their own, so that both say the same.

use serde::Serialize;

use crate::ami::Ami;
use crate::ami::DeregistrationProtection;
use crate::ami::Distribution;
use crate::ami::LaunchPermission;
use crate::ami::RegisterImage;
use crate::ami::Time;
use crate::ami::Upload;
use crate::ami::bare;
use crate::calls::ids::Id;
use crate::calls::ids::Made;
use crate::calls::parameters::CopyImage;
use crate::calls::parameters::DeregisterImage;
use crate::calls::parameters::DescribeImages;
use crate::calls::parameters::DescribeSnapshots;
use crate::calls::parameters::EnableImageDeprecation;
use crate::calls::parameters::EnableImageDeregistrationProtection;
use crate::calls::parameters::ModifyImageAttribute;
use crate::calls::parameters::ModifySnapshotAttribute;

/// Seconds between two looks at a state, as the AWS CLI's waiters take them.
const LOOK_SECONDS: u64 = 15;

/// Seconds that a new id may be unknown to other calls.
pub(super) const NOT_YET_SECONDS: u64 = 120;

/// A call of EC2's, with its parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "each is the call of that name")]
pub enum Call {
    CopyImage(CopyImage),
    DeregisterImage(DeregisterImage),
    DescribeImages(DescribeImages),
    DescribeSnapshots(DescribeSnapshots),
    EnableImageDeprecation(EnableImageDeprecation),
    EnableImageDeregistrationProtection(EnableImageDeregistrationProtection),
    ModifyImageAttribute(ModifyImageAttribute),
    ModifySnapshotAttribute(ModifySnapshotAttribute),
    RegisterImage(Box<RegisterImage>),
}

impl Call {
    /// Returns EC2's name of the call.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::CopyImage(_) => "CopyImage",
            Self::DeregisterImage(_) => "DeregisterImage",
            Self::DescribeImages(_) => "DescribeImages",
            Self::DescribeSnapshots(_) => "DescribeSnapshots",
            Self::EnableImageDeprecation(_) => "EnableImageDeprecation",
            Self::EnableImageDeregistrationProtection(_) => "EnableImageDeregistrationProtection",
            Self::ModifyImageAttribute(_) => "ModifyImageAttribute",
            Self::ModifySnapshotAttribute(_) => "ModifySnapshotAttribute",
            Self::RegisterImage(_) => "RegisterImage",
        }
    }
}

/// What a wait waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Until {
    /// The state that ends the wait well.
    pub state: &'static str,
    /// States that will never become that one.
    pub fails: &'static [&'static str],
    /// Seconds between two looks.
    pub every_seconds: u64,
}

/// How long a new id may be unknown to calls that name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NotYet {
    /// What such calls are answered with meanwhile: they are to be tried again.
    pub errors: &'static [&'static str],
    /// For how many seconds.
    pub seconds: u64,
}

/// The id of a snapshot of a copy, which the wait for that copy finds in the mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FoundSnapshot {
    /// Its device.
    pub device: String,
    /// Its id.
    pub result: Id,
}

/// A call, or a wait for a state that the next calls need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Action {
    /// What is done: the name of the call, `WaitForSnapshot` or `WaitForImage`.
    pub step: &'static str,
    /// Where it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The id that the call gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Id>,
    /// How long that id may be unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_yet: Option<NotYet>,
    /// Snapshots whose ids a wait finds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<FoundSnapshot>,
    /// Of a wait, the call by which the state is looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<&'static str>,
    /// What the call is made with.
    pub parameters: Call,
    /// What a wait waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Until>,
}

impl Action {
    /// Makes the step of a call.
    #[must_use]
    pub fn of(region: Option<&str>, parameters: Call) -> Self {
        Self {
            step: parameters.name(),
            region: region.map(str::to_owned),
            result: None,
            not_yet: None,
            snapshots: Vec::new(),
            call: None,
            parameters,
            until: None,
        }
    }

    /// Names what the call makes.
    fn giving(self, image: Id) -> Self {
        let errors = &["InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"];
        let not_yet = Some(NotYet { errors, seconds: NOT_YET_SECONDS });
        Self { result: Some(image), not_yet, ..self }
    }

    fn wait(self, step: &'static str, state: &'static str, fails: &'static [&'static str]) -> Self {
        let until = Some(Until { state, fails, every_seconds: LOOK_SECONDS });
        Self { step, call: Some(self.step), until, ..self }
    }

    fn wait_for_snapshots(region: Option<&str>, snapshot_ids: Vec<Id>) -> Self {
        let call = Call::DescribeSnapshots(DescribeSnapshots { snapshot_ids });
        Self::of(region, call).wait("WaitForSnapshot", "completed", &["error"])
    }

    /// Makes the wait for an AMI that can be launched.
    #[must_use]
    pub fn wait_for_image(region: Option<&str>, image: &Id) -> Self {
        let call = Call::DescribeImages(DescribeImages { image_ids: vec![image.clone()] });
        let fails = &["failed", "error", "invalid", "deregistered", "disabled"];
        Self::of(region, call).wait("WaitForImage", "available", fails)
    }

    /// Tells whether this is a wait.
    #[must_use]
    pub fn is_wait(&self) -> bool {
        self.until.is_some()
    }
}

/// What an AMI is registered from, and where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Registration<'a> {
    /// The description.
    pub ami: &'a Ami,
    /// Its snapshots, each with its device. Those that the description itself names are not here.
    pub snapshots: &'a [(String, Id)],
    /// Id of the AMI, which may be known already.
    pub image: &'a Id,
    /// How the snapshots were uploaded.
    pub upload: &'a Upload,
    /// Copies to make.
    pub distribution: &'a [Distribution],
}

/// What is set on an AMI once it is there, which is the same for a copy.
struct Settings<'a> {
    region: Option<&'a str>,
    image: &'a Id,
    permissions: &'a [LaunchPermission],
    deprecate_at: Option<Time>,
    protection: Option<DeregistrationProtection>,
}

impl Settings<'_> {
    fn add_to(&self, actions: &mut Vec<Action>) {
        for call in ModifyImageAttribute::share(self.image, self.permissions) {
            actions.push(Action::of(self.region, Call::ModifyImageAttribute(call)));
        }
        if let Some(deprecate_at) = self.deprecate_at {
            let call = EnableImageDeprecation { image_id: self.image.clone(), deprecate_at };
            actions.push(Action::of(self.region, Call::EnableImageDeprecation(call)));
        }
        let protect = |it| EnableImageDeregistrationProtection::of(self.image, it);
        if let Some(call) = self.protection.and_then(protect) {
            let call = Call::EnableImageDeregistrationProtection(call);
            actions.push(Action::of(self.region, call));
        }
    }
}

fn share_snapshots<'a>(
    region: Option<&str>,
    snapshots: impl Iterator<Item = &'a Id>,
    permissions: &[LaunchPermission],
    actions: &mut Vec<Action>,
) {
    for id in snapshots {
        for call in ModifySnapshotAttribute::share(id, permissions) {
            actions.push(Action::of(region, Call::ModifySnapshotAttribute(call)));
        }
    }
}

impl Registration<'_> {
    /// Makes all calls and waits, in the order in which they are done.
    ///
    /// Copies are started side by side, and waited for one after the other.
    #[must_use]
    pub fn actions(&self) -> Vec<Action> {
        let region = self.upload.region.as_deref();
        let mut actions = Vec::new();
        let ids: Vec<Id> = self.snapshots.iter().map(|(_, id)| id.clone()).collect();
        if !ids.is_empty() {
            actions.push(Action::wait_for_snapshots(region, ids.clone()));
        }
        let permissions = &self.upload.create_volume_permissions;
        share_snapshots(region, ids.iter(), permissions, &mut actions);
        let register = Call::RegisterImage(Box::new(self.register()));
        actions.push(Action::of(region, register).giving(self.image.clone()));
        actions.push(Action::wait_for_image(region, self.image));
        let settings = Settings {
            region,
            image: self.image,
            permissions: &self.ami.launch_permissions,
            deprecate_at: self.ami.deprecate_at,
            protection: self.ami.deregistration_protection,
        };
        settings.add_to(&mut actions);
        for (number, copy) in (1..).zip(self.distribution) {
            let call = CopyImage::of(self.ami, self.image, self.upload, copy);
            let action = Action::of(Some(&copy.region), Call::CopyImage(call));
            actions.push(action.giving(Id::of_image(number)));
        }
        for (number, copy) in (1..).zip(self.distribution) {
            self.finish_copy(number, copy, &mut actions);
        }
        actions
    }

    /// Makes the call that registers the AMI.
    fn register(&self) -> RegisterImage {
        let mut register = RegisterImage::of(self.ami);
        for mapping in &mut register.block_device_mappings {
            let found =
                self.snapshots.iter().find(|(device, _)| bare(device) == mapping.bare_name());
            if let (Some((_, id)), Some(ebs)) = (found, mapping.ebs.as_mut()) {
                ebs.snapshot_id = Some(id.to_string());
            }
        }
        register
    }

    /// Devices whose volumes have content, whose snapshots EC2 copies.
    fn devices(&self) -> impl Iterator<Item = &str> {
        let mappings = self.ami.block_device_mappings.iter();
        mappings
            .filter(|it| it.ebs.as_ref().is_some_and(crate::ami::Ebs::has_content))
            .map(|it| it.device_name.as_str())
    }

    fn finish_copy(&self, number: usize, copy: &Distribution, actions: &mut Vec<Action>) {
        let region = Some(copy.region.as_str());
        let image = Id::of_image(number);
        let mut wait = Action::wait_for_image(region, &image);
        let permissions = copy.volume_permissions_of(self.upload);
        if !permissions.is_empty() {
            wait.snapshots = self
                .devices()
                .map(|device| FoundSnapshot {
                    device: device.to_owned(),
                    result: Id::Of(Made::Copied { number, device: device.to_owned() }),
                })
                .collect();
        }
        let found: Vec<Id> = wait.snapshots.iter().map(|it| it.result.clone()).collect();
        actions.push(wait);
        share_snapshots(region, found.iter(), permissions, actions);
        let settings = Settings {
            region,
            image: &image,
            permissions: copy.permissions_of(self.ami),
            deprecate_at: copy.deprecation_of(self.ami),
            protection: copy.protection_of(self.ami),
        };
        settings.add_to(actions);
    }
}
