//! Category C: an error that says what is there instead.

use std::collections::BTreeMap;

use super::weights::WeightsFormat;
use super::{Listing, below};
use crate::error::Error;
use crate::ngc::tao_converter_command;

/// Formats that are recognised and cannot be imported, with the reason.
const OTHER_FORMATS: [(&str, &str); 11] = [
    ("engine", "a TensorRT engine, bound to one GPU and version"),
    ("plan", "a TensorRT engine, bound to one GPU and version"),
    ("trt", "a TensorRT engine, bound to one GPU and version"),
    ("gguf", "GGUF, a language model's format"),
    ("tflite", "TensorFlow Lite"),
    ("pb", "TensorFlow"),
    ("h5", "Keras"),
    ("keras", "Keras"),
    ("msgpack", "Flax"),
    ("mlmodel", "Core ML"),
    ("xml", "OpenVINO or annotations"),
];

/// The error for a listing without ONNX or weights at its root.
pub(super) fn error(listing: &Listing, root: &str, source_name: &str) -> Error {
    let files: Vec<_> = listing.entries.iter().filter(|entry| below(&entry.path, root).is_some()).collect();
    if let Some(file) = files.iter().find(|entry| entry.path.extension() == "etlt") {
        return encrypted(file.path.as_str());
    }
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for file in &files {
        let extension = file.path.extension();
        let kind =
            if extension.is_empty() { "without extension".to_owned() } else { format!(".{extension}") };
        *kinds.entry(kind).or_default() += 1;
    }
    let counts = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ");
    let mut holds = vec![match files.len() {
        0 => "it is empty".to_owned(),
        1 => format!("1 file ({counts})"),
        n => format!("{n} files ({counts})"),
    }];
    for (extension, what) in OTHER_FORMATS {
        if let Some(file) = files.iter().find(|entry| entry.path.extension() == extension) {
            holds.push(format!("`{}` is {what}", file.path));
        }
    }
    let deeper = files
        .iter()
        .filter(|entry| entry.path.extension() == "onnx" || WeightsFormat::of(&entry.path).is_some());
    for file in deeper.take(3) {
        holds.push(format!("`{}` lies in a subfolder, name it by its own address", file.path));
    }
    Error::NothingUsable { source_name: source_name.to_owned(), holds: holds.join("; ") }
}

/// The error for an encrypted file of which nothing else is known.
pub(super) fn encrypted(file: &str) -> Error {
    Error::Encrypted { file: file.to_owned(), command: tao_converter_command(file, &[]), plain_onnx: None }
}
