//! Volumes made by hand, and what must be found in them.

use std::sync::Arc;

use super::*;
use crate::digest::crc32;
use crate::field;
use crate::volume::Place;
use crate::volume::RunMap;
use crate::volume::Volume;

const SECTOR: usize = 512;

/// A disk of 4 MiB: a GPT with an EFI system partition (FAT12) and a BIOS boot partition.
#[derive(Clone)]
struct Disk(Vec<u8>);

impl Disk {
    fn new() -> Self {
        let mut disk = Self(vec![0; 4 << 20]);
        disk.0[440] = 1;
        disk.0[446 + 4] = 0xee;
        field::put_u16_le(&mut disk.0, 510, 0xaa55);
        let esp = *b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b";
        disk.entry(0, esp, 2048, 4095);
        disk.entry(1, *b"Hah!IdontNeedEFI", 4096, 4200);
        disk.fat();
        disk.seal();
        disk
    }

    fn entry(&mut self, number: usize, kind: [u8; 16], first: u64, last: u64) {
        for table in [2 * SECTOR, self.0.len() - 33 * SECTOR] {
            let at = table + number * 128;
            self.0[at..at + 16].copy_from_slice(&kind);
            field::put_u64_le(&mut self.0, at + 32, first);
            field::put_u64_le(&mut self.0, at + 40, last);
        }
    }

    /// Writes both headers, with their checksums.
    fn seal(&mut self) {
        let last = self.0.len() / SECTOR - 1;
        for (lba, other, entries) in [(1, last, 2), (last, 1, last - 32)] {
            let sum = crc32(&self.0[entries * SECTOR..][..128 * 128]);
            let header = &mut self.0[lba * SECTOR..][..SECTOR];
            header[..8].copy_from_slice(b"EFI PART");
            field::put_u32_le(header, 12, 92);
            field::put_u32_le(header, 16, 0);
            field::put_u64_le(header, 24, lba.try_into().unwrap());
            field::put_u64_le(header, 32, other.try_into().unwrap());
            field::put_u64_le(header, 72, entries.try_into().unwrap());
            field::put_u32_le(header, 80, 128);
            field::put_u32_le(header, 84, 128);
            field::put_u32_le(header, 88, sum);
            let sum = crc32(&header[..92]);
            field::put_u32_le(header, 16, sum);
        }
    }

    /// A FAT12 of 1 MiB with `EFI/BOOT/BOOTX64.EFI`, in the partition at sector 2048.
    fn fat(&mut self) {
        let fat = &mut self.0[1 << 20..][..1 << 20];
        field::put_u16_le(fat, 11, 512);
        fat[13] = 1;
        field::put_u16_le(fat, 14, 1);
        fat[16] = 1;
        field::put_u16_le(fat, 17, 16);
        field::put_u16_le(fat, 19, 2048);
        field::put_u16_le(fat, 22, 6);
        // Clusters 2, 3 and 4 end their chains: entries of 12 bits from byte 3 on.
        fat[SECTOR..][..8].copy_from_slice(b"\xf8\xff\xff\xff\xff\xff\xff\xff");
        let mut put = |at: usize, name: &[u8; 11], attributes: u8, cluster: u16, len: u32| {
            fat[at..at + 11].copy_from_slice(name);
            fat[at + 11] = attributes;
            field::put_u16_le(fat, at + 26, cluster);
            field::put_u32_le(fat, at + 28, len);
        };
        let (root, data) = (7 * SECTOR, 8 * SECTOR);
        put(root, b"A LABEL    ", 0x08, 0, 0);
        put(root + 32, b"EFI        ", 0x10, 2, 0);
        put(data, b"BOOT       ", 0x10, 3, 0);
        put(data + SECTOR, b"BOOTX64 EFI", 0x20, 4, 512);
        let program = &mut fat[data + 2 * SECTOR..][..SECTOR];
        program[..2].copy_from_slice(b"MZ");
        program[60] = 64;
        program[64..70].copy_from_slice(b"PE\0\0\x64\x86");
    }

    fn look(&self) -> Layout {
        let mut map = RunMap::default();
        map.push(self.0.len().try_into().unwrap(), Place::Stored { source: 0, offset: 0 });
        let volume = Volume::new(map, vec![Arc::new(self.0.clone()).into()]).unwrap();
        look(&volume).unwrap()
    }
}

#[test]
fn a_gpt_disk_shows_its_partitions_and_its_loader() {
    let layout = Disk::new().look();
    assert_eq!((layout.table, layout.has_boot_code), (Table::Gpt, false));
    assert!(layout.has(PartitionKind::Esp) && layout.has(PartitionKind::BiosBoot));
    assert_eq!((layout.faults, layout.backup), (vec![], None));
    let x86 = Machine::X86_64;
    let path = "EFI/BOOT/BOOTX64.EFI";
    assert_eq!(layout.loaders, [Loader { partition: 1, path, named_for: x86, machine: Some(x86) }]);
}

/// Each check, tripped by one change.
#[test]
fn damage_is_named() {
    let after = |change: &dyn Fn(&mut Vec<u8>), seal: bool| {
        let mut disk = Disk::new();
        change(&mut disk.0);
        if seal {
            disk.seal();
        }
        disk.look()
    };
    let faults = |change: &dyn Fn(&mut Vec<u8>), seal| after(change, seal).faults;
    assert_eq!(faults(&|disk| disk[512..520].fill(0), false), [GuestFault::NoGpt]);
    let checksum = |fault: &[GuestFault], name| matches!(fault, [GuestFault::GptChecksum { of, .. }] if *of == name);
    assert!(checksum(&faults(&|disk| disk[512 + 60] ^= 1, false), "header"));
    assert!(checksum(&faults(&|disk| disk[1024 + 200] ^= 1, false), "entries"));
    let size = faults(&|disk| field::put_u32_le(disk, 512 + 12, 91), false);
    assert_eq!(size, [GuestFault::GptHeader { field: "HeaderSize", found: 91 }]);
    let far = faults(&|disk| field::put_u64_le(disk, 1024 + 128 + 40, 1 << 40), true);
    assert_eq!(far, [GuestFault::PartitionRange { number: 2 }]);
    let fat = |change: &dyn Fn(&mut Vec<u8>)| {
        matches!(faults(change, false)[..], [GuestFault::Fat { .. }])
    };
    assert!(fat(&|disk| disk[(1 << 20) + 13] = 3));
    assert!(fat(&|disk| field::put_u16_le(disk, (1 << 20) + 19, 0xffff)));
    assert!(fat(&|disk| field::put_u16_le(disk, (1 << 20) + 7 * 512 + 32 + 26, 0xfff0)));

    assert_eq!(after(&|disk| *disk.last_mut().unwrap() = 1, false).backup, None);
    let copy = after(&|disk| disk[(4 << 20) - 512] = 0, false);
    assert_eq!(copy.backup, Some(GuestFault::Backup));
    let grown = after(&|disk| disk.resize(5 << 20, 0), false);
    assert_eq!(grown.backup, Some(GuestFault::BackupPlace { found: 8191, expected: 10239 }));
    assert!(grown.faults.is_empty());
}

/// A header that claims too much is refused before anything is allocated for it.
#[test]
fn a_table_of_two_to_the_32_entries_is_refused() {
    let mut disk = Disk::new();
    let header = &mut disk.0[SECTOR..][..SECTOR];
    field::put_u32_le(header, 80, u32::MAX);
    field::put_u32_le(header, 16, 0);
    let sum = crc32(&header[..92]);
    field::put_u32_le(header, 16, sum);
    let found = u64::from(u32::MAX);
    let expected = GuestFault::GptHeader { field: "NumberOfPartitionEntries", found };
    assert_eq!(disk.look().faults, [expected]);
}

/// A chain that leads back to itself ends at the limit of a directory.
#[test]
fn a_circle_of_clusters_ends() {
    let mut disk = Disk::new();
    // Cluster 2 is followed by cluster 2; its folder is full of files that are not looked for.
    let fat = 1 << 20;
    disk.0[fat + SECTOR + 3] = 2;
    disk.0[fat + SECTOR + 4] = 0xf0;
    for entry in 0..16 {
        disk.0[fat + 8 * SECTOR + 32 * entry] = b'x';
    }
    assert_eq!(disk.look().loaders, []);
}

#[test]
fn what_is_no_partitioned_disk_is_told() {
    let mut ext = Disk(vec![0; 1 << 20]);
    ext.0[1080..1082].copy_from_slice(b"\x53\xef");
    let layout = ext.look();
    assert_eq!((layout.table, layout.file_system), (Table::None, Some("ext")));
    assert_eq!(Disk(vec![0; 100]).look(), Layout::default());
    assert_eq!(Disk(vec![0; 1 << 20]).look(), Layout::default());

    let mut mbr = Disk(vec![0; 1 << 20]);
    field::put_u16_le(&mut mbr.0, 510, 0xaa55);
    mbr.0[0] = 0xeb;
    mbr.0[446 + 4] = 0x83;
    field::put_u32_le(&mut mbr.0, 446 + 8, 8);
    field::put_u32_le(&mut mbr.0, 446 + 12, 100);
    let layout = mbr.look();
    assert_eq!((layout.table, layout.has_boot_code), (Table::Mbr, true));
    assert_eq!(layout.partitions.len(), 1);
    field::put_u32_le(&mut mbr.0, 446 + 12, 1 << 20);
    assert_eq!(mbr.look().faults, [GuestFault::PartitionRange { number: 1 }]);
}

/// Whatever the bytes are, looking ends without a panic.
#[test]
fn no_bytes_are_too_wild() {
    let sound = Disk::new();
    let mut state = 7_u64;
    for _ in 0..2000 {
        let mut disk = sound.clone();
        for _ in 0..8 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            let places = [0, 446, 512, 1024, 1 << 20, (1 << 20) + 512, (1 << 20) + 7 * 512];
            let place = places[usize::try_from(state >> 40).unwrap() % places.len()];
            let at = place + usize::try_from(state >> 20).unwrap() % 128;
            disk.0[at] = u8::try_from(state >> 56).unwrap();
        }
        if state & 1 == 0 {
            disk.seal();
        }
        disk.look();
    }
}
