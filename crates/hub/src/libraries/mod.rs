//! Inference libraries: fetched from the Python Package Index by pinned digest, unpacked into a folder of their own.
//!
//! No Python is needed: a wheel is a zip. A library's folder is there complete or not at all; it is made beside and
//! renamed. Each keeps what it is in `library.json`.

mod index;
mod table;
mod unpack;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use index::PackageIndex;
pub use table::{LIBRARIES, Library, Wheel};

use crate::choose::Digest;
use crate::client::{Client, Failure, Refusal, Request};
use crate::download::{self, Job, Lock, hash_file};
use crate::error::{Error, Result};
use crate::progress::{Event, Events};

/// What a library's folder says about itself.
const RECORD: &str = "library.json";
/// The folder of wheels on their way, and how folders begin that are being filled.
const DOWNLOADS: &str = ".downloads";
const UNPACKING: &str = ".unpacking-";

/// A library on this disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// The name that it was asked for by.
    pub name: String,
    /// Its release.
    pub version: String,
    /// The file to open.
    pub library: PathBuf,
    /// Where it comes from.
    pub origin: Origin,
    /// Its files with their SHA-256, relative to its folder. Empty for a file of the user's.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

/// Where a library comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Origin {
    /// A wheel of the index.
    Wheel {
        /// Its name.
        file: String,
        /// Its SHA-256.
        sha256: String,
    },
    /// A file that the user named.
    Path,
}

/// The library of this name.
///
/// # Errors
/// [`Error::UnknownLibrary`] with the names that there are.
pub fn library(name: &str) -> Result<&'static Library> {
    LIBRARIES.iter().find(|library| library.name == name).ok_or_else(|| Error::UnknownLibrary {
        name: crate::source::shown(name),
        known: LIBRARIES.iter().map(|library| library.name).collect(),
    })
}

/// Every library under `root`, by name. Folders without a readable record are no libraries.
pub fn installed(root: &Path) -> Vec<Installed> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<_> = entries.filter_map(|folder| read(&folder)).collect();
    found.sort_by(|a, b| (&a.name, &a.version, &a.library).cmp(&(&b.name, &b.version, &b.library)));
    found
}

/// The folder's record, with the path of the library made whole.
fn read(folder: &Path) -> Option<Installed> {
    let hidden = folder.file_name()?.to_str()?.starts_with('.');
    let text = std::fs::read(folder.join(RECORD)).ok().filter(|_| !hidden)?;
    let mut record: Installed = serde_json::from_slice(&text).ok()?;
    record.library = folder.join(record.library);
    Some(record)
}

/// Fetches a library, checks it and unpacks it under `root`. One that is there and whole is not fetched again. A file of
/// the user's that was registered by this name is forgotten.
///
/// `progress` is called on the calling thread. With an `index`, the wheel comes from there; its digest is the pinned one.
///
/// # Errors
/// [`Error::NoWheel`] for a processor without one, [`Error::Install`] with what went wrong.
pub fn install(
    client: &Client,
    library: &Library,
    index: Option<&PackageIndex>,
    root: &Path,
    progress: &mut dyn FnMut(Event),
) -> Result<Installed> {
    let here = std::env::consts::ARCH;
    let fits =
        |wheel: &&Wheel| wheel.architecture == here && cfg!(all(target_os = "linux", target_env = "gnu"));
    let wheel = library.wheels.iter().find(fits).ok_or_else(|| Error::NoWheel {
        library: library.name,
        platform: format!("{} {here}", std::env::consts::OS),
    })?;
    let (sender, receiver) = std::sync::mpsc::channel();
    let events = Events::new(sender);
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            let job = Installation { client, library, wheel, index, root };
            job.run(&events).map_err(|source| Error::Install {
                library: library.name,
                version: library.version,
                url: wheel.url,
                inside: library.inside,
                source: Box::new(source),
            })
        });
        for event in receiver {
            progress(event);
        }
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Remembers a library file of the user's by this name; it stays where it is.
///
/// # Errors
/// [`Error::Io`] when the file is not there or the record cannot be written.
pub fn register(name: &str, version: &str, path: &Path, root: &Path) -> Result<Installed> {
    let library = path.canonicalize().map_err(|e| Error::io(path, e))?;
    let _lock = lock(root, &Events::nowhere())?;
    let record = Installed {
        name: name.to_owned(),
        version: version.to_owned(),
        library,
        origin: Origin::Path,
        files: BTreeMap::new(),
    };
    let fresh = Folder::new(root)?;
    fresh.write(&record)?;
    fresh.keep(&own_folder(root, name))?;
    Ok(record)
}

/// The folder of a registered file.
fn own_folder(root: &Path, name: &str) -> PathBuf {
    root.join(format!("{name}-path"))
}

fn lock(root: &Path, events: &Events) -> Result<Lock> {
    let waits = || events.send(Event::Note("another process installs a library".to_owned()));
    Lock::acquire(&root.join(".lock"), waits)
}

struct Installation<'a> {
    client: &'a Client,
    library: &'a Library,
    wheel: &'a Wheel,
    index: Option<&'a PackageIndex>,
    root: &'a Path,
}

impl Installation<'_> {
    fn run(&self, events: &Events) -> Result<Installed> {
        let folder = self.root.join(format!("{}-{}", self.library.name, self.library.version));
        let _lock = lock(self.root, events)?;
        clear_leftovers(self.root);
        if let Some(there) = read(&folder).filter(|there| is_whole(there, &folder)) {
            events.send(Event::Note(format!("`{}` {} is here already", there.name, there.version)));
            remove(&own_folder(self.root, self.library.name))?;
            return Ok(there);
        }
        let wheel = self.fetch(events)?;
        let fresh = Folder::new(self.root)?;
        let files = unpack::unpack(&wheel, self.library, fresh.0.path())?;
        let main = files.keys().find(|name| name.starts_with(self.library.main));
        let record = Installed {
            name: self.library.name.to_owned(),
            version: self.library.version.to_owned(),
            library: main.map(PathBuf::from).unwrap_or_default(),
            origin: Origin::Wheel {
                file: self.wheel.file().to_owned(),
                sha256: self.wheel.sha256.to_owned(),
            },
            files,
        };
        fresh.write(&record)?;
        fresh.keep(&folder)?;
        remove(&own_folder(self.root, self.library.name))?;
        self.clear_download(&wheel);
        Ok(Installed { library: folder.join(&record.library), ..record })
    }

    /// Removes the wheel, which has done its work, and its folder unless another wheel is on its way. What cannot be removed
    /// only takes room.
    fn clear_download(&self, wheel: &Path) {
        let lock = wheel.with_file_name(format!("{}.lock", self.wheel.file()));
        let _ = std::fs::remove_file(wheel).and_then(|()| std::fs::remove_file(lock));
        let _ = std::fs::remove_dir(self.root.join(DOWNLOADS));
    }

    /// The wheel, on this disk and checked.
    fn fetch(&self, events: &Events) -> Result<PathBuf> {
        let file = self.wheel.file();
        let target = self.root.join(DOWNLOADS).join(file);
        let beside = |extension: &str| target.with_file_name(format!("{file}{extension}"));
        let locate = |events: &Events| match self.index {
            Some(index) => index.locate(self.client, self.library.project, file, events),
            None => self.pinned().map(Request::new),
        };
        let explain = |refusal: Refusal| match refusal.status {
            404 | 410 => {
                let repo = refusal.url.host_str().unwrap_or_default().to_owned();
                Error::FileNotFound { repo, path: file.to_owned() }
            }
            _ => refusal.into_error(),
        };
        let job = Job {
            name: file.to_owned(),
            locate: &locate,
            explain: &explain,
            size: Some(self.wheel.size),
            digest: Some(Digest::Sha256(self.wheel.sha256.to_owned())),
            commit: None,
            target: target.clone(),
            partial: beside(".incomplete"),
            lock: beside(".lock"),
        };
        download::all(self.client, &[job], events)?;
        Ok(target)
    }

    fn pinned(&self) -> Result<url::Url, Failure> {
        url::Url::parse(self.wheel.url).map_err(|error| {
            Failure::Fatal(Error::BadEndpoint { url: self.wheel.url.to_owned(), reason: error.to_string() })
        })
    }
}

/// Whether every file of the record is there as it was unpacked.
fn is_whole(record: &Installed, folder: &Path) -> bool {
    !record.files.is_empty()
        && record.files.iter().all(|(name, sha256)| {
            hash_file(&folder.join(name), false, |_| ()).is_ok_and(|digests| digests.sha256 == *sha256)
        })
}

/// Removes what a killed process was unpacking. Only with the lock held.
fn clear_leftovers(root: &Path) {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(UNPACKING)) {
        // What cannot be removed only takes room.
        let _ = std::fs::remove_dir_all(entry.path());
    }
}

/// Removes a folder that may not be there.
fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(Error::io(folder, cause)),
        _ => Ok(()),
    }
}

/// A folder that is being filled, gone unless it is kept.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(root: &Path) -> Result<Self> {
        std::fs::create_dir_all(root).map_err(|e| Error::io(root, e))?;
        let made = tempfile::Builder::new().prefix(UNPACKING).tempdir_in(root);
        Ok(Self(made.map_err(|e| Error::io(root, e))?))
    }

    fn write(&self, record: &Installed) -> Result<()> {
        let path = self.0.path().join(RECORD);
        let text =
            serde_json::to_vec_pretty(record).map_err(|e| Error::io(&path, std::io::Error::other(e)))?;
        std::fs::write(&path, text).map_err(|e| Error::io(&path, e))
    }

    /// Gives it its final name, in place of what was there.
    fn keep(self, folder: &Path) -> Result<()> {
        open_to_readers(self.0.path())?;
        remove(folder)?;
        std::fs::rename(self.0.path(), folder).map_err(|e| Error::io(folder, e))?;
        // Its old name is gone, and with it what the guard would remove.
        let _ = self.0.keep();
        Ok(())
    }
}

/// A temporary folder is its owner's alone; a library may be read by everyone who can reach it.
#[cfg(unix)]
fn open_to_readers(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder, mode).map_err(|e| Error::io(folder, e))
}

#[cfg(not(unix))]
fn open_to_readers(_folder: &Path) -> Result<()> {
    Ok(())
}
