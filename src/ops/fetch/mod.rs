//! `fetch`: a snapshot or an AMI of an account back to a bundle.

mod over;
mod request;
mod volume;

use std::path::Path;

use serde_json::Value;

use crate::ami::Ami;
use crate::ami::LaunchPermission;
use crate::ami::bare;
use crate::aws::is_id;
use crate::bundle::VOLUME_DEVICE;
use crate::calls::BUNDLE_TAG;
use crate::digest::Digest;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::error::Verb;
use crate::layout::Destination;
use crate::lint::RULES;
pub use crate::ops::fetch::request::FetchReport;
pub use crate::ops::fetch::request::FetchRequest;
pub use crate::ops::fetch::request::FetchedVolume;
use crate::ops::fetch::request::Fetching;
use crate::ops::shared::adding::AddRequest;
use crate::ops::shared::adding::add_opened;
use crate::ops::shared::aws::with_aws;
use crate::ops::shared::base::BaseRequest;
use crate::ops::shared::description::with_defaults;
use crate::ops::shared::mapping::OpenedMapping;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::packing::PackOptions;
use crate::ops::shared::packing::pack_volumes;
use crate::ops::shared::recipe::now;
use crate::registry::Reference;
use crate::work::Watch;

/// Fetches a snapshot or an AMI into a bundle or a store.
///
/// # Errors
///
/// `Invalid` if AWS refuses or the id is of neither; `Mismatch` if a block is not what EBS says; `Io` if AWS does not
/// answer, or the output cannot be written.
pub fn fetch(request: &FetchRequest, watch: &dyn Watch) -> Result<FetchReport> {
    let is_image = is_id(&request.id, "ami-");
    if !is_image && !is_id(&request.id, "snap-") {
        let text = format!(
            "{:?} is neither the id of a snapshot nor of an AMI: snap-... or ami-...",
            request.id
        );
        let error = Error::invalid(text);
        if Reference::parse(&request.id).is_err() {
            return Err(error);
        }
        let to = "get it from a registry".into();
        return Err(error.advise(Advice::Use { verb: Verb::Pull, to }));
    }
    let connections = request.connections.get();
    with_aws(&request.aws, request.region.as_deref(), connections, watch, |aws, region| {
        let account = aws.account(region)?;
        let fetching = Fetching { request, watch, aws, region, account: &account };
        let report = if is_image { fetching.fetch_image() } else { fetching.fetch_snapshot() }?;
        fetching.record(&report).map_err(|error| error.leaving("it was fetched"))?;
        Ok(report)
    })
}

impl Fetching<'_> {
    fn fetch_snapshot(&self) -> Result<FetchReport> {
        let id = self.request.id.clone();
        if let Destination::Store { .. } = Destination::parse(&self.request.output)? {
            let base = self.base(None, true)?;
            let (mapping, fetched) = self.read_volume(VOLUME_DEVICE, &id, base.as_ref())?;
            let add = AddRequest {
                base: self.request.base.clone(),
                description: Some(format!("{id} in {}", self.region)),
                groups: self.request.groups,
                threads: self.request.threads,
                ..AddRequest::new(VolumeRequest::new(Path::new(&id)), &self.request.output)
            };
            let added = add_opened(mapping, &add, self.watch)?;
            return Ok(self.report(added.digest, vec![fetched], added.notes));
        }
        let ami = with_defaults(Ami { name: id.clone(), ..Ami::default() }, false);
        let base = self.base(None, true)?;
        let (mapping, fetched) = self.read_volume(&ami.root_device_name, &id, base.as_ref())?;
        let note = "a snapshot says nothing of its AMI: architecture and boot mode are those that packing gives";
        self.pack(ami, vec![mapping], vec![fetched], vec![note.to_owned()])
    }

    fn fetch_image(&self) -> Result<FetchReport> {
        let described = self.aws.describe_image(self.region, &self.request.id)?;
        let owner = described.ami.provenance.as_ref().and_then(|it| it.owner_id.clone());
        let (mut ami, left_out) = described.into_wishes(self.request.keep_permissions, now());
        ami.tags.retain(|tag| tag.key != BUNDLE_TAG);
        let mut notes: Vec<String> = left_out
            .iter()
            .filter_map(|it| match it {
                crate::ami::LeftOut::NotInAnswer { .. } => None,
                other => Some(format!("not taken over: {}", said(other))),
            })
            .collect();
        if owner.as_deref() == Some(self.account) {
            self.add_attributes(&mut ami)?;
        } else {
            notes.push("only its owner is told who may launch it, and its UEFI data".to_owned());
        }
        let (mut mappings, mut fetched) = (Vec::new(), Vec::new());
        let volumes: Vec<(String, String)> = ami
            .block_device_mappings
            .iter_mut()
            .filter_map(|it| Some((it.device_name.clone(), it.ebs.as_mut()?.snapshot_id.take()?)))
            .collect();
        for (device, id) in volumes {
            if !is_id(&id, "snap-") {
                let text = format!("{id:?} of {device} is not the id of a snapshot");
                return Err(Error::invalid(text));
            }
            let is_root = bare(&device) == bare(&ami.root_device_name);
            let base = self.base(Some(&device), is_root)?;
            let (mapping, volume) = self.read_volume(&device, &id, base.as_ref())?;
            mappings.push(mapping);
            fetched.push(volume);
        }
        if mappings.is_empty() {
            let text = format!("{} has no volume with content", self.request.id);
            return Err(Error::invalid(text));
        }
        self.pack(ami, mappings, fetched, notes)
    }

    /// Adds what EC2 tells an owner alone.
    fn add_attributes(&self, ami: &mut Ami) -> Result<()> {
        let ask = |attribute: &str| {
            let parameters =
                serde_json::json!({ "ImageId": self.request.id, "Attribute": attribute });
            self.aws.ec2(self.region, "DescribeImageAttribute", &parameters, None)
        };
        let answer = ask("launchPermission")??;
        for entry in answer["LaunchPermissions"].as_array().into_iter().flatten() {
            let permission: Option<LaunchPermission> = serde_json::from_value(entry.clone()).ok();
            if let Some(permission) = permission
                && !ami.launch_permissions.contains(&permission)
                && (!permission.is_public() || self.request.keep_permissions)
            {
                ami.launch_permissions.push(permission);
            }
        }
        let answer = ask("uefiData")??;
        let data = answer.pointer("/UefiData/Value").and_then(Value::as_str);
        ami.uefi_data = data.filter(|it| !it.is_empty()).map(str::to_owned);
        Ok(())
    }

    fn pack(
        &self,
        ami: Ami,
        mappings: Vec<OpenedMapping>,
        fetched: Vec<FetchedVolume>,
        notes: Vec<String>,
    ) -> Result<FetchReport> {
        let request = self.request;
        let base = request.base.as_ref().map(|typed| BaseRequest {
            thin: request.thin,
            ..BaseRequest::new(VolumeRequest::new(typed))
        });
        let options = PackOptions {
            // It is an AMI already: what it breaks was allowed when it was made.
            allow: RULES.iter().map(|rule| rule.id.to_owned()).collect(),
            groups: request.groups,
            threads: request.threads,
            base,
            ..PackOptions::new(&request.output, ami)
        };
        let packed = pack_volumes(mappings, &options, self.watch)?;
        Ok(self.report(packed.digest, fetched, notes))
    }

    fn report(
        &self,
        digest: Digest,
        volumes: Vec<FetchedVolume>,
        notes: Vec<String>,
    ) -> FetchReport {
        FetchReport {
            id: self.request.id.clone(),
            region: self.region.to_owned(),
            output: self.request.output.clone(),
            digest,
            volumes,
            notes,
        }
    }
}

/// Says what is not taken over of an AMI.
fn said(left_out: &crate::ami::LeftOut) -> String {
    use crate::ami::LeftOut;
    match left_out {
        LeftOut::Public => "it is public".to_owned(),
        LeftOut::Deprecation { time, .. } => format!("it is deprecated from {time} on"),
        LeftOut::Protection(_) => "it is protected against being deregistered".to_owned(),
        LeftOut::Tag { key } => format!("the tag {key}, which only AWS gives"),
        LeftOut::Encrypted { device } => format!("the snapshot of {device} is encrypted"),
        LeftOut::LaunchOnly { device, member, .. } => format!("{member} of {device}"),
        LeftOut::Unread(unread) => unread.place.clone(),
        LeftOut::NotInAnswer { .. } => String::new(),
    }
}
