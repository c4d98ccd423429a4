//! The pages: HTML that loads nothing and runs nothing.

mod fleet;
mod page;
mod pictures;
mod tables;
mod text;

use crate::digest::Sha256;
use crate::report::document::Report;
use crate::report::html::page::Page;
use crate::report::html::page::bytes;

pub(super) use fleet::fleet;
pub(super) use page::Pictures;

/// The looks. The colours are those of Okabe and Ito, which people of every sight can tell apart; zeros are dotted and
/// holes are empty, so that nothing depends on colour alone.
const STYLE: &str = include_str!("style.css");

/// Makes the page of a volume, or of two.
pub(super) fn page(report: &Report, pictures: &Pictures) -> String {
    let head = |page: &mut Page<'_>| head(page, report);
    document(&title(report), head, |page| {
        pictures::partitions(page, report);
        tables::partitions(page, report);
        pictures::blocks(page, report, &pictures.places);
        pictures::owners(page, report, &pictures.tiles);
        tables::classes(page, report);
        tables::changes(page, report);
        tables::paths(page, "files", "Files", &report.files, report);
        tables::paths(page, "directories", "Directories", &report.directories, report);
        tables::packages(page, report);
        tables::findings(page, report);
        tables::log(page, report);
        tables::notes(page, &report.notes);
    })
}

/// Makes a page: what comes before and after whatever it shows.
fn document(
    title: &str,
    head: impl FnOnce(&mut Page<'_>),
    main: impl FnOnce(&mut Page<'_>),
) -> String {
    let mut style = Sha256::new();
    style.update(STYLE.as_bytes());
    let mut out = String::new();
    let mut page = Page::new(&mut out);
    page.raw(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         base-uri 'none'; form-action 'none'; style-src 'sha256-",
    );
    page.raw(&style.finish().base64());
    page.raw(
        "'\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n<title>",
    );
    page.text(title);
    page.raw("</title>\n<style>");
    page.raw(STYLE);
    page.raw("</style>\n</head>\n<body>\n<header><h1>");
    page.text(title);
    page.raw("</h1>");
    head(&mut page);
    page.raw("</header>\n<main>\n");
    main(&mut page);
    page.raw("</main>\n</body>\n</html>\n");
    out
}

fn title(report: &Report) -> String {
    let short = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    // A device of a bundle has slashes of its own.
    let name = |path: &str| match (&report.ami, path.split_once(":/")) {
        (Some(_), Some((bundle, device))) => format!("{}:/{device}", short(bundle)),
        _ => short(path),
    };
    match &report.older {
        Some(older) => format!("{} to {}", name(&older.path), name(&report.volume.path)),
        None => name(&report.volume.path),
    }
}

/// Says what it is, in a list of names and values.
fn head(page: &mut Page<'_>, report: &Report) {
    let volume = &report.volume;
    let mut facts: Vec<(&str, String)> = Vec::new();
    if let Some(ami) = &report.ami {
        facts.push(("AMI", ami.name.clone()));
        let mode = ami.boot_mode.unwrap_or("up to the instance type");
        facts.push(("Architecture", ami.architecture.clone()));
        facts.push(("Boot mode", mode.to_owned()));
        facts.push(("Device", ami.device.clone()));
        facts.push(("Digest", format!("sha256:{}", ami.digest)));
    }
    facts.push(("Format", volume.format.clone()));
    if let Some(older) = &report.older {
        facts.push(("Older size", bytes(older.size_bytes)));
    }
    facts.push(("Size", bytes(volume.size_bytes)));
    facts.push(("EBS volume", format!("{} GiB", volume.ebs_volume_size_gib)));
    facts.push(("Data", bytes(volume.data_bytes)));
    facts.push(("Written zeros", bytes(volume.zero_bytes)));
    facts.push(("Holes", bytes(volume.hole_bytes)));
    facts.extend(report.system.clone().map(|system| ("System", system)));
    facts.extend(report.table.map(|table| ("Partition table", table.to_owned())));
    self::facts(page, &facts);
}

/// Writes a list of names and values.
fn facts(page: &mut Page<'_>, facts: &[(&str, String)]) {
    page.raw("<dl id=\"facts\">");
    for (name, value) in facts {
        page.raw("<div><dt>");
        page.text(name);
        page.raw("</dt><dd>");
        page.text(value);
        page.raw("</dd></div>");
    }
    page.raw("</dl>");
}
