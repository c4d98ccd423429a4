//! A file of text under way: lines are collected, and written a piece at a time.

use crate::error::Result;
use crate::io::OutputFile;
use crate::io::WRITE_PIECE_LEN;
use crate::io::WriteAt as _;

/// A file of text.
#[derive(Debug)]
pub(super) struct TextFile {
    file: OutputFile,
    at: u64,
    buffer: Vec<u8>,
}

impl TextFile {
    /// Writes into a new file.
    pub(super) fn new(file: OutputFile) -> Self {
        Self { file, at: 0, buffer: Vec::with_capacity(WRITE_PIECE_LEN) }
    }

    /// Hands over the buffer for one more line, and writes it when it is full.
    ///
    /// # Errors
    ///
    /// `Io` if the file cannot be written.
    pub(super) fn line(&mut self, add: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        add(&mut self.buffer);
        if self.buffer.len() >= WRITE_PIECE_LEN { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.file.write_all_at(&self.buffer, self.at)?;
        let len = u64::try_from(self.buffer.len()).expect("memory is under 2^64 bytes");
        self.at = self.at.strict_add(len);
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is left, and returns the file.
    ///
    /// # Errors
    ///
    /// `Io` if it cannot be written.
    pub(super) fn finish(mut self) -> Result<OutputFile> {
        self.flush()?;
        Ok(self.file)
    }
}
