//! The page of a fleet: the answers of `ops::fleet`, the largest rows of each.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;

use crate::digest::Digest;
use crate::ops::FleetChurn;
use crate::ops::FleetReport;
use crate::ops::Freed;
use crate::ops::FreesReport;
use crate::ops::HoldersReport;
use crate::ops::SharedReport;
use crate::ops::UniqueReport;
use crate::report::html::document;
use crate::report::html::facts;
use crate::report::html::page::Page;
use crate::report::html::page::bytes;
use crate::report::html::pictures;
use crate::report::html::tables;
use crate::report::html::tables::listed;
use crate::report::owners;
use crate::report::places::Category;
use crate::units::BLOCK_SIZE;

/// Rows of a table.
const ROWS: usize = 500;

/// Rows of a table whose rows have several names.
const WIDE_ROWS: usize = 300;

/// AMIs that the treemap shows.
const TILES: usize = 200;

/// Makes the page of a fleet.
pub(in crate::report) fn fleet(report: &FleetReport) -> String {
    let (amis, s) = (report.amis, if report.amis == 1 { "" } else { "s" });
    let head = |page: &mut Page<'_>| head(page, report);
    document(&format!("A fleet of {amis} AMI{s}"), head, |page| {
        if let Some(frees) = &report.frees {
            self::frees(page, frees);
        }
        if let Some(shared) = &report.shared {
            self::shared(page, shared);
        }
        if let Some(unique) = &report.unique {
            self::unique(page, unique, report.shared.as_ref());
        }
        if let Some(churn) = &report.churn {
            self::churn(page, churn);
        }
        if let Some(holders) = &report.holders {
            self::holders(page, holders);
        }
        tables::notes(page, &report.notes);
    })
}

fn head(page: &mut Page<'_>, report: &FleetReport) {
    let mut known = vec![
        ("AMIs", report.amis.to_string()),
        ("Snapshots", report.snapshots.to_string()),
        ("Data blocks", report.data_blocks.to_string()),
        ("Zero blocks", report.zero_blocks.to_string()),
    ];
    if let Some(shared) = &report.shared {
        known.push(("Chunks", shared.chunks.to_string()));
        known.push(("Plain", bytes(shared.bytes)));
        known.push(("Stored", bytes(shared.stored_bytes)));
        known.push(("Chunks in no pack", shared.unstored_chunks.to_string()));
    }
    facts(page, &known);
}

/// The largest rows of a table, and the others.
fn largest<T, K: Ord>(rows: &[T], most: usize, key: impl Fn(&T) -> K) -> (Vec<&T>, Vec<&T>) {
    let mut all: Vec<&T> = rows.iter().collect();
    all.sort_by_key(|row| key(row));
    let others = all.split_off(all.len().min(most));
    (all, others)
}

/// A cell of the row for what is left out.
enum Cell {
    Number(u64),
    Size(u64),
    Empty,
}

/// Writes the row for what is left out of a table.
fn rest<T>(page: &mut Page<'_>, others: &[&T], cells: &[&dyn Fn(&T) -> Cell]) {
    if others.is_empty() {
        return;
    }
    write!(page.out, "<tr class=\"rest\"><td>{} others</td>", others.len())
        .expect("a string takes all");
    for cell in cells {
        let (mut numbers, mut sizes) = (None, None);
        for row in others {
            let (sum, more) = match cell(row) {
                Cell::Number(count) => (&mut numbers, count),
                Cell::Size(count) => (&mut sizes, count),
                Cell::Empty => continue,
            };
            *sum = Some(sum.unwrap_or(0_u64).saturating_add(more));
        }
        match (numbers, sizes) {
            (Some(count), _) => page.number("td", count),
            (_, Some(count)) => page.size("td", count),
            _ => page.raw("<td></td>"),
        }
    }
    page.raw("</tr>\n");
}

/// What the chunks that are held by so many snapshots take, in doubling steps: few enough to be told apart.
fn steps(shared: &SharedReport) -> Vec<(String, u64)> {
    let mut steps: BTreeMap<u32, u64> = BTreeMap::new();
    for by in &shared.held_by {
        let step =
            by.snapshots.max(1).strict_sub(1).checked_ilog2().map_or(0, |it| it.strict_add(1));
        let sum = steps.entry(step).or_default();
        *sum = sum.saturating_add(by.chunks.saturating_mul(BLOCK_SIZE));
    }
    let name = |step: u32| match step {
        0 => "in 1 snapshot".to_owned(),
        1 => "in 2".to_owned(),
        _ => {
            let (first, last) =
                (1_u128.strict_shl(step.strict_sub(1)).strict_add(1), 1_u128.strict_shl(step));
            format!("in {first} to {last}")
        }
    };
    steps.into_iter().map(|(step, count)| (name(step), count)).collect()
}

fn shared(page: &mut Page<'_>, shared: &SharedReport) {
    page.raw("<section><h2>What is shared</h2>\n");
    let shows =
        "Plain bytes of chunks by how many snapshots hold them; the table below has the numbers";
    pictures::bar(page, shows, &steps(shared));
    let head = [("held by snapshots", false), ("chunks", true), ("plain", true), ("stored", true)];
    let (mut rows, others) =
        largest(&shared.held_by, ROWS, |by| (Reverse(by.chunks), by.snapshots));
    rows.sort_by_key(|by| by.snapshots);
    listed(
        page,
        "held-by",
        &head,
        &rows,
        |page, by| {
            page.raw("<tr>");
            page.cell(&by.snapshots.to_string());
            page.number("td", by.chunks);
            page.size("td", by.chunks.saturating_mul(BLOCK_SIZE));
            page.size("td", by.stored_bytes);
            page.raw("</tr>\n");
        },
        |page| {
            rest(
                page,
                &others,
                &[
                    &|by| Cell::Number(by.chunks),
                    &|by| Cell::Size(by.chunks.saturating_mul(BLOCK_SIZE)),
                    &|by| Cell::Size(by.stored_bytes),
                ],
            );
        },
    );
    page.raw("</section>\n");
}

fn unique(page: &mut Page<'_>, unique: &[UniqueReport], shared: Option<&SharedReport>) {
    page.raw("<section><h2>What each AMI has alone</h2>\n");
    let by_size =
        |it: &UniqueReport| (Reverse((it.bytes, it.stored_bytes)), it.name.clone(), it.ami);
    let (rows, others) = largest(unique, ROWS, by_size);
    tiles(page, &rows, unique, shared);
    let head = [("AMI", false), ("chunks", true), ("plain", true), ("stored", true)];
    listed(
        page,
        "unique",
        &head,
        &rows,
        |page, it| {
            page.raw("<tr>");
            page.cell(&it.name);
            page.number("td", it.chunks);
            page.size("td", it.bytes);
            page.size("td", it.stored_bytes);
            page.raw("</tr>\n");
        },
        |page| {
            rest(
                page,
                &others,
                &[&|it| Cell::Number(it.chunks), &|it| Cell::Size(it.bytes), &|it| {
                    Cell::Size(it.stored_bytes)
                }],
            );
        },
    );
    page.raw("</section>\n");
}

/// Draws what the AMIs have alone and, where that is known, what several of them hold.
fn tiles(
    page: &mut Page<'_>,
    rows: &[&UniqueReport],
    all: &[UniqueReport],
    shared: Option<&SharedReport>,
) {
    let sum = |rows: &mut dyn Iterator<Item = u64>| rows.fold(0_u64, u64::saturating_add);
    let of_all = sum(&mut all.iter().map(|it| it.bytes));
    let named = &rows[..rows.len().min(TILES)];
    let of_named = sum(&mut named.iter().map(|it| it.bytes));
    let mut owners: Vec<_> =
        named.iter().map(|it| (Category::Files, it.name.clone(), it.bytes)).collect();
    owners.push((Category::Other, "other AMIs".to_owned(), of_all.saturating_sub(of_named)));
    if let Some(shared) = shared {
        let several = shared.bytes.saturating_sub(of_all);
        owners.push((Category::Data, "held by several AMIs".to_owned(), several));
    }
    let tiles = owners::flat(owners);
    if !tiles.is_empty() {
        let shows =
            "Plain bytes that each AMI has alone, as rectangles; the table below has the numbers";
        pictures::rectangles(page, shows, &tiles);
    }
}

fn churn(page: &mut Page<'_>, churn: &[FleetChurn]) {
    page.raw("<section><h2>What EBS stores for each version</h2>\n");
    let names: BTreeMap<Digest, &str> = churn.iter().map(|it| (it.snapshot, &*it.name)).collect();
    let by_size =
        |it: &FleetChurn| (Reverse((it.bytes, it.new_chunks)), it.name.clone(), it.snapshot);
    let (rows, others) = largest(churn, ROWS, by_size);
    let head = [
        ("snapshot", false),
        ("made over", false),
        ("data blocks", true),
        ("zero blocks", true),
        ("size", true),
        ("new chunks", true),
    ];
    listed(
        page,
        "churn",
        &head,
        &rows,
        |page, it| {
            page.raw("<tr>");
            page.cell(&it.name);
            let parent = it.parent.as_ref().map(|parent| names.get(parent).copied());
            page.cell(parent.map(Option::unwrap_or_default).unwrap_or_default());
            page.number("td", it.data_blocks);
            page.number("td", it.zero_blocks);
            page.size("td", it.bytes);
            page.number("td", it.new_chunks);
            page.raw("</tr>\n");
        },
        |page| {
            rest(
                page,
                &others,
                &[
                    &|_| Cell::Empty,
                    &|it| Cell::Number(it.data_blocks),
                    &|it| Cell::Number(it.zero_blocks),
                    &|it| Cell::Size(it.bytes),
                    &|it| Cell::Number(it.new_chunks),
                ],
            );
        },
    );
    page.raw("</section>\n");
}

fn frees(page: &mut Page<'_>, frees: &FreesReport) {
    page.raw("<section><h2>What deleting frees</h2>\n");
    writeln!(
        page.out,
        "<p id=\"deleted\">{} AMIs go, and {} snapshots with them; {} of these stay for other AMIs.</p>",
        frees.amis.len(),
        frees.snapshots,
        frees.kept_snapshots
    )
    .expect("a string takes all");
    let head =
        [("freed", false), ("blocks", true), ("plain", true), ("stored", true), ("a month", true)];
    tables::table(page, "frees", &head);
    for (place, Freed { blocks, bytes, stored_bytes, cost }) in
        [("in EBS", &frees.ebs), ("in a store", &frees.store)]
    {
        page.raw("<tr>");
        page.cell(place);
        page.number("td", *blocks);
        page.size("td", *bytes);
        match stored_bytes {
            Some(count) => page.size("td", *count),
            None => page.raw("<td></td>"),
        }
        page.raw("<td class=\"n\">");
        page.text(&cost.map(|it| it.to_string()).unwrap_or_default());
        page.raw("</td></tr>\n");
    }
    tables::end(page);
    let (rows, others) = frees.amis.split_at(frees.amis.len().min(WIDE_ROWS));
    let each = |page: &mut Page<'_>, name: &String| {
        page.raw("<tr>");
        page.cell(name);
        page.raw("</tr>\n");
    };
    let others: Vec<&String> = others.iter().collect();
    listed(page, "gone", &[("deleted", false)], rows, each, |page| rest(page, &others, &[]));
    page.raw("</section>\n");
}

fn holders(page: &mut Page<'_>, report: &HoldersReport) {
    page.raw("<section><h2>Who holds ");
    page.text(&report.asked);
    page.raw("</h2>\n");
    let head = [
        ("AMIs", false),
        ("snapshot", false),
        ("places", true),
        ("first block", true),
        ("found", false),
    ];
    let (rows, others) = report.holders.split_at(report.holders.len().min(WIDE_ROWS));
    let others: Vec<_> = others.iter().collect();
    listed(
        page,
        "holders",
        &head,
        rows,
        |page, holder| {
            page.raw("<tr>");
            page.cell(&holder.amis.join(", "));
            page.cell(&holder.snapshot.hex());
            page.number("td", holder.count);
            match holder.first_block {
                Some(first) => page.number("td", u64::from(first)),
                None => page.raw("<td></td>"),
            }
            page.cell(&holder.found.join(", "));
            page.raw("</tr>\n");
        },
        |page| {
            rest(page, &others, &[&|_| Cell::Empty, &|it| Cell::Number(it.count)]);
        },
    );
    page.raw("</section>\n");
}
