//! What archives have in common: the names of their files, and one of them opened as an image.

use std::sync::Arc;

use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::shown;
use crate::format::laid_down::file_size_of;
use crate::format::laid_down::lay_down;
use crate::format::parsed::Parsed;
use crate::format::probe;
use crate::format::raw;
use crate::format::reader::Format;
use crate::format::reader::InOrder;
use crate::format::reader::OpenRequest;
use crate::io::Input;
use crate::io::ReadAt;
use crate::io::Stream;
use crate::tar::Member;
use crate::tar::first_names;
use crate::tar::layout::RECORD_LEN;
use crate::tar::layout::RECORD_SIZE;
use crate::tar::layout::has_magic;
use crate::tar::layout::is_header;

/// Names that an error lists at most.
const MOST_NAMES: usize = 8;

/// Files at the start of an archive among which an OVF descriptor makes it an OVA.
const FIRST_FILES: usize = 16;

/// A file that a bundle's archive begins with.
const OF_A_BUNDLE: &str = "oci-layout";

/// What the name of an OVF descriptor ends in.
const DESCRIPTOR_SUFFIX: &str = ".ovf";

/// Tells whether the bytes begin with a tar header: its magic is there, or its checksum fits.
pub(super) fn is_archive(bytes: &dyn ReadAt) -> Result<bool> {
    let mut record = [0; RECORD_LEN];
    if bytes.len() < RECORD_SIZE {
        return Ok(false);
    }
    bytes.read_exact_at(&mut record, 0)?;
    Ok(has_magic(&record) || is_header(&record))
}

/// Tells whether the bytes begin with the tar header of an archive that has an OVF descriptor among its
/// first files.
pub(super) fn is_ova(bytes: &dyn ReadAt) -> Result<bool> {
    if !is_archive(bytes)? {
        return Ok(false);
    }
    Ok(first_names(bytes, FIRST_FILES)?.iter().any(|name| is_descriptor(name)))
}

/// Tells whether a file is called like an OVF descriptor.
pub(super) fn is_descriptor(name: &str) -> bool {
    has_suffix(name, DESCRIPTOR_SUFFIX) && !is_shadow(name)
}

/// Tells whether a name ends in a suffix, in letters of either case.
pub(super) fn has_suffix(name: &str, suffix: &str) -> bool {
    name.to_ascii_lowercase().ends_with(suffix)
}

/// Tells whether a file is one that macOS puts beside another for its attributes.
pub(super) fn is_shadow(name: &str) -> bool {
    name.rsplit('/').next().is_some_and(|name| name.starts_with("._"))
}

/// Returns the one form of a name: its parts with a slash between them, without those that say nothing.
pub(super) fn normal(name: &str) -> String {
    let parts: Vec<_> = name.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    parts.join("/")
}

/// Returns the normal form of a name that is relative to the folder of another file, as references to it are
/// resolved: `..` leads out of a folder. What leads out of the archive stays so, and no file is called like that.
pub(super) fn beside(file: &str, name: &str) -> String {
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts = Vec::new();
    for part in folder.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Finds a file by its name; the last of a name is what tar leaves when it unpacks.
pub(super) fn find<'a>(members: &'a [Member], name: &str) -> Option<&'a Member> {
    let wanted = normal(name);
    members.iter().rev().find(|member| normal(&member.name) == wanted)
}

/// Returns the file of that name, or the only one.
///
/// # Errors
///
/// `Invalid` if there is none of that name, or none is named and there are several.
pub(super) fn choose<'a>(
    input: &Input,
    members: &'a [Member],
    name: Option<&str>,
) -> Result<&'a Member> {
    if let Some(name) = name {
        return find(members, name).ok_or_else(|| {
            let text = format!("it has no file {name:?}, expected one of: {}", list(members));
            Error::invalid(text)
        });
    }
    let mut files: Vec<&Member> = Vec::new();
    for member in members.iter().filter(|member| !is_shadow(&member.name)) {
        let name = normal(&member.name);
        files.retain(|file| normal(&file.name) != name);
        files.push(member);
    }
    match files[..] {
        [] => Err(Error::invalid("the archive is empty, expected a disk")),
        [one] => Ok(one),
        [first, ..] if normal(&first.name) == OF_A_BUNDLE => {
            let text = "it is the archive of a bundle, expected an image";
            Err(Error::new(Kind::Unsupported, text)
                .advise("name the bundle where a command takes one"))
        }
        [first, ..] => {
            let text =
                format!("the archive has {} files, expected one: {}", files.len(), list(members));
            Err(Error::invalid(text).advise(name_member(input, &normal(&first.name))))
        }
    }
}

/// Advises to name a file of an archive.
pub(super) fn name_member(input: &Input, name: &str) -> Advice {
    Advice::NameMember { example: format!("{}:{name}", shown(input.path())) }
}

/// Lists the names of files, quoted.
fn list(members: &[Member]) -> String {
    let mut names: Vec<_> =
        members.iter().take(MOST_NAMES).map(|member| format!("{:?}", member.name)).collect();
    if members.len() > MOST_NAMES {
        names.push("...".to_owned());
    }
    names.join(", ")
}

/// Opens an image that is a file of an archive, and was perhaps compressed before it was put there.
pub(super) fn open_part(
    part: Arc<Input>,
    archive: &OpenRequest<'_>,
) -> Result<(&'static Format, Parsed)> {
    let named = archive.member_format;
    let format = match named {
        Some(named) => named_format(&part, named)?,
        None => format_of(&part)?,
    };
    let laid = match format.in_order() {
        Some(InOrder { wrapping, .. }) => {
            let mut stream = Stream::of_input(Arc::clone(&part));
            stream.unpack(wrapping, archive.max_window)?;
            if let Some(most) = archive.max_size {
                stream.accept(file_size_of(most));
            }
            Some(lay_down(stream, archive.watch)?)
        }
        None => None,
    };
    let (image, format) = match &laid {
        Some(laid) => {
            let inner = match named {
                Some(named) if named.in_order().is_some() => &raw::FORMAT,
                Some(named) => named,
                None => format_of(&laid.input)?,
            };
            (Arc::clone(&laid.input), inner)
        }
        None => (part, format),
    };
    let path = image.path().to_owned();
    if format.in_order().is_some() || format.holds_files() {
        let text = format!("it is {} inside an archive, expected a disk image", format.name);
        return Err(Error::new(Kind::Unsupported, text).in_file(&path).advise("unpack it first"));
    }
    let parsed = match laid {
        Some(laid) if format.is_plain() => laid.into_raw().map(Parsed::from),
        // What an image inside an archive names is never opened: the gate is closed.
        _ => (format.open)(&OpenRequest {
            force: archive.force,
            max_window: archive.max_window,
            watch: archive.watch,
            ..OpenRequest::of(image)
        }),
    };
    Ok((format, parsed.map_err(|e| e.in_file(&path))?))
}

fn format_of(part: &Arc<Input>) -> Result<&'static Format> {
    if part.is_empty() {
        return Err(Error::invalid("the file is empty, expected an image").in_file(part.path()));
    }
    probe::probe(part).map_err(|e| e.in_file(part.path()))
}

/// Returns the format that the user names, or the one in which that was compressed.
fn named_format(part: &Arc<Input>, named: &'static Format) -> Result<&'static Format> {
    if named.in_order().is_some() || named.is_plain() || named.is_in(part)? {
        return Ok(named);
    }
    Ok(probe::around(part, |format| format.in_order().is_some())?.unwrap_or(named))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_form() {
        for name in ["a/b.raw", "./a/b.raw", "/a//b.raw", "././a/./b.raw", "a/b.raw/"] {
            assert_eq!(normal(name), "a/b.raw");
        }
        assert_eq!(normal("../a"), "../a");
        assert_eq!(beside("./x/y.ovf", "./d.vmdk"), "x/d.vmdk");
        assert_eq!(beside("y.ovf", "d.vmdk"), "d.vmdk");
        assert_eq!(beside("y.ovf", "sub/../d.vmdk"), "d.vmdk");
        assert_eq!(beside("x/y.ovf", "../d.vmdk"), "d.vmdk");
        assert_eq!(beside("x/y.ovf", "../../z/./d.vmdk"), "../z/d.vmdk");
        assert_eq!(beside("y.ovf", "../../d.vmdk"), "../../d.vmdk");
    }

    #[test]
    fn a_descriptor_is_known_by_its_name() {
        assert!(is_descriptor("./x/Y.OVF") && is_descriptor("a.ovf"));
        assert!(!is_descriptor("x/._a.ovf") && !is_descriptor("a.ovf.txt"));
    }
}
