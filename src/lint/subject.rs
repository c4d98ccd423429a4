//! What rules are, what they look at, and what they find.

use serde::Serialize;

use crate::ami::Ami;
use crate::ami::DeviceName;
use crate::ami::Distribution;
use crate::ami::Ebs;
use crate::ami::Mapping;
use crate::ami::Time;
use crate::ami::Unread;
use crate::ami::Upload;
use crate::ami::bare;
use crate::guest::Layout;
use crate::lint::found::Found;
use crate::lint::inside::Inside;
use crate::units::ebs_gib;

/// How bad it is when a rule is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It is refused.
    Error,
    /// It may be taken, and is most likely not what is meant.
    Warning,
}

impl Level {
    /// Returns the level's stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// By what it is known that a rule holds. An error needs the first: whatever else is known, EC2 may take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Evidence {
    /// A recorded answer refuses it, of EC2, of VM Import, of the firmware that machines start with or of the
    /// plan; or the service's own model does, by a bound, a list of values or a sentence.
    Refused,
    /// A guide says so.
    Documented,
    /// What comes of it was seen.
    Observed,
}

impl Evidence {
    /// Returns the evidence's stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Documented => "documented",
            Self::Observed => "observed",
        }
    }
}

/// What a rule can be applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// What a user asks of EC2.
    Asked,
    /// That, and what EC2 says of an AMI that is there.
    Any,
}

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Topic {
    /// Names, texts, tags and times.
    Text,
    /// Processor, virtualization, firmware and their features.
    Machine,
    /// Devices of the mapping.
    Device,
    /// EBS volumes and instance storage.
    Volume,
    /// Who may use the AMI, and where its copies go.
    Sharing,
    /// What is inside the root volume, and whether the machine can start from it.
    Boot,
    /// Files of the guest.
    Guest,
}

impl Topic {
    /// Returns the topic's stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Machine => "machine",
            Self::Device => "device",
            Self::Volume => "volume",
            Self::Sharing => "sharing",
            Self::Boot => "boot",
            Self::Guest => "guest",
        }
    }
}

/// For whom an AMI is made: what is harmless to oneself may not be shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Audience {
    /// For the account that has it.
    #[default]
    Private,
    /// For other accounts too, or for everybody.
    Shared,
    /// For AWS Marketplace.
    Marketplace,
}

impl Audience {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Private, Self::Shared, Self::Marketplace];

    /// Returns the audience's stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Shared => "shared",
            Self::Marketplace => "marketplace",
        }
    }
}

/// A rule.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rule {
    /// Stable name, for `--allow`.
    pub id: &'static str,
    /// How bad it is when it is broken in an AMI of one's own.
    pub level: Level,
    /// In one that is shared.
    pub shared: Level,
    /// In one for AWS Marketplace.
    pub marketplace: Level,
    /// By what it is known.
    pub evidence: Evidence,
    /// What it can be applied to.
    pub scope: Scope,
    /// What it is about.
    pub topic: Topic,
    /// What it says.
    pub text: &'static str,
    /// Where it comes from.
    pub source: &'static str,
    /// What fixes it inside an image: arguments of `virt-customize`, or steps in words; empty where the
    /// description is what has to change.
    pub fix: &'static str,
    /// Looks for places that break it.
    #[serde(skip)]
    pub check: fn(&Subject<'_>) -> Vec<Found>,
}

impl Rule {
    /// Returns how bad it is when it is broken in an AMI for these.
    #[must_use]
    pub fn level_for(&self, audience: Audience) -> Level {
        match audience {
            Audience::Private => self.level,
            Audience::Shared => self.shared,
            Audience::Marketplace => self.marketplace,
        }
    }
}

/// What is known of a volume's content.
#[derive(Clone, Debug, Default)]
pub struct VolumeFacts {
    /// Device of the mapping.
    pub device: String,
    /// Bytes of the content.
    pub size: u64,
    /// Bytes that never written, where that is known.
    pub hole_bytes: Option<u64>,
    /// What is inside, where it was looked at.
    pub layout: Option<Layout>,
}

/// What rules look at: a description, and what is known around it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The description.
    pub ami: &'a Ami,
    /// Contents of volumes, as far as they are known.
    pub volumes: &'a [VolumeFacts],
    /// How snapshots are uploaded, where that is known.
    pub upload: Option<&'a Upload>,
    /// Where copies go.
    pub distribution: &'a [Distribution],
    /// Ids of snapshots to start from.
    pub parents: &'a [&'a str],
    /// Id of the AMI, where it has one already.
    pub image_id: Option<&'a str>,
    /// What a document has and could not be read.
    pub unread: &'a [Unread],
    /// Whether EC2 says that the AMI is so: what nobody asks for is not refused.
    pub is_answer: bool,
    /// The present, for rules about times.
    pub now: Option<Time>,
    /// What is inside the volumes, where that was looked at.
    pub inside: Option<&'a Inside>,
    /// For whom the AMI is.
    pub audience: Audience,
}

impl<'a> Subject<'a> {
    /// Takes a description alone.
    #[must_use]
    pub fn of(ami: &'a Ami) -> Self {
        Self {
            ami,
            volumes: &[],
            upload: None,
            distribution: &[],
            parents: &[],
            image_id: None,
            unread: &[],
            is_answer: false,
            now: None,
            inside: None,
            audience: Audience::Private,
        }
    }

    /// Iterates over the EBS volumes of the mapping.
    pub(super) fn volumes(&self) -> impl Iterator<Item = (&'a Mapping, &'a Ebs)> {
        self.ami.block_device_mappings.iter().filter_map(|it| Some((it, it.ebs.as_ref()?)))
    }

    /// Returns what is known of the content of a device.
    pub(super) fn facts(&self, mapping: &Mapping) -> Option<&'a VolumeFacts> {
        self.volumes.iter().find(|it| bare(&it.device) == mapping.bare_name())
    }

    /// Returns what is known of the content of the root device.
    pub(super) fn root_facts(&self) -> Option<&'a VolumeFacts> {
        // The root of an instance-store AMI is in S3, and in no mapping.
        let name = self.root().map_or(&*self.ami.root_device_name, |it| &*it.device_name);
        self.volumes.iter().find(|it| bare(&it.device) == bare(name))
    }

    /// Returns what is inside the root volume, where it was looked at.
    pub(super) fn root_layout(&self) -> Option<&'a Layout> {
        self.root_facts()?.layout.as_ref()
    }

    /// Returns the GiB that a volume will have, where that is known.
    pub(super) fn gib(&self, mapping: &Mapping, ebs: &Ebs) -> Option<u64> {
        ebs.volume_size.or_else(|| self.facts(mapping).map(|facts| ebs_gib(facts.size)))
    }

    pub(super) fn is_root(&self, mapping: &Mapping) -> bool {
        self.root().is_some_and(|root| root.bare_name() == mapping.bare_name())
    }

    /// Returns the entry of the root: the one of its name, or else of its disk. EC2 takes a root of
    /// /dev/sda1 for a mapping of /dev/sda.
    pub(super) fn root(&self) -> Option<&'a Mapping> {
        let disk = |name: &'a str| DeviceName::parse(name).map(|it| (it.prefix, it.letters));
        let root = disk(&self.ami.root_device_name);
        let of_disk = |it: &&'a Mapping| root.is_some() && disk(&it.device_name) == root;
        self.ami.root().or_else(|| self.ami.block_device_mappings.iter().find(of_disk))
    }

    /// Tells whether the root lives in S3 and not on EBS.
    pub(super) fn is_instance_store(&self) -> bool {
        self.ami.image_location.is_some()
    }
}

/// Names a member of a device for messages.
pub(super) fn member(mapping: &Mapping, name: &str) -> String {
    if mapping.device_name.is_empty() {
        format!("a device without a name: {name}")
    } else {
        format!("{}: {name}", mapping.device_name)
    }
}
