//! Whole packages: the report in its three formats, the manifest, the deployment trees.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod data;
mod golden;
mod manifest;
mod onnxruntime;
mod report;
mod triton;
mod variants;
