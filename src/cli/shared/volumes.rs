//! Arguments that several commands take: an image, states, threads, formats.
#![allow(clippy::doc_markdown, reason = "these comments are the help, where marks would show")]

use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;

use crate::chunking::States;
use crate::error::Error;
use crate::error::Result;
use crate::format;
use crate::format::FORMATS;
use crate::format::Format;
use crate::format::WRITERS;
use crate::format::Writer;
use crate::format::gate::Gate;
use crate::ops::ImageRequest;
use crate::work::default_threads;
use clap::Args;
use clap::ValueEnum;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use clap::builder::ValueParser;
/// An image to be read.
#[derive(Debug, Args)]
pub(super) struct Image {
    /// The image; - for standard input
    #[arg(value_name = "IMAGE")]
    path: PathBuf,

    /// Format of the image [default: what its bytes say]
    #[arg(long, value_parser = formats())]
    format: Option<&'static Format>,

    /// A further part of a split Android sparse set, in order
    #[arg(long = "part", value_name = "FILE")]
    parts: Vec<PathBuf>,

    /// A bmap, or the output of `qemu-img map --output=json`, that tells data from holes
    #[arg(long, value_name = "FILE")]
    extents: Option<PathBuf>,

    /// Open a file that the image names (a backing file, an extent), if it lies in the same folder
    #[arg(long)]
    backing: bool,

    /// The file that the image names, wherever it lies; again for the next one below
    #[arg(long = "parent", value_name = "FILE")]
    parents: Vec<PathBuf>,

    /// Read the image although another process writes to it, or it says that it may be damaged
    #[arg(long)]
    pub(super) force: bool,
}

impl Image {
    pub(super) fn request(&self) -> ImageRequest {
        ImageRequest {
            path: self.path.clone(),
            parts: self.parts.clone(),
            format: self.format,
            extents: self.extents.clone(),
            gate: Gate { beside: self.backing, parents: self.parents.clone() },
            force: self.force,
        }
    }
}

/// How two images are opened.
#[derive(Debug, Args)]
pub(super) struct Pair {
    /// Format of both images; given twice, of one each [default: what their bytes say]
    #[arg(long = "input-format", value_name = "FORMAT", value_parser = formats())]
    formats: Vec<&'static Format>,

    /// Open files that the images name, if they lie in the same folder
    #[arg(long)]
    backing: bool,

    /// Read the images although another process writes to them, or they say that they may be damaged
    #[arg(long)]
    force: bool,
}

impl Pair {
    /// Asks for two images.
    pub(super) fn requests(&self, paths: [&PathBuf; 2]) -> Result<[ImageRequest; 2]> {
        let formats = match self.formats[..] {
            [] => [None, None],
            [both] => [Some(both), Some(both)],
            [one, other] => [Some(one), Some(other)],
            _ => {
                let text =
                    "--input-format is given more than twice, expected it once for each image";
                return Err(Error::invalid(text));
            }
        };
        let [one, other] = paths;
        Ok([(one, formats[0]), (other, formats[1])].map(|(path, format)| ImageRequest {
            format,
            gate: Gate { beside: self.backing, parents: Vec::new() },
            force: self.force,
            ..ImageRequest::of(path)
        }))
    }
}

/// What is done about states.
#[derive(Debug, Args)]
pub(super) struct StateArgs {
    /// Record holes as what they are, or as zeros that somebody wrote
    #[arg(long, default_value = "keep", value_name = "STATE")]
    holes: Holes,

    /// Record written zeros as what they are, or as holes: unsafe on encrypted volumes
    #[arg(long, default_value = "keep", value_name = "STATE")]
    zeros: Zeros,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Holes {
    Keep,
    Zero,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Zeros {
    Keep,
    Hole,
}

impl StateArgs {
    pub(super) fn states(&self) -> States {
        States {
            holes_as_zeros: self.holes == Holes::Zero,
            zeros_as_holes: self.zeros == Zeros::Hole,
        }
    }
}

/// How many threads work.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Threads {
    /// Threads to work on; the output is the same at any number [default: one a processor]
    #[arg(long, value_parser = parse_threads)]
    threads: Option<NonZero<usize>>,
}

impl Threads {
    pub(super) fn count(self) -> NonZero<usize> {
        self.threads.unwrap_or_else(default_threads)
    }
}

/// Takes the values of one of EC2's own types, and shows them in the help.
pub(super) fn values<T>(names: &'static [&'static str]) -> ValueParser
where
    T: std::str::FromStr + Clone + Send + Sync + 'static,
    T::Err: std::error::Error + Send + Sync,
{
    PossibleValuesParser::new(names).try_map(|name| name.parse::<T>()).into()
}

/// Takes the names of formats that can be read.
pub(super) fn formats() -> ValueParser {
    let names: Vec<&'static str> = FORMATS.iter().map(|format| format.name).collect();
    PossibleValuesParser::new(names).try_map(|name| format::by_name(&name)).into()
}

/// Takes the names of formats that can be written.
pub(super) fn written_formats() -> ValueParser {
    let names: Vec<&'static str> = WRITERS.iter().map(|writer| writer.name).collect();
    PossibleValuesParser::new(names).try_map(|name| format::writer_by_name(&name)).into()
}

/// Returns the format that is named, else the one that the output's name says, else raw.
pub(super) fn format_of(named: Option<&'static Writer>, output: &Path) -> &'static Writer {
    named.or_else(|| format::writer_by_file_name(output).ok()).unwrap_or(&format::raw::WRITER)
}

/// Most threads: each takes memory, and no machine has more processors.
const MOST_THREADS: usize = 1024;

fn parse_threads(text: &str) -> Result<NonZero<usize>, String> {
    let count = text.parse().ok().filter(|count: &NonZero<usize>| count.get() <= MOST_THREADS);
    count.ok_or_else(|| format!("expected 1 to {MOST_THREADS}"))
}

pub(super) fn parse_mapping(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((device, image)) if !device.is_empty() && !image.is_empty() => {
            Ok((device.to_owned(), PathBuf::from(image)))
        }
        _ => Err("expected a device, = and an image, as in /dev/sdf=data.raw".to_owned()),
    }
}
