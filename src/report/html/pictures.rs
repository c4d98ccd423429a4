//! The partition bar, the map of blocks and the treemap, as SVG that needs no script.

use std::fmt::Write;

use crate::report::document::PartitionFacts;
use crate::report::document::Report;
use crate::report::html::page::Page;
use crate::report::html::page::bytes;
use crate::report::html::text::Text;
use crate::report::owners::ROOM;
use crate::report::owners::Tile;
use crate::report::places::Category;
use crate::report::places::Places;
use crate::report::places::shown;

/// Cells of a row of the map, and its most rows: below 100 KB, however they alternate.
const COLUMNS: usize = 128;
const MOST_ROWS: usize = 64;

/// Edge of a cell.
const CELL: usize = 8;

/// Width of the bar.
const BAR: u64 = 1600;

/// What a category is called.
pub(super) fn name(category: Category, is_delta: bool) -> &'static str {
    match (category, is_delta) {
        (Category::Hole, _) => "holes",
        (Category::Zero, _) => "written zeros",
        (Category::Data, true) => "data that did not change",
        (Category::Data, false) => "data",
        (Category::Files, _) => "files",
        (Category::Metadata, _) => "metadata and journals",
        (Category::Free, _) => "free, and stored",
        (Category::Boot, _) => "tables, boot code, swap",
        (Category::Other, true) => "other changes",
        (Category::Other, false) => "not known",
    }
}

/// Draws where the partitions lie.
pub(super) fn partitions(page: &mut Page<'_>, report: &Report) {
    let size = report.volume.size_bytes;
    let parts: Vec<&PartitionFacts> =
        report.partitions.iter().filter(|part| part.number.is_some()).collect();
    if parts.is_empty() || size == 0 {
        return;
    }
    page.raw("<section><h2>Partitions</h2>\n<svg viewBox=\"0 0 1600 64\" role=\"img\" aria-label=\"Where the partitions lie; the table below has the numbers\"><rect class=\"gap\" width=\"1600\" height=\"64\"/>");
    for (index, part) in parts.iter().enumerate().filter(|(_, it)| it.logical_volume.is_none()) {
        let x = along_bar(part.start_bytes, size);
        let end = along_bar(part.start_bytes.saturating_add(part.size_bytes), size);
        let width = end.strict_sub(x).max(3);
        let name = called(part);
        let colour = index.strict_rem(4);
        write!(
            page.out,
            "<g><title>{}, {} at {}</title><rect class=\"p{colour} t\" x=\"{x}\" width=\"{width}\" height=\"64\"/>",
            Text(&name),
            bytes(part.size_bytes),
            bytes(part.start_bytes)
        )
        .expect("a string takes all");
        label(page, &name, x.strict_add(10), 38, width.saturating_sub(20));
        page.raw("</g>");
    }
    page.raw("</svg></section>\n");
}

/// Returns what a partition is called.
pub(super) fn called(part: &PartitionFacts) -> String {
    let mut name = part.number.map_or("the volume".to_owned(), |number| number.to_string());
    let purpose = Some(part.purpose).filter(|it| *it != "other");
    let more =
        [part.logical_volume.as_deref(), part.file_system.or(purpose), part.mounted_at.as_deref()];
    for word in more.into_iter().flatten() {
        name.push(' ');
        name.push_str(word);
    }
    name
}

/// Writes a name if there is room for it; letters are about eleven wide.
fn label(page: &mut Page<'_>, name: &str, x: u64, y: u64, width: u64) {
    let fits = usize::try_from(width / 11).unwrap_or(usize::MAX);
    let count = name.chars().count();
    if fits < 2 || (count > fits && fits < 5) {
        return;
    }
    let shown: String = if count > fits {
        name.chars().take(fits.strict_sub(1)).chain(['…']).collect()
    } else {
        name.to_owned()
    };
    write!(page.out, "<text x=\"{x}\" y=\"{y}\">{}</text>", Text(&shown))
        .expect("a string takes all");
}

/// Draws the volume in address order.
pub(super) fn blocks(page: &mut Page<'_>, report: &Report, places: &Places) {
    let size = report.volume.size_bytes.max(report.older.as_ref().map_or(0, |it| it.size_bytes));
    if size == 0 {
        return;
    }
    // A cell is a page at least, and the last row is as full as it gets.
    let cells = usize::try_from(size.div_ceil(4096)).unwrap_or(usize::MAX);
    let cells = places.cells(size, cells.min(COLUMNS.strict_mul(MOST_ROWS)));
    let rows = cells.count().div_ceil(COLUMNS);
    let shown: Vec<Category> = (0..cells.count()).map(|index| shown(cells.bytes(index))).collect();
    let (width, height) = (COLUMNS.strict_mul(CELL), rows.strict_mul(CELL));
    let is_delta = report.older.is_some();
    page.raw("<section class=\"map\"><h2>Blocks</h2>\n");
    write!(
        page.out,
        "<p class=\"dim\">In address order, row by row; a cell is {}. A cell has the colour of its largest owner, even if most of it is empty.</p>\n\
         <svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"The volume in address order; the list below has the sums\">\
         <defs><pattern id=\"zero\" width=\"4\" height=\"4\" patternUnits=\"userSpaceOnUse\"><rect class=\"dots\" width=\"4\" height=\"4\"/><rect class=\"dot\" width=\"2\" height=\"2\"/></pattern></defs>",
        bytes(cells.range(0).end)
    )
    .expect("a string takes all");
    for category in Category::ALL.into_iter().skip(1) {
        let path = runs(&shown, category);
        if !path.is_empty() {
            write!(page.out, "<path class=\"c{}\" d=\"{path}\"/>", category.index())
                .expect("a string takes all");
        }
    }
    for row in 0..rows {
        let first = row.strict_mul(COLUMNS);
        let last = first.strict_add(COLUMNS).min(cells.count()).strict_sub(1);
        write!(
            page.out,
            "<rect class=\"over\" y=\"{}\" width=\"{width}\" height=\"{CELL}\"><title>{} to {}</title></rect>",
            row.strict_mul(CELL),
            bytes(cells.range(first).start),
            bytes(cells.range(last).end)
        )
        .expect("a string takes all");
    }
    page.raw("</svg>\n<ul class=\"key\" id=\"key\">");
    for category in Category::ALL {
        let sum = places.sums[category.index()];
        if sum == 0 {
            continue;
        }
        write!(
            page.out,
            "<li><svg viewBox=\"0 0 16 16\" aria-hidden=\"true\"><rect class=\"c{}\" width=\"16\" height=\"16\"/></svg>{}",
            category.index(),
            name(category, is_delta)
        )
        .expect("a string takes all");
        // Of what did not change, only what the whole volume has is known.
        if !is_delta || Category::ALL[..3].iter().all(|it| *it != category) {
            page.raw(" ");
            page.size("span", sum);
        }
        page.raw("</li>");
    }
    page.raw("</ul></section>\n");
}

/// Returns the path of all cells of one category.
fn runs(cells: &[Category], category: Category) -> String {
    let mut path = String::new();
    for (row, cells) in cells.chunks(COLUMNS).enumerate() {
        let mut at = 0;
        while at < cells.len() {
            let run = cells[at..].iter().take_while(|it| **it == category).count();
            if run > 0 {
                let (x, y, width) =
                    (at.strict_mul(CELL), row.strict_mul(CELL), run.strict_mul(CELL));
                write!(path, "M{x} {y}h{width}v{CELL}h-{width}z").expect("a string takes all");
            }
            at = at.strict_add(run.max(1));
        }
    }
    path
}

/// Draws who owns the bytes.
pub(super) fn owners(page: &mut Page<'_>, report: &Report, tiles: &[Tile]) {
    if tiles.is_empty() {
        return;
    }
    let what = if report.older.is_some() {
        "Who owns the changed bytes"
    } else {
        "Who owns the stored bytes"
    };
    writeln!(page.out, "<section><h2>{what}</h2>").expect("a string takes all");
    rectangles(page, "Owners as rectangles; the tables below have the numbers", tiles);
    page.raw("</section>\n");
}

/// Draws a whole that is divided, from left to right: each part with its name and its bytes.
pub(super) fn bar(page: &mut Page<'_>, shows: &str, parts: &[(String, u64)]) {
    let sum = parts.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
    if sum == 0 {
        return;
    }
    write!(page.out, "<svg viewBox=\"0 0 {BAR} 64\" role=\"img\" aria-label=\"{shows}\">")
        .expect("a string takes all");
    let mut before = 0_u64;
    for (index, (name, count)) in parts.iter().enumerate() {
        let x = along_bar(before, sum);
        before = before.saturating_add(*count);
        let width = along_bar(before, sum).saturating_sub(x);
        let colour = index.strict_rem(4);
        write!(
            page.out,
            "<g><title>{}: {}</title><rect class=\"p{colour} t\" x=\"{x}\" width=\"{width}\" height=\"64\"/>",
            Text(name),
            bytes(*count)
        )
        .expect("a string takes all");
        label(page, name, x.strict_add(10), 38, width.saturating_sub(20));
        page.raw("</g>");
    }
    page.raw("</svg>\n");
}

/// Returns how far along the bar a place lies, of `size`.
fn along_bar(at: u64, size: u64) -> u64 {
    let place =
        u128::from(at.min(size)).strict_mul(u128::from(BAR)).strict_div(u128::from(size.max(1)));
    u64::try_from(place).expect("not past the bar")
}

/// Draws rectangles that were laid out.
pub(super) fn rectangles(page: &mut Page<'_>, shows: &str, tiles: &[Tile]) {
    write!(
        page.out,
        "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{shows}\">",
        ROOM.width, ROOM.height
    )
    .expect("a string takes all");
    for tile in tiles {
        let Tile { rect, category, depth, path, label: name, bytes: count } = tile;
        // What lies deeper is paler, so that edges are seen without their lines.
        let class = match category {
            Category::Files => format!("f{}", depth.strict_rem(4)),
            other => format!("c{}", other.index()),
        };
        write!(
            page.out,
            "<g><title>{}: {}</title><rect class=\"{class} t\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
            Text(path),
            bytes(*count),
            rect.x,
            rect.y,
            rect.width,
            rect.height
        )
        .expect("a string takes all");
        if rect.height >= 24 {
            label(
                page,
                name,
                rect.x.strict_add(6),
                rect.y.strict_add(19),
                rect.width.saturating_sub(10),
            );
        }
        page.raw("</g>");
    }
    page.raw("</svg>\n");
}
