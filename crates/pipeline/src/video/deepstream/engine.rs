//! The engine that `build` left in the package, and the configuration of nvinfer that goes with its graph.

use std::path::Path;

use deploy::targets::{DeepStreamFiles, deepstream_key};
use deploy::{Measurements, Precision};

use crate::Error;

const FOLDER: &str = "benchmarks/engines";

/// An engine for nvinfer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Engine {
    /// Its path in the package.
    pub(super) path: String,
    /// The configuration's path.
    pub(super) config: String,
    /// Its largest batch.
    pub(super) max_batch: u32,
}

impl Engine {
    /// Looks for an engine of a graph that a configuration names: the one that was measured last, else the one for the most
    /// streams. It takes at least `streams`.
    ///
    /// # Errors
    /// [`Error::NoEngine`].
    pub(super) fn find(
        package: &Path,
        files: &DeepStreamFiles,
        measurements: &Measurements,
        streams: Option<u32>,
    ) -> Result<Self, Error> {
        let measured = measurements.tensorrt.as_ref().map(|tensorrt| tensorrt.engine.path.as_str());
        let built = engines(package);
        let mut first_graph = None;
        let mut found: Vec<Self> = Vec::new();
        for precision in [Precision::Fp32, Precision::Fp16, Precision::Int8] {
            let config = files.infer(precision);
            let Ok(text) = std::fs::read_to_string(package.join(&config)) else { continue };
            let Some(onnx) = deepstream_key(&text, "property", "onnx-file") else { continue };
            let onnx = onnx.trim_start_matches("../");
            first_graph.get_or_insert_with(|| onnx.to_owned());
            let file = onnx.rsplit('/').next().unwrap_or_default();
            let stem = file.strip_suffix(".onnx").unwrap_or(file);
            // INT8 by calibration cache is an engine of the float graph.
            let suffix = if precision == Precision::Int8 { "_int8" } else { "" };
            for name in &built {
                let Some(max_batch) = batch_of(name, &format!("{stem}{suffix}")) else { continue };
                found.push(Self { path: format!("{FOLDER}/{name}"), config: config.clone(), max_batch });
            }
        }
        found.retain(|engine| streams.is_none_or(|streams| streams <= engine.max_batch));
        found.sort_by_key(|engine| (measured == Some(engine.path.as_str()), engine.max_batch));
        found.pop().ok_or_else(|| Error::NoEngine {
            package: package.to_owned(),
            graph: first_graph.unwrap_or_default(),
            streams,
        })
    }
}

fn engines(package: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(package.join(FOLDER)).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// The batch of `<stem>_dynamic_b64.engine`.
fn batch_of(file: &str, stem: &str) -> Option<u32> {
    file.strip_prefix(stem)?.strip_prefix("_dynamic_b")?.strip_suffix(".engine")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_graph_and_the_batch() {
        let cases = [
            ("m_dynamic_b64.engine", "m", Some(64)),
            ("m_video_dynamic_b8.engine", "m", None),
            ("m_video_dynamic_b8.engine", "m_video", Some(8)),
            ("m_static_b8.engine", "m", None),
            ("m_dynamic_b64.layers.json", "m", None),
        ];
        for (file, stem, batch) in cases {
            assert_eq!(batch_of(file, stem), batch, "{file}");
        }
    }
}
