//! Signs that blocks of a volume are hashed one by one: then free blocks count, too.
//!
//! dm-verity refuses to read a block whose hash is wrong, and the kernel reads free blocks ahead. A tool that
//! leaves them out makes a volume that does not boot.

use crate::error::Result;
use crate::field;
use crate::guest::failure::Failure;
use crate::guest::failure::Outcome;
use crate::guest::file::FileKind;
use crate::guest::layout::Layout;
use crate::guest::layout::Table;
use crate::guest::owner::Owner;
use crate::guest::survey::Guest;
use crate::guest::survey::VolumeOwners;
use crate::guest::systems::Found;
use crate::guest::tree::Spot;
use crate::guest::tree::Tree;
use crate::units::ExtentKind;
use crate::volume::ReadVolume;

/// Start of a superblock of hashes.
const MAGIC: &[u8; 8] = b"verity\0\0";

/// Bytes that are searched at once.
const SEARCH_LEN: u64 = 1 << 20;

/// What a kernel's command line says to open such a device.
const ON_COMMAND_LINES: [&[u8]; 5] =
    [b"roothash=", b"usrhash=", b"systemd.verity", b"verity.usr", b"dm-mod.create"];

/// Files and directories that hold command lines of kernels, from the root of any file system.
const BOOT_PLACES: [&[u8]; 18] = [
    b"/boot/grub/grub.cfg",
    b"/boot/grub2/grub.cfg",
    b"/boot/grub/menu.lst",
    b"/boot/grub/grub.conf",
    b"/boot/extlinux/extlinux.conf",
    b"/boot/syslinux/syslinux.cfg",
    b"/boot/loader/entries",
    b"/boot/cmdline.txt",
    b"/grub/grub.cfg",
    b"/grub2/grub.cfg",
    b"/extlinux/extlinux.conf",
    b"/syslinux/syslinux.cfg",
    b"/loader/entries",
    b"/etc/kernel/cmdline",
    b"/etc/default/grub",
    b"/etc/veritytab",
    b"/EFI",
    b"/boot/efi/EFI",
];

/// Most files and directories of boot loaders that are looked at.
const MAX_BOOT_FILES: u32 = 4096;

/// Most bytes of a program that are searched for its sections.
const PROGRAM_HEAD_LEN: u64 = 16 << 10;

/// Types of partitions with hashes of a root or `/usr`, and with signatures of these hashes, of all
/// architectures that the Discoverable Partitions Specification names.
const TYPES: [u128; 76] = [
    0x0b88_8863_d7f8_4d9e_9766_239f_ce4d_58af,
    0x143a_70ba_cbd3_4f06_919f_6c05_683a_78bc,
    0x15de_6170_65d3_431c_916e_b0dc_d839_3f25,
    0x16b4_17f8_3e06_4f57_8dd2_9b52_32f4_1aa6,
    0x1744_0e4f_a8d0_467f_a46e_3912_ae6e_f2c5,
    0x1b31_b5aa_add9_463a_b2ed_bd46_7fc8_57e7,
    0x24b2_d975_0f97_4521_afa1_cd53_1e42_1b8d,
    0x2c73_57ed_ebd2_46d9_aec1_23d4_37ec_2bf5,
    0x2fb4_bf56_07fa_42da_8132_6b13_9f20_26ae,
    0x3174_1cc4_1a2a_4111_a581_e00b_447d_2d06,
    0x3482_388e_4254_435a_a241_766a_065f_9960,
    0x3a11_2a75_8729_4380_b4cf_764d_7993_4448,
    0x3c3d_61fe_b5f3_414d_bb71_8739_a694_a4ef,
    0x3e23_ca0b_a4bc_4b4e_8087_5ab6_a26a_a8a9,
    0x3f32_4816_667b_46ae_86ee_9b0c_0c6c_11b4,
    0x4109_2b05_9fc8_4523_994f_2def_0408_b176,
    0x42b0_455f_eb11_491d_98d3_5614_5ba9_d037,
    0x450d_d7d1_3224_45ec_9cf2_a43a_346d_71ee,
    0x46b9_8d8d_b55c_4e8f_aab3_37fc_a7f8_0752,
    0x4ede_75e2_6ccc_4cc8_b9c7_7033_4b08_7510,
    0x5843_d618_ec37_48d7_9f12_cea8_e087_68b2,
    0x5996_fc05_109c_48de_808b_23fa_0830_b676,
    0x5afb_67eb_ecc8_4f85_ae8e_ac1e_7c50_e7d0,
    0x5c6e_1c76_076a_457a_a0fe_f3b4_cd21_ce6e,
    0x6a49_1e03_3be7_4545_8e38_8332_0e0e_a880,
    0x6db6_9de6_29f4_4758_a7a5_9621_90f0_0ce3,
    0x6e11_a4e7_fbca_4ded_b9e9_e1a5_12bb_664e,
    0x7007_891d_d371_4a80_86a4_5cb8_75b9_302e,
    0x7386_cdf2_203c_47a9_a498_f2ec_ce45_a2d6,
    0x77ff_5f63_e7b6_4633_acf4_1565_b864_c0e6,
    0x7ac6_3b47_b25c_463b_8df8_b4a9_4e6c_90e1,
    0x86ed_10d5_b607_45bb_8957_d350_f23d_0571,
    0x8cce_0d25_c0d0_4a44_bd87_4633_1bf1_df67,
    0x8de5_8bc2_2a43_460d_b14e_a76e_4a17_b47f,
    0x8f10_56be_9b05_47c4_81d6_be53_128e_5b54,
    0x8f46_1b0d_14ee_4e81_9aa9_049b_6fb9_7abd,
    0x904e_58ef_5c65_4a31_9c57_6af5_fc7c_5de7,
    0x906b_d944_4589_4aae_a4e4_dd98_3917_446a,
    0x9225_a9a3_3c19_4d89_b4f6_eeff_88f1_7631,
    0x94f9_a9a1_9971_427a_a400_50cb_297f_0f35,
    0x9660_61ec_28e4_4b2e_b4a5_1f0a_825a_1d84,
    0x974a_71c0_de41_43c3_be5d_5c5c_cd1a_d2c0,
    0x98cf_e649_1588_46dc_b2f0_add1_4742_4925,
    0xae02_53be_1167_4007_ac68_4392_6c14_c5de,
    0xb024_f315_d330_444c_8461_44bb_de52_4e99,
    0xb325_bfbe_c7be_4ab8_8357_139e_652d_2f6b,
    0xb367_1439_97b0_4a53_90f7_2d5a_8f3a_d47b,
    0xb663_c618_e7bc_4d6d_90aa_11b7_56bb_1797,
    0xb6ed_5582_440b_4209_b8da_5ff7_c419_ea3d,
    0xbdb5_28a5_a259_475f_a87d_da53_fa73_6a07,
    0xc215_d751_7bcd_4649_be90_6627_490a_4c05,
    0xc23c_e4ff_44bd_4b00_b2d4_b41b_3419_e02a,
    0xc383_6a13_3137_45ba_b583_b16c_50fe_5eb4,
    0xc801_87a5_73a3_491a_901a_017c_3fa9_53e9,
    0xc8bf_bd1e_268e_4521_8bba_bf31_4c39_9557,
    0xc919_cc1f_4456_4eff_918c_f75e_9452_5ca5,
    0xcb1e_e4e3_8cd0_4136_a0a4_aa61_a32e_8730,
    0xd13c_5d3b_b5d1_422a_b29f_9454_fdc8_9d76,
    0xd212_a430_fbc5_49f9_a983_a7fe_ef2b_8d0e,
    0xd2f9_000a_7a18_453f_b5cd_4d32_f77a_7b32,
    0xd464_95b7_a053_414f_80f7_700c_9992_1ef8,
    0xd4a2_36e7_e873_4c07_bf1d_bf6c_f7f1_c3c6,
    0xd7d1_50d2_2a04_4a33_8f12_1665_1205_ff7b,
    0xd7ff_812f_37d1_4902_a810_d76b_a57b_975a,
    0xdf33_00ce_d69f_4c92_978c_9bfb_0f38_d820,
    0xdf76_5d00_270e_49e5_bc75_f47b_b211_8b09,
    0xe7bb_33fb_06cf_4e81_8273_e543_b413_e2e2,
    0xe98b_36ee_32ba_4882_9b12_0ce1_4655_f46a,
    0xee2b_9983_21e8_4153_86d9_b690_1a54_d1ce,
    0xefe0_f087_ea8d_4469_821a_4c2a_96a8_386a,
    0xf2c2_c7ee_adcc_4351_b5c6_ee98_16b6_6e16,
    0xf339_3b22_e9af_4613_a948_9d3b_fbd0_c535,
    0xf46b_2c26_59ae_48f0_9106_c50e_d47f_673d,
    0xf5e2_c20c_45b2_4ffa_bce9_2a60_737e_1aaf,
    0xfc56_d9e9_e6e5_4c06_be32_e744_07ce_09a5,
    0xfca0_598c_d880_4591_8c16_4eda_05c7_347c,
];

/// Finds a sign of hashed blocks, as a sentence about where it is.
///
/// # Errors
///
/// If the volume cannot be read.
pub(super) fn find(
    volume: &dyn ReadVolume,
    guest: &Guest<'_>,
    owners: &VolumeOwners,
) -> Result<Option<String>> {
    if let Some(number) = typed(&guest.layout) {
        return Ok(Some(format!("partition {number} is of a type for hashes or their signature")));
    }
    for part in &guest.parts {
        if matches!(part.found, Found::Named("DM_verity_hash")) {
            let start = part.range.start;
            return Ok(Some(format!("a superblock of hashes starts at byte {start}")));
        }
    }
    if let Some(place) = superblock(volume, owners)? {
        return Ok(Some(format!("a superblock of hashes starts at byte {place}")));
    }
    for part in &guest.parts {
        let Some(system) = part.system() else { continue };
        let tree = Tree::of(system);
        match command_line(&tree) {
            Ok(Some(sign)) => return Ok(Some(sign)),
            Ok(None) | Err(Failure::Fault(_)) => {}
            Err(Failure::Error(error)) => return Err(error),
        }
    }
    Ok(None)
}

fn typed(layout: &Layout) -> Option<u32> {
    let is_one = |id: &[u8; 16]| {
        // The first three fields of a stored GUID are little-endian.
        let head = u128::from(field::u32_le(id, 0)) << 96
            | u128::from(field::u16_le(id, 4)) << 80
            | u128::from(field::u16_le(id, 6)) << 64;
        TYPES.contains(&(head | u128::from(field::u64_be(id, 8))))
    };
    let mut partitions = layout.partitions.iter().filter(|_| layout.table == Table::Gpt);
    partitions.find(|partition| is_one(&partition.identity.type_id)).map(|it| it.number)
}

/// Searches all that belongs to no file system for a superblock: gaps, and what lies behind file systems.
fn superblock(volume: &dyn ReadVolume, owners: &VolumeOwners) -> Result<Option<u64>> {
    let mut buffer = Vec::new();
    for (range, _, owner) in owners.within(0..volume.size()) {
        if !matches!(owner, Owner::Unknown | Owner::Gap | Owner::BootCode) {
            continue;
        }
        let mut at = range.start.next_multiple_of(512);
        while at < range.end {
            let extent = volume.extent_at(at)?;
            let end = extent.range.end.min(range.end).min(at.strict_add(SEARCH_LEN));
            if extent.kind == ExtentKind::Data {
                buffer.resize(usize::try_from(end.strict_sub(at)).expect("at most 1 MiB"), 0);
                volume.read_at(at, &mut buffer)?;
                let found = buffer.chunks(512).position(|sector| sector.starts_with(MAGIC));
                if let Some(sector) = found {
                    let sector = u64::try_from(sector).expect("at most 2,048");
                    return Ok(Some(at.strict_add(sector.strict_mul(512))));
                }
            }
            at = end.next_multiple_of(512);
        }
    }
    Ok(None)
}

/// Searches the boot entries of a file system.
fn command_line(tree: &Tree<'_>) -> Outcome<Option<String>> {
    let mut left: Vec<(Spot, String)> = Vec::new();
    for place in BOOT_PLACES {
        if let Some(spot) = tree.try_find(place)? {
            left.push((spot, String::from_utf8_lossy(place).into_owned()));
        }
    }
    let mut seen = 0_u32;
    while let Some((spot, path)) = left.pop() {
        seen = seen.strict_add(1);
        if seen > MAX_BOOT_FILES {
            return Ok(Some("there are too many boot entries to be searched".into()));
        }
        let node = tree.node(spot)?;
        if node.kind == FileKind::Directory {
            for (name, spot) in tree.entries(spot)? {
                left.push((spot, format!("{path}/{}", crate::guest::escape::escape(&name))));
            }
            continue;
        }
        if node.kind != FileKind::Regular {
            continue;
        }
        let is_program = tree.head(spot, 2)? == b"MZ";
        if path == "/etc/veritytab" {
            let text = tree.text(spot)?;
            let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            if lines.any(|line| !line.is_empty() && !line.starts_with(b"#")) {
                return Ok(Some(format!("{path} names a device")));
            }
            continue;
        }
        let text = if is_program { section(tree, spot)? } else { tree.head(spot, SEARCH_LEN)? };
        if let Some(sign) = sign_in(&text) {
            let sign = String::from_utf8_lossy(sign).into_owned();
            return Ok(Some(format!("{path} has {sign:?}")));
        }
    }
    Ok(None)
}

/// Finds what opens such a device in a command line.
fn sign_in(text: &[u8]) -> Option<&'static [u8]> {
    let has = |needle: &[u8]| text.windows(needle.len()).any(|it| it == needle);
    if let Some(sign) = ON_COMMAND_LINES.into_iter().find(|sign| has(sign)) {
        return Some(sign);
    }
    // The older form: dm="... verity ...".
    let old: &[u8] = b"dm=\"";
    let starts = text.windows(old.len()).enumerate().filter(|(_, it)| *it == old);
    for (start, _) in starts {
        let value = &text[start.strict_add(old.len())..];
        let end = value.iter().position(|byte| *byte == b'"').unwrap_or(value.len());
        if value[..end].windows(6).any(|it| it == b"verity") {
            return Some(b"dm=");
        }
    }
    None
}

/// Returns the command line that a unified kernel image carries in a section of its own.
fn section(tree: &Tree<'_>, spot: Spot) -> Outcome<Vec<u8>> {
    let head = tree.head(spot, PROGRAM_HEAD_LEN)?;
    let mut text = Vec::new();
    let Some(headers) = sections(&head) else { return Ok(text) };
    for header in headers.chunks_exact(40).filter(|it| it.starts_with(b".cmdline")) {
        let (len, offset) = (field::u32_le(header, 16), field::u32_le(header, 20));
        tree.copy(spot, offset.into(), u64::from(len).min(SEARCH_LEN), &mut |bytes| {
            text.extend_from_slice(bytes);
            Ok(())
        })?;
    }
    Ok(text)
}

/// Returns the section headers of a PE program.
fn sections(head: &[u8]) -> Option<&[u8]> {
    let at = usize::try_from(field::u32_le(head.get(..64)?, 60)).ok()?;
    let header = head.get(at..)?.get(..24).filter(|it| it.starts_with(b"PE\0\0"))?;
    let count = usize::from(field::u16_le(header, 6));
    let start = at.checked_add(24)?.checked_add(usize::from(field::u16_le(header, 20)))?;
    let rest = head.get(start..)?;
    Some(&rest[..count.strict_mul(40).min(rest.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sign_on_a_command_line_is_found_and_nothing_else_is() {
        for text in [
            "linux /vmlinuz roothash=0123",
            "options root=/dev/x usrhash=1",
            "systemd.verity_root_data=/dev/x",
            "mount.usr=/dev/mapper/usr verity.usr=PARTUUID=1",
            "dm-mod.create=\"root,,,ro,0 1 verity 1\"",
            "dm=\"1 root none ro 1,0 1 verity 1\"",
        ] {
            assert!(sign_in(text.as_bytes()).is_some(), "{text}");
        }
        for text in
            ["root=UUID=1 ro quiet", "dm=\"1 root none ro 0 1 linear\" verity", "noverity", ""]
        {
            assert_eq!(sign_in(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn types_are_told_by_their_stored_bytes() {
        let mut layout = Layout { table: Table::Gpt, ..Layout::default() };
        // 2c7357ed-ebd2-46d9-aec1-23d437ec2bf5, root of x86-64.
        let stored = *b"\xed\x57\x73\x2c\xd2\xeb\xd9\x46\xae\xc1\x23\xd4\x37\xec\x2b\xf5";
        let identity = crate::guest::layout::Identity { type_id: stored, ..Default::default() };
        let kind = crate::guest::layout::PartitionKind::Other;
        layout.partitions.push(crate::guest::layout::Partition {
            number: 3,
            start: 512,
            len: 512,
            kind,
            identity,
        });
        assert_eq!(typed(&layout), Some(3));
        layout.partitions[0].identity.type_id[0] ^= 1;
        assert_eq!(typed(&layout), None);
    }
}
