//! A thin bundle and its base, to the whole bundle that both are parts of.

use std::path::Path;

use crate::bundle::Bundle;
use crate::bundle::replace::check_replaceable;
use crate::bundle::writer::copy_blob;
use crate::error::Error;
use crate::error::Result;
use crate::error::shown;
use crate::layout;
use crate::layout::Name;
use crate::layout::Sink;
use crate::work::Watch;

impl Bundle {
    /// Writes the whole bundle of which this one leaves out what `base` has, as `output`. Both have
    /// the same digest. Returns how many blobs came from the base.
    ///
    /// # Errors
    ///
    /// `Invalid` if a blob is in neither; `Mismatch` if one is damaged; `Io`, and then nothing has the
    /// name.
    pub fn complete(&self, base: &Self, output: &Path, watch: &dyn Watch) -> Result<u64> {
        let mut sink = Sink::create(output, check_replaceable)?;
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
        sink.write(layout::INDEX_NAME, &self.own_index())?;
        sink.commit()?;
        Ok(taken)
    }
}
