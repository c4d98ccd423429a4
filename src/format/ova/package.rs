//! An OVF package in an archive: what its descriptor and its digests say of the other files.

use std::sync::Arc;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::format::archive;
use crate::format::archive::beside;
use crate::format::archive::has_suffix;
use crate::format::archive::is_descriptor;
use crate::format::archive::normal;
use crate::format::archive::open_part;
use crate::format::compressed_raw;
use crate::format::ova::descriptor;
use crate::format::ova::descriptor::Disk;
use crate::format::ova::manifest::Manifest;
use crate::format::parsed::Parsed;
use crate::format::reader::OpenRequest;
use crate::format::text;
use crate::io::Input;
use crate::io::ReadAt;
use crate::io::read_vec;
use crate::tar::Member;
use crate::volume::Place;
use crate::volume::RunMap;
use crate::volume::Volume;
use crate::work::Watch;

/// What the name of the digests ends in.
const MANIFEST_SUFFIX: &str = ".mf";

/// Most bytes of a descriptor or of the digests.
const MAX_TEXT_LEN: u64 = 4 << 20;

/// A package whose descriptor was read and checked.
pub(crate) struct Package<'a> {
    input: &'a Arc<Input>,
    members: &'a [Member],
    /// Name of the descriptor; those in it are relative to its folder.
    name: &'a str,
    manifest: Option<Manifest>,
    disks: Vec<Disk>,
}

impl<'a> Package<'a> {
    /// Finds the package in an archive; `None` if it has no descriptor, or several.
    ///
    /// # Errors
    ///
    /// As descriptor and digests have it; `Mismatch` if the descriptor has another digest.
    pub(crate) fn find(
        input: &'a Arc<Input>,
        members: &'a [Member],
        watch: &dyn Watch,
    ) -> Result<Option<Self>> {
        let mut descriptors = members.iter().filter(|member| is_descriptor(&member.name));
        let (Some(member), None) = (descriptors.next(), descriptors.next()) else {
            return Ok(None);
        };
        let name = member.name.as_str();
        let manifest = match manifest_of(members, name)? {
            Some(member) => {
                let part = member.open(input)?;
                let lines = Manifest::parse(&read_text(&part)?, &member.name);
                Some(lines.map_err(|e| e.in_file(part.path()))?)
            }
            None => None,
        };
        let part = member.open(input)?;
        if let Some(manifest) = &manifest {
            manifest.check(name, &part, watch)?;
        }
        let text = read_text(&part)?;
        let disks = descriptor::parse(&text).map_err(|e| e.in_file(part.path()))?;
        Ok(Some(Self { input, members, name, manifest, disks }))
    }

    /// Returns the names by which disks are chosen: those of their files in the archive, or their ids.
    pub(crate) fn disk_names(&self) -> Vec<String> {
        self.disks.iter().map(|disk| self.disk_name(disk)).collect()
    }

    fn disk_name(&self, disk: &Disk) -> String {
        match disk {
            Disk::File { href, .. } => match self.file(href) {
                Some(member) => normal(&member.name),
                None => beside(self.name, href),
            },
            Disk::Empty { id, .. } => id.clone(),
        }
    }

    /// Finds the file that a reference of the descriptor leads to.
    fn file(&self, href: &str) -> Option<&'a Member> {
        // It is a URI reference; some tools write a plain name.
        let find = |name: &str| archive::find(self.members, &beside(self.name, name));
        find(&decoded(href)).or_else(|| find(href))
    }

    fn is_called(&self, disk: &Disk, name: &str) -> bool {
        normal(name) == normal(&self.disk_name(disk))
            || matches!(disk, Disk::File { href, .. } if href == name)
    }

    /// Tells whether it has a disk of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.disks.iter().any(|disk| self.is_called(disk, name))
    }

    fn choose(&self, name: Option<&str>) -> Result<&Disk> {
        let list = || {
            let names: Vec<_> = self.disk_names().iter().map(|name| format!("{name:?}")).collect();
            names.join(", ")
        };
        if let Some(name) = name {
            return self.disks.iter().find(|disk| self.is_called(disk, name)).ok_or_else(|| {
                Error::invalid(format!("it has no disk {name:?}, expected one of: {}", list()))
            });
        }
        match &self.disks[..] {
            [] => Err(Error::invalid("the archive has no disk, expected one")),
            [one] => Ok(one),
            [first, ..] => {
                let text = format!("it has {} disks, expected one: {}", self.disks.len(), list());
                let advice = archive::name_member(self.input, &self.disk_name(first));
                Err(Error::invalid(text).advise(advice))
            }
        }
    }

    /// Opens the disk that the request names, or the only one, and checks its digest first.
    ///
    /// # Errors
    ///
    /// As the disk's own format has it; `Mismatch` if its file does not have the digest that the package
    /// says.
    pub(crate) fn open(&self, request: &OpenRequest<'_>) -> Result<Parsed> {
        match self.choose(request.member.as_deref())? {
            Disk::Empty { size, .. } => {
                let mut map = RunMap::default();
                map.push(*size, Place::Hole);
                // No run points to it, and yet it must not change.
                Ok(Volume::new(map, vec![Arc::clone(self.input).into()])?.into())
            }
            Disk::File { href, is_gzip } => {
                let member = self.file(href).ok_or_else(|| {
                    let text = format!(
                        "the descriptor names the file {href:?}, which is not in the archive"
                    );
                    Error::corrupt(text)
                })?;
                self.open_file(member, *is_gzip, request)
            }
        }
    }

    fn open_file(
        &self,
        member: &Member,
        is_gzip: bool,
        request: &OpenRequest<'_>,
    ) -> Result<Parsed> {
        let part = Arc::new(member.open(self.input)?);
        if let Some(manifest) = &self.manifest {
            manifest.check(&member.name, &part, request.watch)?;
        }
        if is_gzip != compressed_raw::GZIP.is_in(&part)? {
            let (found, expected) =
                if is_gzip { ("not a gzip stream", "one") } else { ("a gzip stream", "none") };
            let text = format!("it is {found}, expected {expected} by the descriptor");
            return Err(Error::corrupt(text).in_file(part.path()));
        }
        let (format, parsed) = open_part(Arc::clone(&part), request)?;
        if format.is_plain() && request.member_format.is_none() {
            // Nothing about it says that it is a disk at all.
            let text = "its format is unknown, expected a VMDK";
            return Err(Error::new(Kind::Unsupported, text).in_file(part.path()));
        }
        Ok(parsed)
    }
}

/// Finds the digests of a package: the file that is called like the descriptor, or the only one.
fn manifest_of<'a>(members: &'a [Member], descriptor: &str) -> Result<Option<&'a Member>> {
    let stem = |name: &str| normal(name).rsplit_once('.').map(|(stem, _)| stem.to_owned());
    let is_manifest = |member: &&Member| {
        has_suffix(&member.name, MANIFEST_SUFFIX) && !archive::is_shadow(&member.name)
    };
    let all: Vec<_> = members.iter().filter(is_manifest).collect();
    let own = all.iter().rev().find(|member| stem(&member.name) == stem(descriptor));
    match (own, &all[..]) {
        (Some(own), _) => Ok(Some(own)),
        (None, []) => Ok(None),
        (None, [one]) => Ok(Some(one)),
        (None, several) => {
            let text = format!(
                "the archive has {} .mf files, expected one that is called like the descriptor",
                several.len()
            );
            Err(Error::corrupt(text))
        }
    }
}

/// Reads a text file of the archive.
fn read_text(part: &Input) -> Result<String> {
    let len = part.len();
    if len > MAX_TEXT_LEN {
        let text = format!("it has {len} bytes, expected at most {MAX_TEXT_LEN}");
        return Err(Error::new(Kind::Limit, text).in_file(part.path()));
    }
    let bytes = read_vec(part, 0, len)?;
    Ok(text::of_xml(&bytes))
}

/// Returns a URI reference with its escapes replaced.
fn decoded(href: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = href.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let digit = |at: usize| behind.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (first, digit(0), digit(1)) {
            // Two digits are a byte.
            let byte = u8::try_from(high.strict_mul(16).strict_add(low));
            bytes.push(byte.expect("two hexadecimal digits"));
            rest = &behind[2..];
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_a_reference_are_replaced() {
        assert_eq!(decoded("my%20disk%C3%a9.vmdk"), "my disk\u{e9}.vmdk");
        assert_eq!(decoded("100%.vmdk"), "100%.vmdk");
        assert_eq!(decoded("a%2"), "a%2");
        assert_eq!(decoded("%zz%41"), "%zzA");
    }
}
