//! Tensor data kept in files beside the model.
//!
//! A file name inside a model is foreign input: it may only lead to the model's own folder or below. This module
//! judges names and ranges; opening files is the caller's part.

use std::collections::HashMap;

use bytes::Bytes;

use super::proto::TensorProto;
use crate::Error;
use crate::tensor::External;

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
