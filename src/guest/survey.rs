//! All of a volume: its table, its partitions, what they hold, and whose every byte is.

use std::ops::Range;

use crate::error::Result;
use crate::guest::claims::Claims;
use crate::guest::claims::Proof;
use crate::guest::claims::prove;
use crate::guest::failure::Failure;
use crate::guest::failure::Outcome;
use crate::guest::file::Caution;
use crate::guest::file::FileSystem;
use crate::guest::layout::Layout;
use crate::guest::layout::PartitionKind;
use crate::guest::layout::SECTOR_SIZE;
use crate::guest::layout::Table;
use crate::guest::lvm;
use crate::guest::owner::Metadata;
use crate::guest::owner::Owner;
use crate::guest::owner::OwnerMap;
use crate::guest::slice::Slice;
use crate::guest::systems;
use crate::guest::systems::Found;
use crate::volume::ReadVolume;

/// Bytes of boot code in sector 0.
const BOOT_CODE_LEN: u64 = 440;

/// Sectors of a GPT as every tool makes it: the header, and 128 entries.
const GPT_SECTORS: u64 = 33;

/// A partition, or a whole volume that nothing divides.
#[derive(Debug)]
pub struct Part<'a> {
    /// Number in the table; none for a whole volume.
    pub number: Option<u32>,
    /// Bytes of the volume. Of a logical volume in several pieces: from its first byte on, as many as it has.
    pub range: Range<u64>,
    /// Set for a logical volume, which lies in another part.
    pub logical: Option<Logical>,
    /// What it is for.
    pub kind: PartitionKind,
    /// What `blkid` calls its PARTUUID; empty for a whole volume.
    pub uuid: String,
    /// What `blkid` calls its PARTLABEL; empty outside a GPT.
    pub label: String,
    /// What it holds.
    pub found: Found<'a>,
}

/// A logical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logical {
    /// Its group and its own name, as `group/name`.
    pub name: String,
    /// The physical volume that it lies on, by its place among the parts.
    pub device: usize,
    /// Bytes of the volume, in the logical volume's order.
    pub pieces: Vec<Range<u64>>,
    /// Whether another logical volume of the group may need what is free in this one.
    pub is_shared: bool,
}

/// Whose every byte of a partition is.
#[derive(Debug)]
pub struct PartOwners {
    /// Tiles the partition, from its first byte; what lies behind a file system is unknown.
    pub map: OwnerMap,
    /// What came of holding the file system's two derivations against each other.
    pub proof: Option<Proof>,
    /// Why what is free must be kept all the same, one sentence each; none if free blocks are proven free.
    pub refusals: Vec<String>,
}

impl<'a> Part<'a> {
    /// Returns the file system, if there is one that can be read.
    #[must_use]
    pub fn system(&self) -> Option<&(dyn FileSystem + 'a)> {
        match &self.found {
            Found::System(system) => Some(&**system),
            _ => None,
        }
    }

    /// Tells whether it lies where another part lies, which may be of another volume.
    #[must_use]
    pub fn is_where(&self, other: &Part<'_>) -> bool {
        let pieces = |part: &Part<'_>| part.logical.as_ref().map(|it| it.pieces.clone());
        self.range.start == other.range.start && pieces(self) == pieces(other)
    }

    /// Returns where bytes of the part lie in the volume, in order.
    #[must_use]
    pub fn spans(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let whole = std::slice::from_ref(&self.range);
        let pieces = self.logical.as_ref().map_or(whole, |logical| &logical.pieces[..]);
        let mut found = Vec::new();
        let mut at = 0_u64;
        for piece in pieces {
            let end = at.strict_add(piece.end.strict_sub(piece.start));
            let (from, to) = (range.start.max(at), range.end.min(end));
            if from < to {
                let place = |offset: u64| piece.start.strict_add(offset.strict_sub(at));
                found.push(place(from)..place(to));
            }
            at = end;
        }
        found
    }

    /// Finds whose every byte is, and proves it.
    ///
    /// # Errors
    ///
    /// If the volume cannot be read; damage is part of the answer.
    pub fn owners(&self) -> Result<PartOwners> {
        let len = self.range.end.strict_sub(self.range.start);
        let mut owners = PartOwners { map: OwnerMap::default(), proof: None, refusals: Vec::new() };
        match &self.found {
            Found::System(system) => match derive(&**system) {
                Ok((map, proof)) => {
                    owners.map = map;
                    if let Some(first) = &proof.first {
                        owners.refusals.push(first.to_string());
                    }
                    owners.proof = Some(proof);
                    let cautions = &system.about().cautions;
                    owners.refusals.extend(cautions.iter().map(ToString::to_string));
                }
                Err(Failure::Fault(fault)) => owners.refusals.push(fault.to_string()),
                Err(Failure::Error(error)) => return Err(error),
            },
            Found::Swap(swap) => {
                owners.map.fill(swap.page_len, Owner::Metadata(Metadata::Superblock));
                owners.map.fill(swap.size, Owner::Swap);
                if swap.is_hibernated {
                    owners.refusals.push(Caution::Hibernated.to_string());
                }
            }
            Found::Named(lvm::NAME) => {
                owners.refusals.push("what lies between logical volumes is kept".into());
            }
            Found::Named(name) => owners.refusals.push(format!("{name} is not looked into")),
            Found::Broken { fault, .. } => owners.refusals.push(fault.to_string()),
            Found::Nothing => {
                if self.kind == PartitionKind::BiosBoot {
                    owners.map.fill(len, Owner::BootCode);
                }
                owners.refusals.push("it holds no file system that is known".into());
            }
        }
        owners.map.fill(len, Owner::Unknown);
        if self.logical.as_ref().is_some_and(|logical| logical.is_shared) {
            let text = "a logical volume of its group that is not linear may need its free blocks";
            owners.refusals.push(text.into());
        }
        Ok(owners)
    }
}

/// Makes both derivations and holds them against each other.
///
/// # Errors
///
/// A fault where the file system is damaged; an error if the volume cannot be read.
pub fn derive(system: &dyn FileSystem) -> Outcome<(OwnerMap, Proof)> {
    let about = system.about();
    let mut claims = Claims::new(about.size);
    system.claim(&mut claims)?;
    let free = system.free()?;
    // An allocator of single blocks rounds nothing.
    let grain = if about.grain > about.block_len { about.grain } else { 1 };
    Ok(prove(claims, &free, grain))
}

/// What a volume holds.
#[derive(Debug)]
pub struct Guest<'a> {
    /// Table, partitions, boot code and loaders.
    pub layout: Layout,
    /// The partitions, in the table's order; one for a volume that nothing divides.
    pub parts: Vec<Part<'a>>,
    size: u64,
}

impl<'a> Guest<'a> {
    /// Looks into a volume.
    ///
    /// # Errors
    ///
    /// If the volume cannot be read; damage inside is part of the answer.
    pub fn open(volume: &'a dyn ReadVolume) -> Result<Self> {
        let layout = crate::guest::look::look(volume)?;
        let mut parts = Vec::new();
        let mut add = |number, range: Range<u64>, kind, (uuid, label)| -> Result<()> {
            let found = systems::find(&|| Slice::new(volume, range.clone()))?;
            parts.push(Part { number, range, logical: None, kind, uuid, label, found });
            Ok(())
        };
        for partition in &layout.partitions {
            // Partitions lie inside the volume, or they would not be listed.
            let range = partition.start..partition.start.strict_add(partition.len);
            let names = (partition.uuid(layout.table), partition.identity.label.text());
            add(Some(partition.number), range, partition.kind, names)?;
        }
        if layout.table == Table::None {
            add(None, 0..volume.size(), PartitionKind::Other, <(String, String)>::default())?;
        }
        for index in 0..parts.len() {
            if matches!(parts[index].found, Found::Named(lvm::NAME)) {
                let logical = logical_volumes(volume, index, &mut parts[index])?;
                parts.extend(logical);
            }
        }
        Ok(Self { layout, parts, size: volume.size() })
    }

    /// Takes parts that a test made.
    #[cfg(test)]
    pub(crate) fn of_parts(parts: Vec<Part<'a>>, size: u64) -> Self {
        Self { layout: Layout::default(), parts, size }
    }

    /// Finds whose every byte of the volume is.
    ///
    /// # Errors
    ///
    /// If the volume cannot be read.
    pub fn owners(&self) -> Result<VolumeOwners> {
        let is_partition = |index: &usize| self.parts[*index].logical.is_none();
        let mut order: Vec<usize> = (0..self.parts.len()).filter(is_partition).collect();
        order.sort_by_key(|index| self.parts[*index].range.start);
        let mut sections = Vec::new();
        let mut at = 0;
        let mut parts = Vec::new();
        parts.resize_with(self.parts.len(), || None);
        for index in order {
            let part = &self.parts[index];
            let owners = part.owners()?;
            parts[index] = Some(PartSummary { proof: owners.proof, refusals: owners.refusals });
            // Of partitions that overlap, the first one has what both hold.
            if part.range.start < at {
                let text = "it overlaps another partition".to_owned();
                parts[index].as_mut().expect("just put there").refusals.push(text);
                continue;
            }
            if at < part.range.start {
                sections.push(self.between(at..part.range.start));
            }
            sections.extend(self.sections(index, &owners.map, &mut parts)?);
            at = part.range.end;
        }
        if at < self.size {
            sections.push(self.between(at..self.size));
        }
        // What lies on a partition that overlaps another has no section of its own.
        let none =
            || PartSummary { proof: None, refusals: vec!["its device overlaps another".into()] };
        let parts = parts.into_iter().map(|part| part.unwrap_or_else(none)).collect();
        Ok(VolumeOwners { sections, parts })
    }

    /// Returns the sections of a partition: one, or those of the logical volumes on it and what is between.
    fn sections(
        &self,
        index: usize,
        map: &OwnerMap,
        parts: &mut [Option<PartSummary>],
    ) -> Result<Vec<Section>> {
        let mut pieces = Vec::new();
        for (place, part) in self.parts.iter().enumerate() {
            let Some(logical) = part.logical.as_ref().filter(|it| it.device == index) else {
                continue;
            };
            let owners = part.owners()?;
            let mut at = 0_u64;
            for range in &logical.pieces {
                let end = at.strict_add(range.end.strict_sub(range.start));
                let map = owners.map.cut(at..end);
                pieces.push(Section { range: range.clone(), part: Some(place), map });
                at = end;
            }
            parts[place] = Some(PartSummary { proof: owners.proof, refusals: owners.refusals });
        }
        pieces.sort_by_key(|piece| piece.range.start);
        let base = self.parts[index].range.start;
        let own = |range: Range<u64>| Section {
            map: map.cut(range.start.strict_sub(base)..range.end.strict_sub(base)),
            range,
            part: Some(index),
        };
        let mut sections = Vec::new();
        let mut at = base;
        for piece in pieces {
            // Logical volumes that overlap were refused.
            if at < piece.range.start {
                sections.push(own(at..piece.range.start));
            }
            at = piece.range.end;
            sections.push(piece);
        }
        if at < self.parts[index].range.end {
            sections.push(own(at..self.parts[index].range.end));
        }
        Ok(sections)
    }

    /// Returns the section of bytes that no partition holds.
    fn between(&self, range: Range<u64>) -> Section {
        let map = self.outside(range.clone());
        Section { range, part: None, map }
    }

    /// Returns the owners of bytes that no partition holds.
    fn outside(&self, range: Range<u64>) -> OwnerMap {
        let mut marks: Vec<(u64, Owner)> = Vec::new();
        let table_end = SECTOR_SIZE.strict_mul(GPT_SECTORS.strict_add(1));
        let copy = self.size.saturating_sub(SECTOR_SIZE.strict_mul(GPT_SECTORS));
        if self.layout.table != Table::None {
            let code = if self.layout.has_boot_code { Owner::BootCode } else { Owner::Table };
            marks.extend([(BOOT_CODE_LEN, code), (SECTOR_SIZE, Owner::Table)]);
        }
        if self.layout.table == Table::Gpt {
            marks.extend([
                (table_end, Owner::Table),
                (copy, Owner::Gap),
                (self.size, Owner::Table),
            ]);
        }
        let mut records = self.layout.extended.clone();
        records.sort_unstable();
        for at in records {
            marks.extend([(at, Owner::Gap), (at.saturating_add(SECTOR_SIZE), Owner::Table)]);
        }
        marks.push((u64::MAX, Owner::Gap));
        let mut map = OwnerMap::default();
        for (end, owner) in marks {
            let until = end.min(range.end).saturating_sub(range.start);
            map.fill(until, owner);
        }
        map
    }
}

/// Looks into the logical volumes on the part of place `device`. Those that cannot be looked into, and damage,
/// become what the part holds.
fn logical_volumes<'a>(
    volume: &'a dyn ReadVolume,
    device: usize,
    part: &mut Part<'a>,
) -> Result<Vec<Part<'a>>> {
    let base = part.range.start;
    let all = match lvm::volumes(&Slice::new(volume, part.range.clone())) {
        Ok(all) => all,
        Err(Failure::Fault(fault)) => {
            part.found = Found::Broken { name: lvm::NAME, fault };
            return Ok(Vec::new());
        }
        Err(Failure::Error(error)) => return Err(error),
    };
    let mut found = Vec::new();
    for logical in all {
        let pieces = match logical.pieces {
            Ok(pieces) => pieces,
            Err(fault) => {
                part.found = Found::Broken { name: lvm::NAME, fault };
                continue;
            }
        };
        let pieces: Vec<Range<u64>> = pieces
            .iter()
            .map(|piece| piece.start.strict_add(base)..piece.end.strict_add(base))
            .collect();
        let len: u64 = pieces.iter().map(|piece| piece.end.strict_sub(piece.start)).sum();
        let start = pieces.first().map_or(base, |piece| piece.start);
        let inside = systems::find(&|| Slice::joined(volume, &pieces))?;
        found.push(Part {
            number: part.number,
            range: start..start.strict_add(len),
            logical: Some(Logical {
                name: logical.name,
                device,
                pieces,
                is_shared: logical.is_shared,
            }),
            kind: PartitionKind::Other,
            uuid: String::new(),
            label: String::new(),
            found: inside,
        });
    }
    Ok(found)
}

/// A section of a volume: a partition, or what lies between two.
#[derive(Debug)]
pub struct Section {
    /// Bytes of the volume.
    pub range: Range<u64>,
    /// Which part it is, by its place among them.
    pub part: Option<usize>,
    /// Owners, from the section's first byte.
    pub map: OwnerMap,
}

/// What is known of a partition, beside its map.
#[derive(Debug)]
pub struct PartSummary {
    /// What came of the proof, where a file system could be walked.
    pub proof: Option<Proof>,
    /// Why what is free must be kept.
    pub refusals: Vec<String>,
}

/// Whose every byte of a volume is: sections that tile it.
#[derive(Debug)]
pub struct VolumeOwners {
    /// Ascending; they tile the volume.
    pub sections: Vec<Section>,
    /// One for each part, in the order of the guest's.
    pub parts: Vec<PartSummary>,
}

impl VolumeOwners {
    /// Iterates over the owners of a range, cut to it, ascending: bytes of the volume, part, owner.
    pub fn within(
        &self,
        range: Range<u64>,
    ) -> impl Iterator<Item = (Range<u64>, Option<usize>, Owner)> + '_ {
        let first = self.sections.partition_point(|it| it.range.end <= range.start);
        let whole = range.clone();
        self.sections[first..]
            .iter()
            .take_while(move |section| section.range.start < whole.end)
            .flat_map(move |section| {
                let base = section.range.start;
                let cut = range.start.saturating_sub(base)..range.end.saturating_sub(base);
                section.map.within(cut).map(move |(part, owner)| {
                    (part.start.strict_add(base)..part.end.strict_add(base), section.part, owner)
                })
            })
    }
}
