//! Where a graph comes from.
//!
//! A file is the better source: the embedded backend reads its weights straight into place, while bytes in memory are
//! held beside the copy that it makes until loading ends. Measured with `examples/load_memory.rs` on the 172 MB of an
//! RT-DETRv2-R50, two cores: from a file 0.21 s and a peak of 182 MB, from bytes 0.41 s and 353 MB; 176 MB stay either way.
//! rten's own loading of a memory map copies the weights out of it as well (0.23 s, 352 MB with the mapped pages), and
//! packing the weights at loading gains no time in a run, so neither is used.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

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
    /// What `take` takes from the graph, whose external data is not opened; of a file, no weight is read. The source comes
    /// back, its bytes not copied, as long as nothing that was taken shares them.
    pub(crate) fn read<T>(self, take: impl FnOnce(Model) -> Result<T, Error>) -> Result<(T, Self), Error> {
        match self {
            Self::File(path) => Ok((take(graph::onnx::read_structure(map(path)?)?)?, self)),
            Self::Bytes(bytes) => {
                let shared = Arc::new(bytes);
                let model = graph::onnx::read_structure(Bytes::from_owner(Shared(Arc::clone(&shared))))?;
                let taken = take(model)?;
                Ok((taken, Self::Bytes(Arc::unwrap_or_clone(shared))))
            }
        }
    }

    /// The graph with its weights, which share the bytes of its files.
    pub(crate) fn whole(self) -> Result<Model, Error> {
        Ok(match self {
            Self::File(path) => {
                let folder = path.parent().unwrap_or(Path::new(""));
                let beside = |location: &str| map(&folder.join(location)).map_err(|error| error.to_string());
                graph::onnx::read(map(path)?, &beside)?
            }
            Self::Bytes(bytes) => {
                graph::onnx::read(bytes.into(), &|name| Err(format!("`{name}` lies beside no file")))?
            }
        })
    }

    /// The same graph, as bytes unless the file's name ends in this suffix: some libraries go by the name.
    pub(crate) fn with_suffix(self, suffix: &str) -> Result<Self, Error> {
        match self {
            Self::File(path) if !path.extension().is_some_and(|found| found.eq_ignore_ascii_case(suffix)) => {
                let read = std::fs::read(path);
                read.map(Self::Bytes).map_err(|source| Error::Read { path: path.to_owned(), source })
            }
            other => Ok(other),
        }
    }
}

/// Bytes that two own for a while.
struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_without_a_copy() {
        let mut builder = graph::Builder::new("one", 17);
        let tensor = graph::Tensor::from_f32([4], vec![1.0; 4]);
        let weight = builder.weight("w", tensor.unwrap());
        builder.output("y", &weight);
        let mut bytes = Vec::new();
        graph::onnx::write(&builder.finish("test", "1").unwrap(), &mut bytes).unwrap();
        let address = bytes.as_ptr();
        let (nodes, source) = OnnxSource::Bytes(bytes).read(|model| Ok(model.graph.nodes.len())).unwrap();
        assert_eq!(nodes, 1);
        assert!(matches!(source, OnnxSource::Bytes(bytes) if bytes.as_ptr() == address));
    }
}
