//! NVIDIA's catalog (NGC): versions, files, archives, without the `ngc` program.
//!
//! Public models are read as a guest. A key is used only where the guest is refused; so a wrong key in the
//! environment does not break what everybody may read. There is no `config.json` in these models: what they have is
//! `labels.txt` and `nvinfer_config.txt`, delivered as they are.

mod access;
mod api;
mod archive;
mod encrypted;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use encrypted::tao_converter_command;

use crate::acquire::{AcquiredFile, Store};
use crate::cache::write_atomically;
use crate::choose::{Digest, Entry, Listing, WeightsFormat};
use crate::client::{Client, Refusal};
use crate::download::{Job, Lock, all, hash_file};
use crate::error::{Error, Result};
use crate::progress::{Event, Events};
use crate::source::{NgcId, RepoPath};

use access::Access;

/// One version of a catalog model.
#[derive(Debug)]
pub(crate) struct Version<'a> {
    client: &'a Client,
    /// With its version.
    id: NgcId,
    access: Access,
    /// Where its files are kept.
    folder: PathBuf,
    listing: Listing,
    record: Record,
    /// Files that came out of an archive and are on this disk already.
    unpacked: bool,
}

/// What is kept beside the files, so that they can be checked again without the network.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Record {
    licence: Option<String>,
    /// SHA-256 of each file, lower-case hexadecimal.
    sha256: BTreeMap<RepoPath, String>,
}

impl<'a> Version<'a> {
    /// Finds the version and lists its files; unpacks archives where there is nothing else.
    pub(crate) fn open(client: &'a Client, id: &NgcId, events: &Events) -> Result<Self> {
        let cache = client.config().ngc_cache().ok_or(Error::NoCacheFolder)?;
        let mut model = cache.join("models");
        model.extend([id.org(), id.team().unwrap_or("no-team"), id.name()]);
        if client.config().offline {
            return Self::cached(client, id, &model, events);
        }
        let (access, info) = api::model(client, id, events)?;
        let Some(version) = id.version().map(str::to_owned).or(info.latest) else {
            return Err(api::not_found(client, access, id, events));
        };
        let id = id.at(&version)?;
        let (access, listing) = api::files(client, access, &id, events)?;
        let folder = model.join(&version);
        write_atomically(&model.join("latest"), version.as_bytes())?;
        let mut record = read_record(&folder);
        record.licence = info.licence.or(record.licence);
        let mut found = Self { client, id, access, folder, listing, record, unpacked: false };
        found.unpack_if_needed(events)?;
        Ok(found)
    }

    fn cached(client: &'a Client, id: &NgcId, model: &std::path::Path, events: &Events) -> Result<Self> {
        let not_cached = || Error::Offline { what: id.to_string() };
        let version = match id.version() {
            Some(version) => version.to_owned(),
            None => std::fs::read_to_string(model.join("latest")).map_err(|_| not_cached())?,
        };
        let id = id.at(version.trim()).map_err(|_| not_cached())?;
        let folder = model.join(version.trim());
        let record = read_record(&folder);
        let unpacked_folder = folder.join(UNPACKED);
        let unpacked = unpacked_folder.is_dir();
        let root = if unpacked { unpacked_folder } else { folder.join(FILES) };
        let listing = archive::listing(&root, &record.sha256);
        if listing.entries.is_empty() {
            return Err(not_cached());
        }
        events.send(Event::Note(format!("offline: `{id}` from the cache")));
        Ok(Self { client, id, access: Access::Guest, folder, listing, record, unpacked })
    }

    /// The folder inside of the version that holds the model, where it is not the top.
    pub(crate) fn within(&self) -> Option<RepoPath> {
        let usable = self.listing.entries.iter().map(|entry| &entry.path).filter(|path| is_usable(path));
        let nearest = usable.min_by_key(|path| (path.as_str().matches('/').count(), (*path).clone()))?;
        let folder = nearest.folder()?;
        folder.strip_suffix("/onnx").unwrap_or(folder).parse().ok().filter(|_| folder != "onnx")
    }

    fn files_folder(&self) -> PathBuf {
        self.folder.join(if self.unpacked { UNPACKED } else { FILES })
    }

    /// Downloads and unpacks the archives of a version that has no model file beside them.
    fn unpack_if_needed(&mut self, events: &Events) -> Result<()> {
        if self.listing.entries.iter().any(|entry| is_usable(&entry.path)) {
            return Ok(());
        }
        let archives: Vec<RepoPath> = self
            .listing
            .entries
            .iter()
            .map(|e| e.path.clone())
            .filter(|path| path.extension() == "zip")
            .collect();
        if archives.is_empty() && !self.listing.entries.is_empty() {
            return Ok(());
        }
        let _lock = Lock::acquire(&self.folder.join(".unpack.lock"), || ())?;
        let into = self.folder.join(UNPACKED);
        if !into.is_dir() {
            let local = if archives.is_empty() {
                // No list of files: the catalog still gives everything as one archive.
                vec![self.whole_archive(events)?]
            } else {
                self.fetch(&archives, events)?.into_iter().map(|file| file.local).collect()
            };
            archive::unpack_all(&local, &into)?;
            events.send(Event::Note(format!("unpacked {} archive(s) of `{}`", local.len(), self.id)));
        }
        self.unpacked = true;
        self.listing = archive::listing(&into, &BTreeMap::new());
        Ok(())
    }

    fn whole_archive(&self, events: &Events) -> Result<PathBuf> {
        let path: RepoPath = "version.zip".parse()?;
        let entry = Entry { path, size: None, digest: None };
        let files = self.download(&[&entry], true, events)?;
        files.into_iter().next().map(|file| file.local).ok_or_else(|| Error::NgcNotFound {
            model: self.id.to_string(),
            with_key: self.access == Access::Key,
            versions: Vec::new(),
        })
    }

    fn download(&self, entries: &[&Entry], whole: bool, events: &Events) -> Result<Vec<AcquiredFile>> {
        let (client, id, access) = (self.client, &self.id, self.access);
        let with_key = access == Access::Key;
        let explain = |refusal: Refusal| access::explain(id, with_key, Vec::new(), refusal);
        let locates: Vec<_> = entries
            .iter()
            .map(|entry| {
                let path = entry.path.clone();
                move |events: &Events| api::locate(client, access, id, (!whole).then_some(&path), events)
            })
            .collect();
        let root = self.folder.join(FILES);
        let jobs: Vec<Job<'_>> = entries
            .iter()
            .zip(&locates)
            .map(|(entry, locate)| {
                let target = entry.path.under(&root);
                let beside = |suffix: &str| {
                    let mut name = target.clone().into_os_string();
                    name.push(suffix);
                    PathBuf::from(name)
                };
                Job {
                    name: entry.path.to_string(),
                    locate,
                    explain: &explain,
                    size: entry.size,
                    digest: entry.digest.clone(),
                    commit: None,
                    partial: beside(".incomplete"),
                    lock: entry.path.under(&self.folder.join(".locks")).with_added_extension("lock"),
                    target,
                }
            })
            .collect();
        let digests = all(client, &jobs, events)?;
        Ok(jobs
            .iter()
            .zip(entries)
            .zip(digests)
            .map(|((job, entry), found)| AcquiredFile {
                path: entry.path.clone(),
                local: job.target.clone(),
                size: found.len,
                sha256: found.sha256,
            })
            .collect())
    }

    fn remember(&self, files: &[AcquiredFile]) -> Result<()> {
        let mut record = read_record(&self.folder);
        record.licence.clone_from(&self.record.licence);
        record.sha256.extend(files.iter().map(|file| (file.path.clone(), file.sha256.clone())));
        let text = serde_json::to_vec_pretty(&record)
            .map_err(|e| Error::io(&self.folder.join(RECORD), std::io::Error::other(e)))?;
        write_atomically(&self.folder.join(RECORD), &text)
    }
}

/// Files as the catalog gives them.
const FILES: &str = "files";
/// Files out of archives.
const UNPACKED: &str = "unpacked";
/// What is known of them.
const RECORD: &str = "record.json";

fn read_record(folder: &std::path::Path) -> Record {
    let text = std::fs::read(folder.join(RECORD)).unwrap_or_default();
    // A record that cannot be read costs a hash, nothing else.
    serde_json::from_slice(&text).unwrap_or_default()
}

/// A file that a model can begin with, or the encrypted one that explains why there is none.
fn is_usable(path: &RepoPath) -> bool {
    matches!(path.extension().as_str(), "onnx" | "etlt") || WeightsFormat::of(path).is_some()
}

impl Store for Version<'_> {
    fn name(&self) -> String {
        self.id.to_string()
    }

    fn revision(&self) -> Option<String> {
        self.id.version().map(str::to_owned)
    }

    fn folder(&self) -> PathBuf {
        self.files_folder()
    }

    fn listing(&self) -> &Listing {
        &self.listing
    }

    fn licence(&self) -> Option<String> {
        self.record.licence.clone()
    }

    fn fetch(&self, paths: &[RepoPath], events: &Events) -> Result<Vec<AcquiredFile>> {
        let entry = |path: &RepoPath| {
            let missing = || Error::FileNotFound { repo: self.id.to_string(), path: path.to_string() };
            self.listing.get(path.as_str()).ok_or_else(missing)
        };
        let entries = paths.iter().map(entry).collect::<Result<Vec<_>>>()?;
        if !self.unpacked && !self.client.config().offline {
            let files = self.download(&entries, false, events)?;
            self.remember(&files)?;
            return Ok(files);
        }
        let mut files = Vec::with_capacity(entries.len());
        for entry in entries {
            let local = entry.path.under(&self.files_folder());
            let digests = hash_file(&local, false, |_| ())?;
            digests.check(entry.digest.as_ref(), entry.path.as_str())?;
            events.send(Event::Finished { file: entry.path.to_string(), size: digests.len, cached: true });
            files.push(AcquiredFile {
                path: entry.path.clone(),
                local,
                size: digests.len,
                sha256: digests.sha256,
            });
        }
        Ok(files)
    }

    /// Fills the `tao-converter` command with what the version says, and looks for a version with a plain ONNX.
    fn explain(&self, error: Error, events: &Events) -> Error {
        let Error::Encrypted { file, .. } = error else { return error };
        let settings =
            self.listing.entries.iter().find(|entry| entry.path.file_name() == "nvinfer_config.txt");
        let mut facts = settings
            .and_then(|entry| self.fetch(std::slice::from_ref(&entry.path), events).ok())
            .and_then(|files| std::fs::read_to_string(&files.first()?.local).ok())
            .map_or_else(Vec::new, |text| encrypted::nvinfer_pairs(&text));
        let cache = self.listing.entries.iter().find(|entry| entry.path.file_name().ends_with("_int8.txt"));
        if let Some(cache) = cache {
            facts.push(("int8-calib-file".to_owned(), cache.path.to_string()));
        }
        let plain_onnx = if self.client.config().offline {
            None
        } else {
            api::version_with_onnx(self.client, self.access, &self.id, events).map(|id| id.to_string())
        };
        let command = tao_converter_command(&file, &facts);
        Error::Encrypted { file, command, plain_onnx }
    }
}

/// `sha256_base64` of the catalog, which is base64 of the raw digest, as [`Digest`].
fn digest_of_base64(text: &str) -> Option<Digest> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text.trim()).ok()?;
    (bytes.len() == 32).then(|| Digest::Sha256(crate::download::hex(&bytes)))
}
