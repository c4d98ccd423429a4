//! Options that several commands take and that concern no volume: states, threads, formats, levels.

use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use clap::ValueEnum;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use clap::builder::ValueParser;

use crate::bundle::FreePolicy;
use crate::bundle::FreeRecord;
use crate::chunking::States;
use crate::cli::shared::output::Output;
use crate::format;
use crate::format::FORMATS;
use crate::format::WRITERS;
use crate::format::Writer;
use crate::guest::RULES_VERSION;
use crate::lint::Audience;
use crate::ops::Groups;
use crate::pack::DEFAULT_LEVEL;
use crate::units::parse_size;
use crate::work::default_threads;

/// What is done about states.
#[derive(Debug, Args)]
pub(in crate::cli) struct StateArgs {
    /// Record holes as holes, or as written zeros
    #[arg(long, default_value = "keep", value_name = "STATE")]
    holes: Holes,

    /// Record written zeros as zeros, or as holes: unsafe on encrypted volumes
    #[arg(long, default_value = "keep", value_name = "STATE")]
    zeros: Zeros,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Holes {
    Keep,
    Zero,
}

/// What becomes of written zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Zeros {
    Keep,
    Hole,
}

/// What becomes of written zeros in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ImageZeros {
    /// They stay what they are, in formats that know them.
    Keep,
    /// Holes.
    Hole,
    /// Data like any other, for readers that do not know zeros.
    Data,
}

impl Zeros {
    /// Tells whether zeros become holes, and warns if they do.
    pub(in crate::cli) fn are_holes(self, output: Output) -> bool {
        let are_holes = self == Self::Hole;
        if are_holes {
            let note = "--zeros hole drops written zeros; on an encrypted volume those blocks \
                        read as garbage";
            output.notes(&[note.to_owned()]);
        }
        are_holes
    }
}

impl StateArgs {
    /// Returns what is to be done about states, and warns of what is unsafe.
    pub(in crate::cli) fn states(&self, output: Output) -> States {
        States {
            holes_as_zeros: self.holes == Holes::Zero,
            zeros_as_holes: self.zeros.are_holes(output),
        }
    }
}

/// For whom an AMI is.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(in crate::cli) struct AudienceArgs {
    /// For whom the AMI is: rules about files of the guest are stricter for others
    /// [default: what the recipe says, or private]
    #[arg(long = "for", value_name = "WHOM")]
    audience: Option<Whom>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Whom {
    Private,
    Shared,
    Marketplace,
}

impl AudienceArgs {
    /// Returns for whom the AMI is, if that was said.
    pub(in crate::cli) fn audience(self) -> Option<Audience> {
        self.audience.map(|it| match it {
            Whom::Private => Audience::Private,
            Whom::Shared => Audience::Shared,
            Whom::Marketplace => Audience::Marketplace,
        })
    }
}

/// What becomes of free blocks.
#[derive(Debug, Args)]
pub(in crate::cli) struct FreeArgs {
    /// Keep what free blocks of file systems hold, or leave it out: as written zeros, or as holes
    #[arg(long, default_value = "keep", value_name = "STATE")]
    free: Free,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Free {
    Keep,
    Zero,
    Hole,
}

impl FreeArgs {
    /// Returns what becomes of free blocks; none if they are kept.
    pub(in crate::cli) fn record(&self) -> Option<FreeRecord> {
        let policy = match self.free {
            Free::Keep => return None,
            Free::Zero => FreePolicy::Zero,
            Free::Hole => FreePolicy::Hole,
        };
        Some(FreeRecord { policy, rules: RULES_VERSION })
    }
}

/// How many threads work.
#[derive(Clone, Copy, Debug, Args)]
pub(in crate::cli) struct Threads {
    /// Threads to work on; the output is the same at any number [default: one a processor]
    #[arg(long, value_parser = parse_threads)]
    threads: Option<NonZero<usize>>,
}

impl Threads {
    pub(in crate::cli) fn count(self) -> NonZero<usize> {
        self.threads.unwrap_or_else(default_threads)
    }
}

/// The level of zstd.
#[derive(Clone, Copy, Debug, Args)]
pub(in crate::cli) struct Level {
    /// Compression level of zstd, 1 to 22
    #[arg(long, default_value_t = DEFAULT_LEVEL, allow_negative_numbers = true)]
    pub(in crate::cli) level: i32,
}

/// How chunks are compressed.
#[derive(Clone, Copy, Debug, Args)]
pub(in crate::cli) struct GroupArgs {
    /// Compression level of zstd, 1 to 22 [default: 2, or 3 over a base]
    #[arg(long, allow_negative_numbers = true)]
    level: Option<i32>,

    /// Compress so much of the volume together, 512KiB to 64MiB: more is smaller, less is faster to
    /// read at any place
    #[arg(long, default_value = "32MiB", value_parser = parse_size, value_name = "SIZE")]
    group: u64,
}

impl GroupArgs {
    /// Returns the groups of a volume that is packed in regions, or as a whole; warns if they take more
    /// memory than all threads may have.
    pub(in crate::cli) fn groups(
        self,
        region: Option<u64>,
        threads: Threads,
        output: Output,
    ) -> Groups {
        let groups = Groups { level: self.level, size: self.group, region };
        if groups.check().is_ok()
            && let Some(note) = groups.note(threads.count())
        {
            output.notes(&[note]);
        }
        groups
    }
}

/// The parts in which a volume is packed.
#[derive(Clone, Copy, Debug, Args)]
pub(in crate::cli) struct RegionArgs {
    /// Pack the volume in regions of this size, a multiple of 512MiB, that share no chunks
    #[arg(long, value_parser = parse_size, value_name = "SIZE")]
    pub(in crate::cli) region: Option<u64>,
}

/// How large packs become.
#[derive(Clone, Copy, Debug, Args)]
pub(in crate::cli) struct PackSize {
    /// Close a pack at this size, so that registries accept it
    #[arg(long, default_value = "1GiB", value_parser = parse_size, value_name = "SIZE")]
    pub(in crate::cli) pack_size: u64,
}

/// Takes the values of one of EC2's own types, and shows them in the help.
pub(in crate::cli) fn values<T>(names: &'static [&'static str]) -> ValueParser
where
    T: std::str::FromStr + Clone + Send + Sync + 'static,
    T::Err: std::error::Error + Send + Sync,
{
    PossibleValuesParser::new(names).try_map(|name| name.parse::<T>()).into()
}

/// Names the formats that can be read.
pub(in crate::cli) fn format_names() -> Vec<&'static str> {
    FORMATS.iter().map(|format| format.name).collect()
}

/// Names the formats that can be written.
pub(in crate::cli) fn written_names() -> Vec<&'static str> {
    WRITERS.iter().map(|writer| writer.name).collect()
}

/// Takes the names of formats that can be written.
pub(in crate::cli) fn written_formats() -> ValueParser {
    PossibleValuesParser::new(written_names()).try_map(|name| format::writer_by_name(&name)).into()
}

/// Returns the format that is named, else the one that the output's name says, else raw.
pub(in crate::cli) fn format_of(named: Option<&'static Writer>, output: &Path) -> &'static Writer {
    named.or_else(|| format::writer_by_file_name(output).ok()).unwrap_or(&format::raw::WRITER)
}

/// Most threads: each takes memory, and no machine has more processors.
const MOST_THREADS: usize = 1024;

fn parse_threads(text: &str) -> Result<NonZero<usize>, String> {
    let count = text.parse().ok().filter(|count: &NonZero<usize>| count.get() <= MOST_THREADS);
    count.ok_or_else(|| format!("expected 1 to {MOST_THREADS}"))
}

pub(in crate::cli) fn parse_mapping(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((device, image)) if !device.is_empty() && !image.is_empty() => {
            Ok((device.to_owned(), PathBuf::from(image)))
        }
        _ => Err("expected a device, = and an image, as in /dev/sdf=data.raw".to_owned()),
    }
}
