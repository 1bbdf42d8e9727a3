//! A file on its way: appended in order, hashed as it grows.
//!
//! The file's length is always exactly what may be resumed from, even after `kill -9`, because bytes are only ever
//! appended in order. What an earlier run left is hashed before anything is added to it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::hashing::{Digests, Hashing};
use crate::error::{Error, Result};

/// The growing file with its running digests.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    file: File,
    len: u64,
    hashing: Hashing,
    git_len: Option<u64>,
}

impl Partial {
    /// Opens what is there, or begins. A file longer than `size` is begun anew.
    pub(super) fn open(path: &Path, size: Option<u64>, git_len: Option<u64>) -> Result<Self> {
        super::lock::make_parent(path)?;
        let io = |e| Error::io(path, e);
        let file = File::options().create(true).append(true).read(true).open(path).map_err(io)?;
        let mut partial =
            Self { path: path.to_owned(), file, len: 0, hashing: Hashing::start(git_len), git_len };
        let there = partial.file.metadata().map_err(io)?.len();
        if there == 0 {
            return Ok(partial);
        }
        if size.is_some_and(|size| there > size) {
            partial.restart()?;
            return Ok(partial);
        }
        // Appending writes go to the end whatever the read position.
        partial.len = partial.hashing.read(&mut partial.file, |_| ()).map_err(io)?;
        Ok(partial)
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// A buffer to fill for [`Self::append`].
    pub(super) fn buffer(&self) -> Vec<u8> {
        self.hashing.buffer()
    }

    /// Writes and hashes the first `len` bytes of the buffer.
    pub(super) fn append(&mut self, buffer: Vec<u8>, len: usize) -> Result<()> {
        if let Err(error) = self.file.write_all(&buffer[..len]) {
            // Part of the buffer may be in the file: what was hashed is what counts.
            let _ = self.file.set_len(self.len);
            return Err(Error::io(&self.path, error));
        }
        self.len += len as u64;
        self.hashing.push(buffer, len);
        Ok(())
    }

    /// Throws everything away and begins again.
    pub(super) fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(|e| Error::io(&self.path, e))?;
        self.len = 0;
        self.hashing = Hashing::start(self.git_len);
        Ok(())
    }

    /// The digests of the whole; the file stays where it is.
    pub(super) fn finish(self) -> Digests {
        self.hashing.finish()
    }
}
