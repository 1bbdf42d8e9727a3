//! Folders of files as the crate sees them.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use models::{Error, Files, MemoryFiles};

/// A folder, read file by file.
pub(crate) struct Folder(PathBuf);

impl Files for Folder {
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
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

/// The trained detector that the repository ships.
pub(crate) fn trained() -> Folder {
    Folder(here().join("../../examples/shapes-rtdetr"))
}

/// The same files in memory, to be changed.
pub(crate) fn in_memory(files: &dyn Files) -> MemoryFiles {
    let keep = |name: &String| name != "reference.safetensors" && !name.starts_with("val");
    files.names().into_iter().filter(keep).fold(MemoryFiles::new(), |memory, name| {
        let content = files.read(&name).unwrap();
        memory.with(name, content)
    })
}
