//! Where a graph comes from.
//!
//! A file is the better source: the embedded backend reads its weights straight into place, while bytes in memory are
//! held beside the copy that the backend makes until loading ends. On a graph of 172 MB the peak of the process is
//! 1.0 times the file from a file and 2.0 times from bytes (`examples/load_memory.rs` measures it).

use std::fs::File;
use std::path::Path;

use bytes::Bytes;
use graph::Model;

use crate::Error;

/// An ONNX graph to load.
#[derive(Debug)]
pub enum OnnxSource<'a> {
    /// An ONNX file; external data lies beside it.
    File(&'a Path),
    /// The bytes of an ONNX file without external data.
    Bytes(Vec<u8>),
}

impl OnnxSource<'_> {
    /// The graph without opening external data; of a file, no weight is read.
    ///
    /// The source is given back because reading the bytes takes them apart and puts them together again without a
    /// copy.
    pub(crate) fn structure(self) -> Result<(Model, Self), Error> {
        match self {
            Self::File(path) => {
                let model = graph::onnx::read_structure(map(path)?)?;
                Ok((model, self))
            }
            Self::Bytes(bytes) => {
                let bytes = Bytes::from(bytes);
                let model = graph::onnx::read_structure(bytes.clone())?;
                Ok((model, Self::Bytes(Vec::from(bytes))))
            }
        }
    }
}

/// The file's bytes, mapped.
fn map(path: &Path) -> Result<Bytes, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(failed(std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is not a file")));
    }
    if about.len() == 0 {
        return Ok(Bytes::new());
    }
    #[expect(unsafe_code, reason = "a memory map has no safe constructor")]
    // SAFETY: the map is read-only and lives as long as its bytes. A program that shortens the file meanwhile makes
    // reading fail with a signal: the same risk as with every mapped model file.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(failed)?;
    Ok(Bytes::from_owner(map))
}
