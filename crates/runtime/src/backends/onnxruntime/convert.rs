//! Tensors to and from ONNX Runtime's values. Neither way copies, unless bytes lie at an address that does not suit
//! their type.

use bytes::Bytes;
use graph::{DataType, Tensor};
use half::{bf16, f16};
use ort::memory::{AllocationDevice, MemoryInfo};
use ort::session::SessionInputValue;
use ort::value::{DynTensor, DynTensorValueType, DynValue, TensorElementType, TensorRef};

use crate::Error;

/// An input's bytes, kept alive while the library reads them.
pub(super) struct Input {
    dtype: DataType,
    shape: Vec<i64>,
    bytes: Bytes,
}

impl Input {
    /// The tensor given for the input `name`.
    pub(super) fn new(backend: &'static str, name: &str, tensor: &Tensor) -> Result<Self, Error> {
        let dtype = tensor.dtype();
        if element_type(dtype).is_none() {
            return Err(Error::Unsupported {
                backend,
                node: name.to_owned(),
                op: "input".into(),
                reason: format!("elements of type {dtype} cannot be handed over"),
            });
        }
        let shape = tensor.shape().iter().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect();
        let bytes = match tensor.bytes() {
            bytes if suits(&bytes, dtype) => bytes,
            bytes => aligned(&bytes),
        };
        Ok(Self { dtype, shape, bytes })
    }

    pub(super) fn element_type(&self) -> Option<TensorElementType> {
        element_type(self.dtype)
    }

    pub(super) fn shape(&self) -> &[i64] {
        &self.shape
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The input as the library sees it: borrowed.
    pub(super) fn view(&self) -> Result<SessionInputValue<'_>, String> {
        macro_rules! view {
            ($element:ty) => {{
                let elements: &[$element] =
                    bytemuck::checked::try_cast_slice(&self.bytes).map_err(|error| error.to_string())?;
                let view = TensorRef::<$element>::from_array_view((self.shape.as_slice(), elements));
                view.map(Into::into).map_err(|error| error.to_string())
            }};
        }
        match self.dtype {
            DataType::F32 => view!(f32),
            DataType::F16 => view!(f16),
            DataType::Bf16 => view!(bf16),
            DataType::F64 => view!(f64),
            DataType::U8 => view!(u8),
            DataType::I8 => view!(i8),
            DataType::U16 => view!(u16),
            DataType::I16 => view!(i16),
            DataType::U32 => view!(u32),
            DataType::I32 => view!(i32),
            DataType::U64 => view!(u64),
            DataType::I64 => view!(i64),
            DataType::Bool => view!(bool),
            other => Err(format!("elements of type {other} cannot be handed over")),
        }
    }
}

/// Types that go in and come out, ours and theirs. Those narrower than a byte, complex numbers and texts do not: no
/// detector takes or gives them.
const TYPES: &[(DataType, TensorElementType)] = &[
    (DataType::F32, TensorElementType::Float32),
    (DataType::F16, TensorElementType::Float16),
    (DataType::Bf16, TensorElementType::Bfloat16),
    (DataType::F64, TensorElementType::Float64),
    (DataType::U8, TensorElementType::Uint8),
    (DataType::I8, TensorElementType::Int8),
    (DataType::U16, TensorElementType::Uint16),
    (DataType::I16, TensorElementType::Int16),
    (DataType::U32, TensorElementType::Uint32),
    (DataType::I32, TensorElementType::Int32),
    (DataType::U64, TensorElementType::Uint64),
    (DataType::I64, TensorElementType::Int64),
    (DataType::Bool, TensorElementType::Bool),
];

fn element_type(dtype: DataType) -> Option<TensorElementType> {
    TYPES.iter().find(|(ours, _)| *ours == dtype).map(|(_, theirs)| *theirs)
}

/// Whether the bytes begin where an element of this type may.
fn suits(bytes: &[u8], dtype: DataType) -> bool {
    let size = dtype.bits().unwrap_or(8).div_ceil(8).max(1);
    // No bytes have an address too, and it is looked at like any other.
    (bytes.as_ptr() as usize).is_multiple_of(size)
}

/// The same bytes where any element may begin.
fn aligned(bytes: &[u8]) -> Bytes {
    struct Words(Vec<u64>, usize);
    impl AsRef<[u8]> for Words {
        fn as_ref(&self) -> &[u8] {
            &bytemuck::cast_slice(&self.0)[..self.1]
        }
    }
    let mut words = vec![0_u64; bytes.len().div_ceil(8)];
    bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
    Bytes::from_owner(Words(words, bytes.len()))
}

/// The value that came out under `name`, which the graph declares to be of this type.
///
/// It is copied: what the library hands out may be a constant of the session or, where an output is an input, the memory
/// of the caller, and would not outlive them.
pub(super) fn output(name: &str, value: DynValue, declared: Option<DataType>) -> Result<Tensor, Error> {
    let wrong = |actual: &str| Error::WrongOutput {
        name: name.to_owned(),
        expected: declared.map_or("a tensor", DataType::name).to_owned(),
        actual: actual.to_owned(),
    };
    let Ok(tensor) = value.downcast::<DynTensorValueType>() else { return Err(wrong("no tensor")) };
    let theirs = *tensor.data_type();
    let Some((dtype, _)) = TYPES.iter().find(|(_, known)| *known == theirs) else {
        return Err(wrong(&theirs.to_string()));
    };
    if declared.is_some_and(|declared| declared != *dtype) {
        return Err(wrong(dtype.name()));
    }
    let shape: Option<Vec<usize>> = tensor.shape().iter().map(|size| usize::try_from(*size).ok()).collect();
    let shape = shape.ok_or_else(|| wrong("of negative size"))?;
    let bytes = content(&tensor).ok_or_else(|| wrong("in memory that cannot be read here"))?;
    Ok(Tensor::new(*dtype, shape, bytes)?)
}

/// Whether the processor reaches this memory. Since 1.23 the library counts page-locked memory to the graphics processor.
fn is_readable(memory: &MemoryInfo<'_>) -> bool {
    memory.is_cpu_accessible() || memory.allocation_device() == AllocationDevice::CUDA_PINNED
}

#[expect(unsafe_code, reason = "the library hands out an address")]
fn content(tensor: &DynTensor) -> Option<Bytes> {
    let length = tensor.size()?;
    if length == 0 {
        return Some(Bytes::new());
    }
    let address = tensor.data_ptr().cast::<u8>();
    if address.is_null() || !is_readable(tensor.memory_info()) {
        return None;
    }
    // SAFETY: the tensor is dense, in memory that the processor reaches, and `length` bytes long by its type and shape; all
    // of them were written by the run that made it.
    Some(Bytes::copy_from_slice(unsafe { std::slice::from_raw_parts(address, length) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bytes_at_an_odd_address_are_copied() {
        let floats = Tensor::from_f32([2], vec![1.0, 2.0]).unwrap();
        let input = Input::new("onnxruntime", "x", &floats).unwrap();
        assert_eq!(input.bytes().as_ptr(), floats.bytes().as_ptr());
        let mut bytes = vec![0_u8];
        bytes.extend_from_slice(&floats.bytes());
        let odd = Tensor::new(DataType::F32, [2], Bytes::from(bytes).slice(1..9)).unwrap();
        let input = Input::new("onnxruntime", "x", &odd).unwrap();
        assert!(suits(input.bytes(), DataType::F32));
        assert_eq!(input.bytes(), &floats.bytes()[..]);
    }

    #[test]
    fn types_that_no_detector_takes_are_refused() {
        let complex = Tensor::new(DataType::Complex64, [1], Bytes::from_static(&[0; 8])).unwrap();
        let error = Input::new("onnxruntime", "x", &complex).err().unwrap();
        assert_eq!(
            error.to_string(),
            "backend `onnxruntime` cannot run node `x` (input): elements of type complex64 cannot be handed over"
        );
    }
}
