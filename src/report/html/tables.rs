//! The numbers behind the pictures, as tables.

use std::fmt::Write;

use crate::report::document::Listing;
use crate::report::document::PathFacts;
use crate::report::document::Report;
use crate::report::html::page::Page;
use crate::report::html::page::bytes;
use crate::report::html::pictures::called;
use crate::report::html::text::escape;

/// Rows that are seen without opening a list.
const OPEN_ROWS: usize = 25;

/// Most bytes of markup that a log takes.
const MOST_LOG_LEN: usize = 96 << 10;

/// Begins a table.
pub(super) fn table(page: &mut Page<'_>, id: &str, head: &[(&str, bool)]) {
    write!(page.out, "<div class=\"scroll\"><table id=\"{id}\"><thead><tr>")
        .expect("a string takes all");
    for (name, is_number) in head {
        let class = if *is_number { " class=\"n\"" } else { "" };
        write!(page.out, "<th scope=\"col\"{class}>{name}</th>").expect("a string takes all");
    }
    page.raw("</tr></thead><tbody>\n");
}

pub(super) fn end(page: &mut Page<'_>) {
    page.raw("</tbody></table></div>\n");
}

pub(super) fn partitions(page: &mut Page<'_>, report: &Report) {
    if report.partitions.is_empty() {
        return;
    }
    page.raw("<section>");
    let head = [
        ("partition", false),
        ("label", false),
        ("start", true),
        ("size", true),
        ("used", true),
        ("free", true),
    ];
    table(page, "partitions", &head);
    for part in &report.partitions {
        page.raw("<tr>");
        page.cell(&called(part));
        page.cell(part.label.as_deref().unwrap_or_default());
        page.size("td", part.start_bytes);
        page.size("td", part.size_bytes);
        for count in [part.used_bytes, part.free_bytes] {
            match count {
                Some(count) => page.size("td", count),
                None => page.raw("<td></td>"),
            }
        }
        page.raw("</tr>\n");
    }
    end(page);
    page.raw("</section>\n");
}

pub(super) fn classes(page: &mut Page<'_>, report: &Report) {
    if !report.classes.is_empty() {
        page.raw("<section><h2>Classes of owners</h2>\n");
        table(page, "classes", &[("class", false), ("bytes", true), ("stored", true)]);
        for sum in &report.classes {
            page.raw("<tr>");
            page.cell(sum.class);
            page.size("td", sum.bytes);
            page.size("td", sum.stored_bytes);
            page.raw("</tr>\n");
        }
        end(page);
        page.raw("</section>\n");
    }
    let Some(changes) = report.changes.as_ref().filter(|it| !it.classes.is_empty()) else { return };
    page.raw("<section><h2>Classes of owners</h2>\n");
    let head = [
        ("class", false),
        ("before", true),
        ("now", true),
        ("blocks", true),
        ("only because of it", true),
    ];
    table(page, "changed-classes", &head);
    for sum in &changes.classes {
        page.raw("<tr>");
        page.cell(sum.class);
        page.size("td", sum.old_changed_bytes);
        page.size("td", sum.changed_bytes);
        page.number("td", sum.changed_blocks);
        page.number("td", sum.sole_blocks);
        page.raw("</tr>\n");
    }
    end(page);
    page.raw("</section>\n");
}

pub(super) fn changes(page: &mut Page<'_>, report: &Report) {
    let Some(changes) = &report.changes else { return };
    page.raw("<section><h2>Changed blocks of 512 KiB</h2>\n");
    table(page, "changes", &[("change", false), ("blocks", true), ("bytes", true)]);
    let blocks = &changes.blocks;
    for (name, sum) in [
        ("data to other data", blocks.data_to_data),
        ("to data", blocks.to_data),
        ("to written zeros", blocks.to_zero),
        ("to holes", blocks.to_hole),
        ("all", blocks.changed),
    ] {
        page.raw("<tr>");
        page.cell(name);
        page.number("td", sum.blocks);
        page.size("td", sum.bytes);
        page.raw("</tr>\n");
    }
    end(page);
    if let Some(pages) = &changes.pages {
        write!(
            page.out,
            "<p id=\"pages\">{} pages of 4 KiB changed, {}: {} files added, {} removed, {} changed, \
             {} moved, {} with other attributes, {} rewritten.</p>",
            pages.changed_pages,
            bytes(pages.changed_bytes),
            pages.added,
            pages.removed,
            pages.changed,
            pages.moved,
            pages.metadata,
            pages.rewritten
        )
        .expect("a string takes all");
    }
    page.raw("</section>\n");
}

pub(super) fn paths(
    page: &mut Page<'_>,
    id: &str,
    title: &str,
    listing: &Listing<PathFacts>,
    report: &Report,
) {
    if listing.rows.is_empty() {
        return;
    }
    let is_delta = report.older.is_some();
    let counts = listing.rows.iter().any(|row| row.changed_blocks.is_some());
    let bytes_of = if is_delta { "changed" } else { "stored" };
    writeln!(page.out, "<section><h2>{title}</h2>").expect("a string takes all");
    let mut head = vec![("path", false), (bytes_of, true)];
    if counts {
        head.extend([("change", false), ("blocks", true), ("only because of it", true)]);
    }
    let rest = |page: &mut Page<'_>| rest(page, listing);
    listed(page, id, &head, &listing.rows, |page, row| path(page, row, counts), rest);
    page.raw("</section>\n");
}

/// Writes a table of which the first rows are seen, and the others once the reader opens them.
pub(super) fn listed<T>(
    page: &mut Page<'_>,
    id: &str,
    head: &[(&str, bool)],
    rows: &[T],
    each: impl Fn(&mut Page<'_>, &T),
    rest: impl FnOnce(&mut Page<'_>),
) {
    let (first, more) = rows.split_at(rows.len().min(OPEN_ROWS));
    table(page, id, head);
    for row in first {
        each(page, row);
    }
    if !more.is_empty() {
        end(page);
        write!(page.out, "<details><summary>{} more</summary>", more.len())
            .expect("a string takes all");
        table(page, &format!("{id}-more"), head);
        for row in more {
            each(page, row);
        }
    }
    rest(page);
    end(page);
    if !more.is_empty() {
        page.raw("</details>");
    }
}

fn path(page: &mut Page<'_>, row: &PathFacts, counts: bool) {
    page.raw("<tr>");
    page.cell(&row.path);
    page.size("td", row.bytes);
    if counts {
        page.cell(row.change.unwrap_or_default());
        page.number("td", row.changed_blocks.unwrap_or(0));
        page.number("td", row.sole_blocks.unwrap_or(0));
    }
    page.raw("</tr>\n");
}

/// The row for what is left out.
fn rest(page: &mut Page<'_>, listing: &Listing<PathFacts>) {
    if listing.others == 0 {
        return;
    }
    write!(page.out, "<tr class=\"rest\"><td>{} others</td>", listing.others)
        .expect("a string takes all");
    match listing.other_bytes {
        Some(count) => page.size("td", count),
        None => page.raw("<td></td>"),
    }
    page.raw("</tr>\n");
}

pub(super) fn packages(page: &mut Page<'_>, report: &Report) {
    if report.packages.rows.is_empty() {
        return;
    }
    page.raw("<section><h2>Packages</h2>\n");
    let head = [("package", false), ("change", false), ("before", false), ("now", false)];
    table(page, "packages", &head);
    for package in &report.packages.rows {
        page.raw("<tr>");
        page.cell(&package.name);
        page.cell(package.change);
        page.cell(package.old_version.as_deref().unwrap_or_default());
        page.cell(package.new_version.as_deref().unwrap_or_default());
        page.raw("</tr>\n");
    }
    if report.packages.others > 0 {
        writeln!(page.out, "<tr class=\"rest\"><td>{} others</td></tr>", report.packages.others)
            .expect("a string takes all");
    }
    end(page);
    page.raw("</section>\n");
}

pub(super) fn findings(page: &mut Page<'_>, report: &Report) {
    if report.findings.is_empty() {
        return;
    }
    page.raw("<section><h2>Findings</h2>\n");
    let head =
        [("level", false), ("rule", false), ("place", false), ("found", false), ("instead", false)];
    table(page, "findings", &head);
    for finding in &report.findings {
        let level = finding.level.name();
        write!(page.out, "<tr><td><span class=\"badge {level}\">{level}</span></td>")
            .expect("a string takes all");
        for text in [finding.rule, &finding.place, &finding.found, &finding.instead] {
            page.cell(text);
        }
        page.raw("</tr>\n");
    }
    end(page);
    page.raw("</section>\n");
}

pub(super) fn log(page: &mut Page<'_>, report: &Report) {
    let Some(log) = &report.boot_log else { return };
    page.raw("<section><h2>Console</h2>\n<p class=\"dim\">");
    page.text(&log.path);
    writeln!(page.out, ", {}{}</p>", bytes(log.bytes), if log.cut { ", its end" } else { "" })
        .expect("a string takes all");
    page.raw("<pre id=\"console\" tabindex=\"0\">");
    let mut left = MOST_LOG_LEN;
    let mut lines = Vec::new();
    for line in log.text.lines().rev() {
        let mut shown = String::new();
        escape(line, &mut shown).expect("a string takes all");
        if shown.len() >= left {
            break;
        }
        left = left.strict_sub(shown.len()).strict_sub(1);
        lines.push(shown);
    }
    for line in lines.iter().rev() {
        page.raw(line);
        page.raw("\n");
    }
    page.raw("</pre></section>\n");
}

pub(super) fn notes(page: &mut Page<'_>, notes: &[String]) {
    if notes.is_empty() {
        return;
    }
    page.raw("<section><h2>Notes</h2>\n<ul id=\"notes\">");
    for note in notes {
        page.raw("<li>");
        page.text(note);
        page.raw("</li>");
    }
    page.raw("</ul></section>\n");
}
