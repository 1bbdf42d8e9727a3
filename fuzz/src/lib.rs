//! Fuzz targets: one function for every reader of foreign bytes.
//!
//! A target takes any bytes and must return: a panic, an abort or endless work is a bug of the reader. `tests/smoke.rs`
//! runs every target over mutated seeds in a few seconds on the stable compiler; see the README for longer runs.

mod graph_files;
pub mod mutate;

pub use graph_files::{calibration_cache, onnx_read, plan};
