//! Models that are already on this machine: the same choice as for a repository, over a folder.
//!
//! Only the folder itself and its `onnx/` are looked at; a folder of validation images beside a checkpoint costs
//! nothing. Nothing is copied: the files are hashed where they are.

use std::path::{Path, PathBuf};

use crate::acquire::{AcquiredFile, Store};
use crate::choose::{Entry, Listing};
use crate::download::hash_file;
use crate::error::{Error, Result};
use crate::progress::{Event, Events};
use crate::source::{MODEL_EXTENSIONS, RepoPath, shown};

/// A folder with a model in it.
#[derive(Debug)]
pub(crate) struct LocalFolder {
    root: PathBuf,
    listing: Listing,
}

impl LocalFolder {
    /// The model of a folder.
    pub(crate) fn of_folder(root: &Path) -> Result<Self> {
        let mut listing = Listing::default();
        list(root, "", &mut listing)?;
        if root.join("onnx").is_dir() {
            list(&root.join("onnx"), "onnx/", &mut listing)?;
        }
        Ok(Self { root: root.to_owned(), listing: listing.sorted() })
    }

    /// The folder of a model file, and the file's path in it. A graph in `onnx/` belongs to the folder above,
    /// where its `config.json` is.
    pub(crate) fn of_file(file: &Path) -> Result<(Self, RepoPath)> {
        let text = file.to_string_lossy();
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let path: RepoPath = name.parse()?;
        let extension = path.extension();
        let is_model = MODEL_EXTENSIONS.contains(&extension.as_str()) || name.ends_with(".index.json");
        if !is_model && extension != "etlt" {
            let reason = match extension.as_str() {
                "engine" | "plan" | "trt" => "it is a TensorRT engine, which cannot be imported".to_owned(),
                _ => {
                    format!("a model file ends in {}", MODEL_EXTENSIONS.map(|e| format!("`.{e}`")).join(", "))
                }
            };
            return Err(Error::BadSource { text: shown(&text), reason });
        }
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let absolute = std::path::absolute(folder).map_err(|e| Error::io(folder, e))?;
        let above = absolute.parent().filter(|above| {
            let is_onnx = absolute.file_name().is_some_and(|name| name == "onnx");
            is_onnx && !absolute.join("config.json").exists() && above.join("config.json").exists()
        });
        match above {
            Some(above) => Ok((Self::of_folder(above)?, format!("onnx/{name}").parse()?)),
            None => Ok((Self::of_folder(folder)?, path)),
        }
    }
}

fn list(folder: &Path, prefix: &str, listing: &mut Listing) -> Result<()> {
    let io = |e| Error::io(folder, e);
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        // Links are followed: a snapshot of the Hugging Face cache is a folder of links. Broken ones are not files.
        let Ok(metadata) = std::fs::metadata(entry.path()) else { continue };
        if !metadata.is_file() {
            continue;
        }
        let name = entry.file_name();
        match name.to_str().and_then(|name| format!("{prefix}{name}").parse().ok()) {
            Some(path) => listing.entries.push(Entry { path, size: Some(metadata.len()), digest: None }),
            None => listing.left_out.push(shown(&name.to_string_lossy())),
        }
    }
    Ok(())
}

impl Store for LocalFolder {
    fn name(&self) -> String {
        self.root.display().to_string()
    }

    fn revision(&self) -> Option<String> {
        None
    }

    fn folder(&self) -> PathBuf {
        self.root.clone()
    }

    fn listing(&self) -> &Listing {
        &self.listing
    }

    fn has(&self, path: &RepoPath) -> bool {
        path.under(&self.root).is_file()
    }

    fn licence(&self) -> Option<String> {
        None
    }

    fn fetch(&self, paths: &[RepoPath], events: &Events) -> Result<Vec<AcquiredFile>> {
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            let local = path.under(&self.root);
            let (file, total) =
                (path.to_string(), self.listing.get(path.as_str()).and_then(|entry| entry.size));
            events.send(Event::Started { file: file.clone(), total, resumed_from: 0 });
            let advanced = |done| events.send(Event::Advanced { file: file.clone(), done, total });
            let digests = hash_file(&local, false, advanced)?;
            events.send(Event::Finished { file: file.clone(), size: digests.len, cached: true });
            files.push(AcquiredFile { path: path.clone(), local, size: digests.len, sha256: digests.sha256 });
        }
        Ok(files)
    }
}
