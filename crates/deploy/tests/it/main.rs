//! Whole packages: the report in its three formats, the manifest, the deployment trees.

mod data;
mod golden;
mod manifest;
mod onnxruntime;
mod report;
mod variants;
