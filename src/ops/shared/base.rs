//! What `pack --base` depends on: a bundle, or an image.

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;

use crate::bundle::BaseBytes;
use crate::bundle::BaseSnapshot;
use crate::bundle::Bundle;
use crate::bundle::SnapshotLayer;
use crate::bundle::VOLUME_DEVICE;
use crate::bundle::Writer;
use crate::chunking::Patcher;
use crate::compress::Encoder;
use crate::delta::BaseHints;
use crate::delta::PageIndex;
use crate::delta::Patching;
use crate::digest::Digest;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::Setting;
use crate::error::Verb;
use crate::io::Input;
use crate::io::Node;
use crate::manifest::Manifest;
use crate::ops::shared::likeness::other_states;
use crate::ops::shared::manifest::manifest_of;
use crate::ops::shared::open::Found;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::find;
use crate::ops::shared::open::open;
use crate::pack::Base;
use crate::units::BLOCK_SIZE;
use crate::units::BlockIndex;
use crate::units::PAGE_SIZE;
use crate::work::Quiet;
use crate::work::Watch;

/// What a bundle is to depend on.
#[derive(Clone, Debug)]
pub struct BaseRequest {
    /// A bundle, or an image of the root volume.
    pub image: VolumeRequest,
    /// The manifest that the image must be the volume of.
    pub manifest: Option<PathBuf>,
    /// The file that keeps the base's page index: read if it is there, else written.
    pub index: Option<PathBuf>,
    /// Leave out the packs that the base has.
    pub thin: bool,
}

impl BaseRequest {
    /// Names a base; what the bundle needs of its packs goes into the bundle too.
    #[must_use]
    pub fn new(image: VolumeRequest) -> Self {
        Self { image, manifest: None, index: None, thin: false }
    }
}

/// A base, open.
#[derive(Debug)]
pub(in crate::ops) enum OpenedBase {
    /// A bundle, or an AMI or snapshot of a store; and the device of it that was named, or its root device.
    Bundle(Box<Bundle>, String),
    /// An image, and the device that it is the base of.
    Image(Arc<BaseSnapshot>, String),
}

impl OpenedBase {
    /// Opens the base, and names its layers in the bundle under way.
    pub(in crate::ops) fn open(
        request: &BaseRequest,
        root_device: &str,
        writer: &mut Writer,
        threads: NonZero<usize>,
        watch: &dyn Watch,
    ) -> Result<Self> {
        let base = &request.image;
        let path = &base.image.path;
        if request.thin && writer.is_into_store() {
            let text = "an AMI of a store is whole: a thin one would depend on what is not in it";
            return Err(Error::invalid(text).advise(Advice::Omit(Setting::Thin)));
        }
        if let Found::Bundle(bundle) = find(base).map_err(|error| base.fail(error))? {
            if request.manifest.is_some() {
                let text = "the base is a bundle, which has its manifests in it";
                return Err(Error::invalid(text)
                    .in_file(path)
                    .advise(Advice::Omit(Setting::BaseManifest)));
            }
            if bundle.is_thin()? {
                let text = "the base is itself a thin bundle, expected a whole one";
                let advice = Advice::Use { verb: Verb::Complete, to: "make it whole first".into() };
                return Err(Error::invalid(text).in_file(path).advise(advice));
            }
            writer.lean_on(&bundle, request.thin, &Quiet(watch))?;
            let device = bundle.find(base.image.member.as_deref())?.device.clone();
            return Ok(Self::Bundle(bundle, device));
        }
        let opened = open(base, watch)?;
        if writer.is_into_store() {
            let text = "the base is an image, expected an AMI or snapshot of the store";
            return Err(Error::invalid(text)
                .in_file(path)
                .advise("add the image to the store first, and name it as STORE@NAME"));
        }
        if !request.thin {
            return Err(Error::invalid("the base is an image, which has no packs")
                .in_file(path)
                .advise(Advice::Give { setting: Setting::Thin, example: "".into() }));
        }
        let made = manifest_of(opened.volume(), threads, &Quiet(watch))
            .map_err(|error| base.fail(error))?;
        let bytes = BaseBytes::Image(opened.into_volume());
        let base = match &request.manifest {
            None => {
                writer.lean_on_manifest(&made.bytes, &made.summary)?;
                BaseSnapshot::new(made.manifest, bytes)
            }
            Some(named) => {
                let named = Input::open(named)?;
                let expected = Manifest::open(&named)?;
                // A copy of the image has its holes elsewhere, and a patch needs the bytes only.
                let Some(count) = other_states(&made.manifest, &expected)? else {
                    let (found, expected) = (made.summary.root, expected.root());
                    let text = format!("its root digest is {found}, expected {expected}");
                    return Err(Error::new(Kind::Mismatch, text)
                        .in_file(path)
                        .advise("name the image that the manifest was made of"));
                };
                writer.lean_on_manifest(&named, &expected.summary())?;
                BaseSnapshot::new(expected, bytes).with_other_states(count)
            }
        };
        Ok(Self::Image(Arc::new(base), root_device.to_owned()))
    }

    /// Returns the snapshot that the volume of `device` depends on, if there is one.
    pub(in crate::ops) fn of_device(&self, device: &str) -> Result<Option<Arc<BaseSnapshot>>> {
        match self {
            Self::Image(base, root) => Ok((root == device).then(|| Arc::clone(base))),
            Self::Bundle(bundle, root) => match layer_of(bundle, root, device) {
                None => Ok(None),
                Some(layer) => {
                    let bytes = BaseBytes::Packs(bundle.chunks()?);
                    Ok(Some(Arc::new(BaseSnapshot::new(bundle.manifest(layer)?, bytes))))
                }
            },
        }
    }

    /// Returns the bytes that indexing the bases of `devices` reads.
    pub(in crate::ops) fn index_bytes(&self, devices: &[&str]) -> Result<u64> {
        let mut blocks = 0_u64;
        for device in devices {
            let data = match self {
                Self::Image(base, root) if root == device => base.manifest().header().counts.data,
                Self::Image(..) => 0,
                Self::Bundle(bundle, root) => match layer_of(bundle, root, device) {
                    Some(layer) => bundle.manifest(layer)?.header().counts.data,
                    None => 0,
                },
            };
            blocks = blocks.strict_add(data);
        }
        Ok(blocks.strict_mul(BLOCK_SIZE))
    }
}

/// Returns the snapshot that the volume of `device` depends on. A snapshot that belongs to no AMI has no device, so one
/// stands for whatever device it is the base of.
fn layer_of<'a>(bundle: &'a Bundle, named: &str, device: &str) -> Option<&'a SnapshotLayer> {
    let same = bundle.find(Some(device)).ok();
    let no_device = bundle.is_bare() || device == VOLUME_DEVICE;
    same.or_else(|| bundle.find(Some(named)).ok().filter(|_| no_device))
}

/// Lowest level at which the literals of patches are compressed: they are few, and each byte of them counts.
const LITERAL_LEVEL: i32 = 9;

/// Makes patches over a snapshot, with the index that `index` keeps, or a new one, and what `hints` says of files.
pub(in crate::ops) fn patching(
    base: &Arc<BaseSnapshot>,
    index: Option<&PathBuf>,
    hints: BaseHints,
    level: i32,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<Patching> {
    let manifest = base.manifest();
    let kept = match index {
        Some(path) if Node::at(path)?.is_some() => Some(path),
        _ => None,
    };
    let pages = match kept {
        Some(path) => PageIndex::open(&Input::open(path)?, manifest.root())?,
        None => PageIndex::build(manifest, &**base, threads, watch)?,
    };
    if let (Some(path), None) = (index, kept) {
        pages.write(path)?;
    }
    let count = manifest.volume_size().div_ceil(PAGE_SIZE);
    let base: Arc<dyn Base> = Arc::<BaseSnapshot>::clone(base);
    Ok(Patching::new(base, count, pages, level.max(LITERAL_LEVEL)).with_hints(hints))
}

/// Patching as what chunking asks for.
#[derive(Debug)]
pub(in crate::ops) struct OverBase(pub(in crate::ops) Patching);

impl Patcher for OverBase {
    fn has(&self, _index: BlockIndex, id: &Digest) -> Result<bool> {
        self.0.has(id)
    }

    fn append(
        &self,
        index: BlockIndex,
        plain: &[u8],
        whole: &mut Encoder,
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        self.0.append(index, plain, whole, out)
    }
}
