//! A part of a volume, for a volume that many machines snapshot or pack: docs/formats/parts.md.

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::RwLock;

use crate::bundle::VolumeConfig;
use crate::bundle::VolumeWriter;
use crate::bundle::Writer;
use crate::chunking;
use crate::chunking::Sink;
use crate::chunking::Source;
use crate::chunking::States;
use crate::chunking::Store;
use crate::compress::zstd_version;
use crate::digest::Digest;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::error::Setting;
use crate::io::OutputFile;
use crate::io::WriteAt;
use crate::io::unwritten;
use crate::manifest::PART_HEADER_SIZE;
use crate::manifest::Part;
use crate::manifest::Summary;
use crate::ops::shared::groups::Groups;
use crate::ops::shared::manifest::write_manifest;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::open;
use crate::ops::shared::outside::check_apart;
use crate::ops::shared::outside::check_outside;
use crate::ops::shared::parts::BlockSpan;
use crate::ops::shared::parts::VolumePartReport;
use crate::ops::shared::parts::fingerprint;
use crate::ops::shared::parts::options;
use crate::ops::shared::report::SnapshotReport;
use crate::pack::Region;
use crate::pack::Stored;
use crate::units::BLOCK_SIZE;
use crate::units::BlockIndex;
use crate::units::ExtentKind;
use crate::units::ebs_gib;
use crate::volume::Window;
use crate::work::Watch;
use crate::work::default_threads;

/// How the chunks of a part are stored.
#[derive(Clone, Copy, Debug)]
pub struct Stores {
    /// How they are compressed. There must be a region.
    pub groups: Groups,
    /// Bytes at which packs are closed.
    pub pack_size: u64,
}

/// A part that is wanted.
#[derive(Clone, Debug)]
pub struct PartRequest {
    /// The whole volume.
    pub image: VolumeRequest,
    /// Which blocks of it.
    pub blocks: BlockSpan,
    /// Where the part goes.
    pub output: PathBuf,
    /// Threads to work on.
    pub threads: NonZero<usize>,
    /// What is done about states.
    pub states: States,
    /// How chunks are stored; a manifest alone is made otherwise.
    pub stores: Option<Stores>,
}

impl PartRequest {
    /// Asks for the manifest of blocks of a volume, states kept, with all processors.
    #[must_use]
    pub fn new(image: VolumeRequest, blocks: BlockSpan, output: impl Into<PathBuf>) -> Self {
        Self {
            image,
            blocks,
            output: output.into(),
            threads: default_threads(),
            states: States::default(),
            stores: None,
        }
    }
}

/// Makes a part of a volume.
///
/// # Errors
///
/// `Invalid` if the volume does not have the blocks, or they are not those of whole regions; as [`open`] and
/// [`crate::chunking::run`]; `Io` if the part cannot be written.
pub fn part(request: &PartRequest, watch: &dyn Watch) -> Result<VolumePartReport> {
    let image = &request.image;
    if image.is_standard_input() {
        let text = "standard input comes in order, expected a volume that can be read at any place";
        return Err(Error::invalid(text));
    }
    let opened = open(image, watch)?;
    let volume = opened.volume();
    let made = || {
        let blocks = request.blocks.within(volume.size())?;
        let free = image.free.map(|record| record.to_string());
        let mut words = options(
            if request.stores.is_some() { "pack" } else { "snapshot" },
            request.states,
            free,
        );
        if let Some(stores) = &request.stores {
            words = format!("{words} {}", stores.check(&blocks, volume.size())?);
        }
        let part = Part {
            volume_size: volume.size(),
            first_block: blocks.start,
            block_count: blocks.end.strict_sub(blocks.start),
            volume: fingerprint(volume)?,
            options: words,
        };
        let start = BlockIndex(blocks.start).offset();
        let window = Window::new(volume, start..start.strict_add(part.size()));
        watch.begin(Some(part.size()));
        let summary = if let Some(stores) = &request.stores {
            request.pack(&part, &window, stores, watch)?
        } else {
            check_apart(&request.output, opened.opened().inputs())?;
            request.snapshot(&part, &window, watch)?
        };
        Ok((part, summary))
    };
    check_outside(&request.output, [image.image.path.as_path()])?;
    let (part, summary) =
        made().map_err(|error| image.fail(error)).map_err(unwritten(&request.output))?;
    let free = image.free.map(|record| record.to_string());
    let notes = opened.opened().notes();
    let snapshot = SnapshotReport { free, notes, ..SnapshotReport::new(&summary) };
    Ok(VolumePartReport::new(part, snapshot))
}

impl Stores {
    /// Checks that a part has whole regions, and returns its options as words.
    fn check(&self, blocks: &std::ops::Range<u32>, size: u64) -> Result<String> {
        let Groups { size: group, region, .. } = self.groups;
        let Some(region_len) = region else {
            let text = "parts of a volume are packed in regions, and none are given";
            let advice = Advice::Give { setting: Setting::Region, example: "1GiB".into() };
            return Err(Error::invalid(text).advise(advice));
        };
        self.groups.check()?;
        let region = self.groups.region_blocks()?;
        let ends = u64::from(blocks.end).strict_mul(BLOCK_SIZE) >= size;
        let is_edge = |at: u32| at.is_multiple_of(region);
        if !is_edge(blocks.start) || !(ends || is_edge(blocks.end)) {
            let (first, end) = (blocks.start, blocks.end);
            return Err(Error::invalid(format!(
                "blocks {first}..{end} are not whole regions, expected multiples of {region}"
            )));
        }
        let (level, pack_size, zstd) = (self.groups.level(false), self.pack_size, zstd_version());
        Ok(format!(
            "region={region_len} group={group} level={level} pack-size={pack_size} zstd={zstd}"
        ))
    }
}

impl PartRequest {
    fn snapshot(&self, part: &Part, window: &Window<'_>, watch: &dyn Watch) -> Result<Summary> {
        OutputFile::create(&self.output)?.finish(|output| {
            part.write_header(output)?;
            let behind = Behind { output };
            let source = Source::Volume(window);
            write_manifest(source, &behind, self.states, self.threads, watch)
        })
    }

    fn pack(
        &self,
        part: &Part,
        window: &Window<'_>,
        stores: &Stores,
        watch: &dyn Watch,
    ) -> Result<Summary> {
        let mut writer = Writer::create(&self.output, stores.pack_size, watch)?;
        if writer.is_into_store() {
            let text =
                "a part of a volume is not a snapshot of its own, expected a bundle and no store";
            return Err(Error::invalid(text).in_file(&self.output));
        }
        let known = RwLock::default();
        let region_blocks = stores.groups.region_blocks()?;
        let options = chunking::Options {
            threads: stores.groups.threads(self.threads),
            watch,
            states: self.states,
            store: Some(Store {
                level: stores.groups.level(false),
                group_chunks: stores.groups.chunks()?,
                region_blocks,
                known: &known,
                patcher: None,
            }),
        };
        let scratch = writer.scratch()?;
        let mut volume = writer.volume(&scratch, None);
        volume.record_free(self.image.free);
        volume.record_part(part.clone());
        let first_region = part.first_block.strict_div(region_blocks);
        let mut sink = PartSink { volume, first_region };
        let size = chunking::run(Source::Volume(window), &options, &mut sink)?;
        let written = sink.volume.finish(crate::bundle::VOLUME_DEVICE, size)?;
        let config = VolumeConfig {
            snapshot_digest: Some(written.summary.root),
            volume_size: ebs_gib(size),
            description: None,
        };
        let name = format!("blocks-{}-{}", part.first_block, part.end());
        writer.finish_bare(&config, &name, watch)?;
        Ok(written.summary)
    }
}

/// A part's blocks on their way into a bundle: its regions have the numbers that they have in the whole volume.
struct PartSink<'a> {
    volume: VolumeWriter<'a>,
    first_region: u32,
}

impl Sink for PartSink<'_> {
    fn run(&mut self, kind: ExtentKind, count: u32) -> Result<()> {
        self.volume.run(kind, count)
    }

    fn data(&mut self, id: Digest) -> Result<()> {
        self.volume.data(id)
    }

    fn store(&mut self, region: Region, group: Stored<'_>) -> Result<()> {
        // A volume has at most 2^17 regions.
        let number = region.number.strict_add(self.first_region);
        self.volume.store(Region { number, ..region }, group)
    }
}

/// An output, from behind the header of a part on.
struct Behind<'a> {
    output: &'a OutputFile,
}

impl WriteAt for Behind<'_> {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.output.write_all_at(bytes, offset.strict_add(PART_HEADER_SIZE))
    }

    fn make_hole_at(&self, len: u64, offset: u64) -> Result<()> {
        self.output.make_hole_at(len, offset.strict_add(PART_HEADER_SIZE))
    }

    fn set_size(&self, size: u64) -> Result<()> {
        self.output.set_size(size.strict_add(PART_HEADER_SIZE))
    }
}
