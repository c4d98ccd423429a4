//! Whose every cluster is, by walking all file records: everything in NTFS is a file.

use crate::guest::claims::Claims;
use crate::guest::failure::Outcome;
use crate::guest::ntfs::layout::Attribute;
use crate::guest::ntfs::layout::BITMAP;
use crate::guest::ntfs::layout::Body;
use crate::guest::ntfs::layout::DATA;
use crate::guest::ntfs::layout::INDEX;
use crate::guest::ntfs::layout::Record;
use crate::guest::ntfs::layout::damaged;
use crate::guest::ntfs::open::Ntfs;
use crate::guest::owner::FileId;
use crate::guest::owner::Metadata;
use crate::guest::owner::Owner;

/// Bytes of the table that are read at once.
const PIECE_LEN: u64 = 512 << 10;

/// Records below this one are the file system's own.
const FIRST_FILE: u64 = 16;

/// Claims the clusters of all attributes of all records in use.
pub(super) fn claim(ntfs: &Ntfs<'_>, claims: &mut Claims) -> Outcome<()> {
    let record_len = ntfs.boot.record_len;
    let per_piece = PIECE_LEN.strict_div(record_len);
    let mut number = 0;
    while number < ntfs.records() {
        let count = per_piece.min(ntfs.records().strict_sub(number));
        let at = number.strict_mul(record_len);
        let bytes = ntfs.read(&ntfs.mft, at, count.strict_mul(record_len))?;
        // Records come in pieces of whole bytes of the bitmap.
        let marks = ntfs.read(&ntfs.in_use, number / 8, count.div_ceil(8))?;
        let len = usize::try_from(record_len).expect("at most 64 KiB");
        for (place, raw) in bytes.chunks_exact(len).enumerate() {
            let id = FileId(number);
            let is_marked = marks[place / 8] >> (place % 8) & 1 != 0;
            let record = Record::parse(raw, number).map_err(|it| it.of(Owner::File(id)))?;
            if record.is_some() != is_marked {
                let text = "a file record and the bitmap of records disagree";
                return Err(damaged(text).of(Owner::File(id)));
            }
            if let Some(record) = record {
                of_record(ntfs, &record, claims).map_err(|it| it.of(Owner::File(id)))?;
            }
            number = number.strict_add(1);
        }
    }
    Ok(())
}

fn of_record(ntfs: &Ntfs<'_>, record: &Record, claims: &mut Claims) -> Outcome<()> {
    for attribute in &record.attributes {
        let Body::Runs { runs, .. } = &attribute.body else { continue };
        let owner = owner(record.base, attribute);
        for run in runs {
            let Some(cluster) = run.cluster else { continue };
            let Some(bytes) = ntfs.boot.span(cluster, run.count) else {
                return Err(damaged("a run lies outside it"));
            };
            claims.add(bytes, owner)?;
        }
    }
    Ok(())
}

fn owner(base: u64, attribute: &Attribute) -> Owner {
    let id = FileId(base);
    let is_data = attribute.kind == DATA;
    match base {
        0 | 1 if is_data || attribute.kind == BITMAP => Owner::Metadata(Metadata::Inodes),
        2 if is_data => Owner::Journal,
        6 if is_data => Owner::Metadata(Metadata::Allocator),
        7 if is_data => Owner::BootCode,
        ..FIRST_FILE if is_data => Owner::Metadata(Metadata::Other),
        _ if is_data => Owner::File(id),
        _ if matches!(attribute.kind, INDEX | BITMAP) => Owner::OfFile(Metadata::Directory, id),
        _ => Owner::OfFile(Metadata::Attributes, id),
    }
}
