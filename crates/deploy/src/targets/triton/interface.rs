//! Inputs and outputs as a configuration names them.

use graph::{DataType, ValueInfo};

use super::FOLDER;
use super::text_proto::Message;
use crate::Error;

/// An input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) data_type: &'static str,
    /// Without the batch where the model has one; -1 where the size differs from request to request.
    pub(super) dims: Vec<i64>,
}

impl Tensor {
    /// What the graph says of a tensor, without the first dimension when that is the batch.
    pub(super) fn of(info: &ValueInfo, is_batched: bool) -> Result<Self, Error> {
        let refuse = |reason: &str| Error::Tensor {
            target: FOLDER,
            tensor: info.to_string(),
            reason: reason.to_owned(),
        };
        let dtype = info.dtype.ok_or_else(|| refuse("the graph does not state its type"))?;
        let data_type = data_type(dtype).ok_or_else(|| refuse("Triton has no such type"))?;
        let shape = info.shape.as_ref().ok_or_else(|| refuse("the graph does not state its shape"))?;
        let dims = shape.iter().skip(usize::from(is_batched));
        let dims = dims.map(|dim| dim.fixed().map_or(-1, |size| size as i64)).collect();
        Ok(Self { name: info.name.clone(), data_type, dims })
    }

    pub(super) fn new(name: &str, data_type: &'static str, dims: &[i64]) -> Self {
        Self { name: name.to_owned(), data_type, dims: dims.to_vec() }
    }

    /// The fields that inputs and outputs share.
    pub(super) fn message(&self) -> Message {
        let message = Message::new().text("name", &self.name).word("data_type", self.data_type);
        // A number for each image has no dimensions, which the field cannot say.
        if self.dims.is_empty() {
            return message.list("dims", [1]).message("reshape", Message::new().list("shape", [0; 0]));
        }
        message.list("dims", &self.dims)
    }
}

fn data_type(dtype: DataType) -> Option<&'static str> {
    Some(match dtype {
        DataType::Bool => "TYPE_BOOL",
        DataType::U8 => "TYPE_UINT8",
        DataType::U16 => "TYPE_UINT16",
        DataType::U32 => "TYPE_UINT32",
        DataType::U64 => "TYPE_UINT64",
        DataType::I8 => "TYPE_INT8",
        DataType::I16 => "TYPE_INT16",
        DataType::I32 => "TYPE_INT32",
        DataType::I64 => "TYPE_INT64",
        DataType::F16 => "TYPE_FP16",
        DataType::F32 => "TYPE_FP32",
        DataType::F64 => "TYPE_FP64",
        DataType::String => "TYPE_STRING",
        DataType::Bf16 => "TYPE_BF16",
        _ => return None,
    })
}
