//! Category B: checkpoints at the root, safetensors before pickles.
//!
//! A sharded checkpoint is represented by its index; the index, once fetched, is the truth about the shards.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Candidate, Entry, Kind, below};
use crate::source::RepoPath;

/// How a checkpoint is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightsFormat {
    /// One safetensors file.
    Safetensors,
    /// Several, with `….safetensors.index.json`.
    SafetensorsSharded,
    /// One PyTorch pickle named `….bin`.
    PytorchBin,
    /// Several, with `….bin.index.json`.
    PytorchBinSharded,
    /// A PyTorch file named `….pt` or `….pth`, as Ultralytics and research code write it.
    PytorchPt,
}

impl WeightsFormat {
    /// The format of a checkpoint of this name, or `None` where it is none.
    pub fn of(path: &RepoPath) -> Option<Self> {
        let name = path.file_name().to_ascii_lowercase();
        if name.ends_with(".safetensors.index.json") {
            return Some(Self::SafetensorsSharded);
        }
        if name.ends_with(".bin.index.json") {
            return Some(Self::PytorchBinSharded);
        }
        // States of a training run, adapters and other programs' formats that share the extensions.
        let others = [
            "training_args",
            "optimizer",
            "scheduler",
            "rng_state",
            "scaler",
            "adapter_model",
            "openvino",
            "ggml",
        ];
        if others.iter().any(|other| name.starts_with(other)) {
            return None;
        }
        match path.extension().as_str() {
            "safetensors" => Some(Self::Safetensors),
            "bin" if !is_calibration(&name) => Some(Self::PytorchBin),
            "pt" | "pth" => Some(Self::PytorchPt),
            _ => None,
        }
    }
}

fn is_calibration(name: &str) -> bool {
    name.starts_with("cal") || name.ends_with("_int8.bin")
}

impl fmt::Display for WeightsFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::SafetensorsSharded => "sharded safetensors",
            Self::PytorchBin => "PyTorch pickle",
            Self::PytorchBinSharded => "sharded PyTorch pickle",
            Self::PytorchPt => "PyTorch checkpoint",
        })
    }
}

/// The checkpoints directly below `root`, best first; shards are part of their index.
pub(super) fn candidates(entries: &[Entry], root: &str) -> Vec<Candidate> {
    let mut found: Vec<(WeightsFormat, Candidate)> = entries
        .iter()
        .filter(|entry| below(&entry.path, root).is_some_and(|path| !path.contains('/')))
        .filter(|entry| !is_shard(entry.path.file_name()))
        .filter_map(|entry| {
            let format = WeightsFormat::of(&entry.path)?;
            let candidate = Candidate {
                path: entry.path.clone(),
                size: entry.size,
                kind: Kind::Weights(format),
                chosen: false,
                reason: reason(format).to_owned(),
            };
            Some((format, candidate))
        })
        .collect();
    // A `.bin` beside an OpenVINO `.xml` of the same name is OpenVINO's.
    found.retain(|(format, candidate)| {
        let xml = candidate.path.as_str().strip_suffix(".bin").map(|stem| format!("{stem}.xml"));
        *format != WeightsFormat::PytorchBin
            || !xml.is_some_and(|xml| entries.iter().any(|entry| entry.path.as_str() == xml))
    });
    found.sort_by_cached_key(|(format, candidate)| {
        let name = candidate.path.file_name();
        let is_default =
            name.starts_with("model.") || name.starts_with("pytorch_model.") || name.starts_with("best.");
        let is_safe = matches!(format, WeightsFormat::Safetensors | WeightsFormat::SafetensorsSharded);
        (!is_safe, !is_default, *format, candidate.path.clone())
    });
    found.into_iter().map(|(_, candidate)| candidate).collect()
}

fn reason(format: WeightsFormat) -> &'static str {
    match format {
        WeightsFormat::Safetensors | WeightsFormat::SafetensorsSharded => {
            "tensors only: read without running anything"
        }
        _ => "a pickle: read without running it, taken only where there is no safetensors",
    }
}

/// `model-00001-of-00003.safetensors`.
fn is_shard(name: &str) -> bool {
    let Some((head, count)) = name.split('.').next().unwrap_or(name).rsplit_once("-of-") else {
        return false;
    };
    let number = head.rsplit_once('-').map_or("", |(_, number)| number);
    [number, count].iter().all(|digits| digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// The shards that by their names belong to an index; nothing for a file that is not one.
pub(super) fn shards(entries: &[Entry], index: &RepoPath) -> Vec<RepoPath> {
    let Some(whole) = index.file_name().strip_suffix(".index.json") else { return Vec::new() };
    let Some((stem, extension)) = whole.rsplit_once('.') else { return Vec::new() };
    entries
        .iter()
        .map(|entry| &entry.path)
        .filter(|path| path.folder() == index.folder() && is_shard(path.file_name()))
        .filter(|path| path.file_name().starts_with(&format!("{stem}-")) && path.extension() == extension)
        .cloned()
        .collect()
}
