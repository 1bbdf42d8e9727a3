//! The whole step: a source in, checked files on this disk out.
//!
//! Every kind of source is a [`Store`]; what is chosen, what belongs to it and what is recorded is decided here, once
//! for all of them. What a file says about its parts (an index, an ONNX) counts more than what their names suggest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::choose::{Candidate, Choice, Kind, Listing, VariantPreference, WeightsFormat, choose};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::hugging_face::Repository;
use crate::licence;
use crate::local::LocalFolder;
use crate::ngc::Version;
use crate::progress::{Event, Events};
use crate::source::{RepoPath, Source, shown};

/// Lists the external data files that an ONNX file names, as written in it. An error is a sentence.
///
/// A function of the caller, because this crate does not read ONNX.
pub type ExternalData<'a> = dyn Fn(&Path) -> Result<Vec<String>, String> + Sync + 'a;

/// How to choose.
#[derive(Default)]
pub struct AcquireOptions<'a> {
    /// Which of several variants to take.
    pub variant: VariantPreference,
    /// How external data is found; without it, by the names of the files alone.
    pub external_data: Option<&'a ExternalData<'a>>,
}

/// One file that is here now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcquiredFile {
    /// Its path in the source.
    pub path: RepoPath,
    /// Where it is.
    pub local: PathBuf,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of its content, lower-case hexadecimal.
    pub sha256: String,
}

/// A model that is here now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acquired {
    /// Where it came from.
    pub source: Source,
    /// The commit or catalog version; `None` for files of this machine.
    pub revision: Option<String>,
    /// The folder that the paths are relative to.
    pub folder: PathBuf,
    /// The graph, the checkpoint, or the index of a sharded checkpoint.
    pub main: RepoPath,
    /// What the main file is.
    pub kind: Kind,
    /// Every file, sorted by path; the main one among them.
    pub files: Vec<AcquiredFile>,
    /// Everything that could have been taken, best first.
    pub candidates: Vec<Candidate>,
    /// The licence that the model says it has.
    pub licence: Option<String>,
    /// What was decided and why.
    pub log: Vec<String>,
}

impl Acquired {
    /// The file of this path.
    pub fn file(&self, path: &str) -> Option<&AcquiredFile> {
        self.files.iter().find(|file| file.path.as_str() == path)
    }

    /// The companion of this name, in the main file's folder or else nearest to the root.
    pub fn companion(&self, name: &str) -> Option<&AcquiredFile> {
        let of_name = || self.files.iter().filter(|file| file.path.file_name().eq_ignore_ascii_case(name));
        of_name()
            .find(|file| file.path.folder() == self.main.folder())
            .or_else(|| of_name().min_by_key(|file| file.path.as_str().matches('/').count()))
    }

    /// Where the main file is.
    pub fn main_file(&self) -> PathBuf {
        self.file(self.main.as_str()).map_or_else(|| self.main.under(&self.folder), |file| file.local.clone())
    }
}

/// A place that has a listing and gives files.
pub(crate) trait Store {
    /// Its name for messages.
    fn name(&self) -> String;
    /// The commit or version.
    fn revision(&self) -> Option<String>;
    /// The folder that fetched files lie in.
    fn folder(&self) -> PathBuf;
    /// What it has.
    fn listing(&self) -> &Listing;
    /// Whether it has a file; a folder may have more than its listing shows.
    fn has(&self, path: &RepoPath) -> bool {
        self.listing().get(path.as_str()).is_some()
    }
    /// The licence that its hub knows of.
    fn licence(&self) -> Option<String>;
    /// Brings files here, checked; in the order asked.
    fn fetch(&self, paths: &[RepoPath], events: &Events) -> Result<Vec<AcquiredFile>>;
    /// A better error for a listing without anything usable, where the store knows more.
    fn explain(&self, error: Error, _events: &Events) -> Error {
        error
    }
}

/// Brings the model of a source to this disk: lists, chooses, downloads, checks.
///
/// `progress` is called on the calling thread while other threads work. The network is used only for remote
/// sources, and not at all when the client is offline.
pub fn acquire(
    source: &Source,
    client: &Client,
    options: &AcquireOptions<'_>,
    progress: &mut dyn FnMut(Event),
) -> Result<Acquired> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let events = Events::new(sender);
    let variant = options.variant.clone();
    let external_data = options.external_data;
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            let options = AcquireOptions { variant, external_data };
            from_source(source, client, &options, &events)
        });
        for event in receiver {
            progress(event);
        }
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn from_source(
    source: &Source,
    client: &Client,
    options: &AcquireOptions<'_>,
    events: &Events,
) -> Result<Acquired> {
    match source {
        Source::HuggingFace { repo, revision, path } => {
            let store = Repository::open(client, repo, revision.as_ref(), events)?;
            from_store(source, &store, path.as_ref(), options, events)
        }
        Source::Ngc(id) => {
            let store = Version::open(client, id, events)?;
            let within = store.within();
            from_store(source, &store, within.as_ref(), options, events)
        }
        Source::Folder(path) => from_store(source, &LocalFolder::of_folder(path)?, None, options, events),
        Source::File(path) => {
            let (store, file) = LocalFolder::of_file(path)?;
            from_store(source, &store, Some(&file), options, events)
        }
    }
}

fn from_store(
    source: &Source,
    store: &dyn Store,
    within: Option<&RepoPath>,
    options: &AcquireOptions<'_>,
    events: &Events,
) -> Result<Acquired> {
    let listing = store.listing();
    let choice =
        choose(listing, within, &options.variant, &store.name()).map_err(|e| store.explain(e, events))?;
    let mut log = choice.log.clone();
    if !listing.left_out.is_empty() {
        log.push(format!(
            "{} file(s) left out: their names cannot be written safely",
            listing.left_out.len()
        ));
    }
    for line in &log {
        events.send(Event::Note(line.clone()));
    }

    let mut files = BTreeMap::new();
    let mut fetch = |paths: Vec<RepoPath>| -> Result<()> {
        let missing: Vec<_> = paths.into_iter().filter(|path| !files.contains_key(path)).collect();
        for file in store.fetch(&missing, events)? {
            files.insert(file.path.clone(), file);
        }
        Ok(())
    };
    let mut first = vec![choice.main.clone()];
    first.extend(choice.companions.iter().cloned());
    let knows_parts = matches!(choice.kind, Kind::Onnx(_)) && options.external_data.is_some();
    if !knows_parts && !is_index(&choice) {
        first.extend(choice.parts.iter().cloned());
    }
    fetch(first)?;
    let main = choice.main.under(&store.folder());
    let parts = named_parts(&choice, &main, store, options)?;
    if !parts.is_empty() {
        log.push(format!("{} file(s) that `{}` names: {}", parts.len(), choice.main, joined(&parts)));
    }
    fetch(parts)?;

    let files: Vec<AcquiredFile> = files.into_values().collect();
    let licence = store.licence().or_else(|| licence_of(&files));
    log.push(format!("licence: {}", licence.as_deref().unwrap_or("not stated")));
    Ok(Acquired {
        source: source.clone(),
        revision: store.revision(),
        folder: store.folder(),
        main: choice.main,
        kind: choice.kind,
        files,
        candidates: choice.candidates,
        licence,
        log,
    })
}

fn is_index(choice: &Choice) -> bool {
    matches!(choice.kind, Kind::Weights(WeightsFormat::SafetensorsSharded | WeightsFormat::PytorchBinSharded))
}

/// The files that the main file itself names: shards of an index, external data of a graph.
fn named_parts(
    choice: &Choice,
    main: &Path,
    store: &dyn Store,
    options: &AcquireOptions<'_>,
) -> Result<Vec<RepoPath>> {
    let bad = |reason: String| Error::BadModelFile { path: choice.main.to_string(), reason };
    let names = match (choice.kind, options.external_data) {
        (Kind::Onnx(_), Some(external_data)) => external_data(main).map_err(bad)?,
        (Kind::Weights(_), _) if is_index(choice) => shards_of(main).map_err(bad)?,
        _ => return Ok(Vec::new()),
    };
    let mut parts = Vec::with_capacity(names.len());
    for name in names {
        // ONNX writers on Windows and some exporters begin a location with `./`.
        let plain = name.strip_prefix("./").unwrap_or(&name);
        let escapes = |_| Error::Escapes { named_by: choice.main.to_string(), path: shown(&name) };
        let path = choice.main.sibling(plain).map_err(escapes)?;
        if !store.has(&path) {
            return Err(Error::MissingPart {
                source_name: store.name(),
                named_by: choice.main.to_string(),
                path: path.to_string(),
            });
        }
        parts.push(path);
    }
    parts.sort();
    parts.dedup();
    Ok(parts)
}

/// The values of `weight_map` in the index of a sharded checkpoint.
fn shards_of(index: &Path) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = std::fs::read_to_string(index).map_err(|e| e.to_string())?;
    let index: Index = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let mut names: Vec<String> = index.weight_map.into_values().collect();
    names.sort();
    names.dedup();
    if names.is_empty() { Err("its `weight_map` is empty".to_owned()) } else { Ok(names) }
}

/// The licence of the card, else of the configuration.
fn licence_of(files: &[AcquiredFile]) -> Option<String> {
    let text = |name: &str| {
        let named = files.iter().filter(|file| file.path.file_name().eq_ignore_ascii_case(name));
        let nearest = named.min_by_key(|file| file.path.as_str().matches('/').count())?;
        let bytes = std::fs::read(&nearest.local).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    text("README.md")
        .and_then(|card| licence::from_card(&card))
        .or_else(|| licence::from_config(&text("config.json")?))
}

fn joined(paths: &[RepoPath]) -> String {
    paths.iter().map(RepoPath::as_str).collect::<Vec<_>>().join(", ")
}
