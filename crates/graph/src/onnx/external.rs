//! Tensor data kept in files beside the model.
//!
//! A file name inside a model is foreign input: it may only lead to the model's own folder or below. This module
//! judges names and ranges; opening files is the caller's part.

use std::collections::HashMap;
use std::io::Write;

use bytes::Bytes;

use super::proto::TensorProto;
use crate::tensor::External;
use crate::{Error, Model, Tensor};

/// The value of `TensorProto.data_location` that sends the reader to another file.
pub(super) const EXTERNAL: i32 = 1;

/// Gives the content of an external file, or says why not.
pub(super) type Resolver<'a> = dyn Fn(&str) -> Result<Bytes, String> + 'a;

/// Whether a file named inside a model may be opened beside it.
///
/// # Errors
/// What is wrong with the name: it is empty, absolute, leads out of the folder or is not a plain POSIX path.
pub fn check_location(location: &str) -> Result<(), &'static str> {
    if location.is_empty() {
        return Err("the name is empty");
    }
    if location.contains(|c: char| c == '\\' || c == ':' || c.is_control()) {
        return Err("the name is not a plain path");
    }
    if location.starts_with('/') {
        return Err("the path is absolute");
    }
    if location.split('/').any(|part| part == "..") {
        return Err("the path leads out of the model's folder");
    }
    if location.split('/').next_back().is_none_or(|name| name.is_empty() || name == ".") {
        return Err("the path names no file");
    }
    Ok(())
}

/// Where the data of an external tensor lies.
pub(super) fn external_of(tensor: &TensorProto) -> Result<External, Error> {
    let value = |key: &str| {
        tensor
            .external_data
            .iter()
            .find(|pair| pair.key.as_deref() == Some(key))
            .and_then(|pair| pair.value.as_deref())
    };
    let location = value("location").unwrap_or_default().to_owned();
    let error = |reason: String| Error::ExternalData {
        tensor: tensor.name.clone(),
        location: location.clone(),
        reason,
    };
    check_location(&location).map_err(|reason| error(reason.to_owned()))?;
    let number = |key: &str| match value(key) {
        None | Some("") => Ok(None),
        Some(text) => {
            text.parse::<u64>().map(Some).map_err(|_| error(format!("{key} `{text}` is no number")))
        }
    };
    Ok(External { offset: number("offset")?.unwrap_or(0), length: number("length")?, location })
}

/// External files, each asked for once.
pub(super) struct Files<'a> {
    resolver: Option<&'a Resolver<'a>>,
    opened: HashMap<String, Bytes>,
}

impl<'a> Files<'a> {
    /// Files that `resolver` gives; without one, nothing is opened.
    pub(super) fn new(resolver: Option<&'a Resolver<'a>>) -> Self {
        Self { resolver, opened: HashMap::new() }
    }

    /// The `needed` bytes of the tensor called `tensor`; `None` when files are not to be opened.
    pub(super) fn slice(
        &mut self,
        tensor: &str,
        external: &External,
        needed: usize,
    ) -> Result<Option<Bytes>, Error> {
        let Some(resolver) = self.resolver else {
            return Ok(None);
        };
        let location = external.location.as_str();
        let error = |reason: String| Error::ExternalData {
            tensor: tensor.to_owned(),
            location: location.to_owned(),
            reason,
        };
        if external.length.is_some_and(|length| length != needed as u64) {
            let stated = external.length.unwrap_or(0);
            return Err(error(format!("its length is stated as {stated} bytes, its shape takes {needed}")));
        }
        let file = if let Some(file) = self.opened.get(location) {
            file.clone()
        } else {
            let file = resolver(location).map_err(error)?;
            self.opened.insert(location.to_owned(), file.clone());
            file
        };
        let range = usize::try_from(external.offset)
            .ok()
            .and_then(|start| Some(start..start.checked_add(needed)?))
            .filter(|range| range.end <= file.len());
        match range {
            Some(range) => Ok(Some(file.slice(range))),
            None => Err(error(format!(
                "{needed} bytes from {} on are not in a file of {}",
                external.offset,
                file.len()
            ))),
        }
    }
}

/// Tensors from this many bytes on leave the graph's file.
const SPLIT_FROM: usize = 1024;
/// Where a tensor may begin, and a large one: what a memory map wants.
const ALIGNED: u64 = 64;
const PAGE: u64 = 4096;
/// From so many bytes on a tensor begins a page.
const LARGE: usize = 1 << 20;

/// Writes the larger constants of the main graph to `out`, one after the other, and makes the graph refer to them in a file
/// called `location`. Gives the number of bytes.
///
/// # Errors
/// [`Error::ExternalData`] for a name that no model may use and for a tensor that was never loaded, [`Error::Write`].
pub fn split_external(model: &mut Model, location: &str, out: &mut dyn Write) -> Result<u64, Error> {
    let error = |tensor: &str, reason: &str| Error::ExternalData {
        tensor: tensor.to_owned(),
        location: location.to_owned(),
        reason: reason.to_owned(),
    };
    check_location(location).map_err(|reason| error("", reason))?;
    let mut end = 0_u64;
    for (name, tensor) in &mut model.graph.initializers {
        if tensor.byte_len() < SPLIT_FROM || tensor.as_strings().is_some() {
            continue;
        }
        if tensor.external().is_some() {
            return Err(error(name, "it was not loaded"));
        }
        let bytes = tensor.bytes();
        let offset = end.next_multiple_of(if bytes.len() >= LARGE { PAGE } else { ALIGNED });
        let padding = [0_u8; PAGE as usize];
        out.write_all(&padding[..(offset - end) as usize]).map_err(Error::Write)?;
        out.write_all(&bytes).map_err(Error::Write)?;
        end = offset + bytes.len() as u64;
        let place = External { location: location.to_owned(), offset, length: Some(bytes.len() as u64) };
        *tensor = Tensor::unresolved(tensor.dtype(), tensor.shape(), place)?;
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_below_the_model_are_taken() {
        let fine = ["model.onnx_data", "./weights.bin", "data/part 0.bin", "..weights", "a/..b"];
        for location in fine {
            assert_eq!(check_location(location), Ok(()), "{location}");
        }
        let bad = [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a/..",
            "..",
            "a\\..\\x",
            "C:x",
            "c:/x",
            "a\0b",
            "a\nb",
            ".",
            "dir/",
            "file://x",
        ];
        for location in bad {
            assert!(check_location(location).is_err(), "{location:?}");
        }
    }

    #[test]
    fn weights_go_beside_and_come_back() {
        let mut model = Model::default();
        let small = Tensor::from_f32([2], vec![1.0, 2.0]).unwrap();
        let large =
            |first: f32| Tensor::from_f32([300], (0..300).map(|at| first + at as f32).collect()).unwrap();
        model.graph.initializers.insert("small".into(), small.clone());
        model.graph.initializers.insert("a".into(), large(1.0));
        model.graph.initializers.insert("b".into(), large(2.0));
        let mut file = Vec::new();
        let bytes = split_external(&mut model, "w.data", &mut file).unwrap();
        assert_eq!(file.len() as u64, bytes);
        assert_eq!(model.graph.initializers["small"], small);
        let file = Bytes::from(file);
        for (name, first) in [("a", 1.0), ("b", 2.0)] {
            let place = model.graph.initializers[name].external().unwrap();
            assert_eq!((place.location.as_str(), place.offset % ALIGNED), ("w.data", 0));
            let start = place.offset as usize;
            assert_eq!(file.slice(start..start + 1200), large(first).bytes());
        }
        assert!(split_external(&mut model, "again", &mut Vec::new()).is_err());
        assert!(split_external(&mut model, "../x", &mut Vec::new()).is_err());
    }

    #[test]
    fn a_range_outside_the_file_is_an_error() {
        let resolver = |_: &str| Ok(Bytes::from_static(&[0, 1, 2, 3, 4, 5, 6, 7]));
        let mut files = Files::new(Some(&resolver));
        let mut slice = |offset, length, needed| {
            files.slice("w", &External { location: "w.bin".into(), offset, length }, needed)
        };
        assert_eq!(slice(4, None, 4).unwrap().unwrap(), [4_u8, 5, 6, 7].as_slice());
        for (offset, length, needed) in
            [(5, None, 4), (0, Some(3), 4), (u64::MAX, None, 4), (0, None, usize::MAX), (9, None, 0)]
        {
            assert!(slice(offset, length, needed).is_err(), "{offset} {length:?} {needed}");
        }
    }
}
