//! What steps remember: content-addressed blobs and one record a step and key.
//!
//! Everything is written beside and renamed into place, records last, so whatever a record names is there and whole,
//! at whatever moment the program was killed.
//!
//! ```text
//! <out>/.sightline/blobs/<sha256>            immutable files
//! <out>/.sightline/steps/<step>/<key>.json   records: input, output, blobs, warnings
//! <out>/.sightline/last/<package>/<step>     the key of the newest record, to say why a step runs again
//! <out>/.sightline/tmp/                      files being written; emptied under the lock at the next start
//! ```

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{Digest, Error};

/// An immutable file in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// Its length.
    pub bytes: u64,
}

/// What a step left behind.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record<O> {
    pub(crate) input: serde_json::Value,
    pub(crate) output: O,
    pub(crate) blobs: Vec<Blob>,
    pub(crate) warnings: Vec<String>,
    pub(crate) elapsed: Duration,
}

/// The store of one output folder, locked while it is open.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    _lock: Option<fs::File>,
}

impl Store {
    /// The folder's name inside the output folder.
    pub const FOLDER: &str = ".sightline";

    /// Opens the store of an output folder, making it where it is missing. While another import holds it, `waiting` is
    /// told once, then this waits.
    pub fn open(out: &Path, waiting: &dyn Fn()) -> Result<Self, Error> {
        let root = out.join(Self::FOLDER);
        for folder in ["blobs", "steps", "last", "side", "tmp"] {
            create_dir(&root.join(folder))?;
        }
        let lock_path = root.join("lock");
        let lock =
            fs::File::create(&lock_path).map_err(|source| Error::Io { path: lock_path.clone(), source })?;
        if lock.try_lock().is_err() {
            waiting();
            lock.lock().map_err(|source| Error::Io { path: lock_path, source })?;
        }
        let store = Self { root, _lock: Some(lock) };
        // Whoever wrote these holds the lock no more: they are what a killed run left.
        remove_contents(&store.root.join("tmp"))?;
        Ok(store)
    }

    /// Opens the store to look only: nothing is made, nothing is locked.
    pub fn open_to_look(out: &Path) -> Self {
        Self { root: out.join(Self::FOLDER), _lock: None }
    }

    /// The same store for a thread of the run that holds the lock.
    pub(crate) fn shared(&self) -> Self {
        Self { root: self.root.clone(), _lock: None }
    }

    /// The folder that packages go to.
    pub(crate) fn out(&self) -> &Path {
        self.root.parent().unwrap_or(&self.root)
    }

    /// Where unfinished things lie; emptied at the next start.
    pub(crate) fn work(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// A file of the store that no record names, such as a cache.
    pub(crate) fn side_file(&self, name: &str) -> PathBuf {
        self.root.join("side").join(name)
    }

    /// Where a blob lies.
    pub fn path(&self, blob: &Blob) -> PathBuf {
        self.root.join("blobs").join(blob.sha256.as_hex())
    }

    /// Whether a blob is there, undamaged.
    pub fn holds(&self, blob: &Blob) -> bool {
        let path = self.path(blob);
        let whole = fs::metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() == blob.bytes);
        whole && Digest::of_file(&path).is_ok_and(|digest| digest == blob.sha256)
    }

    /// Stores bytes.
    pub(crate) fn put(&self, bytes: &[u8]) -> Result<Blob, Error> {
        self.put_with(|out| out.write_all(bytes).map_err(Into::into))
    }

    /// Stores what `write` writes, hashed on the way.
    pub(crate) fn put_with(
        &self,
        write: impl FnOnce(&mut dyn Write) -> Result<(), WriteError>,
    ) -> Result<Blob, Error> {
        let (file, temporary) = self.temporary()?;
        let at = |source| Error::Io { path: temporary.clone(), source };
        let mut out =
            Hashing { inner: BufWriter::with_capacity(1 << 20, file), hash: Sha256::new(), bytes: 0 };
        let written = write(&mut out).map_err(|error| match error {
            WriteError::Io(source) => at(source),
            WriteError::Graph(error) => graph_write_error(error, &temporary),
        });
        let finished = written.and_then(|()| {
            let file = out.inner.into_inner().map_err(|error| at(error.into_error()))?;
            file.sync_all().map_err(at)
        });
        if let Err(error) = finished {
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        let blob = Blob { sha256: Digest::from_hash(out.hash), bytes: out.bytes };
        rename(&temporary, &self.path(&blob))?;
        Ok(blob)
    }

    /// Takes a finished file of [`Store::work`] in as a blob: hashed, then renamed.
    pub(crate) fn adopt(&self, file: &Path) -> Result<Blob, Error> {
        let at = |source| Error::Io { path: file.to_owned(), source };
        let bytes = fs::metadata(file).map_err(at)?.len();
        fs::File::open(file).and_then(|file| file.sync_all()).map_err(at)?;
        fs::set_permissions(file, readable()).map_err(at)?;
        let blob = Blob { sha256: Digest::of_file(file)?, bytes };
        rename(file, &self.path(&blob))?;
        Ok(blob)
    }

    /// The record of a step under a key, when it is readable and its blobs are there.
    pub(crate) fn load<O: DeserializeOwned>(&self, step: &str, key: &Digest) -> Option<Record<O>> {
        let text = fs::read(self.record_path(step, key)).ok()?;
        let record: Record<O> = serde_json::from_slice(&text).ok()?;
        record.blobs.iter().all(|blob| self.holds(blob)).then_some(record)
    }

    /// Writes a record and marks it as the package's newest.
    pub(crate) fn save<O: Serialize>(
        &self,
        package: &str,
        step: &str,
        mark: &str,
        key: &Digest,
        record: &Record<O>,
    ) -> Result<(), Error> {
        let json = serde_json::to_vec_pretty(record)
            .map_err(|source| Error::Record { what: step.to_owned(), source })?;
        self.write_whole(&self.record_path(step, key), &json)?;
        self.mark(package, mark, key)
    }

    /// Marks a record as the package's newest of its kind: its step, or its step and what for.
    pub(crate) fn mark(&self, package: &str, mark: &str, key: &Digest) -> Result<(), Error> {
        self.write_whole(&self.root.join("last").join(package).join(mark), key.as_hex().as_bytes())
    }

    /// The input of the package's newest record of a step, as [`Store::mark`] left it.
    pub(crate) fn last_input(&self, package: &str, step: &str, mark: &str) -> Option<serde_json::Value> {
        let key = fs::read_to_string(self.root.join("last").join(package).join(mark)).ok()?;
        let text = fs::read(self.record_path(step, &Digest::from_hex(&key)?)).ok()?;
        let record: Record<serde_json::Value> = serde_json::from_slice(&text).ok()?;
        Some(record.input)
    }

    /// Writes a file beside and renames it into place.
    pub(crate) fn write_whole(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        if let Some(folder) = path.parent() {
            create_dir(folder)?;
        }
        let (mut file, temporary) = self.temporary()?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        if let Err(source) = written {
            let _ = fs::remove_file(&temporary);
            return Err(Error::Io { path: temporary, source });
        }
        rename(&temporary, path)
    }

    /// An empty folder that no one else uses, removed at the next start if this run is killed.
    pub(crate) fn temporary_folder(&self) -> Result<PathBuf, Error> {
        let folder = self.root.join("tmp");
        let made = tempfile::Builder::new().prefix("package-").tempdir_in(&folder);
        let made = made.map_err(|source| Error::Io { path: folder, source })?;
        Ok(made.keep())
    }

    fn temporary(&self) -> Result<(fs::File, PathBuf), Error> {
        let folder = self.root.join("tmp");
        let file = tempfile::Builder::new().permissions(readable()).tempfile_in(&folder);
        let file = file.map_err(|source| Error::Io { path: folder.clone(), source })?;
        file.keep().map_err(|error| Error::Io { path: folder, source: error.error })
    }

    fn record_path(&self, step: &str, key: &Digest) -> PathBuf {
        self.root.join("steps").join(step).join(format!("{key}.json"))
    }
}

/// Removes the store of an output folder; packages stay. Gives its folder and how many bytes it holds.
///
/// # Errors
/// [`Error::Io`]; waits while an import holds the store.
pub fn clean(out: &Path, dry_run: bool) -> Result<(PathBuf, u64), Error> {
    let root = out.join(Store::FOLDER);
    if !root.is_dir() {
        return Ok((root, 0));
    }
    let bytes =
        files_below(&root)?.iter().filter_map(|path| fs::metadata(path).ok()).map(|meta| meta.len()).sum();
    if !dry_run {
        // The folders and the lock stay: an import may be waiting for it.
        let store = Store::open(out, &|| {})?;
        for folder in ["blobs", "steps", "last", "side"] {
            remove_contents(&store.root.join(folder))?;
        }
    }
    Ok((root, bytes))
}

/// All files below a folder in order of path, links not followed.
pub(crate) fn files_below(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let at = |source| Error::Io { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(at)? {
        let entry = entry.map_err(at)?;
        let kind = entry.file_type().map_err(at)?;
        if kind.is_dir() {
            files.extend(files_below(&entry.path())?);
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Why the writer of a blob stopped.
#[derive(Debug)]
pub(crate) enum WriteError {
    Io(std::io::Error),
    Graph(graph::Error),
}

impl From<std::io::Error> for WriteError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<graph::Error> for WriteError {
    fn from(error: graph::Error) -> Self {
        Self::Graph(error)
    }
}

fn graph_write_error(error: graph::Error, path: &Path) -> Error {
    match error {
        graph::Error::Write(source) => Error::Io { path: path.to_owned(), source },
        other => other.into(),
    }
}

/// A writer that hashes and counts what passes.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

pub(crate) fn create_dir(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|source| Error::Io { path: path.to_owned(), source })
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(|source| Error::Io { path: to.to_owned(), source })
}

fn remove_contents(folder: &Path) -> Result<(), Error> {
    let at = |source| Error::Io { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(at)? {
        let path = entry.map_err(at)?.path();
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(|source| Error::Io { path, source })?;
    }
    Ok(())
}

/// Blobs become files of a package by hard links: readable by all, as any other file would be.
fn readable() -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    fs::Permissions::from_mode(0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_without_its_blob_is_no_record() {
        let out = tempfile::tempdir().unwrap();
        let store = Store::open(out.path(), &|| {}).unwrap();
        let blob = store.put(b"weights").unwrap();
        let key = Digest::of(b"key");
        let record = Record {
            input: serde_json::json!({"opset": 17}),
            output: 5,
            blobs: vec![blob.clone()],
            warnings: Vec::new(),
            elapsed: Duration::ZERO,
        };
        store.save("p", "export", "export", &key, &record).unwrap();
        assert_eq!(store.load::<i32>("export", &key).unwrap().output, 5);
        assert_eq!(store.last_input("p", "export", "export").unwrap()["opset"], 17);
        fs::remove_file(store.path(&blob)).unwrap();
        assert!(store.load::<i32>("export", &key).is_none());
    }

    #[test]
    fn what_a_killed_run_left_is_removed() {
        let out = tempfile::tempdir().unwrap();
        let left = {
            let store = Store::open(out.path(), &|| {}).unwrap();
            store.temporary().unwrap().1
        };
        assert!(left.exists());
        let _store = Store::open(out.path(), &|| {}).unwrap();
        assert!(!left.exists());
    }

    #[test]
    fn a_writer_that_fails_leaves_nothing() {
        let out = tempfile::tempdir().unwrap();
        let store = Store::open(out.path(), &|| {}).unwrap();
        let failed = store.put_with(|_| Err(std::io::Error::other("no space").into()));
        assert!(matches!(failed, Err(Error::Io { .. })));
        assert_eq!(fs::read_dir(out.path().join(".sightline/tmp")).unwrap().count(), 0);
    }
}
