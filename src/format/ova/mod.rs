//! OVA archives: a tar of a descriptor, digests of all files, and the disks.
//!
//! See `docs/formats/ova.md`.

pub mod descriptor;
mod manifest;
mod write;

use std::sync::Arc;

use crate::compress::DEFLATE_LEVELS;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::format::compressed_raw;
use crate::format::ova::descriptor::Disk;
use crate::format::ova::manifest::Manifest;
use crate::format::reader::Content;
use crate::format::reader::Format;
use crate::format::reader::OpenRequest;
use crate::format::tar;
use crate::format::writer::WriteFn;
use crate::format::writer::Writer;
use crate::io::Input;
use crate::io::ReadAt;
use crate::io::read_vec;
use crate::tar::Member;
use crate::tar::layout::Header;
use crate::tar::layout::RECORD_LEN;
use crate::tar::members;
use crate::volume::Place;
use crate::volume::RunMap;
use crate::volume::Volume;
use crate::work::Unwatched;
use crate::work::Watch;

pub use write::write_all;

/// The row of this format.
pub static FORMAT: Format = Format {
    name: "ova",
    summary: "OVF archive: a machine's disks and their description",
    probe: Some(is_ova),
    open,
    content: Content::Files { disks: Some(disks) },
};

/// The way to write it.
pub static WRITER: Writer = Writer {
    name: "ova",
    summary: "OVF archive, with streamOptimized disks, as VM Import takes it",
    format: &FORMAT,
    // Whole sectors.
    size_grain: 512,
    write: WriteFn::Many(write_all),
    levels: Some(DEFLATE_LEVELS),
    suffixes: &["ova"],
};

/// What the name of a descriptor ends in.
const DESCRIPTOR_SUFFIX: &str = ".ovf";

/// What the name of the digests ends in.
const MANIFEST_SUFFIX: &str = ".mf";

/// Most bytes of a descriptor or of the digests.
const MAX_TEXT_LEN: u64 = 4 << 20;

/// Tells whether the bytes begin with the tar header of an OVF descriptor.
pub(super) fn is_ova(bytes: &dyn ReadAt) -> Result<bool> {
    if !tar::is_archive(bytes)? {
        return Ok(false);
    }
    let mut record = [0; RECORD_LEN];
    bytes.read_exact_at(&mut record, 0)?;
    let first = Header::parse(&record).ok().flatten();
    Ok(first.is_some_and(|header| header.name.ends_with(DESCRIPTOR_SUFFIX)))
}

/// An archive whose descriptor was read and checked.
struct Archive<'a> {
    input: &'a Arc<Input>,
    members: Vec<Member>,
    manifest: Option<Manifest>,
    disks: Vec<Disk>,
}

impl<'a> Archive<'a> {
    fn open(input: &'a Arc<Input>, watch: &dyn Watch) -> Result<Self> {
        let members = members(input)?;
        let is_descriptor = |member: &&Member| member.name.ends_with(DESCRIPTOR_SUFFIX);
        let mut descriptors = members.iter().filter(is_descriptor);
        let (Some(first), None) = (descriptors.next(), descriptors.next()) else {
            return Err(Error::corrupt("the archive has several .ovf files or none, expected one"));
        };
        let base = first.name.trim_end_matches(DESCRIPTOR_SUFFIX);
        let name = format!("{base}{MANIFEST_SUFFIX}");
        let digests = members.iter().find(|member| member.name == name);
        let manifest = match digests {
            Some(member) => {
                let part = plain(input, member)?;
                let text = text(&part)?;
                Some(Manifest::parse(&text).map_err(|e| e.in_file(part.path()))?)
            }
            None => None,
        };
        let part = plain(input, first)?;
        let text = text(&part)?;
        if let Some(manifest) = &manifest {
            manifest.check(&first.name, &part, watch)?;
        }
        let disks = descriptor::parse(&text).map_err(|e| e.in_file(part.path()))?;
        Ok(Self { input, members, manifest, disks })
    }

    fn choose(&self, name: Option<&str>) -> Result<&Disk> {
        let list = || {
            let names: Vec<_> =
                self.disks.iter().map(|disk| format!("{:?}", disk.name())).collect();
            names.join(", ")
        };
        if let Some(name) = name {
            return self.disks.iter().find(|disk| disk.name() == name).ok_or_else(|| {
                Error::invalid(format!("it has no disk {name:?}, expected one of: {}", list()))
            });
        }
        match &self.disks[..] {
            [] => Err(Error::invalid("the archive has no disk, expected one")),
            [one] => Ok(one),
            disks => Err(Error::invalid(format!(
                "it has {} disks, expected one: {}",
                disks.len(),
                list()
            ))
            .advise("name one after a colon, as in web.ova:disk1.vmdk")),
        }
    }
}

/// Returns a member as an input of its own.
fn plain(input: &Arc<Input>, member: &Member) -> Result<Arc<Input>> {
    if member.sparse.is_some() {
        let text = format!("{:?} is a sparse member, expected a plain one", member.name);
        return Err(Error::new(Kind::Unsupported, text).at(member.header_at));
    }
    Input::part(input, member.offset, member.stored_len, &member.name).map(Arc::new)
}

/// Reads a text file of the archive.
fn text(part: &Arc<Input>) -> Result<String> {
    let len = part.len();
    if len > MAX_TEXT_LEN {
        let text = format!("it has {len} bytes, expected at most {MAX_TEXT_LEN}");
        return Err(Error::new(Kind::Limit, text).in_file(part.path()));
    }
    let bytes = read_vec(part, 0, len)?;
    String::from_utf8(bytes)
        .map_err(|_| Error::corrupt("it is not UTF-8, expected text").in_file(part.path()))
}

/// Opens the disk that the request names, or the only one, and checks its digest first.
///
/// # Errors
///
/// As the archive, the descriptor and the disk's own format have it; `Mismatch` if a file does not have
/// the digest that the archive says.
fn open(request: &OpenRequest<'_>) -> Result<Volume> {
    let archive = Archive::open(request.single("ova")?, request.watch)?;
    match archive.choose(request.member.as_deref())? {
        Disk::Empty { size, .. } => {
            let mut map = RunMap::default();
            map.push(*size, Place::Hole);
            // No run points to it, and yet it must not change.
            Volume::new(map, vec![Arc::clone(archive.input).into()])
        }
        Disk::File { href, is_gzip } => {
            let member = archive.members.iter().find(|member| member.name == *href);
            let member = member.ok_or_else(|| {
                Error::corrupt(format!(
                    "the descriptor names the file {href:?}, which is not in the archive"
                ))
            })?;
            let part = plain(archive.input, member)?;
            if let Some(manifest) = &archive.manifest {
                manifest.check(href, &part, request.watch)?;
            }
            if *is_gzip != compressed_raw::GZIP.is_in(&part)? {
                let (found, expected) =
                    if *is_gzip { ("not a gzip stream", "one") } else { ("a gzip stream", "none") };
                let text = format!("it is {found}, expected {expected} by the descriptor");
                return Err(Error::corrupt(text).in_file(part.path()));
            }
            let (format, volume) = tar::open_part(Arc::clone(&part), request)?;
            if format.is_plain() {
                // Nothing about it says that it is a disk at all.
                let text = "its format is unknown, expected a VMDK";
                return Err(Error::new(Kind::Unsupported, text).in_file(part.path()));
            }
            Ok(volume)
        }
    }
}

/// Lists the disks of an archive, in the order of its descriptor.
fn disks(input: &Arc<Input>) -> Result<Vec<String>> {
    let archive = Archive::open(input, &Unwatched)?;
    Ok(archive.disks.iter().map(|disk| disk.name().to_owned()).collect())
}
