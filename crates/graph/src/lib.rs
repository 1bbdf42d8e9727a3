//! ONNX graphs: read, write, build, check, describe. And TensorRT's files beside them: plans, calibration caches.
//!
//! Pure: bytes in, bytes out. Nothing here opens a file, reads a clock or an environment variable; external data
//! comes through a resolver that the caller passes. A [`Tensor`] shares its bytes, so a graph read from a memory map
//! costs no copy of its weights, and a weight that has to be transposed or rescaled for ONNX is only computed while
//! it is written.

pub mod builder;
mod calibration_cache;
mod check;
mod compose;
mod compute_capability;
mod dtype;
mod engine_layers;
mod error;
mod etlt;
mod facts;
mod model;
pub mod onnx;
pub mod passes;
mod plan;
pub mod quantize;
mod shapes;
mod tensor;

pub use builder::{Builder, Value};
pub use calibration_cache::{CalibrationCache, CalibrationEntry};
pub use compute_capability::ComputeCapability;
pub use dtype::DataType;
pub use engine_layers::{EngineLayer, EngineLayers, EngineProfile, EngineShare, EngineTensor};
pub use error::Error;
pub use etlt::etlt_input;
pub use facts::{
    ExternalFile, Facts, OperatorCount, PrecisionShare, TENSORRT_OPSETS, TENSORRT_VERSION, Warning,
    WarningKind, supported_by_tensorrt,
};
pub use model::{Attribute, Dim, Graph, Model, Node, ValueInfo};
pub use plan::{Plan, PlanKind, PlanVersion};
pub use shapes::Shapes;
pub use tensor::{External, Tensor};
