//! Outside programs. One file or folder each; a program that is not installed is an absent answer, not a failure.

mod child;
pub mod nvidia_smi;
mod profile;
pub mod python_exporter;
pub mod tao_converter;
pub mod tensorrt_rtx;
pub mod trtexec;

pub use profile::Profile;
