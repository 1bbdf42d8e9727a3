//! In place of the bindings in a program that was compiled without them.

use std::path::Path;

use super::{Build, NAME, Printed};
use crate::Error;

/// Builds engines: in this program nothing does.
#[derive(Debug, Clone)]
pub struct Builder(Never);

#[derive(Debug, Clone)]
enum Never {}

impl Builder {
    /// Whether this program has the bindings.
    pub const IS_COMPILED: bool = false;

    /// Opens the library.
    ///
    /// # Errors
    /// [`Error::LeftOut`].
    pub fn open(_library: &Path) -> Result<Self, Error> {
        Err(Error::LeftOut { tool: NAME })
    }

    /// The library's version.
    pub fn version(&self) -> &str {
        match self.0 {}
    }

    /// The library's file.
    pub fn library(&self) -> &Path {
        match self.0 {}
    }

    /// Parses a graph.
    ///
    /// # Errors
    /// None: there is no builder.
    pub fn parse(&self, _build: &Build<'_>) -> Result<(), Error> {
        match self.0 {}
    }

    /// Builds an engine.
    ///
    /// # Errors
    /// None: there is no builder.
    pub fn build(&self, _build: &Build<'_>) -> Result<Printed, Error> {
        match self.0 {}
    }
}
