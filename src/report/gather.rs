//! Asks the verbs, and puts together what a page says.

use crate::ami::BootMode;
use crate::error::Error;
use crate::error::Result;
use crate::ops;
use crate::ops::DiffFilesRequest;
use crate::ops::DiffRequest;
use crate::ops::Entry;
use crate::ops::Found;
use crate::ops::GuestReport;
use crate::ops::Inspected;
use crate::ops::LintRequest;
use crate::ops::OwnedPath;
use crate::ops::UsageEntry;
use crate::ops::VolumeRequest;
use crate::ops::escaped;
use crate::report::document::AmiFacts;
use crate::report::document::Changes;
use crate::report::document::ClassFacts;
use crate::report::document::Listing;
use crate::report::document::Older;
use crate::report::document::PartitionFacts;
use crate::report::document::PathFacts;
use crate::report::document::Report;
use crate::report::html::Pictures;
use crate::report::largest::Largest;
use crate::report::log;
use crate::report::owners;
use crate::report::owners::Tile;
use crate::report::places::Category;
use crate::report::places::Places;
use crate::report::request::ReportRequest;
use crate::units::ExtentKind;
use crate::units::ebs_gib;
use crate::volume::extents;
use crate::work::Watch;

/// Rows of a table.
const ROWS: usize = 500;

/// Paths that the treemap is made of.
const PATHS: usize = 3000;

/// Most findings and notes that are shown.
const MOST_FINDINGS: usize = 100;

/// Most partitions that are shown: a GPT of every tool has 128.
const MOST_PARTITIONS: usize = 200;

/// Most packages that are shown.
const MOST_PACKAGES: usize = 300;

/// What there is under a name.
struct Subject {
    request: VolumeRequest,
    ami: Option<AmiFacts>,
    /// Set for a bundle that is not all there: only its manifest tells of its volume.
    lacks_base: bool,
}

/// Finds out everything that a page says.
pub(super) fn gather(request: &ReportRequest, watch: &dyn Watch) -> Result<(Report, Pictures)> {
    let older = request.newer.is_some().then(|| subject(&request.volume)).transpose()?;
    let volume = subject(request.newer.as_ref().unwrap_or(&request.volume))?;
    let mut report = Report {
        page: request.output.to_string_lossy().into_owned(),
        ami: volume.ami.clone(),
        ..Report::default()
    };
    if let Some(path) = &request.boot_log {
        report.boot_log = Some(log::read(path)?);
    }
    inside(&volume, &mut report, watch)?;
    let mut places = Places::default();
    states(&volume, &mut report, &mut places, older.is_some(), watch)?;
    let tiles = match &older {
        Some(older) => delta(older, &volume, request, &mut report, &mut places, watch)?,
        None => owned(&volume, &mut report, &mut places, watch)?,
    };
    findings(&volume, &mut report, watch)?;
    report.notes.sort();
    report.notes.dedup();
    report.notes.truncate(MOST_FINDINGS);
    Ok((report, Pictures { places, tiles }))
}

fn subject(named: &VolumeRequest) -> Result<Subject> {
    if named.is_standard_input() {
        let text = "standard input cannot be read twice, as a report reads its volumes";
        return Err(Error::invalid(text).advise("save it to a file first"));
    }
    let mut request = named.clone();
    let found = ops::find(named).map_err(|error| error.in_file(&named.image.path))?;
    let Found::Bundle(bundle) = found else {
        return Ok(Subject { request, ami: None, lacks_base: false });
    };
    let layer = bundle.find(named.image.member.as_deref())?;
    request.image.member = Some(layer.device.clone());
    let description = bundle.ami();
    let ami = AmiFacts {
        name: description.name.clone(),
        architecture: description.effective_architecture().to_string(),
        boot_mode: description.boot_mode.map(BootMode::name),
        device: layer.device.clone(),
        digest: bundle.digest().to_string(),
    };
    let lacks_base = !bundle.bases().is_empty() && named.base.is_none();
    Ok(Subject { request, ami: Some(ami), lacks_base })
}

/// Finds out what the volume is, and its partitions.
fn inside(subject: &Subject, report: &mut Report, watch: &dyn Watch) -> Result<()> {
    report.volume.path = subject.request.typed().to_string_lossy().into_owned();
    if subject.lacks_base {
        "bundle".clone_into(&mut report.volume.format);
        let text =
            "files and partitions are not shown: the bundle is thin, and its base was not named";
        report.notes.push(text.to_owned());
        return Ok(());
    }
    match ops::inspect(&subject.request, None, watch)? {
        Inspected::Image { format, guest, notes, .. } => {
            format.clone_into(&mut report.volume.format);
            report.notes.extend(notes);
            if let Some(guest) = guest {
                partitions(*guest, report);
            }
        }
        Inspected::Stream { format, notes, .. } => {
            format.clone_into(&mut report.volume.format);
            report.notes.extend(notes);
            let text = "partitions are not shown: the image is compressed as a whole";
            report.notes.push(text.to_owned());
        }
        // The others hold no volume, and opening them says so.
        _ => {}
    }
    Ok(())
}

fn partitions(guest: GuestReport, report: &mut Report) {
    report.table = Some(guest.table);
    report.system = guest.os.and_then(|os| os.name.or(os.id)).map(|name| escaped(&name));
    report.notes.extend(guest.faults);
    report.partitions = guest
        .partitions
        .into_iter()
        .take(MOST_PARTITIONS)
        .map(|part| PartitionFacts {
            number: part.number,
            logical_volume: part.logical_volume,
            start_bytes: part.start_bytes,
            size_bytes: part.size_bytes,
            file_system: part.file_system,
            purpose: part.purpose,
            label: part.label,
            mounted_at: part.mounted_at,
            used_bytes: part.used_bytes,
            free_bytes: part.free_bytes,
        })
        .collect();
}

/// Sums what the image says of its extents. They are the map of blocks where nothing else is known.
fn states(
    subject: &Subject,
    report: &mut Report,
    places: &mut Places,
    is_delta: bool,
    watch: &dyn Watch,
) -> Result<()> {
    let opened = ops::open(&subject.request, watch)?;
    let volume = opened.volume();
    let facts = &mut report.volume;
    (facts.size_bytes, facts.ebs_volume_size_gib) = (volume.size(), ebs_gib(volume.size()));
    for extent in extents(volume) {
        watch.check()?;
        let extent = extent?;
        let sum = match extent.kind {
            ExtentKind::Data => &mut facts.data_bytes,
            ExtentKind::Zero => &mut facts.zero_bytes,
            ExtentKind::Hole => &mut facts.hole_bytes,
        };
        *sum = sum.saturating_add(extent.len());
        if is_delta || subject.lacks_base {
            places.add(extent.range, Category::of_kind(extent.kind));
        }
    }
    report.notes.extend(opened.opened().notes());
    Ok(())
}

/// Finds out whose the bytes of one volume are.
fn owned(
    subject: &Subject,
    report: &mut Report,
    places: &mut Places,
    watch: &dyn Watch,
) -> Result<Vec<Tile>> {
    if subject.lacks_base {
        return Ok(Vec::new());
    }
    let (mut files, mut folders) = (Largest::new(PATHS), Largest::new(PATHS));
    let mut root = 0;
    let mut classes = Vec::new();
    let usage = ops::usage(&subject.request, watch, &mut |entry| {
        match entry {
            UsageEntry::Run(range, kind, class) => places.add(
                range,
                match kind {
                    ExtentKind::Data => Category::of(class),
                    other => Category::of_kind(other),
                },
            ),
            UsageEntry::Class(class, owned) => {
                let (bytes, stored_bytes) = (owned.bytes, owned.stored_bytes);
                classes.push(ClassFacts { class, bytes, stored_bytes });
            }
            UsageEntry::File(path) => files.add(stored(path)),
            UsageEntry::Directory(path) => {
                if path.path == "/" {
                    root = path.owned.stored_bytes;
                }
                folders.add(stored(path));
            }
        }
        Ok(())
    })?;
    report.notes.extend(usage.notes);
    let of_none: Vec<_> = classes.iter().map(|it| (it.class, it.stored_bytes)).collect();
    let tiles = owners::tiles(folders.kept(), files.kept(), &beside_files(&of_none, root));
    report.classes = classes;
    report.files = files.listing(ROWS, false);
    report.directories = folders.listing(ROWS, true);
    Ok(tiles)
}

fn stored(path: OwnedPath) -> PathFacts {
    let name = if path.path_bytes.is_none() { escaped(&path.path) } else { path.path };
    let bytes = path.owned.stored_bytes;
    PathFacts { path: name, change: None, bytes, changed_blocks: None, sole_blocks: None }
}

/// Sums what belongs to no file. Of classes such as directories, files have a part; what is left of all metadata when
/// files have theirs is the file systems' own.
fn beside_files(
    classes: &[(&'static str, u64)],
    of_files: u64,
) -> Vec<(Category, &'static str, u64)> {
    let sum = |category: Category| {
        let mine = classes.iter().filter(|(class, _)| Category::of(class) == category);
        mine.fold(0_u64, |sum, (_, bytes)| sum.saturating_add(*bytes))
    };
    let metadata = sum(Category::Files).saturating_add(sum(Category::Metadata));
    vec![
        (Category::Metadata, "file systems' own", metadata.saturating_sub(of_files)),
        (Category::Free, "free, and stored", sum(Category::Free)),
        (Category::Boot, "tables, boot code, swap", sum(Category::Boot)),
        (Category::Other, "not known", sum(Category::Other)),
    ]
}

/// Finds out what changed between two volumes.
fn delta(
    older: &Subject,
    newer: &Subject,
    request: &ReportRequest,
    report: &mut Report,
    places: &mut Places,
    watch: &dyn Watch,
) -> Result<Vec<Tile>> {
    let is_whole = !older.lacks_base && !newer.lacks_base;
    let blocks = DiffRequest {
        threads: request.threads,
        ..DiffRequest::new(older.request.clone(), newer.request.clone())
    };
    let blocks = ops::diff(&blocks, watch, &mut |range| {
        if !is_whole {
            places.add(range.start_bytes..range.end_bytes, Category::Other);
        }
        Ok(())
    })?;
    report.older = Some(Older {
        path: older.request.typed().to_string_lossy().into_owned(),
        size_bytes: blocks.old_size_bytes,
    });
    let mut changes = Changes { blocks, pages: None, classes: Vec::new() };
    if !is_whole {
        let text = "changed files are not shown: a bundle is thin, and its base was not named";
        report.notes.push(text.to_owned());
        report.changes = Some(changes);
        return Ok(Vec::new());
    }
    let (mut files, mut folders) = (Largest::new(PATHS), Largest::new(PATHS));
    let mut root = 0;
    let mut packages = Listing::default();
    let wanted = DiffFilesRequest {
        threads: request.threads,
        ..DiffFilesRequest::new(older.request.clone(), newer.request.clone())
    };
    let mut place = |range, class| places.add(range, Category::of(class));
    let pages = ops::diff_files_placed(&wanted, watch, &mut place, &mut |entry| {
        match entry {
            Entry::Class(sum) => changes.classes.push(sum.clone()),
            Entry::File(file) => {
                let path = shown(&file.path, file.path_bytes.is_some());
                files.add(PathFacts {
                    path,
                    change: Some(file.change.name()),
                    bytes: file.changed_bytes,
                    changed_blocks: Some(file.changed_blocks),
                    sole_blocks: Some(file.sole_blocks),
                });
            }
            Entry::Directory(folder) => {
                if folder.path == "/" {
                    root = folder.changed_bytes;
                }
                let path = shown(&folder.path, folder.path_bytes.is_some());
                let bytes = folder.changed_bytes;
                folders.add(PathFacts {
                    path,
                    change: None,
                    bytes,
                    changed_blocks: None,
                    sole_blocks: None,
                });
            }
            Entry::Package(package) if packages.rows.len() < MOST_PACKAGES => {
                packages.rows.push(package.clone());
            }
            Entry::Package(_) => packages.others = packages.others.saturating_add(1),
            // Blocks were not asked for.
            Entry::Sum(_) | Entry::Block(_) => {}
        }
        Ok(())
    })?;
    report.notes.extend(pages.notes.iter().cloned());
    let of_none: Vec<_> = changes.classes.iter().map(|it| (it.class, it.changed_bytes)).collect();
    let tiles = owners::tiles(folders.kept(), files.kept(), &beside_files(&of_none, root));
    changes.pages = Some(pages);
    report.changes = Some(changes);
    report.files = files.listing(ROWS, false);
    report.directories = folders.listing(ROWS, true);
    report.packages = packages;
    Ok(tiles)
}

fn shown(path: &str, is_escaped: bool) -> String {
    if is_escaped { path.to_owned() } else { escaped(path) }
}

/// Judges a bundle by EC2's rules.
fn findings(subject: &Subject, report: &mut Report, watch: &dyn Watch) -> Result<()> {
    if subject.ami.is_none() || subject.request.ami.is_some() {
        return Ok(());
    }
    let found = ops::lint(&LintRequest::new(subject.request.image.path.clone()), watch)?;
    let left = found.findings.len().saturating_sub(MOST_FINDINGS);
    if left > 0 {
        report.notes.push(format!("{left} more findings are left out"));
    }
    report.findings = found.findings.into_iter().take(MOST_FINDINGS).collect();
    report.notes.extend(found.notes);
    Ok(())
}
