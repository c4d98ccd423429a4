//! The descriptor of an archive: which disks there are, read; and a whole one, written.

use std::fmt::Write;

use quick_xml::XmlVersion;
use quick_xml::events::BytesStart;
use quick_xml::events::Event;
use quick_xml::reader::Reader;

use thiserror::Error;

use crate::error::Error;
use crate::error::Fault;
use crate::error::Kind;
use crate::error::Result;
use crate::units::MAX_VOLUME_SIZE;

/// Most files, and most disks, that a descriptor names.
pub const MAX_DISKS: usize = 1024;

/// Deepest element.
const MAX_DEPTH: usize = 64;

/// What is wrong with a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OvfFault {
    /// The root element is not an envelope, or there is no end of it.
    #[error("the descriptor is not a complete OVF Envelope")]
    Envelope,
    /// It defines entities of its own.
    #[error("the descriptor has a document type, expected none")]
    Doctype,
    /// Elements lie too deep.
    #[error("the descriptor is over {max_depth} elements deep", max_depth = MAX_DEPTH)]
    Depth,
    /// An element lacks an attribute that it must have.
    #[error("an element has no attribute {name}")]
    Attribute {
        /// Name of the attribute.
        name: &'static str,
    },
    /// A disk's file is none of those listed.
    #[error("a Disk's fileRef does not name a File")]
    FileRef,
    /// A file is compressed in a way that is not known, or cut in pieces.
    #[error("a disk's File has a chunkSize, or a compression other than gzip")]
    Packed,
    /// A disk is what was written since another.
    #[error("a Disk has a parentRef, which is not read")]
    Parent,
    /// A capacity is not a number, or in unknown units, or too large.
    #[error("a Disk's capacity is not a number of known units up to 64 TiB")]
    Capacity,
    /// There are more files or disks than are read.
    #[error("the descriptor has over {max_disks} files or disks", max_disks = MAX_DISKS)]
    Disks,
}

impl Fault for OvfFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Packed | Self::Parent | Self::Doctype => Kind::Unsupported,
            Self::Depth | Self::Disks => Kind::Limit,
            _ => Kind::Corrupt,
        }
    }
}

/// A disk of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disk {
    /// One whose image is a file.
    File {
        /// Name of the file.
        href: String,
        /// Whether it is compressed as a whole, by gzip.
        is_gzip: bool,
    },
    /// One that is made empty where the machine is set up.
    Empty {
        /// Its id.
        id: String,
        /// Bytes of it.
        size: u64,
    },
}

/// A file that the descriptor lists.
struct File {
    id: String,
    href: String,
    is_gzip: bool,
    is_read: bool,
}

/// A disk, before its file is looked up.
struct Entry {
    id: String,
    file: Option<String>,
    capacity: Option<u64>,
}

/// Reads the disks of a descriptor, in its order.
///
/// Names of elements count without their prefixes: no two of those that matter are called the same.
///
/// # Errors
///
/// As the fault has it, at the byte of the descriptor.
pub fn parse(text: &str) -> Result<Vec<Disk>> {
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    reader.config_mut().expand_empty_elements = true;
    let mut path: Vec<String> = Vec::new();
    let (mut files, mut disks) = (Vec::new(), Vec::new());
    let mut is_whole = false;
    loop {
        let at = reader.buffer_position();
        let here = |e: Error| e.at(at);
        let event = reader
            .read_event()
            .map_err(|e| Error::corrupt(format!("XML: {e}")).at(reader.error_position()))?;
        match event {
            Event::Start(start) => {
                let name = start.local_name().as_ref().to_owned();
                let inside: Vec<&str> = path.iter().map(String::as_str).collect();
                match (&inside[..], &*name) {
                    ([], "Envelope") if !is_whole => {}
                    ([], _) => return Err(here(OvfFault::Envelope.into())),
                    (["Envelope", "References"], "File") => {
                        files.push(file(&start).map_err(here)?);
                    }
                    (["Envelope", "DiskSection"], "Disk") => {
                        disks.push(entry(&start).map_err(here)?);
                    }
                    _ => {}
                }
                if files.len() > MAX_DISKS || disks.len() > MAX_DISKS {
                    return Err(here(OvfFault::Disks.into()));
                }
                if path.len() >= MAX_DEPTH {
                    return Err(here(OvfFault::Depth.into()));
                }
                path.push(name);
            }
            Event::End(_) => {
                path.pop();
                is_whole = path.is_empty();
            }
            Event::DocType(_) => return Err(here(OvfFault::Doctype.into())),
            Event::Eof if is_whole => break,
            Event::Eof => return Err(here(OvfFault::Envelope.into())),
            _ => {}
        }
    }
    disks.into_iter().map(|disk| Ok(resolve(disk, &files)?)).collect()
}

/// Reads an attribute by its name without the prefix. Only the five entities that XML itself has are
/// replaced.
fn attribute(start: &BytesStart<'_>, name: &str) -> Result<Option<String>> {
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|e| Error::corrupt(format!("XML: {e}")))?;
        if attribute.key.local_name().as_ref() == name {
            let value = attribute.normalized_value(XmlVersion::Implicit1_0);
            let value = value.map_err(|e| Error::corrupt(format!("XML: {e}")))?;
            return Ok(Some(value.into_owned()));
        }
    }
    Ok(None)
}

fn needed(start: &BytesStart<'_>, name: &'static str) -> Result<String> {
    attribute(start, name)?.ok_or_else(|| OvfFault::Attribute { name }.into())
}

fn file(start: &BytesStart<'_>) -> Result<File> {
    let (is_gzip, is_known) = match attribute(start, "compression")?.as_deref() {
        None | Some("" | "identity") => (false, true),
        Some("gzip") => (true, true),
        Some(_) => (false, false),
    };
    let is_read = is_known && attribute(start, "chunkSize")?.is_none();
    Ok(File { id: needed(start, "id")?, href: needed(start, "href")?, is_gzip, is_read })
}

fn entry(start: &BytesStart<'_>) -> Result<Entry> {
    if attribute(start, "parentRef")?.is_some() {
        return Err(OvfFault::Parent.into());
    }
    let unit = match attribute(start, "capacityAllocationUnits")? {
        Some(unit) => unit_len(&unit),
        None => Some(1),
    };
    let capacity = needed(start, "capacity")?.trim().parse::<u64>().ok();
    let capacity = capacity.zip(unit).and_then(|(count, unit)| count.checked_mul(unit));
    Ok(Entry { id: needed(start, "diskId")?, file: attribute(start, "fileRef")?, capacity })
}

/// Returns the bytes of a unit: `byte`, `byte * 2^30`, or a name that older tools wrote.
fn unit_len(unit: &str) -> Option<u64> {
    let plain: String = unit.chars().filter(|it| !it.is_whitespace()).collect();
    match &*plain {
        "byte" => Some(1),
        "KiloBytes" => Some(1 << 10),
        "MegaBytes" => Some(1 << 20),
        "GigaBytes" => Some(1 << 30),
        _ => {
            let exponent = plain.strip_prefix("byte*2^")?.parse::<u32>().ok()?;
            1_u64.checked_shl(exponent)
        }
    }
}

fn resolve(disk: Entry, files: &[File]) -> Result<Disk, OvfFault> {
    let Some(id) = disk.file else {
        let size = disk.capacity.filter(|size| (1..=MAX_VOLUME_SIZE).contains(size));
        return Ok(Disk::Empty { id: disk.id, size: size.ok_or(OvfFault::Capacity)? });
    };
    let file = files.iter().find(|file| file.id == id).ok_or(OvfFault::FileRef)?;
    if !file.is_read {
        return Err(OvfFault::Packed);
    }
    Ok(Disk::File { href: file.href.clone(), is_gzip: file.is_gzip })
}

/// A disk of a descriptor that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NewDisk {
    /// Name of its file; nothing in it needs an entity.
    pub(super) href: String,
    /// Bytes of its file.
    pub(super) file_len: u64,
    /// Bytes of the disk.
    pub(super) capacity: u64,
}

/// What the disks are called.
const STREAM_OPTIMIZED: &str =
    "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized";

/// Writes a descriptor. How long it is depends on the number of disks and their capacities, not on the
/// lengths of the files.
pub(super) fn encode(disks: &[NewDisk]) -> String {
    let (mut files, mut sections, mut items) = (String::new(), String::new(), String::new());
    for (number, disk) in (1_u32..).zip(disks) {
        // Blanks behind the size keep the length of the whole.
        let file_len = format!("\"{}\"", disk.file_len);
        let (href, capacity) = (&disk.href, disk.capacity);
        let add = "a string takes all";
        writeln!(
            files,
            "    <File ovf:id=\"file{number}\" ovf:href=\"{href}\" ovf:size={file_len:<22}/>"
        )
        .expect(add);
        writeln!(
            sections,
            "    <Disk ovf:diskId=\"vmdisk{number}\" ovf:fileRef=\"file{number}\" \
             ovf:capacity=\"{capacity}\" ovf:format=\"{STREAM_OPTIMIZED}\"/>"
        )
        .expect(add);
        let (instance, address) = (number.strict_add(3), number.strict_sub(1));
        // The controller keeps address 7.
        let address = if address >= 7 { address.strict_add(1) } else { address };
        write!(
            items,
            "      <Item>
        <rasd:AddressOnParent>{address}</rasd:AddressOnParent>
        <rasd:ElementName>Hard disk {number}</rasd:ElementName>
        <rasd:HostResource>ovf:/disk/vmdisk{number}</rasd:HostResource>
        <rasd:InstanceID>{instance}</rasd:InstanceID>
        <rasd:Parent>3</rasd:Parent>
        <rasd:ResourceType>17</rasd:ResourceType>
      </Item>
"
        )
        .expect(add);
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\" \
xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\" \
xmlns:rasd=\"http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData\" \
xmlns:vssd=\"http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData\">
  <References>
{files}  </References>
  <DiskSection>
    <Info>The disks</Info>
{sections}  </DiskSection>
  <VirtualSystem ovf:id=\"image\">
    <Info>A machine with these disks</Info>
    <Name>image</Name>
    <OperatingSystemSection ovf:id=\"1\">
      <Info>The operating system: other</Info>
    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>The hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>image</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>vmx-07</vssd:VirtualSystemType>
      </System>
      <Item>
        <rasd:AllocationUnits>hertz * 10^6</rasd:AllocationUnits>
        <rasd:ElementName>1 virtual CPU</rasd:ElementName>
        <rasd:InstanceID>1</rasd:InstanceID>
        <rasd:ResourceType>3</rasd:ResourceType>
        <rasd:VirtualQuantity>1</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits>
        <rasd:ElementName>1024 MB of memory</rasd:ElementName>
        <rasd:InstanceID>2</rasd:InstanceID>
        <rasd:ResourceType>4</rasd:ResourceType>
        <rasd:VirtualQuantity>1024</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:Address>0</rasd:Address>
        <rasd:ElementName>SCSI controller 0</rasd:ElementName>
        <rasd:InstanceID>3</rasd:InstanceID>
        <rasd:ResourceSubType>lsilogic</rasd:ResourceSubType>
        <rasd:ResourceType>6</rasd:ResourceType>
      </Item>
{items}    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(number: u32, file_len: u64) -> NewDisk {
        NewDisk { href: format!("disk{number}.vmdk"), file_len, capacity: 1 << 30 }
    }

    #[test]
    fn what_is_written_is_read_and_its_length_is_known_before() {
        let short = encode(&[disk(1, 0), disk(2, 0)]);
        let long = encode(&[disk(1, u64::MAX), disk(2, 7)]);
        assert_eq!(short.len(), long.len());
        let file = |name: &str| Disk::File { href: name.to_owned(), is_gzip: false };
        assert_eq!(parse(&long).unwrap(), [file("disk1.vmdk"), file("disk2.vmdk")]);
    }

    fn read(references: &str, disks: &str) -> Result<Vec<Disk>> {
        parse(&format!(
            "<?xml version='1.0'?><o:Envelope xmlns:o='x'><o:References>{references}</o:References>\
             <o:DiskSection>{disks}</o:DiskSection></o:Envelope>"
        ))
    }

    const FILE: &str = "<o:File o:id='f' o:href='a&amp;b.vmdk' o:compression='identity'/>";

    #[test]
    fn files_and_empty_disks_are_told_apart() {
        let disks = read(
            FILE,
            "<o:Disk o:diskId='d' o:fileRef='f' o:capacity='1'/>\
             <o:Disk o:diskId='e' o:capacity='3' o:capacityAllocationUnits='byte * 2^30'/>",
        )
        .unwrap();
        let file = |is_gzip| Disk::File { href: "a&b.vmdk".to_owned(), is_gzip };
        let gzip = read(
            &FILE.replace("identity", "gzip"),
            "<o:Disk o:diskId='d' o:fileRef='f' o:capacity='1'/>",
        );
        assert_eq!(gzip.unwrap(), [file(true)]);
        assert_eq!(disks, [file(false), Disk::Empty { id: "e".to_owned(), size: 3 << 30 }]);
    }

    #[test]
    fn each_fault_is_told() {
        let disk = "<o:Disk o:diskId='d' o:fileRef='f' o:capacity='1'/>";
        for (references, disks, fault) in [
            ("", disk, OvfFault::FileRef),
            ("<o:File o:id='f'/>", disk, OvfFault::Attribute { name: "href" }),
            ("<o:File o:id='f' o:href='a' o:compression='bzip2'/>", disk, OvfFault::Packed),
            ("<o:File o:id='f' o:href='a' o:chunkSize='9'/>", disk, OvfFault::Packed),
            (FILE, "<o:Disk o:diskId='d'/>", OvfFault::Attribute { name: "capacity" }),
            (FILE, "<o:Disk o:diskId='d' o:capacity='0'/>", OvfFault::Capacity),
            (FILE, "<o:Disk o:diskId='d' o:capacity='x'/>", OvfFault::Capacity),
            (
                FILE,
                "<o:Disk o:diskId='d' o:capacity='1' o:capacityAllocationUnits='ell'/>",
                OvfFault::Capacity,
            ),
            (FILE, "<o:Disk o:diskId='d' o:capacity='1' o:parentRef='c'/>", OvfFault::Parent),
        ] {
            let error = read(references, disks).unwrap_err();
            assert_eq!(error.to_string().rsplit(": ").next(), Some(&*fault.to_string()));
        }
        let error = |text: &str| parse(text).unwrap_err();
        assert_eq!(error("<Other/>").kind(), Kind::Corrupt);
        assert_eq!(error("<Envelope>").kind(), Kind::Corrupt);
        assert_eq!(error("").kind(), Kind::Corrupt);
        let bomb = "<!DOCTYPE a [<!ENTITY b 'c'>]><Envelope/>";
        assert_eq!(error(bomb).kind(), Kind::Unsupported);
        let deep = "<Envelope>".to_owned() + &"<a>".repeat(100);
        assert_eq!(error(&deep).kind(), Kind::Limit);
        assert!(read("<o:File o:id='f' o:href='&b;'/>", disk).is_err());
    }
}
