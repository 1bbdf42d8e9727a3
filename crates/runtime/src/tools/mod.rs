//! Outside programs. One file or folder each; a program that is not installed is an absent answer, not a failure.

mod child;
pub mod deepstream_app;
pub mod gst_inspect;
pub mod gst_launch;
pub mod jetson;
pub mod make;
pub mod nvidia_smi;
pub mod nvinfer;
mod profile;
pub mod programs;
pub mod python_exporter;
pub mod stdout;
pub mod tao_converter;
pub mod tensorrt_rtx;
pub mod trtexec;

pub use profile::Profile;
