//! A thin bundle and its base, to the whole bundle that both are parts of.

use std::path::Path;

use crate::bundle::Bundle;
use crate::bundle::replace::check_replaceable;
use crate::bundle::writer::copy_blob;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::error::shown;
use crate::layout::Name;
use crate::layout::Sink;
use crate::work::Watch;

impl Bundle {
    /// Writes the whole bundle of which this one leaves out what `base` has, as `output`. Both have
    /// the same digest. Returns how many blobs came from the base, and what the user should hear of signatures.
    ///
    /// # Errors
    ///
    /// `Invalid` if a blob is in neither; `Mismatch` if one is damaged; `Io`, and then nothing has the
    /// name.
    pub fn complete(
        &self,
        base: &Self,
        output: &Path,
        watch: &dyn Watch,
    ) -> Result<(u64, Vec<String>)> {
        let mut sink = Sink::create(output, check_replaceable, watch)?;
        let mut taken = 0_u64;
        for blob in self.blobs() {
            let from = if self.store.file(Name::Blob(blob.digest))?.is_some() {
                self
            } else if base.store.file(Name::Blob(blob.digest))?.is_some() {
                taken = taken.strict_add(1);
                base
            } else {
                let text = format!(
                    "the blob sha256:{} is in neither bundle, expected it in {}",
                    blob.digest,
                    shown(base.path())
                );
                return Err(Error::invalid(text)
                    .in_file(self.path())
                    .advise("name the bundle that this one was packed against"));
            };
            copy_blob(&mut sink, from, &blob, watch)?;
            watch.advance(blob.size);
        }
        self.give_name(sink, watch)?;
        Ok((taken, self.copy_signatures(output, watch)?))
    }

    /// Writes the bundle, as it is, as `output`: a copy of the same digest. A thin one stays thin, unless the place
    /// that it goes to has what it leaves out. Its signatures go with it, as far as the notes that are returned do not
    /// say otherwise.
    ///
    /// # Errors
    ///
    /// `Invalid` if it is thin and goes into a store that lacks its packs; `Mismatch` if a blob is damaged; `Io`, and
    /// then nothing has the name.
    pub fn copy_to(&self, output: &Path, watch: &dyn Watch) -> Result<Vec<String>> {
        let mut sink = Sink::create(output, check_replaceable, watch)?;
        for blob in self.blobs() {
            watch.advance(blob.size);
            if sink.has(&blob)? {
                continue;
            }
            if self.store.file(Name::Blob(blob.digest))?.is_none() && sink.store().is_none() {
                // What a thin bundle leaves out: opening it said whether that is so.
                continue;
            }
            if self.store.file(Name::Blob(blob.digest))?.is_none() {
                let text =
                    format!("it leaves out the blob sha256:{}, which the store lacks", blob.digest);
                return Err(Error::invalid(text).in_file(self.path()).advise(Advice::NameBase));
            }
            copy_blob(&mut sink, self, &blob, watch)?;
        }
        self.give_name(sink, watch)?;
        self.copy_signatures(output, watch)
    }

    fn give_name(&self, sink: Sink, watch: &dyn Watch) -> Result<()> {
        let facts = self.facts();
        sink.commit(&self.manifest, self.artifact_type(), self.own_reference(), &facts, watch)
    }
}
