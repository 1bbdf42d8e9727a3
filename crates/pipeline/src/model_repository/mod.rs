//! A Triton model repository that is there: a package's models join it as new versions, or their files leave it.
//!
//! A server may be running on it. So whatever is written is made beside the repository and renamed into it, configurations
//! first and the folder of the version last.

mod add;
mod clean;

use std::fs;
use std::path::{Path, PathBuf};

pub use add::{Added, Adding, add_to_repository};
pub use clean::{CleanedRepository, RemovedFile, clean_repository};

use crate::Error;

/// A server does not look at files beside the models' folders.
const LOCK: &str = ".sightline.lock";
/// What a folder is called while it is made.
const WORK: &str = ".sightline-";
/// The file that makes a folder a model.
const CONFIG: &str = "config.pbtxt";

/// A repository, locked while it is open.
struct Repository {
    root: PathBuf,
    _lock: fs::File,
}

impl Repository {
    /// Opens and locks it; removes what a killed run left in it or beside it.
    fn open(path: &Path) -> Result<Self, Error> {
        let root = look(path)?;
        let lock_path = root.join(LOCK);
        let at = |source| Error::Io { path: lock_path.clone(), source };
        let lock = fs::File::create(&lock_path).map_err(at)?;
        lock.lock().map_err(at)?;
        let repository = Self { root, _lock: lock };
        let prefix = repository.work_prefix();
        for folder in [Some(repository.root.as_path()), repository.root.parent()].into_iter().flatten() {
            for name in names(folder).unwrap_or_default() {
                if name.starts_with(&prefix) {
                    let path = folder.join(name);
                    fs::remove_dir_all(&path).map_err(|source| Error::Io { path, source })?;
                }
            }
        }
        Ok(repository)
    }

    /// Two repositories beside each other do not take away each other's work.
    fn work_prefix(&self) -> String {
        let name = self.root.file_name().map(|name| name.to_string_lossy().into_owned());
        format!("{WORK}{}-", name.unwrap_or_default())
    }

    /// A folder from which can be renamed into the repository: beside it, where no server looks; inside where that is
    /// another file system or not allowed.
    fn work(&self) -> Result<tempfile::TempDir, Error> {
        use std::os::unix::fs::MetadataExt;
        let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev()).ok();
        let prefix = self.work_prefix();
        let made = |folder: &Path| tempfile::Builder::new().prefix(&prefix).tempdir_in(folder);
        let parent = self.root.parent().filter(|parent| device(parent) == device(&self.root));
        if let Some(beside) = parent.and_then(|parent| made(parent).ok()) {
            return Ok(beside);
        }
        made(&self.root).map_err(|source| Error::Io { path: self.root.clone(), source })
    }
}

/// The folder as an absolute path.
fn look(path: &Path) -> Result<PathBuf, Error> {
    if !path.is_dir() {
        return Err(Error::NotARepository { path: path.to_owned(), reason: "is not a folder" });
    }
    fs::canonicalize(path).map_err(|source| Error::Io { path: path.to_owned(), source })
}

/// Names in a folder, in order.
fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let at = |source| Error::Io { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(at)? {
        names.extend(entry.map_err(at)?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

/// The versions of a model, by number. A server ignores what is no number or begins with 0.
fn versions(model: &Path) -> Result<Vec<u64>, Error> {
    let number = |name: &String| {
        let digits = !name.starts_with('0') && name.bytes().all(|byte| byte.is_ascii_digit());
        name.parse().ok().filter(|_| digits && model.join(name).is_dir())
    };
    let mut versions: Vec<u64> = names(model)?.iter().filter_map(number).collect();
    versions.sort_unstable();
    Ok(versions)
}
