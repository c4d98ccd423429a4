//! Volumes drawn as strips, as wide as the terminal.

use std::io;
use std::io::IsTerminal;
use std::io::Write;

use anstream::AutoStream;
use anstream::ColorChoice;

use crate::cli::shared::output::lost;
use crate::error::Result;
use crate::ops::ChangedRange;
use crate::ops::DiffReport;
use crate::picture::Cells;
use crate::picture::Ink;
use crate::picture::Shade;
use crate::picture::Tally;
use crate::picture::paint;
use crate::units::ExtentKind;
use crate::units::format_size;
use crate::volume::ReadVolume;
use crate::volume::extents;

/// Columns where there is no terminal and nobody says otherwise.
const USUAL_WIDTH: usize = 80;

/// Narrowest and widest strip.
const WIDTHS: std::ops::RangeInclusive<usize> = 20..=1000;

/// Returns the columns to draw in: those of the terminal, else `COLUMNS` of the environment, else 80.
fn width() -> usize {
    let stdout = io::stdout();
    let terminal = stdout.is_terminal().then(|| rustix::termios::tcgetwinsize(&stdout).ok());
    let terminal = terminal.flatten().map(|size| usize::from(size.ws_col)).filter(|it| *it > 0);
    let said = || std::env::var("COLUMNS").ok()?.parse().ok();
    terminal.or_else(said).unwrap_or(USUAL_WIDTH).clamp(*WIDTHS.start(), *WIDTHS.end())
}

/// Tells whether standard output takes colours, as `NO_COLOR` and `CLICOLOR_FORCE` may say.
fn coloured() -> bool {
    AutoStream::choice(&io::stdout()) != ColorChoice::Never
}

/// Draws a volume.
pub(in crate::cli) fn map(volume: &dyn ReadVolume, out: &mut dyn Write) -> Result<()> {
    let mut cells = Cells::<3>::new(volume.size(), width());
    let mut sums = [0_u64; 3];
    for extent in extents(volume) {
        let extent = extent?;
        let class = match extent.kind {
            ExtentKind::Data => 0,
            ExtentKind::Zero => 1,
            ExtentKind::Hole => 2,
        };
        sums[class] = sums[class].strict_add(extent.len());
        cells.add(extent.range, class);
    }
    let strip = shades(&cells, |bytes, size| match bytes {
        [0, 0, _] => (Shade::Nothing, Ink::Grey),
        [0, _, _] => (Shade::Haze, Ink::Green),
        [data, ..] => (Shade::Bar(*data, size), Ink::Blue),
    });
    draw(volume.size(), &strip, out).map_err(lost)?;
    let key = [
        (Shade::Bar(1, 1), Ink::Blue, "data"),
        (Shade::Haze, Ink::Green, "zero"),
        (Shade::Nothing, Ink::Grey, "hole"),
    ];
    let parts: Vec<String> = key
        .iter()
        .zip(sums)
        .map(|((shade, ink, name), bytes)| {
            format!("{} {name} {}", paint(&[(*shade, *ink)], coloured()), format_size(bytes))
        })
        .collect();
    writeln!(out, "{}", parts.join("   ")).map_err(lost)
}

/// Blocks that changed, as they are found.
#[derive(Debug, Default)]
pub(in crate::cli) struct Changes(Tally<4>);

/// How each way to change looks, and what it is called.
const WAYS: [(Ink, &str); 4] = [
    (Ink::Blue, "other data"),
    (Ink::Orange, "now data"),
    (Ink::Green, "now written zeros"),
    (Ink::Purple, "now a hole"),
];

impl Changes {
    pub(in crate::cli) fn add(&mut self, range: &ChangedRange) {
        let class = match (range.from, range.to) {
            ("data", "data") => 0,
            (_, "data") => 1,
            (_, "zero") => 2,
            _ => 3,
        };
        self.0.add(range.start_bytes..range.end_bytes, class);
    }

    /// Draws them, over the larger of both volumes.
    pub(in crate::cli) fn print(&self, report: &DiffReport, out: &mut dyn Write) -> io::Result<()> {
        let size = report.old_size_bytes.max(report.new_size_bytes);
        let strip = shades(&self.0.cells(size, width()), |bytes, size| {
            let all = bytes.iter().fold(0_u64, |sum, it| sum.saturating_add(*it));
            // The most bytes decide; of equals, the first way.
            let most = (0..bytes.len()).rev().max_by_key(|class| bytes[*class]).unwrap_or(0);
            match all {
                0 => (Shade::Nothing, Ink::Grey),
                all => (Shade::Bar(all, size), WAYS[most].0),
            }
        });
        draw(size, &strip, out)?;
        if !coloured() {
            return Ok(());
        }
        let keys =
            WAYS.map(|(ink, name)| format!("{} {name}", paint(&[(Shade::Bar(1, 1), ink)], true)));
        writeln!(out, "{}", keys.join("   "))
    }
}

/// Returns how each cell looks, of its bytes in each class and its size.
fn shades<const CLASSES: usize>(
    cells: &Cells<CLASSES>,
    look: impl Fn(&[u64; CLASSES], u64) -> (Shade, Ink),
) -> Vec<(Shade, Ink)> {
    let size = |index| {
        let range = cells.range(index);
        range.end.strict_sub(range.start)
    };
    (0..cells.count()).map(|index| look(cells.bytes(index), size(index))).collect()
}

/// Prints a strip and, below it, where it begins and ends.
fn draw(size: u64, strip: &[(Shade, Ink)], out: &mut dyn Write) -> io::Result<()> {
    if strip.is_empty() {
        return Ok(());
    }
    writeln!(out, "{}", paint(strip, coloured()))?;
    let end = format_size(size);
    writeln!(out, "0{end:>width$}", width = strip.len().saturating_sub(1).max(end.len()).max(1))
}
