//! Files as shared bytes over a memory map: weights are read where they lie and never copied.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::Error;

/// The bytes of a file. They must not change while in use: a file that another program truncates meanwhile would end
/// this one, as with every memory map.
pub fn map_file(path: &Path) -> Result<Bytes, Error> {
    let at = |source| Error::Io { path: path.to_owned(), source };
    // Before opening: to open a pipe would wait for its writer.
    let meta = std::fs::metadata(path).map_err(at)?;
    if !meta.is_file() {
        return Err(at(std::io::Error::new(std::io::ErrorKind::InvalidInput, "is not a file")));
    }
    let file = std::fs::File::open(path).map_err(at)?;
    if meta.len() == 0 {
        return Ok(Bytes::new());
    }
    #[expect(unsafe_code, reason = "memory maps are how weights are read without copying them")]
    // SAFETY: the map is read-only and private; the documentation names what the caller must not do to the file.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(at)?;
    Ok(Bytes::from_owner(map))
}

/// The files of a checkpoint, by their names in the source.
pub(crate) struct MappedFiles {
    files: Vec<(String, PathBuf)>,
}

impl MappedFiles {
    pub(crate) fn new(files: impl IntoIterator<Item = (String, PathBuf)>) -> Self {
        Self { files: files.into_iter().collect() }
    }
}

impl models::Files for MappedFiles {
    fn names(&self) -> Vec<String> {
        self.files.iter().map(|(name, _)| name.clone()).collect()
    }

    fn read(&self, name: &str) -> Result<Bytes, models::Error> {
        let file = self.files.iter().find(|(known, _)| known == name);
        let (_, path) = file.ok_or_else(|| models::Error::MissingFile { file: name.to_owned() })?;
        map_file(path).map_err(|error| {
            let cause = match error {
                Error::Io { source, .. } => source,
                other => std::io::Error::other(other),
            };
            models::Error::Read { file: name.to_owned(), cause }
        })
    }
}
