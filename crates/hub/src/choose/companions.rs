//! The small files that go with a model: configuration, labels, licence, calibration.
//!
//! They are known by name only. Each is fetched from the model's folder and from the root, because community
//! repositories keep `config.json` at the root and the graph in `onnx/`.

use super::listing::Entry;
use crate::source::RepoPath;

/// A companion larger than this is something else under a companion's name.
const LARGEST: u64 = 64 << 20;

/// Exact names, in lower case.
const NAMES: [&str; 29] = [
    "config.json",
    "config.yaml",
    "config.yml",
    "preprocessor_config.json",
    "processor_config.json",
    "quantize_config.json",
    "readme.md",
    "license",
    "license.txt",
    "license.md",
    "notice",
    "labels.txt",
    "labels.json",
    "label.txt",
    "labelmap.txt",
    "classes.txt",
    "classes.json",
    "class_map.txt",
    "id2label.json",
    "nvinfer_config.txt",
    "nvdsinfer_config.yaml",
    "experiment.yaml",
    // What turns the prompt of an open-vocabulary model into numbers.
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
];

/// Whether a file of this name goes with a model.
fn is_companion(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    // `…_int8.txt` and `*.cache` are TensorRT calibration caches of NGC archives; `*.names` are Darknet's labels.
    let patterns = [
        ".names",
        "_int8.txt",
        "_labels.txt",
        "calibration.cache",
        "calib.cache",
        "cal.bin",
        "calibration.bin",
    ];
    NAMES.contains(&name.as_str()) || patterns.iter().any(|pattern| name.ends_with(pattern))
}

/// The companions of the file `main` among the entries, of its folder and of `root` (empty for the top).
pub(super) fn companions(entries: &[Entry], main: &RepoPath, root: &str) -> Vec<RepoPath> {
    let folders = [main.folder().unwrap_or_default(), root];
    entries
        .iter()
        .filter(|entry| folders.contains(&entry.path.folder().unwrap_or_default()))
        .filter(|entry| entry.size.is_none_or(|size| size <= LARGEST))
        .filter(|entry| is_companion(entry.path.file_name()) && entry.path != *main)
        .map(|entry| entry.path.clone())
        .collect()
}

/// The files that by their names hold the tensors of the ONNX file `main`: `X.onnx_data`, `X.onnx_data_1`,
/// `X.onnx.data`, `X.data`.
pub(super) fn external_data_by_name(entries: &[Entry], main: &RepoPath) -> Vec<RepoPath> {
    let name = main.file_name();
    let stem = name.strip_suffix(".onnx").unwrap_or(name);
    let is_data = |other: &str| {
        other == format!("{name}.data")
            || other == format!("{stem}.data")
            || other
                .strip_prefix(&format!("{name}_data"))
                .is_some_and(|rest| rest.is_empty() || rest.strip_prefix('_').is_some_and(is_number))
    };
    entries
        .iter()
        .filter(|entry| entry.path.folder() == main.folder() && is_data(entry.path.file_name()))
        .map(|entry| entry.path.clone())
        .collect()
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}
