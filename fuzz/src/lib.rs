//! Fuzz targets: one function for every reader of foreign bytes.
//!
//! A target takes any bytes and must return: a panic, an abort or endless work is a bug of the reader. `tests/smoke.rs`
//! runs every target over mutated seeds in a few seconds on the stable compiler; see the README for longer runs.

mod detect_files;
mod graph_files;
mod models_files;
pub mod mutate;

pub use detect_files::{annotations, detector, image, labels, source};
pub use graph_files::{calibration_cache, onnx_read, plan};
pub use models_files::{
    config, nvinfer_config, pickle, preprocessor_config, safetensors, safetensors_index, ultralytics_metadata,
};
