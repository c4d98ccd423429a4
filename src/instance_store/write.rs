//! Making a bundle: a volume to an encrypted archive in parts, and the manifest over it.
//!
//! The calling thread reads the tar stream and hashes it, others deflate its pieces, and the calling
//! thread encrypts, cuts and writes them in order.

use std::num::NonZero;
use std::ops::Range;

use crate::compress::GZIP_HEADER;
use crate::compress::GzipPacker;
use crate::compress::GzipPiece;
use crate::compress::GzipSum;
use crate::digest::Algorithm;
use crate::digest::Hasher;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::instance_store::cipher::Encryptor;
use crate::instance_store::fault::MAX_IMAGE_SIZE;
use crate::instance_store::keys::Certificate;
use crate::instance_store::keys::PrivateKey;
use crate::instance_store::keys::Randomness;
use crate::instance_store::keys::Secret;
use crate::instance_store::manifest::Bundler;
use crate::instance_store::manifest::Machine;
use crate::instance_store::manifest::Manifest;
use crate::instance_store::manifest::PartEntry;
use crate::instance_store::manifest::Version;
use crate::io::OutputDir;
use crate::io::OutputFile;
use crate::io::READ_PIECE_LEN;
use crate::io::WriteAt;
use crate::tar::MAX_NAME_LEN;
use crate::tar::align;
use crate::tar::end_len;
use crate::tar::sparse_header;
use crate::tar::stored_len;
use crate::units::ExtentKind;
use crate::volume::MAX_RUNS;
use crate::volume::ReadVolume;
use crate::volume::extents;
use crate::work::Buffers;
use crate::work::Watch;
use crate::work::in_order;

/// Bytes of a part: EC2 takes no other.
pub const PART_LEN: u64 = 10 << 20;

/// Bytes of the tar stream that are deflated alone.
const PIECE_LEN: usize = 1 << 20;

/// Most characters of any other text in a manifest.
const MAX_TEXT_LEN: usize = 1024;

/// What a bundle is to be.
#[derive(Clone, Debug)]
pub struct Description {
    /// Its name: of the manifest, the parts, and the file in the archive.
    pub name: String,
    /// Account: 12 digits.
    pub user: String,
    /// What EC2 makes of it.
    pub machine: Machine,
}

/// Who may open the bundle, and who signs it.
#[derive(Debug)]
pub struct Keys {
    /// Signs.
    pub private: PrivateKey,
    /// The same user's certificate.
    pub user: Certificate,
    /// EC2's certificate.
    pub ec2: Certificate,
}

/// How a bundle is made.
#[derive(Clone, Copy)]
pub struct MakeOptions<'a> {
    /// Level of gzip.
    pub level: u32,
    /// Threads that deflate.
    pub threads: NonZero<usize>,
    /// The follower of the run; told of the bytes of the volume.
    pub watch: &'a dyn Watch,
}

impl std::fmt::Debug for MakeOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MakeOptions").field("level", &self.level).finish_non_exhaustive()
    }
}

/// Makes a name of a bundle that means nothing to a shell, of any text.
#[must_use]
pub fn shell_safe(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = name.chars().map(plain).collect();
    // What begins with a dash is an option, and with a dot hidden.
    let name = name.trim_start_matches(['.', '-']);
    let name = name.get(..MAX_NAME_LEN).unwrap_or(name);
    if name.is_empty() { "image".to_owned() } else { name.to_owned() }
}

impl Description {
    /// Checks the description, and puts it into the order that the format has.
    ///
    /// # Errors
    ///
    /// `Invalid`: says what is wrong.
    pub fn check(&mut self) -> Result<()> {
        if shell_safe(&self.name) != self.name {
            return Err(Error::invalid(format!(
                "the bundle's name is {:?}, expected 1 to {MAX_NAME_LEN} letters, digits, dots, dashes and \
                 underscores, the first not a dot or dash: Amazon's ec2-unbundle puts names of parts into a \
                 shell command unquoted",
                self.name
            )));
        }
        self.user.retain(|c| c != '-');
        if self.user.len() != 12 || !self.user.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Error::invalid(format!(
                "the account is {:?}, expected 12 digits",
                self.user
            )));
        }
        let machine = &mut self.machine;
        machine.block_device_mapping.sort();
        let names: Vec<&str> =
            machine.block_device_mapping.iter().map(|it| it.virtual_name.as_str()).collect();
        if let Some([name, _]) = names.array_windows().find(|[one, next]| one == next) {
            return Err(Error::invalid(format!("{name} is mapped to two devices")));
        }
        let devices = machine.block_device_mapping.iter().map(|it| &it.device);
        let texts = [&machine.architecture].into_iter().chain(devices);
        let texts = texts.chain(&machine.kernel_id).chain(&machine.ramdisk_id);
        let texts = texts.chain(&machine.product_codes).map(String::as_str).chain(names);
        for text in texts {
            let graphic = text.chars().all(|c| c.is_ascii_graphic());
            if text.is_empty() || text.len() > MAX_TEXT_LEN || !graphic {
                let what = "expected printable ASCII without blanks";
                return Err(Error::invalid(format!("a value is {text:?}, {what}")));
            }
        }
        Ok(())
    }
}

/// Makes a bundle of a volume in `folder`, and returns its manifest. Syncing and naming the folder is
/// the caller's; so is `check_unchanged` of the volume.
///
/// # Errors
///
/// `Limit` for a volume over 10 GiB, or one of too many extents; `Invalid` for a description or keys
/// that do not fit; as [`ReadVolume::read_at`]; `Io` if the folder cannot be written.
pub fn make(
    volume: &dyn ReadVolume,
    folder: &OutputDir,
    mut description: Description,
    keys: &Keys,
    random: &mut dyn Randomness,
    options: &MakeOptions<'_>,
) -> Result<Manifest> {
    description.check()?;
    keys.private.check_pair(&keys.user)?;
    if volume.size() > MAX_IMAGE_SIZE {
        let text = format!("the volume has {} bytes, expected at most 10 GiB", volume.size());
        let advice = "that is EC2's limit for instance store; an EBS-backed AMI can have 64 TiB";
        return Err(Error::new(Kind::Limit, text).advise(advice));
    }
    let secret = Secret::random(random)?;
    let (key, iv) = secret.seal(&keys.ec2, &keys.user, random)?;
    let mut stream = TarStream::new(&description.name, volume)?;
    // Holes are settled before the first byte is read.
    options.watch.advance(volume.size().strict_sub(stream.stored));
    let mut parts = Parts::new(folder, &secret);
    drop(secret);
    let mut sum = GzipSum::default();
    parts.write(&GZIP_HEADER)?;
    let buffers = Buffers::default();
    let jobs = std::iter::from_fn(|| stream.next_piece(buffers.take()).transpose());
    let work = |packer: &mut GzipPacker, piece: Vec<u8>| {
        let packed = packer.pack(&piece);
        let len = piece.len();
        buffers.give(piece);
        Ok((packed, len))
    };
    let state = || GzipPacker::new(options.level);
    let commit = |(packed, len): (GzipPiece, usize)| {
        sum.add(&packed, len);
        options.watch.advance(u64::try_from(len).expect("a length"));
        parts.write(&packed.packed)
    };
    in_order(options.threads, options.watch, jobs, state, work, commit)?;
    let digest = stream.hasher.finish_hex();
    parts.write(&sum.finish())?;
    let (parts, bundled_size) = parts.finish(&description.name)?;
    let manifest = Manifest {
        version: Version::V20071010,
        bundler: Some(Bundler {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            release: "0".to_owned(),
        }),
        machine: description.machine,
        name: description.name,
        user: description.user,
        image_type: "machine".to_owned(),
        kernel_name: None,
        ancestry: Vec::new(),
        digest,
        size: volume.size(),
        bundled_size,
        key,
        iv,
        parts,
        signature: None,
    };
    let text = manifest.write(|signed| keys.private.sign(signed, random))?;
    folder.write(&format!("{}.manifest.xml", manifest.name), text.as_bytes())?;
    Ok(manifest)
}

/// The tar stream of a volume, in pieces.
struct TarStream<'a> {
    volume: &'a dyn ReadVolume,
    header: Vec<u8>,
    data: std::vec::IntoIter<Range<u64>>,
    /// What is left of the data that is being read.
    current: Range<u64>,
    /// Zeros that are still to come behind all data.
    end: u64,
    /// Bytes of all data.
    stored: u64,
    hasher: Hasher,
}

impl<'a> TarStream<'a> {
    fn new(name: &str, volume: &'a dyn ReadVolume) -> Result<Self> {
        let mut written = Vec::new();
        for extent in extents(volume) {
            let extent = extent?;
            if extent.kind == ExtentKind::Hole {
                continue;
            }
            written.push(extent.range);
            if written.len() > MAX_RUNS {
                let text = format!("the volume has over {MAX_RUNS} extents");
                return Err(Error::new(Kind::Limit, text));
            }
        }
        let data = align(written, volume.size());
        let header = sparse_header(name, volume.size(), &data);
        let stored = stored_len(&data);
        let len = u64::try_from(header.len()).expect("a length").strict_add(stored);
        let (data, end) = (data.into_iter(), end_len(len));
        let hasher = Hasher::new(Algorithm::Sha1);
        Ok(Self { volume, header, data, current: 0..0, end, stored, hasher })
    }

    /// Fills `buffer` with the next bytes; `None` at the end.
    fn next_piece(&mut self, mut buffer: Vec<u8>) -> Result<Option<Vec<u8>>> {
        let head = self.header.len().min(PIECE_LEN);
        buffer.extend(self.header.drain(..head));
        while buffer.len() < PIECE_LEN {
            if self.current.is_empty() {
                let Some(next) = self.data.next() else { break };
                self.current = next;
            }
            let left = self.current.end.strict_sub(self.current.start);
            let room = PIECE_LEN.strict_sub(buffer.len()).min(READ_PIECE_LEN);
            let take = usize::try_from(left).unwrap_or(room).min(room);
            let start = buffer.len();
            buffer.resize(start.strict_add(take), 0);
            self.volume.read_at(self.current.start, &mut buffer[start..])?;
            let taken = u64::try_from(take).expect("a length");
            self.current.start = self.current.start.strict_add(taken);
        }
        let room = u64::try_from(PIECE_LEN.strict_sub(buffer.len())).expect("a length");
        let zeros = self.end.min(room);
        self.end = self.end.strict_sub(zeros);
        let len = buffer.len().strict_add(usize::try_from(zeros).expect("at most a piece"));
        buffer.resize(len, 0);
        self.hasher.update(&buffer);
        Ok((!buffer.is_empty()).then_some(buffer))
    }
}

/// The parts, as they are encrypted and cut.
struct Parts<'a> {
    encryptor: Encryptor,
    cutter: Cutter<'a>,
}

impl<'a> Parts<'a> {
    fn new(folder: &'a OutputDir, secret: &Secret) -> Self {
        let cutter = Cutter { folder, open: None, done: Vec::new(), total: 0 };
        Self { encryptor: Encryptor::new(secret), cutter }
    }

    /// Encrypts plain bytes and writes what that makes.
    fn write(&mut self, plain: &[u8]) -> Result<()> {
        self.cutter.put(&self.encryptor.update(plain))
    }

    /// Encrypts the padding and names the parts.
    fn finish(mut self, name: &str) -> Result<(Vec<PartEntry>, u64)> {
        self.cutter.put(&self.encryptor.finish())?;
        self.cutter.finish(name)
    }
}

/// Cuts encrypted bytes into files.
struct Cutter<'a> {
    folder: &'a OutputDir,
    /// The part that is being written, its digest so far and its length.
    open: Option<(OutputFile, Hasher, u64)>,
    /// Digests of the parts that are done.
    done: Vec<String>,
    total: u64,
}

impl Cutter<'_> {
    fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (file, mut hasher, len) = match self.open.take() {
                Some(open) => open,
                None => (self.folder.new_file()?, Hasher::new(Algorithm::Sha1), 0),
            };
            let room = usize::try_from(PART_LEN.strict_sub(len)).expect("10 MiB");
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            bytes = later;
            file.write_all_at(now, len)?;
            hasher.update(now);
            let now = u64::try_from(now.len()).expect("a length");
            self.total = self.total.strict_add(now);
            self.open = Some((file, hasher, len.strict_add(now)));
            if len.strict_add(now) == PART_LEN {
                self.close()?;
            }
        }
        Ok(())
    }

    /// Puts the part that is open into the folder, under its number.
    fn close(&mut self) -> Result<()> {
        if let Some((file, hasher, _)) = self.open.take() {
            self.folder.put(file, &temporary(self.done.len()))?;
            self.done.push(hasher.finish_hex());
        }
        Ok(())
    }

    /// Gives the parts their names, which have as many digits as the number of parts.
    fn finish(mut self, name: &str) -> Result<(Vec<PartEntry>, u64)> {
        self.close()?;
        let digits = self.done.len().to_string().len();
        let mut entries = Vec::with_capacity(self.done.len());
        for (index, sha1) in self.done.into_iter().enumerate() {
            let filename = format!("{name}.part.{index:0digits$}");
            self.folder.rename(&temporary(index), &filename)?;
            entries.push(PartEntry { filename, sha1 });
        }
        Ok((entries, self.total))
    }
}

/// What a part is called until it is known how many there are.
fn temporary(index: usize) -> String {
    format!(".{index}")
}
