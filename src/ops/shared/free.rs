//! Volumes read without their free blocks.

use std::path::PathBuf;
use std::sync::Arc;

use crate::bundle::FreeRecord;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::guest::RULES_VERSION;
use crate::guest::droppable;
use crate::io::Input;
use crate::units::ExtentKind;
use crate::units::format_size;
use crate::volume::Masked;
use crate::volume::ReadVolume;

/// A volume of which the free blocks are left out.
#[derive(Debug)]
pub struct OpenedMasked {
    pub(in crate::ops) path: PathBuf,
    pub(in crate::ops) format: &'static str,
    pub(in crate::ops) notes: Vec<String>,
    pub(in crate::ops) volume: Masked,
    /// The files that its image consists of, and those that it names.
    pub(in crate::ops) inputs: Vec<Arc<Input>>,
}

/// Leaves the free blocks out of a volume, as a record says.
///
/// # Errors
///
/// `Unsupported` for other rules than those that this version has; whatever reading the volume returns.
pub(in crate::ops) fn mask(
    inner: Box<dyn ReadVolume>,
    record: FreeRecord,
    path: PathBuf,
    format: &'static str,
    mut notes: Vec<String>,
    inputs: Vec<Arc<Input>>,
) -> Result<OpenedMasked> {
    if record.rules != RULES_VERSION {
        let found = record.rules;
        let text = format!("free blocks were found by rules {found}, expected {RULES_VERSION}");
        return Err(Error::new(Kind::Unsupported, text));
    }
    let found = droppable(&*inner)?;
    let (bytes, how) = (format_size(found.free.bytes()), record.policy.kind());
    let how = if how == ExtentKind::Hole { "holes" } else { "zeros" };
    notes.push(format!("{bytes} of free blocks are left out as {how}"));
    notes.extend(found.kept);
    notes.extend(found.notes);
    let ranges = found.free.as_slice().to_vec();
    let volume = Masked::new(inner, ranges, record.policy.kind());
    Ok(OpenedMasked { path, format, notes, volume, inputs })
}
