//! FAT: the boot sector and entries of directories (Microsoft's FAT specification 1.03).

use crate::explain::Marks;
use crate::explain::fields::Field;
use crate::explain::fields::Says::Cause;
use crate::explain::fields::Says::Layout;
use crate::explain::fields::compare;

/// The serial number where FAT32 has it, and the counts of its second sector.
const BOOT_32: &[Field] = &[(0x43, 4, Cause("fat-serial"))];

/// The serial number of FAT12 and FAT16.
const BOOT_16: &[Field] = &[(0x27, 4, Cause("fat-serial"))];

/// Free clusters and the next one.
const INFORMATION: &[Field] = &[(488, 8, Layout)];

/// An entry: times, and where the file begins.
const ENTRY: &[Field] =
    &[(13, 7, Cause("fat-times")), (20, 2, Layout), (22, 4, Cause("fat-times")), (26, 2, Layout)];

const ENTRY_LEN: usize = 32;

/// Compares boot sectors and what stands behind them, from the start of the partition on.
#[must_use]
pub fn superblock(offset: u64, old: &[u8], new: &[u8]) -> Marks {
    let mut marks = Marks::default();
    let mut at = offset;
    for (one, other) in old.chunks(512).zip(new.chunks(512)) {
        let is_32 = new.get(0x52..0x57).is_some_and(|it| it == b"FAT32");
        let is_information = other.starts_with(b"RRaA");
        let is_boot = other.get(510..512) == Some(&[0x55, 0xaa]);
        marks.join(match (is_information, is_boot && (is_32 || offset > 0)) {
            (true, _) => compare(one, other, INFORMATION),
            (_, true) => compare(one, other, BOOT_32),
            _ if at == 0 => compare(one, other, BOOT_16),
            _ => compare(one, other, &[]),
        });
        at = at.saturating_add(512);
    }
    marks
}

/// Compares entries of a directory.
#[must_use]
pub fn directory(old: &[u8], new: &[u8]) -> Marks {
    let mut marks = Marks::default();
    for (one, other) in old.chunks(ENTRY_LEN).zip(new.chunks(ENTRY_LEN)) {
        // A part of a long name has no times.
        let is_name = other.get(11) == Some(&0x0f);
        marks.join(compare(one, other, if is_name { &[] } else { ENTRY }));
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_names_its_cause() {
        let mut old = vec![0; 1024];
        old[0x52..0x57].copy_from_slice(b"FAT32");
        (old[510], old[511]) = (0x55, 0xaa);
        old[512..516].copy_from_slice(b"RRaA");
        let change = |at: usize| {
            let mut new = old.clone();
            new[at] ^= 1;
            superblock(0, &old, &new)
        };
        assert_eq!(change(0x43), Marks::of("fat-serial"));
        assert_eq!(change(512 + 488), Marks::of_layout());
        assert!(change(0x47).real && change(0x0b).real);
        let entry = |at: usize| {
            let (old, mut new) = (vec![0; 64], vec![0; 64]);
            new[32 + at] = 1;
            directory(&old, &new)
        };
        assert_eq!((entry(14), entry(22)), (Marks::of("fat-times"), Marks::of("fat-times")));
        assert_eq!(entry(26), Marks::of_layout());
        assert!(entry(0).real && entry(11).real && entry(28).real);
    }
}
