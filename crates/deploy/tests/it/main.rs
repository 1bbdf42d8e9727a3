//! Whole packages: the report in its three formats, the manifest, the deployment trees.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod data;
mod deepstream;
mod golden;
mod isaac_ros;
mod manifest;
mod nvinfer;
mod onnxruntime;
mod parser;
mod report;
mod triton;
mod variants;
