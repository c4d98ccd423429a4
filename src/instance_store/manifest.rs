//! The manifest of a bundle: XML to checked values and back. Pure.
//!
//! See `docs/formats/instance-store.md` for its elements and limits.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::error::Error;
use crate::error::Result;
use crate::instance_store::fault::MAX_IMAGE_SIZE;
use crate::instance_store::fault::MAX_PARTS;
use crate::instance_store::fault::ManifestFault;
use crate::instance_store::fields::CIPHER;
use crate::instance_store::fields::DIGEST;
use crate::instance_store::fields::Fields;
use crate::instance_store::fields::Sealed;
use crate::instance_store::fields::attribute;
use crate::instance_store::fields::is_plain_name;
use crate::instance_store::fields::sha1;
use crate::instance_store::fields::start;
use crate::instance_store::xml;
use crate::instance_store::xml::Element;
use crate::instance_store::xml::Quote;

/// A version of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Version {
    /// The first: for i386 only.
    #[serde(rename = "3")]
    V3,
    /// With an architecture.
    #[serde(rename = "2007-08-29")]
    V20070829,
    /// The last, with all that an AMI is.
    #[serde(rename = "2007-10-10")]
    V20071010,
}

/// Who made a bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Bundler {
    /// Name of the program.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its release.
    pub release: String,
}

/// What a device of the machine is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Mapping {
    /// What it is: `ami`, `root`, `swap`, `ephemeral0` and so on.
    #[serde(rename = "virtual")]
    pub virtual_name: String,
    /// Device, as `sda1`.
    pub device: String,
}

/// What EC2 makes of the volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Processor architecture.
    pub architecture: String,
    /// Devices, ascending by what they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub block_device_mapping: Vec<Mapping>,
    /// Id of the kernel image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_id: Option<String>,
    /// Id of the initial RAM disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ramdisk_id: Option<String>,
    /// Product codes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub product_codes: Vec<String>,
}

/// A part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartEntry {
    /// Name of its file, beside the manifest.
    pub filename: String,
    /// SHA-1 of its bytes, in lower-case hexadecimal digits.
    pub sha1: String,
}

/// A manifest, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Version of the format.
    pub version: Version,
    /// Who made it.
    pub bundler: Option<Bundler>,
    /// What EC2 makes of it.
    pub machine: Machine,
    /// Name of the bundle, and of the file in its archive.
    pub name: String,
    /// Account.
    pub user: String,
    /// What the volume is: `machine`, `kernel` or `ramdisk`.
    pub image_type: String,
    /// Name of the kernel, where the volume is one.
    pub kernel_name: Option<String>,
    /// AMIs that this one was made from.
    pub ancestry: Vec<String>,
    /// SHA-1 of the archive, in lower-case hexadecimal digits.
    pub digest: String,
    /// Bytes of the volume.
    pub size: u64,
    /// Bytes of all parts.
    pub bundled_size: u64,
    /// The key.
    pub key: Sealed,
    /// The initialization vector.
    pub iv: Sealed,
    /// The parts, in order.
    pub parts: Vec<PartEntry>,
    /// The signature, in hexadecimal digits.
    pub signature: Option<String>,
}

/// Bytes that a signature may be over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedForms(pub Vec<Vec<u8>>);

impl Manifest {
    /// Reads and checks a manifest, and returns with it the bytes that its signature may be over.
    ///
    /// # Errors
    ///
    /// `Corrupt`, `Unsupported` or `Limit`, at the byte of the element where there is one.
    pub fn parse(bytes: &[u8]) -> Result<(Self, SignedForms)> {
        let root = xml::parse(bytes)?;
        if root.name != "manifest" {
            return Err(ManifestFault::Root.into());
        }
        let fields = Fields(&root);
        let version = match fields.text("version")?.as_str() {
            "3" => Version::V3,
            "20070829" | "2007-08-29" => Version::V20070829,
            "2007-10-10" => Version::V20071010,
            _ => return Err(ManifestFault::Version.into()),
        };
        let machine = fields.optional("machine_configuration")?;
        let image = fields.one("image")?;
        let manifest = read_image(version, &fields, machine, image)?;
        Ok((manifest, signed_forms(bytes, machine.filter(|_| version != Version::V3), image)))
    }

    /// Writes the manifest in its strictest form; `sign` makes a signature of the bytes it is given.
    ///
    /// # Errors
    ///
    /// Whatever `sign` returns.
    ///
    /// # Panics
    ///
    /// If the version is not the last one: no other is written.
    pub fn write(&self, sign: impl FnOnce(&[u8]) -> Result<String>) -> Result<String> {
        assert_eq!(self.version, Version::V20071010, "the version that is written");
        let mut signed = String::new();
        self.machine_element().write(Quote::Single, &mut signed);
        self.image_element().write(Quote::Single, &mut signed);
        let signature = sign(signed.as_bytes())?;
        let mut out = "<?xml version='1.0'?><manifest>".to_owned();
        Element::of("version", "2007-10-10").write(Quote::Single, &mut out);
        if let Some(bundler) = &self.bundler {
            let children = vec![
                Element::of("name", &bundler.name),
                Element::of("version", &bundler.version),
                Element::of("release", &bundler.release),
            ];
            Element::holding("bundler", children).write(Quote::Single, &mut out);
        }
        out.push_str(&signed);
        Element::of("signature", &signature).write(Quote::Single, &mut out);
        out.push_str("</manifest>");
        Ok(out)
    }

    fn machine_element(&self) -> Element {
        let machine = &self.machine;
        let mut children = vec![Element::of("architecture", &machine.architecture)];
        if !machine.block_device_mapping.is_empty() {
            let mappings = machine.block_device_mapping.iter().map(|it| {
                let names = [("virtual", &it.virtual_name), ("device", &it.device)];
                let children = names.map(|(name, text)| Element::of(name, text)).to_vec();
                Element::holding("mapping", children)
            });
            children.push(Element::holding("block_device_mapping", mappings.collect()));
        }
        children.extend(machine.kernel_id.iter().map(|id| Element::of("kernel_id", id)));
        children.extend(machine.ramdisk_id.iter().map(|id| Element::of("ramdisk_id", id)));
        if !machine.product_codes.is_empty() {
            let codes = machine.product_codes.iter().map(|it| Element::of("product_code", it));
            children.push(Element::holding("product_codes", codes.collect()));
        }
        Element::holding("machine_configuration", children)
    }

    fn image_element(&self) -> Element {
        let digest = |text: &str| Element::of("digest", text).with("algorithm", DIGEST);
        let cipher = |name, text: &str| Element::of(name, text).with("algorithm", CIPHER);
        let mut children = vec![
            Element::of("name", &self.name),
            Element::of("user", &self.user),
            Element::of("type", &self.image_type),
        ];
        children.extend(self.kernel_name.iter().map(|name| Element::of("kernel_name", name)));
        if !self.ancestry.is_empty() {
            let ids = self.ancestry.iter().map(|it| Element::of("ancestor_ami_id", it));
            children.push(Element::holding("ancestry", ids.collect()));
        }
        let parts = self.parts.iter().enumerate().map(|(index, part)| {
            let children = vec![Element::of("filename", &part.filename), digest(&part.sha1)];
            Element::holding("part", children).with("index", &index.to_string())
        });
        children.extend([
            digest(&self.digest),
            Element::of("size", &self.size.to_string()),
            Element::of("bundled_size", &self.bundled_size.to_string()),
            cipher("ec2_encrypted_key", &self.key.ec2),
            cipher("user_encrypted_key", &self.key.user),
            Element::of("ec2_encrypted_iv", &self.iv.ec2),
            Element::of("user_encrypted_iv", &self.iv.user),
            Element::holding("parts", parts.collect()).with("count", &self.parts.len().to_string()),
        ]);
        Element::holding("image", children)
    }
}

/// Returns the bytes that a signature may be over: those of the file, and the same elements written
/// again as Amazon's tools do, and as euca2ools does.
fn signed_forms(bytes: &[u8], machine: Option<&Element>, image: &Element) -> SignedForms {
    let elements: Vec<&Element> = machine.into_iter().chain([image]).collect();
    let mut forms = vec![elements.iter().flat_map(|it| &bytes[it.span.clone()]).copied().collect()];
    for quote in [Quote::Single, Quote::Double] {
        let mut form = String::new();
        for element in &elements {
            element.write(quote, &mut form);
        }
        if !forms.contains(&form.as_bytes().to_vec()) {
            forms.push(form.into_bytes());
        }
    }
    SignedForms(forms)
}

fn read_image(
    version: Version,
    root: &Fields<'_>,
    machine: Option<&Element>,
    image: &Element,
) -> Result<Manifest> {
    let machine = read_machine(version, machine)?;
    let image = Fields(image);
    let (size, bundled_size) = (image.number("size")?, image.number("bundled_size")?);
    if size == 0 {
        return Err(image.malformed("size", "a number above 0"));
    }
    if size > MAX_IMAGE_SIZE {
        return Err(ManifestFault::Size { found: size }.into());
    }
    let image_type = match image.optional_text("type")? {
        None if version != Version::V20071010 => "machine".to_owned(),
        None => return Err(ManifestFault::Missing { what: "type" }.into()),
        Some(text) if matches!(text.as_str(), "machine" | "kernel" | "ramdisk") => text,
        Some(_) => return Err(image.malformed("type", "machine, kernel or ramdisk")),
    };
    let ancestry = image.optional("ancestry")?;
    let ids = ancestry.iter().flat_map(|it| &it.children);
    let ids = ids.filter(|it| it.name == "ancestor_ami_id" && !it.text.trim().is_empty());
    let digest = image.one("digest")?;
    Ok(Manifest {
        version,
        bundler: root.optional("bundler")?.map(|it| read_bundler(&Fields(it))).transpose()?,
        machine,
        name: image.text("name")?,
        user: image.text("user")?,
        image_type,
        kernel_name: image.optional_text("kernel_name")?,
        ancestry: ids.map(|it| it.text.trim().to_owned()).collect(),
        digest: sha1(digest)?,
        size,
        bundled_size,
        key: image.sealed("ec2_encrypted_key", "user_encrypted_key", true)?,
        iv: image.sealed("ec2_encrypted_iv", "user_encrypted_iv", false)?,
        parts: read_parts(image.one("parts")?)?,
        signature: root.optional_text("signature")?,
    })
}

fn read_bundler(fields: &Fields<'_>) -> Result<Bundler> {
    let text = |name| fields.optional_text(name).map(Option::unwrap_or_default);
    Ok(Bundler { name: text("name")?, version: text("version")?, release: text("release")? })
}

fn read_machine(version: Version, element: Option<&Element>) -> Result<Machine> {
    let i386 = || Machine { architecture: "i386".to_owned(), ..Machine::default() };
    let Some(element) = element.filter(|_| version != Version::V3) else {
        let known = version == Version::V3;
        let missing = ManifestFault::Missing { what: "machine_configuration" };
        return if known { Ok(i386()) } else { Err(missing.into()) };
    };
    let fields = Fields(element);
    let mut machine = i386();
    if let Some(architecture) = fields.optional_text("architecture")? {
        machine.architecture = architecture;
    } else if version == Version::V20071010 {
        return Err(ManifestFault::Missing { what: "architecture" }.into());
    }
    let mapping = fields.optional("block_device_mapping")?;
    for entry in mapping.iter().flat_map(|it| &it.children).filter(|it| it.name == "mapping") {
        let entry = Fields(entry);
        let (virtual_name, device) = (entry.text("virtual")?, entry.text("device")?);
        machine.block_device_mapping.push(Mapping { virtual_name, device });
    }
    machine.kernel_id = fields.optional_text("kernel_id")?;
    machine.ramdisk_id = fields.optional_text("ramdisk_id")?;
    let codes = fields.optional("product_codes")?;
    let codes = codes.iter().flat_map(|it| &it.children).filter(|it| it.name == "product_code");
    // Amazon's tools put all codes that they are given at once into one element.
    let codes = codes.flat_map(|it| it.text.split(',')).map(|code| code.trim().to_owned());
    machine.product_codes = codes.filter(|code| !code.is_empty()).collect();
    Ok(machine)
}

fn read_parts(parts: &Element) -> Result<Vec<PartEntry>> {
    let at = |element: &Element, fault: ManifestFault| Error::from(fault).at(start(element));
    let list: Vec<&Element> = parts.children.iter().filter(|it| it.name == "part").collect();
    if list.len() > MAX_PARTS {
        return Err(at(parts, ManifestFault::Parts));
    }
    let count = attribute(parts, "count").and_then(|text| text.parse::<usize>().ok());
    if list.is_empty() || count != Some(list.len()) {
        return Err(at(parts, ManifestFault::Count { found: list.len() }));
    }
    let mut names = BTreeSet::new();
    let mut entries = Vec::with_capacity(list.len());
    for (index, part) in list.into_iter().enumerate() {
        if attribute(part, "index").and_then(|text| text.parse().ok()) != Some(index) {
            return Err(at(part, ManifestFault::Index { expected: index }));
        }
        let fields = Fields(part);
        let filename = fields.text("filename")?;
        if !is_plain_name(&filename) {
            return Err(at(part, ManifestFault::PartName { index }));
        }
        if !names.insert(filename.clone()) {
            return Err(at(part, ManifestFault::SamePart { index }));
        }
        entries.push(PartEntry { filename, sha1: sha1(fields.one("digest")?)? });
    }
    Ok(entries)
}
