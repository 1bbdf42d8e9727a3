//! ONNX files: from bytes to a [`Model`](crate::Model) and back.
//!
//! Reading decodes from a [`Bytes`](bytes::Bytes): hand it a memory map (`Bytes::from_owner(map)`) and no weight is
//! copied or even touched. Writing streams: only one chunk of weights is in memory at a time.
//!
//! Everything that a detector needs survives a round trip, operators that we do not know included. What is lost: the
//! texts and metadata of single tensors and attributes, dimension denotations, and fields that ONNX does not define. External data is
//! folded in on writing, unless [`write_referring`] is asked to leave it where it lies.

mod external;
mod proto;
mod read;
mod tensor;
mod write;

pub use external::{check_location, split_external};
pub(crate) use proto::{FunctionProto, SparseTensorProto};
pub use read::{external_locations, read, read_structure};
pub use write::{encoded_len, write, write_referring};

/// The largest file that protobuf, and so ONNX, allows.
pub const LARGEST_FILE: u64 = 2_147_483_647;
