//! Tensors to and from the embedded library's values.
//!
//! The library has four element types. `int64` and `bool` are carried as `int32`, `float16` and `float64` as `float32`;
//! the type that the graph declares is put back on the way out.

use bytes::Bytes;
use graph::{DataType, Tensor};
use half::f16;
use rten::{Value, ValueView};
use rten_tensor::Layout;

use super::NAME;
use crate::Error;

/// An input, ready to be seen by the library. `float32`, `int32`, `int8` and `uint8` are not copied.
pub(super) enum Input {
    Shared { dtype: DataType, shape: Vec<usize>, bytes: Bytes },
    Converted(Value),
}

impl Input {
    /// The tensor given for the input `name`.
    pub(super) fn new(name: &str, tensor: &Tensor) -> Result<Self, Error> {
        let shape = tensor.shape().to_vec();
        match tensor.dtype() {
            dtype @ (DataType::F32 | DataType::I32 | DataType::I8 | DataType::U8) => {
                let input = Self::Shared { dtype, shape, bytes: tensor.bytes() };
                // Bytes cut out of a file may start at any address.
                if input.view(name).is_ok() {
                    return Ok(input);
                }
                Self::copied(name, tensor)
            }
            DataType::F16 | DataType::F64 | DataType::I64 | DataType::Bool => Self::copied(name, tensor),
            other => Err(Error::Unsupported {
                backend: NAME,
                node: name.to_owned(),
                op: "input".into(),
                reason: format!("it has no elements of type {other}"),
            }),
        }
    }

    fn copied(name: &str, tensor: &Tensor) -> Result<Self, Error> {
        let shape = tensor.shape();
        let value = if tensor.dtype().is_float() {
            Value::from_shape(shape, tensor.to_f32()?).map_err(|error| failed(name, &error))?
        } else {
            let numbers = tensor.to_i64()?;
            let narrow = |value: &i64| {
                i32::try_from(*value).map_err(|_| Error::IntegerRange {
                    backend: NAME,
                    name: name.to_owned(),
                    value: *value,
                })
            };
            let numbers = numbers.iter().map(narrow).collect::<Result<Vec<i32>, _>>()?;
            Value::from_shape(shape, numbers).map_err(|error| failed(name, &error))?
        };
        Ok(Self::Converted(value))
    }

    /// The input as the library sees it.
    pub(super) fn view(&self, name: &str) -> Result<ValueView<'_>, Error> {
        let (dtype, shape, bytes) = match self {
            Self::Converted(value) => return Ok(value.as_view()),
            Self::Shared { dtype, shape, bytes } => (*dtype, shape, bytes.as_ref()),
        };
        macro_rules! view {
            ($element:ty) => {{
                let elements: &[$element] =
                    bytemuck::try_cast_slice(bytes).map_err(|error| failed(name, &error))?;
                ValueView::from_shape(shape, elements).map_err(|error| failed(name, &error))
            }};
        }
        match dtype {
            DataType::I32 => view!(i32),
            DataType::I8 => view!(i8),
            DataType::U8 => view!(u8),
            _ => view!(f32),
        }
    }
}

/// The value that came out under `name`, in the type that the graph declares for it. `float32`, `int32`, `int8` and
/// `uint8` are not copied.
pub(super) fn output(name: &str, value: Value, declared: Option<DataType>) -> Result<Tensor, Error> {
    let shape = value.shape().to_vec();
    let wrong = |actual: &str| Error::WrongOutput {
        name: name.to_owned(),
        expected: declared.map_or("a tensor", DataType::name).to_owned(),
        actual: actual.to_owned(),
    };
    let made = match (value, declared) {
        (Value::FloatTensor(values), None | Some(DataType::F32)) => {
            Tensor::from_f32(shape, values.into_data())
        }
        (Value::FloatTensor(values), Some(dtype @ DataType::F16)) => {
            let bytes = values.into_data().iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
            Tensor::new(dtype, shape, bytes)
        }
        (Value::FloatTensor(values), Some(dtype @ DataType::F64)) => {
            let bytes = values.into_data().iter().flat_map(|v| f64::from(*v).to_le_bytes()).collect();
            Tensor::new(dtype, shape, bytes)
        }
        (Value::Int32Tensor(values), None | Some(DataType::I32)) => {
            Tensor::from_i32(shape, values.into_data())
        }
        (Value::Int32Tensor(values), Some(DataType::I64)) => {
            Tensor::from_i64(shape, values.into_data().iter().map(|v| i64::from(*v)).collect())
        }
        (Value::Int32Tensor(values), Some(dtype @ DataType::Bool)) => {
            Tensor::new(dtype, shape, values.into_data().iter().map(|v| u8::from(*v != 0)).collect())
        }
        (Value::UInt8Tensor(values), None | Some(DataType::U8)) => Tensor::from_u8(shape, values.into_data()),
        (Value::Int8Tensor(values), None | Some(DataType::I8)) => {
            let bytes = Bytes::from(bytemuck::allocation::cast_vec::<i8, u8>(values.into_data()));
            Tensor::new(DataType::I8, shape, bytes)
        }
        (Value::Sequence(_), _) => return Err(wrong("a sequence of tensors")),
        (other, _) => return Err(wrong(&other.dtype().to_string())),
    };
    Ok(made?)
}

fn failed(name: &str, error: &dyn std::fmt::Display) -> Error {
    Error::Run { backend: NAME, reason: format!("input `{name}`: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(tensor: &Tensor) -> Result<Tensor, Error> {
        let input = Input::new("x", tensor)?;
        let value = input.view("x")?.to_owned();
        output("x", value, Some(tensor.dtype()))
    }

    #[test]
    fn every_type_survives() {
        let halves: Vec<u8> =
            [1.5_f32, -65504.0].iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
        let doubles: Vec<u8> = [0.5_f64, -3.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let cases = [
            Tensor::from_f32([2], vec![1.0, f32::NEG_INFINITY]),
            Tensor::from_i32([2], vec![i32::MIN, 7]),
            Tensor::from_i64([2], vec![i64::from(i32::MAX), -1]),
            Tensor::from_u8([2], vec![0, 255]),
            Tensor::new(DataType::I8, [2], Bytes::from_static(&[128, 127])),
            Tensor::new(DataType::Bool, [2], Bytes::from_static(&[0, 1])),
            Tensor::new(DataType::F16, [2], halves.into()),
            Tensor::new(DataType::F64, [2], doubles.into()),
            Tensor::from_f32([0, 3], vec![]),
            Tensor::from_f32([], vec![2.5]),
        ];
        for tensor in cases {
            let tensor = tensor.unwrap();
            assert_eq!(there_and_back(&tensor).unwrap(), tensor);
        }
    }

    #[test]
    fn float32_is_shared_both_ways() {
        let tensor = Tensor::from_f32([2], vec![1.0, 2.0]).unwrap();
        let input = Input::new("x", &tensor).unwrap();
        assert!(matches!(&input, Input::Shared { bytes, .. } if bytes.as_ptr() == tensor.bytes().as_ptr()));
        let values = vec![3.0_f32; 4];
        let address = values.as_ptr();
        let value = Value::from_shape([4], values).unwrap();
        assert_eq!(output("y", value, None).unwrap().bytes().as_ptr(), address.cast());
    }

    #[test]
    fn bytes_at_an_odd_address_are_copied() {
        let mut bytes = vec![0_u8];
        bytes.extend(1.25_f32.to_le_bytes());
        bytes.extend(2.5_f32.to_le_bytes());
        let all = Bytes::from(bytes);
        let odd = all.slice(1..9);
        let tensor = Tensor::new(DataType::F32, [2], odd).unwrap();
        assert_eq!(there_and_back(&tensor).unwrap().to_f32().unwrap(), [1.25, 2.5]);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let large = Tensor::from_i64([1], vec![1 << 31]).unwrap();
        assert!(matches!(there_and_back(&large), Err(Error::IntegerRange { value: 2_147_483_648, .. })));
        let wide = Tensor::new(DataType::U64, [1], Bytes::from_static(&[0; 8])).unwrap();
        assert!(matches!(there_and_back(&wide), Err(Error::Unsupported { .. })));
        let value = Value::from_shape([1], vec![1.0_f32]).unwrap();
        let error = output("y", value, Some(DataType::I64)).unwrap_err();
        assert_eq!(error.to_string(), "output `y` is tensor(f32), the graph declares int64");
    }
}
