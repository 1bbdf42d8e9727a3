//! Fuzz targets: one function for every reader of foreign bytes.
//!
//! A target takes any bytes and must return: a panic, an abort or endless work is a bug of the reader. `tests/smoke.rs`
//! runs every target over mutated seeds in a few seconds on the stable compiler; see the README for longer runs.

mod detect_files;
mod graph_files;
mod models_files;
pub mod mutate;
mod runtime_files;

pub use detect_files::{annotations, detector, image, labels, source};
pub use graph_files::{calibration_cache, engine_layers, etlt, onnx_read, passes, plan};
pub use models_files::{
    config, nvinfer_config, pickle, pickled_network, preprocessor_config, safetensors, safetensors_index,
    ultralytics_metadata,
};
pub use runtime_files::{trtexec_log, trtexec_outputs};

/// A reader of foreign bytes.
pub type Target = fn(&[u8]);

/// Every target by name.
pub static TARGETS: &[(&str, Target)] = &[
    ("annotations", annotations),
    ("calibration_cache", calibration_cache),
    ("config", config),
    ("detector", detector),
    ("engine_layers", engine_layers),
    ("etlt", etlt),
    ("image", image),
    ("labels", labels),
    ("nvinfer_config", nvinfer_config),
    ("onnx_read", onnx_read),
    ("passes", passes),
    ("pickle", pickle),
    ("pickled_network", pickled_network),
    ("plan", plan),
    ("preprocessor_config", preprocessor_config),
    ("safetensors", safetensors),
    ("safetensors_index", safetensors_index),
    ("source", source),
    ("trtexec_log", trtexec_log),
    ("trtexec_outputs", trtexec_outputs),
    ("ultralytics_metadata", ultralytics_metadata),
];
