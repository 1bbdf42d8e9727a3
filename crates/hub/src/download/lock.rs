//! One writer a file, across threads and processes.
//!
//! The lock is `flock` on the same file that `huggingface_hub` locks, so Python and this program wait for each other.
//! Some network filesystems have no locks; there the digest check is what keeps a file whole.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::error::{Error, Result};

/// Held until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    /// Closing the file gives the lock back.
    _file: File,
}

impl Lock {
    /// Takes the lock; `on_wait` is called once if somebody else has it.
    pub(crate) fn acquire(path: &Path, on_wait: impl FnOnce()) -> Result<Self> {
        make_parent(path)?;
        let file = File::options().create(true).append(true).open(path).map_err(|e| Error::io(path, e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                on_wait();
                file.lock().map_err(|e| Error::io(path, e))?;
            }
            Err(TryLockError::Error(e)) if e.kind() == std::io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(e)) => return Err(Error::io(path, e)),
        }
        Ok(Self { _file: file })
    }
}

/// Makes the folder that a file will lie in.
pub(crate) fn make_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(folder) => std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e)),
        None => Ok(()),
    }
}
