//! `apply --in-place`: the old image becomes the new one where it stands.
//!
//! The protocol is `docs/formats/in-place.md`: the image is proven to be the old one, a journal of all
//! that changes is written, then the image, and the journal goes when the image is proven to be the new
//! one.

use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;

use crate::bundle::BaseBytes;
use crate::bundle::BaseSnapshot;
use crate::bundle::Bundle;
use crate::bundle::FreeRecord;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::shown;
use crate::format::ImageRequest;
use crate::format::raw;
use crate::io;
use crate::io::InPlace;
use crate::io::Input;
use crate::io::ReadAt;
use crate::io::WriteAt;
use crate::manifest::Manifest;
use crate::ops::apply::changes::Delta;
use crate::ops::apply::changes::changed_blocks;
use crate::ops::apply::changes::write_changes;
use crate::ops::apply::journal::Journal;
use crate::ops::apply::journal::Standing;
use crate::ops::apply::journal::write_journal;
use crate::ops::apply::proof::Between;
use crate::ops::apply::proof::Found;
use crate::ops::apply::proof::Likeness;
use crate::ops::apply::proof::Sides;
use crate::ops::apply::proof::look;
use crate::ops::apply::request::ApplyRequest;
use crate::ops::apply::request::Settle;
use crate::ops::apply::request::SettleRequest;
use crate::ops::apply::request::is_plain;
use crate::ops::shared::free::mask;
use crate::ops::shared::journal::find_journal;
use crate::ops::shared::journal::journal_of;
use crate::ops::shared::likeness::states_note;
use crate::ops::shared::manifest::manifest_of;
use crate::ops::shared::open::check_unused;
use crate::ops::shared::trust::open_checked;
use crate::units::BlockIndex;
use crate::volume::ReadVolume;
use crate::work::Quiet;
use crate::work::Watch;

/// What became of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was changed.
    Changed,
    /// An earlier run had begun to change it; this one finished that.
    Finished,
    /// There was nothing to change.
    Unchanged,
}

/// What was done to an image.
pub(super) struct Done {
    pub(super) delta: Delta,
    pub(super) outcome: Outcome,
    /// Blocks that were written: more than the delta has where the image still had its free blocks.
    pub(super) changed_blocks: u64,
    /// What the user should hear.
    pub(super) notes: Vec<String>,
}

/// Changes the old image.
///
/// # Errors
///
/// `Mismatch` if the image is not the old one, and none between the old and the new one where there is a
/// journal: then nothing was written. `Io` if another process has it open for writing or changed it; as
/// reading the bundle and writing the image.
pub(super) fn in_place(request: &ApplyRequest, watch: &dyn Watch) -> Result<Done> {
    let run = Run::open(&request.old, request.threads, watch)?;
    let trusted = open_checked(&request.bundle, request.trust.as_ref(), None, watch)?;
    let bundle = trusted.bundle;
    let delta = Delta::find(&bundle, request.device.as_deref())?;
    let (journal, outcome) = if let Some(path) = find_journal(run.image)? {
        let journal = Journal::open(&path)?;
        run.check_same_change(&journal, &delta)?;
        run.check_between(&journal)?;
        (journal, Outcome::Finished)
    } else {
        let begun = run.begin(bundle, &delta).map_err(|e| run.unchanged(e))?;
        let Some(journal) = begun else {
            let changed_blocks = changed_blocks(&delta.old, &delta.new)?;
            let outcome = Outcome::Unchanged;
            return Ok(Done { delta, outcome, changed_blocks, notes: Vec::new() });
        };
        (journal, Outcome::Changed)
    };
    let Sides { old, new } = journal.sides();
    let changed_blocks = changed_blocks(old, new)?;
    let mut notes = run.write(&journal, Settle::Finish)?;
    notes.extend(trusted.notes);
    Ok(Done { delta, outcome, changed_blocks, notes })
}

/// Ends what an interrupted run has begun, one way or the other. Returns the journal, which is no longer
/// there, and what the user should hear.
///
/// # Errors
///
/// As [`in_place`]; `Invalid` if there is no journal.
pub(super) fn settle(request: &SettleRequest, watch: &dyn Watch) -> Result<(Journal, Vec<String>)> {
    let run = Run::open(&request.image, request.threads, watch)?;
    let Some(path) = find_journal(run.image)? else {
        let text = format!(
            "no in-place apply to it was interrupted: there is no {}",
            shown(&journal_of(run.image))
        );
        return Err(Error::invalid(text).in_file(run.image));
    };
    let journal = Journal::open(&path)?;
    run.check_between(&journal)?;
    let notes = run.write(&journal, request.settle)?;
    Ok((journal, notes))
}

/// An image that is changed in place.
struct Run<'a> {
    request: &'a ImageRequest,
    image: &'a Path,
    out: InPlace,
    /// The image as it is when the run begins.
    input: Arc<Input>,
    threads: NonZero<usize>,
    watch: &'a dyn Watch,
}

impl<'a> Run<'a> {
    /// Opens the image for changes, if nobody else does.
    fn open(
        request: &'a ImageRequest,
        threads: NonZero<usize>,
        watch: &'a dyn Watch,
    ) -> Result<Self> {
        let image = &request.path;
        if !is_plain(request) {
            let text = "only a raw image of one file can be changed in place";
            return Err(Error::invalid(text).in_file(image).advise("write a new image"));
        }
        let out = InPlace::open(image)?;
        let input = out.input()?;
        check_unused(request, &[Arc::clone(&input)])?;
        Ok(Self { request, image, out, input, threads, watch })
    }

    /// Reads all of `input`, and compares it with both sides.
    fn look(
        &self,
        input: &Arc<Input>,
        sides: Sides<'_>,
        journal: Option<&Journal>,
    ) -> Result<Found> {
        let fail = |error: Error| error.in_file(self.image);
        let volume = raw::volume(input).map_err(fail)?;
        let between = journal.map(|journal| journal.beside(&volume));
        let between = between.as_ref().map(|it| -> &dyn Between { it });
        look(&volume, sides, between, self.threads, self.watch).map_err(fail)
    }

    /// Opens the image as it is, or without its free blocks.
    fn volume(&self, free: Option<FreeRecord>) -> Result<Box<dyn ReadVolume>> {
        let volume = raw::volume(&self.input).map_err(|e| e.in_file(self.image))?;
        let volume: Box<dyn ReadVolume> = Box::new(volume);
        let Some(record) = free else { return Ok(volume) };
        let masked = mask(
            volume,
            record,
            self.image.to_owned(),
            "raw",
            Vec::new(),
            vec![Arc::clone(&self.input)],
        );
        Ok(Box::new(masked.map_err(|e| e.in_file(self.image))?.volume))
    }

    /// Tells how the image is like the old snapshot, `found` as it is, and through which view: if the snapshot was made
    /// without free blocks, and the image still has them, it is read as the snapshot was.
    fn old_view(&self, delta: &Delta, found: Likeness) -> Result<(Likeness, Option<FreeRecord>)> {
        if found.same_bytes() || !found.same_size || delta.old_free.is_none() {
            return Ok((found, None));
        }
        self.watch.prepare("checking", Some(self.input.len()));
        let volume = self.volume(delta.old_free)?;
        let sides = Sides { old: &delta.old, new: &delta.new };
        let found = look(&*volume, sides, None, self.threads, self.watch)
            .map_err(|e| e.in_file(self.image))?;
        Ok((found.old, delta.old_free))
    }

    /// Proves that the image is the old one, and writes the journal. `None` if it is the new one already:
    /// so a run that is repeated, to be sure, finds nothing to do.
    fn begin(&self, bundle: Bundle, delta: &Delta) -> Result<Option<Journal>> {
        self.watch.prepare("checking", Some(self.input.len()));
        let sides = Sides { old: &delta.old, new: &delta.new };
        let found = self.look(&self.input, sides, None)?;
        if found.new.same() || (found.new.same_bytes() && !found.old.same_bytes()) {
            return Ok(None);
        }
        let (found, free) = self.old_view(delta, found.old)?;
        if !found.same_bytes() {
            let text = not_the_snapshot(&found, self.input.len(), &delta.old);
            return Err(Error::new(Kind::Mismatch, text)
                .in_file(self.image)
                .advise("name the image that the bundle was packed against"));
        }
        // What is written over, and put back, is what the image has, its free blocks too.
        let stands = match free {
            Some(_) => Some(
                manifest_of(&*self.volume(None)?, self.threads, &Quiet(self.watch))
                    .map_err(|e| e.in_file(self.image))?,
            ),
            None => None,
        };
        let layer = bundle.bases().iter().find(|it| it.root == delta.old.root());
        let manifest = bundle.base_manifest(layer.expect("it was found before"))?;
        let base = BaseSnapshot::new(manifest, BaseBytes::Image(self.volume(free)?));
        let over = bundle.over(vec![Arc::new(base)])?;
        self.watch.begin(Some(delta.new.volume_size().strict_mul(2)));
        let path = journal_of(self.image);
        let image = Standing { volume: &*self.volume(None)?, made: stands.as_ref() };
        write_journal(&path, &over, delta, &image, self.threads, self.watch).map_err(|e| {
            let error = e.in_file(self.image);
            let full = error.path() == Some(&path) && matches!(error.advice(), Some(Advice::Do(_)));
            let advice = "free some space: the journal is written beside the image";
            if full { error.advise(advice) } else { error }
        })?;
        let ready = self.watch.check().and_then(|()| self.check_alone(&self.input));
        match ready.and_then(|()| Journal::open(&path)) {
            Ok(journal) => Ok(Some(journal)),
            // Nothing of the image is changed yet, and then there must be no journal.
            Err(error) => {
                io::remove(&path).map_err(|error| {
                    let left = "and its journal could not be removed";
                    error.leaving(format!("{} is unchanged, {left}", shown(self.image)))
                })?;
                Err(error)
            }
        }
    }

    /// Fails if anybody else writes to the image, or has done so since `input` was opened.
    fn check_alone(&self, input: &Arc<Input>) -> Result<()> {
        check_unused(self.request, &[Arc::clone(input)])?;
        self.out.check_name()?;
        input.check_unchanged()
    }

    /// Fails if an earlier run leads to another snapshot.
    fn check_same_change(&self, journal: &Journal, delta: &Delta) -> Result<()> {
        let (found, expected) = (journal.sides().new.root(), delta.new.root());
        if found == expected {
            return Ok(());
        }
        let text = format!(
            "an in-place apply to {} was interrupted that leads to the snapshot sha256:{found}, expected \
             sha256:{expected}",
            shown(self.image)
        );
        Err(Error::invalid(text).in_file(&journal.path).advise(self.finish_or_undo(journal)))
    }

    /// Proves that the image is the one that the journal was made for: each block that it leaves alone is
    /// the old one, and each that it changes is the old one, the new one, or between the two.
    fn check_between(&self, journal: &Journal) -> Result<()> {
        let sides = journal.sides();
        let strange = |what: String| {
            let text = format!(
                "{what}: it is not the image of the journal {}; nothing was written",
                shown(&journal.path)
            );
            Err(Error::new(Kind::Mismatch, text).in_file(self.image).advise(
                "put back the image that the journal was made for, or remove the journal to keep this \
                 one as it is",
            ))
        };
        let lengths = [sides.old.volume_size(), sides.new.volume_size()];
        if !lengths.contains(&self.input.len()) {
            let [old, new] = lengths;
            return strange(format!("it has {} bytes, expected {old} or {new}", self.input.len()));
        }
        self.watch.prepare("checking", Some(self.input.len()));
        let found = self
            .look(&self.input, sides, Some(journal))
            .map_err(|error| self.interrupted(error, journal))?;
        match found.stranger {
            Some(block) => {
                strange(format!("{} has neither the old nor the new content", place(block)))
            }
            None => self.check_alone(&self.input),
        }
    }

    /// Writes one side of the journal, proves the result, and removes the journal.
    fn write(&self, journal: &Journal, settle: Settle) -> Result<Vec<String>> {
        self.write_side(journal, settle).map_err(|error| self.half_done(error, journal))
    }

    fn write_side(&self, journal: &Journal, settle: Settle) -> Result<Vec<String>> {
        let (from, to) = match settle {
            Settle::Finish => (&journal.old, &journal.new),
            Settle::Undo => (&journal.new, &journal.old),
        };
        self.watch.begin(Some(to.size()));
        if self.input.len() != to.size() {
            // On the disk before any block, so that a power cut leaves one of two sizes.
            self.out.set_size(to.size())?;
            self.out.sync()?;
        }
        write_changes(from.manifest(), to, &self.out, self.threads, self.watch)?;
        self.out.sync()?;
        let written = self.out.input()?;
        self.watch.prepare("proving", Some(written.len()));
        let sides = Sides { old: from.manifest(), new: to.manifest() };
        let likeness = self.look(&written, sides, None)?.new;
        if !likeness.same_bytes() {
            let text = not_the_snapshot(&likeness, written.len(), sides.new);
            let text = format!("{text}: another program wrote to it during the run");
            return Err(Error::new(Kind::Mismatch, text).in_file(self.image));
        }
        self.check_alone(&written)?;
        io::remove(&journal.path).map_err(|error| {
            error.leaving(format!("{} is done, and only its journal is left", shown(self.image)))
        })?;
        Ok(states_note(likeness.other_states).into_iter().collect())
    }

    fn finish_or_undo(&self, journal: &Journal) -> Advice {
        Advice::FinishJournal { journal: journal.path.clone(), image: self.image.to_owned() }
    }

    /// Adds to the error of a run that has written nothing what became of the image.
    fn unchanged(&self, error: Error) -> Error {
        match error.kind() {
            Kind::Interrupted | Kind::Io => {
                error.leaving(format!("{} is unchanged", shown(self.image)))
            }
            _ => error,
        }
    }

    /// Adds to the error of a run that was stopped what became of the image, which an earlier run has changed
    /// in part.
    fn interrupted(&self, error: Error, journal: &Journal) -> Error {
        match error.kind() {
            Kind::Interrupted => self.half_done(error, journal),
            _ => error,
        }
    }

    /// Adds to any error what became of the image, once the journal is there.
    fn half_done(&self, error: Error, journal: &Journal) -> Error {
        error
            .leaving(format!("{} may be part old, part new", shown(self.image)))
            .advise(self.finish_or_undo(journal))
    }
}

/// Says that an image is not a snapshot.
fn not_the_snapshot(likeness: &Likeness, size: u64, expected: &Manifest) -> String {
    let found = match likeness.other {
        Some(block) if likeness.same_size => format!("{} has other bytes", place(block)),
        _ => format!("it has {size} bytes and not {}", expected.volume_size()),
    };
    format!("{found}, expected those of the snapshot sha256:{}", expected.root())
}

/// Names a block.
fn place(block: BlockIndex) -> String {
    format!("block {block} (from byte {} on)", block.offset())
}
