//! Where the bytes of a source come from.
//!
//! Nothing in this crate opens a path: the pipeline hands in a [`Files`] over memory maps, tests hand in a
//! [`MemoryFiles`]. Names are relative, with `/` between folders.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::Error;

/// The files of one source.
pub trait Files {
    /// Names of all files, relative to the source, in any order.
    fn names(&self) -> Vec<String>;

    /// The content of a file; cheap, because the bytes are shared.
    ///
    /// # Errors
    /// [`Error::MissingFile`] for a name that is not there, [`Error::Read`] when it cannot be read.
    fn read(&self, name: &str) -> Result<Bytes, Error>;

    /// The content of a file, `None` when it is not there.
    ///
    /// # Errors
    /// [`Error::Read`] when it is there but cannot be read.
    fn read_if_present(&self, name: &str) -> Result<Option<Bytes>, Error> {
        match self.read(name) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::MissingFile { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Files with some more over them, which hide those of the same name.
pub(crate) struct Overlay<'a> {
    below: &'a dyn Files,
    own: MemoryFiles,
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(below: &'a dyn Files) -> Self {
        Self { below, own: MemoryFiles::new() }
    }

    pub(crate) fn with(mut self, name: &str, content: String) -> Self {
        self.own.insert(name, content);
        self
    }
}

impl Files for Overlay<'_> {
    fn names(&self) -> Vec<String> {
        let mut names = self.own.names();
        names.extend(self.below.names().into_iter().filter(|name| !self.own.0.contains_key(name)));
        names
    }

    fn read(&self, name: &str) -> Result<Bytes, Error> {
        match self.own.0.get(name) {
            Some(content) => Ok(content.clone()),
            None => self.below.read(name),
        }
    }
}

/// Files that are in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryFiles(BTreeMap<String, Bytes>);

impl MemoryFiles {
    /// No files yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// These files and one more.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, content: impl Into<Bytes>) -> Self {
        self.insert(name, content);
        self
    }

    /// Adds a file, or replaces it.
    pub fn insert(&mut self, name: impl Into<String>, content: impl Into<Bytes>) {
        self.0.insert(name.into(), content.into());
    }

    /// Takes a file away.
    pub fn remove(&mut self, name: &str) -> Option<Bytes> {
        self.0.remove(name)
    }
}

impl Files for MemoryFiles {
    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn read(&self, name: &str) -> Result<Bytes, Error> {
        self.0.get(name).cloned().ok_or_else(|| Error::MissingFile { file: name.to_owned() })
    }
}
