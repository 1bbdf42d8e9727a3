//! Tensors over shared bytes.
//!
//! A tensor never owns a private copy of a checkpoint: its bytes are a slice of a memory map, or a recipe that computes
//! them when they are asked for. A recipe is evaluated each time, so ask once and keep the result.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use half::{bf16, f16};

use crate::{DataType, Error};

/// A dense, row-major tensor. Elements are little-endian, as in ONNX `raw_data`.
#[derive(Clone)]
pub struct Tensor {
    dtype: DataType,
    shape: Vec<usize>,
    data: Data,
}

/// Where the bytes of a tensor lie that were not loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    /// The file, relative to the model's folder.
    pub location: String,
    /// The first byte.
    pub offset: u64,
    /// The stated number of bytes.
    pub length: Option<u64>,
}

#[derive(Clone)]
enum Data {
    Ready(Bytes),
    /// One byte string an element.
    Strings(Arc<[Bytes]>),
    /// In a file that was not opened: [`crate::onnx::read_structure`] makes these.
    Unresolved(Arc<External>),
    /// Computed when asked for: weights that ONNX wants transposed or rescaled are never all in memory at once.
    Deferred(Arc<dyn Fn() -> Bytes + Send + Sync>),
}

impl Tensor {
    /// A tensor of these bytes.
    ///
    /// # Errors
    /// [`Error::BadTensor`] when the length is not what `dtype` and `shape` ask for.
    pub fn new(dtype: DataType, shape: impl Into<Vec<usize>>, bytes: Bytes) -> Result<Self, Error> {
        let shape = shape.into();
        let expected = byte_len(dtype, &shape);
        if expected != Some(bytes.len()) {
            return Err(Error::BadTensor {
                name: String::new(),
                reason: format!("{} bytes for {dtype} {shape:?}", bytes.len()),
            });
        }
        Ok(Self { dtype, shape, data: Data::Ready(bytes) })
    }

    /// A tensor whose bytes are computed when they are asked for. `recipe` must give the same bytes each time, as many
    /// as `dtype` and `shape` ask for.
    pub fn deferred(
        dtype: DataType,
        shape: impl Into<Vec<usize>>,
        recipe: impl Fn() -> Bytes + Send + Sync + 'static,
    ) -> Self {
        Self { dtype, shape: shape.into(), data: Data::Deferred(Arc::new(recipe)) }
    }

    /// A tensor of texts, one an element.
    ///
    /// # Errors
    /// [`Error::BadTensor`] when there are not as many texts as `shape` asks for.
    pub fn strings(shape: impl Into<Vec<usize>>, values: Vec<Bytes>) -> Result<Self, Error> {
        let shape = shape.into();
        if elements_of(&shape) != Some(values.len()) {
            return Err(Error::BadTensor {
                name: String::new(),
                reason: format!("{} texts for {shape:?}", values.len()),
            });
        }
        Ok(Self { dtype: DataType::String, shape, data: Data::Strings(values.into()) })
    }

    /// A tensor whose bytes lie in a file that was not opened.
    ///
    /// # Errors
    /// [`Error::BadTensor`] when `dtype` has no fixed size or `shape` is too large.
    pub fn unresolved(
        dtype: DataType,
        shape: impl Into<Vec<usize>>,
        external: External,
    ) -> Result<Self, Error> {
        let shape = shape.into();
        if byte_len(dtype, &shape).is_none() {
            return Err(Error::BadTensor { name: String::new(), reason: format!("{dtype} {shape:?}") });
        }
        Ok(Self { dtype, shape, data: Data::Unresolved(Arc::new(external)) })
    }

    /// A `float32` tensor.
    ///
    /// # Errors
    /// [`Error::BadTensor`] when there are not as many values as `shape` asks for.
    pub fn from_f32(shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Result<Self, Error> {
        Self::new(DataType::F32, shape, bytes_of(values))
    }

    /// An `int64` tensor; errors as [`Tensor::from_f32`].
    pub fn from_i64(shape: impl Into<Vec<usize>>, values: Vec<i64>) -> Result<Self, Error> {
        Self::new(DataType::I64, shape, bytes_of(values))
    }

    /// An `int32` tensor; errors as [`Tensor::from_f32`].
    pub fn from_i32(shape: impl Into<Vec<usize>>, values: Vec<i32>) -> Result<Self, Error> {
        Self::new(DataType::I32, shape, bytes_of(values))
    }

    /// A `uint8` tensor; errors as [`Tensor::from_f32`].
    pub fn from_u8(shape: impl Into<Vec<usize>>, values: Vec<u8>) -> Result<Self, Error> {
        Self::new(DataType::U8, shape, Bytes::from(values))
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DataType {
        self.dtype
    }

    /// The dimensions, outermost first; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        elements_of(&self.shape).unwrap_or(usize::MAX)
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of bytes, without computing a deferred tensor or opening a file; texts are counted together.
    pub fn byte_len(&self) -> usize {
        match &self.data {
            Data::Ready(bytes) => bytes.len(),
            Data::Strings(values) => values.iter().map(Bytes::len).sum(),
            Data::Deferred(_) | Data::Unresolved(_) => byte_len(self.dtype, &self.shape).unwrap_or(0),
        }
    }

    /// The bytes; a deferred tensor is computed now. Empty for texts and for a tensor in an unopened file
    /// ([`Tensor::external`]).
    pub fn bytes(&self) -> Bytes {
        match &self.data {
            Data::Ready(bytes) => bytes.clone(),
            Data::Deferred(recipe) => recipe(),
            Data::Strings(_) | Data::Unresolved(_) => Bytes::new(),
        }
    }

    /// The texts of a `string` tensor.
    pub fn as_strings(&self) -> Option<&[Bytes]> {
        match &self.data {
            Data::Strings(values) => Some(values),
            _ => None,
        }
    }

    /// The file that holds the bytes, when it was not opened.
    pub fn external(&self) -> Option<&External> {
        match &self.data {
            Data::Unresolved(external) => Some(external),
            _ => None,
        }
    }

    /// Whether the bytes are only computed when asked for.
    pub fn is_deferred(&self) -> bool {
        matches!(self.data, Data::Deferred(_))
    }

    /// The same bytes under another shape.
    ///
    /// # Errors
    /// [`Error::BadTensor`] when the number of elements differs.
    pub fn reshaped(&self, shape: impl Into<Vec<usize>>) -> Result<Self, Error> {
        let shape = shape.into();
        if elements_of(&shape) != Some(self.len()) {
            return Err(Error::BadTensor {
                name: String::new(),
                reason: format!("{:?} cannot be seen as {shape:?}", self.shape),
            });
        }
        Ok(Self { shape, ..self.clone() })
    }

    /// Tensors that differ at most in their first dimension, one after the other along it.
    ///
    /// # Errors
    /// [`Error::BadTensor`] when types or the other dimensions differ, or there is no tensor.
    pub fn stack(tensors: &[&Self]) -> Result<Self, Error> {
        let fits = |a: &Self, b: &Self| {
            !a.shape.is_empty()
                && a.dtype == b.dtype
                && a.shape.len() == b.shape.len()
                && a.shape.get(1..) == b.shape.get(1..)
        };
        let Some(first) = tensors.first().filter(|first| tensors.iter().all(|tensor| fits(first, tensor)))
        else {
            let shapes: Vec<&[usize]> = tensors.iter().map(|tensor| tensor.shape()).collect();
            return Err(Error::BadTensor { name: String::new(), reason: format!("{shapes:?} do not stack") });
        };
        if tensors.len() == 1 {
            return Ok((*first).clone());
        }
        let mut shape = first.shape.clone();
        if let Some(rows) = shape.first_mut() {
            *rows = tensors.iter().map(|tensor| tensor.shape[0]).sum();
        }
        let mut bytes = Vec::with_capacity(tensors.iter().map(|tensor| tensor.byte_len()).sum());
        for tensor in tensors {
            bytes.extend_from_slice(&tensor.bytes());
        }
        Self::new(first.dtype, shape, Bytes::from(bytes))
    }

    /// One row of the first dimension, as a batch of one, without a copy.
    ///
    /// # Errors
    /// [`Error::BadTensor`] when there is no such row, or elements are narrower than a byte.
    pub fn row(&self, at: usize) -> Result<Self, Error> {
        let rows = self.shape.first().copied().unwrap_or(0);
        let bytes = self.bytes();
        if at >= rows || !bytes.len().is_multiple_of(rows) {
            let reason = format!("{} {:?} has no row {at}", self.dtype, self.shape);
            return Err(Error::BadTensor { name: String::new(), reason });
        }
        let width = bytes.len() / rows;
        let mut shape = self.shape.clone();
        shape[0] = 1;
        Self::new(self.dtype, shape, bytes.slice(at * width..(at + 1) * width))
    }

    /// The values of a floating-point or integer tensor as `f32`, widened or rounded where they are not.
    ///
    /// # Errors
    /// [`Error::WrongType`] for strings, complex numbers and types narrower than a byte; [`Error::ExternalData`] when
    /// the bytes were not loaded.
    pub fn to_f32(&self) -> Result<Vec<f32>, Error> {
        let bytes = self.loaded()?;
        Ok(match self.dtype {
            DataType::F32 => elements(&bytes, f32::from_le_bytes),
            DataType::F16 => elements(&bytes, |b| f16::from_le_bytes(b).to_f32()),
            DataType::Bf16 => elements(&bytes, |b| bf16::from_le_bytes(b).to_f32()),
            DataType::F64 => elements(&bytes, |b| f64::from_le_bytes(b) as f32),
            DataType::I64 => elements(&bytes, |b| i64::from_le_bytes(b) as f32),
            DataType::I32 => elements(&bytes, |b| i32::from_le_bytes(b) as f32),
            DataType::U8 | DataType::Bool => bytes.iter().map(|b| f32::from(*b)).collect(),
            DataType::I8 => elements(&bytes, |b: [u8; 1]| f32::from(i8::from_le_bytes(b))),
            other => return Err(Error::WrongType { expected: "numbers", actual: other.name() }),
        })
    }

    /// The values of a `float32` tensor, borrowed where the bytes are ready and aligned.
    ///
    /// # Errors
    /// [`Error::WrongType`] when the elements are of another type.
    pub fn as_f32(&self) -> Result<Cow<'_, [f32]>, Error> {
        if self.dtype != DataType::F32 {
            return Err(Error::WrongType { expected: "float32", actual: self.dtype.name() });
        }
        if let Data::Ready(bytes) = &self.data
            && let Ok(values) = bytemuck::try_cast_slice(bytes)
        {
            return Ok(Cow::Borrowed(values));
        }
        self.to_f32().map(Cow::Owned)
    }

    /// The values of an integer or boolean tensor as `i64`.
    ///
    /// # Errors
    /// [`Error::WrongType`] when the elements are not integers.
    pub fn to_i64(&self) -> Result<Vec<i64>, Error> {
        let bytes = self.loaded()?;
        Ok(match self.dtype {
            DataType::I64 => elements(&bytes, i64::from_le_bytes),
            DataType::I32 => elements(&bytes, |b| i64::from(i32::from_le_bytes(b))),
            DataType::I16 => elements(&bytes, |b| i64::from(i16::from_le_bytes(b))),
            DataType::U16 => elements(&bytes, |b| i64::from(u16::from_le_bytes(b))),
            DataType::U32 => elements(&bytes, |b| i64::from(u32::from_le_bytes(b))),
            DataType::U8 | DataType::Bool => bytes.iter().map(|b| i64::from(*b)).collect(),
            DataType::I8 => elements(&bytes, |b: [u8; 1]| i64::from(i8::from_le_bytes(b))),
            other => return Err(Error::WrongType { expected: "integers", actual: other.name() }),
        })
    }

    /// The bytes, or the fact that they were not loaded.
    fn loaded(&self) -> Result<Bytes, Error> {
        match self.external() {
            Some(external) => Err(Error::ExternalData {
                tensor: String::new(),
                location: external.location.clone(),
                reason: "it was not loaded".into(),
            }),
            None => Ok(self.bytes()),
        }
    }
}

/// Bytes a tensor of this type and shape takes; `None` for strings or when it overflows.
pub(crate) fn byte_len(dtype: DataType, shape: &[usize]) -> Option<usize> {
    dtype.bytes_for(elements_of(shape)?)
}

/// The number of elements; `None` when it overflows.
pub(crate) fn elements_of(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim))
}

/// Decodes little-endian elements; a tail shorter than an element is left out.
fn elements<const N: usize, T>(bytes: &[u8], decode: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, _) = bytes.as_chunks::<N>();
    chunks.iter().map(|chunk| decode(*chunk)).collect()
}

/// The little-endian bytes of a vector, without copying it.
fn bytes_of<T: bytemuck::NoUninit + Send + 'static>(values: Vec<T>) -> Bytes {
    struct Owner<T>(Vec<T>);
    impl<T: bytemuck::NoUninit> AsRef<[u8]> for Owner<T> {
        fn as_ref(&self) -> &[u8] {
            bytemuck::cast_slice(&self.0)
        }
    }
    const { assert!(cfg!(target_endian = "little"), "ONNX stores little-endian elements") };
    Bytes::from_owner(Owner(values))
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({} {:?})", self.dtype, self.shape)
    }
}

/// Tensors are equal when type, shape and content are; the content of an unopened file is its place.
impl PartialEq for Tensor {
    fn eq(&self, other: &Self) -> bool {
        self.dtype == other.dtype
            && self.shape == other.shape
            && self.as_strings() == other.as_strings()
            && self.external() == other.external()
            && self.bytes() == other.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_checked() {
        assert!(Tensor::from_f32([2, 2], vec![0.0; 4]).is_ok());
        assert!(Tensor::from_f32([2, 2], vec![0.0; 3]).is_err());
        assert!(Tensor::new(DataType::F32, [usize::MAX, 2], Bytes::new()).is_err());
        assert!(Tensor::new(DataType::String, [1], Bytes::new()).is_err());
    }

    #[test]
    fn rows_stack_and_come_apart() {
        let row = |value: f32| Tensor::from_f32([1, 2], vec![value, -value]).unwrap();
        let (a, b) = (row(1.0), row(2.0));
        let both = Tensor::stack(&[&a, &b]).unwrap();
        assert_eq!(both.shape(), [2, 2]);
        assert_eq!((both.row(0).unwrap(), both.row(1).unwrap()), (a.clone(), b));
        assert!(both.row(2).is_err());
        assert!(Tensor::stack(&[&a, &Tensor::from_f32([1, 3], vec![0.0; 3]).unwrap()]).is_err());
        assert!(Tensor::stack(&[]).is_err());
    }

    #[test]
    fn values_widen_to_f32() {
        let half = Bytes::copy_from_slice(&f16::from_f32(1.5).to_le_bytes());
        let cases = [
            (Tensor::new(DataType::F16, [1], half), 1.5),
            (Tensor::from_i64([1], vec![-3]), -3.0),
            (Tensor::from_u8([1], vec![200]), 200.0),
        ];
        for (tensor, expected) in cases {
            assert_eq!(tensor.and_then(|t| t.to_f32()).unwrap(), [expected]);
        }
    }

    #[test]
    fn a_deferred_tensor_equals_the_ready_one() {
        let ready = Tensor::from_f32([2], vec![1.0, 2.0]).unwrap();
        let copy = ready.clone();
        let deferred = Tensor::deferred(DataType::F32, [2], move || copy.bytes());
        assert_eq!(deferred.byte_len(), 8);
        assert_eq!(deferred, ready);
    }
}
