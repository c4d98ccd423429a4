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
use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::format::raw;
use crate::io;
use crate::io::InPlace;
use crate::io::Input;
use crate::io::ReadAt;
use crate::io::WriteAt;
use crate::manifest::Manifest;
use crate::ops::apply::changes::Delta;
use crate::ops::apply::changes::write_changes;
use crate::ops::apply::journal::Journal;
use crate::ops::apply::journal::write_journal;
use crate::ops::apply::proof::Likeness;
use crate::ops::apply::proof::Sides;
use crate::ops::apply::proof::look;
use crate::ops::apply::request::ApplyRequest;
use crate::ops::shared::journal::find_journal;
use crate::ops::shared::journal::journal_of;
use crate::ops::shared::open::check_unused;
use crate::units::BlockIndex;
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

/// An image that is changed in place.
struct Run<'a> {
    request: &'a ApplyRequest,
    image: &'a Path,
    out: InPlace,
    threads: NonZero<usize>,
    watch: &'a dyn Watch,
}

/// Changes the old image. Returns what changed, what became of it, and what the user should hear.
///
/// # Errors
///
/// `Mismatch` if the image is not the old one, and none between the old and the new one where there is a
/// journal: then nothing was written. `Io` if another process has it open for writing or changed it; as
/// reading the bundle and writing the image.
pub(super) fn in_place(
    request: &ApplyRequest,
    watch: &dyn Watch,
) -> Result<(Delta, Outcome, Vec<String>)> {
    let image = &request.old.path;
    if !request.old_is_plain() {
        let text = "only a raw image of one file can be changed in place";
        return Err(Error::invalid(text).in_file(image).advise("write a new image"));
    }
    let out = InPlace::open(image)?;
    let run = Run { request, image, out, threads: request.threads, watch };
    let input = run.out.input()?;
    check_unused(&request.old, &[Arc::clone(&input)])?;
    let bundle = Bundle::open(&request.bundle)?;
    let delta = Delta::find(&bundle, request.device.as_deref())?;
    let (journal, outcome) = match find_journal(image)? {
        Some(path) => {
            let journal = Journal::open(&path)?;
            run.check_same_change(&journal, &delta)?;
            run.check_between(&journal, &input)?;
            (journal, Outcome::Finished)
        }
        None => match run.begin(bundle, &delta, &input)? {
            Some(journal) => (journal, Outcome::Changed),
            None => return Ok((delta, Outcome::Unchanged, Vec::new())),
        },
    };
    let notes = run.finish(&journal, &input).map_err(|e| {
        e.advise(Advice::FinishJournal { journal: journal.path.clone(), image: image.clone() })
    })?;
    Ok((delta, outcome, notes))
}

impl Run<'_> {
    /// Proves that the image is the old one, and writes the journal. `None` if it is the new one already:
    /// so a run that is repeated, to be sure, finds nothing to do.
    fn begin(&self, bundle: Bundle, delta: &Delta, input: &Arc<Input>) -> Result<Option<Journal>> {
        let volume = raw::volume(input).map_err(|e| e.in_file(self.image))?;
        self.watch.prepare("checking", Some(input.len()));
        let sides = Sides { old: &delta.old, new: &delta.new };
        let found = look(&volume, sides, None, self.threads, self.watch)
            .map_err(|e| e.in_file(self.image))?;
        if found.new.same() || (found.new.same_bytes() && !found.old.same_bytes()) {
            return Ok(None);
        }
        if !found.old.same_bytes() {
            let text = not_the_snapshot(&found.old, input.len(), &delta.old);
            return Err(Error::new(Kind::Mismatch, text)
                .in_file(self.image)
                .advise("name the image that the bundle was packed against"));
        }
        let layer = bundle.bases().iter().find(|it| it.root == delta.old.root());
        let manifest = bundle.base_manifest(layer.expect("it was found before"))?;
        let base = BaseSnapshot::new(manifest, BaseBytes::Image(Box::new(volume)));
        let over = bundle.over(vec![Arc::new(base)])?;
        self.watch.begin(Some(delta.new.volume_size().strict_mul(2)));
        let path = journal_of(self.image);
        let volume = raw::volume(input).map_err(|e| e.in_file(self.image))?;
        write_journal(&path, &over, delta, &volume, self.threads, self.watch)
            .map_err(|e| e.in_file(self.image))?;
        let ready = self.watch.check().and_then(|()| self.check_alone(input));
        match ready.and_then(|()| Journal::open(&path)) {
            Ok(journal) => Ok(Some(journal)),
            // Nothing of the image is changed yet, and then there must be no journal.
            Err(error) => {
                io::remove(&path)?;
                Err(error)
            }
        }
    }

    /// Fails if anybody else writes to the image, or has done so since `input` was opened.
    fn check_alone(&self, input: &Arc<Input>) -> Result<()> {
        check_unused(&self.request.old, &[Arc::clone(input)])?;
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
            "an earlier in-place apply was interrupted: it leads to the snapshot sha256:{found}, \
             expected sha256:{expected}"
        );
        let advice =
            Advice::FinishJournal { journal: journal.path.clone(), image: self.image.to_owned() };
        Err(Error::invalid(text).in_file(&journal.path).advise(advice))
    }

    /// Proves that the image is the one that the journal was made for: each block that it leaves alone is
    /// the old one, and each that it changes is the old one, the new one, or between the two.
    fn check_between(&self, journal: &Journal, input: &Arc<Input>) -> Result<()> {
        let sides = journal.sides();
        let advice = "put back the image that the journal was made for, or remove the journal to keep this one as it is";
        let lengths = [sides.old.volume_size(), sides.new.volume_size()];
        if !lengths.contains(&input.len()) {
            let text = format!(
                "it has {} bytes, expected {} or {}: it is not the image of the journal {}; nothing \
                 was written",
                input.len(),
                lengths[0],
                lengths[1],
                journal.path.display()
            );
            return Err(Error::new(Kind::Mismatch, text).in_file(self.image).advise(advice));
        }
        let volume = raw::volume(input).map_err(|e| e.in_file(self.image))?;
        self.watch.prepare("checking", Some(input.len()));
        let between = journal.beside(&volume);
        let found = look(&volume, sides, Some(&between), self.threads, self.watch)
            .map_err(|e| e.in_file(self.image))?;
        if let Some(block) = found.stranger {
            let text = format!(
                "{} has neither the old nor the new content: it is not the image of the journal {}; \
                 nothing was written",
                place(block),
                journal.path.display()
            );
            return Err(Error::new(Kind::Mismatch, text).in_file(self.image).advise(advice));
        }
        self.watch.begin(Some(sides.new.volume_size()));
        self.check_alone(input)
    }

    /// Writes what the journal holds, proves the result, and removes the journal.
    fn finish(&self, journal: &Journal, input: &Input) -> Result<Vec<String>> {
        let sides = journal.sides();
        if input.len() != sides.new.volume_size() {
            // On the disk before any block, so that a power cut leaves one of two sizes.
            self.out.set_size(sides.new.volume_size())?;
            self.out.sync()?;
        }
        write_changes(sides.old, &journal.new, &self.out, self.threads, self.watch)?;
        self.out.sync()?;
        let written = self.out.input()?;
        let volume = raw::volume(&written).map_err(|e| e.in_file(self.image))?;
        self.watch.prepare("proving", Some(written.len()));
        let found = look(&volume, sides, None, self.threads, self.watch)
            .map_err(|e| e.in_file(self.image))?;
        if !found.new.same_bytes() {
            let text = not_the_snapshot(&found.new, written.len(), sides.new);
            let text = format!("{text}: another program wrote to it during the run");
            return Err(Error::new(Kind::Mismatch, text).in_file(self.image));
        }
        self.check_alone(&written)?;
        io::remove(&journal.path)?;
        Ok(notes(&found.new))
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

/// Says where the holes are others than in the snapshot.
fn notes(likeness: &Likeness) -> Vec<String> {
    if likeness.other_states == 0 {
        return Vec::new();
    }
    vec![format!(
        "the image has the snapshot's bytes; {} of its blocks are holes where the snapshot has written \
         zeros, or the other way round",
        likeness.other_states
    )]
}
