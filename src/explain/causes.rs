//! The table of causes.

use serde::Serialize;

/// Why two builds differ although nothing that anybody wanted differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// Stable name.
    pub id: &'static str,
    /// What differs.
    pub text: &'static str,
    /// What keeps it from differing: an option of the tool that makes the image.
    pub fix: &'static str,
}

macro_rules! causes {
    ($($id:literal $text:literal $fix:literal)*) => {
        /// All causes.
        pub const CAUSES: &[Reason] = &[$(Reason { id: $id, text: $text, fix: $fix }),*];
    };
}

causes! {
    "gpt-disk-guid" "the GUID of the disk in its GPT"
        "sgdisk --disk-guid=GUID, sfdisk label-id:, systemd-repart --seed=UUID"
    "gpt-partition-guid" "GUIDs of partitions"
        "sgdisk --partition-guid=N:GUID, sfdisk uuid=, systemd-repart --seed=UUID"
    "mbr-signature" "the signature of the disk in its MBR"
        "sfdisk label-id:, or 4 bytes at 0x1b8"

    "ext-uuid" "the UUID of an ext file system, or the seed of its checksums"
        "mke2fs -U UUID"
    "ext-hash-seed" "the seed by which directories of an ext file system are sorted"
        "mke2fs -E hash_seed=UUID"
    "ext-times" "times of an ext file system and of its inodes: made, mounted, written, checked, created"
        "SOURCE_DATE_EPOCH with e2fsprogs 1.47.1 or later, E2FSPROGS_FAKE_TIME before; fill it by mke2fs -d, without a mount"
    "ext-mounts" "how often an ext file system was mounted, where, and how much was written"
        "fill it by mke2fs -d, without a mount"
    "ext-generation" "generations of inodes, which are random"
        "fill it by mke2fs -d, without a mount"
    "ext-directory-order" "the order of names in directories of an ext file system"
        "fill it by mke2fs -d out of one tree, without e2fsck -D"
    "ext-journal" "what is left in the journal of an ext file system"
        "fill it by mke2fs -d, without a mount; or mke2fs -O ^has_journal and tune2fs -j afterwards"

    "xfs-uuid" "the UUID of an XFS file system, in every block of its metadata"
        "mkfs.xfs -m uuid=UUID"
    "xfs-lsn" "places in the log that blocks of XFS were last written from"
        "fill it by mkfs.xfs -p, without a mount"
    "xfs-generation" "generations of XFS inodes, which are random"
        "DETERMINISTIC_SEED=1 where the manual of mkfs.xfs knows it"
    "xfs-times" "times of inodes of XFS: read, changed, created"
        "SOURCE_DATE_EPOCH where the manual of mkfs.xfs knows it"
    "xfs-log" "what is left in the log of XFS"
        "fill it by mkfs.xfs -p, without a mount"

    "btrfs-uuid" "UUIDs of Btrfs, in every node of its trees"
        "mkfs.btrfs -U UUID --device-uuid UUID"
    "fat-serial" "the serial number of a FAT file system"
        "mkfs.fat -i NUMBER"
    "fat-times" "times in directories of a FAT file system"
        "SOURCE_DATE_EPOCH for mkfs.fat and mcopy -m"
    "swap-uuid" "the UUID of swap space"
        "mkswap -U UUID"
    "lvm-uuid" "UUIDs and times of LVM2"
        "pvcreate -u UUID --norestorefile; vgcfgrestore of one backup"
    "luks-uuid" "the UUID, salts and keys of LUKS"
        "cryptsetup luksFormat --uuid UUID; keys and salts stay random: encrypt after the image is built"
    "verity-salt" "the UUID and salt of dm-verity, and so all of its hashes"
        "veritysetup format --salt HEX --uuid UUID"

    "file-times" "times of files"
        "SOURCE_DATE_EPOCH, tar --mtime=@SECONDS, or touch -d @SECONDS before the image is made"
    "allocation-order" "where files and their inodes lie: the same ones, at other places"
        "one writer that takes files in the order of their names: mke2fs -d of a sorted tar, one build at a time; what really differs moves the others even so"
    "stale-inodes" "what deleted files left in tables of inodes"
        "fill it by mke2fs -d or mkfs.xfs -p, without a mount"
    "free-litter" "what deleted files and older records left in free blocks"
        "pack it without its free blocks, or zerofree IMAGE where it is ext"

    "file-machine-id" "the id of the machine"
        "truncate /etc/machine-id as the last step"
    "file-host-keys" "host keys of SSH"
        "rm /etc/ssh/ssh_host_* as the last step"
    "file-random-seed" "seeds of random numbers"
        "rm /var/lib/systemd/random-seed and the loader's random-seed as the last step"
    "file-ldconfig" "the cache of ldconfig: times and numbers of the same libraries"
        "rm /var/cache/ldconfig/aux-cache as the last step"
    "file-bytecode" "bytecode of Python: the time of a program that is the same, or whether it was compiled"
        "PYTHONDONTWRITEBYTECODE=1, or py_compile --invalidation-mode unchecked-hash"
    "file-log" "files below /var/log, where programs write as they run"
        "find /var/log -type f -delete as the last step"
    "file-package-lists" "lists, caches and histories of package managers"
        "apt-get clean && rm -r /var/lib/apt/lists/*; dnf clean all; rm /var/lib/dnf/history*"
    "file-rpm-database" "the database of rpm: times of installation, and the order of the same packages"
        "SOURCE_DATE_EPOCH with rpm 4.20 or later; rpmdb --rebuilddb"
    "file-initramfs" "the initramfs: times, numbers and order of the same files"
        "SOURCE_DATE_EPOCH for mkinitramfs and dracut --reproducible"
    "file-cloud-init" "what cloud-init keeps of the machines that it ran on"
        "cloud-init clean --logs as the last step"
    "file-font-cache" "caches of the same fonts, with the time of their folder"
        "rm -r /var/cache/fontconfig as the last step"
    "file-index" "indexes of manuals, icons, schemas and messages that do not really differ themselves"
        "rm -r /var/cache/man /var/lib/systemd/catalog/database and icon-theme.cache as the last step"
    "file-backup" "copies of tables of accounts and of debconf's answers, from before their last change"
        "rm /etc/passwd- /etc/shadow- /etc/group- /etc/gshadow- /var/cache/debconf/*-old as the last step"
}

/// Returns a cause by its name.
///
/// # Panics
///
/// If there is none: names come from this room.
#[must_use]
pub fn cause(id: &str) -> &'static Reason {
    CAUSES.iter().find(|cause| cause.id == id).expect("a cause of the table")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_name_of_its_own_and_a_fix() {
        for (number, cause) in CAUSES.iter().enumerate() {
            assert!(CAUSES[..number].iter().all(|it| it.id != cause.id), "{}", cause.id);
            assert!(!cause.fix.is_empty() && !cause.text.ends_with('.'), "{}", cause.id);
        }
    }
}
