//! From volumes to an archive: each is written as a streamOptimized disk where it stays, and what must
//! be known of it stands in front.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::digest::Algorithm;
use crate::digest::Hasher;
use crate::error::Result;
use crate::format::ova::descriptor::NewDisk;
use crate::format::ova::descriptor::encode;
use crate::format::vmdk;
use crate::format::writer::WriteOptions;
use crate::io::WriteAt;
use crate::tar::layout;
use crate::tar::layout::RECORD_SIZE;
use crate::volume::ReadVolume;

/// What all files of an archive are called before their suffix: nothing depends on the output's name.
const NAME: &str = "image";

/// Bytes that are read back at once for a digest.
const PIECE_LEN: usize = 1 << 20;

/// Zeros behind the last member.
const END_LEN: u64 = 2 * RECORD_SIZE;

/// Writes volumes as an archive.
///
/// # Errors
///
/// As [`vmdk::write_stream`]; `Invalid` if the sink cannot be read back.
pub fn write_all(
    volumes: &[&dyn ReadVolume],
    sink: &dyn WriteAt,
    options: &WriteOptions<'_>,
) -> Result<()> {
    let mut disks: Vec<NewDisk> = (1_u32..)
        .zip(volumes)
        .map(|(number, volume)| NewDisk {
            href: format!("{NAME}-disk{number}.vmdk"),
            file_len: 0,
            capacity: volume.size().next_multiple_of(vmdk::STREAM_WRITER.size_grain),
        })
        .collect();
    // Neither text's length depends on what is in the disks.
    let descriptor_len = len_of(encode(&disks).as_bytes());
    let digests_len =
        len_of(digests(&disks, &vec!["0".repeat(64); disks.len().strict_add(1)]).as_bytes());
    let digests_at = after(0, descriptor_len);
    let mut at = after(digests_at, digests_len);
    let mut hashes = vec![String::new()];
    for (disk, volume) in disks.iter_mut().zip(volumes) {
        let section = Section { sink, start: at.strict_add(RECORD_SIZE), len: AtomicU64::new(0) };
        vmdk::write_stream(*volume, &section, options)?;
        disk.file_len = section.len.into_inner();
        hashes.push(hash(sink, section.start, disk.file_len)?);
        sink.write_all_at(&layout::encode(&disk.href, disk.file_len), at)?;
        at = after(at, disk.file_len);
    }
    let descriptor = encode(&disks);
    let mut sha = Hasher::new(Algorithm::Sha256);
    sha.update(descriptor.as_bytes());
    hashes[0] = sha.finish_hex();
    file(sink, 0, &format!("{NAME}.ovf"), &descriptor)?;
    file(sink, digests_at, &format!("{NAME}.mf"), &digests(&disks, &hashes))?;
    sink.write_zeros_at(END_LEN, at)?;
    sink.set_size(at.strict_add(END_LEN))
}

fn len_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("memory is under 2^64 bytes")
}

/// Returns where the next header stands after a member of `len` bytes whose header is at `at`.
fn after(at: u64, len: u64) -> u64 {
    at.strict_add(RECORD_SIZE).strict_add(len).next_multiple_of(RECORD_SIZE)
}

/// Writes the digests: that of the descriptor, then those of the disks.
fn digests(disks: &[NewDisk], hashes: &[String]) -> String {
    let names = disks.iter().map(|disk| disk.href.clone());
    let lines: Vec<_> = std::iter::once(format!("{NAME}.ovf"))
        .chain(names)
        .zip(hashes)
        .map(|(name, hash)| format!("SHA256({name})= {hash}\n"))
        .collect();
    lines.concat()
}

/// Writes a small member.
fn file(sink: &dyn WriteAt, at: u64, name: &str, text: &str) -> Result<()> {
    let len = len_of(text.as_bytes());
    let mut bytes = layout::encode(name, len).to_vec();
    bytes.extend(text.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(layout::RECORD_LEN), 0);
    sink.write_all_at(&bytes, at)
}

/// Reads a disk back for its digest: its first bytes were written last.
fn hash(sink: &dyn WriteAt, start: u64, len: u64) -> Result<String> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut piece = vec![0; PIECE_LEN];
    let mut done = 0;
    while done < len {
        let rest = usize::try_from(len.strict_sub(done)).unwrap_or(PIECE_LEN);
        let piece = &mut piece[..rest.min(PIECE_LEN)];
        sink.read_back_at(piece, start.strict_add(done))?;
        hasher.update(piece);
        done = done.strict_add(len_of(piece));
    }
    Ok(hasher.finish_hex())
}

/// A member that is being written as if it were a file of its own.
struct Section<'a> {
    sink: &'a dyn WriteAt,
    start: u64,
    len: AtomicU64,
}

impl WriteAt for Section<'_> {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.sink.write_all_at(bytes, self.start.strict_add(offset))
    }

    fn write_zeros_at(&self, len: u64, offset: u64) -> Result<()> {
        self.sink.write_zeros_at(len, self.start.strict_add(offset))
    }

    fn make_hole_at(&self, len: u64, offset: u64) -> Result<()> {
        self.sink.make_hole_at(len, self.start.strict_add(offset))
    }

    fn set_size(&self, size: u64) -> Result<()> {
        self.len.store(size, Ordering::Relaxed);
        Ok(())
    }
}
