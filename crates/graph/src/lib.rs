//! ONNX graphs: read, write, build, check, describe.
//!
//! Pure: bytes in, bytes out. Nothing here opens a file, reads a clock or an environment variable; external data
//! comes through a resolver that the caller passes. A [`Tensor`] shares its bytes, so a graph read from a memory map
//! costs no copy of its weights, and a weight that has to be transposed or rescaled for ONNX is only computed while
//! it is written.

pub mod builder;
mod check;
mod dtype;
mod error;
mod model;
pub mod onnx;
mod tensor;

pub use builder::{Builder, Value};
pub use dtype::DataType;
pub use error::Error;
pub use model::{Attribute, Dim, Graph, Model, Node, ValueInfo};
pub use tensor::{External, Tensor};
