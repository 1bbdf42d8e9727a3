//! Brings the source's files here. What is remembered is what they hold, not where they lie.

use std::path::{Path, PathBuf};

use deploy::{Licence, Source as ManifestSource, SourceFile};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::mapped::map_file;
use crate::run::{Event, Mode, Run};
use crate::steps::ACQUIRE;

/// The source's files. It serializes without their places, so that it can be part of a step's key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Acquired {
    /// The source, without the path of a local one.
    location: String,
    /// The commit or catalog version.
    revision: Option<String>,
    licence: Option<String>,
    /// Path of the graph, the checkpoint, or the index of a sharded one.
    main: String,
    /// Whether the main file is an ONNX graph.
    is_onnx: bool,
    files: Vec<File>,
}

/// One file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct File {
    path: String,
    sha256: String,
    bytes: u64,
    #[serde(skip)]
    place: PathBuf,
}

/// Fetches what is missing and hashes what is here.
///
/// A plan makes no request: a remote source is then answered from the cache.
pub(crate) fn acquire(
    source: &hub::Source,
    variant: &hub::VariantPreference,
    config: &hub::Config,
    run: &Run<'_>,
) -> Result<Acquired, Error> {
    let mut config = config.clone();
    config.offline |= run.mode() == Mode::Plan;
    let client = hub::Client::new(config)?;
    let external = |path: &Path| {
        let bytes = map_file(path).map_err(|error| crate::error::chain(&error))?;
        graph::onnx::external_locations(bytes).map_err(|error| error.to_string())
    };
    let options = hub::AcquireOptions { variant: variant.clone(), external_data: Some(&external) };
    let acquired = hub::acquire(source, &client, &options, &mut |event| match event {
        hub::Event::Note(message) => run.tell(Event::Note { step: ACQUIRE.name, message: &message }),
        other => run.tell(Event::Download(&other)),
    });
    let acquired = match acquired {
        Err(hub::Error::Offline { .. }) if run.mode() == Mode::Plan && source.is_remote() => {
            let because = Some("not in the cache".to_owned());
            run.tell(Event::Planned { step: ACQUIRE.name, reuse: false, because });
            return Err(Error::Planned { step: ACQUIRE.name });
        }
        other => other?,
    };
    let location = match source {
        hub::Source::Folder(_) | hub::Source::File(_) => source.name(),
        remote => remote.to_string(),
    };
    let files = acquired.files.iter().map(|file| File {
        path: file.path.to_string(),
        sha256: file.sha256.clone(),
        bytes: file.size,
        place: file.local.clone(),
    });
    Ok(Acquired {
        location,
        revision: acquired.revision,
        licence: acquired.licence,
        main: acquired.main.to_string(),
        is_onnx: matches!(acquired.kind, hub::Kind::Onnx(_)),
        files: files.collect(),
    })
}

impl Acquired {
    /// The path of the ONNX file, when that is what was chosen.
    pub(crate) fn onnx(&self) -> Option<&str> {
        self.is_onnx.then_some(self.main.as_str())
    }

    /// Where a file lies.
    pub(crate) fn place(&self, path: &str) -> Result<&PathBuf, Error> {
        let file = self.files.iter().find(|file| file.path == path);
        let missing = || models::Error::MissingFile { file: path.to_owned() };
        Ok(file.map(|file| &file.place).ok_or_else(missing)?)
    }

    /// The folder that the main file lies in.
    pub(crate) fn folder(&self) -> Result<&Path, Error> {
        let place = self.place(&self.main)?;
        Ok(place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))
    }

    /// Names and places of all files. Those in the main file's folder go by their bare names, as the readers of
    /// checkpoints and configurations ask for them.
    pub(crate) fn places(&self) -> Vec<(String, PathBuf)> {
        let folder = self.main.rsplit_once('/').map(|(folder, _)| format!("{folder}/")).unwrap_or_default();
        let bare = |path: &str| path.strip_prefix(&folder).unwrap_or(path).to_owned();
        // A file of the main folder comes before one of the same bare name elsewhere.
        let (near, far): (Vec<&File>, Vec<&File>) =
            self.files.iter().partition(|file| file.path.starts_with(&folder));
        near.into_iter().chain(far).map(|file| (bare(&file.path), file.place.clone())).collect()
    }

    /// The source as the manifest states it.
    pub(crate) fn manifest_source(&self) -> ManifestSource {
        let files = self.files.iter().map(|file| SourceFile {
            path: file.path.clone(),
            sha256: file.sha256.clone(),
            bytes: file.bytes,
        });
        ManifestSource {
            location: self.location.clone(),
            revision: self.revision.clone(),
            files: files.collect(),
        }
    }

    /// The licence as the manifest states it.
    pub(crate) fn manifest_licence(&self) -> Option<Licence> {
        let id = self.licence.clone()?;
        Some(Licence { id, stated_in: self.location.clone() })
    }
}
