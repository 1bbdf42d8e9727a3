//! Folders of files as the crate sees them.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use models::{Error, ExportOptions, Files, MemoryFiles, Prompt};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

/// What lies beside a fixture's checkpoint and is no part of it.
const BESIDE: [&str; 2] = ["case.json", "reference.safetensors"];

/// A folder, read file by file.
pub(crate) struct Folder(PathBuf);

impl Files for Folder {
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !BESIDE.contains(&name.as_str())).collect()
    }

    fn read(&self, name: &str) -> Result<Bytes, Error> {
        match std::fs::read(self.0.join(name)) {
            Ok(bytes) => Ok(bytes.into()),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::MissingFile { file: name.to_owned() })
            }
            Err(cause) => Err(Error::Read { file: name.to_owned(), cause }),
        }
    }
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A checkpoint of `tests/fixtures`.
pub(crate) fn fixture(name: &str) -> Folder {
    Folder(here().join("tests/fixtures").join(name))
}

/// The checkpoints of `tests/fixtures` that a `case.json` describes.
pub(crate) fn fixtures() -> Vec<String> {
    let entries = std::fs::read_dir(here().join("tests/fixtures")).unwrap();
    let folders = entries.map(|entry| entry.unwrap().path()).filter(|path| path.join("case.json").is_file());
    let mut names: Vec<String> =
        folders.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// The options that a fixture asks for.
pub(crate) fn options(folder: &Folder) -> ExportOptions {
    let case = folder.read_if_present("case.json").unwrap().unwrap_or_default();
    let case: serde_json::Value = serde_json::from_slice(&case).unwrap_or_default();
    let texts: Vec<String> = case["prompt"]
        .as_array()
        .map(|texts| texts.iter().map(|text| text.as_str().unwrap().to_owned()).collect())
        .unwrap_or_default();
    let task = case["task"].as_str().map(str::to_owned);
    let size = case["size"].as_array().map(|size| {
        let side = |at: usize| size[at].as_u64().unwrap() as u32;
        (side(0), side(1))
    });
    ExportOptions {
        prompt: (!texts.is_empty()).then_some(Prompt { texts, task }),
        size,
        ..ExportOptions::default()
    }
}

/// The trained detector that the repository ships.
pub(crate) fn trained() -> Folder {
    Folder(here().join("../../examples/shapes-rtdetr"))
}

/// The same files in memory, to be changed.
pub(crate) fn in_memory(files: &dyn Files) -> MemoryFiles {
    let keep = |name: &String| !name.starts_with("val");
    files.names().into_iter().filter(keep).fold(MemoryFiles::new(), |memory, name| {
        let content = files.read(&name).unwrap();
        memory.with(name, content)
    })
}

/// The checkpoint of a source with its tensors renamed or left out.
pub(crate) fn with_tensors(files: &MemoryFiles, change: impl Fn(&str) -> Option<String>) -> MemoryFiles {
    let bytes = files.read("model.safetensors").unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors: Vec<(String, TensorView<'_>)> =
        file.tensors().into_iter().filter_map(|(name, view)| Some((change(&name)?, view))).collect();
    let changed = safetensors::serialize(tensors, None).unwrap();
    files.clone().with("model.safetensors", changed)
}

/// `config.json` with one key replaced.
pub(crate) fn with_config(files: &MemoryFiles, key: &str, value: serde_json::Value) -> MemoryFiles {
    let text = files.read("config.json").unwrap();
    let mut config: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&text).unwrap();
    config.insert(key.into(), value);
    files.clone().with("config.json", serde_json::to_vec(&config).unwrap())
}
