//! Puts what a run wrote in place, when all of it is there.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::Error;
use crate::store::create_dir;

/// A folder for what is being written, beside where it goes. What is left in it goes when this is dropped.
pub(super) struct Workplace {
    work: TempDir,
    target: PathBuf,
}

impl Workplace {
    /// For results in `target`, which is made.
    pub(super) fn new(target: &Path) -> Result<Self, Error> {
        create_dir(target)?;
        let at = |source| Error::Io { path: target.to_owned(), source };
        let work = tempfile::Builder::new().prefix(".partial-").tempdir_in(target).map_err(at)?;
        Ok(Self { work, target: target.to_owned() })
    }

    pub(super) fn path(&self) -> &Path {
        self.work.path()
    }

    /// A folder in it.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf, Error> {
        let folder = self.work.path().join(name);
        create_dir(&folder)?;
        Ok(folder)
    }

    /// Gives a file or folder its final name, in place of an older one.
    pub(super) fn publish(&self, name: &str) -> Result<(), Error> {
        let (from, to) = (self.work.path().join(name), self.target.join(name));
        let at = |source| Error::Io { path: to.clone(), source };
        // A folder cannot be renamed onto one that holds something.
        if to.is_dir() {
            fs::rename(&to, self.work.path().join(format!("{name}.old"))).map_err(at)?;
        }
        fs::rename(&from, &to).map_err(at)
    }

    /// Removes what an earlier run left under this name.
    pub(super) fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.target.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::Io { path, source: error })
            }
            _ => Ok(()),
        }
    }
}
