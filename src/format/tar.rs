//! A disk in a tar archive: one member, sparse or plain.
//!
//! A sparse member is a raw volume, whose holes the archive tells. A plain one is an image of any
//! format that is one file. See `docs/formats/tar-sparse.md`.

use std::sync::Arc;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::format::laid_down::lay_down;
use crate::format::ova;
use crate::format::probe;
use crate::format::reader::Content;
use crate::format::reader::Format;
use crate::format::reader::InOrder;
use crate::format::reader::OpenRequest;
use crate::io::Input;
use crate::io::ReadAt;
use crate::io::Stream;
use crate::tar::Member;
use crate::tar::layout::RECORD_LEN;
use crate::tar::layout::RECORD_SIZE;
use crate::tar::layout::SparseMap;
use crate::tar::members;
use crate::volume::MAX_RUNS;
use crate::volume::Place;
use crate::volume::RunMap;
use crate::volume::Volume;
use crate::volume::check_size;

/// The row of this format.
pub static FORMAT: Format = Format {
    name: "tar",
    summary: "a disk in a tar archive; sparse members keep their holes",
    probe: Some(|bytes| Ok(is_archive(bytes)? && !ova::is_ova(bytes)?)),
    open,
    content: Content::Files { disks: None },
};

/// Names that an error lists at most.
const MOST_NAMES: usize = 8;

/// A file that a bundle's archive begins with.
const OF_A_BUNDLE: &str = "oci-layout";

/// Tells whether the bytes begin with a tar header.
pub(super) fn is_archive(bytes: &dyn ReadAt) -> Result<bool> {
    const MAGIC_AT: usize = 257;
    let mut record = [0; RECORD_LEN];
    if bytes.len() < RECORD_SIZE {
        return Ok(false);
    }
    bytes.read_exact_at(&mut record, 0)?;
    Ok(record[MAGIC_AT..].starts_with(b"ustar"))
}

/// Opens the member that the request names, or the only one.
///
/// # Errors
///
/// As [`members`]; `Invalid` if there is no such member, or none is named and there are many; as the
/// member's own format has it.
fn open(request: &OpenRequest<'_>) -> Result<Volume> {
    let input = request.single("tar")?;
    let members = members(input)?;
    let member = choose(&members, request.member.as_deref())?;
    if let Some(map) = &member.sparse {
        return sparse(input, member, map);
    }
    let part = Input::part(input, member.offset, member.stored_len, &member.name)?;
    open_part(Arc::new(part), request).map(|opened| opened.1)
}

/// Finds a member by its name, with or without `./` in front.
pub(super) fn choose<'a>(members: &'a [Member], name: Option<&str>) -> Result<&'a Member> {
    let plain = |name: &'a str| name.strip_prefix("./").unwrap_or(name);
    let list = || {
        let mut names: Vec<_> =
            members.iter().take(MOST_NAMES).map(|member| format!("{:?}", member.name)).collect();
        if members.len() > MOST_NAMES {
            names.push("...".to_owned());
        }
        names.join(", ")
    };
    if let Some(name) = name {
        let mut found = members.iter().filter(|member| plain(&member.name) == name);
        // The last of a name is what tar leaves when it unpacks.
        return found.next_back().ok_or_else(|| {
            let text = format!("it has no file {name:?}, expected one of: {}", list());
            Error::invalid(text)
        });
    }
    match members {
        [] => Err(Error::invalid("the archive is empty, expected a disk")),
        [one] => Ok(one),
        [first, ..] if plain(&first.name) == OF_A_BUNDLE => {
            let text = "it is the archive of a bundle, expected an image";
            Err(Error::new(Kind::Unsupported, text)
                .advise("name the bundle where a command takes one"))
        }
        _ => Err(Error::invalid(format!(
            "the archive has {} files, expected one: {}",
            members.len(),
            list()
        ))
        .advise("name one after a colon, as in disk.tar:disk.raw")),
    }
}

/// Opens an image that is a part of an archive, and was perhaps compressed before it was put there.
pub(super) fn open_part(
    part: Arc<Input>,
    archive: &OpenRequest<'_>,
) -> Result<(&'static Format, Volume)> {
    let format = format_of(&part)?;
    let laid = match format.in_order() {
        Some(InOrder { wrapping, .. }) => {
            let mut stream = Stream::of_input(Arc::clone(&part));
            stream.unpack(wrapping)?;
            Some(lay_down(stream, archive.watch)?)
        }
        None => None,
    };
    let (image, format) = match &laid {
        Some(laid) => (Arc::clone(&laid.input), format_of(&laid.input)?),
        None => (part, format),
    };
    let path = image.path().to_owned();
    if format.in_order().is_some() || format.holds_files() {
        let text = format!("it is {} inside an archive, expected a disk image", format.name);
        return Err(Error::new(Kind::Unsupported, text).in_file(&path).advise("unpack it first"));
    }
    let volume = match laid {
        Some(laid) if format.is_plain() => laid.into_raw(),
        // What an image inside an archive names is never opened: the gate is closed.
        _ => (format.open)(&OpenRequest {
            force: archive.force,
            watch: archive.watch,
            ..OpenRequest::of(image)
        }),
    };
    Ok((format, volume.map_err(|e| e.in_file(&path))?))
}

fn format_of(part: &Arc<Input>) -> Result<&'static Format> {
    if part.is_empty() {
        return Err(Error::invalid("the file is empty, expected an image").in_file(part.path()));
    }
    probe::probe(part).map_err(|e| e.in_file(part.path()))
}

/// Maps a sparse member: its data lies in the archive, one segment behind the other.
fn sparse(input: &Arc<Input>, member: &Member, map: &SparseMap) -> Result<Volume> {
    check_size(map.size)?;
    if map.segments.len() > MAX_RUNS / 2 {
        let text = format!("the sparse map has over {} entries", MAX_RUNS / 2);
        return Err(Error::new(Kind::Limit, text).at(member.header_at));
    }
    let mut runs = RunMap::default();
    let mut offset = member.offset;
    for segment in &map.segments {
        // The layout has checked that they ascend inside the file, and that all data is there.
        runs.push(segment.offset.strict_sub(runs.size()), Place::Hole);
        runs.push(segment.len, Place::Stored { source: 0, offset });
        offset = offset.strict_add(segment.len);
    }
    runs.push(map.size.strict_sub(runs.size()), Place::Hole);
    Volume::new(runs, vec![Arc::clone(input).into()])
}
